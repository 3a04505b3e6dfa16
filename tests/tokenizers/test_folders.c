// Models' folders without tokenizer.json, with the ids and texts that transformers gave
// (folders.json, written by make_folders.py). DAPT_TOKENIZER_FOLDERS names another such file to be
// run too.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

static const struct dapt_tokenizer_1 *tokenizer;

static void put_file(const char *folder, const char *name, const char *data, size_t length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(char folder[64]) {
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, 64, "%.40s/dapt-folders-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(folder));
}

static void remove_folder(const char *folder) {
    static const char *const names[] = {"tokenizer.json",
                                        "vocab.txt",
                                        "vocab.json",
                                        "merges.txt",
                                        "config.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json"};
    char path[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void check_ids(const char *name, const char *text, const cJSON *expected,
                      const struct fixture_ids *ids) {
    size_t i = 0;
    for (const cJSON *item = expected->child; item; item = item->next, i++)
        if (i >= ids->count || ids->data[i] != (uint32_t)item->valuedouble)
            fail_msg("%s: id %zu of \"%s\" is %ld, expected %g", name, i, text,
                     i < ids->count ? (long)ids->data[i] : -1L, item->valuedouble);
    if (i != ids->count)
        fail_msg("%s: \"%s\" has %zu ids, expected %zu", name, text, ids->count, i);
}

// A row: the text, its ids, those with special tokens, and what these decode to, with and without
// special tokens; the text alone where it has no ids.
static void check_row(void *handle, const char *name, const cJSON *row) {
    struct fixture_ids ids = {0};
    struct fixture_text text = {0};
    char *bytes, *expected;
    const cJSON *item = row->child;
    const char *shown = item->valuestring;
    size_t length = fixture_string(item, &bytes);
    if (!item->next) {
        assert_true(tokenizer->encode(handle, bytes, length, 0, fixture_emit_ids, &ids) < 0);
        assert_non_null(strstr(fixture_error(), "is needed and not in the vocabulary"));
    }
    for (uint32_t special = 0; special < 2 && item->next; special++) {
        item = item->next;
        fixture_encode(tokenizer, handle, bytes, length, special, &ids);
        check_ids(name, shown, item, &ids);
    }
    for (uint32_t skip = 0; skip < 2 && item->next; skip++) {
        item = item->next;
        size_t size = fixture_string(item, &expected);
        fixture_decode(tokenizer, handle, ids.data, ids.count, skip, &text);
        if (text.length != size || (size && memcmp(text.data, expected, size)))
            fail_msg("%s: \"%s\" decodes to \"%.*s\", expected \"%s\"", name, shown,
                     (int)text.length, text.data, item->valuestring);
        free(expected);
    }
    free(bytes);
    free(ids.data);
    free(text.data);
}

static void check_folder(const cJSON *contents, const cJSON *one) {
    const char *name = cJSON_GetObjectItem(one, "name")->valuestring;
    char folder[64];
    void *handle = NULL;
    make_folder(folder);
    for (const cJSON *file = cJSON_GetObjectItem(one, "files")->child; file; file = file->next) {
        const char *text = cJSON_GetArrayItem(contents, file->valueint)->valuestring;
        put_file(folder, file->string, text, strlen(text));
    }
    if (tokenizer->open(&fixture_host, NULL, folder, &handle) != DAPT_OK)
        fail_msg("%s: %s", name, fixture_error());
    assert_int_equal(tokenizer->vocab_size(handle), cJSON_GetObjectItem(one, "size")->valueint);
    const cJSON *special = cJSON_GetObjectItem(one, "special")->child;
    for (int which = 0; which < 4; which++, special = special->next)
        if (tokenizer->special_id(handle, (enum dapt_special)which) != special->valueint)
            fail_msg("%s: special token %d is %ld, expected %d", name, which,
                     (long)tokenizer->special_id(handle, (enum dapt_special)which),
                     special->valueint);
    for (const cJSON *row = cJSON_GetObjectItem(one, "rows")->child; row; row = row->next)
        check_row(handle, name, row);
    tokenizer->close(handle);
    remove_folder(folder);
}

static void run_file(const char *path) {
    cJSON *file = fixture_json(path);
    int count = 0;
    if (!file) fail_msg("can't read %s", path);
    const cJSON *contents = cJSON_GetObjectItem(file, "contents");
    for (const cJSON *one = cJSON_GetObjectItem(file, "folders")->child; one; one = one->next)
        check_folder(contents, one), count++;
    assert_true(count > 10);
    cJSON_Delete(file);
}

static void folders(void **state) {
    char path[4096];
    const char *source = getenv("DAPT_TEST_SOURCE");
    (void)state;
    assert_non_null(source);
    snprintf(path, sizeof path, "%s/tests/tokenizers/folders.json", source);
    run_file(path);
}

static void others(void **state) {
    const char *path = getenv("DAPT_TOKENIZER_FOLDERS");
    (void)state;
    if (!path) {
        printf("skipped: DAPT_TOKENIZER_FOLDERS names no further file of folders\n");
        skip();
    }
    run_file(path);
}

// Each with what its error must say. NULL: the folder lacks that file.
static const struct {
    const char *vocabulary, *settings, *says;
} refused[] = {
    {NULL, NULL, "holds no tokenizer.json, nor the vocab.txt"},
    {"", NULL, "is empty"},
    {"a\n\xff\n", NULL, "not valid UTF-8 at byte 2"},
    {"a\na\n", NULL, "lacks the token \"[UNK]\""},
    {"a\n", "{", "not valid JSON"},
    {"a\n", "{\"tokenizer_class\":\"EsmTokenizer\"}", "\"EsmTokenizer\" without a tokenizer.json"},
    {"a\n", "{\"tokenizer_class\":\"RobertaTokenizer\"}", "vocab.txt of a \"RobertaTokenizer\""},
    {"a\n", "{\"do_lower_case\":1}", "\"do_lower_case\": true or false"},
    {"a\n", "{\"do_lower_case\":null}", "\"do_lower_case\": true or false"},
    {"a\n", "{\"cls_token\":null}", "\"cls_token\" is null"},
    {"a\n", "{\"sep_token\":7}", "\"sep_token\": the text of a token"},
    {"a\n", "{\"mask_token\":{\"content\":\"x\"}}",
     "added token \"x\", \"single_word\" is missing"},
    {"a\n", "{\"extra_special_tokens\":[3]}", "\"extra_special_tokens\": the texts"},
    {"a\n", "{\"added_tokens_decoder\":{\"1\":\"x\"}}", "\"added_tokens_decoder\", \"1\": a token"},
};

static void errors_name_it(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *vocabulary = refused[i].vocabulary, *settings = refused[i].settings;
        char folder[64];
        void *handle = NULL;
        make_folder(folder);
        if (vocabulary) put_file(folder, "vocab.txt", vocabulary, strlen(vocabulary));
        if (settings) put_file(folder, "tokenizer_config.json", settings, strlen(settings));
        enum dapt_status status = tokenizer->open(&fixture_host, NULL, folder, &handle);
        if (status >= 0 || handle) fail_msg("row %zu was accepted", i);
        if (!strstr(fixture_error(), refused[i].says) || strchr(fixture_error(), '\n'))
            fail_msg("row %zu says \"%s\", expected \"%s\"", i, fixture_error(), refused[i].says);
        remove_folder(folder);
    }
}

static char warning[512];

static void keep_warning(const struct dapt_host *host, enum dapt_log_level level,
                         const char *line_z) {
    (void)host;
    if (level == DAPT_LOG_WARNING) snprintf(warning, sizeof warning, "%s", line_z);
}

// Which of the two counts is told where transformers would go by the other one.
static void contradictions(void **state) {
    static const char json[] =
        "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\"A\":1}},\"normalizer\":{"
        "\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
        "\"strip_accents\":null,\"lowercase\":false}}";
    static const struct {
        const char *settings;
        bool told;
    } rows[] = {
        {"{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":false}", false},
        {"{\"tokenizer_class\":\"BertTokenizerFast\",\"do_lower_case\":true}", true},
        {"{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"do_lower_case\":true}", false}};
    struct dapt_host host = fixture_host;
    struct fixture_ids ids = {0};
    (void)state;
    host.log = keep_warning;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char folder[64];
        void *handle = NULL;
        make_folder(folder);
        put_file(folder, "tokenizer.json", json, sizeof json - 1);
        put_file(folder, "tokenizer_config.json", rows[i].settings, strlen(rows[i].settings));
        warning[0] = 0;
        assert_int_equal(tokenizer->open(&host, NULL, folder, &handle), DAPT_OK);
        assert_int_equal(strstr(warning, "\"do_lower_case\" is not what") != NULL, rows[i].told);
        fixture_encode(tokenizer, handle, "A", 1, 0, &ids);
        assert_int_equal(ids.data[0], 1);
        tokenizer->close(handle);
        remove_folder(folder);
    }
    free(ids.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folders), cmocka_unit_test(others),
                                       cmocka_unit_test(errors_name_it),
                                       cmocka_unit_test(contradictions)};
    tokenizer = fixture_tokenizer("hf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
