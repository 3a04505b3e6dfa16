// Runs in 16 bits: what they reach, that they come out the same again and after a resume, and float16's
// loss scaling.
#include <math.h>

#include "command.h"
#include "train/precision.h"

// ------------------------------------------------------------------------------------------ choices

static void test_auto(void **state) {
    (void)state;
    enum { HALVES = 1 << DAPT_F16 | 1 << DAPT_BF16 };
    static const struct {
        struct dapt_device_info info;
        enum dapt_precision expected;
    } devices[] = {
        {{.kind = DAPT_DEVICE_DISCRETE, .dtypes = 1 << DAPT_F32}, DAPT_PRECISION_FLOAT32},
        {{.kind = DAPT_DEVICE_DISCRETE, .dtypes = HALVES}, DAPT_PRECISION_FLOAT32},
        {{.kind = DAPT_DEVICE_DISCRETE, .dtypes = HALVES, .features = DAPT_FEATURE_F16},
         DAPT_PRECISION_FLOAT16},
        {{.kind = DAPT_DEVICE_DISCRETE,
          .dtypes = HALVES,
          .matrix_count = 2,
          .matrix = {{16, 16, 16, DAPT_F16, DAPT_F16}, {16, 16, 16, DAPT_F16, DAPT_F32}}},
         DAPT_PRECISION_FLOAT16},
        {{.kind = DAPT_DEVICE_INTEGRATED,
          .dtypes = HALVES,
          .features = DAPT_FEATURE_F16,
          .matrix_count = 2,
          .matrix = {{16, 16, 16, DAPT_F16, DAPT_F32}, {16, 16, 16, DAPT_BF16, DAPT_F32}}},
         DAPT_PRECISION_BFLOAT16},
        // Units that nothing here reaches, as no kernel keeps what they take.
        {{.kind = DAPT_DEVICE_DISCRETE,
          .dtypes = 1 << DAPT_F32,
          .matrix_count = 1,
          .matrix = {{16, 16, 16, DAPT_BF16, DAPT_F32}}},
         DAPT_PRECISION_FLOAT32},
        {{.kind = DAPT_DEVICE_SOFTWARE,
          .dtypes = HALVES,
          .features = DAPT_FEATURE_F16,
          .matrix_count = 1,
          .matrix = {{8, 8, 8, DAPT_F16, DAPT_F32}}},
         DAPT_PRECISION_FLOAT32},
        {{.kind = DAPT_DEVICE_CPU, .dtypes = HALVES, .features = DAPT_FEATURE_F16},
         DAPT_PRECISION_FLOAT32},
        {{.kind = DAPT_DEVICE_CPU, .dtypes = HALVES, .features = DAPT_FEATURE_BF16},
         DAPT_PRECISION_BFLOAT16},
    };
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        const char *why = NULL;
        enum dapt_precision found = dapt_precision_of(&devices[i].info, &why);
        if (found != devices[i].expected || !why)
            fail_msg("device %zu: %s", i, dapt_precision_name(found));
    }
}

// ------------------------------------------------------------------------------------- loss scaling

static void test_scale(void **state) {
    (void)state;
    struct dapt_loss_scale s = dapt_loss_scale_start(DAPT_PRECISION_BFLOAT16, 1000);
    assert_true(s.value == 0);
    assert_false(dapt_loss_scale_adapt(&s, 1, false));  // there is none: the model's fault
    assert_true(dapt_loss_scale_start(DAPT_PRECISION_FLOAT16, UINT64_MAX).value ==
                DAPT_LOSS_SCALE_MOST);
    s = dapt_loss_scale_start(DAPT_PRECISION_FLOAT16, 1000);
    assert_true(s.value == 65536);
    for (uint32_t i = 1; i < DAPT_LOSS_SCALE_GROWTH; i++)
        assert_false(dapt_loss_scale_adapt(&s, 1, true));
    assert_true(s.value == 65536 && s.good == DAPT_LOSS_SCALE_GROWTH - 1);
    assert_true(dapt_loss_scale_adapt(&s, 1, false));
    assert_true(s.value == 32768 && s.good == 0 && s.overflows == 1);
    for (uint32_t i = 0; i < DAPT_LOSS_SCALE_GROWTH; i++)
        assert_false(dapt_loss_scale_adapt(&s, 1, true));
    assert_true(s.value == 65536 && s.good == 0 && s.overflows == 1);
    // What no scale is to blame for leaves it as it is.
    assert_false(dapt_loss_scale_adapt(&s, INFINITY, false));
    assert_false(dapt_loss_scale_adapt(&s, NAN, false));
    assert_true(s.value == 65536);
    // The search ends.
    for (int i = 0; i < 16; i++) assert_true(dapt_loss_scale_adapt(&s, 1, false));
    assert_true(s.value == 1);
    assert_false(dapt_loss_scale_adapt(&s, 1, false));
    s.value = DAPT_LOSS_SCALE_MOST;
    for (uint32_t i = 0; i < DAPT_LOSS_SCALE_GROWTH; i++) dapt_loss_scale_adapt(&s, 1, true);
    assert_true(s.value == DAPT_LOSS_SCALE_MOST);
}

// ---------------------------------------------------------------------------------------------- runs

#define IN(precision) "{\"backend\": {\"precision\": \"" precision "\"}}"

static double bits_at(struct scratch *s, const char *run, double step) {
    cJSON *metrics = read_metrics(s, run);
    const cJSON *item;
    double bits = NAN;
    cJSON_ArrayForEach(item, metrics) {
        if (strcmp(cJSON_GetObjectItem(item, "event")->valuestring, "evaluation") == 0 &&
            figure(item, "step") == step)
            bits = figure(item, "bits_per_byte");
    }
    cJSON_Delete(metrics);
    return bits;
}

// As near to float32's as another order of its sums would be to the eye; what is written is float32.
static void test_runs(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    double exact = 0;
    for (enum dapt_precision p = DAPT_PRECISION_FLOAT32; p < DAPT_PRECISION_COUNT; p++) {
        const char *name = dapt_precision_name(p),
                   *again = dapt_arena_format(&s->arena, "%s-again", name);
        const char *more = dapt_arena_format(&s->arena, "{\"backend\": {\"precision\": \"%s\"}}",
                                             name);
        write_config(s, name, more);
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(o.out, dapt_arena_format(&s->arena, "precision       %s", name)));
        assert_null(strstr(o.err, "does not begin at the model"));
        write_config(s, again, more);
        run_dapt(s, &o, "train", s->config, NULL);
        expect(&o, 0, NULL);
        check_same_end(s, name, again);
        double begin = bits_at(s, name, 0), end = bits_at(s, name, 24);
        if (p == DAPT_PRECISION_FLOAT32) exact = end;
        if (!(end < 0.7 * begin) || !(fabs(end - exact) < 0.005 * exact))
            fail_msg("%s: %g, then %g bits/byte; float32 %g", name, begin, end, exact);
        run_dapt(s, &o, "plan", s->config, NULL);
        expect(&o, 0, NULL);
        assert_non_null(strstr(o.out, dapt_arena_format(&s->arena, "precision       %s", name)));
    }
}

static void test_resume(void **state) {
    check_resume(*state, "bf16", IN("bfloat16"));
    check_resume(*state, "f16", IN("float16"));
}

// Weights so large that gradients overflow, before and after a resume: the scale is found, which ends no
// run.
static void test_overflow(void **state) {
    struct scratch *s = *state;
    check_resume(s, "overflow",
                 "{\"model\": {\"random\": {\"initializer_range\": 4}}, \"backend\": "
                 "{\"precision\": \"float16\"}, \"train\": {\"max_bad_steps\": 1}}");
    cJSON *metrics = read_metrics(s, "overflow");
    const cJSON *item;
    double scale = INFINITY;
    size_t skipped = 0, updated = 0, late = 0;
    cJSON_ArrayForEach(item, metrics) {
        const char *event = cJSON_GetObjectItem(item, "event")->valuestring;
        bool skip = strcmp(event, "skip") == 0;
        if (!skip && strcmp(event, "step") != 0) continue;
        assert_true(figure(item, "loss_scale") <= scale);
        scale = figure(item, "loss_scale");
        if (skip) assert_true(figure(item, "in_row") == 0);
        skipped += skip;
        late += skip && figure(item, "step") > 12;
        updated += !skip;
    }
    if (skipped < 3 || updated < 3 || !late)
        fail_msg("%zu skipped, %zu of them late, %zu updates", skipped, late, updated);
    cJSON_Delete(metrics);
}

// The precision is part of a run's course; what "auto" chose once is kept.
static void test_course(void **state) {
    struct scratch *s = *state;
    struct outcome o;
    write_config(s, "course", IN("bfloat16"));
    run_dapt(s, &o, "train", s->config, "--set", "train.steps=4", NULL);
    expect(&o, 0, NULL);
    run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=8", "--set",
             "backend.precision=float32", NULL);
    expect(&o, 1, "backend.precision is \"float32\" now but was \"bfloat16\"");
    run_dapt(s, &o, "train", s->config, "--resume", "--set", "train.steps=8", "--set",
             "backend.precision=auto", NULL);
    expect(&o, 0, NULL);
    assert_non_null(strstr(o.out, "precision       bfloat16"));
    cJSON *metrics = read_metrics(s, "course");
    const cJSON *item;
    cJSON_ArrayForEach(item, metrics) {
        const cJSON *precision = cJSON_GetObjectItem(item, "precision");
        if (precision) assert_string_equal(precision->valuestring, "bfloat16");
    }
    cJSON_Delete(metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),     cmocka_unit_test(test_scale),
        cmocka_unit_test(test_runs),     cmocka_unit_test(test_resume),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_course)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
