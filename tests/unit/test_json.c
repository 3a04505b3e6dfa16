// core/host/json.h: strictness, places, values, damage.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/rng.h"
#include "host/json.h"

static struct dapt_json *parse(const char *text) {
    struct dapt_json *root;
    if (dapt_json_parse("t.json", text, strlen(text), &root))
        fail_msg("%s: %s", text, dapt_error());
    return root;
}

static void refused(const char *text, size_t length, const char *reason) {
    struct dapt_json *root = (struct dapt_json *)8;
    assert_int_equal(dapt_json_parse("t.json", text, length, &root), DAPT_ERROR_INVALID);
    assert_null(root);
    assert_string_equal(dapt_error(), reason);
}

static void test_refuses(void **state) {
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "t.json:1:1: expected a value, but the file ends here"},
        {"{", "t.json:1:2: expected a name in quotes or '}', but the file ends here"},
        {"{\"a\"", "t.json:1:5: expected ':' after the name, but the file ends here"},
        {"{\"a\":1", "t.json:1:7: expected ',' or '}', but the file ends here"},
        {"[1 2]", "t.json:1:4: expected ',' or ']', found '2'"},
        {"[1,]", "t.json:1:4: a comma may not stand before ']'"},
        {"{\"a\":1,}", "t.json:1:8: a comma may not stand before '}'"},
        {"{\"a\":1,\n  \"b\": tru}", "t.json:2:8: expected a value, found 't'"},
        {"[01]", "t.json:1:2: a number may not start with 0"},
        {"[1.]", "t.json:1:4: expected a digit after the point, found ']'"},
        {"[1e]", "t.json:1:4: expected a digit in the exponent, found ']'"},
        {"[-]", "t.json:1:3: expected a digit, found ']'"},
        {"[NaN]", "t.json:1:2: expected a value, found 'N'"},
        {"[+1]", "t.json:1:2: expected a value, found '+'"},
        {"1 1", "t.json:1:3: expected the end of the file, found '1'"},
        {"// hi\n1", "t.json:1:1: comments are not JSON"},
        {"\"abc", "t.json:1:1: this string does not end"},
        {"\"a\nb\"", "t.json:1:3: a string may not go over the end of its line"},
        {"\"\\x\"", "t.json:1:2: a backslash here must be followed by one of \"\\/bfnrtu"},
        {"\"\\u12\"", "t.json:1:2: \\u must be followed by four hexadecimal digits"},
        {"\"\\u0000\"", "t.json:1:2: a NUL character is not allowed in a string"},
        {"\"\\ud800\"", "t.json:1:2: half of a surrogate pair"},
        {"\"\\udc00\"", "t.json:1:2: half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "t.json:1:2: half of a surrogate pair"},
        {"\"\xff\"", "t.json:1:2: not valid UTF-8"},
        {"\"\xc0\x80\"", "t.json:1:2: not valid UTF-8"},
        {"\"\xed\xa0\x80\"", "t.json:1:2: not valid UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "t.json:1:2: not valid UTF-8"},
        {"\"\xe2\x82\"", "t.json:1:2: not valid UTF-8"},
        {"[\"äöü\", x]", "t.json:1:9: expected a value, found 'x'"},
        {"{\"a\": 1, \"b\": {\"c\": 1,\n\"c\": 2}}",
         "t.json:2:1: b.c: stands twice in this object"},
        {"{\"a\": 1, \"\\u0061\": 2}", "t.json:1:10: a: stands twice in this object"},
        {"{a: 1}", "t.json:1:2: expected a name in quotes or '}', found 'a'"},
        {"[é]", "t.json:1:2: expected a value, found 'é'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].reason);
    refused("\"a\0b\"", 5,
            "t.json:1:3: a control character in a string must be written as \\u00XX");
    refused("1\0", 2, "t.json:1:2: expected the end of the file, found ''");
    char digits[80];
    memset(digits, '1', sizeof digits);
    refused(digits, sizeof digits, "t.json:1:1: a number of more than 60 characters");
}

static void test_depth(void **state) {
    (void)state;
    enum { DEEP = 200000 };
    char *text = malloc(DEEP);
    memset(text, '[', DEEP);
    refused(text, DEEP, "t.json:1:129: nested deeper than 128 levels");
    for (int i = 0; i < DEEP; i++) text[i] = "{\"a\":"[i % 5];
    refused(text, DEEP, "t.json:1:641: nested deeper than 128 levels");
    memset(text, '[', 128);
    memset(text + 128, ']', 128);
    struct dapt_json *root;
    assert_int_equal(dapt_json_parse("t", text, 256, &root), DAPT_OK);
    dapt_json_free(&root);
    free(text);
}

static void test_values(void **state) {
    (void)state;
    struct dapt_json *root = parse(
        "\xef\xbb\xbf{\"s\": \"a\\u00e9\\n\\ud83d\\ude00\", \"n\": -1.5e3, \"i\": "
        "9007199254740993, \"t\": true,"
        " \"z\": null, \"e\": 2e3, \"o\": {\"a\": [1, {\"b\": \"deep\"}]}, \"big\": 1e999, "
        "\"huge\": 9223372036854775808}");
    const char *s = "before";
    double n = 0;
    int64_t i = 0;
    bool t = false;
    assert_int_equal(dapt_json_get_string(root, "s", &s), DAPT_OK);
    assert_string_equal(s, "aé\n😀");
    assert_int_equal(dapt_json_get_string(root, "z", &s), DAPT_OK);  // null and absent leave it
    assert_int_equal(dapt_json_get_string(root, "missing", &s), DAPT_OK);
    assert_string_equal(s, "aé\n😀");
    assert_int_equal(dapt_json_get_number(root, "n", &n), DAPT_OK);
    assert_true(n == -1500);
    assert_int_equal(dapt_json_get_integer(root, "i", 0, INT64_MAX, &i), DAPT_OK);
    assert_true(i == INT64_C(9007199254740993));
    assert_int_equal(dapt_json_get_integer(root, "e", 0, 5000, &i), DAPT_OK);
    assert_int_equal(i, 2000);
    assert_int_equal(dapt_json_get_bool(root, "t", &t), DAPT_OK);
    assert_true(t);
    assert_int_equal(dapt_json_get_integer(root, "n", 0, 5, &i), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(),
                        "t.json:1:37: n: expected an integer from 0 to 5, got -1.5e3");
    assert_int_equal(dapt_json_get_integer(root, "huge", 0, INT64_MAX, &i), DAPT_ERROR_INVALID);
    assert_int_equal(dapt_json_get_number(root, "big", &n), DAPT_ERROR_INVALID);
    assert_int_equal(dapt_json_get_bool(root, "s", &t), DAPT_ERROR_INVALID);
    assert_int_equal(dapt_json_get_string(root, "o", &s), DAPT_ERROR_INVALID);
    assert_string_equal(strstr(dapt_error(), "o: "), "o: expected a string, got an object");

    const struct dapt_json *array = dapt_json_find(root, "o.a"), *member;
    assert_int_equal(dapt_json_count(array), 2);
    assert_string_equal(dapt_json_name(array), "a");
    assert_null(dapt_json_at(array, 2));
    assert_int_equal(dapt_json_string(dapt_json_member(dapt_json_at(array, 1), "b"), &s), DAPT_OK);
    assert_string_equal(s, "deep");
    assert_int_equal(dapt_json_need(dapt_json_at(array, 1), "c", DAPT_JSON_STRING, &member),
                     DAPT_ERROR_INVALID);
    assert_non_null(strstr(dapt_error(), "o.a[1]: \"c\" is missing here, expected a string"));
    assert_null(dapt_json_find(root, "o.a.b"));
    assert_null(dapt_json_find(root, "s.x"));
    assert_null(dapt_json_member(NULL, "a"));
    assert_int_equal(dapt_json_string(NULL, &s), DAPT_ERROR_INVALID);
    dapt_json_free(&root);
    dapt_json_free(&root);
}

static void assert_written(const struct dapt_json *value, const char *expected) {
    struct dapt_string out = {0};
    assert_int_equal(dapt_json_write(value, &out), DAPT_OK);
    assert_string_equal(out.data, expected);
    dapt_string_free(&out);
}

static void test_write_keeps_spelling(void **state) {
    (void)state;
    struct dapt_json *root = parse(
        " {\"b\":[1.50,1e-05 ,\"q\\\"\\\\\\u0001\\u00e9\"],\"a\":{},\"n\":null} ");
    assert_written(root, "{\"b\": [1.50, 1e-05, \"q\\\"\\\\\\u0001é\"], \"a\": {}, \"n\": null}");
    dapt_json_free(&root);
    static const double numbers[] = {
        0, 1, -1, 0.1, 1e-8, 1e300, 123456789.125, 0x1.fffffffffffffp-3, 5e-324};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct dapt_string out = {0};
        assert_int_equal(dapt_json_write_number(&out, numbers[i]), DAPT_OK);
        assert_true(strtod(out.data, NULL) == numbers[i]);
        dapt_string_free(&out);
    }
    struct dapt_string out = {0};
    dapt_json_write_number(&out, 0.1);
    dapt_json_write_number(&out, (double)NAN);
    assert_string_equal(out.data, "0.1null");
    dapt_string_free(&out);
}

static enum dapt_status set(struct dapt_json *root, const char *path, const char *text) {
    struct dapt_json *value;
    assert_int_equal(dapt_json_parse("--set", text, strlen(text), &value), DAPT_OK);
    return dapt_json_set(root, path, value);
}

static void test_set(void **state) {
    (void)state;
    struct dapt_json *root = parse("{\"a\": {\"b\": 1, \"c\": 2}, \"d\": 3}");
    assert_int_equal(set(root, "a.b", "\"x\""), DAPT_OK);
    assert_int_equal(set(root, "e.f.g", "[1]"), DAPT_OK);
    assert_int_equal(set(root, "e.f.h", "{\"z\": 5}"), DAPT_OK);
    assert_int_equal(set(root, "e.f.h.z", "6"), DAPT_OK);
    assert_int_equal(set(root, "d.x", "1"), DAPT_ERROR_INVALID);
    assert_int_equal(set(root, "", "1"), DAPT_ERROR_INVALID);
    assert_int_equal(set(root, "a..b", "1"), DAPT_ERROR_INVALID);
    assert_written(root,
                   "{\"a\": {\"b\": \"x\", \"c\": 2}, \"d\": 3, \"e\": {\"f\": {\"g\": [1], \"h\": "
                   "{\"z\": 6}}}}");
    int64_t i;
    assert_int_equal(dapt_json_integer(dapt_json_find(root, "a.b"), 1, 2, &i), DAPT_ERROR_INVALID);
    assert_string_equal(dapt_error(), "--set: a.b: expected an integer from 1 to 2, got \"x\"");
    dapt_json_free(&root);
}

static void test_many_members(void **state) {
    (void)state;
    enum { MANY = 100000 };
    struct dapt_string text = {0};
    for (int i = 0; i < MANY; i++)
        dapt_string_format(&text, "%s\"k%d\": %d", i ? ", " : "{", i * 7919 % MANY, i);
    dapt_string_add(&text, "}", 1);
    struct dapt_json *root = parse(text.data);
    assert_int_equal(dapt_json_count(root), MANY);
    for (int i = 0; i < MANY; i += 13) {
        char name[16];
        int64_t value = -1;
        snprintf(name, sizeof name, "k%d", i * 7919 % MANY);
        assert_int_equal(dapt_json_get_integer(root, name, 0, MANY, &value), DAPT_OK);
        assert_int_equal(value, i);
    }
    dapt_json_free(&root);
    dapt_string_free(&text);
}

static const char sample[] =
    "{\"model\": \"m\\u00e9\\ud83d\\ude00\", \"data\": {\"domain\": [\"a\", {\"path\": \"b/\", "
    "\"weight\": 0.5}], \"eval\": null},\n"
    " \"train\": {\"batch\": 64, \"clip\": -1.0e+2, \"t\": true, \"f\": false, \"x\": [[], {}, "
    "[{}]]}, \"é\": \"\xf0\x9f\x98\x80\"}";

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    for (size_t length = 0; length + 1 < sizeof sample; length++) {
        char *copy = malloc(length ? length
                                   : 1);  // exact, so that reading on is seen by a sanitizer
        memcpy(copy, sample, length);
        struct dapt_json *root;
        assert_int_equal(dapt_json_parse("t.json", copy, length, &root), DAPT_ERROR_INVALID);
        assert_null(root);
        free(copy);
    }
    struct dapt_json *root = parse(sample);
    dapt_json_free(&root);
}

// What survives a mutation must survive writing and reading again.
static void test_mutations_do_no_harm(void **state) {
    (void)state;
    size_t accepted = 0;
    for (uint64_t round = 0; round < 30000; round++) {
        char copy[sizeof sample];
        memcpy(copy, sample, sizeof sample);
        size_t length = sizeof sample - 1, changes = 1 + dapt_random_bits(1, round, 0) % 3;
        for (size_t k = 1; k <= changes; k++) {
            uint64_t bits = dapt_random_bits(1, round, k);
            static const char likely[] = "{}[]\",:\\0u1e-.tn \xc3\xff";
            copy[bits % length] = bits >> 40 & 1 ? (char)(bits >> 48)
                                                 : likely[(bits >> 48) % (sizeof likely - 1)];
        }
        struct dapt_json *root, *again;
        if (dapt_json_parse("t.json", copy, length, &root) != DAPT_OK) {
            assert_int_equal(strncmp(dapt_error(), "t.json:", 7), 0);
            continue;
        }
        accepted++;
        struct dapt_string out = {0}, out_again = {0};
        assert_int_equal(dapt_json_write(root, &out), DAPT_OK);
        assert_int_equal(dapt_json_parse("w", out.data, out.length, &again), DAPT_OK);
        assert_int_equal(dapt_json_write(again, &out_again), DAPT_OK);
        assert_string_equal(out.data, out_again.data);
        dapt_string_free(&out);
        dapt_string_free(&out_again);
        dapt_json_free(&root);
        dapt_json_free(&again);
    }
    assert_true(accepted > 1000);
}

static void test_read_limit(void **state) {
    (void)state;
    char path[] = "/tmp/dapt-test-json-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(dapt_file_write(path, "{\"a\": 1}", 8), DAPT_OK);
    struct dapt_json *root;
    assert_int_equal(dapt_json_read(path, 8, &root), DAPT_OK);
    dapt_json_free(&root);
    assert_int_equal(dapt_json_read(path, 7, &root), DAPT_ERROR_INVALID);
    assert_null(root);
    assert_int_equal(dapt_json_read("/nowhere.json", 7, &root), DAPT_ERROR_IO);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_write_keeps_spelling),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_mutations_do_no_harm),
        cmocka_unit_test(test_read_limit),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
