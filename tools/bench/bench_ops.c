// bench-ops [backend [threads [set [op]]]]: how fast each op runs at the shapes of training steps.
// bench-ops backend threads products MxNxK...: products [m,k] [n,k]^T of these sizes.
// bench-ops backend threads host: what it costs the host to run a program that is recorded.
//
// Each op runs alone in a program of its own, again and again; the best time counts. Then: how
// often a step runs it and what that comes to; "cpu" is the processor time of all threads, which
// another program beside it disturbs less. Beside GFLOP/s stands the share of what the processors'
// BLAS reaches on one large product run on every thread at once; beside GB/s (each operand counted
// once) the share of memcpy's.
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"
#include "host/loader.h"

#define SECONDS 0.25  // of each measurement
#define MAX_OPERANDS (DAPT_OP_INPUTS + DAPT_OP_OUTPUTS)

static const struct dapt_backend *backend;
static struct dapt_device *device;
static unsigned threads;
static const char *only;               // rows whose name begins so, or NULL
static double peak_flops, peak_bytes;  // per second, of all threads together

struct model {
    const char *name;
    int64_t sequences, time, channels, heads, groups, hidden, vocabulary, layers, parameters;
    bool gated, layer_norm;
};
static const struct model models[] = {
    {"stories260k", 8, 256, 64, 8, 4, 172, 512, 5, 260000, true, false},
    {"llama15m", 8, 256, 288, 6, 6, 768, 32000, 6, 15200000, true, false},
    {"gpt2", 4, 256, 768, 12, 12, 3072, 50257, 12, 124400000, false, true},
};

static double clock_of(clockid_t id) {
    struct timespec time;
    clock_gettime(id, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
static double now(void) {
    return clock_of(CLOCK_MONOTONIC);
}

// -------------------------------------------------------------------------------- reference points

#define PEAK_SIZE 768
#define COPY_BYTES ((size_t)64 << 20)
struct reference_work {
    float *a, *b, *c;
    char *from, *to;
};

static enum dapt_status sgemm_item(void *context, size_t item, unsigned worker) {
    struct reference_work *w = (struct reference_work *)context + item;
    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, PEAK_SIZE, PEAK_SIZE, PEAK_SIZE, 1, w->a,
                PEAK_SIZE, w->b, PEAK_SIZE, 0, w->c, PEAK_SIZE);
    return DAPT_OK;
}
static enum dapt_status copy_item(void *context, size_t item, unsigned worker) {
    struct reference_work *w = (struct reference_work *)context + item;
    (void)worker;
    memcpy(w->to, w->from, COPY_BYTES);
    return DAPT_OK;
}

static void measure_reference(void) {
    struct reference_work *work = calloc(threads, sizeof *work);
    size_t floats = (size_t)PEAK_SIZE * PEAK_SIZE;
    for (unsigned i = 0; i < threads; i++) {
        work[i].a = malloc(floats * 4), work[i].b = malloc(floats * 4),
        work[i].c = malloc(floats * 4);
        work[i].from = malloc(COPY_BYTES), work[i].to = malloc(COPY_BYTES);
        for (size_t k = 0; k < floats; k++) work[i].a[k] = work[i].b[k] = 0.5f;
        memset(work[i].from, 1, COPY_BYTES);
        memset(work[i].to, 1, COPY_BYTES);
    }
    double flops = 1e9, bytes = 1e9;
    for (int i = 0; i < 12; i++) {
        double start = now();
        dapt_parallel(threads, threads, sgemm_item, work);
        flops = fmin(flops, now() - start);
        start = now();
        dapt_parallel(threads, threads, copy_item, work);
        bytes = fmin(bytes, now() - start);
    }
    peak_flops = 2.0 * PEAK_SIZE * PEAK_SIZE * PEAK_SIZE * threads / flops;
    peak_bytes = 2.0 * (double)COPY_BYTES * threads / bytes;
    for (unsigned i = 0; i < threads; i++)
        free(work[i].a), free(work[i].b), free(work[i].c), free(work[i].from), free(work[i].to);
    free(work);
    printf("BLAS sgemm %.0f GFLOP/s, memcpy %.1f GB/s (read and written), %u threads\n",
           peak_flops * 1e-9, peak_bytes * 1e-9, threads);
}

// ------------------------------------------------------------------------------------------ one op

struct bench {
    struct dapt_op op;
    struct dapt_tensor tensors[MAX_OPERANDS];
    const int32_t *indices[MAX_OPERANDS];  // contents of the i32 ones
    uint32_t tensor_count;
};

static void begin(struct bench *b, enum dapt_opcode opcode) {
    *b = (struct bench){.op.opcode = opcode};
    for (int i = 0; i < DAPT_OP_INPUTS; i++) b->op.inputs[i] = DAPT_NONE;
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) b->op.outputs[i] = DAPT_NONE;
}

static uint32_t add(struct bench *b, int64_t d0, int64_t d1, int64_t d2) {
    struct dapt_tensor *t = &b->tensors[b->tensor_count];
    *t = (struct dapt_tensor){.rank = d2 > 0   ? 3
                                      : d1 > 0 ? 2
                                               : 1,
                              .shape = {d0, d1 > 0 ? d1 : 1, d2 > 0 ? d2 : 1, 1}};
    t->stride = t->shape[1] * t->shape[2];
    t->buffer = b->tensor_count;
    return b->tensor_count++;
}
static void input(struct bench *b, int slot, int64_t d0, int64_t d1, int64_t d2) {
    b->op.inputs[slot] = add(b, d0, d1, d2);
}
static void output(struct bench *b, int slot, int64_t d0, int64_t d1, int64_t d2) {
    b->op.outputs[slot] = add(b, d0, d1, d2);
}
static void input_indices(struct bench *b, int slot, int64_t count, const int32_t *values) {
    b->op.inputs[slot] = add(b, count, 0, 0);
    b->tensors[b->op.inputs[slot]].dtype = DAPT_I32;
    b->indices[b->op.inputs[slot]] = values;
}

static void check(enum dapt_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench-ops: %s\n", dapt_error());
    exit(1);
}

static void fill(struct dapt_buffer *buffer, const struct dapt_tensor *t, const int32_t *indices,
                 bool positive) {
    size_t count = (size_t)(t->shape[0] * t->stride);
    float *f = malloc(count * sizeof *f);
    if (f == NULL) exit(1);
    uint32_t state = 12345;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        f[i] = (float)(state >> 8) / 16777216.0f - (positive ? 0.0f : 0.5f);
    }
    check(backend->buffer_write(device, buffer, 0, indices != NULL ? (const void *)indices : f,
                                count * 4));
    free(f);
}

// Seconds of one run at best; prints the row and adds to *total.
static void measure(const char *name, struct bench *b, int times, double flops, double *total) {
    if (only != NULL && strncmp(name, only, strlen(only)) != 0) return;
    struct dapt_buffer *buffers[MAX_OPERANDS];
    struct dapt_buffer_info infos[MAX_OPERANDS];
    double bytes = 0, best = 1e9, best_cpu = 1e9;
    for (uint32_t i = 0; i < b->tensor_count; i++) {
        const struct dapt_tensor *t = &b->tensors[i];
        infos[i] = (struct dapt_buffer_info){DAPT_BUFFER_WORK,
                                             (uint64_t)(t->shape[0] * t->stride) * 4};
        check(backend->buffer_create(device, infos[i].role, infos[i].size, &buffers[i]));
        fill(buffers[i], t, b->indices[i], b->op.opcode == DAPT_OP_ADAMW);
        bytes += (double)infos[i].size;
    }
    if (b->op.opcode == DAPT_OP_ADAMW)
        bytes = 7.0 / 4 * bytes;  // three of its operands are read and written
    struct dapt_program program = {b->tensor_count, b->tensor_count, 1, infos, b->tensors, &b->op};
    struct dapt_executable *executable;
    check(backend->program_compile(device, &program, buffers, &executable));
    double start = now();
    for (int i = 0; i < 3 || now() - start < SECONDS; i++) {
        double before = now(), cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
        check(backend->program_run(device, executable));
        check(backend->device_wait(device, 0));
        best = fmin(best, now() - before);
        best_cpu = fmin(best_cpu, clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    }
    backend->program_destroy(device, executable);
    for (uint32_t i = 0; i < b->tensor_count; i++) backend->buffer_destroy(device, buffers[i]);
    *total += best * times;
    printf("  %-28s %10.1f us (cpu %10.1f) %3d x %9.2f ms", name, best * 1e6, best_cpu * 1e6, times,
           best * times * 1e3);
    if (flops > 0)
        printf(" %8.1f GFLOP/s %3.0f %%", flops / best * 1e-9, 100 * flops / best / peak_flops);
    if (flops == 0)
        printf(" %8.1f GB/s    %3.0f %%", bytes / best * 1e-9, 100 * bytes / best / peak_bytes);
    printf("\n");
    fflush(stdout);
}

// ------------------------------------------------------------------------------- the ops of a step

static void matmul(const char *name, int times, int64_t m, int64_t n, int64_t k, bool ta, bool tb,
                   uint32_t accumulate, double *total) {
    struct bench b;
    begin(&b, DAPT_OP_MATMUL);
    b.op.u.matmul.transpose_a = ta;
    b.op.u.matmul.transpose_b = tb;
    b.op.accumulate = accumulate;
    input(&b, 0, ta ? k : m, ta ? m : k, 0);
    input(&b, 1, tb ? n : k, tb ? k : n, 0);
    output(&b, 0, m, n, 0);
    char line[96];
    snprintf(line, sizeof line, "%s %lldx%lldx%lld", name, (long long)m, (long long)n,
             (long long)k);
    measure(line, &b, times, 2.0 * (double)m * (double)n * (double)k, total);
}

// Forward and both gradients of y [rows, out] = x [rows, in] w^T.
static void linear(const char *name, int times, int64_t rows, int64_t in, int64_t out,
                   double *total) {
    char line[64];
    matmul(name, times, rows, out, in, false, true, 0, total);
    snprintf(line, sizeof line, "%s dx", name);
    matmul(line, times, rows, in, out, false, false, 0, total);
    snprintf(line, sizeof line, "%s dw", name);
    matmul(line, times, out, in, rows, true, false, 1, total);
}

static void attention(const struct model *m, const int32_t *first, const int32_t *last,
                      double *total) {
    int64_t n = m->sequences * m->time, d = m->channels / m->heads;
    struct bench b;
    double pairs = (double)(m->sequences * m->heads * m->time) * (double)(m->time + 1) / 2;
    for (int grad = 0; grad < 2; grad++) {
        int at = grad;
        begin(&b, grad ? DAPT_OP_ATTENTION_GRAD : DAPT_OP_ATTENTION);
        b.op.u.attention.sequences = (int32_t)m->sequences;
        b.op.u.attention.scale = 0.3f;
        if (grad) input(&b, 0, n, m->heads, d);
        input(&b, at, n, m->heads, d);
        input(&b, at + 1, n, m->groups, d);
        input(&b, at + 2, n, m->groups, d);
        if (grad) input(&b, 4, n, m->heads, d);
        if (grad) input(&b, 5, n, m->heads, 0);
        input_indices(&b, grad ? 6 : 3, n, first);
        input_indices(&b, grad ? 7 : 4, n, last);
        output(&b, 0, n, m->heads, d);
        if (grad) {
            output(&b, 1, n, m->groups, d);
            output(&b, 2, n, m->groups, d);
        } else {
            output(&b, 1, n, m->heads, 0);
        }
        measure(grad ? "attention grad" : "attention", &b, (int)m->layers,
                pairs * (double)d * (grad ? 10 : 4), total);
    }
}

static void norms(const struct model *m, double *total) {
    int64_t n = m->sequences * m->time, c = m->channels;
    int times = (int)(2 * m->layers + 1), layer = m->layer_norm;
    struct bench b;
    begin(&b, layer ? DAPT_OP_LAYER_NORM : DAPT_OP_RMS_NORM);
    input(&b, 0, n, c, 0);
    input(&b, 1, c, 0, 0);
    if (layer) input(&b, 2, c, 0, 0);
    output(&b, 0, n, c, 0);
    output(&b, 1, n, 0, 0);
    if (layer) output(&b, 2, n, 0, 0);
    measure("norm", &b, times, 0, total);
    begin(&b, layer ? DAPT_OP_LAYER_NORM_GRAD : DAPT_OP_RMS_NORM_GRAD);
    input(&b, 0, n, c, 0);
    input(&b, 1, n, c, 0);
    input(&b, 2, c, 0, 0);
    input(&b, 3, n, 0, 0);
    if (layer) input(&b, 4, n, 0, 0);
    output(&b, 0, n, c, 0);
    output(&b, 1, c, 0, 0);
    if (layer) output(&b, 2, c, 0, 0);
    b.op.accumulate = 7;
    if (!layer) b.op.accumulate = 3;
    measure("norm grad", &b, times, 0, total);
}

// Ops on equal shapes: `inputs` in, `outputs` out.
static void element(const char *name, enum dapt_opcode opcode, int times, int64_t n, int64_t c,
                    int inputs, int outputs, enum dapt_activation kind, double *total) {
    struct bench b;
    begin(&b, opcode);
    if (opcode != DAPT_OP_ADD) b.op.u.activation.kind = kind;
    for (int i = 0; i < inputs; i++) input(&b, i, n, c, 0);
    for (int i = 0; i < outputs; i++) output(&b, i, n, c, 0);
    measure(name, &b, times, 0, total);
}

static void rope(const struct model *m, const int32_t *positions, double *total) {
    int64_t n = m->sequences * m->time, d = m->channels / m->heads;
    for (int side = 0; side < 2; side++) {
        struct bench b;
        begin(&b, DAPT_OP_ROPE);
        input(&b, 0, n, side ? m->groups : m->heads, d);
        input(&b, 1, m->time, d, 0);
        input_indices(&b, 2, n, positions);
        b.op.outputs[0] = b.op.inputs[0];
        measure(side ? "rope k" : "rope q", &b, (int)(2 * m->layers), 0, total);
    }
}

static void ends(const struct model *m, const int32_t *ids, double *total) {
    int64_t n = m->sequences * m->time, c = m->channels, v = m->vocabulary;
    struct bench b;
    begin(&b, DAPT_OP_EMBED);
    input(&b, 0, v, c, 0);
    input_indices(&b, 1, n, ids);
    output(&b, 0, n, c, 0);
    measure("embed", &b, 1, 0, total);
    begin(&b, DAPT_OP_EMBED_GRAD);
    b.op.accumulate = 1;
    input(&b, 0, n, c, 0);
    input_indices(&b, 1, n, ids);
    output(&b, 0, v, c, 0);
    measure("embed grad", &b, 1, 0, total);
    for (int grad = 0; grad < 2; grad++) {
        begin(&b, grad ? DAPT_OP_LM_LOSS_GRAD : DAPT_OP_LM_LOSS);
        b.op.u.lm.scale = 1;
        input(&b, 0, n, c, 0);
        input(&b, 1, v, c, 0);
        input_indices(&b, 3, n, ids);
        output(&b, 0, n, 0, 0);
        if (grad) {
            input(&b, 4, 1, 0, 0);
            output(&b, 1, n, c, 0);
            output(&b, 2, v, c, 0);
        }
        measure(grad ? "lm_loss_grad" : "lm_loss (evaluation)", &b, grad,
                (grad ? 6.0 : 2.0) * (double)n * (double)c * (double)v, total);
    }
    begin(&b, DAPT_OP_SUM_SQUARES);
    input(&b, 0, m->parameters, 0, 0);
    output(&b, 0, 1, 0, 0);
    measure("sum_squares", &b, 1, 0, total);
    begin(&b, DAPT_OP_ADAMW);
    b.op.u.adamw.beta1 = 0.9f, b.op.u.adamw.beta2 = 0.95f, b.op.u.adamw.eps = 1e-8f,
    b.op.u.adamw.rate = 1, b.op.u.adamw.decay = true;
    input(&b, 0, m->parameters, 0, 0);
    input(&b, 1, DAPT_STEP_COUNT, 0, 0);
    input(&b, 2, 1, 0, 0);
    for (int i = 0; i < 3; i++) output(&b, i, m->parameters, 0, 0);
    measure("adamw", &b, 1, 0, total);
}

static void bench_model(const struct model *m) {
    int64_t n = m->sequences * m->time, c = m->channels, h = m->hidden,
            kv = c / m->heads * m->groups;
    int layers = (int)m->layers;
    double total = 0;
    int32_t *ids = calloc((size_t)n, 4), *first = calloc((size_t)n, 4),
            *last = calloc((size_t)n, 4);
    if (ids == NULL || first == NULL || last == NULL) exit(1);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7919 % m->vocabulary), last[i] = (int32_t)(i % m->time);
    printf("%s: %lld x %lld tokens\n", m->name, (long long)m->sequences, (long long)m->time);
    if (m->gated) {
        linear("q, o", 2 * layers, n, c, c, &total);
        linear("k, v", 2 * layers, n, c, kv, &total);
        linear("gate, up", 2 * layers, n, c, h, &total);
        linear("down", layers, n, h, c, &total);
        element("gate", DAPT_OP_GATE, layers, n, h, 2, 1, DAPT_ACT_SILU, &total);
        element("gate grad", DAPT_OP_GATE_GRAD, layers, n, h, 3, 2, DAPT_ACT_SILU, &total);
        rope(m, last, &total);
    } else {
        linear("qkv", layers, n, c, 3 * c, &total);
        linear("o", layers, n, c, c, &total);
        linear("up", layers, n, c, h, &total);
        linear("down", layers, n, h, c, &total);
        element("activate", DAPT_OP_ACTIVATE, layers, n, h, 1, 1, DAPT_ACT_GELU_TANH, &total);
        element("activate grad", DAPT_OP_ACTIVATE_GRAD, layers, n, h, 2, 1, DAPT_ACT_GELU_TANH,
                &total);
    }
    element("add", DAPT_OP_ADD, 4 * layers, n, c, 2, 1, DAPT_ACT_NONE, &total);
    attention(m, first, last, &total);
    norms(m, &total);
    ends(m, ids, &total);
    if (total > 0)
        printf("  sum of a step: %.1f ms, %.0f tokens/s\n", total * 1e3, (double)n / total);
    // Generation: one token, the weights read once.
    double decode = 0;
    matmul("one token, up", 1, 1, h, c, false, m->gated, 0, &decode);
    matmul("one token, head", 1, 1, m->vocabulary, c, false, true, 0, &decode);
    free(ids), free(first), free(last);
}

static void bench_products(int count, char **sizes) {
    double total = 0;
    for (int i = 0; i < count; i++) {
        long long m, n, k;
        if (sscanf(sizes[i], "%lldx%lldx%lld", &m, &n, &k) != 3 || m < 1 || n < 1 || k < 1) {
            fprintf(stderr, "bench-ops: %s, expected MxNxK\n", sizes[i]);
            exit(1);
        }
        matmul("product", 1, m, n, k, false, true, 0, &total);
    }
}

// Time and processor time of the calling thread until program_run() returns; the device is idle
// before and does next to nothing.
#define HOST_OPS 1000
static void bench_host(void) {
    struct dapt_op ops[HOST_OPS];
    struct dapt_tensor tensors[2] = {{DAPT_F32, 1, {8, 1, 1, 1}, 1, 0, 0},
                                     {DAPT_F32, 1, {8, 1, 1, 1}, 1, 1, 0}};
    struct dapt_buffer_info infos[2] = {{DAPT_BUFFER_WORK, 32}, {DAPT_BUFFER_WORK, 32}};
    struct dapt_buffer *buffers[2];
    struct dapt_executable *executable;
    for (int i = 0; i < 2; i++)
        check(backend->buffer_create(device, infos[i].role, infos[i].size, &buffers[i]));
    for (uint32_t i = 0; i < HOST_OPS; i++) {
        struct bench b;
        begin(&b, DAPT_OP_ADD);
        b.op.inputs[0] = i % 2, b.op.inputs[1] = b.op.outputs[0] = (i + 1) % 2;
        ops[i] = b.op;
    }
    for (uint32_t count = 1; count <= HOST_OPS; count *= 10) {
        struct dapt_program program = {2, 2, count, infos, tensors, ops};
        double best = 1e9, best_cpu = 1e9;
        check(backend->program_compile(device, &program, buffers, &executable));
        for (int i = 0; i < 100; i++) {
            double start = now(), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
            check(backend->program_run(device, executable));
            best = fmin(best, now() - start);
            best_cpu = fmin(best_cpu, clock_of(CLOCK_THREAD_CPUTIME_ID) - cpu);
            check(backend->device_wait(device, 0));
        }
        backend->program_destroy(device, executable);
        printf("  %4u ops: %8.1f us, %8.1f us of the thread\n", count, best * 1e6, best_cpu * 1e6);
    }
    for (int i = 0; i < 2; i++) backend->buffer_destroy(device, buffers[i]);
}

int main(int argc, char **argv) {
    struct dapt_modules *modules = NULL;
    check(dapt_modules_load(NULL, &modules));
    backend = dapt_modules_backend(modules, argc > 1 ? argv[1] : "cpu");
    if (backend == NULL) check(DAPT_ERROR_INVALID);
    struct dapt_device_options options = {.threads = argc > 2 ? (uint32_t)atoi(argv[2]) : 0};
    struct dapt_device_info info;
    check(backend->device_info(dapt_host(), 0, &info));
    check(backend->device_open(dapt_host(), 0, &options, &device));
    threads = options.threads > 0 ? options.threads : dapt_processors();
    printf("%s, %s\n", info.name, info.driver);
    bool products = argc > 3 && strcmp(argv[3], "products") == 0,
         host = argc > 3 && strcmp(argv[3], "host") == 0;
    only = argc > 4 && !products ? argv[4] : NULL;
    if (!host) measure_reference();
    if (host) bench_host();
    if (products) bench_products(argc - 4, argv + 4);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (argc <= 3 || strcmp(argv[3], models[i].name) == 0) bench_model(&models[i]);
    backend->device_close(device);
    dapt_modules_unload(&modules);
    return 0;
}
