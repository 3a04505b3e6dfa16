// FlashAttention-2 (Dao 2023): attention_no_shared*.comp, with one query or key an invocation, for
// small heads, on software devices, and where rows are not aligned for loads of vec4; else the
// shaders whose workgroups share tiles. The backward pass computes dq, then dk and dv, so that
// every sum has one owner.
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
// Matmuls of a pass for each tile of scores; the softmax counts as much again.
static const int matmuls[PASSES] = {[FORWARD] = 2, [BACKWARD_Q] = 3, [BACKWARD_KV] = 4};

struct attention {
    int64_t queries, keys;  // rows of one sequence
    int64_t heads, kv_heads, D, sequences;
    int64_t width;  // of a workgroup without shared memory; 0: with
    enum dapt_dtype dtype;
};

static struct attention attention_of(const struct vk_lowering *l, const struct vk_view *q,
                                     const struct vk_view *k) {
    int64_t sequences = l->op->u.attention.sequences,
            largest = l->device->limits.software ? NO_SHARED_MAX_D_SOFTWARE : NO_SHARED_MAX_D;
    struct attention a = {q->rows / sequences,
                          k->rows / sequences,
                          q->inner,
                          k->inner,
                          q->cols,
                          sequences,
                          0,
                          q->dtype};
    bool aligned = a.D % 4 == 0;  // all that has heads
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        aligned = aligned && (l->in[i].cols != a.D || vk_vec4(&l->in[i], l->in[i].rows));
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
        aligned = aligned && (l->out[i].cols != a.D || vk_vec4(&l->out[i], l->out[i].rows));
    if (a.D <= largest || !aligned) a.width = l->device->limits.software ? 8 : 64;
    return a;
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

// Workgroups have tiles of keys in the pass for dk and dv, of queries in the others.
static struct vk_pass *begin(struct vk_lowering *l, const struct attention *a, enum pass pass) {
    bool by_key = pass == BACKWARD_KV, half = a->dtype != DAPT_F32;
    struct vk_pass *p = vk_pass(l, a->width > 0 ? no_shared[pass][half] : tiled[pass][half]);
    int64_t x = threads_x(a, by_key ? MAX_TD4_KV : MAX_TD4);
    int64_t tile = a->width > 0 ? a->width : TILE_TM * TILE_INVOCATIONS / x;
    vk_shape_constants(p, (struct vk_shape){a->width > 0 ? a->width : TILE_INVOCATIONS, 1});
    vk_constant(p, a->D);
    vk_constant(p, a->heads);
    vk_constant(p, a->kv_heads);
    vk_constant(p, l->op->u.attention.window);
    vk_constant(p, l->op->u.attention.softcap > 0);
    vk_constant(p, a->width > 0 ? max_i64(1, min_i64(8, MAX_KEY_FLOATS / a->D)) : x);
    type_constant(p, a->dtype);
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

void vk_op_attention(struct vk_lowering *l) {
    const struct vk_view *q = &l->in[0], *k = &l->in[1], *v = &l->in[2], *y = &l->out[0];
    struct attention a = attention_of(l, q, k);
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

void vk_op_attention_grad(struct vk_lowering *l) {
    struct attention a = attention_of(l, &l->in[Q], &l->in[K]);
    struct vk_view delta = vk_scratch(l, l->in[DY].rows, a.heads);
    if (a.width == 0) lower_delta(l, &a, &delta);
    lower_dq(l, &a, &delta);
    lower_dkv(l, &a, &delta);
}
