// Devices, memory, transfers, replays and clocks of the Vulkan backend, on whatever driver the
// environment names.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "module.h"

static char said[1024];
#define MUST(call)                                       \
    do {                                                 \
        if ((call) < 0) fail_msg("%s: %s", #call, said); \
    } while (0)

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line) {
    (void)host;
    snprintf(said, sizeof said, "%s", line);
    return status;
}
static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line) {
    (void)host, (void)level;
    fprintf(stderr, "%s\n", line);
}
static const struct dapt_host host = {
    .struct_size = sizeof host, .log = host_log, .fail = host_fail};
static const struct dapt_backend *be;
static struct dapt_device *device;

static int setup(void **unused) {
    (void)unused;
    uint32_t count = 0;
    be = open_module();
    MUST(be->device_count(&host, &count));
    assert_true(count > 0);
    MUST(be->device_open(&host, 0, &(struct dapt_device_options){0}, &device));
    return 0;
}
static int teardown(void **unused) {
    (void)unused;
    be->device_close(device);
    return 0;
}

// --------------------------------------------------------------------------------------- the tests

static void test_info(void **unused) {
    (void)unused;
    struct dapt_device_info info;
    MUST(be->device_info(&host, 0, &info));
    assert_true(info.name[0] && info.vendor[0] && info.driver[0] && strlen(info.uuid) == 36);
    assert_true(info.memory > 0 && info.max_buffer > 0 && info.shared_memory >= 16384);
    assert_true(info.subgroup_min > 0 && info.subgroup_min <= info.subgroup_max);
    assert_true(be->device_info(&host, 99, &info) < 0 &&
                be->device_open(&host, 99, NULL, &(struct dapt_device *){0}) < 0);
    assert_non_null(strstr(said, "99"));
}

static void test_memory(void **unused) {
    (void)unused;
    static const uint64_t sizes[] = {4, 1000, 4096, 5u << 20, 21000004};
    struct dapt_buffer *buffers[5] = {NULL}, *none;
    struct dapt_device_info info;
    MUST(be->device_info(&host, 0, &info));
    // Where one allocation is not enough and the driver binds no memory sparsely, the last is too large.
    const int count = info.max_buffer >= sizes[4] ? 5 : 4;
    for (int i = 0; i < count; i++)
        MUST(be->buffer_create(device, DAPT_BUFFER_WORK, sizes[i], &buffers[i]));
    for (int i = 0; i < count; i++) {
        uint8_t *data = malloc(sizes[i]), *back = malloc(sizes[i]);
        MUST(be->buffer_read(device, buffers[i], 0, back, sizes[i]));
        for (uint64_t k = 0; k < sizes[i]; k++)
            if (back[k] != 0)
                fail_msg("a new buffer of %llu bytes is not zero", (unsigned long long)sizes[i]);
        for (uint64_t k = 0; k < sizes[i]; k++) data[k] = (uint8_t)(k * 7 + (uint64_t)i);
        MUST(be->buffer_write(device, buffers[i], 0, data, sizes[i]));
        MUST(be->buffer_read(device, buffers[i], 1, back, sizes[i] - 1));
        assert_memory_equal(data + 1, back, sizes[i] - 1);
        free(data), free(back);
    }
    // Freed memory is given out again, and what is beside it stays.
    be->buffer_destroy(device, buffers[1]);
    MUST(be->buffer_create(device, DAPT_BUFFER_WORK, 512, &buffers[1]));
    uint8_t byte;
    MUST(be->buffer_read(device, buffers[2], 4095, &byte, 1));
    assert_int_equal(byte, (uint8_t)(4095 * 7 + 2));
    for (int i = 0; i < count; i++) be->buffer_destroy(device, buffers[i]);
    assert_int_equal(be->buffer_create(device, DAPT_BUFFER_PARAM, UINT64_C(1) << 45, &none),
                     DAPT_ERROR_DEVICE);
    assert_non_null(strstr(said, "33554432.0 MiB asked for (parameters)"));
    assert_null(none);
}

// y = y + x over n floats, `repeats` times as operations of one program.
#define COUNT 4096
#define REPEATS 5
struct adder {
    struct dapt_buffer *x, *y;
    struct dapt_executable *run;
};

static void make_adder(struct adder *a) {
    struct dapt_buffer_info infos[2] = {{DAPT_BUFFER_BATCH, COUNT * 4},
                                        {DAPT_BUFFER_WORK, COUNT * 4}};
    struct dapt_tensor tensors[2] = {{DAPT_F32, 1, {COUNT, 1, 1, 1}, 1, 0, 0},
                                     {DAPT_F32, 1, {COUNT, 1, 1, 1}, 1, 1, 0}};
    struct dapt_op ops[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        ops[i] = (struct dapt_op){.opcode = DAPT_OP_ADD, .label = "adder"};
        for (int k = 0; k < DAPT_OP_INPUTS; k++) ops[i].inputs[k] = DAPT_NONE;
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++) ops[i].outputs[k] = DAPT_NONE;
        ops[i].inputs[0] = ops[i].outputs[0] = 1;
        ops[i].inputs[1] = 0;
    }
    struct dapt_program program = {2, 2, REPEATS, infos, tensors, ops};
    MUST(be->buffer_create(device, infos[0].role, infos[0].size, &a->x));
    MUST(be->buffer_create(device, infos[1].role, infos[1].size, &a->y));
    struct dapt_buffer *buffers[] = {a->x, a->y};
    MUST(be->program_compile(device, &program, buffers, &a->run));
}
static void free_adder(struct adder *a) {
    be->program_destroy(device, a->run);
    be->buffer_destroy(device, a->x);
    be->buffer_destroy(device, a->y);
}

// Writes and runs without a wait between happen in order, over many replays.
static void test_order(void **unused) {
    (void)unused;
    struct adder a;
    float x[COUNT], y[COUNT];
    make_adder(&a);
    double expected = 0;
    for (int i = 1; i <= 30; i++) {
        for (int k = 0; k < COUNT; k++) x[k] = (float)i;
        MUST(be->buffer_write(device, a.x, 0, x, sizeof x));
        memset(x, 0xff, sizeof x);  // the caller's again
        MUST(be->program_run(device, a.run));
        expected += REPEATS * i;
        if (i % 10 == 0) MUST(be->device_wait(device, 60));
    }
    MUST(be->buffer_read(device, a.y, 0, y, sizeof y));
    for (int k = 0; k < COUNT; k++) assert_true((double)y[k] == expected);
    free_adder(&a);
}

static void test_timings(void **unused) {
    (void)unused;
    struct adder a;
    uint64_t nanoseconds[REPEATS];
    make_adder(&a);
    for (int i = 0; i < 3; i++) MUST(be->program_run(device, a.run));
    MUST(be->device_wait(device, 60));
    for (int round = 0; round < 2; round++) {
        memset(nanoseconds, 0xff, sizeof nanoseconds);
        MUST(be->timings(device, a.run, nanoseconds));
        for (int i = 0; i < REPEATS; i++)
            assert_true(nanoseconds[i] > 0 && nanoseconds[i] < UINT64_C(60000000000));
        MUST(be->program_run(device, a.run));
        MUST(be->program_run(device, a.run));
    }
    free_adder(&a);
}

// The first program's scratch moves when a second one needs more: the first must go on giving the
// same.
static void test_scratch(void **unused) {
    (void)unused;
    enum { SMALL = 40000, LARGE = 9000000 };
    struct dapt_device_info info;
    MUST(be->device_info(&host, 0, &info));
    if (info.max_buffer < LARGE * 4) {
        printf("skipped: %s binds no memory sparsely, and %llu bytes are its largest buffer\n",
               info.name, (unsigned long long)info.max_buffer);
        skip();
    }
    struct dapt_executable *runs[2];
    struct dapt_buffer *x[2], *y[2];
    static const int64_t counts[2] = {SMALL, LARGE};
    for (int i = 0; i < 2; i++) {
        int64_t rows = counts[i] / 8;
        struct dapt_buffer_info infos[2] = {{DAPT_BUFFER_WORK, (uint64_t)counts[i] * 4},
                                            {DAPT_BUFFER_RESULT, 32}};
        struct dapt_tensor tensors[2] = {{DAPT_F32, 2, {rows, 8, 1, 1}, 8, 0, 0},
                                         {DAPT_F32, 1, {8, 1, 1, 1}, 1, 1, 0}};
        struct dapt_op op = {.opcode = DAPT_OP_COLUMN_SUM, .label = "sums"};
        for (int k = 1; k < DAPT_OP_INPUTS; k++) op.inputs[k] = DAPT_NONE;
        for (int k = 1; k < DAPT_OP_OUTPUTS; k++) op.outputs[k] = DAPT_NONE;
        op.outputs[0] = 1;
        struct dapt_program program = {2, 2, 1, infos, tensors, &op};
        float *ones = malloc((size_t)counts[i] * 4);
        for (int64_t k = 0; k < counts[i]; k++) ones[k] = 1;
        MUST(be->buffer_create(device, infos[0].role, infos[0].size, &x[i]));
        MUST(be->buffer_create(device, infos[1].role, infos[1].size, &y[i]));
        MUST(be->buffer_write(device, x[i], 0, ones, infos[0].size));
        MUST(be->program_compile(device, &program, (struct dapt_buffer *[]){x[i], y[i]}, &runs[i]));
        free(ones);
        for (int k = i; k >= 0; k--) MUST(be->program_run(device, runs[k]));
    }
    for (int i = 0; i < 2; i++) {
        float sums[8];
        MUST(be->program_run(device, runs[i]));
        MUST(be->buffer_read(device, y[i], 0, sums, sizeof sums));
        for (int k = 0; k < 8; k++)
            if (sums[k] != (float)(counts[i] / 8))
                fail_msg("program %d, column %d: %g, expected %g", i, k, (double)sums[k],
                         (double)counts[i] / 8);
        be->program_destroy(device, runs[i]);
        be->buffer_destroy(device, x[i]);
        be->buffer_destroy(device, y[i]);
    }
}

// A device that makes no progress for as long as it is given: the wait ends with its name and what it
// is at, all later calls fail at once, and closing it touches nothing that still runs.
static void test_hang(void **unused) {
    (void)unused;
    enum { SIZE = 1024, ROUNDS = 24 };
    struct dapt_device *slow;
    struct dapt_buffer *buffers[2];
    struct dapt_executable *run;
    struct dapt_buffer_info infos[2] = {{DAPT_BUFFER_WORK, 4ull * SIZE * SIZE},
                                        {DAPT_BUFFER_RESULT, 4ull * SIZE * SIZE}};
    struct dapt_tensor tensors[2];
    struct dapt_op ops[ROUNDS];
    for (uint32_t i = 0; i < 2; i++)
        tensors[i] = (struct dapt_tensor){DAPT_F32, 2, {SIZE, SIZE, 1, 1}, SIZE, i, 0};
    for (int i = 0; i < ROUNDS; i++) {
        ops[i] = (struct dapt_op){.opcode = DAPT_OP_MATMUL, .accumulate = i > 0, .label = "slow"};
        for (int k = 2; k < DAPT_OP_INPUTS; k++) ops[i].inputs[k] = DAPT_NONE;
        for (int k = 1; k < DAPT_OP_OUTPUTS; k++) ops[i].outputs[k] = DAPT_NONE;
        ops[i].outputs[0] = 1;
    }
    struct dapt_program program = {2, 2, ROUNDS, infos, tensors, ops};
    assert_int_equal(setenv("DAPT_VK_TIMEOUT", "1e-4", 1), 0);
    MUST(be->device_open(&host, 0, &(struct dapt_device_options){0}, &slow));
    assert_int_equal(unsetenv("DAPT_VK_TIMEOUT"), 0);
    for (int i = 0; i < 2; i++)
        MUST(be->buffer_create(slow, infos[i].role, infos[i].size, &buffers[i]));
    MUST(be->device_wait(slow, 60));
    MUST(be->program_compile(slow, &program, buffers, &run));
    MUST(be->program_run(slow, run));
    assert_int_equal(be->device_wait(slow, 0), DAPT_ERROR_DEVICE);
    assert_non_null(strstr(said, "hangs: no progress for 0.0001 s, running: operation 0 (slow, "));
    assert_int_equal(be->program_run(slow, run), DAPT_ERROR_DEVICE);
    assert_non_null(strstr(said, "was lost before"));
    float value;
    assert_int_equal(be->buffer_read(slow, buffers[1], 0, &value, sizeof value), DAPT_ERROR_DEVICE);
    be->program_destroy(slow, run);
    for (int i = 0; i < 2; i++) be->buffer_destroy(slow, buffers[i]);
    be->device_close(slow);
}

int main(void) {
    // Nothing is measured when a program is compiled: the device of test_hang would hang there.
    setenv("DAPT_VK_LIMITS", "tile=1", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),    cmocka_unit_test(test_memory),
        cmocka_unit_test(test_order),   cmocka_unit_test(test_timings),
        cmocka_unit_test(test_scratch), cmocka_unit_test(test_hang)};
    int failed = cmocka_run_group_tests_name("device", tests, setup, teardown);
    fflush(NULL);
    _exit(failed);  // the device of test_hang may still be at work
}
