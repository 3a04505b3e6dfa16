// Runs that mix and mask: the same bits through a stop and a resume, and no resume over other text.
#include "command.h"

static char *replay(struct scratch *s, const char *rest) {
    return dapt_arena_format(
        &s->arena, "{\"data\": {\"replay\": {\"from\": {\"path\": \"%s\"}, %s}}}", s->held, rest);
}

static void test_replay(void **state) {
    struct scratch *s = *state;
    check_resume(s, "share", replay(s, "\"share\": 0.3"));
    cJSON *metrics = read_metrics(s, "share");
    const cJSON *start = cJSON_GetArrayItem(metrics, 0);
    assert_non_null(cJSON_GetObjectItem(cJSON_GetObjectItem(start, "corpora"), "replay"));
    cJSON_Delete(metrics);
    // It is trained on: a run without it ends with other weights.
    struct outcome o;
    write_config(s, "none", NULL);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_false(
        same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "none"), "model.safetensors"),
                  dapt_path_join(&s->arena, latest_checkpoint(s, "share"), "model.safetensors")));
}

static void test_ramp(void **state) {
    struct scratch *s = *state;
    char *more = dapt_arena_format(
        &s->arena,
        "{\"plugins\": [\"%s/tests/train\"], \"data\": {\"replay\": {\"from\": \"%s\"}}, "
        "\"train\": {\"schedule\": {\"plugin\": \"ramp\", \"peak\": null, \"warmup\": null}}}",
        getenv("DAPT_TEST_BUILD"), s->held);
    check_resume(s, "ramp", more);
    // Of the same version, and yet another one: the run is not gone on with.
    struct outcome o;
    write_config(s, "ramp", more);
    setenv("RAMP_REBUILT", "1", 1);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    unsetenv("RAMP_REBUILT");
    expect(&o, 1, "train.schedule.plugin \"ramp\" gives other values");
    struct dapt_string text = {0};
    assert_ok(dapt_file_read(dapt_path_join(&s->arena, latest_checkpoint(s, "ramp"), "run.json"),
                             1 << 20, &text));
    cJSON *record = cJSON_ParseWithLength(text.data, text.length);
    dapt_string_free(&text);
    const cJSON *built = cJSON_GetObjectItem(record, "modules");
    assert_non_null(cJSON_GetObjectItem(built, "dapt.schedule/1 ramp"));
    assert_int_equal(cJSON_GetArraySize(built), 2);  // and the tokenizer
    assert_null(cJSON_GetObjectItem(built, "dapt.schedule/1 cosine"));
    cJSON_Delete(record);
}

static void test_weights(void **state) {
    struct scratch *s = *state;
    check_resume(s, "weights",
                 dapt_arena_format(&s->arena,
                                   "{\"data\": {\"domain\": [{\"path\": \"%s\", \"weight\": 0.7}, "
                                   "{\"path\": \"%s\", \"weight\": 3}]}}",
                                   s->data, s->held));
}

static void test_masked(void **state) {
    struct scratch *s = *state;
    check_resume(s, "masked",
                 "{\"train\": {\"objective\": {\"kind\": \"masked\", \"rate\": 0.3, \"mask\": "
                 "\"~\"}}}");
    check_resume(s, "words",
                 "{\"train\": {\"objective\": {\"kind\": \"masked\", \"mask\": \"~\", "
                 "\"whole_words\": true}}}");
}

static void test_refused(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    struct {
        const char *more, *part;
    } cases[] = {
        {replay(s, "\"share\": 0.4"), "data.replay.share"},
        {dapt_arena_format(&s->arena,
                           "{\"data\": {\"replay\": {\"from\": \"%s\", \"share\": 0.3}}}", s->data),
         "data.replay.from holds other text"},
        {replay(s, "\"share\": 0.3}}, \"train\": {\"objective\": {\"kind\": \"causal\""),
         "train.objective.kind"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_config(s, "share", cases[i].more);
        run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=30", NULL);
        expect(&o, 1, cases[i].part);
    }
    write_config(s, "other", "{\"train\": {\"objective\": {\"kind\": \"masked\"}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "set train.objective.mask");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay),  cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_weights), cmocka_unit_test(test_masked),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
