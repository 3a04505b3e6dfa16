// Attention on matrix units: whether the unit that multiplies for matmuls computes it right.
//
// One small attention, forward and backward, is run by the unit and by the float32 kernels on the same
// 16-bit operands, once for each type and head size that is asked for. The unit's kernels round p and
// ds to 16 bits and sum in another order, so bits differ: what is compared is how far. Nothing is
// timed: the same device makes the same choice, and gives the same bits.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/half.h"
#include "lower.h"

#define HEAD_UNIT 32  // sizes of heads are multiples of it
#define HEAD_SIZES 4

// What is known of each type's unit and head size.
enum verdict { UNKNOWN, RIGHT, WRONG };
struct vk_attention_units {
    struct vk_unit unit[VK_UNITS];
    uint32_t verdict[VK_UNITS][HEAD_SIZES];
};

// Two sequences, the second of two documents; tiles with and without masks, the last one not whole.
#define SEQUENCES 2
#define ROWS 130  // of each
#define DOCUMENT 90
#define HEADS 2
#define KV_HEADS 1

enum { DY, Q, K, V, Y, LSE, FIRST, LAST, DQ, DK, DV, DELTA, VIEWS };

struct probe {
    struct dapt_buffer *memory;
    struct vk_view view[VIEWS];
    uint8_t *bytes;
    uint64_t size;
};

static void place(struct probe *p, int which, enum dapt_dtype dtype, int64_t heads, int64_t cols) {
    struct vk_view *v = &p->view[which];
    *v = (struct vk_view){.address = p->size,
                          .rows = SEQUENCES * ROWS,
                          .inner = heads,
                          .cols = cols,
                          .stride = heads * cols,
                          .dtype = dtype};
    p->size += ((uint64_t)(v->rows * v->stride) * dtype_size(dtype) + 255) & ~UINT64_C(255);
}

// Where each operand is, from address 0 on.
static void place_all(struct probe *p, enum dapt_dtype dtype, int64_t head_size) {
    const int of_queries[] = {DY, Q, Y, DQ}, of_keys[] = {K, V, DK, DV};
    for (int i = 0; i < 4; i++) {
        place(p, of_queries[i], dtype, HEADS, head_size);
        place(p, of_keys[i], dtype, KV_HEADS, head_size);
    }
    place(p, LSE, DAPT_F32, 1, HEADS);
    place(p, DELTA, DAPT_F32, 1, HEADS);
    place(p, FIRST, DAPT_I32, 1, 1);
    place(p, LAST, DAPT_I32, 1, 1);
}

// Eighths from -2 to 2, which every 16-bit float holds; each row sees the rows of its document up to
// itself, one row nothing.
static void fill(struct probe *p) {
    uint64_t state = 54321;
    for (int i = DY; i <= V; i++) {
        const struct vk_view *v = &p->view[i];
        uint16_t *halves = (uint16_t *)(void *)(p->bytes + v->address);
        for (int64_t e = 0; e < v->rows * v->stride; e++) {
            float x = (float)((int)vk_next_number(&state) % 33 - 16) / 8;
            halves[e] = v->dtype == DAPT_F16 ? float_to_f16(x) : float_to_bf16(x);
        }
    }
    int32_t *first = (int32_t *)(void *)(p->bytes + p->view[FIRST].address),
            *last = (int32_t *)(void *)(p->bytes + p->view[LAST].address);
    for (int32_t n = 0; n < SEQUENCES * ROWS; n++) {
        int32_t t = n % ROWS;
        first[n] = n >= ROWS && t >= DOCUMENT ? DOCUMENT : 0;
        last[n] = t == 7 ? -1 : t;
    }
}

static enum dapt_status prepare(struct dapt_device *d, struct probe *p, enum dapt_dtype dtype,
                                int64_t head_size) {
    place_all(p, dtype, head_size);
    p->bytes = calloc(1, p->size);
    if (p->bytes == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a comparison");
    fill(p);
    enum dapt_status status = vk_memory_create(d, VK_MEMORY_DEVICE, p->size, "comparing",
                                               &p->memory);
    if (status == DAPT_OK) status = vk_buffer_write(d, p->memory, 0, p->bytes, p->size);
    for (int i = 0; i < VIEWS && status == DAPT_OK; i++) p->view[i].address += p->memory->address;
    return status;
}

static enum dapt_status run(struct dapt_device *d, const struct probe *p, bool grad,
                            const struct vk_unit *unit) {
    const struct dapt_op op = {
        .opcode = grad ? DAPT_OP_ATTENTION_GRAD : DAPT_OP_ATTENTION,
        .u.attention = {.sequences = SEQUENCES, .scale = 1 / sqrtf((float)p->view[Q].cols)}};
    struct vk_passes passes = {NULL, 0, 0};
    struct vk_lowering l = {.device = d, .op = &op, .passes = &passes};
    static const int forward[] = {Q, K, V, FIRST, LAST};
    for (int i = 0; grad && i <= LAST; i++) l.in[i] = p->view[i];
    for (int i = 0; !grad && i < 5; i++) l.in[i] = p->view[forward[i]];
    for (int i = 0; i < (grad ? 3 : 2); i++) l.out[i] = p->view[(grad ? DQ : Y) + i];
    if (unit->m > 0 && !vk_attention_fits(&l, unit)) l.status = DAPT_ERROR_UNSUPPORTED;
    if (l.status == DAPT_OK && grad) vk_lower_attention_grad(&l, unit, &p->view[DELTA]);
    if (l.status == DAPT_OK && !grad) vk_lower_attention(&l, unit);
    enum dapt_status status = l.status;
    double seconds;
    for (uint32_t i = 0; i < passes.count && status == DAPT_OK; i++) {
        status = vk_pass_pipeline(d, &passes.at[i]);
        if (status == DAPT_OK)
            status = vk_time_pass(d, &passes.at[i], 1, "the comparing of attention", &seconds);
    }
    free(passes.at);
    return status;
}

static double value(const struct vk_view *v, const uint8_t *bytes, int64_t e) {
    float x;
    uint16_t half;
    if (v->dtype == DAPT_F32) {
        memcpy(&x, bytes + 4 * e, 4);
        return (double)x;
    }
    memcpy(&half, bytes + 2 * e, 2);
    return (double)(v->dtype == DAPT_F16 ? f16_to_float(half) : bf16_to_float(half));
}

// Twice the distance of neighbours in a type: once for the rounding of results, once for that of what
// was multiplied, whose errors add up like random ones. Statistics are never rounded.
static bool is_near(const struct probe *p, int which, const uint8_t *got, const uint8_t *expected) {
    static const double distance[DAPT_DTYPE_COUNT] = {
        [DAPT_F32] = 0x1p-17, [DAPT_F16] = 0x1p-10, [DAPT_BF16] = 0x1p-7};
    const struct vk_view *v = &p->view[which];
    uint64_t at = v->address - p->memory->address;
    int64_t count = v->rows * v->stride;
    double squares = 0;
    for (int64_t e = 0; e < count; e++) {
        double x = value(v, expected + at, e);
        if (isfinite(x)) squares += x * x;
    }
    double rms = sqrt(squares / (double)count);
    for (int64_t e = 0; e < count; e++) {
        double x = value(v, got + at, e), y = value(v, expected + at, e);
        if (x != y && !(fabs(x - y) <= 2 * distance[v->dtype] * (fabs(y) + rms))) return false;
    }
    return true;
}

static enum dapt_status try_unit(struct dapt_device *d, enum dapt_dtype dtype, int64_t head_size,
                                 const struct vk_unit *unit, bool *right) {
    const struct vk_unit none = {0};
    const int results[] = {Y, LSE, DQ, DK, DV};
    struct probe p = {0};
    enum dapt_status status = prepare(d, &p, dtype, head_size);
    uint8_t *got = malloc(p.size);
    if (status == DAPT_OK && got == NULL)
        status = backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a comparison");
    // The unit's gradient starts from what float32 made of y and lse.
    for (int grad = 0; grad < 2 && status == DAPT_OK; grad++) status = run(d, &p, grad, &none);
    if (status == DAPT_OK) status = vk_buffer_read(d, p.memory, 0, p.bytes, p.size);
    for (int grad = 1; grad >= 0 && status == DAPT_OK; grad--) status = run(d, &p, grad, unit);
    if (status == DAPT_OK) status = vk_buffer_read(d, p.memory, 0, got, p.size);
    *right = status == DAPT_OK;
    for (int i = 0; i < 5 && *right; i++) *right = is_near(&p, results[i], got, p.bytes);
    free(got);
    free(p.bytes);
    vk_memory_destroy(d, p.memory);
    return status;
}

// ------------------------------------------------------------------------------------- the choice

static uint64_t content_of(const struct dapt_device *d) {
    const uint32_t limits[] = {d->limits.invocations, d->limits.shared_memory, d->limits.subgroup,
                               sizeof(struct vk_attention_units)};
    uint64_t hash = vk_hash(limits, sizeof limits);
    for (int i = SHADER_ATTENTION_CM_F16; i <= SHADER_ATTENTION_CM_GRAD_KV_BF16; i++)
        hash = vk_hash_shader(hash, (enum vk_shader)i);
    return hash;
}

static struct vk_attention_units *units_of(struct dapt_device *d) {
    if (d->attention_units != NULL) return d->attention_units;
    size_t size = 0;
    struct vk_attention_units *kept = NULL;
    if (vk_shader_folder() == NULL) kept = vk_cache_read(d, "attention", content_of(d), &size);
    if (kept != NULL && size != sizeof *kept) free(kept), kept = NULL;
    return d->attention_units = kept != NULL ? kept : calloc(1, sizeof *kept);
}

bool vk_attention_is_right(struct vk_lowering *l, enum dapt_dtype dtype, int64_t head_size,
                           const struct vk_unit *unit) {
    struct dapt_device *d = l->device;
    struct vk_attention_units *known = units_of(d);
    int type = dtype == DAPT_BF16;
    if (known == NULL) return false;
    if (memcmp(&known->unit[type], unit, sizeof *unit) != 0) {
        known->unit[type] = *unit;
        memset(known->verdict[type], 0, sizeof known->verdict[type]);
    }
    uint32_t *verdict = &known->verdict[type][head_size / HEAD_UNIT - 1];
    if (*verdict == UNKNOWN) {
        bool right = false;
        char line[120];
        enum dapt_status status = try_unit(d, dtype, head_size, unit, &right);
        if (d->lost < 0) {
            l->status = status;
            return false;
        }
        *verdict = right ? RIGHT : WRONG;
        snprintf(line, sizeof line, "attention with heads of %d: %s", (int)head_size,
                 right         ? "used"
                 : status == 0 ? "gives wrong results; not used"
                               : "can't be tried; not used");
        vk_tell_unit(d, dtype, unit, right ? DAPT_LOG_INFO : DAPT_LOG_WARNING, line);
        if (status == DAPT_OK && vk_shader_folder() == NULL)
            vk_cache_write(d, "attention", content_of(d), known, sizeof *known);
    }
    return *verdict == RIGHT;
}
