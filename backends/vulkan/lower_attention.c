#include "lower.h"

#define SIDE 32               // queries and keys of a tile, as in lib/attention.glsl
#define INVOCATIONS 128

struct attention { int64_t queries, keys, heads, groups, size, sequences; };

static struct attention attention_of(const struct vk_lowering *l, const struct vk_view *q, const struct vk_view *k) {
    int64_t sequences = l->op->u.attention.sequences;
    return (struct attention){q->rows / sequences, k->rows / sequences, q->inner, k->inner, q->cols, sequences};
}

static struct vk_pass *begin(struct vk_lowering *l, enum vk_shader shader, const struct attention *a) {
    struct vk_pass *p = vk_pass(l, shader);
    vk_shape_constants(p, (struct vk_shape){INVOCATIONS, 1});
    vk_constant(p, a->size);
    vk_constant(p, a->heads);
    vk_constant(p, a->groups);
    vk_constant(p, l->op->u.attention.window);
    vk_constant(p, l->op->u.attention.softcap > 0);
    p->work = 2.0 * (double)(a->sequences * a->queries) * (double)(a->keys * a->heads * a->size);
    return p;
}

static void end(struct vk_lowering *l, struct vk_pass *p) {
    vk_float(p, l->op->u.attention.scale);
    vk_float(p, l->op->u.attention.softcap);
}

void vk_op_attention(struct vk_lowering *l) {
    const struct vk_view *q = &l->in[0], *k = &l->in[1], *v = &l->in[2], *y = &l->out[0];
    struct attention a = attention_of(l, q, k);
    struct vk_pass *p = begin(l, SHADER_ATTENTION, &a);
    for (int i = 0; i < 5; i++) vk_reads(p, &l->in[i]);
    for (int i = 0; i < 2; i++) vk_writes(p, &l->out[i]);
    vk_word(p, a.queries);
    vk_word(p, a.keys);
    vk_word(p, q->stride);
    vk_word(p, k->stride);
    vk_word(p, v->stride);
    vk_word(p, y->stride);
    end(l, p);
    vk_groups(p, ceil_div(a.queries, SIDE), a.heads, a.sequences);
}

enum { DY, Q, K, V, Y, LSE, FIRST, LAST };
enum { DQ, DK, DV };

static struct vk_view lower_delta(struct vk_lowering *l, const struct attention *a) {
    const struct vk_view *dy = &l->in[DY], *y = &l->in[Y];
    struct vk_view delta = vk_scratch(l, dy->rows, a->heads);
    struct vk_pass *p = vk_pass(l, SHADER_ATTENTION_DELTA);
    struct vk_shape shape = {vk_workgroup(l), 1};
    vk_shape_constants(p, shape);
    vk_reads(p, dy);
    vk_reads(p, y);
    vk_writes(p, &delta);
    vk_word(p, dy->rows);
    vk_word(p, a->heads);
    vk_word(p, a->size);
    vk_word(p, dy->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, shape, 1, dy->rows * a->heads);
    return delta;
}

static void grad_inputs(struct vk_lowering *l, struct vk_pass *p, const struct vk_view *delta) {
    const int first[] = {DY, Q, K, V, LSE};
    for (int i = 0; i < 5; i++) vk_reads(p, &l->in[first[i]]);
    vk_reads(p, delta);
    vk_reads(p, &l->in[FIRST]);
    vk_reads(p, &l->in[LAST]);
}

static void grad_words(struct vk_lowering *l, struct vk_pass *p, const struct attention *a) {
    vk_word(p, a->queries);
    vk_word(p, a->keys);
    for (int i = DY; i <= V; i++) vk_word(p, l->in[i].stride);
}

void vk_op_attention_grad(struct vk_lowering *l) {
    struct attention a = attention_of(l, &l->in[Q], &l->in[K]);
    struct vk_view delta = lower_delta(l, &a);
    struct vk_pass *p = begin(l, SHADER_ATTENTION_GRAD_Q, &a);
    grad_inputs(l, p, &delta);
    vk_writes(p, &l->out[DQ]);
    grad_words(l, p, &a);
    vk_word(p, l->out[DQ].stride);
    end(l, p);
    vk_groups(p, ceil_div(a.queries, SIDE), a.heads, a.sequences);

    p = begin(l, SHADER_ATTENTION_GRAD_KV, &a);
    grad_inputs(l, p, &delta);
    vk_writes(p, &l->out[DK]);
    vk_writes(p, &l->out[DV]);
    grad_words(l, p, &a);
    vk_word(p, l->out[DK].stride);
    vk_word(p, l->out[DV].stride);
    end(l, p);
    vk_groups(p, ceil_div(a.keys, SIDE), a.groups, a.sequences);
}
