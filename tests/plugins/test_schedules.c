// plugins/schedules, through the loader as a run uses them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "host/json.h"
#include "host/loader.h"

static struct dapt_modules *modules;

static int load(void **state) {
    (void)state;
    return dapt_modules_load(NULL, &modules);
}

static int unload(void **state) {
    (void)state;
    dapt_modules_unload(&modules);
    return 0;
}

// One schedule with options as JSON, opened for the length of a test.
struct course {
    const struct dapt_schedule_1 *schedule;
    struct dapt_json *json;
    struct dapt_options *options;
    void *handle;
};

static struct course open_course(const char *id, const char *text) {
    struct course c = {0};
    const struct dapt_plugin_descriptor *d = dapt_modules_plugin(modules, DAPT_SCHEDULE_1, id);
    assert_non_null(d);
    c.schedule = d->implementation;
    assert_int_equal(dapt_json_parse("t", text, strlen(text), &c.json), DAPT_OK);
    if (dapt_options_create(d->options, c.json, NULL, &c.options)) fail_msg("%s", dapt_error());
    assert_int_equal(c.schedule->open(dapt_host(), c.options, &c.handle), DAPT_OK);
    return c;
}

static void close_course(struct course *c) {
    c->schedule->close(c->handle);
    dapt_options_destroy(&c->options);
    dapt_json_free(&c->json);
}

static double rate(const struct course *c, uint64_t step, uint64_t total) {
    struct dapt_schedule_point point = {.weight_decay = 0.1, .replay_share = 0.05};
    c->schedule->at(c->handle, step, total, &point);
    assert_true(point.weight_decay == 0.1 && point.replay_share == 0.05);  // not theirs
    return point.learning_rate;
}

static void near(double a, double b) {
    if (!(fabs(a - b) <= 1e-12 * fabs(b) + 1e-18)) fail_msg("%.17g, expected %.17g", a, b);
}

// The same run in Python: lr * ((s + 1) / w if s < w else floor + (1 - floor) * .5 * (1 + cos(pi * (s - w) / max(1, T - w)))),
// w = max(1, int(.02 * 300)), lr 1e-3, floor 0.1.
static void test_cosine(void **state) {
    (void)state;
    struct course c = open_course("cosine", "{\"peak\": 1e-3, \"warmup\": 0.02, \"floor\": 0.1}");
    static const struct {
        uint64_t step;
        double rate;
    } points[] = {
        {0, 1.0 / 6 * 1e-3},           {5, 1e-3},     {6, 1e-3}, {153, 0.00055},
        {299, 0.00010002569114558753}, {300, 0.0001},
    };
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        near(rate(&c, points[i].step, 300), points[i].rate);
    near(rate(&c, 0, 1), 1e-3);  // a run of one step: the peak
    near(rate(&c, 1000, 300), 1e-4);
    close_course(&c);
}

static void test_constant_and_linear(void **state) {
    (void)state;
    struct course c = open_course("constant",
                                  "{\"peak\": 0.5, \"warmup\": 4, \"floor\": 0.1, \"start\": 0.2}");
    near(rate(&c, 0, 100), 0.5 * (0.2 + 0.8 * 0.25));
    near(rate(&c, 3, 100), 0.5);
    near(rate(&c, 99, 100), 0.5);
    close_course(&c);
    c = open_course("linear", "{\"peak\": 1, \"warmup\": 0.1, \"floor\": 0.2}");
    near(rate(&c, 9, 100), 1);
    near(rate(&c, 10, 100), 1);
    near(rate(&c, 55, 100), 0.6);
    near(rate(&c, 100, 100), 0.2);
    close_course(&c);
}

static void test_wsd(void **state) {
    (void)state;
    struct course c = open_course("wsd",
                                  "{\"peak\": 1, \"warmup\": 10, \"floor\": 0.1, \"decay\": 0.2}");
    near(rate(&c, 4, 100), 0.5);
    near(rate(&c, 10, 100), 1);
    near(rate(&c, 80, 100), 1);
    near(rate(&c, 85, 100), 0.1 + 0.9 * (1 - sqrt(0.25)));
    near(rate(&c, 100, 100), 0.1);
    near(rate(&c, 50, 10), 0.1);  // no room between warm-up and end
    close_course(&c);
}

static void test_inverse_sqrt(void **state) {
    (void)state;
    struct course c = open_course("inverse-sqrt", "{\"peak\": 1, \"warmup\": 10}");
    near(rate(&c, 9, 100), 1);
    near(rate(&c, 10, 100), 1);
    near(rate(&c, 40, 100), 0.5);      // sqrt(10 / 40)
    near(rate(&c, 40, 1000000), 0.5);  // whatever the total
    close_course(&c);
    c = open_course("inverse-sqrt",
                    "{\"peak\": 1, \"warmup\": 10, \"timescale\": 100, \"floor\": 0.1}");
    near(rate(&c, 110, 100), 0.1 + 0.9 * sqrt(0.5));
    close_course(&c);
}

static void test_all_stay_in_range(void **state) {
    (void)state;
    static const char *const options[] = {"{}",
                                          "{\"warmup\": 0}",
                                          "{\"warmup\": 1e12}",
                                          "{\"start\": 1, \"floor\": 1}",
                                          "{\"peak\": 0}",
                                          "{\"warmup\": 0.999, \"floor\": 0}"};
    static const uint64_t totals[] = {1, 2, 3, 10, 997, UINT64_MAX};
    for (size_t k = 0; k < 5; k++) {
        const struct dapt_plugin_descriptor *d = dapt_modules_each(modules, DAPT_SCHEDULE_1, k);
        for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
            struct course c = open_course(d->id, options[o]);
            double peak = dapt_host()->option_number(c.options, "peak");
            for (size_t t = 0; t < sizeof totals / sizeof *totals; t++) {
                uint64_t total = totals[t], stride = total / 997 + 1;
                for (uint64_t i = 0; i < 997 && i * stride <= total; i++) {
                    double r = rate(&c, i * stride, total);
                    if (!(r >= 0 && r <= peak))
                        fail_msg("%s %s: %g at %llu of %llu", d->id, options[o], r,
                                 (unsigned long long)(i * stride), (unsigned long long)total);
                }
            }
            close_course(&c);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_constant_and_linear),
        cmocka_unit_test(test_wsd),
        cmocka_unit_test(test_inverse_sqrt),
        cmocka_unit_test(test_all_stay_in_range),
    };
    return cmocka_run_group_tests_name("schedules", tests, load, unload);
}
