// The checks over ranks that are threads, and one process without any.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checks.h"
#include "threads.h"

static struct dapt_ranks *opened(const struct dapt_comm_options *options) {
    struct dapt_ranks *ranks;
    if (dapt_ranks_open(&threads_comm, options, &ranks)) abort();
    return ranks;
}

static void run_check(void *context) {
    const struct comm_check *check = context;
    struct dapt_ranks *ranks = opened(NULL);
    check->run(ranks);
    dapt_ranks_close(&ranks);
}

static void test_check(void **state) {
    for (uint32_t size = 1; size <= 6; size++)
        threads_run(size, size == 5 ? 0 : 2, run_check, *state);
    threads_run(6, 3, run_check, *state);
    threads_run(7, 3, run_check, *state);  // machines that are not alike: no grid
    ((struct comm_check *)*state)->run(NULL);
}

static void check_machines(void *context) {
    (void)context;
    struct dapt_ranks *ranks = opened(NULL);
    const struct dapt_comm_world *world = dapt_ranks_world(ranks);
    assert_int_equal(world->local_rank, world->rank % 2);
    assert_int_equal(world->local_size, world->rank < 4 ? 2 : 1);
    assert_string_equal(dapt_ranks_host(ranks, 4), "machine-2");
    dapt_ranks_close(&ranks);
}

static void test_machines(void **state) {
    (void)state;
    threads_run(5, 2, check_machines, NULL);
}

static void leave_one_out(void *context) {
    (void)context;
    struct dapt_ranks *ranks = opened(&(struct dapt_comm_options){.timeout = 2});
    if (dapt_ranks_index(ranks) != 2) {
        assert_int_equal(dapt_ranks_barrier(ranks), DAPT_ERROR_IO);
        assert_non_null(strstr(dapt_error(), "rank 2 has not come within 2 s"));
    }
    dapt_ranks_close(&ranks);
}

static void abort_one(void *context) {
    (void)context;
    struct dapt_ranks *ranks = opened(NULL);
    if (dapt_ranks_index(ranks) == 1) {
        dapt_ranks_abort(ranks, 1);
    } else {
        assert_int_equal(dapt_ranks_barrier(ranks), DAPT_ERROR_IO);
        assert_string_equal(dapt_error(), "another rank ended the run");
    }
    dapt_ranks_close(&ranks);
}

static void test_failures(void **state) {
    (void)state;
    threads_run(4, 0, leave_one_out, NULL);
    threads_run(4, 0, abort_one, NULL);
}

// Shares cover everything, in whole units, as alike as units allow.
static void test_shares(void **state) {
    (void)state;
    static const uint64_t counts[] = {0, 1, 255, 256, 257, 1000, 65536, UINT64_C(70) << 32};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (uint32_t size = 1; size <= 9; size++) {
            uint64_t bounds[10], most = 0, least = UINT64_MAX;
            comm_shares(size, counts[c], 256, bounds);
            assert_int_equal(bounds[0], 0);
            assert_int_equal(bounds[size], counts[c]);
            for (uint32_t r = 0; r < size; r++) {
                uint64_t share = bounds[r + 1] - bounds[r];
                assert_true(bounds[r] % 256 == 0 || bounds[r] == counts[c]);
                if (share > most) most = share;
                if (share < least) least = share;
            }
            assert_true(most - least < 512);  // a unit, and what the last one lacks
        }
    }
}

int main(void) {
    struct CMUnitTest tests[32] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_machines),
                                   cmocka_unit_test(test_failures)};
    size_t count = 3;
    for (size_t i = 0; i < comm_check_count; i++)
        tests[count++] = (struct CMUnitTest){.name = comm_checks[i].name,
                                             .test_func = test_check,
                                             .initial_state = (void *)&comm_checks[i]};
    return _cmocka_run_group_tests("threads", tests, count, NULL, NULL);
}
