// Runs that train a part of the model: train.freeze.
#include "command.h"
#include "format/safetensors.h"

#define FREEZE(patterns) "{\"train\": {\"freeze\": [" patterns "]}}"

// How many tensors, of those with `part` in their names, differ between the run's first checkpoint and
// its last one.
static size_t changed(struct scratch *s, const char *run, const char *part, size_t *alike) {
    struct dapt_safetensors *before, *after;
    size_t count = 0;
    *alike = 0;
    assert_ok(dapt_safetensors_open(
        in_scratch(s, dapt_arena_format(&s->arena, "%s/checkpoints/step-000004", run)), &before));
    assert_ok(dapt_safetensors_open(latest_checkpoint(s, run), &after));
    for (size_t i = 0; i < dapt_safetensors_count(after); i++) {
        const struct dapt_file_tensor *now = dapt_safetensors_at(after, i),
                                      *then = dapt_safetensors_find(before, now->name);
        float a[64], b[64];
        assert_non_null(then);
        if (!strstr(now->name, part)) continue;
        uint64_t n = now->count < 64 ? now->count : 64;
        assert_ok(dapt_file_tensor_floats(now, 0, n, a));
        assert_ok(dapt_file_tensor_floats(then, 0, n, b));
        if (memcmp(a, b, n * sizeof *a) == 0)
            ++*alike;
        else
            count++;
    }
    dapt_safetensors_close(&before);
    dapt_safetensors_close(&after);
    return count;
}

static void test_frozen(void **state) {
    struct scratch *s = *state;
    size_t alike;
    check_resume(s, "frozen", FREEZE("\"embed*\", \"layers.0\""));
    assert_int_equal(changed(s, "frozen", "layers.0.", &alike), 0);
    assert_true(alike > 0);
    assert_true(changed(s, "frozen", "layers.1.", &alike) > 0);
    assert_int_equal(alike, 0);
    assert_int_equal(changed(s, "frozen", "embed_tokens", &alike), 0);
    // Moments are kept of what is trained alone, and both figures are told.
    struct dapt_safetensors *file;
    assert_ok(dapt_safetensors_open(
        dapt_path_join(&s->arena, latest_checkpoint(s, "frozen"), "state.safetensors"), &file));
    uint64_t moments = dapt_safetensors_find(file, "moment1")->count;
    dapt_safetensors_close(&file);
    cJSON *metrics = read_metrics(s, "frozen");
    const cJSON *start = cJSON_GetArrayItem(metrics, 0);
    double all = cJSON_GetObjectItem(start, "parameters")->valuedouble,
           trained = cJSON_GetObjectItem(start, "trained_parameters")->valuedouble;
    assert_true(trained < all && (double)moments >= trained && (double)moments < all);
    cJSON_Delete(metrics);
}

// Frozen parameters count as they are written, from the start, so that a resume, which reads them from
// the checkpoint, goes on with the same ones.
static void test_rounded(void **state) {
    check_resume(*state, "rounded",
                 "{\"train\": {\"freeze\": [\"layers.0\"]}, \"checkpoint\": {\"dtype\": "
                 "\"bfloat16\"}}");
}

static void test_refused(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct refusal cases[] = {
        {FREEZE("\"layrs.*\""),
         "train.freeze: \"layrs.*\" matches no parameter of this llama model; "
         "there are embed "},
        {FREEZE("\"*\""), "train.freeze: all parameters are frozen: nothing is left to train"},
        {FREEZE("\"\""), "train.freeze[0]: expected a text"},
        {"{\"train\": {\"freeze\": \"embed\"}}", "train.freeze: expected an array of strings"},
    };
    expect_refusals(s, cases, sizeof cases / sizeof *cases);
    write_config(s, "frozen", FREEZE("\"embed*\""));
    run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=30", NULL);
    expect(&o, 1, "train.freeze is");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
