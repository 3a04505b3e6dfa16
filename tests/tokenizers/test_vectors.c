// Ids and decoded text of real tokenizers, as Hugging Face tokenizers gave them (optional test
// data).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static void check_ids(const char *what, const cJSON *row, const char *key,
                      const struct fixture_ids *ids) {
    const cJSON *expected = cJSON_GetObjectItem(row, key);
    size_t count = (size_t)cJSON_GetArraySize(expected), i = 0;
    assert_true(cJSON_IsArray(expected));
    for (const cJSON *item = expected->child; item; item = item->next, i++)
        if (i >= ids->count || ids->data[i] != (uint32_t)item->valueint)
            fail_msg("%s, %s: id %zu is %ld, expected %d; text: %.200s", what, key, i,
                     i < ids->count ? (long)ids->data[i] : -1L, item->valueint,
                     cJSON_GetObjectItem(row, "text")->valuestring);
    if (ids->count != count)
        fail_msg("%s, %s: %zu ids, expected %zu", what, key, ids->count, count);
}

static void check_row(const struct dapt_tokenizer_1 *tokenizer, void *handle, const char *what,
                      const cJSON *row) {
    struct fixture_ids ids = {0};
    struct fixture_text decoded = {0};
    char *text, *expected;
    size_t length = fixture_string(cJSON_GetObjectItem(row, "text"), &text);
    size_t expected_length = fixture_string(cJSON_GetObjectItem(row, "decoded"), &expected);
    fixture_encode(tokenizer, handle, text, length, DAPT_ENCODE_SPECIAL, &ids);
    check_ids(what, row, "ids_special", &ids);
    for (int again = 0; again < 2; again++) {  // the second time from the cache
        fixture_encode(tokenizer, handle, text, length, 0, &ids);
        check_ids(what, row, "ids", &ids);
    }
    fixture_decode(tokenizer, handle, ids.data, ids.count, 0, &decoded);
    if (decoded.length != expected_length ||
        (expected_length && memcmp(decoded.data, expected, expected_length)))
        fail_msg("%s: decoded \"%.*s\", expected \"%.300s\"", what,
                 (int)(decoded.length < 300 ? decoded.length : 300), decoded.data, expected);
    free(ids.data);
    free(decoded.data);
    free(text);
    free(expected);
}

static void vectors(void **state) {
    const struct dapt_tokenizer_1 *tokenizer = fixture_tokenizer("hf");
    const char *name = *state;
    char folder[4096], file[4096 + 16];
    const char *found = fixture_data(name);
    if (!found) skip();
    snprintf(folder, sizeof folder, "%s", found);
    snprintf(file, sizeof file, "%s/vectors.json", folder);
    cJSON *rows = fixture_json(file);
    void *handle = NULL;
    assert_non_null(rows);
    if (tokenizer->open(&fixture_host, NULL, folder, &handle) != DAPT_OK)
        fail_msg("%s: %s", name, fixture_error());
    int count = 0;
    for (const cJSON *row = rows->child; row; row = row->next, count++) {
        char what[256];
        snprintf(what, sizeof what, "%s, text %d", name, count);
        check_row(tokenizer, handle, what, row);
    }
    assert_true(count > 20);
    tokenizer->close(handle);
    cJSON_Delete(rows);
}

static void specials(void **state) {
    static const struct {
        const char *folder;
        int64_t ids[4];  // bos, eos, pad, unk
        uint32_t size;
    } expected[] = {{"tokenizers/gpt2", {50256, 50256, -1, 50256}, 50257},
                    {"tokenizers/llama3_1", {128000, 128009, -1, -1}, 128256},
                    {"tokenizers/qwen3", {-1, 151645, 151643, -1}, 151669},
                    {"tokenizers/bert", {-1, -1, 0, 100}, 30522},
                    {"models/stories260k", {1, 2, -1, 0}, 512},
                    {"models/tinystories-656k", {1, 2, 0, 0}, 2048}};
    const struct dapt_tokenizer_1 *tokenizer = fixture_tokenizer("hf");
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *folder = fixture_data(expected[i].folder);
        void *handle = NULL;
        if (!folder) skip();
        assert_int_equal(tokenizer->open(&fixture_host, NULL, folder, &handle), DAPT_OK);
        for (int part = 0; part < 4; part++)
            assert_int_equal(tokenizer->special_id(handle, (enum dapt_special)part),
                             expected[i].ids[part]);
        assert_int_equal(tokenizer->vocab_size(handle), expected[i].size);
        tokenizer->close(handle);
    }
}

int main(void) {
    static char names[][32] = {"tokenizers/gpt2", "tokenizers/llama3_1", "tokenizers/qwen3",
                               "tokenizers/bert", "models/stories260k",  "models/tinystories-656k"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(vectors, names[0]),
        cmocka_unit_test_prestate(vectors, names[1]),
        cmocka_unit_test_prestate(vectors, names[2]),
        cmocka_unit_test_prestate(vectors, names[3]),
        cmocka_unit_test_prestate(vectors, names[4]),
        cmocka_unit_test_prestate(vectors, names[5]),
        cmocka_unit_test(specials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
