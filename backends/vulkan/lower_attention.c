// FlashAttention-2 (Dao 2023): attention_no_shared*.comp, with one query or key an invocation, for
// small heads, on software devices, and where rows are not aligned for loads of vec4; else the
// shaders whose workgroups share tiles. The backward pass computes dq, then dk and dv, so that
// every sum has one owner. In 16 bits attention goes to matrix units where it fits them:
// attention_cm*.comp.
#include "lower.h"

#define NO_SHARED_MAX_D 32  // the largest head for attention_no_shared*.comp
#define NO_SHARED_MAX_D_SOFTWARE 64
#define MAX_KEY_FLOATS 64  // of the keys of a round there, of which there are 8 at most

// Tiles, as in lib/attention.glsl: 8 x 4 scores an invocation, threads_x invocations across. The
// wider a tile, the fewer registers hold what is as wide as a head.
#define TILE_INVOCATIONS 64
#define TILE_TM 8
#define MAX_TD4 2     // vec4s of a row of y or dq that an invocation has, at most
#define MAX_TD4_KV 1  // of dk and of dv
#define MAX_THREADS_X 32

// Tiles of matrix units, as in lib/attention_cm.glsl: 64 x 64 scores.
#define UNIT_TILE 64
#define UNIT_SUBGROUPS 4
#define UNIT_ROWS (UNIT_TILE / UNIT_SUBGROUPS)
#define UNIT_STRIPE 32
#define UNIT_MAX_D 128
#define UNIT_STEPS 4    // of a product that are unrolled, at most
#define UNIT_ROOM 2048  // bytes of shared memory besides tiles: masks, statistics

// The passes, and their shaders for float32 and for 16-bit operands.
enum pass { FORWARD, BACKWARD_Q, BACKWARD_KV, DELTA, PASSES };
static const enum vk_shader no_shared[PASSES][2] = {
    [FORWARD] = {SHADER_ATTENTION_NO_SHARED, SHADER_ATTENTION_NO_SHARED_HALF},
    [BACKWARD_Q] = {SHADER_ATTENTION_NO_SHARED_Q, SHADER_ATTENTION_NO_SHARED_Q_HALF},
    [BACKWARD_KV] = {SHADER_ATTENTION_NO_SHARED_KV, SHADER_ATTENTION_NO_SHARED_KV_HALF},
};
static const enum vk_shader tiled[PASSES][2] = {
    [FORWARD] = {SHADER_ATTENTION, SHADER_ATTENTION_HALF},
    [BACKWARD_Q] = {SHADER_ATTENTION_GRAD_Q, SHADER_ATTENTION_GRAD_Q_HALF},
    [BACKWARD_KV] = {SHADER_ATTENTION_GRAD_KV, SHADER_ATTENTION_GRAD_KV_HALF},
    [DELTA] = {SHADER_ATTENTION_DELTA, SHADER_ATTENTION_DELTA_HALF},
};
static const enum vk_shader on_units[PASSES][2] = {
    [FORWARD] = {SHADER_ATTENTION_CM_F16, SHADER_ATTENTION_CM_BF16},
    [BACKWARD_Q] = {SHADER_ATTENTION_CM_GRAD_Q_F16, SHADER_ATTENTION_CM_GRAD_Q_BF16},
    [BACKWARD_KV] = {SHADER_ATTENTION_CM_GRAD_KV_F16, SHADER_ATTENTION_CM_GRAD_KV_BF16},
};
// Matmuls of a pass for each tile of scores; the softmax counts as much again.
static const int matmuls[PASSES] = {[FORWARD] = 2, [BACKWARD_Q] = 3, [BACKWARD_KV] = 4};

struct attention {
    int64_t queries, keys;  // rows of one sequence
    int64_t heads, kv_heads, D, sequences;
    int64_t width;  // of a workgroup without shared memory; 0: with
    enum dapt_dtype dtype;
    struct vk_unit unit;  // m 0: none
};

// Whether all rows of heads begin where so many neighbouring elements can be loaded at once.
static bool rows_aligned(const struct vk_lowering *l, int64_t D, int64_t elements) {
    bool aligned = D % elements == 0;
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        aligned = aligned && (l->in[i].cols != D || vk_aligned(&l->in[i], l->in[i].rows, elements));
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
        aligned = aligned &&
                  (l->out[i].cols != D || vk_aligned(&l->out[i], l->out[i].rows, elements));
    return aligned;
}

static struct attention attention_of(const struct vk_lowering *l, const struct vk_unit *unit) {
    const struct vk_view *q = &l->in[l->op->opcode == DAPT_OP_ATTENTION_GRAD], *k = q + 1;
    int64_t sequences = l->op->u.attention.sequences,
            largest = l->device->limits.software ? NO_SHARED_MAX_D_SOFTWARE : NO_SHARED_MAX_D;
    struct attention a = {q->rows / sequences,
                          k->rows / sequences,
                          q->inner,
                          k->inner,
                          q->cols,
                          sequences,
                          0,
                          q->dtype,
                          *unit};
    if (a.unit.m == 0 && (a.D <= largest || !rows_aligned(l, a.D, 4)))
        a.width = l->device->limits.software ? 8 : 64;
    return a;
}

// Whether the shaders for matrix units take this unit, for this head size.
static bool unit_fits(const struct vk_limits *limits, const struct vk_unit *u, int64_t D) {
    int64_t across = UNIT_STRIPE / 4,
            line = max_i64(UNIT_TILE * (D / 8 + 1), D * (UNIT_TILE / 8 + 1)),
            own = UNIT_TILE * (UNIT_TILE / 8 + 1);
    bool scores = u->subgroup % across == 0 && UNIT_ROWS % (u->subgroup / across) == 0;
    return u->m > 0 && D % UNIT_STRIPE == 0 && D <= UNIT_MAX_D && UNIT_ROWS % u->m == 0 &&
           UNIT_STRIPE % u->n == 0 && u->n % 4 == 0 && u->k % 8 == 0 && D % u->k == 0 &&
           UNIT_TILE % u->k == 0 && scores && UNIT_SUBGROUPS * u->subgroup <= limits->invocations &&
           16 * (line + own) + UNIT_ROOM <= limits->shared_memory;
}

bool vk_attention_fits(const struct vk_lowering *l, const struct vk_unit *unit) {
    struct attention a = attention_of(l, unit);
    return a.dtype != DAPT_F32 && min_i64(a.queries, a.keys) >= UNIT_TILE &&
           rows_aligned(l, a.D, 8) && unit_fits(&l->device->limits, unit, a.D);
}

static int64_t threads_x(const struct attention *a, int64_t max_td4) {
    int64_t x = 8;
    while (x < MAX_THREADS_X && ceil_div(a->D / 4, x) > max_td4) x *= 2;
    return x;
}

// As lib/half.glsl counts types.
static void type_constant(struct vk_pass *p, enum dapt_dtype dtype) {
    if (dtype != DAPT_F32) vk_constant(p, dtype == DAPT_F16 ? 1 : 2);
}

static void unit_constants(const struct vk_lowering *l, const struct attention *a,
                           struct vk_pass *p) {
    // Unrolled as far as both kinds of product split into as many; what runs on a CPU would only
    // take longer to compile.
    int64_t steps = l->device->adapter->info.kind == DAPT_DEVICE_SOFTWARE ? 1 : UNIT_STEPS;
    while (UNIT_TILE % (steps * a->unit.k) != 0 || a->D % (steps * a->unit.k) != 0) steps /= 2;
    vk_constant(p, a->unit.subgroup);
    vk_constant(p, a->unit.m);
    vk_constant(p, a->unit.n);
    vk_constant(p, a->unit.k);
    vk_constant(p, steps);
    p->subgroup = a->unit.subgroup;
}

// Workgroups have tiles of keys in the pass for dk and dv, of queries in the others.
static struct vk_pass *begin(struct vk_lowering *l, const struct attention *a, enum pass pass) {
    bool by_key = pass == BACKWARD_KV, half = a->dtype != DAPT_F32, unit = a->unit.m > 0;
    struct vk_pass *p = vk_pass(l, unit           ? on_units[pass][a->dtype == DAPT_BF16]
                                   : a->width > 0 ? no_shared[pass][half]
                                                  : tiled[pass][half]);
    int64_t x = threads_x(a, by_key ? MAX_TD4_KV : MAX_TD4),
            width = unit           ? UNIT_SUBGROUPS * a->unit.subgroup
                    : a->width > 0 ? a->width
                                   : TILE_INVOCATIONS,
            tile = unit           ? UNIT_TILE
                   : a->width > 0 ? a->width
                                  : TILE_TM * TILE_INVOCATIONS / x;
    vk_shape_constants(p, (struct vk_shape){width, 1});
    vk_constant(p, a->D);
    vk_constant(p, a->heads);
    vk_constant(p, a->kv_heads);
    vk_constant(p, l->op->u.attention.window);
    vk_constant(p, l->op->u.attention.softcap > 0);
    if (unit) {
        unit_constants(l, a, p);
    } else {
        vk_constant(p, a->width > 0 ? max_i64(1, min_i64(8, MAX_KEY_FLOATS / a->D)) : x);
        type_constant(p, a->dtype);
    }
    vk_groups(p, ceil_div(by_key ? a->keys : a->queries, tile), by_key ? a->kv_heads : a->heads,
              a->sequences);
    p->work = 4.0 * matmuls[pass] * (double)(a->sequences * a->queries) *
              (double)(a->keys * a->heads * a->D);
    p->splittable = true;
    return p;
}

static void end(struct vk_lowering *l, struct vk_pass *p) {
    vk_float(p, l->op->u.attention.scale);
    vk_float(p, l->op->u.attention.softcap);
}

void vk_lower_attention(struct vk_lowering *l, const struct vk_unit *unit) {
    const struct vk_view *q = &l->in[0], *k = &l->in[1], *v = &l->in[2], *y = &l->out[0];
    struct attention a = attention_of(l, unit);
    struct vk_pass *p = begin(l, &a, FORWARD);
    for (int i = 0; i < 5; i++) vk_reads(p, &l->in[i]);
    for (int i = 0; i < 2; i++) vk_writes(p, &l->out[i]);
    vk_word(p, a.queries);
    vk_word(p, a.keys);
    vk_word(p, q->stride);
    vk_word(p, k->stride);
    vk_word(p, v->stride);
    vk_word(p, y->stride);
    end(l, p);
}

enum { DY, Q, K, V, Y, LSE, FIRST, LAST };
enum { DQ, DK, DV };

static void lower_delta(struct vk_lowering *l, const struct attention *a,
                        const struct vk_view *delta) {
    const struct vk_view *dy = &l->in[DY], *y = &l->in[Y];
    struct vk_pass *p = vk_pass(l, tiled[DELTA][a->dtype != DAPT_F32]);
    int64_t width = min_i64(vk_next_power_of_two(a->D / 4), 32), height = vk_workgroup(l) / width;
    vk_shape_constants(p, (struct vk_shape){width, height});
    type_constant(p, a->dtype);
    vk_reads(p, dy);
    vk_reads(p, y);
    vk_writes(p, delta);
    vk_word(p, dy->rows);
    vk_word(p, a->heads);
    vk_word(p, a->D);
    vk_word(p, dy->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, (struct vk_shape){height, 1}, 1, dy->rows * a->heads);
}

static void read_all(struct vk_lowering *l, struct vk_pass *p, const int *which, int count) {
    for (int i = 0; i < count; i++) vk_reads(p, &l->in[which[i]]);
}

// dq. Without shared memory this pass computes delta too; else lower_delta() did.
static void lower_dq(struct vk_lowering *l, const struct attention *a,
                     const struct vk_view *delta) {
    struct vk_pass *p = begin(l, a, BACKWARD_Q);
    read_all(l, p, (const int[]){DY, Q, K, V}, 4);
    if (a->width > 0) {
        read_all(l, p, (const int[]){Y, LSE, FIRST, LAST}, 4);
    } else {
        vk_reads(p, &l->in[LSE]);
        vk_reads(p, delta);
        read_all(l, p, (const int[]){FIRST, LAST}, 2);
    }
    vk_writes(p, &l->out[DQ]);
    if (a->width > 0) vk_writes(p, delta);
    vk_word(p, a->queries);
    vk_word(p, a->keys);
    for (int i = DY; i <= (a->width > 0 ? Y : V); i++) vk_word(p, l->in[i].stride);
    vk_word(p, l->out[DQ].stride);
    end(l, p);
}

// dk and dv.
static void lower_dkv(struct vk_lowering *l, const struct attention *a,
                      const struct vk_view *delta) {
    struct vk_pass *p = begin(l, a, BACKWARD_KV);
    read_all(l, p, (const int[]){DY, Q, K, V, LSE}, 5);
    vk_reads(p, delta);
    read_all(l, p, (const int[]){FIRST, LAST}, 2);
    vk_writes(p, &l->out[DK]);
    vk_writes(p, &l->out[DV]);
    vk_word(p, a->queries);
    vk_word(p, a->keys);
    for (int i = DY; i <= V; i++) vk_word(p, l->in[i].stride);
    vk_word(p, l->out[DK].stride);
    vk_word(p, l->out[DV].stride);
    end(l, p);
}

void vk_lower_attention_grad(struct vk_lowering *l, const struct vk_unit *unit,
                             const struct vk_view *delta) {
    struct attention a = attention_of(l, unit);
    if (a.width == 0) lower_delta(l, &a, delta);
    lower_dq(l, &a, delta);
    lower_dkv(l, &a, delta);
}

// The unit for an attention; m 0: none.
static struct vk_unit choose_unit(struct vk_lowering *l) {
    const struct vk_view *q = &l->in[l->op->opcode == DAPT_OP_ATTENTION_GRAD];
    struct vk_unit none = {0}, unit = vk_matrix_unit(l, q->dtype);
    bool used = unit.m > 0 && vk_attention_fits(l, &unit) &&
                vk_attention_is_right(l, q->dtype, q->cols, &unit);
    return used ? unit : none;
}

void vk_op_attention(struct vk_lowering *l) {
    struct vk_unit unit = choose_unit(l);
    vk_lower_attention(l, &unit);
}

void vk_op_attention_grad(struct vk_lowering *l) {
    struct vk_unit unit = choose_unit(l);
    struct vk_view delta = vk_scratch(l, l->in[DY].rows, l->in[DY].inner);
    vk_lower_attention_grad(l, &unit, &delta);
}
