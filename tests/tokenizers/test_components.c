// Every component and option in small tokenizers, with the ids and texts that Hugging Face
// tokenizers gave (components.json, written by make_components.py). DAPT_TOKENIZER_CASES names
// another such file to be run too.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static const struct dapt_tokenizer_1 *tokenizer;
static int checked;

static void put_ids(char *out, size_t size, const uint32_t *ids, size_t count) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < count && used + 16 < size; i++)
        used += (size_t)snprintf(out + used, size - used, " %u", ids[i]);
}

static bool same_ids(const cJSON *list, const struct fixture_ids *ids) {
    size_t i = 0;
    for (const cJSON *item = list->child; item; item = item->next, i++)
        if (i >= ids->count || ids->data[i] != (uint32_t)item->valuedouble) return false;
    return i == ids->count;
}

static void complain(const cJSON *one, const char *what, const char *text, const cJSON *expected,
                     const struct fixture_ids *ids) {
    char got[2000], *spec = cJSON_PrintUnformatted(cJSON_GetObjectItem(one, "spec"));
    char *wanted = cJSON_PrintUnformatted(expected);
    put_ids(got, sizeof got, ids->data, ids->count);
    fail_msg("%s, model %s, %s: %s of \"%s\"\n  got      %s\n  expected %s",
             cJSON_GetObjectItem(one, "name")->valuestring,
             cJSON_GetObjectItem(one, "model")->valuestring, spec, what, text, got, wanted);
}

// What stands there itself, or by its number in a list of the file.
static const cJSON *resolve(const cJSON *file, const char *list, const cJSON *item) {
    if (!cJSON_IsNumber(item)) return item;
    const cJSON *found = cJSON_GetArrayItem(cJSON_GetObjectItem(file, list), item->valueint);
    assert_non_null(found);
    return found;
}

static void check_text(void *handle, const cJSON *one, const cJSON *file, const cJSON *row) {
    struct fixture_ids ids = {0};
    const cJSON *text = resolve(file, "texts", row->child),
                *plain = resolve(file, "lists", row->child->next);
    const cJSON *more = row->child->next->next,
                *special = more ? resolve(file, "lists", more) : plain;
    char *bytes;
    size_t length = fixture_string(text, &bytes);
    for (int again = 0; again < 2; again++) {  // the second time from the cache
        fixture_encode(tokenizer, handle, bytes, length, 0, &ids);
        if (!same_ids(plain, &ids)) complain(one, "ids", text->valuestring, plain, &ids);
    }
    fixture_encode(tokenizer, handle, bytes, length, DAPT_ENCODE_SPECIAL, &ids);
    if (!same_ids(special, &ids))
        complain(one, "ids with specials", text->valuestring, special, &ids);
    free(bytes);
    free(ids.data);
    checked++;
}

static void check_decoding(void *handle, const cJSON *one, const cJSON *row) {
    struct fixture_text text = {0};
    struct fixture_ids ids = {0};
    const cJSON *list = row->child, *plain = list->next,
                *skipping = plain->next ? plain->next : plain;
    for (const cJSON *item = list->child; item; item = item->next) {
        uint32_t id = (uint32_t)item->valuedouble;
        fixture_emit_ids(&ids, &id, 1);
    }
    for (int skip = 0; skip < 2; skip++) {
        char *expected;
        size_t length = fixture_string(skip ? skipping : plain, &expected);
        fixture_decode(tokenizer, handle, ids.data, ids.count, skip ? DAPT_DECODE_SKIP_SPECIAL : 0,
                       &text);
        if (text.length != length || (length && memcmp(text.data, expected, length)))
            complain(one, skip ? "text without specials" : "text", text.length ? text.data : "",
                     row, &ids);
        free(expected);
    }
    free(text.data);
    free(ids.data);
    checked++;
}

static void run_case(const cJSON *file, const cJSON *one) {
    cJSON *root = cJSON_Duplicate(cJSON_GetObjectItem(one, "spec"), 1);
    const cJSON *models = cJSON_GetObjectItem(file, "models");
    const cJSON *model = cJSON_GetObjectItem(models,
                                             cJSON_GetObjectItem(one, "model")->valuestring);
    void *handle = NULL;
    assert_non_null(root);
    assert_non_null(model);
    cJSON_AddStringToObject(root, "version", "1.0");
    cJSON_AddItemToObject(root, "model", cJSON_Duplicate(model, 1));
    char *json = fixture_print(root);
    const char *path = fixture_write("case.json", json, strlen(json));
    if (tokenizer->open(&fixture_host, NULL, path, &handle) != DAPT_OK)
        fail_msg("%s: %s", cJSON_GetObjectItem(one, "name")->valuestring, fixture_error());
    for (const cJSON *row = cJSON_GetObjectItem(one, "texts")->child; row; row = row->next)
        check_text(handle, one, file, row);
    for (const cJSON *row = cJSON_GetObjectItem(one, "decodes")->child; row; row = row->next)
        check_decoding(handle, one, row);
    tokenizer->close(handle);
    remove(path);
    free(json);
    cJSON_Delete(root);
}

static void run_file(const char *path, int at_least) {
    cJSON *file = fixture_json(path);
    int count = 0;
    if (!file) fail_msg("can't read %s", path);
    checked = 0;
    for (const cJSON *one = cJSON_GetObjectItem(file, "cases")->child; one;
         one = one->next, count++)
        run_case(file, one);
    assert_true(count >= at_least && checked > count);
    printf("%d tokenizers, %d texts and decodings\n", count, checked);
    cJSON_Delete(file);
}

static void components(void **state) {
    char path[4096];
    const char *source = getenv("DAPT_TEST_SOURCE");
    (void)state;
    assert_non_null(source);
    snprintf(path, sizeof path, "%s/tests/tokenizers/components.json", source);
    run_file(path, 200);
}

static void others(void **state) {
    const char *path = getenv("DAPT_TOKENIZER_CASES");
    (void)state;
    if (!path) {
        printf("skipped: DAPT_TOKENIZER_CASES names no further file of cases\n");
        skip();
    }
    run_file(path, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(components), cmocka_unit_test(others)};
    tokenizer = fixture_tokenizer("hf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
