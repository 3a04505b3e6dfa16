// Auto-tuning: the fastest tile of a matmul, measured once and remembered beside the pipelines.
//
// Matmuls of similar size share an answer: sizes are rounded up to powers of two, and limited to
// what shows the difference between tiles. A measurement takes a few milliseconds, all of them a
// second, pipelines included (vk_limits.tuning). What is left then gets the default tile, and is
// measured at the next start. All tiles of a list give the same bits (lower_matmul.c), so the
// choice can't change a result.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lower.h"

#define RUN_SECONDS 0.004  // of one measurement, about
#define SMALL_MATMUL 2e7   // operations; smaller ones get the default tile
#define FIRST_SIZE 256  // m, n and k of the first measurement, which shows how fast the device is
#define MAX_ENTRIES 4096
#define MEASURING "the measuring of tiles"  // for messages

static const struct vk_matmul_size largest = {.m = 4096, .n = 2048, .k = 512, .splits = 32};

// What an answer is for: sizes as powers of two, and everything else that decides the kernel.
struct key {
    uint8_t m, n, k, splits;            // logarithms to base 2
    uint8_t transpose_a, transpose_b;   // bool
    uint8_t aligned_a, aligned_b;       // bool
    uint8_t dtype_a, dtype_b, dtype_c;  // enum dapt_dtype
    uint8_t operands;                   // enum dapt_dtype: of the products
};

struct entry {
    struct key key;
    struct vk_tile tile;
};

struct vk_tuner {
    struct entry *entries;
    uint32_t count, room;
    uint64_t content;  // of the cache file: shaders and limits
    bool changed;
    double rate;   // operations a second, at least; 0: not known yet
    double spent;  // seconds
    struct dapt_buffer *memory;
};

// ------------------------------------------------------------------------------ what is remembered

static uint64_t content_of(const struct dapt_device *d) {
    static const enum vk_shader shaders[] = {SHADER_MATMUL, SHADER_MATMUL_NO_SHARED,
                                             SHADER_MATMUL_CM_F16, SHADER_MATMUL_CM_BF16};
    const struct vk_limits *l = &d->limits;
    uint32_t limits[] = {l->invocations, l->shared_memory, l->subgroup, l->software,
                         sizeof(struct entry)};
    uint64_t hash = vk_hash(limits, sizeof limits);
    for (size_t i = 0; i < sizeof shaders / sizeof *shaders; i++)
        hash = vk_hash_shader(hash, shaders[i]);
    return hash;
}

static struct vk_tuner *tuner_of(struct dapt_device *d) {
    if (d->tuner != NULL) return d->tuner;
    struct vk_tuner *t = d->tuner = calloc(1, sizeof *t);
    if (t == NULL || vk_shader_folder() != NULL) return t;
    size_t size = 0;
    t->content = content_of(d);
    t->entries = vk_cache_read(d, "tiles", t->content, &size);
    t->count = t->room = (uint32_t)(size / sizeof *t->entries);
    return t;
}

void vk_tuner_free_memory(struct dapt_device *d) {
    if (d->tuner == NULL) return;
    vk_memory_destroy(d, d->tuner->memory);
    d->tuner->memory = NULL;
}

void vk_tuner_close(struct dapt_device *d) {
    struct vk_tuner *t = d->tuner;
    if (t == NULL) return;
    vk_tuner_free_memory(d);
    if (t->changed && d->lost == DAPT_OK && vk_shader_folder() == NULL)
        vk_cache_write(d, "tiles", t->content, t->entries, t->count * sizeof *t->entries);
    free(t->entries);
    free(t);
    d->tuner = NULL;
}

static int64_t round_size(int64_t size, int64_t most) {
    return min_i64(vk_next_power_of_two(size), most);
}

static struct vk_matmul_size size_class(const struct vk_matmul_size *p) {
    struct vk_matmul_size c = *p;
    c.m = round_size(p->m, largest.m);
    c.n = round_size(p->n, largest.n);
    c.k = round_size(p->k, largest.k);
    c.splits = round_size(p->splits, largest.splits);
    return c;
}

static uint8_t log2_of(int64_t power) {
    uint8_t bits = 0;
    while (power > 1) power /= 2, bits++;
    return bits;
}

static struct key key_of(const struct vk_matmul_size *c) {
    return (struct key){.m = log2_of(c->m),
                        .n = log2_of(c->n),
                        .k = log2_of(c->k),
                        .splits = log2_of(c->splits),
                        .transpose_a = c->transpose_a,
                        .transpose_b = c->transpose_b,
                        .aligned_a = c->aligned_a,
                        .aligned_b = c->aligned_b,
                        .dtype_a = (uint8_t)c->dtype_a,
                        .dtype_b = (uint8_t)c->dtype_b,
                        .dtype_c = (uint8_t)c->dtype_c,
                        .operands = (uint8_t)c->operands};
}

static bool same_key(const struct key *a, const struct key *b) {
    return memcmp(a, b, sizeof *a) == 0;  // twelve bytes, without gaps
}

// False: no answer, or one that is not in the list.
static bool look_up(const struct vk_tuner *t, const struct key *key, const struct vk_tile *list,
                    uint32_t count, uint32_t *number) {
    for (uint32_t i = 0; i < t->count; i++)
        for (uint32_t k = 0; same_key(&t->entries[i].key, key) && k < count; k++)
            if (memcmp(&t->entries[i].tile, &list[k], sizeof *list) == 0) return *number = k, true;
    return false;
}

static void insert(struct vk_tuner *t, const struct key *key, const struct vk_tile *tile) {
    if (t->count == t->room) {
        uint32_t room = 2 * t->room + 16;
        struct entry *larger = room > MAX_ENTRIES ? NULL
                                                  : realloc(t->entries, room * sizeof *larger);
        if (larger == NULL) return;
        t->entries = larger;
        t->room = room;
    }
    t->entries[t->count++] = (struct entry){.key = *key, .tile = *tile};
    t->changed = true;
}

// --------------------------------------------------------------------------------------- measuring

static double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double operations(const struct vk_matmul_size *p) {
    return 2.0 * (double)p->m * (double)p->n * (double)p->k * (double)p->splits;
}

// Memory for operands, filled with ordinary numbers: a device may be faster with zeros.
static enum dapt_status reserve_memory(struct dapt_device *d, uint64_t size) {
    struct vk_tuner *t = d->tuner;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    if (t->memory != NULL && t->memory->size >= size) return DAPT_OK;
    vk_tuner_free_memory(d);
    enum dapt_status status = vk_memory_create(d, VK_MEMORY_DEVICE, size, "measuring", &t->memory);
    if (status == DAPT_OK) status = vk_commands_begin(d, false, &commands);
    if (status < 0) return status;
    const uint32_t half = 0x3f000000;
    d->api.CmdFillBuffer(commands, vk_buffer_handle(t->memory), t->memory->offset, t->memory->size,
                         half);
    return vk_commands_finish(d, commands, MEASURING);
}

enum dapt_status vk_time_pass(struct dapt_device *d, const struct vk_pass *pass, uint32_t times,
                              const char *what, double *seconds) {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum dapt_status status = vk_commands_begin(d, false, &commands);
    if (status < 0) return status;
    vk_full_barrier(d, commands);
    for (uint32_t i = 0; i < times; i++) {
        vk_record_pass(d, commands, pass);
        vk_record_barrier(d, commands);
    }
    vk_full_barrier(d, commands);
    double start = seconds_now();
    status = vk_commands_finish(d, commands, what);
    *seconds = (seconds_now() - start) / times;
    return status;
}

static struct vk_view place(const struct dapt_device *d, uint64_t *at, enum dapt_dtype dtype,
                            int64_t rows, int64_t cols, bool aligned) {
    uint64_t address = d->tuner->memory == NULL ? 0 : d->tuner->memory->address + *at;
    *at += ((uint64_t)(rows * cols) * dtype_size(dtype) + 511) & ~UINT64_C(255);
    return (struct vk_view){.address = address + (aligned ? 0 : 4),
                            .rows = rows,
                            .inner = 1,
                            .cols = cols,
                            .stride = cols,
                            .dtype = dtype};
}

static uint64_t place_all(const struct dapt_device *d, const struct vk_matmul_size *p,
                          struct vk_matmul *m, struct vk_view *c) {
    uint64_t size = 0;
    int64_t k = p->k * p->splits;
    *m = (struct vk_matmul){
        .transpose_a = p->transpose_a, .transpose_b = p->transpose_b, .operands = p->operands};
    m->a = place(d, &size, p->dtype_a, p->transpose_a ? k : p->m, p->transpose_a ? p->m : k,
                 p->aligned_a);
    m->b = place(d, &size, p->dtype_b, p->transpose_b ? p->n : k, p->transpose_b ? k : p->n,
                 p->aligned_b);
    *c = place(d, &size, p->dtype_c, p->m * p->splits, p->n, true);
    m->c = *c;
    m->c.rows = p->m;
    return size;
}

// Seconds of a matmul with one tile; one run goes first, so that clocks rise and caches fill.
static enum dapt_status measure(struct dapt_device *d, const struct vk_matmul_size *p,
                                const struct vk_tile *tile, double *seconds) {
    struct vk_passes passes = {NULL, 0, 0};
    struct vk_lowering l = {.device = d, .passes = &passes};
    struct vk_matmul m;
    struct vk_view c;
    enum dapt_status status = reserve_memory(d, place_all(d, p, &m, &c));
    if (status < 0) return status;
    place_all(d, p, &m, &c);
    vk_matmul_pass(&l, &m, tile, p->k * p->splits, p->k, &c);
    status = l.status;
    struct vk_pass *pass = passes.at;
    if (status == DAPT_OK) status = vk_pass_pipeline(d, pass);
    if (status == DAPT_OK) status = vk_time_pass(d, pass, 1, MEASURING, seconds);
    if (status == DAPT_OK && *seconds < 4 * RUN_SECONDS) {
        double times = RUN_SECONDS / *seconds;
        status = vk_time_pass(d, pass, (uint32_t)fmin(fmax(times, 1), 32), MEASURING, seconds);
    }
    free(passes.at);
    return status;
}

// A smaller size of about the same shape, for a measurement of about RUN_SECONDS. Fast devices
// reach their rate only with larger sizes, so the rate is measured again after each step.
static struct vk_matmul_size shrink(const struct vk_matmul_size *p, double rate) {
    struct vk_matmul_size s = *p;
    while (operations(&s) > rate * RUN_SECONDS && (s.m > FIRST_SIZE || s.n > FIRST_SIZE)) {
        if (s.m >= s.n)
            s.m /= 2;
        else
            s.n /= 2;
    }
    return s;
}

// The index of the fastest; `complete`: the budget was enough for all of the list.
static enum dapt_status measure_all(struct dapt_device *d, const struct vk_matmul_size *p,
                                    const struct vk_tile *list, uint32_t count, uint32_t *fastest,
                                    bool *complete) {
    struct vk_tuner *t = d->tuner;
    double start = seconds_now(), before = t->spent, best = 0, seconds = 0;
    enum dapt_status status = DAPT_OK;
    uint32_t done = 0;
    *fastest = 0;
    if (t->rate == 0) {
        struct vk_matmul_size first = *p;
        first.m = first.n = first.k = FIRST_SIZE;
        first.splits = 1;
        status = measure(d, &first, &list[0], &seconds);
        if (status == DAPT_OK) t->rate = operations(&first) / seconds;
        t->spent = before + seconds_now() - start;
    }
    struct vk_matmul_size size = shrink(p, t->rate), larger = size;
    do {
        size = larger;
        if (d->limits.software || operations(&size) == operations(p) || status < 0) break;
        status = measure(d, &size, &list[0], &seconds);
        if (status == DAPT_OK) t->rate = fmax(t->rate, operations(&size) / seconds);
        t->spent = before + seconds_now() - start;
        larger = shrink(p, t->rate);
    } while (operations(&larger) > operations(&size));
    for (; done < count && status == DAPT_OK && t->spent < d->limits.tuning; done++) {
        status = measure(d, &size, &list[done], &seconds);
        if (status == DAPT_OK && (done == 0 || seconds < best)) best = seconds, *fastest = done;
        t->spent = before + seconds_now() - start;
    }
    *complete = done == count && status == DAPT_OK;
    if (!*complete) return status;
    const struct vk_tile *tile = &list[*fastest];
    char line[200];
    snprintf(line, sizeof line,
             "vulkan: matmuls like %lld x %lld x %lld%s%s: tile %u x %u x %u by %u x %u, "
             "%.1f GFLOP/s",
             (long long)p->m, (long long)p->n, (long long)p->k,
             p->transpose_a ? ", a transposed" : "", p->transpose_b ? ", b transposed" : "",
             tile->bm, tile->bn, tile->bk, tile->tm, tile->tn, operations(&size) / best * 1e-9);
    d->host->log(d->host, DAPT_LOG_DEBUG, line);
    return DAPT_OK;
}

uint32_t vk_fastest_tile(struct vk_lowering *l, const struct vk_matmul_size *size,
                         const struct vk_tile *list, uint32_t count) {
    struct dapt_device *d = l->device;
    struct vk_tuner *t = tuner_of(d);
    uint32_t fastest = 0;
    bool complete = false;
    if (t == NULL || operations(size) < SMALL_MATMUL) return 0;
    struct vk_matmul_size rounded = size_class(size);
    struct key key = key_of(&rounded);
    if (look_up(t, &key, list, count, &fastest) || t->spent >= d->limits.tuning) return fastest;
    enum dapt_status status = measure_all(d, &rounded, list, count, &fastest, &complete);
    if (d->lost < 0) l->status = status;  // any other error: the default tile will do
    if (complete) insert(t, &key, &list[fastest]);
    return fastest;
}
