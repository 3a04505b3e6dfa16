// What several ranks would take: the formula, by cases that one can work out by hand.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/traffic.h"

static const struct dapt_traffic_step step = {.trained = 1000000,
                                              .wire = 4,
                                              .micros = 8,
                                              .micro_seconds = 0.1,
                                              .update_seconds = 0.04,
                                              .copied = 1e9};

static void near(double is, double must_be) {
    if (!(fabs(is - must_be) <= 1e-9 * fabs(must_be)))
        fail_msg("is %.12g, must be %.12g", is, must_be);
}

// One rank is what was measured.
static void test_alone(void **state) {
    (void)state;
    struct dapt_traffic t = dapt_traffic_of(
        &(struct dapt_traffic_ranks){.ranks = 1, .bandwidth = 1, .local = 1}, &step);
    assert_int_equal(t.sent, 0);
    near(t.step_seconds, 0.84);
    near(t.efficiency, 1);
}

// Four ranks of one machine each: 3/4 of 8 MB leave each, at 1 MB/s; one bucket, six messages on
// the way.
static void test_machines(void **state) {
    (void)state;
    struct dapt_traffic t = dapt_traffic_of(
        &(struct dapt_traffic_ranks){
            .ranks = 4, .machines = 4, .bandwidth = 1e6, .local = 1e9, .latency = 0.01},
        &step);
    assert_int_equal(t.sent, 6000000);
    near(t.compute_seconds, 0.21);
    near(t.host_seconds, 0.004 * (2 + 0.25 + 0.25 + 0.75));
    near(t.travel_seconds, 6 + 0.06);
    near(t.step_seconds, t.compute_seconds + t.host_seconds + t.travel_seconds);
    near(t.efficiency, 0.84 / 4 / t.step_seconds);
}

// Two on each of two machines: half of 8 MB to the neighbour, half of them over the link that both
// share.
static void test_shared_link(void **state) {
    (void)state;
    struct dapt_traffic t = dapt_traffic_of(
        &(struct dapt_traffic_ranks){.ranks = 4, .machines = 2, .bandwidth = 1e6, .local = 1e9},
        &step);
    assert_int_equal(t.sent, 4000000 + 2000000);
    near(t.travel_seconds, 4e-3 + 4);
    // All on one machine: no link
    t = dapt_traffic_of(
        &(struct dapt_traffic_ranks){.ranks = 4, .machines = 1, .bandwidth = 1, .local = 1e9},
        &step);
    near(t.travel_seconds, 6e-3);
}

// Three ranks of eight micro-batches: one has three. Gradients in 16 bits: three quarters of the
// bytes.
static void test_uneven(void **state) {
    (void)state;
    struct dapt_traffic_step half = step;
    half.wire = 2;
    struct dapt_traffic t = dapt_traffic_of(
        &(struct dapt_traffic_ranks){.ranks = 3, .machines = 1, .local = 1e9}, &half);
    near(t.compute_seconds, 0.3 + 0.04 / 3);
    assert_int_equal(t.sent, 4000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_machines),
        cmocka_unit_test(test_shared_link),
        cmocka_unit_test(test_uneven),
    };
    return cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
