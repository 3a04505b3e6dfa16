// The base below adapters in fewer bits: what its numbers become, that a model computes with just
// those, and that it takes as many bytes as it should.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "engine/engine.h"
#include "graph/blocks.h"
#include "host/loader.h"

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

static struct dapt_modules *modules;

// ----------------------------------------------------------------------------------------- numbers

// The normal distribution's quantile.
static double quantile(double share) {
    double low = -10, high = 10;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2.0)) < share)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// As QLoRA makes them: eight quantiles of the negative half, nine of the positive one, both with 0,
// from 1/2 to the middle of 1 - 1/32 and 1 - 1/30; the largest becomes 1.
static void values_are_quantiles(void **state) {
    (void)state;
    double offset = 0.5 * (1 - 1.0 / 32 + 1 - 1.0 / 30), most = quantile(offset);
    for (int i = 0; i < 8; i++) {
        double negative = -quantile(offset + (0.5 - offset) * i / 7) / most,
               positive = quantile(0.5 + (offset - 0.5) * (i + 1) / 8) / most;
        assert_true(fabs((double)dapt_nf4_values[i] - negative) < 1e-6);
        assert_true(fabs((double)dapt_nf4_values[8 + i] - positive) < 1e-6);
    }
    assert_true(dapt_nf4_values[7] == 0);
}

// Every number becomes the nearest that its block has; the largest, and zeros, stay.
static void numbers_are_nearest(void **state) {
    (void)state;
    enum { BLOCKS = 50, COUNT = BLOCKS * DAPT_BLOCK };
    static const enum dapt_dtype types[] = {DAPT_NF4, DAPT_INT8};
    float values[COUNT], back[COUNT];
    uint8_t bytes[BLOCKS * 68];
    for (int i = 0; i < COUNT; i++) {
        double size = pow(10, i / DAPT_BLOCK % 9 - 4.0);
        values[i] = i / DAPT_BLOCK == 7 ? 0 : (float)(size * dapt_random_normal(1, 0, (uint64_t)i));
        if (i % 9 == 0) values[i] = 0;
    }
    for (int t = 0; t < 2; t++) {
        assert_int_equal(dapt_dtype_bytes(types[t], COUNT), BLOCKS * (t ? 68 : 36));
        MUST(dapt_floats_pack(values, COUNT, types[t], bytes));
        MUST(dapt_floats_unpack(bytes, COUNT, types[t], back));
        for (int i = 0; i < COUNT; i++) {
            double most = 0, near = INFINITY;
            for (int k = 0; k < DAPT_BLOCK; k++)
                most = fmax(most, fabs((double)values[i / DAPT_BLOCK * DAPT_BLOCK + k]));
            for (int code = t ? -127 : 0; code <= (t ? 127 : 15); code++) {
                double there = t ? most * code / 127 : most * (double)dapt_nf4_values[code];
                near = fmin(near, fabs((double)values[i] - there));
            }
            double off = fabs((double)values[i] - (double)back[i]);
            if (!(off <= near + 2e-7 * most))
                fail_msg("%s: %.9g becomes %.9g, %g off, the nearest is %g off",
                         dapt_dtype_name(types[t]), (double)values[i], (double)back[i], off, near);
            if (values[i] == 0 || (t == 0 && fabs((double)values[i]) == most))
                assert_true(back[i] == values[i]);
        }
    }
}

// ------------------------------------------------------------------------------------------ models

// That are looked at: rasterisers take long for all.
static size_t model_count = 1;
#define LENGTH 16u
#define SEQUENCES 2u
#define SIZES                                                                                      \
    "\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":" \
    "4,\"vocab_size\":50,\"max_position_embeddings\":64,\"initializer_range\":0.2"

static const struct {
    const char *config;
    uint64_t numbers;  // of matrices that are stored in blocks: of two layers
} models[] = {
    {"{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":2}",
     2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)},
    {"{\"model_type\":\"gpt2\",\"n_embd\":32,\"n_layer\":2,\"n_head\":4,\"n_positions\":64,"
     "\"vocab_size\":50,\"initializer_range\":0.2}",
     2 * (4 * 32 * 32 + 2 * 32 * 128)},
    {"{\"model_type\":\"gpt_neox\"," SIZES "}", 2 * (4 * 32 * 32 + 2 * 32 * 48)},
    // Matrices that are no whole blocks stay as they are: up and down.
    {"{\"model_type\":\"qwen2\",\"hidden_size\":32,\"intermediate_size\":33,\"num_hidden_layers\":"
     "2,"
     "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"vocab_size\":50,"
     "\"max_position_embeddings\":64,\"initializer_range\":0.2}",
     2 * 4 * 32 * 32},
    {"{\"model_type\":\"bert\"," SIZES ",\"type_vocab_size\":2}", 2 * (4 * 32 * 32 + 2 * 32 * 48)},
};

struct fixture {
    struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine *engine;
};

static const struct dapt_engine_options options = {.train = true,
                                                   .sequences = SEQUENCES,
                                                   .length = LENGTH,
                                                   .beta1 = 0.9f,
                                                   .beta2 = 0.95f,
                                                   .eps = 1e-8f};

static struct fixture make(const char *config, enum dapt_base_type base) {
    struct fixture f = {0};
    struct dapt_json *json;
    const char *name = getenv("DAPT_TEST_BACKEND");
    const struct dapt_backend *backend = dapt_modules_backend(modules, name ? name : "cpu");
    const struct dapt_lora lora = {.rank = 3, .alpha = 6, .base = base};
    if (!backend) fail_msg("%s", dapt_error());
    MUST(dapt_json_parse("test", config, strlen(config), &json));
    MUST(dapt_model_from_json(json, &f.model));
    MUST(dapt_model_adapt(f.model, &lora, "test"));
    MUST(dapt_device_open(dapt_host(), backend, 0, &(struct dapt_device_options){0}, &f.device));
    MUST(dapt_engine_create(f.model, f.device, &options, &f.engine));
    MUST(dapt_engine_init(f.engine, 7));
    return f;
}

static void unmake(struct fixture *f) {
    dapt_engine_destroy(&f->engine);
    dapt_device_close(&f->device);
    dapt_model_close(&f->model);
}

// The parameters of one model in the other, whose layout is another one. B's off zero.
static void copy(struct fixture *from, struct fixture *to) {
    for (size_t p = 0; p < from->model->parameter_count; p++) {
        const struct dapt_parameter *a = &from->model->parameters[p],
                                    *b = &to->model->parameters[p];
        float *values = calloc(a->count, sizeof *values);
        assert_non_null(values);
        MUST(dapt_engine_read(from->engine, DAPT_STATE_PARAM, a->offset, a->count, values));
        if (a->trained)
            for (uint64_t i = 0; i < a->count; i++)
                values[i] = (float)(0.1 * dapt_random_normal(5, p, i));
        if (a->trained)
            MUST(dapt_engine_write(from->engine, DAPT_STATE_PARAM, a->offset, a->count, values));
        MUST(dapt_engine_write(to->engine, DAPT_STATE_PARAM, b->offset, b->count, values));
        free(values);
    }
}

static struct dapt_batch *random_batch(void) {
    struct dapt_batch *b;
    MUST(dapt_batch_create(SEQUENCES, LENGTH, &b));
    b->scored = SEQUENCES * LENGTH;
    for (uint32_t i = 0; i < SEQUENCES * LENGTH; i++) {
        b->ids[i] = (int32_t)(dapt_random_uniform(1, 0, i) * 50);
        b->targets[i] = (int32_t)(dapt_random_uniform(1, 2, i) * 50);
        b->first[i] = 0;
        b->last[i] = b->positions[i] = (int32_t)(i % LENGTH);
    }
    return b;
}

static struct dapt_engine_result step(struct fixture *f, const struct dapt_batch *b) {
    struct dapt_engine_step s = {
        .learning_rate = 1e-2, .clip = 1, .number = 1, .scored = b->scored};
    struct dapt_engine_result result;
    MUST(dapt_engine_begin(f->engine, &s));
    MUST(dapt_engine_micro(f->engine, b));
    MUST(dapt_engine_finish(f->engine, true, &result));
    return result;
}

static void check_same_trained(struct fixture *a, struct fixture *b, const char *what) {
    assert_int_equal(a->model->trained_count, b->model->trained_count);
    uint64_t count = a->model->trained_count;
    float *x = calloc(2 * count, sizeof *x), *y = x + count;
    assert_non_null(x);
    MUST(dapt_engine_read(a->engine, DAPT_STATE_PARAM, 0, count, x));
    MUST(dapt_engine_read(b->engine, DAPT_STATE_PARAM, 0, count, y));
    if (memcmp(x, y, count * sizeof *x) != 0) fail_msg("%s: adapters of other bits", what);
    free(x);
}

// A step on the base as it is stored does what one on float32 with the same numbers does, to the
// bit; and the numbers are those of the base, rounded.
static void check_model(size_t m, enum dapt_base_type type) {
    struct fixture full = make(models[m].config, DAPT_BASE_F32),
                   small = make(models[m].config, type);
    struct dapt_batch *b = random_batch();
    const struct dapt_parameter_group *base = dapt_model_base_group(small.model);
    char what[64];
    snprintf(what, sizeof what, "model %zu in %s", m, dapt_dtype_name(base->dtype));
    assert_int_equal(base->count, models[m].numbers);
    float *before = calloc(base->count, sizeof *before);
    assert_non_null(before);
    const struct dapt_parameter *first = NULL;
    for (size_t p = 0; p < full.model->parameter_count && !first; p++)
        if (small.model->parameters[p].base) first = &full.model->parameters[p];
    MUST(dapt_engine_read(full.engine, DAPT_STATE_PARAM, first->offset, first->count, before));
    copy(&small, &full);
    float *after = calloc(base->count, sizeof *after);
    assert_non_null(after);
    MUST(dapt_engine_read(full.engine, DAPT_STATE_PARAM, first->offset, first->count, after));
    double off = 0, size = 0;
    for (uint64_t i = 0; i < first->count; i++) {
        off += pow((double)before[i] - (double)after[i], 2);
        size += pow((double)before[i], 2);
    }
    double rounding = sqrt(off / size), most = type == DAPT_BASE_NF4 ? 0.15 : 0.01;
    if (!(rounding > 1e-4 && rounding < most)) fail_msg("%s: rounded by %g", what, rounding);
    for (int i = 0; i < 2; i++) {
        struct dapt_engine_result x = step(&small, b), y = step(&full, b);
        if (!(x.finite && x.loss == y.loss && x.norm == y.norm))
            fail_msg("%s: loss %.9g, norm %.9g; in float32 %.9g, %.9g", what, x.loss, x.norm,
                     y.loss, y.norm);
    }
    check_same_trained(&small, &full, what);
    free(before);
    free(after);
    dapt_batch_destroy(&b);
    unmake(&full);
    unmake(&small);
}

static void computes_with_the_rounded_numbers(void **state) {
    (void)state;
    for (size_t m = 0; m < model_count; m++)
        for (int type = DAPT_BASE_BF16; type <= DAPT_BASE_NF4; type++)
            check_model(m, (enum dapt_base_type)type);
}

static void memory_is_that_of_the_bits(void **state) {
    (void)state;
    static const uint64_t bytes_of_block[] = {
        [DAPT_BASE_F32] = 256, [DAPT_BASE_BF16] = 128, [DAPT_BASE_INT8] = 68, [DAPT_BASE_NF4] = 36};
    for (size_t m = 0; m < model_count; m++) {
        uint64_t whole = 0;
        for (int type = DAPT_BASE_F32; type <= DAPT_BASE_NF4; type++) {
            struct fixture f = make(models[m].config, (enum dapt_base_type)type);
            struct dapt_batch *b = random_batch();
            uint64_t told[DAPT_BUFFER_ROLE_COUNT], taken[DAPT_BUFFER_ROLE_COUNT];
            step(&f, b);
            MUST(dapt_engine_estimate(f.model, f.device, &options, told));
            dapt_engine_memory(f.engine, taken);
            // The losses of an evaluation are counted, and none was made.
            for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
                if (r != DAPT_BUFFER_RESULT && told[r] != taken[r])
                    fail_msg("model %zu, role %d: %llu bytes told, %llu taken", m, r,
                             (unsigned long long)told[r], (unsigned long long)taken[r]);
            uint64_t blocks = models[m].numbers / DAPT_BLOCK, left = taken[DAPT_BUFFER_FROZEN];
            if (type == DAPT_BASE_F32) whole = left;
            // Gaps: up to a block between matrices, 64 bytes behind them.
            uint64_t wanted = whole - blocks * (256 - bytes_of_block[type]);
            if (!(left + 512 >= wanted && left <= wanted + 512))
                fail_msg("model %zu, base %d: %llu bytes, expected %llu", m, type,
                         (unsigned long long)left, (unsigned long long)wanted);
            dapt_batch_destroy(&b);
            unmake(&f);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quantiles),
        cmocka_unit_test(numbers_are_nearest),
        cmocka_unit_test(computes_with_the_rounded_numbers),
        cmocka_unit_test(memory_is_that_of_the_bits),
    };
    if (!getenv("DAPT_TEST_BACKEND")) model_count = sizeof models / sizeof *models;
    if (dapt_modules_load(NULL, &modules)) {
        fprintf(stderr, "%s\n", dapt_error());
        return 1;
    }
    int failed = cmocka_run_group_tests_name("base", tests, NULL, NULL);
    dapt_modules_unload(&modules);
    return failed;
}
