// A step shared among ranks, as threads of this process: any number of them trains as one engine does but
// for rounding, the same number the same bits; what one rank reads and writes for all.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/rng.h"
#include "comm/ranks.h"
#include "engine/engine.h"
#include "threads.h"

#define LENGTH 16u
#define MICROS 6u
#define STEPS 4u
#define MOST 4u  // ranks

// Large enough for shards of several blocks on four ranks.
static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":48,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":300,"
    "\"max_position_embeddings\":64,\"initializer_range\":0.2}";
// So small that most ranks have no shard.
static const char small[] =
    "{\"model_type\":\"gpt2\",\"n_embd\":8,\"n_layer\":1,\"n_head\":2,\"n_positions\":32,"
    "\"vocab_size\":50,\"initializer_range\":0.2}";

#define MUST(call)                                            \
    do {                                                      \
        if (call) {                                           \
            fprintf(stderr, "%s: %s\n", #call, dapt_error()); \
            abort();                                          \
        }                                                     \
    } while (0)

static struct dapt_modules *modules;
static const struct dapt_backend *cpu;

// What a run is, and what came of it; filled by rank 0.
struct run {
    const char *config;
    const struct dapt_lora *lora;
    enum dapt_moments moments;
    enum dapt_precision precision;
    double scale, learning_rate;
    uint64_t bucket;  // as dapt_engine_options has it
    bool overflow;    // the scale of the second step is far too large
    uint32_t vocab;
    double loss[STEPS], norm[STEPS];
    bool finite[STEPS];
    uint64_t count, moment_bytes;
    float *weights;
    uint8_t *moment[2];
    uint64_t memory[MOST];  // bytes of moments of each rank
};

static void fill(const struct run *run, struct dapt_batch *b, uint64_t number) {
    b->scored = 0;
    for (uint32_t i = 0; i < b->sequences * LENGTH; i++) {
        b->ids[i] = (int32_t)(dapt_random_uniform(number, 0, i) * run->vocab);
        b->targets[i] = dapt_random_uniform(number, 1, i) < 0.1 * (double)(number % 3)
                            ? -1
                            : (int32_t)(dapt_random_uniform(number, 2, i) * run->vocab);
        b->positions[i] = (int32_t)(i % LENGTH);
        b->first[i] = 0;
        b->last[i] = b->positions[i];
        b->scored += b->targets[i] >= 0;
    }
}

static void open_model(const struct run *run, struct dapt_model **model) {
    struct dapt_json *json;
    MUST(dapt_json_parse("test", run->config, strlen(run->config), &json));
    MUST(dapt_model_from_json(json, model));
    if (run->lora) MUST(dapt_model_adapt(*model, run->lora, "test"));
}

static void one_step(struct run *run, struct dapt_engine *engine, struct dapt_ranks *ranks,
                     uint32_t step) {
    uint32_t size = dapt_ranks_count(ranks), rank = dapt_ranks_index(ranks),
             first = MICROS * rank / size, end = MICROS * (rank + 1) / size;
    struct dapt_batch *batch;
    struct dapt_engine_result result;
    struct dapt_engine_step s = {.learning_rate = run->learning_rate,
                                 .weight_decay = 0.1,
                                 .clip = 1,
                                 .scale = run->overflow && step == 1 ? 0x1p120 : run->scale,
                                 .seed = 3,
                                 .draw = step,
                                 .rows = first * LENGTH};
    MUST(dapt_batch_create(1, LENGTH, &batch));
    for (uint32_t i = 0; i < MICROS; i++) {
        fill(run, batch, step * MICROS + i);
        s.scored += batch->scored;
    }
    MUST(dapt_engine_begin(engine, &s));
    for (uint32_t i = first; i < end; i++) {
        fill(run, batch, step * MICROS + i);
        MUST(dapt_engine_micro(engine, batch));
    }
    MUST(dapt_engine_finish(engine, step + 1, &result));
    dapt_batch_destroy(&batch);
    // The same on all ranks, to the last bit.
    struct dapt_ranks_item told[] = {{"loss", dapt_hash_bytes(&result.loss, sizeof result.loss)},
                                     {"norm", dapt_hash_bytes(&result.norm, sizeof result.norm)}};
    MUST(dapt_ranks_agree(ranks, told, 2));
    if (rank) return;
    run->loss[step] = result.loss;
    run->norm[step] = result.norm;
    run->finite[step] = result.finite;
}

// Rank 0 reads all moments.
static void read_moments(struct run *run, struct dapt_engine *engine) {
    run->moment_bytes = dapt_engine_moment_bytes(engine);
    dapt_engine_lead(engine);
    for (int m = 0; m < 2; m++) {
        run->moment[m] = malloc(run->moment_bytes);
        for (uint64_t at = 0; at < run->moment_bytes; at += 10000)  // across shards
            MUST(dapt_engine_read_moments(
                engine, m ? DAPT_STATE_MOMENT2 : DAPT_STATE_MOMENT1, at,
                run->moment_bytes - at < 10000 ? run->moment_bytes - at : 10000,
                run->moment[m] + at));
    }
    MUST(dapt_engine_lead_end(engine, DAPT_OK));
}

static struct dapt_engine *open_engine(const struct run *run, const struct dapt_model *model,
                                       struct dapt_device_handle *device,
                                       struct dapt_ranks *ranks) {
    struct dapt_engine_options options = {.train = true,
                                          .sequences = 1,
                                          .length = LENGTH,
                                          .precision = run->precision,
                                          .moments = run->moments,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f,
                                          .bucket = run->bucket,
                                          .ranks = ranks};
    struct dapt_engine *engine;
    uint64_t planned[DAPT_BUFFER_ROLE_COUNT], real[DAPT_BUFFER_ROLE_COUNT];
    MUST(dapt_engine_create(model, device, &options, &engine));
    MUST(dapt_engine_estimate(model, device, &options, planned));
    dapt_engine_memory(engine, real);
    if (planned[DAPT_BUFFER_MOMENT1] != real[DAPT_BUFFER_MOMENT1]) abort();
    return engine;
}

static void body(void *context) {
    struct run *run = context;
    struct dapt_ranks *ranks;
    struct dapt_model *model;
    struct dapt_device_handle *device;
    uint64_t memory[DAPT_BUFFER_ROLE_COUNT];
    MUST(dapt_ranks_open(&threads_comm, NULL, &ranks));
    open_model(run, &model);
    MUST(dapt_device_open(dapt_host(), cpu, 0, &(struct dapt_device_options){.threads = 1},
                          &device));
    struct dapt_engine *engine = open_engine(run, model, device, ranks);
    MUST(dapt_engine_init(engine, 7));
    for (uint32_t s = 0; s < STEPS; s++) one_step(run, engine, ranks, s);
    dapt_engine_memory(engine, memory);
    run->memory[dapt_ranks_index(ranks)] = memory[DAPT_BUFFER_MOMENT1];
    float *weights = malloc(model->flat_count * sizeof *weights);
    MUST(dapt_engine_read(engine, DAPT_STATE_PARAM, 0, model->flat_count, weights));
    struct dapt_ranks_item same = {"weights", dapt_hash_bytes(weights, model->flat_count * 4)};
    MUST(dapt_ranks_agree(ranks, &same, 1));
    if (dapt_ranks_index(ranks)) {
        enum dapt_status outcome;
        MUST(dapt_engine_follow(engine, &outcome));
        MUST(outcome);
        free(weights);
    } else {
        run->count = model->flat_count;
        run->weights = weights;
        read_moments(run, engine);
    }
    dapt_engine_destroy(&engine);
    dapt_device_close(&device);
    dapt_model_close(&model);
    dapt_ranks_close(&ranks);
}

static struct run train(const struct run *what, uint32_t size) {
    struct run run = *what;
    run.vocab = run.config == small ? 50 : 300;
    threads_run(size, 0, body, &run);
    return run;
}

static void forget(struct run *run) {
    free(run->weights);
    free(run->moment[0]);
    free(run->moment[1]);
}

// Root of the mean square: AdamW's first updates go by the sign of a gradient, which rounding may turn
// where it is next to nothing.
static double distance(const float *a, const float *b, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum / (double)count);
}

// On each number of ranks as on one, within `loss` of each loss and `weights` of each weight.
static void compare(const struct run *what, double loss, double weights) {
    struct run one = train(what, 1);
    for (uint32_t size = 2; size <= MOST; size++) {
        struct run many = train(what, size);
        assert_int_equal(many.count, one.count);
        for (uint32_t s = 0; s < STEPS; s++) {
            assert_int_equal(many.finite[s], one.finite[s]);
            if (!one.finite[s]) continue;
            if (!(fabs(many.loss[s] - one.loss[s]) <= loss))
                fail_msg("%u ranks, step %u: loss %.9g, alone %.9g", size, s, many.loss[s],
                         one.loss[s]);
            if (!(fabs(many.norm[s] - one.norm[s]) <= 10 * loss * one.norm[s]))
                fail_msg("%u ranks, step %u: norm %.9g, alone %.9g", size, s, many.norm[s],
                         one.norm[s]);
        }
        double d = distance(many.weights, one.weights, one.count);
        if (!(d <= weights)) fail_msg("%u ranks: weights are off by %g", size, d);
        assert_int_equal(many.moment_bytes, one.moment_bytes);
        forget(&many);
    }
    forget(&one);
}

static const struct run plain = {.config = config, .scale = 1, .learning_rate = 1e-3};

static void any_number_of_ranks_trains_alike(void **state) {
    (void)state;
    compare(&plain, 2e-5, 1e-6);
}

static void a_model_smaller_than_its_ranks_trains(void **state) {
    (void)state;
    struct run what = plain;
    what.config = small;
    compare(&what, 2e-5, 1e-5);
}

static void moments_of_8_bits_are_shared(void **state) {
    (void)state;
    struct run what = plain;
    what.moments = DAPT_MOMENTS_8BIT;
    compare(&what, 1e-4, 1e-6);
}

static void adapters_travel_alone_and_drop_alike(void **state) {
    (void)state;
    static const struct dapt_lora lora = {.rank = 8, .alpha = 8, .dropout = 0.2};
    struct run what = plain;
    what.lora = &lora;
    compare(&what, 2e-5, 1e-6);
}

static void sixteen_bits_travel_in_sixteen_bits(void **state) {
    (void)state;
    struct run what = plain;
    what.precision = DAPT_PRECISION_BFLOAT16;
    compare(&what, 1e-2, 1e-3);
    what.precision = DAPT_PRECISION_FLOAT16;
    what.scale = 1024;
    compare(&what, 1e-2, 1e-3);
}

// A gradient that overflows on one rank skips the step on all.
static void a_step_that_overflows_changes_nothing_anywhere(void **state) {
    (void)state;
    struct run what = plain;
    what.overflow = true;
    struct run one = train(&what, 1);
    assert_true(one.finite[0] && !one.finite[1] && one.finite[2]);
    forget(&one);
    compare(&what, 2e-5, 1e-6);
}

static void the_same_ranks_give_the_same_bits(void **state) {
    (void)state;
    struct run what = plain;
    what.precision = DAPT_PRECISION_BFLOAT16;
    struct run a = train(&what, 3);
    what.bucket = 1000;  // many, the last one short: the same numbers are added
    struct run b = train(&what, 3);
    assert_memory_equal(a.weights, b.weights, a.count * sizeof *a.weights);
    assert_memory_equal(a.moment[0], b.moment[0], a.moment_bytes);
    assert_memory_equal(a.moment[1], b.moment[1], a.moment_bytes);
    assert_memory_equal(a.loss, b.loss, sizeof a.loss);
    forget(&a);
    forget(&b);
}

static void each_rank_has_its_share_of_the_moments(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct run what = plain;
        what.moments = kind ? DAPT_MOMENTS_8BIT : DAPT_MOMENTS_FLOAT32;
        struct run run = train(&what, 2);
        assert_int_equal(run.memory[0] + run.memory[1], run.moment_bytes);
        assert_true(llabs((long long)run.memory[0] - (long long)run.memory[1]) <
                    (long long)run.moment_bytes / 5);
        forget(&run);
    }
}

// ------------------------------------------------------------------------------------------ leading

struct lent {
    struct run run;  // what was trained on one rank
    uint8_t *again[2];
};

// Rank 0 puts weights and moments of another run into all ranks, and gets them back; then a follower hears
// of what failed.
static void lead(void *context) {
    struct lent *lent = context;
    struct run *run = &lent->run;
    struct dapt_ranks *ranks;
    struct dapt_model *model;
    struct dapt_device_handle *device;
    MUST(dapt_ranks_open(&threads_comm, NULL, &ranks));
    open_model(run, &model);
    MUST(dapt_device_open(dapt_host(), cpu, 0, &(struct dapt_device_options){.threads = 1},
                          &device));
    struct dapt_engine *engine = open_engine(run, model, device, ranks);
    if (dapt_ranks_index(ranks)) {
        enum dapt_status outcome;
        MUST(dapt_engine_follow(engine, &outcome));
        MUST(outcome);
        MUST(dapt_engine_follow(engine, &outcome));
        if (outcome != DAPT_ERROR_IO) abort();
        if (strcmp(dapt_error(), "the disk is full")) abort();
    } else {
        dapt_engine_lead(engine);
        MUST(dapt_engine_write(engine, DAPT_STATE_PARAM, 0, run->count, run->weights));
        for (int m = 0; m < 2; m++)
            MUST(dapt_engine_write_moments(engine, m ? DAPT_STATE_MOMENT2 : DAPT_STATE_MOMENT1, 0,
                                           run->moment_bytes, run->moment[m]));
        MUST(dapt_engine_lead_end(engine, DAPT_OK));
        dapt_engine_lead(engine);
        for (int m = 0; m < 2; m++) {
            lent->again[m] = malloc(run->moment_bytes);
            MUST(dapt_engine_read_moments(engine, m ? DAPT_STATE_MOMENT2 : DAPT_STATE_MOMENT1, 0,
                                          run->moment_bytes, lent->again[m]));
        }
        if (dapt_engine_lead_end(engine, dapt_fail(DAPT_ERROR_IO, "the disk is full")) !=
            DAPT_ERROR_IO)
            abort();
    }
    float *weights = malloc(model->flat_count * sizeof *weights);
    MUST(dapt_engine_read(engine, DAPT_STATE_PARAM, 0, model->flat_count, weights));
    if (memcmp(weights, run->weights, run->count * sizeof *weights)) abort();
    free(weights);
    dapt_engine_destroy(&engine);
    dapt_device_close(&device);
    dapt_model_close(&model);
    dapt_ranks_close(&ranks);
}

static void what_the_leader_writes_all_have(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t size = 2; size <= MOST; size += 2) {
            struct run what = plain;
            what.moments = kind ? DAPT_MOMENTS_8BIT : DAPT_MOMENTS_FLOAT32;
            struct lent lent = {.run = train(&what, 1)};
            threads_run(size, 0, lead, &lent);
            for (int m = 0; m < 2; m++) {
                assert_memory_equal(lent.again[m], lent.run.moment[m], lent.run.moment_bytes);
                free(lent.again[m]);
            }
            forget(&lent.run);
        }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks_trains_alike),
        cmocka_unit_test(a_model_smaller_than_its_ranks_trains),
        cmocka_unit_test(moments_of_8_bits_are_shared),
        cmocka_unit_test(adapters_travel_alone_and_drop_alike),
        cmocka_unit_test(sixteen_bits_travel_in_sixteen_bits),
        cmocka_unit_test(a_step_that_overflows_changes_nothing_anywhere),
        cmocka_unit_test(the_same_ranks_give_the_same_bits),
        cmocka_unit_test(each_rank_has_its_share_of_the_moments),
        cmocka_unit_test(what_the_leader_writes_all_have),
    };
    if (dapt_modules_load(NULL, &modules) || !(cpu = dapt_modules_backend(modules, "cpu"))) {
        fprintf(stderr, "%s\n", dapt_error());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dapt_modules_unload(&modules);
    return failed;
}
