// core/host/input.h: every compression, several members, every truncation, damage.
#include <bzlib.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/rng.h"
#include "host/input.h"

static char folder[] = "/tmp/dapt-test-input-XXXXXX";
static struct dapt_arena arena;

static int enter(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    dapt_arena_free(&arena);
    return dapt_remove_tree(folder);
}

typedef size_t (*compressor)(const void *data, size_t size, uint8_t *out, size_t room);

static size_t pack_gzip(const void *data, size_t size, uint8_t *out, size_t room) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (uint8_t *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t length = z.total_out;
    deflateEnd(&z);
    return length;
}

static size_t pack_zstd(const void *data, size_t size, uint8_t *out, size_t room) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    size_t length = ZSTD_compress2(context, out, room, data, size);
    assert_false(ZSTD_isError(length));
    ZSTD_freeCCtx(context);
    return length;
}

static size_t pack_xz(const void *data, size_t size, uint8_t *out, size_t room) {
    size_t length = 0;
    assert_int_equal(
        lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, data, size, out, &length, room),
        LZMA_OK);
    return length;
}

static size_t pack_bzip2(const void *data, size_t size, uint8_t *out, size_t room) {
    unsigned length = (unsigned)room;
    assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out, &length, (char *)(uintptr_t)data,
                                              (unsigned)size, 1, 0, 0),
                     BZ_OK);
    return length;
}

static const struct {
    const char *ending;
    compressor pack;
} kinds[] = {
    {".gz", pack_gzip},
    {".zst", pack_zstd},
    {".xz", pack_xz},
    {".bz2", pack_bzip2},
};

static const char *put(const char *name, const void *data, size_t size) {
    const char *path = dapt_arena_format(&arena, "%s/%s", folder, name);
    unlink(path);
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
    return path;
}

// The whole content, read `step` bytes at a time; -1 when opening or reading fails.
static int64_t slurp(const char *path, uint8_t *out, size_t room, size_t step) {
    struct dapt_input *input;
    if (dapt_input_open(path, &input)) {
        assert_null(input);
        return -1;
    }
    int64_t total = 0, n;
    while ((n = dapt_input_read(input, out + total,
                                room - (size_t)total < step ? room - (size_t)total : step)) > 0)
        total += n;
    if (n == 0 && (size_t)total < room)
        assert_int_equal(dapt_input_read(input, out, 1), 0);  // the end stays the end
    dapt_input_close(&input);
    assert_null(input);
    return n < 0 ? -1 : total;
}

enum { SIZE = 300000, ROOM = 400000 };
static uint8_t text[SIZE], packed[ROOM], out[ROOM];

static void fill_text(void) {
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (uint8_t)("the quick brown fox "[i % 20] ^
                            (dapt_random_bits(1, 1, i / 3) % 7 == 0));
}

static void test_reads_each_kind(void **state) {
    (void)state;
    fill_text();
    static const size_t steps[] = {1 << 20, 4096, 777};
    for (size_t k = 0; k < 4; k++) {
        size_t half = kinds[k].pack(text, SIZE / 2, packed, ROOM);
        size_t whole = half + kinds[k].pack(text + SIZE / 2, SIZE / 2, packed + half, ROOM - half);
        const char *name = dapt_arena_format(&arena, "two%s", kinds[k].ending);
        for (size_t s = 0; s < 3; s++) {  // two members, as pbzip2, pigz or cat make them
            if (slurp(put(name, packed, whole), out, ROOM, steps[s]) != SIZE)
                fail_msg("%s: %s", name, dapt_error());
            assert_memory_equal(out, text, SIZE);
        }
        assert_int_equal(slurp(put("unnamed", packed, whole), out, ROOM, 1 << 20),
                         SIZE);  // by content, not by name
        memset(packed + whole, 0, 600);
        assert_int_equal(slurp(put(name, packed, whole + 600), out, ROOM, 1 << 20),
                         SIZE);  // padding
        size_t empty = kinds[k].pack("", 0, packed, ROOM);
        if (slurp(put(name, packed, empty), out, ROOM, 99) != 0)
            fail_msg("%s: %s", name, dapt_error());
    }
}

static void test_plain(void **state) {
    (void)state;
    fill_text();
    assert_int_equal(slurp(put("plain.txt", text, SIZE), out, ROOM, 1000), SIZE);
    assert_memory_equal(out, text, SIZE);
    assert_int_equal(slurp(put("empty.txt", "", 0), out, ROOM, 10), 0);
    static const char *const looks[] = {"BZh is how this text begins", "BZh9", "\x1f\x8b", "(\xb5/",
                                        "\xfd\x37z"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(slurp(put("looks.txt", looks[i], strlen(looks[i])), out, ROOM, 10),
                         strlen(looks[i]));
    }
    assert_int_equal(slurp("/nowhere/x", out, ROOM, 10), -1);
    assert_int_equal(slurp(folder, out, ROOM, 10), -1);
}

static void test_every_truncation_is_reported(void **state) {
    (void)state;
    fill_text();
    for (size_t k = 0; k < 4; k++) {
        size_t size = kinds[k].pack(text, 2000, packed, ROOM);
        const char *name = dapt_arena_format(&arena, "cut%s", kinds[k].ending);
        for (size_t length = 0; length < size; length++) {
            if (slurp(put(name, packed, length), out, ROOM, 512) >= 0)
                fail_msg("%s cut at %zu of %zu was accepted", name, length, size);
            if (!strstr(dapt_error(), name)) fail_msg("%s", dapt_error());
        }
    }
}

static void test_damage_is_reported(void **state) {
    (void)state;
    fill_text();
    for (size_t k = 0; k < 4; k++) {
        size_t size = kinds[k].pack(text, 3000, packed, ROOM);
        const char *name = dapt_arena_format(&arena, "bent%s", kinds[k].ending);
        size_t caught = 0, harmless = 0;
        for (uint64_t round = 0; round < 300; round++) {
            uint8_t copy[4000];
            assert_true(size <= sizeof copy);
            memcpy(copy, packed, size);
            uint64_t bits = dapt_random_bits(4, round, k);
            copy[bits % size] ^= (uint8_t)(1 << (bits >> 60 & 7));
            int64_t n = slurp(put(name, copy, size), out, ROOM, 100);
            if (n < 0) {
                caught++;
            } else {
                harmless++;  // a header's time stamp, say: the text must be right then
                assert_int_equal(n, 3000);
                assert_memory_equal(out, text, 3000);
            }
        }
        if (!(caught > 250)) fail_msg("%s: %zu caught, %zu harmless", name, caught, harmless);
    }
}

static void test_what_follows_the_end(void **state) {
    (void)state;
    size_t size = pack_gzip("hello", 5, packed, ROOM);
    memcpy(packed + size, "garbage", 7);
    assert_int_equal(slurp(put("tail.gz", packed, size + 7), out, ROOM, 100), -1);
    assert_non_null(strstr(
        dapt_error(), "tail.gz: damaged: its end is followed by something that is not gzip data"));
    assert_int_equal(slurp(put("wrong.gz", "plain text", 10), out, ROOM, 100), -1);
    assert_non_null(strstr(dapt_error(), "wrong.gz: ends in .gz but is not a gzip file"));
}

static void test_stem(void **state) {
    (void)state;
    assert_string_equal(dapt_input_stem(&arena, "a/b.jsonl.zst"), "a/b.jsonl");
    assert_string_equal(dapt_input_stem(&arena, "b.TXT.GZ"), "b.TXT");
    assert_string_equal(dapt_input_stem(&arena, "b.txt"), "b.txt");
    assert_string_equal(dapt_input_stem(&arena, ".gz"), ".gz");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_each_kind),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_every_truncation_is_reported),
        cmocka_unit_test(test_damage_is_reported),
        cmocka_unit_test(test_what_follows_the_end),
        cmocka_unit_test(test_stem),
    };
    return cmocka_run_group_tests_name("input", tests, enter, leave);
}
