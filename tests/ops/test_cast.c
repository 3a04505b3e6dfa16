// cast: every 16-bit number, and float32 numbers between all neighbours of them, on every device of a
// backend (DAPT_TEST_BACKEND, "cpu" by default), against a table of values in double.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "graph/device.h"
#include "graph/graph.h"
#include "host/loader.h"

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)
#define ALL 65536

static struct dapt_modules *modules;

static double value_of(enum dapt_dtype dtype, uint32_t bits) {
    int digits = dtype == DAPT_F16 ? 10 : 7, bias = dtype == DAPT_F16 ? 15 : 127;
    uint32_t fraction = bits & ((1u << digits) - 1),
             exponent = bits >> digits & (dtype == DAPT_F16 ? 31u : 255u);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == (dtype == DAPT_F16 ? 31u : 255u)) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - digits);
    return sign * ldexp(fraction + (1 << digits), (int)exponent - bias - digits);
}

// The bits nearest to x, ties to even: positive numbers are in the order of their bits. Half of a unit
// beyond the largest one is where infinity begins.
static uint16_t nearest(enum dapt_dtype dtype, double x) {
    uint32_t low = 0, high = dtype == DAPT_F16 ? 0x7bff : 0x7f7f;
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    double size = fabs(x), most = value_of(dtype, high),
           limit = most + (most - value_of(dtype, high - 1)) / 2;
    if (size >= limit) return (uint16_t)(sign | (high + 1));
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (value_of(dtype, middle) <= size)
            low = middle;
        else
            high = middle;
    }
    double below = size - value_of(dtype, low), above = value_of(dtype, high) - size;
    bool up = above < below || (above == below && (high & 1) == 0);
    return (uint16_t)(sign | (up ? high : low));
}

// y = cast of x, both [rows, cols], x with `gap` elements between its rows.
static void run(struct dapt_device_handle *device, enum dapt_dtype from, enum dapt_dtype to,
                int64_t rows, int64_t cols, int64_t gap, const void *x, void *y) {
    struct dapt_graph *g = dapt_graph_create();
    struct dapt_program program;
    struct dapt_buffer_handle *buffers[DAPT_BUFFER_ROLE_COUNT] = {0};
    struct dapt_executable_handle *executable;
    dapt_value whole = dapt_graph_input(g, DAPT_BUFFER_CACHE, DAPT_GRAPH_NEXT, from, 2,
                                        (int64_t[]){rows, cols + gap}, "x");
    dapt_value in = dapt_graph_slice(g, whole, 0, cols);
    dapt_value out = dapt_graph_new(g, DAPT_BUFFER_RESULT, to, 2, (int64_t[]){rows, cols});
    dapt_graph_op(g, &(struct dapt_op){.opcode = DAPT_OP_CAST, .inputs = {in}, .outputs = {out}});
    MUST(dapt_graph_plan(g));
    MUST(dapt_graph_program(g, &program));
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
        if (program.buffers[r].size)
            MUST(dapt_buffer_create(device, (enum dapt_buffer_role)r, program.buffers[r].size,
                                    &buffers[r]));
    MUST(dapt_buffer_write(buffers[DAPT_BUFFER_CACHE], 0, x,
                           program.buffers[DAPT_BUFFER_CACHE].size));
    MUST(dapt_program_compile(device, &program, buffers, &executable));
    MUST(dapt_program_run(executable));
    MUST(dapt_device_wait(device, 0));
    MUST(dapt_buffer_read(buffers[DAPT_BUFFER_RESULT], 0, y,
                          program.buffers[DAPT_BUFFER_RESULT].size));
    dapt_program_destroy(&executable);
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++) dapt_buffer_destroy(&buffers[r]);
    dapt_graph_destroy(&g);
}

static bool same(enum dapt_dtype dtype, uint16_t bits, uint16_t expected) {
    double value = value_of(dtype, expected);
    return isnan(value) ? isnan(value_of(dtype, bits)) && bits >> 15 == expected >> 15
                        : bits == expected;
}

static void check_device(struct dapt_device_handle *device) {
    static const enum dapt_dtype halves[] = {DAPT_F16, DAPT_BF16};
    uint16_t *bits = malloc(ALL * sizeof *bits), *back = malloc(3 * ALL * sizeof *back);
    float *floats = malloc(3 * ALL * sizeof *floats);
    for (uint32_t i = 0; i < ALL; i++) bits[i] = (uint16_t)i;
    for (size_t d = 0; d < 2; d++) {
        enum dapt_dtype half = halves[d];
        run(device, half, DAPT_F32, 64, ALL / 64, 0, bits, floats);
        for (uint32_t i = 0; i < ALL; i++) {
            double expected = value_of(half, i);
            // Numbers below the normal ones of float32 may become 0: bfloat16 has such.
            bool fine = isnan(expected) ? isnan(floats[i]) : (double)floats[i] == expected;
            if (!fine && !(fabs(expected) < 0x1p-126 && floats[i] == 0))
                fail_msg("%s %#x is %.9g, expected %.9g", dapt_dtype_name(half), i,
                         (double)floats[i], expected);
        }
        // The number itself, the middle to the next one and what lies just beyond it.
        for (uint32_t i = 0; i < ALL; i++) {
            float own = (float)value_of(half, i), next = (float)value_of(half, (i + 1) & 0xffff);
            floats[3 * i] = own;
            floats[3 * i + 1] = own + (next - own) / 2;
            floats[3 * i + 2] = nextafterf(floats[3 * i + 1], i & 1 ? 0 : INFINITY);
        }
        run(device, DAPT_F32, half, 3, ALL, 0, floats, back);
        for (uint32_t i = 0; i < 3 * ALL; i++) {
            if (fabsf(floats[i]) < 0x1p-126f) continue;
            uint16_t expected = isnan(floats[i]) ? back[i] : nearest(half, (double)floats[i]);
            if (!same(half, back[i], expected) ||
                (isnan(floats[i]) && !isnan(value_of(half, back[i]))))
                fail_msg("%.9g in %s is %#x, expected %#x", (double)floats[i],
                         dapt_dtype_name(half), back[i], expected);
        }
        run(device, half, halves[1 - d], 64, ALL / 64, 0, bits, back);
        for (uint32_t i = 0; i < ALL; i++) {
            double value = value_of(half, i);
            if (fabs(value) < 0x1p-126) continue;
            bool fine = isnan(value) ? isnan(value_of(halves[1 - d], back[i]))
                                     : back[i] == nearest(halves[1 - d], value);
            if (!fine)
                fail_msg("%s %#x is %#x in the other type", dapt_dtype_name(half), i, back[i]);
        }
        // Columns of a wider matrix; an odd number of float32 in one row.
        run(device, half, DAPT_F32, 7, 6, 4, bits, floats);
        for (int i = 0; i < 42; i++)
            assert_true((double)floats[i] == value_of(half, bits[i / 6 * 10 + i % 6]) ||
                        floats[i] == 0);
    }
    run(device, DAPT_F32, DAPT_F32, 5, 7, 3, bits, floats);
    for (int i = 0; i < 35; i++)
        assert_memory_equal(&floats[i], (float *)(void *)bits + i / 7 * 10 + i % 7, sizeof(float));
    free(bits);
    free(back);
    free(floats);
}

static void casts_are_exact(void **state) {
    (void)state;
    const char *name = getenv("DAPT_TEST_BACKEND");
    const struct dapt_backend *backend = dapt_modules_backend(modules, name ? name : "cpu");
    uint32_t count = 0;
    if (!backend) fail_msg("%s", dapt_error());
    MUST(backend->device_count(dapt_host(), &count));
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        struct dapt_device_handle *device;
        MUST(dapt_device_open(dapt_host(), backend, i, &(struct dapt_device_options){0}, &device));
        check_device(device);
        dapt_device_close(&device);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(casts_are_exact)};
    if (dapt_modules_load(NULL, &modules)) {
        fprintf(stderr, "%s\n", dapt_error());
        return 1;
    }
    int failed = cmocka_run_group_tests_name("cast", tests, NULL, NULL);
    dapt_modules_unload(&modules);
    return failed;
}
