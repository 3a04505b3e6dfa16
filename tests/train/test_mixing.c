// Runs that mix and mask: the same bits through a stop and a resume, and no resume over other text.
#include <signal.h>

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

#define ENCODER                                                                                \
    "\"model\": {\"random\": {\"model_type\": \"bert\", \"type_vocab_size\": 3}}, \"train\": " \
    "{\"objective\": {\"mask\": \"~\", \"rate\": 0.3"

// The evaluation of the last step, which is better than that of the first.
static double last_figure(struct scratch *s, const char *run) {
    cJSON *metrics = read_metrics(s, run);
    double first = 0, last = 0;
    const cJSON *event;
    cJSON_ArrayForEach(event, metrics) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(event, "event"));
        if (strcmp(name, "start") == 0)
            assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(event, "objective")),
                                "masked");
        if (strcmp(name, "evaluation") != 0) continue;
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(event, "masked")));
        last = figure(event, "nats_per_token");
        if (first == 0) first = last;
    }
    cJSON_Delete(metrics);
    if (!(last < 0.8 * first)) fail_msg("%g nats/token, %g at first", last, first);
    return last;
}

// An encoder is trained by hiding tokens without being asked to, and scored by them: the same ones
// each time, whoever looks.
static void test_encoder(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    check_resume(s, "encoder", "{" ENCODER "}}}");
    double trained = last_figure(s, "encoder");
    char *data = dapt_arena_format(&s->arena, "held=%s", s->held), *run = in_scratch(s, "encoder");
    for (int batch = 0; batch < 2; batch++) {
        run_dapt(s, &o, "eval", run, "--data", data, "--json", "--batch", batch ? "3" : "4", NULL);
        expect(&o, 0, NULL);
        cJSON *result = cJSON_Parse(o.out);
        const cJSON *held = cJSON_GetObjectItem(cJSON_GetObjectItem(result, "sets"), "held");
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(held, "masked")));
        assert_float_equal(figure(held, "nats_per_token"), trained, batch ? 1e-6 : 1e-12);
        cJSON_Delete(result);
    }
    run_dapt(s, &o, "eval", run, "--data", data, NULL);
    assert_non_null(strstr(o.out, "hidden tokens"));
    run_dapt(s, &o, "generate", run, "--prompt", "the bone", NULL);
    expect(&o, 1, "is a masked language model");
    write_config(s, "other", "{" ENCODER ", \"kind\": \"causal\"}}}");
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 1, "train.objective.kind is \"causal\"");
}

static void test_killed_encoder(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "killed", "{" ENCODER "}, \"checkpoint_every\": 1, \"recompute\": \"block\"}}");
    for (int kill_number = 1; kill_number <= 5; kill_number++)
        finish_dapt(s, start_dapt(s, "train", s->config, "--resume", NULL), 0.03 * kill_number,
                    SIGKILL, &o);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 0, NULL);
    assert_true(
        same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "encoder"), "state.safetensors"),
                  dapt_path_join(&s->arena, latest_checkpoint(s, "killed"), "state.safetensors")));
    last_figure(s, "killed");
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
        cmocka_unit_test(test_encoder), cmocka_unit_test(test_killed_encoder),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
