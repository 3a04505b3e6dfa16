// Attention: with one row an invocation where heads are small (or the device is a processor), else
// in tiles that a workgroup shares. Gradients in two passes, by queries and by keys, so that every
// sum has one owner.
#include "lower.h"

#define SIDE 32  // queries and keys of a tile, as in lib/attention.glsl
#define TILE_INVOCATIONS 128
#define KEY_VALUES 64  // of keys that attention_lane.comp takes at a time, at most 8 keys
#define LANE_SIZE 32   // largest head with one row an invocation
#define LANE_SIZE_SOFTWARE 64

struct attention {
    int64_t queries, keys, heads, groups, size, sequences, lanes;
};

static struct attention attention_of(const struct vk_lowering *l, const struct vk_view *q,
                                     const struct vk_view *k) {
    int64_t sequences = l->op->u.attention.sequences,
            largest = l->device->limits.software ? LANE_SIZE_SOFTWARE : LANE_SIZE;
    struct attention a = {
        q->rows / sequences, k->rows / sequences, q->inner, k->inner, q->cols, sequences, 0};
    if (a.size <= largest) a.lanes = l->device->limits.software ? 8 : 64;
    return a;
}

// Scores count as much again as the products, of which there are `products` for each.
static struct vk_pass *begin(struct vk_lowering *l, const struct attention *a, enum vk_shader lanes,
                             enum vk_shader tiles, int products) {
    struct vk_pass *p = vk_pass(l, a->lanes > 0 ? lanes : tiles);
    vk_shape_constants(p, (struct vk_shape){a->lanes > 0 ? a->lanes : TILE_INVOCATIONS, 1});
    vk_constant(p, a->size);
    vk_constant(p, a->heads);
    vk_constant(p, a->groups);
    vk_constant(p, l->op->u.attention.window);
    vk_constant(p, l->op->u.attention.softcap > 0);
    if (a->lanes > 0) vk_constant(p, max_i64(1, min_i64(8, KEY_VALUES / a->size)));
    p->work = 4.0 * products * (double)(a->sequences * a->queries) *
              (double)(a->keys * a->heads * a->size);
    p->splittable = true;
    return p;
}

static void end(struct vk_lowering *l, struct vk_pass *p, const struct attention *a, int64_t rows,
                int64_t heads) {
    vk_float(p, l->op->u.attention.scale);
    vk_float(p, l->op->u.attention.softcap);
    vk_groups(p, ceil_div(rows, a->lanes > 0 ? a->lanes : SIDE), heads, a->sequences);
}

void vk_op_attention(struct vk_lowering *l) {
    const struct vk_view *q = &l->in[0], *k = &l->in[1], *v = &l->in[2], *y = &l->out[0];
    struct attention a = attention_of(l, q, k);
    struct vk_pass *p = begin(l, &a, SHADER_ATTENTION_LANE, SHADER_ATTENTION, 2);
    for (int i = 0; i < 5; i++) vk_reads(p, &l->in[i]);
    for (int i = 0; i < 2; i++) vk_writes(p, &l->out[i]);
    vk_word(p, a.queries);
    vk_word(p, a.keys);
    vk_word(p, q->stride);
    vk_word(p, k->stride);
    vk_word(p, v->stride);
    vk_word(p, y->stride);
    end(l, p, &a, a.queries, a.heads);
}

enum { DY, Q, K, V, Y, LSE, FIRST, LAST };
enum { DQ, DK, DV };

static void lower_delta(struct vk_lowering *l, const struct attention *a,
                        const struct vk_view *delta) {
    const struct vk_view *dy = &l->in[DY], *y = &l->in[Y];
    struct vk_pass *p = vk_pass(l, SHADER_ATTENTION_DELTA);
    struct vk_shape shape = {vk_workgroup(l), 1};
    vk_shape_constants(p, shape);
    vk_reads(p, dy);
    vk_reads(p, y);
    vk_writes(p, delta);
    vk_word(p, dy->rows);
    vk_word(p, a->heads);
    vk_word(p, a->size);
    vk_word(p, dy->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, shape, 1, dy->rows * a->heads);
}

static void read_all(struct vk_lowering *l, struct vk_pass *p, const int *which, int count) {
    for (int i = 0; i < count; i++) vk_reads(p, &l->in[which[i]]);
}

// By queries. One row an invocation makes delta as well, at its end; else delta was made before.
static void grad_queries(struct vk_lowering *l, const struct attention *a,
                         const struct vk_view *delta) {
    struct vk_pass *p = begin(l, a, SHADER_ATTENTION_LANE_Q, SHADER_ATTENTION_GRAD_Q, 3);
    read_all(l, p, (const int[]){DY, Q, K, V}, 4);
    if (a->lanes > 0) {
        read_all(l, p, (const int[]){Y, LSE, FIRST, LAST}, 4);
    } else {
        vk_reads(p, &l->in[LSE]);
        vk_reads(p, delta);
        read_all(l, p, (const int[]){FIRST, LAST}, 2);
    }
    vk_writes(p, &l->out[DQ]);
    if (a->lanes > 0) vk_writes(p, delta);
    vk_word(p, a->queries);
    vk_word(p, a->keys);
    for (int i = DY; i <= (a->lanes > 0 ? Y : V); i++) vk_word(p, l->in[i].stride);
    vk_word(p, l->out[DQ].stride);
    end(l, p, a, a->queries, a->heads);
}

static void grad_keys(struct vk_lowering *l, const struct attention *a,
                      const struct vk_view *delta) {
    struct vk_pass *p = begin(l, a, SHADER_ATTENTION_LANE_KV, SHADER_ATTENTION_GRAD_KV, 4);
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
    end(l, p, a, a->keys, a->groups);
}

void vk_op_attention_grad(struct vk_lowering *l) {
    struct attention a = attention_of(l, &l->in[Q], &l->in[K]);
    struct vk_view delta = vk_scratch(l, l->in[DY].rows, a.heads);
    if (a.lanes == 0) lower_delta(l, &a, &delta);
    grad_queries(l, &a, &delta);
    grad_keys(l, &a, &delta);
}
