// GGUF: block types against a dequantisation in double, what was written read alike, hostile files.
#include <math.h>
#include <unistd.h>

#include "base/rng.h"
#include "data_test.h"
#include "format/gguf.h"
#include "format/safetensors.h"

// ------------------------------------------------------------------------------------- block types
//
// Written from the layouts, a value at a time, by another route than the decoder: bit by bit.

static double half(const uint8_t *at) {
    unsigned h = at[0] | (unsigned)at[1] << 8, exponent = h >> 10 & 31;
    double fraction = h & 1023, sign = h >> 15 ? -1 : 1;
    return exponent ? sign * ldexp(1 + fraction / 1024, (int)exponent - 15)
                    : sign * ldexp(fraction / 1024, -14);
}

static unsigned bits(const uint8_t *at, size_t bit, unsigned count) {
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (unsigned)(at[(bit + i) / 8] >> ((bit + i) % 8) & 1) << i;
    return value;
}

static unsigned nibble32(const uint8_t *at, int e) {
    return bits(at + e % 16, e / 16 * 4u, 4);
}

static double expect_legacy(uint32_t id, const uint8_t *b, int e) {
    static const int levels[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    switch (id) {
    case 8: return half(b) * (b[2 + e] < 128 ? b[2 + e] : b[2 + e] - 256);
    case 2: return half(b) * ((int)nibble32(b + 2, e) - 8);
    case 3: return half(b) * nibble32(b + 4, e) + half(b + 2);
    case 6: return half(b) * ((int)(nibble32(b + 6, e) + 16 * bits(b + 2, (size_t)e, 1)) - 16);
    case 7: return half(b) * (nibble32(b + 8, e) + 16 * bits(b + 4, (size_t)e, 1)) + half(b + 2);
    default: return half(b) * levels[nibble32(b + 2, e)];
    }
}

static double expect_k45(const uint8_t *b, const uint8_t *high, const uint8_t *low, int e) {
    const uint8_t *s = b + 4;
    int run = e / 32;
    unsigned scale = bits(s + run % 4, 0, 6), least = bits(s + 4 + run % 4, 0, 6);
    if (run >= 4) {
        scale = bits(s + 4 + run, 0, 4) + 16 * bits(s + run - 4, 6, 2);
        least = bits(s + 4 + run, 4, 4) + 16 * bits(s + run, 6, 2);
    }
    unsigned value = bits(low + e / 64 * 32 + e % 32, e / 32 % 2 * 4u, 4);
    if (high) value += 16 * bits(high + e % 32, (size_t)run, 1);
    return half(b) * scale * value - half(b + 2) * least;
}

static double expect_k(uint32_t id, const uint8_t *b, int e) {
    int part = e % 128, at = e / 128 * 32 + e % 32;
    unsigned two = bits(b + (id == 10 ? 16 : 32) + at, part / 32 * 2u, 2);
    if (id == 12) return expect_k45(b, NULL, b + 16, e);
    if (id == 13) return expect_k45(b, b + 16, b + 48, e);
    if (id == 10)
        return half(b + 80) * bits(b + e / 16, 0, 4) * two - half(b + 82) * bits(b + e / 16, 4, 4);
    if (id == 11) {
        int run = e / 16;
        int scale = (int)(bits(b + 96 + run % 8, run / 8 * 4u, 4) +
                          16 * bits(b + 104 + run % 4, run / 4 * 2u, 2)) -
                    32;
        return half(b + 108) * scale * ((int)(two + 4 * bits(b + e % 32, e / 32u, 1)) - 4);
    }
    int low = (int)bits(b + e / 128 * 64 + part % 64, part / 64 * 4u, 4);
    int value = low + 16 * (int)bits(b + 128 + at, part / 32 * 2u, 2) - 32;
    int scale = b[192 + e / 16] < 128 ? b[192 + e / 16] : b[192 + e / 16] - 256;
    return half(b + 208) * scale * value;
}

// Random blocks whose scales are of a sensible size.
static void random_block(const struct dapt_block_type *t, uint64_t seed, uint8_t *block) {
    static const struct {
        uint32_t id, at[2];
    } scales[] = {{8, {0, 0}},    {2, {0, 0}},      {3, {0, 2}},     {6, {0, 0}},
                  {7, {0, 2}},    {20, {0, 0}},     {12, {0, 2}},    {13, {0, 2}},
                  {10, {80, 82}}, {11, {108, 108}}, {14, {208, 208}}};
    for (uint32_t i = 0; i < t->size; i++)
        block[i] = (uint8_t)(dapt_random_uniform(seed, 1, i) * 256);
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int k = 0; k < 2 && scales[s].id == t->id; k++) {
            uint16_t h = dapt_half_of_float((float)dapt_random_normal(seed, 2, (uint64_t)k));
            memcpy(block + scales[s].at[k], &h, sizeof h);
        }
}

static void every_block_type_is_decoded_as_it_is_defined(void **state) {
    (void)state;
    static const uint32_t ids[] = {2, 3, 6, 7, 8, 20, 10, 11, 12, 13, 14};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        const struct dapt_block_type *t = dapt_block_type_find(ids[k]);
        uint8_t blocks[3 * 256];
        float got[3 * 256], part[256];
        for (uint64_t seed = 0; seed < 40; seed++) {
            for (uint64_t b = 0; b < 3; b++) random_block(t, 3 * seed + b, blocks + b * t->size);
            dapt_blocks_decode(t, blocks, 0, 3 * t->length, got);
            for (uint32_t i = 0; i < 3 * t->length; i++) {
                const uint8_t *block = blocks + i / t->length * t->size;
                int e = (int)(i % t->length);
                double want = t->length == 32 ? expect_legacy(t->id, block, e)
                                              : expect_k(t->id, block, e);
                if (!(fabs((double)got[i] - want) <= 1e-5 * (fabs(want) + 1)))
                    fail_msg("%s, element %u: %g instead of %g", t->name, i, (double)got[i], want);
            }
            uint64_t begin = seed * 7 % (2 * t->length), count = 1 + seed * 11 % t->length;
            dapt_blocks_decode(t, blocks, begin, count, part);
            assert_memory_equal(part, got + begin, count * sizeof *part);
        }
    }
}

static void q8_0_is_as_near_as_it_can_be(void **state) {
    (void)state;
    const struct dapt_block_type *t = dapt_block_type_named("q8_0");
    float in[64] = {0}, out[64];
    uint8_t blocks[2 * 34];
    for (uint64_t i = 0; i < 32; i++) in[i] = (float)dapt_random_normal(5, 1, i);
    t->encode(in, 2, blocks);  // the second block is all zeros
    t->decode(blocks, 2, out);
    float most = 0;
    for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(in[i]));
    for (int i = 0; i < 64; i++) assert_true(fabsf(in[i] - out[i]) <= most / 127 * 0.55f);
    assert_int_equal(out[40], 0);
    in[33] = 1e-40f;  // its reciprocal is infinite
    t->encode(in, 2, blocks);
    t->decode(blocks, 2, out);
    assert_true(out[33] == 0);
}

// ----------------------------------------------------------------------------------------- writing

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t count,
                                float *values) {
    (void)context;
    for (uint64_t i = 0; i < count; i++) values[i] = (float)((int)((begin + i) % 255) - 127) / 4;
    return index == 99 ? DAPT_ERROR_IO : DAPT_OK;
}

// A file with a value of each kind that is written, and a tensor of each type.
static void write_example(const char *path) {
    static const char *const words[] = {"one", "", "dr\u00ef"};
    static const int32_t numbers[] = {-1, 2, 3};
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0"};
    struct dapt_gguf_metadata m = {0};
    struct dapt_gguf_entry entries[4];
    dapt_gguf_put_u32(&m, "a.count", 7);
    dapt_gguf_put_f32(&m, "a.real", 0.5f);
    dapt_gguf_put_bool(&m, "a.truth", true);
    dapt_gguf_put_string(&m, "a.text", "hello");
    dapt_gguf_put_strings(&m, "a.words", words, 3);
    dapt_gguf_put_numbers(&m, "a.numbers", DAPT_GGUF_I32, numbers, 3);
    for (int i = 0; i < 4; i++)
        entries[i] = (struct dapt_gguf_entry){.name = types[i],
                                              .type = dapt_block_type_named(types[i]),
                                              .rank = 2,
                                              .shape = {3, i == 3 ? 64 : 5}};
    assert_ok(dapt_gguf_write(path, &m, entries, 4, produce, NULL));
    dapt_gguf_metadata_free(&m);
}

static void what_was_written_is_read_alike(void **state) {
    (void)state;
    const char *folder = scratch_create(), *path = path_in(folder, "a.gguf"), *text = NULL;
    struct dapt_gguf *f;
    int64_t count = 0;
    double real = 0;
    bool truth = false;
    write_example(path);
    assert_ok(dapt_gguf_open(path, &f));
    assert_ok(dapt_gguf_get_integer(f, "a.count", 0, 10, &count));
    assert_ok(dapt_gguf_get_real(f, "a.real", 0, 1, &real));
    assert_ok(dapt_gguf_get_bool(f, "a.truth", &truth));
    assert_ok(dapt_gguf_get_string(f, "a.text", &text));
    assert_true(count == 7 && real == 0.5 && truth);
    assert_string_equal(text, "hello");
    assert_string_equal(dapt_gguf_value(f, "a.words")->texts[2], "dr\u00ef");
    assert_true(dapt_gguf_number(dapt_gguf_value(f, "a.numbers"), 0) == -1);
    assert_ok(dapt_gguf_get_integer(f, "b", 0, 1, &count));
    assert_int_equal(count, 7);
    assert_fails(dapt_gguf_get_integer(f, "a.count", 0, 6, &count), DAPT_ERROR_INVALID,
                 "'a.count' is 7");
    assert_fails(dapt_gguf_get_integer(f, "a.real", 0, 6, &count), DAPT_ERROR_INVALID,
                 "a whole number");
    assert_fails(dapt_gguf_get_string(f, "a.words", &text), DAPT_ERROR_INVALID,
                 "an array of string");
    for (size_t i = 0; i < 4; i++) {
        const struct dapt_gguf_tensor *t = dapt_gguf_tensor_at(f, i);
        float values[192];
        assert_ptr_equal(dapt_gguf_tensor(f, t->name), t);
        assert_int_equal(t->shape[0], 3);
        assert_int_equal((uintptr_t)t->data % 32, 0);
        dapt_blocks_decode(t->type, t->data, 0, t->count, values);
        for (uint64_t k = 0; k < t->count; k++)
            assert_true(fabsf(values[k] - (float)((int)(k % 255) - 127) / 4) <=
                        (i == 3 ? 0.13f : 0));
    }
    dapt_gguf_close(&f);
    scratch_remove(folder);
}

static void a_failed_write_leaves_nothing(void **state) {
    (void)state;
    const char *folder = scratch_create(), *path = path_in(folder, "a.gguf");
    struct dapt_gguf_metadata m = {0};
    struct dapt_gguf_entry entries[100];
    struct dapt_paths names = {0};
    for (int i = 0; i < 100; i++)
        entries[i] = (struct dapt_gguf_entry){
            .name = "t", .type = dapt_block_type_named("F32"), .rank = 1, .shape = {4}};
    assert_int_equal(dapt_gguf_write(path, &m, entries, 100, produce, NULL), DAPT_ERROR_IO);
    assert_ok(dapt_list_folder(&scratch_arena, folder, &names));
    assert_int_equal(names.count, 0);
    dapt_gguf_metadata_free(&m);
    scratch_remove(folder);
}

// ----------------------------------------------------------------------------------- hostile files

// Without the care of dapt_file_write, which takes its time.
static void write_fast(const char *path, const char *data, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void damaged_files_are_errors_that_name_the_file(void **state) {
    (void)state;
    const char *folder = scratch_create(), *path = path_in(folder, "a.gguf");
    struct dapt_string whole = {0};
    struct dapt_gguf *f;
    write_example(path);
    assert_ok(dapt_file_read(path, 1 << 20, &whole));
    for (size_t cut = 0; cut + 32 < whole.length; cut += cut < 700 ? 1 : 37) {
        write_fast(path, whole.data, cut);
        assert_fails(dapt_gguf_open(path, &f), DAPT_ERROR_INVALID, "a.gguf");
        assert_null(f);
    }
    for (size_t at = 0; at < 600; at++) {  // any byte of the head: read or refused, never worse
        whole.data[at] ^= (char)0xff;
        write_fast(path, whole.data, whole.length);
        if (dapt_gguf_open(path, &f) == DAPT_OK) assert_int_equal(dapt_gguf_tensor_count(f), 4);
        dapt_gguf_close(&f);
        whole.data[at] ^= (char)0xff;
    }
    dapt_string_free(&whole);
    scratch_remove(folder);
}

struct raw {
    uint8_t bytes[512];
    size_t size;
};

static void put(struct raw *r, const void *data, size_t size) {
    memcpy(r->bytes + r->size, data, size);
    r->size += size;
}

static void put_number(struct raw *r, uint64_t value, size_t size) {
    put(r, &value, size);
}

static void put_name(struct raw *r, const char *name) {
    put_number(r, strlen(name), 8);
    put(r, name, strlen(name));
}

static void put_tensor(struct raw *r, const char *name, uint64_t columns, uint32_t type,
                       uint64_t offset) {
    put_name(r, name);
    put_number(r, 1, 4);
    put_number(r, columns, 8);
    put_number(r, type, 4);
    put_number(r, offset, 8);
}

static struct raw begin_raw(uint32_t version, uint64_t tensors, uint64_t keys) {
    struct raw r = {.size = 0};
    put(&r, "GGUF", 4);
    put_number(&r, version, 4);
    put_number(&r, tensors, 8);
    put_number(&r, keys, 8);
    return r;
}

static void refuse(struct raw *r, enum dapt_status status, const char *part) {
    const char *folder = scratch_create(), *path = path_in(folder, "a.gguf");
    struct dapt_gguf *f;
    r->size = 400;  // data behind it, all zeros
    assert_ok(dapt_file_write(path, r->bytes, r->size));
    assert_fails(dapt_gguf_open(path, &f), status, part);
    scratch_remove(folder);
}

static void impossible_files_are_told_what_is_wrong(void **state) {
    (void)state;
    struct raw r = begin_raw(1, 0, 0);
    refuse(&r, DAPT_ERROR_UNSUPPORTED, "GGUF version 1");
    r = begin_raw(3u << 24, 0, 0);
    refuse(&r, DAPT_ERROR_UNSUPPORTED, "big-endian");
    r = begin_raw(3, UINT64_MAX, 0);
    refuse(&r, DAPT_ERROR_INVALID, "tensors");
    r = begin_raw(3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_name(&r, "k");
        put_number(&r, DAPT_GGUF_U8, 4);
        put_number(&r, 1, 1);
    }
    refuse(&r, DAPT_ERROR_INVALID, "key 'k' is there twice");
    r = begin_raw(3, 0, 1);
    put_name(&r, "k");
    put_number(&r, DAPT_GGUF_ARRAY, 4);
    put_number(&r, DAPT_GGUF_ARRAY, 4);
    refuse(&r, DAPT_ERROR_UNSUPPORTED, "array of arrays");
    r = begin_raw(3, 0, 1);
    put_name(&r, "k");
    put_number(&r, DAPT_GGUF_ARRAY, 4);
    put_number(&r, DAPT_GGUF_U64, 4);
    put_number(&r, UINT64_MAX / 4, 8);
    refuse(&r, DAPT_ERROR_INVALID, "more than the file has");
    r = begin_raw(3, 0, 1);
    put_name(&r, "\xff");
    refuse(&r, DAPT_ERROR_INVALID, "not UTF-8");
    r = begin_raw(3, 2, 0);
    put_tensor(&r, "a", 16, 0, 0);
    put_tensor(&r, "b", 16, 0, 32);
    refuse(&r, DAPT_ERROR_INVALID, "'a' and 'b' overlap");
    r = begin_raw(3, 2, 0);
    put_tensor(&r, "a", 8, 0, 0);
    put_tensor(&r, "a", 8, 0, 32);
    refuse(&r, DAPT_ERROR_INVALID, "tensor 'a' is there twice");
    r = begin_raw(3, 1, 0);
    put_tensor(&r, "a", 8, 16, 0);
    refuse(&r, DAPT_ERROR_UNSUPPORTED, "type IQ2_XXS");
    r = begin_raw(3, 1, 0);
    put_tensor(&r, "a", 40, 12, 0);
    refuse(&r, DAPT_ERROR_INVALID, "no whole blocks of 256");
    r = begin_raw(3, 1, 0);
    put_tensor(&r, "a", UINT64_MAX / 2, 0, 0);
    refuse(&r, DAPT_ERROR_INVALID, "ends beyond");
    r = begin_raw(3, 1, 0);
    put_tensor(&r, "a", 8, 0, 8);
    refuse(&r, DAPT_ERROR_INVALID, "no multiple of 32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_type_is_decoded_as_it_is_defined),
        cmocka_unit_test(q8_0_is_as_near_as_it_can_be),
        cmocka_unit_test(what_was_written_is_read_alike),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(damaged_files_are_errors_that_name_the_file),
        cmocka_unit_test(impossible_files_are_told_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
