// bench-ops [backend [threads [set [op]]]]: how fast each op runs at the shapes of training steps.
// bench-ops backend threads products MxNxK...: products [m,k] [n,k]^T of these sizes.
// bench-ops backend threads host: what it costs the host to run a program that is recorded.
//
// The ops are rows of the table of cases (graph/cases.h), at the sizes of the models below. Each runs
// alone in a program of its own, again and again; the best time counts. Then: how often a step runs
// it and what that comes to; "cpu" is the processor time of all threads, which another program
// beside it disturbs less. Beside GFLOP/s stands the share of what the processors' BLAS reaches on
// one large product run on every thread at once; beside GB/s (what the op reads and writes, once)
// the share of memcpy's.
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"
#include "graph/cases.h"
#include "host/loader.h"

#define SECONDS 0.25  // of each measurement

static const struct dapt_backend *backend;
static struct dapt_device *device;
static unsigned threads;
static const char *only;               // rows whose name begins so, or NULL
static double peak_flops, peak_bytes;  // per second, of all threads together

// Sizes by letters: Q sequences of T tokens, C channels, H heads, G key heads, F hidden, V classes,
// L layers, # parameters. From these follow N tokens, D head size, K columns of keys and A of
// queries, keys and values together.
struct model {
    const char *name;
    enum dapt_case_family family;
    struct dapt_case_shape shape;
};
// clang-format off
static struct model models[] = {
    {"stories260k", DAPT_CASE_LLAMA, {.size = {['Q'] = 8, ['T'] = 256, ['C'] = 64, ['H'] = 8, ['G'] = 4, ['F'] = 172,
     ['V'] = 512, ['L'] = 5, ['#'] = 260000}}},
    {"llama15m", DAPT_CASE_LLAMA, {.size = {['Q'] = 8, ['T'] = 256, ['C'] = 288, ['H'] = 6, ['G'] = 6, ['F'] = 768,
     ['V'] = 32000, ['L'] = 6, ['#'] = 15200000}}},
    {"gpt2", DAPT_CASE_GPT2, {.size = {['Q'] = 4, ['T'] = 256, ['C'] = 768, ['H'] = 12, ['G'] = 12, ['F'] = 3072,
     ['V'] = 50257, ['L'] = 12, ['#'] = 124400000}}},
};
// clang-format on

static double clock_of(clockid_t id) {
    struct timespec time;
    clock_gettime(id, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
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
        double start = dapt_seconds();
        dapt_parallel(threads, threads, sgemm_item, work);
        flops = fmin(flops, dapt_seconds() - start);
        start = dapt_seconds();
        dapt_parallel(threads, threads, copy_item, work);
        bytes = fmin(bytes, dapt_seconds() - start);
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

static void check(enum dapt_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench-ops: %s\n", dapt_error());
    exit(1);
}

// The numbers of large operands repeat: making them all would take longer than measuring.
#define MOST_NUMBERS 65536
static void fill(const struct dapt_case *c, int slot, const struct dapt_tensor *t,
                 struct dapt_buffer *buffer) {
    size_t size = dapt_dtype_size(t->dtype), count = (size_t)dapt_tensor_count(t),
           made = t->dtype != DAPT_I32 && count > MOST_NUMBERS ? MOST_NUMBERS : count;
    uint8_t *values = malloc(count * size);
    if (values == NULL) exit(1);
    dapt_case_fill(c, slot, (uint64_t)slot, (int64_t)made, values);
    for (size_t i = made * size; i < count * size; i++) values[i] = values[i - made * size];
    int32_t *ids = (int32_t *)(void *)values;  // every row of a loss is scored
    for (size_t i = 0; t->dtype == DAPT_I32 && i < count; i++) ids[i] = ids[i] < 0 ? 0 : ids[i];
    check(backend->buffer_write(device, buffer, 0, values, count * size));
    free(values);
}

struct best {
    double time, cpu;  // seconds of one run
};

static struct best run_best(const struct dapt_program *program, struct dapt_buffer **buffers) {
    struct dapt_executable *executable;
    struct best best = {1e9, 1e9};
    check(backend->program_compile(device, program, buffers, &executable));
    double start = dapt_seconds();
    for (int i = 0; i < 3 || dapt_seconds() - start < SECONDS; i++) {
        double before = dapt_seconds(), cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
        check(backend->program_run(device, executable));
        check(backend->device_wait(device, 0));
        best.time = fmin(best.time, dapt_seconds() - before);
        best.cpu = fmin(best.cpu, clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    }
    backend->program_destroy(device, executable);
    return best;
}

// Seconds that a step spends on the case; prints its line.
static double measure(const struct dapt_case *c, const char *name, int times) {
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS];
    struct dapt_buffer_info infos[DAPT_CASE_OPERANDS];
    struct dapt_buffer *buffers[DAPT_CASE_OPERANDS];
    struct dapt_op op;
    dapt_case_make(c, &op, tensors);
    for (int i = 0; i < DAPT_CASE_OPERANDS; i++) {
        struct dapt_tensor *t = &tensors[i];
        bool here = t->rank > 0;
        if (!here) *t = (struct dapt_tensor){DAPT_F32, 1, {1, 1, 1, 1}, 1, (uint32_t)i, 0};
        infos[i] = (struct dapt_buffer_info){DAPT_BUFFER_WORK, dapt_tensor_span(t)};
        check(backend->buffer_create(device, infos[i].role, infos[i].size, &buffers[i]));
        if (here) fill(c, i, t, buffers[i]);
    }
    if (c->row->bench.in_place) op.outputs[0] = op.inputs[c->row->bench.in_place - 1];
    struct dapt_program program = {DAPT_CASE_OPERANDS, DAPT_CASE_OPERANDS, 1, infos, tensors, &op};
    struct best best = run_best(&program, buffers);
    for (int i = 0; i < DAPT_CASE_OPERANDS; i++) backend->buffer_destroy(device, buffers[i]);
    bool flops = c->row->bench.flops;
    double rate = (flops ? dapt_op_flops(&op, tensors) : dapt_op_bytes(&op, tensors)) / best.time;
    printf("  %-28s %10.1f us (cpu %10.1f) %3d x %9.2f ms %8.1f %s %3.0f %%\n", name,
           best.time * 1e6, best.cpu * 1e6, times, best.time * times * 1e3, rate * 1e-9,
           flops ? "GFLOP/s" : "GB/s   ", 100 * rate / (flops ? peak_flops : peak_bytes));
    fflush(stdout);
    return best.time * times;
}

// Products say their size.
static double measure_named(const struct dapt_case *c, int times) {
    const struct dapt_case_bench *b = &c->row->bench;
    const uint32_t *size = c->shape->size;
    char name[96];
    snprintf(name, sizeof name, "%s", b->name);
    if (c->row->op.opcode == DAPT_OP_MATMUL)
        snprintf(name, sizeof name, "%s %ux%ux%u", b->name, size['M'], size['N'], size['K']);
    return only != NULL && strncmp(name, only, strlen(only)) != 0 ? 0 : measure(c, name, times);
}

// ------------------------------------------------------------------------------- the ops of a step

// What the letters of a row's op are in a model: "N C=F".
static struct dapt_case_shape sizes_of(const struct dapt_case_bench *b, const struct model *m) {
    struct dapt_case_shape shape = {.sight = DAPT_SIGHT_CAUSAL};
    for (const char *at = b->sizes; *at != '\0';) {
        char letter = *at++;
        if (*at == '=') letter = at[1];
        shape.size[(unsigned char)at[-1]] = letter == '1' ? 1
                                                          : m->shape.size[(unsigned char)letter];
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    return shape;
}

static double measure_rows(const struct model *m, bool token) {
    size_t count;
    const struct dapt_case_row *rows = dapt_case_rows(&count);
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        const struct dapt_case_bench *b = &rows[i].bench;
        if (b->name == NULL || b->token != token || (b->families && !(b->families & m->family)))
            continue;
        struct dapt_case_shape shape = sizes_of(b, m);
        total += measure_named(&(struct dapt_case){.row = &rows[i], .shape = &shape},
                               (int)(b->per_layer * m->shape.size['L'] + b->besides));
    }
    return total;
}

static void bench_model(struct model *m) {
    uint32_t *size = m->shape.size;
    size['N'] = size['Q'] * size['T'];
    size['D'] = size['C'] / size['H'];
    size['K'] = size['D'] * size['G'];
    size['A'] = size['C'] + 2 * size['K'];
    printf("%s: %u x %u tokens\n", m->name, size['Q'], size['T']);
    double total = measure_rows(m, false);
    if (total > 0)
        printf("  sum of a step: %.1f ms, %.0f tokens/s\n", total * 1e3, size['N'] / total);
    measure_rows(m, true);
}

static void bench_products(int count, char **sizes) {
    const struct dapt_case_row row = {
        .op = {.opcode = DAPT_OP_MATMUL, .u.matmul.transpose_b = true},
        .absent = DAPT_CASE_NO_INPUT(2) | DAPT_CASE_NO_INPUT(3) | DAPT_CASE_NO_OUTPUT(1) |
                  DAPT_CASE_NO_OUTPUT(2),
        .bench = {.name = "product", .flops = true}};
    for (int i = 0; i < count; i++) {
        uint32_t m, n, k;
        if (sscanf(sizes[i], "%ux%ux%u", &m, &n, &k) != 3 || m < 1 || n < 1 || k < 1) {
            fprintf(stderr, "bench-ops: %s, expected MxNxK\n", sizes[i]);
            exit(1);
        }
        const struct dapt_case_shape shape = {.size = {['M'] = m, ['N'] = n, ['K'] = k}};
        measure_named(&(struct dapt_case){.row = &row, .shape = &shape}, 1);
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
        struct dapt_op *op = &ops[i];
        *op = (struct dapt_op){.opcode = DAPT_OP_ADD};
        for (int k = 0; k < DAPT_OP_INPUTS; k++) op->inputs[k] = DAPT_NONE;
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++) op->outputs[k] = DAPT_NONE;
        op->inputs[0] = i % 2, op->inputs[1] = op->outputs[0] = (i + 1) % 2;
    }
    for (uint32_t count = 1; count <= HOST_OPS; count *= 10) {
        struct dapt_program program = {2, 2, count, infos, tensors, ops};
        double best = 1e9, best_cpu = 1e9;
        check(backend->program_compile(device, &program, buffers, &executable));
        for (int i = 0; i < 100; i++) {
            double start = dapt_seconds(), cpu = clock_of(CLOCK_THREAD_CPUTIME_ID);
            check(backend->program_run(device, executable));
            best = fmin(best, dapt_seconds() - start);
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
