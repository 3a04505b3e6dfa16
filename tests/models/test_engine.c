// Whole models on the backend: gradients of the programs that autodiff built against central
// differences, for every family; recomputed blocks, micro-batches and thread counts; generation
// against the full forward pass.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "model/families.h"
#include "engine/engine.h"
#include "part.h"

#define SIZES                                                                                      \
    "\"hidden_size\":24,\"intermediate_size\":36,\"num_hidden_layers\":2,\"num_attention_heads\":" \
    "4,\"vocab_size\":50,\"max_position_embeddings\":64,\"initializer_range\":0.2"
#define LENGTH 16u

static const char *const configs[] = {
    "{\"model_type\":\"gpt2\",\"n_embd\":24,\"n_layer\":2,\"n_head\":4,\"n_positions\":64,\"vocab_"
    "size\":50,\"initializer_range\":0.2}",
    "{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"llama\"," SIZES
    ",\"num_key_value_heads\":1,\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":"
    "true}",
    "{\"model_type\":\"mistral\"," SIZES ",\"num_key_value_heads\":2,\"sliding_window\":5}",
    "{\"model_type\":\"qwen2\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"qwen3\"," SIZES ",\"num_key_value_heads\":2,\"head_dim\":10}",
    "{\"model_type\":\"smollm3\"," SIZES ",\"num_key_value_heads\":2,\"no_rope_layers\":[1,0]}",
    "{\"model_type\":\"phi3\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"olmo2\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"gpt_neox\"," SIZES ",\"rotary_pct\":0.67}",
    "{\"model_type\":\"starcoder2\"," SIZES ",\"num_key_value_heads\":2,\"sliding_window\":5}",
    "{\"model_type\":\"stablelm\"," SIZES
    ",\"num_key_value_heads\":4,\"partial_rotary_factor\":0.67,\"use_parallel_residual\":true}",
    "{\"model_type\":\"granite\"," SIZES
    ",\"embedding_multiplier\":3,\"attention_multiplier\":0.3,\"residual_multiplier\":0.4,\"logits_"
    "scaling\":2.5}",
    "{\"model_type\":\"gemma2\"," SIZES
    ",\"num_key_value_heads\":2,\"head_dim\":10,\"sliding_window\":5,\"query_pre_attn_scalar\":7,"
    "\"attn_logit_softcapping\":0.7,\"final_logit_softcapping\":2}",
    "{\"model_type\":\"gemma3_text\"," SIZES
    ",\"num_key_value_heads\":2,\"head_dim\":10,\"sliding_window\":5,\"sliding_window_pattern\":2,"
    "\"rope_theta\":500,\"query_pre_attn_scalar\":20,\"rope_local_base_freq\":20,\"final_logit_"
    "softcapping\":2}",
    "{\"model_type\":\"bert\"," SIZES ",\"type_vocab_size\":3}",
    "{\"model_type\":\"bert\"," SIZES ",\"tie_word_embeddings\":false,\"type_vocab_size\":1}",
    "{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":4}",
};
#define CONFIGS (sizeof configs / sizeof *configs)

// `c` or the next that this run takes; CONFIGS: none.
static size_t config_from(size_t c) {
    while (c < CONFIGS && !is_in_part(c, CONFIGS)) c++;
    return c;
}

static struct dapt_modules *modules;
static enum dapt_precision precision;  // of the engines that make() makes
static enum dapt_moments moments;      // likewise

struct fixture {
    struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine *engine;
};

// By the number of threads, where it makes a difference. A device keeps the kernels that it has made.
static struct dapt_device_handle *devices[4];

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

static const char
    *frozen[3];  // patterns of what make() freezes; those that match nothing are left out

static const struct dapt_lora *lora;  // what make() adapts; NULL: nothing

// B's off zero, so that A's have gradients; norm weights and biases off their neutral values, so that
// theirs are put to the test.
static void disturb(struct fixture *f) {
    for (size_t p = 0; p < f->model->parameter_count; p++) {
        const struct dapt_parameter *q = &f->model->parameters[p];
        if (q->rank != 1 && q->group != DAPT_GROUP_ADAPTERS) continue;
        float *values = malloc(q->count * sizeof *values);
        double size = q->rank == 1 ? 0.3 : 0.1;
        for (uint64_t i = 0; i < q->count; i++)
            values[i] = (float)(q->init_fill + size * dapt_random_normal(9, p, i));
        MUST(dapt_engine_write(f->engine, DAPT_STATE_PARAM, q->offset, q->count, values));
        free(values);
    }
}

static struct dapt_device_handle *device_of(unsigned threads) {
    const char *name = getenv("DAPT_TEST_BACKEND");
    const struct dapt_backend *backend = dapt_modules_backend(modules, name ? name : "cpu");
    if (!backend) fail_msg("%s", dapt_error());
    if (strcmp(backend->name, "cpu") != 0) threads = 0;
    if (!devices[threads])
        MUST(dapt_device_open(dapt_host(), backend, 0,
                              &(struct dapt_device_options){.threads = threads},
                              &devices[threads]));
    return devices[threads];
}

static struct fixture make(const char *config, uint32_t sequences, enum dapt_recompute recompute,
                           unsigned threads) {
    struct fixture f = {.device = device_of(threads)};
    struct dapt_json *json;
    MUST(dapt_json_parse("test", config, strlen(config), &json));
    MUST(dapt_model_from_json(json, &f.model));
    if (lora && dapt_model_adapt(f.model, lora, "test")) {  // another family's targets: all
        struct dapt_lora all = *lora;
        all.targets = NULL;
        MUST(dapt_model_adapt(f.model, &all, "test"));
    }
    for (int i = 0; i < 3 && frozen[i]; i++) dapt_model_freeze(f.model, &frozen[i], 1, "test");
    struct dapt_engine_options options = {.train = true,
                                          .sequences = sequences,
                                          .length = LENGTH,
                                          .recompute = recompute,
                                          .precision = precision,
                                          .moments = moments,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f};
    MUST(dapt_engine_create(f.model, f.device, &options, &f.engine));
    MUST(dapt_engine_init(f.engine, 7));
    disturb(&f);
    return f;
}

static void unmake(struct fixture *f) {
    dapt_engine_destroy(&f->engine);
    dapt_model_close(&f->model);
}

// Sequences of two documents each, some places not scored.
static struct dapt_batch *random_batch(uint32_t sequences, uint64_t seed) {
    struct dapt_batch *b;
    MUST(dapt_batch_create(sequences, LENGTH, &b));
    b->scored = 0;
    for (uint32_t i = 0; i < sequences * LENGTH; i++) {
        int32_t t = (int32_t)(i % LENGTH), start = t < 6 ? 0 : 6;
        b->ids[i] = (int32_t)(dapt_random_uniform(seed, 0, i) * 50);
        b->targets[i] = t == 5 || dapt_random_uniform(seed, 1, i) < 0.1
                            ? -1
                            : (int32_t)(dapt_random_uniform(seed, 2, i) * 50);
        b->positions[i] = t - start;
        b->first[i] = start;
        b->last[i] = t;
        b->scored += b->targets[i] >= 0;
    }
    return b;
}

static double mean_loss(struct fixture *f, const struct dapt_batch *b) {
    float *losses = calloc((size_t)b->sequences * b->length, sizeof *losses);
    double sum = 0;
    MUST(dapt_engine_losses(f->engine, b, losses));
    for (size_t i = 0; i < (size_t)b->sequences * b->length; i++) sum += losses[i];
    free(losses);
    return sum / (double)b->scored;
}

static float *read_state(struct fixture *f, enum dapt_engine_state state) {
    float *values = calloc(f->model->flat_count, sizeof *values);
    uint64_t count = state == DAPT_STATE_PARAM ? f->model->flat_count : f->model->trained_count;
    MUST(dapt_engine_read(f->engine, state, 0, count, values));
    return values;
}

static struct dapt_engine_result step(struct fixture *f, const struct dapt_batch *const *batches,
                                      int count, bool update) {
    struct dapt_engine_step s = {.learning_rate = 1e-2, .weight_decay = 0.1, .clip = 1};
    struct dapt_engine_result result;
    for (int i = 0; i < count; i++) s.scored += batches[i]->scored;
    MUST(dapt_engine_begin(f->engine, &s));
    for (int i = 0; i < count; i++) MUST(dapt_engine_micro(f->engine, batches[i]));
    MUST(dapt_engine_finish(f->engine, update ? 1 : 0, &result));
    return result;
}

// Along a random direction in each parameter, the loss must change as the gradient says.
static void gradients_match_central_differences(void **state) {
    (void)state;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        struct fixture f = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 0);
        const struct dapt_batch *b = random_batch(2, c);
        struct dapt_engine_result r = step(&f, &b, 1, false);
        assert_true(r.finite);
        assert_true(fabs(r.loss - mean_loss(&f, b)) < 1e-5);
        float *gradient = read_state(&f, DAPT_STATE_GRAD),
              *values = read_state(&f, DAPT_STATE_PARAM);
        for (size_t p = 0; p < f.model->parameter_count; p++) {
            const struct dapt_parameter *q = &f.model->parameters[p];
            double expected = 0, size = 0, slope[2];
            if (!q->trained) continue;
            // The direction of the gradient with half of it at random: a large slope, and every
            // element takes part.
            for (uint64_t i = 0; i < q->count; i++)
                size += (double)gradient[q->offset + i] * gradient[q->offset + i];
            size = sqrt(size / (double)q->count);
            if (strstr(q->name, "self.key.bias")) {  // softmax does not see it: rounding
                assert_true(size * sqrt((double)q->count) < 1e-6 * r.norm);
                continue;
            }
            if (!(size > 0)) fail_msg("config %zu: %s: the gradient is zero", c, q->name);
            float *moved = malloc(q->count * sizeof *moved);
            for (int half = 0; half < 2; half++) {
                double loss[2], step_size = (half ? 0.006 : 0.012) / sqrt((double)q->count);
                for (int side = 0; side < 2; side++) {
                    expected = 0;
                    for (uint64_t i = 0; i < q->count; i++) {
                        double g = gradient[q->offset + i],
                               u = g / size + 0.5 * dapt_random_normal(3, p, i);
                        moved[i] = (float)(values[q->offset + i] +
                                           (side ? -step_size : step_size) * u);
                        expected += g * u;
                    }
                    MUST(dapt_engine_write(f.engine, DAPT_STATE_PARAM, q->offset, q->count, moved));
                    loss[side] = mean_loss(&f, b);
                }
                slope[half] = (loss[0] - loss[1]) / (2 * step_size);
            }
            MUST(dapt_engine_write(f.engine, DAPT_STATE_PARAM, q->offset, q->count,
                                   values + q->offset));
            double found = (4 * slope[1] - slope[0]) / 3,
                   error = fabs(found - expected) / fabs(expected);  // Richardson
            if (!(error <= 5e-3))
                fail_msg("config %zu: %s: slope %.6g by differences, %.6g by autodiff", c, q->name,
                         found, expected);
            free(moved);
        }
        free(gradient);
        free(values);
        dapt_batch_destroy((struct dapt_batch **)&b);
        unmake(&f);
    }
}

// What is told before anything is allocated is what is taken.
static void memory_is_as_estimated(void **state) {
    (void)state;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1))
        for (int variant = 0; variant < 2 * DAPT_PRECISION_COUNT; variant++) {
            precision = (enum dapt_precision)(variant / 2);
            moments = variant % 2 ? DAPT_MOMENTS_8BIT : DAPT_MOMENTS_FLOAT32;
            struct dapt_engine_options options = {
                .train = true,
                .sequences = 3,
                .length = LENGTH,
                .precision = precision,
                .moments = moments,
                .recompute = variant % 2 ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE};
            struct fixture f = make(configs[c], 3, options.recompute, 0);
            struct dapt_batch *b = random_batch(3, c);
            uint64_t told[DAPT_BUFFER_ROLE_COUNT], taken[DAPT_BUFFER_ROLE_COUNT];
            mean_loss(&f, b);
            MUST(dapt_engine_estimate(f.model, f.device, &options, told));
            dapt_engine_memory(f.engine, taken);
            for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
                if (told[r] != taken[r])
                    fail_msg("config %zu, role %d: %llu bytes told, %llu taken", c, r,
                             (unsigned long long)told[r], (unsigned long long)taken[r]);
            dapt_batch_destroy(&b);
            unmake(&f);
        }
    moments = DAPT_MOMENTS_FLOAT32;
    precision = DAPT_PRECISION_FLOAT32;
}

static void same_bits(const float *a, const float *b, uint64_t count, const char *what) {
    for (uint64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: element %llu: %.9g and %.9g", what, (unsigned long long)i, a[i], b[i]);
}

static void recompute_and_threads_change_no_bit(void **state) {
    (void)state;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        const struct dapt_batch *b = random_batch(3, c);
        struct fixture one = make(configs[c], 3, DAPT_RECOMPUTE_NONE, 1);
        for (int i = 0; i < 3; i++) step(&one, &b, 1, true);
        float *expected = read_state(&one, DAPT_STATE_PARAM);
        for (int variant = 0; variant < 3; variant++) {
            struct fixture other = make(configs[c], 3,
                                        variant == 2 ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE,
                                        variant == 1 ? 3 : 2);
            for (int i = 0; i < 3; i++) step(&other, &b, 1, true);
            float *found = read_state(&other, DAPT_STATE_PARAM);
            same_bits(expected, found, one.model->flat_count,
                      variant == 2 ? "recomputed blocks" : "another number of threads");
            free(found);
            unmake(&other);
        }
        free(expected);
        dapt_batch_destroy((struct dapt_batch **)&b);
        unmake(&one);
    }
}

static double distance(const float *a, const float *b, uint64_t count) {
    double difference = 0, size = 0;
    for (uint64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)a[i] * a[i];
    }
    return sqrt(difference / size);
}

static void micro_batches_add_up(void **state) {
    (void)state;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        const struct dapt_batch *both = random_batch(4, c);
        const struct dapt_batch *halves[2];
        for (int h = 0; h < 2; h++) {
            struct dapt_batch *half;
            MUST(dapt_batch_create(2, LENGTH, &half));
            size_t n = 2 * LENGTH, at = (size_t)h * n;
            half->scored = 0;
            for (size_t i = 0; i < n; i++) {
                half->ids[i] = both->ids[at + i];
                half->targets[i] = both->targets[at + i];
                half->positions[i] = both->positions[at + i];
                half->first[i] = both->first[at + i];
                half->last[i] = both->last[at + i];
                half->scored += half->targets[i] >= 0;
            }
            halves[h] = half;
        }
        struct fixture whole = make(configs[c], 4, DAPT_RECOMPUTE_NONE, 0),
                       parts = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 0);
        for (int round = 0; round < 2;
             round++) {  // twice: nothing is left over from the step before
            struct dapt_engine_result a = step(&whole, &both, 1, false),
                                      b = step(&parts, halves, 2, false);
            assert_true(fabs(a.loss - b.loss) < 1e-5);
            assert_true(fabs(a.norm - b.norm) < 1e-4 * a.norm);
        }
        float *x = read_state(&whole, DAPT_STATE_GRAD), *y = read_state(&parts, DAPT_STATE_GRAD);
        double off = distance(x, y, whole.model->flat_count);
        if (!(off < 1e-5)) fail_msg("config %zu: gradients of micro-batches are off by %g", c, off);
        free(x);
        free(y);
        dapt_batch_destroy((struct dapt_batch **)&both);
        for (int h = 0; h < 2; h++) dapt_batch_destroy((struct dapt_batch **)&halves[h]);
        unmake(&whole);
        unmake(&parts);
    }
}

static void generation_matches_the_full_pass(void **state) {
    (void)state;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        struct fixture f = make(configs[c], 1, DAPT_RECOMPUTE_NONE, 0);
        struct dapt_batch *b = random_batch(1, c);
        uint32_t ids[LENGTH];
        for (uint32_t i = 0; i < LENGTH; i++) {
            ids[i] = (uint32_t)b->ids[i];
            b->positions[i] = (int32_t)i;
            b->first[i] = 0;
        }
        float *all = calloc((size_t)LENGTH * 50, sizeof *all), one[50];
        MUST(dapt_engine_logits(f.engine, b, all));
        MUST(dapt_engine_decode_start(f.engine, 40));
        if (f.model->masked) {
            assert_int_equal(dapt_engine_decode(f.engine, ids, 5, 0, one), DAPT_ERROR_UNSUPPORTED);
            free(all);
            dapt_batch_destroy(&b);
            unmake(&f);
            continue;
        }
        for (uint32_t at = 0;
             at < LENGTH;) {  // a prompt in one go, then token by token, then a few at once
            uint32_t n = at == 0 ? 5 : at == 10 ? 3 : 1;
            if (at == 10) mean_loss(&f, b);  // its program shares buffers with these
            MUST(dapt_engine_decode(f.engine, ids + at, n, at, one));
            at += n;
            for (int v = 0; v < 50; v++)
                if (!(fabsf(one[v] - all[(at - 1) * 50 + (uint32_t)v]) <=
                      1e-4f * (1 + fabsf(one[v]))))
                    fail_msg("config %zu, place %u: logit %d is %g, in the full pass %g", c, at - 1,
                             v, one[v], all[(at - 1) * 50 + (uint32_t)v]);
        }
        // A prompt longer than a chunk equals the same token by token.
        uint32_t prompt[37];
        float chunked[50], single[50];
        for (uint32_t i = 0; i < 37; i++) prompt[i] = (uint32_t)(dapt_random_uniform(5, c, i) * 50);
        MUST(dapt_engine_decode(f.engine, prompt, 37, 0, chunked));
        for (uint32_t i = 0; i < 37; i++)
            MUST(dapt_engine_decode(f.engine, prompt + i, 1, i, single));
        for (int v = 0; v < 50; v++)
            assert_true(fabsf(chunked[v] - single[v]) <= 1e-4f * (1 + fabsf(single[v])));
        assert_int_not_equal(dapt_engine_decode(f.engine, prompt, 4, 37, single), DAPT_OK);
        free(all);
        dapt_batch_destroy(&b);
        unmake(&f);
    }
}

// Activations are rounded: loss and gradients move by about as much, and not a bit depends on threads
// or recomputing. An activation's unit roundoff is 2^-9 in bfloat16 and 2^-12 in
// float16, of which a few meet in each number.
static void sixteen_bits_are_near(void **state) {
    (void)state;
    static const double near[] = {
        [DAPT_PRECISION_BFLOAT16] = 1e-2, [DAPT_PRECISION_FLOAT16] = 2e-3};
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        const struct dapt_batch *b = random_batch(2, c);
        struct fixture f = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 1);
        struct dapt_engine_result exact = step(&f, &b, 1, false);
        float *gradient = read_state(&f, DAPT_STATE_GRAD);
        for (precision = DAPT_PRECISION_BFLOAT16; precision < DAPT_PRECISION_COUNT; precision++) {
            float *first = NULL;
            for (int variant = 0; variant < 3; variant++) {
                struct fixture half = make(
                    configs[c], 2, variant == 2 ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE,
                    variant == 1 ? 3 : 1);
                struct dapt_engine_result r = step(&half, &b, 1, false);
                float *found = read_state(&half, DAPT_STATE_GRAD);
                double off = distance(gradient, found, f.model->flat_count);
                assert_true(r.finite);
                if (!(fabs(r.loss - exact.loss) < near[precision]) ||
                    !(off < 4 * near[precision]) || !(off > 1e-5))
                    fail_msg(
                        "config %zu, precision %d: loss %.6g, exactly %.6g; gradients off by %g", c,
                        (int)precision, r.loss, exact.loss, off);
                assert_true(fabs(mean_loss(&half, b) - exact.loss) < near[precision]);
                if (variant > 0)
                    same_bits(first, found, f.model->flat_count,
                              variant == 1 ? "threads, 16 bits" : "recomputed, 16 bits");
                if (!first) first = found;
                if (found != first) free(found);
                unmake(&half);
            }
            free(first);
        }
        precision = DAPT_PRECISION_FLOAT32;
        free(gradient);
        dapt_batch_destroy((struct dapt_batch **)&b);
        unmake(&f);
    }
}

// With some parameters frozen, the others move to the bit as their gradients say, which are those of a
// run in which all are trained; the frozen ones do not move, and cost no gradients and no moments.
static void frozen_parameters_cost_nothing(void **state) {
    (void)state;
    static const char *const sets[][3] = {
        {"embed*", "layers.0"},           // the backward pass ends above them
        {"head", "embed", "final_norm"},  // no product of the vocabulary's size
        {"*norm*", "*.bias"},
        {"layers.0-1.attention.k", "*.mlp.up", "*q_norm*"},  // parts of what lies together
        {"layers.1", "*.attention*"},
    };
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        const struct dapt_batch *b = random_batch(2, c);
        struct fixture all = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 1);
        step(&all, &b, 1, false);
        float *gradient = read_state(&all, DAPT_STATE_GRAD);
        for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
            memcpy(frozen, sets[s], sizeof frozen);
            struct fixture some = make(configs[c], 2,
                                       s & 1 ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE, 2);
            memset(frozen, 0, sizeof frozen);
            const struct dapt_model *m = some.model;
            uint64_t bytes[DAPT_BUFFER_ROLE_COUNT];
            dapt_engine_memory(some.engine, bytes);
            if (m->trained_count == m->flat_count) {  // all in one tensor there
                assert_true(s == 3 && !strcmp(m->family->type, "phi3"));
                unmake(&some);
                continue;
            }
            assert_int_equal(bytes[DAPT_BUFFER_GRAD], 4 * m->trained_count);
            assert_int_equal(bytes[DAPT_BUFFER_MOMENT2], 4 * m->trained_count);
            assert_int_equal(bytes[DAPT_BUFFER_FROZEN], 4 * (m->flat_count - m->trained_count));
            float *before = read_state(&some, DAPT_STATE_PARAM);
            step(&some, &b, 1, false);
            float *found = calloc(m->trained_count, sizeof *found);
            MUST(dapt_engine_read(some.engine, DAPT_STATE_GRAD, 0, m->trained_count, found));
            for (size_t p = 0; p < m->parameter_count; p++) {
                const struct dapt_parameter *q = &m->parameters[p];
                if (!q->trained) continue;
                double off = distance(gradient + all.model->parameters[p].offset, found + q->offset,
                                      q->count);
                if (!(off < 1e-5))
                    fail_msg("config %zu, set %zu: %s: off by %g", c, s, q->name, off);
            }
            struct dapt_engine_result r = step(&some, &b, 1, true);
            float *after = read_state(&some, DAPT_STATE_PARAM);
            same_bits(before + m->trained_count, after + m->trained_count,
                      m->flat_count - m->trained_count, "frozen parameters");
            assert_true(r.finite && r.norm > 0);
            for (size_t p = 0; p < m->parameter_count; p++) {
                const struct dapt_parameter *q = &m->parameters[p];
                if (q->trained && !memcmp(before + q->offset, after + q->offset, q->count * 4))
                    fail_msg("config %zu, set %zu: %s did not move", c, s, q->name);
            }
            free(before);
            free(after);
            free(found);
            unmake(&some);
        }
        free(gradient);
        dapt_batch_destroy((struct dapt_batch **)&b);
        unmake(&all);
    }
}

// Adapters of all matrices; of q and v alone, which are columns of one product with k; of one fused
// matrix with embedding and head, and a frozen A: their gradients, and all that holds for whole models.
static void adapters_are_parameters(void **state) {
    static const char *const q_and_v[] = {"attention.q", "*.attention.v", NULL},
                             *const fused[] = {"attention.qkv", NULL};
    static const struct dapt_lora kinds[] = {
        {.rank = 3, .alpha = 6},
        {.rank = 4, .alpha = 1, .rslora = true, .targets = q_and_v, .embeddings = 0.5},
        {.rank = 2, .alpha = 3, .targets = fused, .embeddings = 1}};
    for (int kind = 0; kind < 3; kind++) {
        lora = &kinds[kind];
        if (kind) frozen[0] = "layers.1.attention.q*.lora_A";
        bool whole = !getenv("DAPT_TEST_BACKEND");  // rasterisers take minutes for all of it
        if (whole || kind == 1) gradients_match_central_differences(state);
        if (whole) recompute_and_threads_change_no_bit(state);
        if (whole) micro_batches_add_up(state);
        if (whole) generation_matches_the_full_pass(state);
        memset(frozen, 0, sizeof frozen);
    }
    lora = NULL;
}

// Only what is trained has gradients and moments.
static void adapters_cost_little(void **state) {
    (void)state;
    static const struct dapt_lora small = {.rank = 1, .alpha = 1};
    lora = &small;
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1)) {
        struct fixture f = make(configs[c], 1, DAPT_RECOMPUTE_NONE, 1);
        const struct dapt_model *m = f.model;
        uint64_t bytes[DAPT_BUFFER_ROLE_COUNT], own = 0;
        dapt_engine_memory(f.engine, bytes);
        for (size_t p = m->adapters->first; p < m->parameter_count; p++)
            own += m->parameters[p].count;
        assert_int_equal(dapt_model_trained(m), own);
        assert_true(own < m->weight_count / 5);
        assert_int_equal(bytes[DAPT_BUFFER_GRAD], 4 * m->trained_count);
        assert_int_equal(bytes[DAPT_BUFFER_MOMENT1], 4 * m->trained_count);
        assert_int_equal(bytes[DAPT_BUFFER_FROZEN], 4 * (m->flat_count - m->trained_count));
        unmake(&f);
    }
    lora = NULL;
}

// Moves what a resume moves: parameters, and the moments' own bytes.
static void copy_state(struct fixture *from, struct fixture *to) {
    uint64_t count = from->model->trained_count, bytes = dapt_engine_moment_bytes(from->engine);
    float *values = malloc(count * sizeof *values);
    uint8_t *packed = malloc(bytes);
    MUST(dapt_engine_read(from->engine, DAPT_STATE_PARAM, 0, count, values));
    MUST(dapt_engine_write(to->engine, DAPT_STATE_PARAM, 0, count, values));
    for (int s = DAPT_STATE_MOMENT1; s <= DAPT_STATE_MOMENT2; s++) {
        MUST(dapt_engine_read_moments(from->engine, (enum dapt_engine_state)s, 0, bytes, packed));
        MUST(dapt_engine_write_moments(to->engine, (enum dapt_engine_state)s, 0, bytes, packed));
    }
    free(values);
    free(packed);
}

// By the groups: matrices 260 bytes a block of 256, norms and biases float32.
static uint64_t packed_bytes(const struct dapt_model *m) {
    uint64_t end = 0;
    for (size_t i = 0; i < m->group_count && m->groups[i].trained; i++) {
        uint64_t n = m->groups[i].end - m->groups[i].begin;
        bool vectors = !strcmp(m->groups[i].role, "vectors");
        end = (end + 63) / 64 * 64 + (vectors ? 4 * n : (n + 255) / 256 * 260);
    }
    return end;
}

static double moments_differ(struct fixture *exact, struct fixture *coded,
                             enum dapt_engine_state state) {
    uint64_t count = exact->model->trained_count;
    float *x = malloc(count * sizeof *x), *y = malloc(count * sizeof *y);
    MUST(dapt_engine_read(exact->engine, state, 0, count, x));
    MUST(dapt_engine_read(coded->engine, state, 0, 100, y));  // from within a block on
    MUST(dapt_engine_read(coded->engine, state, 100, count - 100, y + 100));
    double off = distance(x, y, count);
    free(x);
    free(y);
    return off;
}

// Moments in 8 bits: near float32's, of the size that was told, the same bits for any number of threads,
// and after their bytes have been moved to another engine.
static void eight_bit_moments(void **state) {
    (void)state;
    static const struct dapt_lora small = {.rank = 3, .alpha = 6, .embeddings = 0.5};
    for (size_t c = config_from(0); c < CONFIGS; c = config_from(c + 1))
        for (int kind = 0; kind < 3; kind++) {  // the whole model, a part of it, adapters
            const struct dapt_batch *b = random_batch(2, c);
            uint64_t bytes[DAPT_BUFFER_ROLE_COUNT];
            frozen[0] = kind == 1 ? "layers.0" : NULL;
            lora = kind == 2 ? &small : NULL;
            struct fixture exact = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 1);
            moments = DAPT_MOMENTS_8BIT;
            struct fixture coded = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 1),
                           other = make(configs[c], 2, DAPT_RECOMPUTE_NONE, 3);
            dapt_engine_memory(coded.engine, bytes);
            assert_int_equal(bytes[DAPT_BUFFER_MOMENT1], packed_bytes(coded.model));
            assert_int_equal(bytes[DAPT_BUFFER_MOMENT2], packed_bytes(coded.model));
            step(&exact, &b, 1, true);
            step(&coded, &b, 1, true);
            double first = moments_differ(&exact, &coded, DAPT_STATE_MOMENT1),
                   second = moments_differ(&exact, &coded, DAPT_STATE_MOMENT2);
            if (!(first > 0 && first < 0.04 && second > 0 && second < 0.04))
                fail_msg("config %zu: moments are off by %g and %g", c, first, second);
            step(&coded, &b, 1, true);
            copy_state(&coded, &other);
            step(&coded, &b, 1, true);
            step(&other, &b, 1, true);
            float *x = malloc(coded.model->trained_count * sizeof *x),
                  *y = malloc(coded.model->trained_count * sizeof *y);
            MUST(
                dapt_engine_read(coded.engine, DAPT_STATE_PARAM, 0, coded.model->trained_count, x));
            MUST(
                dapt_engine_read(other.engine, DAPT_STATE_PARAM, 0, coded.model->trained_count, y));
            same_bits(x, y, coded.model->trained_count, "parameters with moments in 8 bits");
            free(x);
            free(y);
            moments = DAPT_MOMENTS_FLOAT32;
            frozen[0] = NULL;
            lora = NULL;
            unmake(&exact);
            unmake(&coded);
            unmake(&other);
            dapt_batch_destroy((struct dapt_batch **)&b);
        }
}

static void sixteen_bits_generate(void **state) {
    (void)state;
    float logits[3][50];
    uint32_t ids[37];
    for (uint32_t i = 0; i < 37; i++) ids[i] = (uint32_t)(dapt_random_uniform(5, 0, i) * 50);
    for (precision = DAPT_PRECISION_FLOAT32; precision < DAPT_PRECISION_COUNT; precision++) {
        struct fixture f = make(configs[1], 1, DAPT_RECOMPUTE_NONE, 0);
        MUST(dapt_engine_decode_start(f.engine, 40));
        MUST(dapt_engine_decode(f.engine, ids, 37, 0, logits[precision]));
        unmake(&f);
    }
    precision = DAPT_PRECISION_FLOAT32;
    assert_true(distance(logits[0], logits[DAPT_PRECISION_BFLOAT16], 50) < 3e-2);
    assert_true(distance(logits[0], logits[DAPT_PRECISION_FLOAT16], 50) < 4e-3);
}

// Powers of two multiply and divide without rounding, so that clipping, moments and parameters are those
// of a step without a scale; until something overflows.
static void the_loss_scale_changes_no_bit(void **state) {
    (void)state;
    struct fixture plain = make(configs[1], 2, DAPT_RECOMPUTE_NONE, 0),
                   scaled = make(configs[1], 2, DAPT_RECOMPUTE_NONE, 0);
    const struct dapt_batch *b = random_batch(2, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        struct dapt_engine_step s = {
            .learning_rate = 1e-2, .weight_decay = 0.1, .scored = b->scored};
        struct dapt_engine_result results[2];
        s.clip = i == 2 ? 0 : 0.5;  // also without
        for (int k = 0; k < 2; k++) {
            struct dapt_engine *e = k ? scaled.engine : plain.engine;
            s.scale = k ? 4096 : 0;
            MUST(dapt_engine_begin(e, &s));
            MUST(dapt_engine_micro(e, b));
            MUST(dapt_engine_finish(e, i, &results[k]));
        }
        assert_true(results[0].norm > 0.5 && results[0].norm == results[1].norm);
        assert_true(results[0].loss == results[1].loss && results[1].finite);
    }
    for (int at = DAPT_STATE_PARAM; at <= DAPT_STATE_MOMENT2; at++) {
        if (at == DAPT_STATE_GRAD) continue;
        float *a = read_state(&plain, (enum dapt_engine_state)at),
              *c = read_state(&scaled, (enum dapt_engine_state)at);
        same_bits(a, c, plain.model->trained_count, "a scaled loss");
        free(a);
        free(c);
    }
    struct dapt_engine_step s = {.clip = 1, .scored = b->scored, .scale = 0x1p80};
    struct dapt_engine_result r;
    MUST(dapt_engine_begin(scaled.engine, &s));
    MUST(dapt_engine_micro(scaled.engine, b));
    MUST(dapt_engine_finish(scaled.engine, 4, &r));
    assert_true(!r.finite && isfinite(r.loss));
    dapt_batch_destroy((struct dapt_batch **)&b);
    unmake(&plain);
    unmake(&scaled);
}

static void a_step_that_is_not_finite_changes_nothing(void **state) {
    (void)state;
    struct fixture f = make(configs[1], 2, DAPT_RECOMPUTE_NONE, 0);
    const struct dapt_batch *b = random_batch(2, 1);
    float bad = INFINITY, good;
    MUST(dapt_engine_read(f.engine, DAPT_STATE_PARAM, 40, 1, &good));
    MUST(dapt_engine_write(f.engine, DAPT_STATE_PARAM, 40, 1, &bad));
    float *before = read_state(&f, DAPT_STATE_PARAM);
    for (size_t i = 0; i < (size_t)b->sequences * b->length; i++)
        b->ids[i] = (int32_t)(40 / 24);  // the row that holds it
    struct dapt_engine_result r = step(&f, &b, 1, true);
    assert_false(r.finite);
    float *after = read_state(&f, DAPT_STATE_PARAM), *moment = read_state(&f, DAPT_STATE_MOMENT1);
    same_bits(before, after, f.model->flat_count, "parameters after a step that was not finite");
    for (uint64_t i = 0; i < f.model->flat_count; i++) assert_true(moment[i] == 0);
    MUST(dapt_engine_write(f.engine, DAPT_STATE_PARAM, 40, 1, &good));
    r = step(&f, &b, 1, true);
    assert_true(r.finite);  // and the next step goes on as if nothing had been
    b->ids[3] = 50;
    assert_int_equal(dapt_engine_micro(f.engine, b), DAPT_ERROR_INVALID);
    free(before);
    free(after);
    free(moment);
    dapt_batch_destroy((struct dapt_batch **)&b);
    unmake(&f);
}

static void fill(struct fixture *f, enum dapt_slot slot, uint64_t begin, uint64_t count,
                 float value) {
    const struct dapt_parameter *p = &f->model->parameters[f->model->slots[slot]];
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (uint64_t i = 0; i < count; i++) values[i] = value;
    MUST(dapt_engine_write(f->engine, DAPT_STATE_PARAM, p->offset + begin, count, values));
    free(values);
}

// A logit that overflows to -infinity where it is the target: the loss is infinite, and every
// gradient is finite. (GPT-2: its last norm gives the same to all rows, so that none goes back.)
static void an_infinite_loss_changes_nothing(void **state) {
    (void)state;
    struct fixture f = make(configs[0], 2, DAPT_RECOMPUTE_NONE, 0);
    const struct dapt_batch *b = random_batch(2, 1);
    uint32_t target = 49;
    for (size_t i = 0; i < (size_t)b->sequences * b->length; i++) {
        b->ids[i] %= 40;
        if (b->targets[i] >= 0) b->targets[i] %= 40;
    }
    fill(&f, DAPT_SLOT_FINAL_NORM, 0, 24, 0);
    fill(&f, DAPT_SLOT_FINAL_NORM_BIAS, 0, 24, 6e18f);
    fill(&f, DAPT_SLOT_EMBED, 0, 50 * 24, 0);
    fill(&f, DAPT_SLOT_EMBED, 24 * target, 24, -6e18f);
    float *before = read_state(&f, DAPT_STATE_PARAM);
    struct dapt_engine_result r = step(&f, &b, 1, false);
    assert_true(r.finite);  // it is no target yet
    b->targets[0] = (int32_t)target;
    r = step(&f, &b, 1, true);
    assert_true(isinf(r.loss) && r.loss > 0);
    assert_true(isfinite(r.norm));
    assert_false(r.finite);
    float *after = read_state(&f, DAPT_STATE_PARAM), *moment = read_state(&f, DAPT_STATE_MOMENT1);
    same_bits(before, after, f.model->flat_count, "parameters after an infinite loss");
    for (uint64_t i = 0; i < f.model->flat_count; i++) assert_true(moment[i] == 0);
    free(before);
    free(after);
    free(moment);
    dapt_batch_destroy((struct dapt_batch **)&b);
    unmake(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_central_differences),
        cmocka_unit_test(memory_is_as_estimated),
        cmocka_unit_test(recompute_and_threads_change_no_bit),
        cmocka_unit_test(micro_batches_add_up),
        cmocka_unit_test(generation_matches_the_full_pass),
        cmocka_unit_test(sixteen_bits_are_near),
        cmocka_unit_test(sixteen_bits_generate),
        cmocka_unit_test(frozen_parameters_cost_nothing),
        cmocka_unit_test(adapters_are_parameters),
        cmocka_unit_test(adapters_cost_little),
        cmocka_unit_test(eight_bit_moments),
        cmocka_unit_test(the_loss_scale_changes_no_bit),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(an_infinite_loss_changes_nothing),
    };
    if (dapt_modules_load(NULL, &modules)) {
        fprintf(stderr, "%s\n", dapt_error());
        return 1;
    }
    int failed = cmocka_run_group_tests_name("engine", tests, NULL, NULL);
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) dapt_device_close(&devices[i]);
    dapt_modules_unload(&modules);
    return failed;
}
