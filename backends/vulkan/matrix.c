// Matrix units (cooperative matrices): which shape of product a device uses for matmuls with 16-bit
// operands, if any.
//
// What drivers list is not always right. So the first program that asks has the shapes tried, the
// largest first: one is taken if it gives the bits of the float32 kernel, with operands that round to
// small integers, so that every order of sums gives the same. It need not be faster: with other numbers
// its order of sums is another one, and a clock would decide the bits. The choice holds for all tiles,
// follows from device and driver alone, and is remembered beside the pipelines.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lower.h"

// Matmuls that are compared: whole tiles by vec4; edges everywhere by single elements.
static const struct probe {
    int64_t m, n, k, gap;
} probes[] = {{128, 256, 128, 0}, {71, 93, 77, 1}};

struct operands {
    struct dapt_buffer *memory;
    struct vk_matmul matmul;
};

// ---------------------------------------------------------------------------------------- operands

static struct vk_view place(uint64_t *at, int64_t rows, int64_t cols, int64_t gap) {
    struct vk_view v = {.address = *at + 4 * (uint64_t)gap,
                        .rows = rows,
                        .inner = 1,
                        .cols = cols,
                        .stride = cols + gap};
    *at += ((uint64_t)(rows * v.stride) * 4 + 511) & ~UINT64_C(255);
    return v;
}

// Integers from -8 to 8, most of them off by what every 16-bit float rounds away.
static enum dapt_status fill(struct dapt_device *d, struct dapt_buffer *memory) {
    uint64_t count = memory->size / 4, state = 12345;
    float *values = malloc(memory->size);
    if (values == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a comparison");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bits = vk_next_number(&state);
        values[i] = (float)((int)(bits % 17) - 8) *
                    (1.0f + (float)((int)(bits / 17 % 3) - 1) / 8192.0f);
    }
    enum dapt_status status = vk_buffer_write(d, memory, 0, values, count * 4);
    free(values);
    return status;
}

// The operands of a probe in memory of their own: a, b, then c.
static enum dapt_status prepare(struct dapt_device *d, const struct probe *p, enum dapt_dtype dtype,
                                bool ta, bool tb, struct operands *o) {
    for (int pass = 0; pass < 2; pass++) {
        uint64_t begin = pass > 0 ? o->memory->address : 0, at = begin;
        o->matmul = (struct vk_matmul){.transpose_a = ta, .transpose_b = tb, .operands = dtype};
        o->matmul.a = place(&at, ta ? p->k : p->m, ta ? p->m : p->k, p->gap);
        o->matmul.b = place(&at, tb ? p->n : p->k, tb ? p->k : p->n, p->gap);
        o->matmul.c = place(&at, p->m, p->n, p->gap);
        if (pass > 0) break;
        enum dapt_status status = vk_memory_create(d, VK_MEMORY_DEVICE, at - begin, "comparing",
                                                   &o->memory);
        if (status == DAPT_OK) status = fill(d, o->memory);
        if (status < 0) return status;
    }
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------- a run

// Multiplies with one tile.
static enum dapt_status multiply(struct dapt_device *d, const struct operands *o,
                                 const struct vk_tile *tile) {
    static const char what[] = "the comparing of matrix units";
    struct vk_passes passes = {NULL, 0, 0};
    struct vk_lowering l = {.device = d, .passes = &passes};
    const struct vk_matmul *m = &o->matmul;
    int64_t k = m->transpose_a ? m->a.rows : m->a.cols;
    double seconds;
    vk_matmul_pass(&l, m, tile, k, k, &m->c);
    enum dapt_status status = l.status;
    if (status == DAPT_OK) status = vk_pass_pipeline(d, passes.at);
    if (status == DAPT_OK) status = vk_time_pass(d, passes.at, 1, what, &seconds);
    free(passes.at);
    return status;
}

// --------------------------------------------------------------------------------------- verdicts

// One probe with one tile of the unit: *same, the bits of the float32 kernel.
static enum dapt_status compare(struct dapt_device *d, const struct probe *p, enum dapt_dtype dtype,
                                int transposes, const struct vk_tile *tile,
                                const struct vk_tile *plain, bool *same) {
    struct operands o = {0};
    enum dapt_status status = prepare(d, p, dtype, transposes & 1, transposes & 2, &o);
    uint64_t size = 4 * (uint64_t)(o.matmul.c.rows * o.matmul.c.stride);
    float *got = malloc(size), *expected = malloc(size);
    if (status == DAPT_OK && (got == NULL || expected == NULL))
        status = backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a comparison");
    for (int i = 0; i < 2 && status == DAPT_OK; i++) {
        uint64_t at = o.matmul.c.address - o.memory->address;
        status = multiply(d, &o, i == 0 ? plain : tile);
        if (status == DAPT_OK)
            status = vk_buffer_read(d, o.memory, at, i == 0 ? expected : got, size);
    }
    *same = status == DAPT_OK && memcmp(got, expected, size) == 0;
    free(got);
    free(expected);
    vk_memory_destroy(d, o.memory);
    return status;
}

static enum dapt_status is_right(struct dapt_device *d, enum dapt_dtype dtype,
                                 const struct vk_tile *tiles, uint32_t count,
                                 const struct vk_tile *plain, bool *right) {
    enum dapt_status status = DAPT_OK;
    *right = true;
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        for (int transposes = 0; transposes < 4 && *right && status == DAPT_OK; transposes++)
            status = compare(d, &probes[i], dtype, transposes,
                             &tiles[((size_t)transposes + 4 * i) % count], plain, right);
    return status;
}

void vk_tell_unit(struct dapt_device *d, enum dapt_dtype dtype, const struct vk_unit *u,
                  enum dapt_log_level level, const char *verdict) {
    char line[400];
    snprintf(line, sizeof line, "vulkan: device %.200s: matrix unit %u x %u x %u of %s: %s",
             d->adapter->info.name, u->m, u->n, u->k, dtype == DAPT_F16 ? "float16" : "bfloat16",
             verdict);
    d->host->log(d->host, level, line);
}

// Whether the unit is used; *sure becomes false where that could not be found out.
static enum dapt_status try_unit(struct vk_lowering *l, enum dapt_dtype dtype,
                                 const struct vk_unit *unit, bool *good, bool *sure) {
    struct dapt_device *d = l->device;
    struct vk_tile tiles[VK_MAX_TILES], plain = vk_plain_tile(l);
    uint32_t count = vk_unit_tiles(l, dtype, unit, tiles);
    *good = false;
    if (count == 0) return DAPT_OK;
    enum dapt_status status = is_right(d, dtype, tiles, count, &plain, good);
    if (d->lost < 0) return status;
    if (status < 0) {
        vk_tell_unit(d, dtype, unit, DAPT_LOG_WARNING, "can't be tried; not used");
        *good = *sure = false;
    } else if (!*good) {
        vk_tell_unit(d, dtype, unit, DAPT_LOG_WARNING, "gives wrong sums; not used");
    }
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------- the choice

struct choice {
    struct vk_unit unit[VK_UNITS];
    bool known[VK_UNITS];
};

#define RULE 2u  // by which it is made: choices of others are not taken from the cache

static uint64_t content_of(const struct dapt_device *d) {
    const uint32_t limits[] = {RULE,
                               d->limits.invocations,
                               d->limits.shared_memory,
                               d->limits.subgroup,
                               d->limits.software,
                               d->limits.matrix};
    uint64_t hash = vk_hash(limits, sizeof limits);
    for (int i = SHADER_MATMUL_CM_F16; i <= SHADER_MATMUL_CM_BF16; i++)
        hash = vk_hash_shader(hash, (enum vk_shader)i);
    return hash;
}

static enum dapt_status choose(struct vk_lowering *l, enum dapt_dtype dtype, struct vk_unit *unit,
                               bool *sure) {
    struct dapt_device *d = l->device;
    const struct dapt_device_info *info = &d->adapter->info;
    bool tried[sizeof info->matrix / sizeof *info->matrix] = {false}, good = false;
    for (;;) {
        const struct dapt_matrix_shape *best = NULL;
        for (uint32_t i = 0; i < info->matrix_count; i++) {
            const struct dapt_matrix_shape *s = &info->matrix[i];
            if (s->ab == dtype && s->c == DAPT_F32 && !tried[i] &&
                (best == NULL || s->m * s->n * s->k > best->m * best->n * best->k))
                best = s;
        }
        if (best == NULL) return DAPT_OK;
        tried[best - info->matrix] = true;
        for (uint32_t size = info->subgroup_max; size >= info->subgroup_min && size > 0;
             size /= 2) {
            if (d->limits.subgroup > 0 && d->limits.subgroup != size) continue;
            struct vk_unit candidate = {best->m, best->n, best->k, size};
            enum dapt_status status = try_unit(l, dtype, &candidate, &good, sure);
            if (status < 0) return status;
            if (!good) continue;
            *unit = candidate;
            vk_tell_unit(d, dtype, unit, DAPT_LOG_INFO, "used");
            return DAPT_OK;
        }
    }
}

struct vk_unit vk_matrix_unit(struct vk_lowering *l, enum dapt_dtype dtype) {
    struct dapt_device *d = l->device;
    struct vk_unit none = {0};
    if (dtype == DAPT_F32 || d->limits.software || d->limits.matrix == VK_MATRIX_NONE ||
        !(d->adapter->matrix_types >> dtype & 1))
        return none;
    int at = dtype == DAPT_BF16;
    if (d->units_known[at]) return d->units[at];
    struct choice choice = {0}, *kept;
    size_t size;
    bool source = vk_shader_folder() != NULL;
    kept = source ? NULL : vk_cache_read(d, "matrix", content_of(d), &size);
    if (kept != NULL && size == sizeof choice) choice = *kept;
    free(kept);
    if (!choice.known[at]) {
        bool sure = true;
        enum dapt_status status = choose(l, dtype, &choice.unit[at], &sure);
        if (status < 0) {
            l->status = status;
            return none;
        }
        choice.known[at] = true;
        if (!source && sure) vk_cache_write(d, "matrix", content_of(d), &choice, sizeof choice);
    }
    d->units[at] = choice.unit[at];
    d->units_known[at] = true;
    return d->units[at];
}
