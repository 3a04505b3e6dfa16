// Matrix products: which tile, and whether the terms are split among workgroups.
#include "lower.h"

// How a product is cut: bm x bn of c a workgroup, tm x tn of it an invocation, bk terms at a time.
// Rows for GPUs share tiles among bm / tm * bn / tn invocations; those of matmul_lane.comp share
// nothing: tm is bm.
struct tile {
    enum vk_shader shader;
    int64_t bm, bn, bk, tm, tn;
};

static const struct tile tiles[] = {
    // largest first
    {SHADER_MATMUL, 128, 128, 8, 8, 8},
    {SHADER_MATMUL, 64, 64, 16, 8, 4},
    {SHADER_MATMUL, 32, 32, 16, 4, 4},
};
static const struct tile few_rows = {SHADER_MATMUL, 16, 64, 16, 4, 4};
static const struct tile software[] = {
    {SHADER_MATMUL_LANE, 32, 16, 1, 32, 2},
    {SHADER_MATMUL_LANE, 4, 32, 1, 4, 4},
    {SHADER_MATMUL_LANE, 1, 32, 1, 1, 4},
};

static int64_t tile_invocations(const struct tile *t) {
    return t->bm / t->tm * (t->bn / t->tn);
}

static int64_t tile_count(const struct tile *t, int64_t m, int64_t n) {
    return ceil_div(m, t->bm) * ceil_div(n, t->bn);
}

// Workgroups that keep the device busy.
static int64_t wanted_groups(const struct vk_lowering *l) {
    return l->device->limits.software ? 8 : 128;
}

// The largest tile that still leaves enough workgroups and wastes little at the edges.
static const struct tile *choose_tile(const struct vk_lowering *l, int64_t m, int64_t n) {
    const int64_t last = (int64_t)(sizeof tiles / sizeof *tiles) - 1;
    if (l->device->limits.software) return &software[m > 4 ? 0 : m > 1 ? 1 : 2];
    if (m <= 16) return &few_rows;
    for (int64_t i = 0; i < last; i++) {
        const struct tile *t = &tiles[i];
        bool fits = tile_invocations(t) <= l->device->limits.invocations && m > t->bm / 2 &&
                    n > t->bn / 2;
        if (fits && tile_count(t, m, n) >= wanted_groups(l)) return t;
    }
    return &tiles[last];
}

#define MIN_CHUNK 256  // terms of a part
#define MAX_PARTS 32

// How many terms each workgroup sums: all, unless there are few tiles and many terms.
static int64_t choose_chunk(const struct vk_lowering *l, const struct tile *t, int64_t m, int64_t n,
                            int64_t k) {
    int64_t needed = ceil_div(wanted_groups(l), tile_count(t, m, n));
    int64_t parts = min_i64(min_i64(needed, k / MIN_CHUNK), MAX_PARTS);
    parts = max_i64(parts, ceil_div(k, VK_LOOP_LIMIT));
    if (parts < 2) return k;
    return ceil_div(ceil_div(k, parts), t->bk) * t->bk;
}

// One pass; with more than one part, c is [parts * m, n] and nothing is fused.
static void multiply(struct vk_lowering *l, const struct vk_matmul *m, const struct tile *t,
                     int64_t k, int64_t chunk, const struct vk_view *c) {
    int64_t rows = m->c.rows, cols = m->c.cols, parts = ceil_div(k, chunk);
    const struct vk_view none = {0};
    bool fused = parts == 1;
    struct vk_pass *p = vk_pass(l, t->shader);
    vk_shape_constants(p, (struct vk_shape){tile_invocations(t), 1});
    vk_constant(p, t->bm);
    vk_constant(p, t->bn);
    vk_constant(p, t->bk);
    vk_constant(p, t->tm);
    vk_constant(p, t->tn);
    vk_constant(p, m->transpose_a);
    vk_constant(p, m->transpose_b);
    vk_constant(p, fused && m->bias.address != 0);
    vk_constant(p, fused && m->residual.address != 0);
    vk_constant(p, fused && m->accumulate);
    vk_constant(p, fused ? m->activation : DAPT_ACT_NONE);
    vk_reads(p, &m->a);
    vk_reads(p, &m->b);
    vk_reads(p, fused ? &m->bias : &none);
    vk_reads(p, fused ? &m->residual : &none);
    vk_writes(p, c);
    vk_word(p, rows);
    vk_word(p, cols);
    vk_word(p, k);
    vk_word(p, chunk);
    vk_word(p, m->a.stride);
    vk_word(p, m->b.stride);
    vk_word(p, m->residual.stride);
    vk_word(p, c->stride);
    vk_groups(p, ceil_div(cols, t->bn), ceil_div(rows, t->bm), parts);
    p->work = 2.0 * (double)rows * (double)cols * (double)k;
}

static void join(struct vk_lowering *l, const struct vk_matmul *m, const struct vk_view *parts,
                 int64_t count) {
    struct vk_pass *p = vk_pass(l, SHADER_MATMUL_JOIN);
    struct vk_shape shape = vk_element_shape(l, m->c.cols);
    vk_shape_constants(p, shape);
    vk_constant(p, m->bias.address != 0);
    vk_constant(p, m->residual.address != 0);
    vk_constant(p, m->accumulate);
    vk_constant(p, m->activation);
    vk_reads(p, parts);
    vk_reads(p, &m->bias);
    vk_reads(p, &m->residual);
    vk_writes(p, &m->c);
    vk_word(p, m->c.rows);
    vk_word(p, m->c.cols);
    vk_word(p, count);
    vk_word(p, m->residual.stride);
    vk_word(p, m->c.stride);
    vk_element_groups(l, p, shape, m->c.rows, m->c.cols);
}

void vk_lower_matmul(struct vk_lowering *l, const struct vk_matmul *m) {
    int64_t k = m->transpose_a ? m->a.rows : m->a.cols;
    const struct tile *t = choose_tile(l, m->c.rows, m->c.cols);
    int64_t chunk = choose_chunk(l, t, m->c.rows, m->c.cols, k), parts = ceil_div(k, chunk);
    if (parts == 1) {
        multiply(l, m, t, k, chunk, &m->c);
        return;
    }
    struct vk_view sums = vk_scratch(l, parts * m->c.rows, m->c.cols);
    multiply(l, m, t, k, chunk, &sums);
    join(l, m, &sums, parts);
}

void vk_op_matmul(struct vk_lowering *l) {
    struct vk_matmul m = {.a = l->in[0],
                          .b = l->in[1],
                          .bias = l->in[2],
                          .residual = l->in[3],
                          .c = l->out[0],
                          .transpose_a = l->op->u.matmul.transpose_a,
                          .transpose_b = l->op->u.matmul.transpose_b,
                          .accumulate = vk_accumulates(l, 0),
                          .activation = l->op->u.matmul.activation};
    vk_lower_matmul(l, &m);
}
