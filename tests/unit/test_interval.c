// core/infer/interval.h: intervals that hold the truth as often as they say, on figures whose truth is
// known.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "infer/interval.h"

#define DOCUMENTS 100
#define ROUNDS 200

// Document `i` of round `round`: skewed lengths (log-normal), a loss a token of its own, and a change
// that varies from document to document about `change` nats a token, more so in short ones.
static struct dapt_paired draw(uint64_t round, uint64_t i, double change) {
    double tokens = 5 + floor(exp(4 + 0.8 * dapt_random_normal(11, round, 4 * i)));
    double level = 3 + 0.4 * dapt_random_normal(11, round, 4 * i + 1);
    double own = change + (0.1 + 1 / sqrt(tokens)) * dapt_random_normal(11, round, 4 * i + 2);
    return (struct dapt_paired){.before = level * tokens,
                                .after = (level + own) * tokens,
                                .scored = tokens,
                                .tokens = tokens + 1,
                                .bytes = 4 * tokens};
}

static void test_coverage(void **state) {
    (void)state;
    static const double changes[] = {-0.5, 0, 0.05};
    for (size_t c = 0; c < 3; c++) {
        // The changes of documents don't depend on their lengths in the mean: the whole's is `change`.
        int held = 0;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            struct dapt_paired documents[DOCUMENTS];
            struct dapt_interval interval;
            double tokens = 0, bytes = 0;
            for (uint64_t i = 0; i < DOCUMENTS; i++) {
                documents[i] = draw(1000 * c + round, i, changes[c]);
                tokens += documents[i].tokens;
                bytes += documents[i].bytes;
            }
            assert_int_equal(dapt_interval_change(documents, DOCUMENTS, round, &interval), 0);
            double truth = changes[c] * tokens / bytes / M_LN2;
            held += interval.low <= truth && truth <= interval.high;
            assert_true(interval.low < interval.change && interval.change < interval.high);
        }
        if (held < 0.92 * ROUNDS || held > 0.98 * ROUNDS)
            fail_msg("%d of %d intervals hold a change of %g", held, ROUNDS, changes[c]);
    }
}

static void test_sameness(void **state) {
    (void)state;
    struct dapt_paired documents[DOCUMENTS + 1];
    struct dapt_interval a, b;
    for (uint64_t i = 0; i < DOCUMENTS; i++) documents[i] = draw(5, i, 0.1);
    documents[DOCUMENTS] = (struct dapt_paired){.tokens = 1,
                                                .bytes = 1};  // nothing in it is scored
    assert_int_equal(dapt_interval_change(documents, DOCUMENTS, 1, &a), 0);
    assert_int_equal(dapt_interval_change(documents, DOCUMENTS + 1, 1, &b), 0);
    assert_true(a.change == b.change && a.low == b.low && a.high == b.high);
    assert_int_equal(dapt_interval_change(documents, DOCUMENTS, 2, &b), 0);
    assert_true(a.change == b.change && a.low != b.low);
    assert_true(fabs(a.low - b.low) < 0.1 * (a.high - a.low));
    for (size_t i = 0; i < DOCUMENTS; i++) documents[i].after = documents[i].before;
    assert_int_equal(dapt_interval_change(documents, DOCUMENTS, 1, &a), 0);
    assert_true(a.change == 0 && a.low == 0 && a.high == 0);
}

static void test_too_few(void **state) {
    (void)state;
    struct dapt_paired documents[2] = {draw(6, 0, 0.1), {.tokens = 3, .bytes = 9}};
    struct dapt_interval interval;
    assert_int_equal(dapt_interval_change(documents, 2, 1, &interval), 0);
    assert_true(isfinite(interval.change) && isnan(interval.low) && isnan(interval.high));
    assert_int_equal(dapt_interval_change(NULL, 0, 1, &interval), 0);
    assert_true(isnan(interval.change) && isnan(interval.low));
    documents[1] = draw(6, 1, NAN);  // a ruined model
    assert_int_equal(dapt_interval_change(documents, 2, 1, &interval), 0);
    assert_true(isnan(interval.low));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_sameness),
        cmocka_unit_test(test_too_few),
    };
    return cmocka_run_group_tests_name("interval", tests, NULL, NULL);
}
