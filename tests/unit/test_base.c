// core/base: errors, memory, random numbers, hashes, threads.
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/threads.h"

static void test_fail_keeps_one_clean_line(void **state) {
    (void)state;
    assert_int_equal(dapt_fail(DAPT_ERROR_INVALID, "a\nb\x1b[2Jc %d", 7), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(), "a b?[2Jc 7");
    assert_int_equal(dapt_fail_in(DAPT_ERROR_IO, "file %s", "x"), DAPT_ERROR_IO);
    assert_string_equal(dapt_error(), "file x: a b?[2Jc 7");
    dapt_fail(DAPT_ERROR_INVALID, "again: %s", dapt_error());  // its own text as an argument
    assert_string_equal(dapt_error(), "again: file x: a b?[2Jc 7");
    errno = ENOENT;
    assert_int_equal(dapt_fail_errno("x"), DAPT_ERROR_IO);
    assert_string_equal(dapt_error(), "x: No such file or directory");
}

static void test_long_reason_is_cut_at_a_character(void **state) {
    (void)state;
    struct dapt_string text = {0};
    for (int i = 0; i < 2000; i++) assert_int_equal(dapt_string_format(&text, "é"), DAPT_OK);
    for (int shift = 0; shift < 2; shift++) {
        dapt_fail(DAPT_ERROR_INVALID, "%s%s", shift ? "x" : "", text.data);
        size_t length = strlen(dapt_error());
        assert_true(length > 1000 && length < text.length);
        assert_string_equal(dapt_error() + length - 3, "...");
        assert_int_equal((length - 3 - (size_t)shift) % 2, 0);
    }
    dapt_string_free(&text);
}

static void test_alloc_refuses_overflow(void **state) {
    (void)state;
    assert_null(dapt_alloc(SIZE_MAX / 2, 3));
    assert_non_null(strstr(dapt_error(), "out of memory"));
    assert_null(dapt_alloc_aligned(SIZE_MAX, 1));
    void *array = NULL;
    size_t capacity = 0;
    assert_int_equal(dapt_grow(&array, &capacity, SIZE_MAX / 4, 8), DAPT_ERROR_MEMORY);
    assert_int_equal(capacity, 0);
    struct dapt_arena arena = {0};
    assert_null(dapt_arena_alloc(&arena, SIZE_MAX - 4));
    assert_null(dapt_arena_copy(&arena, "", SIZE_MAX));
    dapt_arena_free(&arena);
    unsigned char *memory = dapt_alloc_aligned(3, 5);
    assert_int_equal((uintptr_t)memory % 64, 0);
    free(memory);
}

static void test_grow_and_strings(void **state) {
    (void)state;
    int *numbers = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t before = capacity;
        assert_int_equal(dapt_grow(&numbers, &capacity, i + 1, sizeof *numbers), DAPT_OK);
        assert_true(capacity == before || capacity >= 2 * before);
        numbers[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(numbers[i], i);
    free(numbers);
    struct dapt_string s = {0};
    assert_int_equal(dapt_string_add(&s, NULL, 0), DAPT_OK);
    assert_string_equal(s.data, "");
    assert_int_equal(dapt_string_add(&s, "a\0b", 3), DAPT_OK);
    assert_int_equal(dapt_string_format(&s, "%d", 42), DAPT_OK);
    assert_int_equal(s.length, 5);
    assert_memory_equal(s.data, "a\0b42", 6);
    dapt_string_free(&s);
}

static void test_arena(void **state) {
    (void)state;
    struct dapt_arena arena = {0};
    unsigned char *all[500];
    for (int i = 0; i < 500; i++) {
        size_t size = (size_t)i * 97;
        all[i] = dapt_arena_alloc(&arena, size);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        for (size_t k = 0; k < size; k++) assert_int_equal(all[i][k], 0);
        memset(all[i], i & 255, size);
    }
    for (int i = 0; i < 500; i++) {  // none was written over by a later one
        for (size_t k = 0; k < (size_t)i * 97; k++) assert_int_equal(all[i][k], i & 255);
    }
    assert_string_equal(dapt_arena_format(&arena, "%s-%d", "x", 3), "x-3");
    assert_string_equal(dapt_arena_copy(&arena, "hello", 4), "hell");
    dapt_arena_free(&arena);
    dapt_arena_free(&arena);
}

// The known answers of the Random123 distribution (kat_vectors, philox4x32, 10 rounds).
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint64_t key, high, low;
        uint32_t out[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x0370734413198a2e,
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        dapt_philox(cases[i].key, cases[i].high, cases[i].low, out);
        for (int k = 0; k < 4; k++) assert_int_equal(out[k], cases[i].out[k]);
    }
}

static void test_random_distribution(void **state) {
    (void)state;
    enum { N = 200000 };
    double uniform = 0, mean = 0, square = 0, fourth = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = dapt_random_uniform(1, 2, i), z = dapt_random_normal(1, 3, i);
        assert_true(u >= 0 && u < 1);
        uniform += u / N;
        mean += z / N;
        square += z * z / N;
        fourth += z * z * z * z / N;
    }
    // Five standard errors each.
    assert_true(fabs(uniform - 0.5) < 5 * 0.2887 / sqrt(N));
    assert_true(fabs(mean) < 5 / sqrt(N));
    assert_true(fabs(square - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(fourth - 3) < 5 * sqrt(96.0 / N));
    assert_true(dapt_random_bits(1, 2, 3) == dapt_random_bits(1, 2, 3));
    assert_true(dapt_random_bits(1, 2, 3) != dapt_random_bits(1, 3, 2));
    assert_true(dapt_random_bits(1, 2, 3) != dapt_random_bits(2, 2, 3));
}

static void check_permutation(uint64_t count, uint8_t *seen) {
    memset(seen, 0, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t p = dapt_permute(count * 7, 1, count, i);
        assert_true(p < count);
        assert_false(seen[p]);
        seen[p] = 1;
    }
}

static void test_permute_is_a_bijection(void **state) {
    (void)state;
    uint8_t *seen = malloc(1 << 18);
    for (uint64_t count = 1; count <= 2000; count++) check_permutation(count, seen);
    static const uint64_t large[] = {4095, 4096, 4097, 65535, 65537, 100003};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) check_permutation(large[i], seen);
    free(seen);
}

static void test_permute_spreads(void **state) {
    (void)state;
    assert_true(dapt_permute(1, 1, UINT64_MAX, UINT64_MAX - 1) < UINT64_MAX);
    assert_true(dapt_permute(1, 1, (UINT64_C(1) << 62) + 1, 5) <= UINT64_C(1) << 62);
    enum { N = 10000 };
    size_t fixed = 0, same = 0;
    double product = 0;  // correlation of position and value
    for (uint64_t i = 0; i < N; i++) {
        uint64_t a = dapt_permute(1, 0, N, i), b = dapt_permute(2, 0, N, i);
        fixed += a == i;
        same += a == b;
        product += ((double)a / N - 0.5) * ((double)i / N - 0.5) * 12 / N;
    }
    assert_true(fixed < 12 && same < 12);  // 1 expected of each
    assert_true(fabs(product) < 5 / sqrt(N));
}

static void test_hash(void **state) {
    (void)state;
    char text[33];
    dapt_hash_text(dapt_hash_bytes("", 0), text);
    assert_string_equal(
        text, "99aa06d3014798d86001c324468d497f");  // XXH3_128bits of nothing, as published
    struct dapt_hasher *hasher;
    assert_int_equal(dapt_hasher_create(&hasher), DAPT_OK);
    dapt_hasher_add(hasher, "hello ", 6);
    dapt_hasher_add(hasher, "world", 5);
    struct dapt_hash a = dapt_hasher_value(hasher), b = dapt_hash_bytes("hello world", 11), c;
    assert_true(a.low == b.low && a.high == b.high);
    dapt_hasher_destroy(&hasher);
    dapt_hasher_destroy(&hasher);
    dapt_hash_text(a, text);
    assert_true(dapt_hash_parse(text, &c));
    assert_true(a.low == c.low && a.high == c.high);
    static const char *const bad[] = {"",
                                      "12",
                                      "99aa06d3014798d86001c324468d497",
                                      "99aa06d3014798d86001c324468d497f0",
                                      "99aa06d3014798d86001c324468d497g",
                                      "99AA06d3014798d86001c324468d497f"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(dapt_hash_parse(bad[i], &c));
}

static struct dapt_hash hash_two(const char *a, const char *b) {
    struct dapt_hasher *hasher;
    assert_int_equal(dapt_hasher_create(&hasher), DAPT_OK);
    dapt_hasher_add_string(hasher, a);
    dapt_hasher_add_string(hasher, b);
    struct dapt_hash value = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return value;
}

static void test_hash_lists_do_not_run_together(void **state) {
    (void)state;
    assert_true(hash_two("ab", "c").low != hash_two("a", "bc").low);
}

struct counts {
    atomic_int items[1000];
    atomic_int workers;
    size_t fail_from;
};

static enum dapt_status count_item(void *context, size_t item, unsigned worker) {
    struct counts *counts = context;
    if (item >= counts->fail_from) return dapt_fail(DAPT_ERROR_INVALID, "item %zu is bad", item);
    atomic_fetch_add(&counts->items[item], 1);
    atomic_fetch_or(&counts->workers, 1 << worker);
    return DAPT_OK;
}

static void test_parallel_runs_each_item_once(void **state) {
    (void)state;
    for (unsigned threads = 0; threads < 6; threads++) {
        struct counts *counts = calloc(1, sizeof *counts);
        counts->fail_from = SIZE_MAX;
        assert_int_equal(dapt_parallel(threads, 1000, count_item, counts), DAPT_OK);
        for (int i = 0; i < 1000; i++) assert_int_equal(counts->items[i], 1);
        if (threads) assert_true(counts->workers < 1 << threads);
        free(counts);
    }
    assert_int_equal(dapt_parallel(4, 0, count_item, NULL), DAPT_OK);
    assert_true(dapt_processors() >= 1);
}

static void test_parallel_reports_the_failure(void **state) {
    (void)state;
    struct counts *counts = calloc(1, sizeof *counts);
    counts->fail_from = 999;
    assert_int_equal(dapt_parallel(4, 1000, count_item, counts), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(), "item 999 is bad");
    counts->fail_from = 0;
    assert_int_equal(dapt_parallel(4, 1000, count_item, counts), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(), "item 0 is bad");
    free(counts);
}

static void test_cancel(void **state) {
    (void)state;
    assert_false(dapt_cancelled());
    dapt_cancel();
    assert_true(dapt_cancelled());
    dapt_cancel_reset();
    assert_false(dapt_cancelled());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_keeps_one_clean_line),
        cmocka_unit_test(test_long_reason_is_cut_at_a_character),
        cmocka_unit_test(test_alloc_refuses_overflow),
        cmocka_unit_test(test_grow_and_strings),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_random_distribution),
        cmocka_unit_test(test_permute_is_a_bijection),
        cmocka_unit_test(test_permute_spreads),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_hash_lists_do_not_run_together),
        cmocka_unit_test(test_parallel_runs_each_item_once),
        cmocka_unit_test(test_parallel_reports_the_failure),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
