#include "device/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "graph/ops.h"
#include "device/peaks.h"
#include "device/select.h"
#include "engine/engine.h"

#define DEFAULT_BATCH 8
#define DEFAULT_SEQUENCE 1024  // or the model's most
#define DEFAULT_STEPS 10
#define WARM_STEPS 3  // the first ones compile, measure and record
#define STREAM_BENCH 17

struct bench {
    struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine *engine;
    struct dapt_batch *batch;
    uint64_t number;  // steps done
    bool gradients;   // measured without norm and update
};

// ------------------------------------------------------------------------------------- what is run

// A folder, or a config.json; the weights do not matter.
static enum dapt_status open_model(const char *path, struct dapt_model **model) {
    struct dapt_json *config = NULL;
    if (dapt_is_dir(path)) return dapt_model_open(path, model);
    if (!dapt_is_file(path)) return dapt_model_missing(path, "one with config.json");
    enum dapt_status status = dapt_json_read(path, DAPT_JSON_LIMIT, &config);
    return status ? status : dapt_model_from_json(config, model);
}

static enum dapt_status fill_batch(struct bench *b, uint32_t sequences, uint32_t length) {
    enum dapt_status status = dapt_batch_create(sequences, length, &b->batch);
    if (status) return status;
    uint64_t count = (uint64_t)sequences * length;
    for (uint64_t i = 0; i < count; i++) {
        int32_t place = (int32_t)(i % length);
        b->batch->ids[i] = (int32_t)(dapt_random_bits(1, STREAM_BENCH, i) % b->model->vocab);
        b->batch->positions[i] = place;
        b->batch->last[i] = b->model->masked ? (int32_t)length - 1 : place;
        b->batch->first[i] = 0;
    }
    for (uint64_t i = 0; i < count; i++)
        b->batch->targets[i] = (i + 1) % length ? b->batch->ids[i + 1] : -1;
    b->batch->scored = count - sequences;
    return DAPT_OK;
}

static enum dapt_status choose_size(const struct dapt_model *model,
                                    const struct dapt_bench_options *options,
                                    struct dapt_bench_result *result) {
    uint32_t most = model->max_positions ? model->max_positions : INT32_MAX;
    result->batch = options->batch ? options->batch : DEFAULT_BATCH;
    result->sequence = options->sequence         ? options->sequence
                       : most < DEFAULT_SEQUENCE ? most
                                                 : DEFAULT_SEQUENCE;
    if (result->sequence <= most && result->sequence >= 2) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "sequences of %u tokens: expected 2 to %u, the positions of the model",
                     result->sequence, most);
}

static enum dapt_status open_bench(struct bench *b, const struct dapt_modules *modules,
                                   const struct dapt_bench_options *options,
                                   struct dapt_bench_result *result) {
    struct dapt_device_wish wish = {
        .backend = options->backend, .device = options->device, .threads = options->threads};
    enum dapt_status status = open_model(options->model, &b->model);
    if (!status) status = choose_size(b->model, options, result);
    if (!status) status = dapt_select_device(modules, &wish, &b->device);
    if (status) return status;
    const struct dapt_device_info *info = dapt_device_info(b->device);
    b->gradients = options->gradients;
    result->steps = options->steps ? options->steps : DEFAULT_STEPS;
    result->parameters = b->model->weight_count;
    result->kind = info->kind;
    result->available = info->free ? info->free : info->memory;
    result->peaks.size = options->peaks;
    snprintf(result->backend, sizeof result->backend, "%s", dapt_device_backend(b->device)->name);
    snprintf(result->device, sizeof result->device, "%s", info->name);
    snprintf(result->driver, sizeof result->driver, "%s", info->driver);
    return DAPT_OK;
}

// Opens the engine, or only says what it would take.
static enum dapt_status open_engine(struct bench *b, const struct dapt_bench_options *options,
                                    struct dapt_bench_result *result) {
    struct dapt_engine_options engine = {
        .train = true,
        .recompute = options->recompute ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE,
        .sequences = result->batch,
        .length = result->sequence,
        .beta1 = 0.9f,
        .beta2 = 0.95f,
        .eps = 1e-8f};
    uint64_t bytes[DAPT_BUFFER_ROLE_COUNT] = {0};
    enum dapt_status status = dapt_engine_precision(options->precision, &engine.precision);
    if (status) return status;
    if (options->estimate) {
        status = dapt_engine_estimate(b->model, b->device, &engine, bytes);
    } else {
        status = fill_batch(b, result->batch, result->sequence);
        if (!status) status = dapt_engine_create(b->model, b->device, &engine, &b->engine);
        if (!status) status = dapt_engine_init(b->engine, 1);
        if (!status) dapt_engine_memory(b->engine, bytes);
    }
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++) result->memory += bytes[r];
    return status;
}

static void close_bench(struct bench *b) {
    dapt_batch_destroy(&b->batch);
    dapt_engine_destroy(&b->engine);
    dapt_device_close(&b->device);
    dapt_model_close(&b->model);
}

// ---------------------------------------------------------------------------------------- measuring

static double thread_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// `gradients`: forward and backward alone.
static enum dapt_status one_step(struct bench *b, bool gradients, double *seconds, double *host) {
    struct dapt_engine_step step = {
        .learning_rate = 1e-5, .clip = 1, .number = ++b->number, .scored = b->batch->scored};
    struct dapt_engine_result result;
    double start = dapt_seconds(), cpu = thread_seconds();
    if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "stopped");
    enum dapt_status status = dapt_engine_begin(b->engine, &step);
    if (!status) status = dapt_engine_micro(b->engine, b->batch);
    if (!status && gradients) status = dapt_device_wait(b->device, 0);
    if (!status && !gradients) status = dapt_engine_finish(b->engine, true, &result);
    *seconds = dapt_seconds() - start;
    *host = thread_seconds() - cpu;
    return status;
}

static enum dapt_status measure(struct bench *b, struct dapt_bench_result *result) {
    double *seconds = dapt_alloc(result->steps, 2 * sizeof *seconds), *host, ignored;
    if (!seconds) return DAPT_ERROR_MEMORY;
    host = seconds + result->steps;
    enum dapt_status status = DAPT_OK;
    for (uint32_t i = 0; !status && i < WARM_STEPS; i++)
        status = one_step(b, false, &ignored, &ignored);
    for (uint32_t i = 0; !status && i < result->steps; i++)
        status = one_step(b, b->gradients, &seconds[i], &host[i]);
    dapt_sort_numbers(seconds, result->steps);
    dapt_sort_numbers(host, result->steps);
    result->seconds = seconds[result->steps / 2];
    result->best_seconds = seconds[0];
    result->host_seconds = host[result->steps / 2];
    free(seconds);
    return status;
}

// -------------------------------------------------------------------------------------- the profile

// Operations of one kind and, of products, one shape share a row; what finds none is in the last.
static void name_op(const struct dapt_op *op, const struct dapt_tensor *tensors, char name[64]) {
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    if (op->opcode != DAPT_OP_MATMUL) {
        snprintf(name, 64, "%s", info->name);
        return;
    }
    const struct dapt_tensor *a = &tensors[op->inputs[0]], *c = &tensors[op->outputs[0]];
    bool ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
    snprintf(name, 64, "%s %lld x %lld x %lld %s%s", info->name, (long long)c->shape[0],
             (long long)c->shape[1], (long long)a->shape[ta ? 0 : 1], ta ? "t" : "n",
             tb ? "t" : "n");
}

struct profile {
    struct dapt_bench_result *result;
    bool gradients;
};

static void add_op(void *user, const struct dapt_op *op, const struct dapt_tensor *tensors,
                   uint64_t nanoseconds) {
    const struct profile *p = user;
    struct dapt_bench_result *r = p->result;
    char name[64];
    size_t i = 0;
    if (p->gradients && (op->opcode == DAPT_OP_SUM_SQUARES || op->opcode == DAPT_OP_ADAMW)) return;
    name_op(op, tensors, name);
    while (i < r->row_count && strcmp(r->rows[i].name, name) != 0) i++;
    if (i == DAPT_BENCH_ROWS) {
        snprintf(r->rows[--i].name, sizeof name, "others");
    } else if (i == r->row_count) {
        r->rows[r->row_count++] = (struct dapt_bench_row){0};
        memcpy(r->rows[i].name, name, sizeof name);
    }
    struct dapt_bench_row *row = &r->rows[i];
    row->count++;
    row->seconds += 1e-9 * (double)nanoseconds;
    row->flops += dapt_op_flops(op, tensors);
    row->bytes += dapt_op_bytes(op, tensors);
}

static int by_seconds(const void *a, const void *b) {
    const struct dapt_bench_row *x = a, *y = b;
    return (y->seconds > x->seconds) - (y->seconds < x->seconds);
}

// Clocks begin to run when they are first asked for.
static enum dapt_status profile(struct bench *b, struct dapt_bench_result *result) {
    struct profile p = {result, b->gradients};
    double ignored;
    enum dapt_status status = dapt_engine_profile(b->engine, add_op, &p);
    if (!status) status = one_step(b, false, &ignored, &ignored);
    result->row_count = 0;
    if (!status) status = dapt_engine_profile(b->engine, add_op, &p);
    if (status == DAPT_ERROR_UNSUPPORTED) return DAPT_OK;  // a device without clocks
    qsort(result->rows, result->row_count, sizeof *result->rows, by_seconds);
    return status;
}

enum dapt_status dapt_bench_model(const struct dapt_modules *modules,
                                  const struct dapt_bench_options *options,
                                  struct dapt_bench_result *result) {
    struct bench b = {0};
    *result = (struct dapt_bench_result){0};
    enum dapt_status status = open_bench(&b, modules, options, result);
    if (!status && result->peaks.size > 0 && !options->estimate)
        status = dapt_peaks_measure(b.device, &result->peaks);
    if (!status) status = open_engine(&b, options, result);
    if (!status && !options->estimate) status = measure(&b, result);
    if (!status && !options->estimate) status = profile(&b, result);
    close_bench(&b);
    return status;
}
