// Patterns that Oniguruma and PCRE2 read differently: each splits a text as Hugging Face tokenizers does
// (patterns.json, written by make_patterns.py), or is refused.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "regex.h"

static cJSON *file;

static int prepare(void **state) {
    char path[4096];
    size_t length = 0;
    (void)state;
    snprintf(path, sizeof path, "%s/tests/tokenizers/patterns.json", getenv("DAPT_TEST_SOURCE"));
    char *text = fixture_read(path, &length);
    file = text ? cJSON_ParseWithLength(text, length) : NULL;
    free(text);
    return file ? 0 : -1;
}

static int release(void **state) {
    (void)state;
    cJSON_Delete(file);
    return 0;
}

// Takes the next expected piece, which must be text [from, to).
static void take(const char *pattern, const cJSON **piece, const char *text, size_t from,
                 size_t to) {
    if (from == to) return;
    const char *expected = *piece ? (*piece)->valuestring : "nothing more";
    if (!*piece || strlen(expected) != to - from || memcmp(expected, text + from, to - from) != 0)
        fail_msg("%s: gives \"%.*s\", expected \"%s\"", pattern, (int)(to - from), text + from,
                 expected);
    *piece = (*piece)->next;
}

static void check(const char *pattern, const struct hf_regex *regex, const char *text,
                  const cJSON *pieces) {
    struct hf_matcher *matcher = hf_matcher_create();
    struct hf_find find = {0};
    const cJSON *piece = pieces->child;
    size_t length = strlen(text), at = 0, start, end;
    assert_non_null(matcher);
    while (hf_regex_next(regex, matcher, &fixture_host, text, length, &find, &start, &end) ==
           DAPT_OK) {
        take(pattern, &piece, text, at, start);
        take(pattern, &piece, text, start, end);
        at = end;
    }
    take(pattern, &piece, text, at, length);
    if (piece) fail_msg("%s: \"%s\" is not given", pattern, piece->valuestring);
    hf_matcher_free(matcher);
}

static void test_patterns(void **state) {
    const char *text = cJSON_GetObjectItem(file, "text")->valuestring;
    const cJSON *row;
    int taken = 0, refused = 0;
    (void)state;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(file, "rows")) {
        const char *pattern = cJSON_GetObjectItem(row, "pattern")->valuestring;
        const cJSON *pieces = cJSON_GetObjectItem(row, "pieces");
        struct hf_regex *regex = NULL;
        enum dapt_status status = hf_regex_compile(&fixture_host, "test", pattern, strlen(pattern),
                                                   false, &regex);
        if (status && cJSON_IsTrue(cJSON_GetObjectItem(row, "taken")))
            fail_msg("%s: %s", pattern, fixture_error());
        if (!status && !cJSON_IsArray(pieces))
            fail_msg("%s: was taken, and is none for Oniguruma", pattern);
        if (!status) check(pattern, regex, text, pieces);
        taken += !status;
        refused += status != DAPT_OK;
        hf_regex_free(regex);
    }
    printf("%d patterns as Oniguruma reads them, %d refused\n", taken, refused);
    assert_true(taken > 60 && refused > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patterns)};
    return cmocka_run_group_tests(tests, prepare, release);
}
