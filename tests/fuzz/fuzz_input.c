// Compressed input. By the first byte: the rest but one is the file; or it is a text, of which a file of several
// members is made, cut short or padded with zeros as the second byte says, and must come out again, or be
// refused where it was cut.
#include <bzlib.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "fuzz.h"
#include "host/input.h"

enum { TEXT = 1 << 14, FILE_SIZE = 8 * TEXT };

// Each packs a text into `out` of *size bytes.
static bool pack_plain(const uint8_t *text, size_t length, uint8_t *out, size_t *size) {
    memcpy(out, text, length);
    *size = length;
    return true;
}
static bool pack_gzip(const uint8_t *text, size_t length, uint8_t *out, size_t *size) {
    z_stream z = {.next_in = (uint8_t *)text,
                  .avail_in = (unsigned)length,
                  .next_out = out,
                  .avail_out = (unsigned)*size};
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 1, Z_DEFAULT_STRATEGY) != Z_OK) return false;
    bool done = deflate(&z, Z_FINISH) == Z_STREAM_END;
    *size = z.total_out;
    return deflateEnd(&z) == Z_OK && done;
}
static bool pack_zstd(const uint8_t *text, size_t length, uint8_t *out, size_t *size) {
    *size = ZSTD_compress(out, *size, text, length, 1);
    return !ZSTD_isError(*size);
}
static bool pack_xz(const uint8_t *text, size_t length, uint8_t *out, size_t *size) {
    size_t at = 0;
    bool done = lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, text, length, out, &at, *size) ==
                LZMA_OK;
    *size = at;
    return done;
}
static bool pack_bzip2(const uint8_t *text, size_t length, uint8_t *out, size_t *size) {
    unsigned space = (unsigned)*size;
    bool done = BZ2_bzBuffToBuffCompress((char *)out, &space, (char *)text, (unsigned)length, 1, 0,
                                         0) == BZ_OK;
    *size = space;
    return done;
}

static const struct {
    const char *name;
    bool (*pack)(const uint8_t *text, size_t length, uint8_t *out, size_t *size);
} kinds[] = {{"a", pack_plain},
             {"a.gz", pack_gzip},
             {"a.zst", pack_zstd},
             {"a.xz", pack_xz},
             {"a.bz2", pack_bzip2}};

// Reads all, in pieces of odd sizes; at most `limit` bytes into `text`. -1: an error.
static int64_t read_all(const char *path, uint8_t *text, size_t limit) {
    struct dapt_input *input;
    int64_t got = 0;
    size_t length = 0;
    if (dapt_input_open(path, &input)) return -1;
    for (size_t want = 1; length < limit; want = want * 5 % 4093 + 1) {
        got = dapt_input_read(input, text + length, want < limit - length ? want : limit - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    dapt_input_close(&input);
    return got < 0 ? -1 : (int64_t)length;
}

static void there_and_back(size_t kind, unsigned how, const uint8_t *text, size_t length) {
    static uint8_t file[FILE_SIZE], read[TEXT + 1];
    size_t size = 0, begin = 0, members = kind ? 1 + how % 3 : 1;
    for (size_t m = 1; m <= members; m++) {
        size_t end = length * m / members, room = sizeof file - size;
        FUZZ_CHECK(kinds[kind].pack(text + begin, end - begin, file + size, &room));
        size += room;
        begin = end;
    }
    bool cut = kind && how & 4, padded = kind && how & 8;
    if (cut)
        size -= 1 + how % (kind == 1 ? 8 : 4);
    else if (padded && kind < 4)
        memset(file + size, 0, 16), size += kind == 2 ? 0 : 16;  // no padding in Zstandard
    // Under its name, or a plain one: then only the content tells what it is.
    const char *name = how & 16 ? "b" : kinds[kind].name;
    int64_t got = read_all(fuzz_file(name, file, size), read, sizeof read);
    if (cut) {
        FUZZ_CHECK(got < 0);
    } else if (kind) {
        FUZZ_CHECK(got == (int64_t)length && memcmp(read, text, length) == 0);
        fuzz_accept();
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    static uint8_t read[1 << 20];
    if (size < 2 || size - 2 > TEXT) return;
    size_t kind = data[0] % 5;
    if (data[0] & 128) {
        there_and_back(kind, data[1], data + 2, size - 2);
    } else if (read_all(fuzz_file(kinds[kind].name, data + 2, size - 2), read, sizeof read) >= 0) {
        fuzz_accept();
    }
}
