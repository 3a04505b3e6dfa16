// Matrix products: which shader, which tile, and whether the terms are split among workgroups.
//
// Same bits, whichever tile was fastest: how terms are split follows from the shape and the kind of
// device alone, and within a part every tile of one list sums in the same order (matmul.comp,
// matmul_lane.comp).
#include "lower.h"

// Rows for GPUs share tiles among bm / tm * bn / tn invocations; those of matmul_lane.comp share
// nothing: tm is bm. The first is what unknown devices get, if it fits.
static const struct vk_tile shared_tiles[] = {
    {SHADER_MATMUL, 64, 64, 16, 8, 4},   {SHADER_MATMUL, 128, 128, 8, 8, 8},
    {SHADER_MATMUL, 128, 128, 16, 8, 8}, {SHADER_MATMUL, 128, 64, 16, 8, 8},
    {SHADER_MATMUL, 64, 64, 16, 4, 4},   {SHADER_MATMUL, 32, 32, 16, 4, 4},
};
static const struct vk_tile lane_tiles[] = {
    {SHADER_MATMUL_LANE, 16, 16, 8, 16, 2},
    {SHADER_MATMUL_LANE, 32, 16, 4, 32, 2},
    {SHADER_MATMUL_LANE, 32, 8, 8, 32, 1},
};
static const struct vk_tile lane_few[] = {
    {SHADER_MATMUL_LANE, 4, 32, 1, 4, 4},
    {SHADER_MATMUL_LANE, 1, 32, 1, 1, 4},
};

#define FEW_ROWS 16       // at most, of matmul_few.comp
#define FEW_WIDTH 32      // its invocations across
#define FEW_ROWS_GROUP 8  // its rows of a workgroup, at most

struct vk_shape vk_tile_shape(const struct vk_lowering *l, const struct vk_tile *t) {
    if (t->shader == SHADER_MATMUL_FEW)
        return (struct vk_shape){FEW_WIDTH, vk_workgroup(l) / FEW_WIDTH};
    return (struct vk_shape){t->bm / t->tm * (t->bn / t->tn), 1};
}

static bool fits(const struct vk_lowering *l, const struct vk_tile *t) {
    const struct vk_limits *limits = &l->device->limits;
    uint32_t shared = t->shader == SHADER_MATMUL ? 4 * t->bk * (t->bm + 4 + t->bn + 4) : 0;
    return (uint32_t)vk_tile_shape(l, t).width <= limits->invocations &&
           shared <= limits->shared_memory;
}

static int64_t tile_count(int64_t bm, int64_t bn, int64_t m, int64_t n) {
    return ceil_div(m, bm) * ceil_div(n, bn);
}

// --------------------------------------------------------------------------------- parts of terms

#define CHUNK_UNIT 16  // terms of a part are a multiple of it: see matmul.comp
#define MIN_CHUNK 256  // terms of a part
#define MAX_PARTS 32
#define MAX_CHUNK (4 * VK_LOOP_LIMIT)  // of GPUs: matmul_few.comp takes four terms a round or more
#define GROUPS 256                     // workgroups of 64 x 64 that keep a GPU busy
#define GROUPS_SOFTWARE 8

static int64_t choose_chunk(const struct vk_lowering *l, int64_t m, int64_t n, int64_t k) {
    bool software = l->device->limits.software, few = !software && m <= FEW_ROWS;
    int64_t tiles = software ? tile_count(32, 32, m, n)
                    : few    ? tile_count(FEW_ROWS_GROUP, FEW_WIDTH, m, n)
                             : tile_count(64, 64, m, n);
    int64_t needed = ceil_div(software ? GROUPS_SOFTWARE : GROUPS, tiles);
    int64_t parts = min_i64(min_i64(needed, k / MIN_CHUNK), MAX_PARTS);
    parts = max_i64(parts, ceil_div(k, software ? VK_LOOP_LIMIT : MAX_CHUNK));
    if (parts < 2) return k;
    return ceil_div(ceil_div(k, parts), CHUNK_UNIT) * CHUNK_UNIT;
}

// ------------------------------------------------------------------------------------------- tiles

static bool by_fours(const struct vk_view *v) {
    return v->address % 16 == 0 && v->stride % 4 == 0;
}

// The list for a product, without what does not fit; its first is the choice where nothing was
// measured.
static uint32_t list_tiles(const struct vk_lowering *l, int64_t m, int64_t n,
                           struct vk_tile list[VK_MAX_TILES]) {
    bool software = l->device->limits.software;
    const struct vk_tile *from = software ? lane_tiles : shared_tiles;
    uint32_t all = software ? sizeof lane_tiles / sizeof *lane_tiles
                            : sizeof shared_tiles / sizeof *shared_tiles;
    uint32_t count = 0, smallest = 0;
    for (uint32_t i = 0; i < all; i++) {
        // Half empty tiles are nobody's choice.
        bool full = m > from[i].bm / 2 && n > from[i].bn / 2;
        if (fits(l, &from[i]) && full) list[count++] = from[i];
        if (from[i].bm * from[i].bn <= from[smallest].bm * from[smallest].bn) smallest = i;
    }
    if (count == 0) list[count++] = from[smallest];
    // Where there are too few of the usual tiles to keep a GPU busy, the smallest is usual.
    if (!software && tile_count(list[0].bm, list[0].bn, m, n) < GROUPS / 2) {
        struct vk_tile first = list[0];
        list[0] = list[count - 1];
        list[count - 1] = first;
    }
    return count;
}

static struct vk_tile choose_tile(struct vk_lowering *l, const struct vk_matmul *m, int64_t chunk,
                                  int64_t parts) {
    int64_t rows = m->c.rows, cols = m->c.cols;
    bool software = l->device->limits.software;
    if (software && rows <= 4) return lane_few[rows == 1];
    if (!software && rows <= FEW_ROWS) {
        int64_t height = vk_workgroup(l) / FEW_WIDTH,
                bm = min_i64(vk_power_above(rows), FEW_ROWS_GROUP);
        return (struct vk_tile){.shader = SHADER_MATMUL_FEW,
                                .bm = (uint32_t)bm,
                                .bn = (uint32_t)(m->transpose_b ? height : FEW_WIDTH),
                                .bk = 1,
                                .tm = (uint32_t)bm,
                                .tn = 1};
    }
    struct vk_tile list[VK_MAX_TILES];
    uint32_t count = list_tiles(l, rows, cols, list), asked = l->device->limits.tile;
    if (asked > 0) return list[(asked - 1) % count];
    struct vk_product product = {.m = rows,
                                 .n = cols,
                                 .k = chunk,
                                 .parts = parts,
                                 .transpose_a = m->transpose_a,
                                 .transpose_b = m->transpose_b,
                                 .aligned_a = by_fours(&m->a),
                                 .aligned_b = by_fours(&m->b)};
    return list[count > 1 ? vk_fastest_tile(l, &product, list, count) : 0];
}

// ------------------------------------------------------------------------------------------ passes

// The specialization constants of the shaders of products, by constant_id.
struct constants {
    uint32_t width, height;                           // 0, 1: invocations of a workgroup
    uint32_t bm, bn, bk, tm, tn;                      // 2 .. 6: the tile
    uint32_t transpose_a, transpose_b;                // 7, 8
    uint32_t bias, residual, accumulate, activation;  // 9 .. 12: what is done to a finished sum
    uint32_t aligned_a, aligned_b, aligned_c;  // 13 .. 15: whether it is read or written by fours
};

void vk_multiply(struct vk_lowering *l, const struct vk_matmul *m, const struct vk_tile *t,
                 int64_t k, int64_t chunk, const struct vk_view *c) {
    int64_t rows = m->c.rows, cols = m->c.cols, parts = ceil_div(k, chunk);
    const struct vk_view none = {0};
    bool fused = parts == 1;
    struct vk_pass *p = vk_pass(l, t->shader);
    struct vk_shape shape = vk_tile_shape(l, t);
    const struct constants constants = {.width = (uint32_t)shape.width,
                                        .height = (uint32_t)shape.height,
                                        .bm = t->bm,
                                        .bn = t->bn,
                                        .bk = t->bk,
                                        .tm = t->tm,
                                        .tn = t->tn,
                                        .transpose_a = m->transpose_a,
                                        .transpose_b = m->transpose_b,
                                        .bias = fused && m->bias.address != 0,
                                        .residual = fused && m->residual.address != 0,
                                        .accumulate = fused && m->accumulate,
                                        .activation = fused ? m->activation : DAPT_ACT_NONE,
                                        .aligned_a = by_fours(&m->a),
                                        .aligned_b = by_fours(&m->b),
                                        .aligned_c = by_fours(c)};
    vk_constants(p, &constants, sizeof constants);
    vk_reads(p, &m->a);
    vk_reads(p, &m->b);
    vk_reads(p, fused ? &m->bias : &none);
    vk_reads(p, fused ? &m->residual : &none);
    vk_writes(p, c);
    vk_again(p, &m->a);
    vk_again(p, &m->b);
    vk_again(p, c);
    vk_word(p, rows);
    vk_word(p, cols);
    vk_word(p, k);
    vk_word(p, chunk);
    vk_word(p, m->a.stride);
    vk_word(p, m->b.stride);
    vk_word(p, m->residual.stride);
    vk_word(p, c->stride);
    int64_t across = ceil_div(cols, t->bn);
    if (t->shader == SHADER_MATMUL_FEW) across = min_i64(across, l->device->limits.groups);
    vk_groups(p, across, ceil_div(rows, t->bm), parts);
    p->work = 2.0 * (double)rows * (double)cols * (double)k;
    p->splittable = t->shader != SHADER_MATMUL_FEW;
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
    int64_t chunk = choose_chunk(l, m->c.rows, m->c.cols, k), parts = ceil_div(k, chunk);
    struct vk_tile tile = choose_tile(l, m, chunk, parts);
    if (parts == 1) {
        vk_multiply(l, m, &tile, k, chunk, &m->c);
        return;
    }
    struct vk_view sums = vk_scratch(l, parts * m->c.rows, m->c.cols);
    vk_multiply(l, m, &tile, k, chunk, &sums);
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
