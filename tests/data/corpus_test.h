// A corpus of generated documents, opened with the test tokenizer.
#ifndef CORPUS_TEST_H
#define CORPUS_TEST_H
#include <math.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/threads.h"
#include "corpus/corpus.h"
#include "data_test.h"
#include "host/json.h"

static const char *folder;  // scratch; removed after each test
static struct dapt_modules *modules;

static inline int load_modules(void **state) {
    (void)state;
    struct dapt_arena arena = {0};
    const char *build = getenv("DAPT_TEST_BUILD");
    const char *const places[] = {
        dapt_arena_format(&arena, "%s/tests/data/test_tokenizer.so", build ? build : "."),
        dapt_arena_format(&arena, "%s/tests/data/test_source.so", build ? build : "."), NULL};
    enum dapt_status status = dapt_modules_load(places, &modules);
    if (status) fprintf(stderr, "%s\n", dapt_error());
    dapt_log_level(DAPT_LOG_ERROR);
    dapt_arena_free(&arena);
    return status;
}

static inline int unload_modules(void **state) {
    (void)state;
    dapt_modules_unload(&modules);
    return 0;
}

static inline int set_up(void **state) {
    (void)state;
    folder = scratch_create();
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    scratch_remove(folder);
    return 0;
}

// What a test opens. `options`: of the data entry, `tokenizer`: of the tokenizer; JSON, NULL: none.
struct setting {
    const char *path, *source, *options, *tokenizer;
    double weight;  // 0: 1
    uint32_t sequence;
    enum dapt_packing packing;
    bool special;
    double skip_errors;
    uint64_t max_tokens;
    unsigned threads;
    struct dapt_data_entry *entries;  // in place of path, source, options and weight
    size_t entry_count;
};

static inline struct dapt_json *parse_options(const char *text) {
    struct dapt_json *json = NULL;
    if (text) assert_ok(dapt_json_parse("options", text, strlen(text), &json));
    return json;
}

static inline enum dapt_status try_open(const struct setting *s, struct dapt_corpus **corpus) {
    struct dapt_json *options = parse_options(s->options),
                     *tokenizer_options = parse_options(s->tokenizer);
    struct dapt_tokenizer *tokenizer = NULL;
    assert_ok(dapt_tokenizer_open(modules, "test-bytes", tokenizer_options, NULL, &tokenizer));
    struct dapt_data_entry one = {s->path, s->source, s->weight ? s->weight : 1, options};
    struct dapt_data_list list = {s->entries ? s->entries : &one, s->entries ? s->entry_count : 1};
    struct dapt_corpus_options o = {.modules = modules,
                                    .tokenizer = tokenizer,
                                    .sequence = s->sequence ? s->sequence : 16,
                                    .packing = s->packing,
                                    .special = s->special,
                                    .cache = path_in(folder, "cache"),
                                    .skip_errors = s->skip_errors,
                                    .max_tokens = s->max_tokens,
                                    .threads = s->threads,
                                    .name = "domain"};
    enum dapt_status status = dapt_corpus_open(&list, &o, corpus);
    dapt_tokenizer_close(&tokenizer);
    dapt_json_free(&options);
    dapt_json_free(&tokenizer_options);
    return status;
}

static inline struct dapt_corpus *open_corpus(struct setting s) {
    struct dapt_corpus *corpus = NULL;
    assert_ok(try_open(&s, &corpus));
    return corpus;
}

// Document `d` of a generated corpus: 1 .. 3 * scale lower-case letters and spaces, no line breaks.
static inline size_t make_document(uint64_t d, size_t scale, char *text) {
    size_t length = 1 + dapt_random_bits(11, 1, d) % (d % 10 ? scale : 3 * scale);
    for (size_t i = 0; i < length; i++)
        text[i] = "abcdefghijklmnopqrstuvwxyz      "[dapt_random_bits(11, 2 + d, i) % 32];
    text[0] = (char)('a' + d % 26);
    return length;
}

static inline const char *write_jsonl(const char *name, uint64_t first, uint64_t count,
                                      size_t scale) {
    struct dapt_string file = {0};
    char *text = malloc(3 * scale + 1);
    for (uint64_t d = first; d < first + count; d++) {
        size_t length = make_document(d, scale, text);
        assert_ok(dapt_string_format(&file, "{\"id\": \"%llu\", \"text\": \"%.*s\"}\n",
                                     (unsigned long long)d, (int)length, text));
    }
    const char *path = path_in(folder, name);
    assert_ok(dapt_file_write(path, file.data ? file.data : "", file.length));
    dapt_string_free(&file);
    free(text);
    return path;
}

// All ids of all sequences in file order, as bytes that compare two corpora.
static inline struct dapt_hash hash_batches(const struct dapt_corpus *corpus, uint32_t sequence) {
    struct dapt_batch *batch = NULL;
    struct dapt_hasher *hasher = NULL;
    uint64_t count = dapt_corpus_report(corpus)->sequences;
    assert_ok(dapt_batch_create(4, sequence, &batch));
    assert_ok(dapt_hasher_create(&hasher));
    for (uint64_t s = 0; s < count; s += 4) {
        size_t size = (size_t)4 * sequence * sizeof(int32_t);
        dapt_corpus_eval_batch(corpus, s, batch);
        dapt_hasher_add(hasher, batch->ids, size);
        dapt_hasher_add(hasher, batch->targets, size);
        dapt_hasher_add(hasher, batch->positions, size);
        dapt_hasher_add(hasher, batch->first, size);
        dapt_hasher_add(hasher, batch->last, size);
    }
    struct dapt_hash hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    dapt_batch_destroy(&batch);
    return hash;
}
#endif
