// What objectives ask for: which places are predicted, what they may see, and that the choice is a
// function of the place alone.
#include "corpus/mix.h"
#include "corpus/objective.h"
#include "corpus_test.h"

enum { T = 48, vocab = 300, mask_id = 258 };

struct bed {
    struct dapt_tokenizer *tokenizer;
    struct dapt_objective *objective;
    struct dapt_corpus *corpus;
    struct dapt_batch *plain, *batch;
};

static const struct dapt_objective_options masked = {
    .kind = DAPT_OBJECTIVE_MASKED, .rate = 0.15, .seed = 5};

static void bed_open(struct bed *bed, struct dapt_objective_options options) {
    struct dapt_json *json = parse_options("{\"mask\": true}");
    const char *path = write_jsonl("m.jsonl", 0, 1500, 90);
    struct dapt_data_entry entry = {path, NULL, 1, NULL};
    *bed = (struct bed){0};
    assert_ok(dapt_tokenizer_open(modules, "test-bytes", json, NULL, &bed->tokenizer));
    assert_ok(dapt_objective_create(&options, bed->tokenizer, &bed->objective));
    struct dapt_corpus_options o = {.modules = modules,
                                    .tokenizer = bed->tokenizer,
                                    .sequence = T,
                                    .special = true,
                                    .cache = path_in(folder, "cache"),
                                    .objective = bed->objective};
    assert_ok(dapt_corpus_open(&(struct dapt_data_list){&entry, 1}, &o, &bed->corpus));
    assert_ok(dapt_batch_create(1, T, &bed->plain));
    assert_ok(dapt_batch_create(1, T, &bed->batch));
    dapt_json_free(&json);
}

static void bed_close(struct bed *bed) {
    dapt_batch_destroy(&bed->plain);
    dapt_batch_destroy(&bed->batch);
    dapt_corpus_close(&bed->corpus);
    dapt_objective_destroy(&bed->objective);
    dapt_tokenizer_close(&bed->tokenizer);
}

// The same row without an objective's changes: what causal makes of it.
static void read_plain(struct bed *bed, uint64_t run, uint64_t sequence) {
    struct dapt_mix *mix = NULL;
    if (run == UINT64_MAX) {
        struct dapt_corpus *causal = NULL;
        struct dapt_data_entry entry = {path_in(folder, "m.jsonl"), NULL, 1, NULL};
        struct dapt_corpus_options o = {.modules = modules,
                                        .tokenizer = bed->tokenizer,
                                        .sequence = T,
                                        .special = true,
                                        .cache = path_in(folder, "cache")};
        assert_ok(dapt_corpus_open(&(struct dapt_data_list){&entry, 1}, &o, &causal));
        dapt_corpus_eval_batch(causal, sequence, bed->plain);
        dapt_corpus_close(&causal);
        return;
    }
    assert_ok(dapt_mix_create(
        &(struct dapt_mix_options){.domain = bed->corpus, .seed = 9, .batch = 1}, &mix));
    assert_ok(dapt_mix_seek(mix, run));
    dapt_mix_batch(mix, 0, bed->plain);
    dapt_mix_destroy(&mix);
}

static void read_masked(struct bed *bed, uint64_t run) {
    struct dapt_mix *mix = NULL;
    assert_ok(dapt_mix_create(
        &(struct dapt_mix_options){
            .domain = bed->corpus, .objective = bed->objective, .seed = 9, .batch = 1},
        &mix));
    assert_ok(dapt_mix_seek(mix, run));
    dapt_mix_batch(mix, 0, bed->batch);
    dapt_mix_destroy(&mix);
}

struct counts {
    uint64_t tokens, chosen, hidden, kept, random;
};

static void count_row(const struct bed *bed, struct counts *c) {
    const struct dapt_batch *b = bed->batch, *p = bed->plain;
    uint64_t scored = 0;
    for (uint32_t t = 0; t < T; t++) {
        bool token = p->documents[t] != DAPT_NO_DOCUMENT;
        uint32_t begin = t, end = t + 1;
        while (token && p->positions[begin]) begin--;
        while (token && end < T && p->documents[end] != DAPT_NO_DOCUMENT && p->positions[end])
            end++;
        // every place sees the whole of its document's part and nothing else
        assert_int_equal(b->first[t], begin);
        assert_int_equal(b->last[t], end - 1);
        assert_int_equal(b->positions[t], p->positions[t]);
        assert_true(b->targets[t] == -1 || b->targets[t] == p->ids[t]);
        if (b->targets[t] < 0) {
            assert_int_equal(b->ids[t], p->ids[t]);
        } else {
            assert_true(token && p->ids[t] < 256);  // BOS and EOS are never asked for
            assert_in_range(b->ids[t], 0, vocab - 1);
            c->hidden += b->ids[t] == mask_id;
            c->kept += b->ids[t] == p->ids[t];
            c->random += b->ids[t] != mask_id && b->ids[t] != p->ids[t];
            scored++;
        }
        c->tokens += token && p->ids[t] < 256;
    }
    c->chosen += scored;
    assert_int_equal(b->scored, scored);
}

static void near(double share, double expected, double allowed) {
    if (!(fabs(share - expected) <= allowed)) fail_msg("%g, expected %g", share, expected);
}

static void check_shares(const struct counts *c, double rate) {
    double chosen = (double)c->chosen;
    near(chosen / (double)c->tokens, rate, 0.01);
    near((double)c->hidden / chosen, 0.8, 0.01);
    near((double)c->kept / chosen, 0.1, 0.01);  // random tokens may be the same by chance
    near((double)c->random / chosen, 0.1, 0.01);
}

static void test_masked(void **state) {
    (void)state;
    static const double rates[] = {0.15, 0.4, 1};
    for (size_t i = 0; i < 3; i++) {
        struct dapt_objective_options options = masked;
        struct bed bed;
        struct counts c = {0};
        options.rate = rates[i];
        bed_open(&bed, options);
        for (uint64_t k = 0; k < 2500; k++) {
            read_plain(&bed, k, 0);
            read_masked(&bed, k);
            count_row(&bed, &c);
        }
        check_shares(&c, rates[i]);
        if (rates[i] == 1) assert_int_equal(c.chosen, c.tokens);
        bed_close(&bed);
    }
}

// An evaluation hides the same tokens each time, in sequences of whatever length; training hides
// others in each pass.
static void test_fixed(void **state) {
    (void)state;
    struct bed bed;
    struct counts c = {0};
    bed_open(&bed, masked);
    for (uint64_t s = 0; s < dapt_corpus_report(bed.corpus)->sequences; s += 97) {
        read_plain(&bed, UINT64_MAX, s);
        dapt_corpus_eval_batch(bed.corpus, s, bed.batch);
        count_row(&bed, &c);
        int32_t ids[T];
        memcpy(ids, bed.batch->ids, sizeof ids);
        dapt_corpus_eval_batch(bed.corpus, s, bed.batch);
        assert_memory_equal(ids, bed.batch->ids, sizeof ids);
    }
    assert_true(c.chosen > 20);
    uint64_t pass = dapt_corpus_report(bed.corpus)->sequences, differ = 0, places[2][T];
    for (uint64_t k = 0; k < 50; k++) {
        for (int again = 0; again < 2; again++) {
            read_masked(&bed, k + (uint64_t)again * pass);
            for (uint32_t t = 0; t < T; t++) places[again][t] = bed.batch->targets[t] >= 0;
        }
        differ += memcmp(places[0], places[1], sizeof places[0]) != 0;
    }
    assert_true(differ > 40);
    bed_close(&bed);
}

// With whole words the letters of a word are chosen together. In the test tokenizer a token is a
// letter, and a word is what begins at a space or at the start of the part.
static void test_whole_words(void **state) {
    (void)state;
    struct dapt_objective_options options = masked;
    struct bed bed;
    struct counts c = {0};
    options.whole_words = true;
    bed_open(&bed, options);
    for (uint64_t k = 0; k < 4000; k++) {
        read_plain(&bed, k, 0);
        read_masked(&bed, k);
        count_row(&bed, &c);
        for (uint32_t t = 1; t < T; t++) {
            bool letter = bed.plain->ids[t] >= 'a' && bed.plain->ids[t] <= 'z' &&
                          bed.plain->ids[t - 1] < 256 && bed.plain->ids[t - 1] > 0 &&
                          bed.plain->positions[t];
            if (!letter) continue;
            assert_int_equal(bed.batch->targets[t] >= 0, bed.batch->targets[t - 1] >= 0);
        }
    }
    near((double)c.chosen / (double)c.tokens, 0.15, 0.02);
    near((double)c.hidden / (double)c.chosen, 0.8, 0.01);
    bed_close(&bed);
}

static void test_refused(void **state) {
    (void)state;
    struct dapt_tokenizer *tokenizer = NULL;
    struct dapt_objective *objective = NULL;
    struct dapt_objective_options options = masked;
    assert_ok(dapt_tokenizer_open(modules, "test-bytes", NULL, NULL, &tokenizer));
    assert_fails(dapt_objective_create(&options, tokenizer, &objective), DAPT_ERROR_INVALID,
                 "no token [MASK] or <mask>; set train.objective.mask");
    options.mask = "<hidden>";
    assert_fails(dapt_objective_create(&options, tokenizer, &objective), DAPT_ERROR_INVALID,
                 "no token <hidden>;");
    options.mask = "?";
    assert_ok(dapt_objective_create(&options, tokenizer, &objective));
    dapt_objective_destroy(&objective);
    options.rate = 0;
    assert_fails(dapt_objective_create(&options, tokenizer, &objective), DAPT_ERROR_INVALID,
                 "train.objective.rate is 0");
    assert_null(objective);
    dapt_tokenizer_close(&tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_masked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fixed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_whole_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
