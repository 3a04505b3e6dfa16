#include "host/input.h"

#include "base/files.h"

#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define BUFFER_SIZE (128 * 1024)
#define XZ_MEMORY (UINT64_C(2) << 30)  // bytes; xz -9 needs 65 MiB

// What one call of a decoder did. MORE: it wants more input or more room. END: a member (stream, frame) ended.
enum step { STEP_MORE, STEP_END, STEP_DAMAGED, STEP_MEMORY };

struct codec {
    const char *name, *ending;
    const char *magic;
    size_t magic_size;
    bool (*start)(struct dapt_input *input);  // before each member; false: no memory
    enum step (*run)(struct dapt_input *input, uint8_t *out, size_t size, size_t *written);
    void (*stop)(struct dapt_input *input);
};

struct dapt_input {
    char *path;
    int fd;
    const struct codec *codec;  // NULL: plain
    bool started;               // the decoder's state exists
    bool inside;                // a member has begun and not ended
    bool file_ended;
    uint64_t consumed;
    size_t at, filled;  // of `buffer`: compressed bytes not yet used
    union {
        z_stream gzip;
        bz_stream bzip2;
        lzma_stream xz;
        ZSTD_DStream *zstd;
    } state;
    uint8_t buffer[BUFFER_SIZE];
};

// ------------------------------------------------------------------------------------------------------------- gzip

static bool gzip_start(struct dapt_input *input) {
    if (input->started) return inflateReset(&input->state.gzip) == Z_OK;
    return inflateInit2(&input->state.gzip, 15 + 16) ==
           Z_OK;  // 16: a gzip header, its checksum verified
}

static enum step gzip_run(struct dapt_input *input, uint8_t *out, size_t size, size_t *written) {
    z_stream *z = &input->state.gzip;
    z->next_in = input->buffer + input->at;
    z->avail_in = (uInt)(input->filled - input->at);
    z->next_out = out;
    z->avail_out = (uInt)(size < (1u << 30) ? size : (1u << 30));
    uInt room = z->avail_out;
    int result = inflate(z, Z_NO_FLUSH);
    input->at = input->filled - z->avail_in;
    *written = room - z->avail_out;
    if (result == Z_MEM_ERROR) return STEP_MEMORY;
    return result == Z_STREAM_END                    ? STEP_END
           : result == Z_OK || result == Z_BUF_ERROR ? STEP_MORE
                                                     : STEP_DAMAGED;
}

static void gzip_stop(struct dapt_input *input) {
    inflateEnd(&input->state.gzip);
}

// ------------------------------------------------------------------------------------------------------------ bzip2

static void bzip2_stop(struct dapt_input *input) {
    BZ2_bzDecompressEnd(&input->state.bzip2);
}

static bool bzip2_start(struct dapt_input *input) {
    if (input->started) bzip2_stop(input);
    input->state.bzip2 = (bz_stream){0};
    return BZ2_bzDecompressInit(&input->state.bzip2, 0, 0) == BZ_OK;
}

static enum step bzip2_run(struct dapt_input *input, uint8_t *out, size_t size, size_t *written) {
    bz_stream *b = &input->state.bzip2;
    b->next_in = (char *)input->buffer + input->at;
    b->avail_in = (unsigned)(input->filled - input->at);
    b->next_out = (char *)out;
    b->avail_out = (unsigned)(size < (1u << 30) ? size : (1u << 30));
    unsigned room = b->avail_out;
    int result = BZ2_bzDecompress(b);
    input->at = input->filled - b->avail_in;
    *written = room - b->avail_out;
    if (result == BZ_MEM_ERROR) return STEP_MEMORY;
    return result == BZ_STREAM_END ? STEP_END : result == BZ_OK ? STEP_MORE : STEP_DAMAGED;
}

// --------------------------------------------------------------------------------------------------------------- xz

static bool xz_start(struct dapt_input *input) {
    if (!input->started) input->state.xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_stream_decoder(&input->state.xz, XZ_MEMORY, 0) == LZMA_OK;
}

static enum step xz_run(struct dapt_input *input, uint8_t *out, size_t size, size_t *written) {
    lzma_stream *x = &input->state.xz;
    x->next_in = input->buffer + input->at;
    x->avail_in = input->filled - input->at;
    x->next_out = out;
    x->avail_out = size;
    lzma_ret result = lzma_code(x, LZMA_RUN);
    input->at = input->filled - x->avail_in;
    *written = size - x->avail_out;
    if (result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR) return STEP_MEMORY;
    return result == LZMA_STREAM_END                       ? STEP_END
           : result == LZMA_OK || result == LZMA_BUF_ERROR ? STEP_MORE
                                                           : STEP_DAMAGED;
}

static void xz_stop(struct dapt_input *input) {
    lzma_end(&input->state.xz);
}

// ------------------------------------------------------------------------------------------------------------- zstd

static bool zstd_start(struct dapt_input *input) {
    if (!input->started) input->state.zstd = ZSTD_createDStream();
    if (!input->state.zstd) return false;
    ZSTD_DCtx_reset(input->state.zstd, ZSTD_reset_session_only);
    // Published corpora are compressed with windows of 2 GiB (--long=31); what is not touched costs nothing.
    ZSTD_DCtx_setParameter(input->state.zstd, ZSTD_d_windowLogMax, sizeof(size_t) == 8 ? 31 : 27);
    return true;
}

static enum step zstd_run(struct dapt_input *input, uint8_t *out, size_t size, size_t *written) {
    ZSTD_inBuffer in = {input->buffer, input->filled, input->at};
    ZSTD_outBuffer room = {out, size, 0};
    size_t result = ZSTD_decompressStream(input->state.zstd, &room, &in);
    input->at = in.pos;
    *written = room.pos;
    if (ZSTD_isError(result)) {
        const char *name = ZSTD_getErrorName(result);
        return strstr(name, "memory") || strstr(name, "Allocation") ? STEP_MEMORY : STEP_DAMAGED;
    }
    return result == 0 ? STEP_END : STEP_MORE;
}

static void zstd_stop(struct dapt_input *input) {
    ZSTD_freeDStream(input->state.zstd);
}

static const struct codec codecs[] = {
    {"gzip", ".gz", "\x1f\x8b\x08", 3, gzip_start, gzip_run, gzip_stop},
    {"Zstandard", ".zst", "\x28\xb5\x2f\xfd", 4, zstd_start, zstd_run, zstd_stop},
    {"xz", ".xz",
     "\xfd"
     "7zXZ\0",
     6, xz_start, xz_run, xz_stop},
    {"bzip2", ".bz2", "BZh", 3, bzip2_start, bzip2_run, bzip2_stop},
};
#define CODECS (sizeof codecs / sizeof *codecs)

// ---------------------------------------------------------------------------------------------------------- the input

// Reads more of the file behind what is still unused.
static enum dapt_status fill(struct dapt_input *input) {
    if (input->at > 0) memmove(input->buffer, input->buffer + input->at, input->filled - input->at);
    input->filled -= input->at;
    input->at = 0;
    while (!input->file_ended && input->filled < BUFFER_SIZE) {
        ssize_t n = read(input->fd, input->buffer + input->filled, BUFFER_SIZE - input->filled);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return dapt_fail_errno("%s: cannot be read", input->path);
        if (n == 0) input->file_ended = true;
        input->filled += (size_t)n;
        input->consumed += (uint64_t)n;
    }
    return DAPT_OK;
}

static const struct codec *codec_of_name(const char *path) {
    size_t length = strlen(path);
    for (size_t i = 0; i < CODECS; i++) {
        size_t ending = strlen(codecs[i].ending);
        if (length > ending && strcasecmp(path + length - ending, codecs[i].ending) == 0)
            return &codecs[i];
    }
    return NULL;
}

// "BZh" alone could begin a text: the block size and a block's or the end's magic number must follow.
static bool is_bzip2(const uint8_t *p, size_t size) {
    return size >= 10 && p[3] >= '1' && p[3] <= '9' &&
           (memcmp(p + 4, "1AY&SY", 6) == 0 || memcmp(p + 4, "\x17rE8P\x90", 6) == 0);
}

static const struct codec *codec_of_content(const uint8_t *p, size_t size) {
    for (size_t i = 0; i < CODECS; i++) {
        if (size < codecs[i].magic_size || memcmp(p, codecs[i].magic, codecs[i].magic_size) != 0)
            continue;
        if (codecs[i].run != bzip2_run || is_bzip2(p, size)) return &codecs[i];
    }
    return NULL;
}

static enum dapt_status begin(struct dapt_input *input) {
    enum dapt_status status = fill(input);
    if (status) return status;
    const struct codec *named = codec_of_name(input->path);
    input->codec = codec_of_content(input->buffer, input->filled);
    if (named && !input->codec) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: ends in %s but is not a %s file (damaged or misnamed)", input->path,
                         named->ending, named->name);
    }
    return DAPT_OK;
}

enum dapt_status dapt_input_open(const char *path, struct dapt_input **input) {
    *input = NULL;
    if (!path)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "a file was to be opened, but no path was given");  // by a plugin
    struct dapt_input *in = *input = malloc(sizeof *in);
    if (!in) return dapt_fail(DAPT_ERROR_MEMORY, "%s: out of memory", path);
    memset(in, 0, offsetof(struct dapt_input, buffer));
    in->fd = -1;
    size_t size;
    enum dapt_status status = dapt_file_open(path, &in->fd, &size);
    if (!status && !(in->path = strdup(path)))
        status = dapt_fail(DAPT_ERROR_MEMORY, "%s: out of memory", path);
    if (!status) status = begin(in);
    if (status) dapt_input_close(input);
    return status;
}

void dapt_input_close(struct dapt_input **input) {
    struct dapt_input *in = *input;
    *input = NULL;
    if (!in) return;
    if (in->started) in->codec->stop(in);
    if (in->fd >= 0) close(in->fd);
    free(in->path);
    free(in);
}

uint64_t dapt_input_consumed(const struct dapt_input *input) {
    return input->consumed - (input->filled - input->at);
}

static enum dapt_status read_plain(struct dapt_input *input, void *data, size_t size,
                                   size_t *count) {
    if (input->at == input->filled) {
        enum dapt_status status = fill(input);
        if (status) return status;
    }
    size_t left = input->filled - input->at;
    *count = size < left ? size : left;
    memcpy(data, input->buffer + input->at, *count);
    input->at += *count;
    return DAPT_OK;
}

// Between members: more of the same kind may follow, or zeros that pad the file.
static enum dapt_status next_member(struct dapt_input *input, bool *end) {
    enum dapt_status status = fill(input);
    if (status) return status;
    if (input->started) {
        while (!*end && input->at < input->filled && input->buffer[input->at] == 0) {
            input->at++;
            if (input->at == input->filled && (status = fill(input))) return status;
        }
    }
    *end = input->at == input->filled;
    if (*end) return DAPT_OK;
    bool more = input->filled - input->at >= input->codec->magic_size &&
                memcmp(input->buffer + input->at, input->codec->magic, input->codec->magic_size) ==
                    0;
    if (!more) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: damaged: its end is followed by something that is not %s data",
                         input->path, input->codec->name);
    }
    if (!input->codec->start(input))
        return dapt_fail(DAPT_ERROR_MEMORY, "%s: out of memory", input->path);
    input->started = input->inside = true;
    return DAPT_OK;
}

static enum dapt_status read_packed(struct dapt_input *input, void *data, size_t size,
                                    size_t *count) {
    while (*count == 0) {
        bool end = false;
        enum dapt_status status = DAPT_OK;
        if (!input->inside) {
            status = next_member(input, &end);
        } else if (input->at == input->filled) {
            status = fill(input);
        }
        if (status || end) return status;
        // No input left: a decoder may still hold output, but if it gives none the file was cut off.
        bool last = input->at == input->filled;
        switch (input->codec->run(input, data, size, count)) {
        case STEP_END: input->inside = false; break;
        case STEP_MORE:
            if (!last || *count > 0) break;
            return dapt_fail(DAPT_ERROR_INVALID, "%s: truncated: the %s data ends too early",
                             input->path, input->codec->name);
        case STEP_MEMORY:
            return dapt_fail(DAPT_ERROR_MEMORY, "%s: out of memory for its %s data", input->path,
                             input->codec->name);
        case STEP_DAMAGED:
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: damaged: its %s data cannot be read near byte %llu", input->path,
                             input->codec->name, (unsigned long long)dapt_input_consumed(input));
        }
    }
    return DAPT_OK;
}

int64_t dapt_input_read(struct dapt_input *input, void *data, size_t size) {
    size_t count = 0;
    if (size == 0) return 0;
    enum dapt_status status = input->codec ? read_packed(input, data, size, &count)
                                           : read_plain(input, data, size, &count);
    return status ? -1 : (int64_t)count;
}

const char *dapt_input_stem(struct dapt_arena *arena, const char *path) {
    const struct codec *codec = codec_of_name(path);
    return codec ? dapt_arena_copy(arena, path, strlen(path) - strlen(codec->ending)) : path;
}
