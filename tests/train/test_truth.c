// What a run tells is what it delivers.
#include <math.h>
#include <signal.h>

#include "command.h"

static double last_number(const cJSON *metrics, const char *event, const char *key) {
    const cJSON *item;
    double value = NAN;
    cJSON_ArrayForEach(item, metrics) {
        if (strcmp(cJSON_GetObjectItem(item, "event")->valuestring, event) == 0)
            value = cJSON_GetNumberValue(cJSON_GetObjectItem(item, key));
    }
    return value;
}

// The figures are those of the folder, whatever it is written in; a gain that rounding takes is told.
static void test_written(void **state) {
    struct scratch *s = *state;
    static const char *const dtypes[] = {"float32", "bfloat16", "float16"};
    for (size_t i = 0; i < 3; i++) {
        struct outcome o;
        write_config(s, dtypes[i],
                     dapt_arena_format(&s->arena,
                                       "{\"checkpoint\": {\"dtype\": \"%s\"}, \"train\": "
                                       "{\"steps\": 8, \"schedule\": {\"peak\": 1e-7}}}",
                                       dtypes[i]));
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, NULL);
        assert_int_equal(strstr(o.out, "rounding to ") != NULL, i > 0);
        cJSON *metrics = read_metrics(s, dtypes[i]);
        double told = last_number(metrics, "evaluation", "bits_per_byte");
        cJSON_Delete(metrics);
        run_dapt(s, &o, "eval", in_scratch(s, dtypes[i]), "--json", "--data",
                 dapt_arena_format(&s->arena, "held=%s", s->held), NULL);
        expect(&o, 0, NULL);
        cJSON *result = cJSON_Parse(o.out);
        const cJSON *set = cJSON_GetObjectItem(cJSON_GetObjectItem(result, "sets"), "held");
        double found = cJSON_GetNumberValue(cJSON_GetObjectItem(set, "bits_per_byte"));
        if (!(fabs(told - found) < 1e-6)) fail_msg("%s: %g, %g", dtypes[i], told, found);
        cJSON_Delete(result);
    }
}

// A learning rate that ruins the model: it does not end like a good one.
static void test_ruined(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "ruined",
                 "{\"train\": {\"steps\": 3, \"evaluate_every\": 1, \"checkpoint_every\": 1, "
                 "\"schedule\": {\"plugin\": \"constant\", \"peak\": 1, \"warmup\": 0}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "since before training: held WORSE by "));
    assert_non_null(strstr(o.out, "best: step-000001 ("));
    assert_null(strstr(o.err, "learns its text by heart"));
    run_dapt(s, &o, "plan", s->config, "--set", "train.steps=1000", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.err, "10 passes over the domain: beyond about 4 a model learns"));
}

// What float16 cannot hold is not written; no "nan" stands where a figure is expected.
static void test_too_large(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(
        s, "large",
        "{\"checkpoint\": {\"dtype\": \"float16\"}, \"train\": {\"steps\": 4, \"optimizer\": "
        "{\"weight_decay\": 1000, \"decay\": \"all\"}, \"schedule\": {\"plugin\": "
        "\"constant\", \"peak\": 1, \"warmup\": 0}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "which float16 cannot hold; set checkpoint.dtype");
    assert_null(strstr(o.out, "nan"));
}

static void write_text(struct scratch *s, const char *name, const char *text) {
    assert_ok(dapt_file_write(in_scratch(s, name), text, strlen(text)));
}

// Text that the tokenizer has no tokens for is told, by the name of the set: it costs nothing.
static void test_unknown(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    assert_ok(dapt_mkdirs(in_scratch(s, "words")));
    write_text(s, "words/tokenizer.json",
               "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, "
               "\"pre_tokenizer\": {\"type\": \"Whitespace\"}, \"post_processor\": null, "
               "\"decoder\": null, \"model\": {\"type\": \"WordPiece\", \"unk_token\": \"<unk>\", "
               "\"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100, "
               "\"vocab\": {\"<unk>\": 0, \"</s>\": 1, \"heart\": 2, \"beats\": 3}}}");
    write_text(s, "words/tokenizer_config.json",
               "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"unk_token\": \"<unk>\", "
               "\"eos_token\": \"</s>\"}");
    struct dapt_string known = {0}, strange = {0};
    for (int i = 0; i < 200; i++) {
        assert_ok(dapt_string_format(&known, "heart beats heart beats\n"));
        assert_ok(
            dapt_string_format(&strange, "heart beats heart %s\n", i % 50 ? "beats" : "aorta"));
    }
    write_text(s, "known.txt", known.data);
    write_text(s, "strange.txt", strange.data);
    dapt_string_free(&known);
    dapt_string_free(&strange);
    write_config(s, "unknown",
                 dapt_arena_format(&s->arena,
                                   "{\"tokenizer\": {\"plugin\": \"hf\", \"path\": \"%s\"}, "
                                   "\"data\": {\"domain\": \"%s\", \"eval\": {\"odd\": \"%s\"}}}",
                                   in_scratch(s, "words"), in_scratch(s, "known.txt"),
                                   in_scratch(s, "strange.txt")));
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0,
           "eval odd: 0.5 % of its tokens stand for text that the tokenizer has no tokens for (id "
           "0)");
    assert_null(strstr(o.err, "domain: "));
}

static void test_plan_json(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "plan", "{\"train\": {\"steps\": 9, \"evaluate_every\": 4}}");
    run_dapt(s, &o, "plan", s->config, "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *plan = cJSON_Parse(o.out);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(plan, "steps")) == 9);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(plan, "evaluations")) == 4);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(plan, "checkpoints")) == 3);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(plan, "step_seconds")) > 0);
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItem(plan, "evaluate_seconds")) > 0);
    cJSON_Delete(plan);
}

static void test_interrupted(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "interrupted", "{\"train\": {\"steps\": 1000000}}");
    finish_dapt(s, start_dapt(s, "train", s->config, NULL), 1, SIGINT, &o);
    expect(&o, 130, "dapt: finishing step ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written),   cmocka_unit_test(test_ruined),
        cmocka_unit_test(test_too_large), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_plan_json), cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests_name("truth", tests, scratch_setup, scratch_teardown);
}
