// The hand-written splitters cut exactly where PCRE2 does with the same pattern.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "regex.h"
#include "split_fast.h"
#include "unicode.h"

static const char *const patterns[] = {
    hf_gpt2_pattern,
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

static struct {
    struct hf_regex *regex[PATTERNS], *unassigned;
    hf_splitter split[PATTERNS];
    struct hf_matcher *matcher;
} set;

static int prepare(void **state) {
    (void)state;
    set.matcher = hf_matcher_create();
    if (!set.matcher || !hf_unicode_ready()) return -1;
    for (int i = 0; i < PATTERNS; i++) {
        size_t length = strlen(patterns[i]);
        set.split[i] = hf_splitter_for(patterns[i], length);
        if (!set.split[i]) return -1;
        if (hf_regex_compile(&fixture_host, "test", patterns[i], length, false, &set.regex[i]))
            return -1;
    }
    return hf_regex_compile(&fixture_host, "test", "\\p{Cn}", 6, false, &set.unassigned);
}

static int release(void **state) {
    (void)state;
    for (int i = 0; i < PATTERNS; i++) hf_regex_free(set.regex[i]);
    hf_regex_free(set.unassigned);
    hf_matcher_free(set.matcher);
    return 0;
}

static size_t compare(const char *text, size_t length) {
    size_t pieces = 0;
    for (int i = 0; i < PATTERNS; i++) {
        struct hf_find find = {0};
        for (size_t at = 0; at < length; pieces++) {
            size_t start, end, mine = set.split[i](text, at, length);
            enum dapt_status status = hf_regex_next(set.regex[i], set.matcher, &fixture_host, text,
                                                    length, &find, &start, &end);
            assert_int_equal(status, DAPT_OK);
            if (start != at || end != mine) {
                size_t from = at > 20 ? at - 20 : 0;
                while (from && ((unsigned char)text[from] & 0xc0) == 0x80) from--;
                fail_msg("pattern %d at byte %zu: PCRE2 %zu..%zu, by hand ..%zu; \"%.*s\"", i, at,
                         start, end, mine,
                         (int)(end + 10 < length ? end + 10 - from : length - from), text + from);
            }
            at = end;
        }
    }
    return pieces;
}

// Each character between the kinds of neighbours that matter. Letters and numbers that this PCRE2
// does not know yet are left out, and counted.
static void characters(void **state) {
    static const char *const frames[] = {"a%sb", "1%s2%s", " %s%s", "'%s",  "\n%s\n",
                                         "%s",   " %s ",   "'r%s",  ".%sa", "%s1%s'S"};
    unsigned known = 0, unlike = 0;
    (void)state;
    for (uint32_t code = 1; code < 0x110000; code++) {
        if (code == 0xd800) code = 0xe000;
        if (code == 0x32400) code = 0xe0000;
        if (code == 0xe0200) code = 0x10fff0;
        char one[5] = {0}, text[256];
        struct hf_find find = {0};
        size_t start, end, used = 0;
        hf_utf8_put(code, one);
        bool unknown = hf_regex_next(set.unassigned, set.matcher, &fixture_host, one, strlen(one),
                                     &find, &start, &end) == DAPT_OK;
        if (unknown && (hf_class(code) & (HF_LETTER | HF_NUMBER))) {
            unlike++;
            continue;
        }
        known += !unknown;
        for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
            for (const char *p = frames[i]; *p; p++) {
                if (*p == '%') {
                    memcpy(text + used, one, strlen(one));
                    used += strlen(one);
                    p++;
                } else {
                    text[used++] = *p;
                }
            }
        compare(text, used);
    }
    printf("%u characters; %u letters and numbers unknown to PCRE2\n", known, unlike);
    assert_true(known > 100000 && unlike < 20000);
}

static uint64_t seed = 1;
static uint32_t draw(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

static void random_texts(void **state) {
    static const char *const parts[] = {"a",
                                        "B",
                                        "word",
                                        "1",
                                        "23",
                                        "4567",
                                        " ",
                                        "  ",
                                        "    ",
                                        "\n",
                                        "\r\n",
                                        "\n\n",
                                        "\t",
                                        "'",
                                        "'s",
                                        "'LL",
                                        "'re",
                                        "'V",
                                        "'\xc5\xbf",
                                        "\xc5\xbf",
                                        ".",
                                        "!?",
                                        "--",
                                        "/",
                                        "(",
                                        "_",
                                        "\xc3\xa9",
                                        "e\xcc\x81",
                                        "\xe6\x97\xa5",
                                        "\xd0\x96",
                                        "\xc2\xa0",
                                        "\xe3\x80\x80",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "\xe2\x85\xa7",
                                        "\xc2\xb2",
                                        "\xf0\x9f\x99\x82",
                                        "\xe2\x80\x8d",
                                        "\xf0\x9d\x95\x8f",
                                        "\xe1\xa0\x8e",
                                        "\xd9\xa3",
                                        "\xef\xbb\xbf",
                                        "\x01"};
    size_t pieces = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[512];
        size_t used = 0;
        for (uint32_t k = draw(40) + 1; k > 0; k--) {
            const char *part = parts[draw(sizeof parts / sizeof *parts)];
            memcpy(text + used, part, strlen(part));
            used += strlen(part);
        }
        pieces += compare(text, used);
    }
    assert_true(pieces > 500000);
}

static void real_text(void **state) {
    static const char *const names[] = {
        "corpora/wikitext2/valid.txt", "corpora/man-pages/heldout.jsonl",
        "corpora/dc-law/heldout.jsonl", "corpora/anatomy/heldout.jsonl"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = fixture_data(names[i]);
        size_t length, ascii;
        if (!path) skip();
        char *text = fixture_read(path, &length);
        assert_non_null(text);
        assert_int_equal(hf_utf8_valid(text, length, &ascii), length);
        assert_true(compare(text, length) > 10000);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(real_text),
    };
    return cmocka_run_group_tests(tests, prepare, release);
}
