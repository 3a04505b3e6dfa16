// Masking with the tokenizers of models that were trained so: WordPiece (BERT) and byte-level BPE
// (RoBERTa). What frames a document, what is never hidden, what is hidden together.
#include "base/hash.h"
#include "corpus/corpus.h"
#include "corpus/objective.h"
#include "data_test.h"
#include "host/json.h"

static struct dapt_modules *modules;
static const char *folder;

static int set_up(void **state) {
    (void)state;
    struct dapt_arena arena = {0};
    const char *build = getenv("DAPT_TEST_BUILD");
    if (!build) build = ".";
    const char *const places[] = {dapt_arena_format(&arena, "%s/plugins/tokenizers/hf.so", build),
                                  dapt_arena_format(&arena, "%s/plugins/sources/jsonl.so", build),
                                  NULL};
    assert_ok(dapt_modules_load(places, &modules));
    folder = scratch_create();
    dapt_log_level(DAPT_LOG_ERROR);
    dapt_arena_free(&arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    scratch_remove(folder);
    dapt_modules_unload(&modules);
    return 0;
}

static struct dapt_tokenizer *open_tokenizer(const char *path) {
    struct dapt_tokenizer *tokenizer = NULL;
    assert_ok(dapt_tokenizer_open(modules, "hf", NULL, path, &tokenizer));
    return tokenizer;
}

static struct dapt_tokenizer *open_bert(void) {
    write_text(path_in(folder, "vocab.txt"),
               "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n,\n.\na\nthe\nheart\n##beat\n##s\n<extra>\n");
    write_text(path_in(folder, "tokenizer_config.json"),
               "{\"tokenizer_class\": \"BertTokenizer\", \"extra_special_tokens\": [\"<extra>\"]}");
    return open_tokenizer(folder);
}

// Letters and merges of its own: "ab" is one token, with and without a space before it.
static struct dapt_tokenizer *open_roberta(void) {
    write_text(
        path_in(folder, "vocab.json"),
        "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"<mask>\": 4, \"a\": 5, \"b\": "
        "6, \"c\": 7, \",\": 8, \"\\u0120\": 9, \"\\u010a\": 10, \"ab\": 11, \"\\u0120a\": 12, "
        "\"\\u0120ab\": 13, \"\\u00c3\": 14, \"\\u00a9\": 15}");
    write_text(path_in(folder, "merges.txt"),
               "#version: 0.2\na b\n\xc4\xa0 a\n\xc4\xa0"
               "a b\n\xc4\xa0 ab\n");
    write_text(path_in(folder, "tokenizer_config.json"),
               "{\"tokenizer_class\": \"RobertaTokenizer\"}");
    return open_tokenizer(folder);
}

enum { MOST = 32 };

// One text, its ids with the template around them, and the word that each belongs to: a letter,
// '-' where it is special.
struct sample {
    const char *text;
    int32_t ids[MOST];
    const char *words;
};

static void check_ids(struct dapt_tokenizer *tokenizer, const struct sample *sample) {
    struct dapt_ids ids = {0};
    assert_ok(dapt_tokenizer_encode(tokenizer, sample->text, strlen(sample->text),
                                    DAPT_ENCODE_SPECIAL, &ids));
    assert_int_equal(ids.count, strlen(sample->words));
    for (size_t i = 0; i < ids.count; i++) assert_int_equal(ids.ids[i], sample->ids[i]);
    dapt_ids_free(&ids);
}

// Many choices for one text: no special token is asked for, a word's tokens are chosen together,
// and any two words differ sometimes.
static void check_words(const struct dapt_objective *objective, const struct sample *sample,
                        int32_t mask) {
    uint32_t count = (uint32_t)strlen(sample->words), hidden = 0, differ[128][128] = {{0}};
    struct dapt_batch *batch = NULL;
    assert_ok(dapt_batch_create(1, count, &batch));
    for (uint64_t stream = 0; stream < 400; stream++) {
        const struct dapt_span span = {.length = count, .next = -1, .stream = stream};
        bool chosen[128] = {false};
        memcpy(batch->ids, sample->ids, count * sizeof *batch->ids);
        dapt_objective_apply(objective, &span, batch);
        for (uint32_t i = 0; i < count; i++) {
            char word = sample->words[i];
            bool asked = batch->targets[i] >= 0;
            if (asked) assert_int_equal(batch->targets[i], sample->ids[i]);
            hidden += asked && batch->ids[i] == mask;
            if (word == '-' && asked) fail_msg("special token %d is hidden", sample->ids[i]);
            if (word == '-') continue;
            if (i && word == sample->words[i - 1] && asked != chosen[(int)word])
                fail_msg("\"%s\": token %u is not chosen with its word", sample->text, i);
            chosen[(int)word] = asked;
        }
        for (int one = 'a'; one <= 'z'; one++)
            for (int other = 'a'; other <= 'z'; other++)
                differ[one][other] += chosen[one] != chosen[other];
    }
    assert_true(hidden > 100);
    for (const char *one = sample->words; *one; one++)
        for (const char *other = sample->words; *other; other++)
            if (*one != *other && *one != '-' && *other != '-' && !differ[(int)*one][(int)*other])
                fail_msg("\"%s\": words %c and %c are always chosen together", sample->text, *one,
                         *other);
    dapt_batch_destroy(&batch);
}

static void check_family(struct dapt_tokenizer *tokenizer, int32_t mask,
                         const struct sample *samples, size_t count) {
    const struct dapt_objective_options options = {
        .kind = DAPT_OBJECTIVE_MASKED, .rate = 0.4, .whole_words = true, .seed = 3};
    struct dapt_objective *objective = NULL;
    assert_ok(dapt_objective_create(&options, tokenizer, &objective));
    for (size_t i = 0; i < count; i++) {
        check_ids(tokenizer, &samples[i]);
        check_words(objective, &samples[i], mask);
    }
    dapt_objective_destroy(&objective);
    dapt_tokenizer_close(&tokenizer);
}

static void test_bert(void **state) {
    static const struct sample samples[] = {
        {"The heart, a heartbeats.", {2, 8, 9, 5, 7, 9, 10, 11, 6, 3}, "-abcdeeef-"},
        {"[PAD] Hearts <extra> liver the [MASK]", {2, 0, 9, 11, 12, 1, 8, 4, 3}, "--aa--b--"},
    };
    (void)state;
    check_family(open_bert(), 4, samples, 2);
}

static void test_roberta(void **state) {
    static const struct sample samples[] = {
        {"abc abc, acab\nba", {0, 11, 7, 13, 7, 8, 12, 7, 11, 10, 6, 5, 2}, "-aabbcdddeee-"},
        {"a</s>b<mask>c<unk> ab", {0, 5, 2, 6, 4, 7, 3, 13, 2}, "-a-b-c-d-"},
        {"\xc3\xa9 ab,ab", {0, 14, 15, 13, 8, 11, 2}, "-aabcd-"},
    };
    (void)state;
    check_family(open_roberta(), 4, samples, 3);
}

// Each document of a corpus stands between what the template says, once.
static void check_frames(struct dapt_tokenizer *tokenizer, const char *text, bool special,
                         const int32_t *expected, uint32_t count) {
    const char *path = path_in(folder, "d.jsonl");
    struct dapt_data_entry entry = {path, NULL, 1, NULL};
    struct dapt_corpus *corpus = NULL;
    struct dapt_batch *batch = NULL;
    struct dapt_corpus_options o = {.modules = modules,
                                    .tokenizer = tokenizer,
                                    .sequence = count,
                                    .packing = DAPT_PACK_CONCATENATE,
                                    .special = special,
                                    .cache = path_in(folder, "cache")};
    write_text(path, text);
    assert_ok(dapt_corpus_open(&(struct dapt_data_list){&entry, 1}, &o, &corpus));
    assert_ok(dapt_batch_create(1, count, &batch));
    assert_int_equal(dapt_corpus_report(corpus)->tokens, count);
    dapt_corpus_eval_batch(corpus, 0, batch);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(batch->ids[i], expected[i]);
    dapt_batch_destroy(&batch);
    dapt_corpus_close(&corpus);
    dapt_tokenizer_close(&tokenizer);
}

static void test_frames(void **state) {
    static const int32_t bert[] = {2, 8, 9, 3, 2, 7, 3}, bare[] = {8, 9, 7},
                         roberta[] = {0, 11, 2, 0, 5, 13, 2}, ended[] = {11, 2, 5, 13, 2};
    static const char hearts[] = "{\"text\": \"the heart\"}\n{\"text\": \"A\"}\n",
                      letters[] = "{\"text\": \"ab\"}\n{\"text\": \"a ab\"}\n";
    (void)state;
    check_frames(open_bert(), hearts, true, bert, 7);
    check_frames(open_bert(), hearts, false, bare, 3);
    remove(path_in(folder, "vocab.txt"));
    check_frames(open_roberta(), letters, true, roberta, 7);
    check_frames(open_roberta(), letters, false, ended, 5);
}

// A text that is unknown as a whole is no mask token.
static void test_no_mask(void **state) {
    static const char json[] =
        "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"vocab\": {\"[UNK]\": 0, "
        "\"a\": 1}}, \"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}}";
    struct dapt_objective_options options = {.kind = DAPT_OBJECTIVE_MASKED, .rate = 0.4};
    struct dapt_objective *objective = NULL;
    (void)state;
    write_text(path_in(folder, "tokenizer.json"), json);
    struct dapt_tokenizer *tokenizer = open_tokenizer(folder);
    assert_fails(dapt_objective_create(&options, tokenizer, &objective), DAPT_ERROR_INVALID,
                 "no token [MASK] or <mask>");
    options.mask = "a";
    assert_ok(dapt_objective_create(&options, tokenizer, &objective));
    dapt_objective_destroy(&objective);
    dapt_tokenizer_close(&tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bert, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roberta, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_mask, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
