// UTF-8 against a decoder that is written the slow way.
#include "base/rng.h"
#include "base/utf8.h"
#include "data_test.h"

// The character at `p`: its length, or 0 when none is well-formed there.
static size_t slow_length(const unsigned char *p, size_t left) {
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80       ? 1
                    : p[0] >> 5 == 6  ? 2
                    : p[0] >> 4 == 14 ? 3
                    : p[0] >> 3 == 30 ? 4
                                      : 0;
    if (length == 0 || length > left) return 0;
    uint32_t value = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (p[i] >> 6 != 2) return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    bool bad = value < lowest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000);
    return bad ? 0 : length;
}

static size_t slow_check(const unsigned char *text, size_t length) {
    size_t at = 0;
    for (size_t step; at < length && (step = slow_length(text + at, length - at)); at += step)
        continue;
    return at;
}

static void check(const unsigned char *text, size_t length) {
    size_t expected = slow_check(text, length), got = dapt_utf8_check((const char *)text, length);
    if (got != expected)
        fail_msg("%02x %02x %02x %02x, %zu bytes: %zu, not %zu", text[0], text[1], text[2], text[3],
                 length, got, expected);
}

// All of two bytes and all of three that begin as such, alone and behind text.
static void test_short(void **state) {
    (void)state;
    unsigned char text[12] = "0123456";
    for (uint32_t code = 0; code < 1 << 24; code += code < 0xc00000 ? 0x101 : 1) {
        for (int i = 0; i < 3; i++) text[7 + i] = (unsigned char)(code >> (16 - 8 * i));
        check(text + 7, 2);
        check(text + 7, 3);
        if ((code & 0xff) == 0x80) check(text, 10);
    }
}

static void test_random(void **state) {
    (void)state;
    static const unsigned char likely[] = {'a',  0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                           0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xee, 0xef,
                                           0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff, 0x00, 0xc3};
    for (uint64_t k = 0; k < 500000; k++) {
        unsigned char text[32];
        size_t length = dapt_random_bits(1, 1, k) % 33;
        for (size_t i = 0; i < length; i++) {
            uint64_t bits = dapt_random_bits(k, 2, i);
            text[i] = bits >> 60 < 4 ? 'x' : likely[bits % sizeof likely];
        }
        if (length >= 4) check(text, length);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_short), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
