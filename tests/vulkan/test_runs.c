// Whole runs on a Vulkan device, whatever driver the environment names: the device's certificate,
// the same bits each time, losses as on the cpu, and resumes from one to the other and back.
#include <math.h>

#include "../train/command.h"

#define VULKAN "{\"backend\": {\"name\": \"vulkan\"}, \"train\": {\"keep\": 100}}"
#define CPU "{\"backend\": {\"name\": \"cpu\"}, \"train\": {\"keep\": 100}}"
#define STEPS 24

static void run(struct scratch *s, const char *name, const char *more, bool resume) {
    struct outcome o;
    write_config(s, name, more);
    run_dapt(s, &o, "train", s->config, resume ? "--resume" : NULL, NULL);
    expect(&o, 0, NULL);
    if (strstr(o.err, "does not compute")) fail_msg("%s", o.err);
}

// The losses of steps 1 .. STEPS; NaN where a run has none.
static void read_losses(struct scratch *s, const char *name, double losses[STEPS]) {
    cJSON *metrics = read_metrics(s, name);
    const cJSON *event;
    for (int i = 0; i < STEPS; i++) losses[i] = NAN;
    cJSON_ArrayForEach(event, metrics) {
        const cJSON *loss = cJSON_GetObjectItem(event, "loss");
        if (cJSON_IsNumber(loss))
            losses[cJSON_GetObjectItem(event, "step")->valueint - 1] = loss->valuedouble;
    }
    cJSON_Delete(metrics);
}

static void expect_losses(struct scratch *s, const char *name, int after, const double *expected) {
    double losses[STEPS];
    read_losses(s, name, losses);
    for (int i = after; i < STEPS; i++)
        if (!(fabs(losses[i] - expected[i]) <= 1e-3 * fabs(expected[i])))
            fail_msg("%s: the loss of step %d is %g, on the cpu %g", name, i + 1, losses[i],
                     expected[i]);
}

static void test_certificate(void **state) {
    struct outcome o;
    run_dapt(*state, &o, "verify", "--backend", "vulkan", NULL);
    if (o.code != 0) fail_msg("%s\n%s", o.out, o.err);
    assert_null(strstr(o.out, "OFF"));
}

static void test_same_bits(void **state) {
    struct scratch *s = *state;
    static const char *const files[] = {"model.safetensors", "state.safetensors"};
    run(s, "one", VULKAN, false);
    run(s, "two", VULKAN, false);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *a = dapt_path_join(&s->arena, latest_checkpoint(s, "one"), files[i]),
             *b = dapt_path_join(&s->arena, latest_checkpoint(s, "two"), files[i]);
        if (!same_file(a, b)) fail_msg("%s and %s differ", a, b);
    }
    assert_true(dapt_is_file(in_scratch(s, "one/device.json")));
}

// As if run `from` had ended at a step: its checkpoint alone, in another run's folder.
static void take_over(struct scratch *s, const char *from, const char *to, const char *step) {
    static const char *const files[] = {"model.safetensors", "state.safetensors", "config.json",
                                        "run.json"};
    char *a = dapt_arena_format(&s->arena, "%s/checkpoints/%s", in_scratch(s, from), step);
    char *b = dapt_arena_format(&s->arena, "%s/checkpoints/%s", in_scratch(s, to), step);
    assert_ok(dapt_mkdirs(b));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        assert_ok(dapt_copy_file(dapt_path_join(&s->arena, a, files[i]),
                                 dapt_path_join(&s->arena, b, files[i])));
}

static void test_there_and_back(void **state) {
    struct scratch *s = *state;
    double losses[STEPS];
    run(s, "cpu", CPU, false);
    read_losses(s, "cpu", losses);
    expect_losses(s, "one", 0, losses);
    take_over(s, "cpu", "there", "step-000008");
    run(s, "there", VULKAN, true);
    expect_losses(s, "there", 8, losses);
    take_over(s, "there", "back", "step-000016");
    run(s, "back", CPU, true);
    expect_losses(s, "back", 16, losses);
}

static double planned(struct scratch *s, const char *place, const char *key) {
    struct outcome o;
    write_config(s, "planned",
                 dapt_arena_format(&s->arena,
                                   "{\"backend\": {\"name\": \"vulkan\", \"optimizer_memory\": "
                                   "\"%s\"}}",
                                   place));
    run_dapt(s, &o, "plan", s->config, "--json", NULL);
    expect(&o, 0, NULL);
    cJSON *plan = cJSON_Parse(o.out);
    double value = cJSON_GetNumberValue(cJSON_GetObjectItem(plan, key));
    cJSON_Delete(plan);
    return value;
}

// Moments in the host's memory: the same bits, less memory of a device that has its own, and a run may go
// from one to the other.
static void test_host_moments(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char host[] =
        "{\"backend\": {\"name\": \"vulkan\", \"optimizer_memory\": \"host\"}, \"train\": "
        "{\"keep\": 100}}";
    assert_int_equal(setenv("DAPT_VK_LIMITS", "visible=0", 1), 0);
    run(s, "device", VULKAN, false);
    write_config(s, "host", host);
    run_dapt(s, &o, "train", s->config, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, " in the host's memory, beside these"));
    take_over(s, "device", "moved", "step-000012");
    run(s, "moved", host, true);
    static const char *const runs[] = {"host", "moved"};
    static const char *const files[] = {"model.safetensors", "state.safetensors"};
    for (int r = 0; r < 2; r++)
        for (int f = 0; f < 2; f++)
            assert_true(
                same_file(dapt_path_join(&s->arena, latest_checkpoint(s, "device"), files[f]),
                          dapt_path_join(&s->arena, latest_checkpoint(s, runs[r]), files[f])));
    double moved = planned(s, "host", "host_memory");
    assert_true(moved > 0 && planned(s, "device", "host_memory") == 0);
    assert_true(planned(s, "device", "memory") - planned(s, "host", "memory") == moved);
    assert_int_equal(unsetenv("DAPT_VK_LIMITS"), 0);
    // Where there is one memory for both it is accepted, and changes nothing.
    write_config(s, "planned", host);
    run_dapt(s, &o, "plan", s->config, NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "\"host\" changes nothing: this device computes in the host's"));
}

// A device that hangs, and one with too little memory: an exit code of their own, one line, and the
// run goes on when that is over.
static void test_failures(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    static const char *const faults[][3] = {
        {"DAPT_VK_TIMEOUT", "1e-5", "hangs: no progress for 1e-05 s, running: "},
        {"DAPT_VK_LIMITS", "memory=4096", " MiB asked for ("},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        write_config(s, "failed", VULKAN);
        assert_int_equal(setenv(faults[i][0], faults[i][1], 1), 0);
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 3, faults[i][2]);
        assert_int_equal(unsetenv(faults[i][0]), 0);
    }
    run(s, "failed", VULKAN, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificate),    cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_host_moments),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests_name("runs", tests, scratch_setup, scratch_teardown);
}
