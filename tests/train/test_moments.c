// Runs whose moments are kept in 8 bits: train.optimizer.moments.
#include "command.h"
#include "format/safetensors.h"

#define PACKED "\"optimizer\": {\"moments\": \"8-bit\"}"

static uint64_t moments_of(struct scratch *s, const char *run, enum dapt_file_dtype *dtype) {
    struct dapt_safetensors *file;
    assert_ok(dapt_safetensors_open(
        dapt_path_join(&s->arena, latest_checkpoint(s, run), "state.safetensors"), &file));
    const struct dapt_file_tensor *m = dapt_safetensors_find(file, "moment1"),
                                  *v = dapt_safetensors_find(file, "moment2");
    assert_true(m && v && m->count == v->count && m->dtype == v->dtype);
    uint64_t count = m->count;
    *dtype = m->dtype;
    dapt_safetensors_close(&file);
    return count;
}

static double last_loss(struct scratch *s, const char *run) {
    cJSON *metrics = read_metrics(s, run), *line;
    double loss = -1;
    cJSON_ArrayForEach(line, metrics) {
        const cJSON *value = cJSON_GetObjectItem(line, "loss");
        if (cJSON_IsNumber(value)) loss = value->valuedouble;
    }
    cJSON_Delete(metrics);
    return loss;
}

// A resume has the same bits, as the checkpoint holds the bytes themselves; it learns as with float32.
static void test_resume(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    enum dapt_file_dtype dtype;
    check_resume(s, "packed", "{\"train\": {" PACKED "}}");
    write_config(s, "plain", NULL);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    uint64_t plain = moments_of(s, "plain", &dtype);
    assert_int_equal(dtype, DAPT_FILE_F32);
    uint64_t packed = moments_of(s, "packed", &dtype);
    assert_int_equal(dtype, DAPT_FILE_U8);
    assert_true(packed < plain * 11 / 10);  // bytes here, float32 there
    double ours = last_loss(s, "packed"), theirs = last_loss(s, "plain");
    if (!(ours > 0 && ours < 1.01 * theirs && ours > 0.99 * theirs))
        fail_msg("a loss of %g, with float32 moments %g", ours, theirs);
}

static void test_resume_parts(void **state) {
    check_resume(*state, "frozen",
                 "{\"train\": {\"freeze\": [\"layers.0\"], " PACKED
                 "}, \"checkpoint\": {\"dtype\": \"bfloat16\"}}");
}

static void test_refused(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const struct refusal cases[] = {
        {"{\"train\": {\"optimizer\": {\"moments\": \"int8\"}}}",
         "train.optimizer.moments: expected \"float32\" or \"8-bit\", got \"int8\""},
    };
    expect_refusals(s, cases, sizeof cases / sizeof *cases);
    write_config(s, "plain", "{\"train\": {" PACKED "}}");
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "train.optimizer.moments is \"8-bit\" now but was \"float32\"");
    write_config(s, "packed", NULL);
    run_dapt(s, &o, "train", s->config, "--resume", NULL);
    expect(&o, 1, "train.optimizer.moments is \"float32\" now but was \"8-bit\"");
}

// Adapters whose first gradients are tiny beside others of their block are trained all the same. Here A
// and B of all matrices are in one block, and A has none until B has moved a little.
static void test_tiny_gradients(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "tiny",
                 dapt_arena_format(&s->arena,
                                   "{\"model\": \"%s\", \"train\": {\"lora\": {\"rank\": 1, "
                                   "\"targets\": [\"attention.q\"]}, \"steps\": 4, " PACKED
                                   ", \"schedule\": {\"peak\": 1e-9}}}",
                                   latest_checkpoint(s, "plain")));
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
}

// The cpu's memory is the host's.
static void test_host(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "host", NULL);
    run_dapt(s, &o, "train", s->config, "--set", "backend.optimizer_memory=host", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "backend.optimizer_memory \"host\" changes nothing"));
    assert_null(strstr(o.out, "beside these"));
    assert_true(
        same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "plain"), "state.safetensors"),
                  dapt_path_join(&s->arena, latest_checkpoint(s, "host"), "state.safetensors")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_resume_parts),
                                       cmocka_unit_test(test_tiny_gradients),
                                       cmocka_unit_test(test_host), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
