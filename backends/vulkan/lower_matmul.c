// Matmul: which shader, which tile, and whether split-K.
//
// The same bits for every tile: how K is split follows from the shape and the kind of device alone,
// and within a split all tiles of a list sum in the same order (see the shaders).
#include "lower.h"

// Tiles. Those for GPUs are shared by bm / tm * bn / tn invocations, and a step of each operand is one
// vec4 of every invocation, or several; in those of matmul_no_shared.comp tm is bm. The first of a
// list is the default, if it fits.
#define TILE(shader, bm, bn, bk, tm, tn)       \
    {                                          \
        SHADER_##shader, bm, bn, bk, tm, tn, { \
            0                                  \
        }                                      \
    }
static const struct vk_tile shared_tiles[] = {
    TILE(MATMUL, 64, 64, 16, 8, 4),   TILE(MATMUL, 128, 128, 8, 8, 8),
    TILE(MATMUL, 128, 128, 16, 8, 8), TILE(MATMUL, 128, 64, 16, 8, 8),
    TILE(MATMUL, 64, 64, 16, 4, 4),   TILE(MATMUL, 32, 32, 16, 4, 4),
};
// For matrix units: tm x tn of a subgroup. Shader and unit are put in.
static const struct vk_tile unit_tiles[] = {
    TILE(MATMUL_CM_F16, 128, 128, 32, 64, 64), TILE(MATMUL_CM_F16, 128, 256, 32, 64, 64),
    TILE(MATMUL_CM_F16, 128, 128, 32, 64, 32), TILE(MATMUL_CM_F16, 128, 64, 32, 64, 32),
    TILE(MATMUL_CM_F16, 64, 64, 32, 32, 32),   TILE(MATMUL_CM_F16, 64, 64, 64, 32, 32),
    TILE(MATMUL_CM_F16, 64, 64, 32, 32, 64),   TILE(MATMUL_CM_F16, 32, 32, 32, 32, 32),
    TILE(MATMUL_CM_F16, 32, 32, 16, 16, 16),
};
static const struct vk_tile no_shared_tiles[] = {
    TILE(MATMUL_NO_SHARED, 16, 16, 8, 16, 2),
    TILE(MATMUL_NO_SHARED, 32, 16, 4, 32, 2),
    TILE(MATMUL_NO_SHARED, 32, 8, 8, 32, 1),
};
static const struct vk_tile no_shared_skinny_tiles[] = {
    TILE(MATMUL_NO_SHARED, 4, 32, 1, 4, 4),
    TILE(MATMUL_NO_SHARED, 1, 32, 1, 1, 4),
};

// matmul_skinny.comp
#define SKINNY_ROWS 16   // rows of a matmul that goes there, at most
#define SKINNY_WIDTH 32  // width of a workgroup
#define SKINNY_BM 8      // rows of a workgroup, at most

static struct vk_shape tile_shape(const struct vk_lowering *l, const struct vk_tile *t) {
    if (t->shader == SHADER_MATMUL_SKINNY)
        return (struct vk_shape){SKINNY_WIDTH, vk_workgroup(l) / SKINNY_WIDTH};
    uint32_t parts = t->bm / t->tm * (t->bn / t->tn);
    return (struct vk_shape){t->unit.m > 0 ? parts * t->unit.subgroup : parts, 1};
}

static bool fits(const struct vk_lowering *l, const struct vk_tile *t) {
    const struct vk_limits *limits = &l->device->limits;
    uint32_t shared = t->shader == SHADER_MATMUL ? 4 * t->bk * (t->bm + 4 + t->bn + 4) : 0;
    return (uint32_t)tile_shape(l, t).width <= limits->invocations &&
           shared <= limits->shared_memory;
}

// What matmul_cm.comp expects of a tile; an invocation keeps at most so many sums in registers.
#define MAX_SUMS 128
// Its offsets within a tile are bytes in 32 bits: of at most 256 rows of memory. And it stores 16-bit
// elements of c by words.
#define MAX_STRIDE (1 << 22)

static bool unit_fits(const struct vk_lowering *l, const struct vk_tile *t) {
    const struct vk_unit *u = &t->unit;
    const struct vk_limits *limits = &l->device->limits;
    uint32_t width = (uint32_t)tile_shape(l, t).width, vecs = t->tn / 4,
             staged = 2 * (t->bm + t->bn) * (t->bk + 8),
             sums = 4 * width / u->subgroup * u->m * (t->tn + 4);
    if (width > limits->invocations || staged > limits->shared_memory ||
        sums > limits->shared_memory)
        return false;
    bool of_units = t->tm % u->m == 0 && t->tn % u->n == 0 && t->bk % u->k == 0,
         staging = width % (t->bk / 4) == 0 && t->bm * t->bk % (16 * width) == 0 &&
                   t->bn * t->bk % (16 * width) == 0,
         storing = vecs <= u->subgroup && u->subgroup % vecs == 0 &&
                   u->m % (u->subgroup / vecs) == 0;
    return of_units && staging && storing && t->tm * t->tn <= MAX_SUMS * u->subgroup;
}

uint32_t vk_unit_tiles(const struct vk_lowering *l, enum dapt_dtype operands,
                       const struct vk_unit *unit, struct vk_tile list[VK_MAX_TILES]) {
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof unit_tiles / sizeof *unit_tiles; i++) {
        struct vk_tile tile = unit_tiles[i];
        tile.shader = operands == DAPT_F16 ? SHADER_MATMUL_CM_F16 : SHADER_MATMUL_CM_BF16;
        tile.unit = *unit;
        if (unit_fits(l, &tile)) list[count++] = tile;
    }
    return count;
}

struct vk_tile vk_plain_tile(const struct vk_lowering *l) {
    for (size_t i = 0; i < sizeof shared_tiles / sizeof *shared_tiles; i++)
        if (fits(l, &shared_tiles[i])) return shared_tiles[i];
    return shared_tiles[sizeof shared_tiles / sizeof *shared_tiles - 1];
}

static int64_t tile_count(int64_t bm, int64_t bn, int64_t m, int64_t n) {
    return ceil_div(m, bm) * ceil_div(n, bn);
}

// ----------------------------------------------------------------------------------------- split-K

// The K of one split is a multiple of K_CHUNK_UNIT (see matmul.comp), with 16-bit operands of
// K_CHUNK_UNIT_HALF. On GPUs it is at most
// MAX_K_CHUNK, as matmul_skinny.comp does at least four elements in a round of its loop.
#define K_CHUNK_UNIT 16
#define K_CHUNK_UNIT_HALF 64
#define MIN_K_CHUNK 256
#define MAX_K_CHUNK (4 * VK_LOOP_LIMIT)
#define MAX_SPLITS 32
#define BUSY_GROUPS 256  // workgroups of 64 x 64 that keep a GPU busy
#define BUSY_GROUPS_SOFTWARE 8

// K where it is not split.
static int64_t choose_k_chunk(const struct vk_lowering *l, int64_t m, int64_t n, int64_t k,
                              enum dapt_dtype operands) {
    bool software = l->device->limits.software, skinny = !software && m <= SKINNY_ROWS;
    int64_t tiles = software ? tile_count(32, 32, m, n)
                    : skinny ? tile_count(SKINNY_BM, SKINNY_WIDTH, m, n)
                             : tile_count(64, 64, m, n);
    int64_t needed = ceil_div(software ? BUSY_GROUPS_SOFTWARE : BUSY_GROUPS, tiles);
    int64_t splits = min_i64(min_i64(needed, k / MIN_K_CHUNK), MAX_SPLITS);
    splits = max_i64(splits, ceil_div(k, software ? VK_LOOP_LIMIT : MAX_K_CHUNK));
    if (splits < 2) return k;
    int64_t unit = operands == DAPT_F32 ? K_CHUNK_UNIT : K_CHUNK_UNIT_HALF;
    return ceil_div(ceil_div(k, splits), unit) * unit;
}

// ------------------------------------------------------------------------------------------- tiles

static bool vec4_aligned(const struct vk_view *v) {
    return vk_vec4(v, v->rows) && v->stride % 4 == 0 && (v->cols % 4 == 0 || v->padded);
}

// c can be stored, and the residual loaded, by vec4.
static bool vec4_results(const struct vk_view *c, const struct vk_view *residual) {
    return vec4_aligned(c) && (residual->address == 0 || vec4_aligned(residual));
}

// No tile has an edge, also along K: there are no loads to guard (matmul.comp).
static bool whole_tiles(const struct vk_tile *t, int64_t m, int64_t n, int64_t k) {
    return m % t->bm == 0 && n % t->bn == 0 && k % max_i64(K_CHUNK_UNIT, t->bk) == 0;
}

// The tiles that fit this device and this matmul; the first is the default.
static uint32_t candidate_tiles(struct vk_lowering *l, int64_t m, int64_t n,
                                enum dapt_dtype operands, struct vk_tile list[VK_MAX_TILES]) {
    bool software = l->device->limits.software;
    struct vk_unit unit = vk_matrix_unit(l, operands);
    struct vk_tile for_unit[VK_MAX_TILES];
    const struct vk_tile *from = software ? no_shared_tiles : shared_tiles;
    uint32_t all = software ? sizeof no_shared_tiles / sizeof *no_shared_tiles
                            : sizeof shared_tiles / sizeof *shared_tiles;
    if (unit.m > 0) {
        from = for_unit;
        all = vk_unit_tiles(l, operands, &unit, for_unit);
    }
    uint32_t count = 0, smallest = 0;
    for (uint32_t i = 0; i < all; i++) {
        // A tile that is half empty or more is never the fastest.
        bool full = m > from[i].bm / 2 && n > from[i].bn / 2;
        if ((unit.m > 0 || fits(l, &from[i])) && full) list[count++] = from[i];
        if (from[i].bm * from[i].bn <= from[smallest].bm * from[smallest].bn) smallest = i;
    }
    if (count == 0) list[count++] = from[smallest];
    // If there are too few of the default tiles to keep a GPU busy, the smallest is the default.
    if (!software && tile_count(list[0].bm, list[0].bn, m, n) < BUSY_GROUPS / 2) {
        struct vk_tile first = list[0];
        list[0] = list[count - 1];
        list[count - 1] = first;
    }
    return count;
}

static struct vk_tile choose_tile(struct vk_lowering *l, const struct vk_matmul *m, int64_t k_chunk,
                                  int64_t splits) {
    int64_t rows = m->c.rows, cols = m->c.cols;
    bool software = l->device->limits.software;
    if (software && rows <= 4) return no_shared_skinny_tiles[rows == 1];
    if (!software && rows <= SKINNY_ROWS) {
        int64_t height = vk_workgroup(l) / SKINNY_WIDTH,
                bm = min_i64(vk_next_power_of_two(rows), SKINNY_BM);
        return (struct vk_tile){.shader = SHADER_MATMUL_SKINNY,
                                .bm = (uint32_t)bm,
                                .bn = (uint32_t)(m->transpose_b ? height : SKINNY_WIDTH),
                                .bk = 1,
                                .tm = (uint32_t)bm,
                                .tn = 1};
    }
    struct vk_tile list[VK_MAX_TILES];
    bool near = max_i64(m->a.stride, m->b.stride) < MAX_STRIDE,
         whole_words = dtype_size(m->c.dtype) == 4 || vec4_results(&m->c, &m->residual);
    enum dapt_dtype operands = near && whole_words ? m->operands : DAPT_F32;
    uint32_t count = candidate_tiles(l, rows, cols, operands, list), asked = l->device->limits.tile;
    if (asked > 0) return list[(asked - 1) % count];
    struct vk_matmul_size size = {.m = rows,
                                  .n = cols,
                                  .k = k_chunk,
                                  .splits = splits,
                                  .transpose_a = m->transpose_a,
                                  .transpose_b = m->transpose_b,
                                  .aligned_a = vec4_aligned(&m->a),
                                  .aligned_b = vec4_aligned(&m->b),
                                  .operands = m->operands,
                                  .dtype_a = m->a.dtype,
                                  .dtype_b = m->b.dtype,
                                  .dtype_c = splits > 1 ? DAPT_F32 : m->c.dtype};
    return list[count > 1 ? vk_fastest_tile(l, &size, list, count) : 0];
}

// ------------------------------------------------------------------------------------------ passes

// The specialization constants of the matmul shaders, by constant_id.
struct constants {
    uint32_t width, height;                           // 0, 1: invocations of a workgroup
    uint32_t bm, bn, bk, tm, tn;                      // 2 .. 6: the tile
    uint32_t transpose_a, transpose_b;                // 7, 8
    uint32_t bias, residual, accumulate, activation;  // 9 .. 12: the epilogue
    uint32_t aligned_a, aligned_b, aligned_c;         // 13 .. 15: loaded and stored by vec4
    uint32_t whole;                                   // 16: tiles without edges
    uint32_t operands;                                // 17: the float type they are rounded to
    struct vk_unit unit;                              // 18 .. 20, and its subgroups
    uint32_t dtype_a, dtype_b, dtype_c;               // 22 .. 24: in memory
    uint32_t derivative;                              // 25: of the activation
    uint32_t sums, add_sums;                          // 26, 27: of a factor
};

void vk_matmul_pass(struct vk_lowering *l, const struct vk_matmul *m, const struct vk_tile *t,
                    int64_t k, int64_t k_chunk, const struct vk_view *c) {
    int64_t rows = m->c.rows, cols = m->c.cols, splits = ceil_div(k, k_chunk);
    bool fused = splits == 1;
    const struct vk_view none = {0}, *bias = fused ? &m->bias : &none,
                         *residual = fused ? &m->residual : &none;
    struct vk_pass *p = vk_pass(l, t->shader);
    struct vk_shape shape = tile_shape(l, t);
    const struct constants constants = {.width = (uint32_t)shape.width,
                                        .height = (uint32_t)shape.height,
                                        .bm = t->bm,
                                        .bn = t->bn,
                                        .bk = t->bk,
                                        .tm = t->tm,
                                        .tn = t->tn,
                                        .transpose_a = m->transpose_a,
                                        .transpose_b = m->transpose_b,
                                        .bias = bias->address != 0,
                                        .residual = residual->address != 0,
                                        .accumulate = fused && m->accumulate,
                                        .activation = fused ? m->activation : DAPT_ACT_NONE,
                                        .aligned_a = vec4_aligned(&m->a),
                                        .aligned_b = vec4_aligned(&m->b),
                                        .aligned_c = vec4_results(c, residual),
                                        .whole = whole_tiles(t, rows, cols, k),
                                        .operands = m->operands,
                                        .unit = t->unit,
                                        .dtype_a = m->a.dtype,
                                        .dtype_b = m->b.dtype,
                                        .dtype_c = c->dtype,
                                        .derivative = fused && m->derivative,
                                        .sums = m->of,
                                        .add_sums = m->add_sums};
    p->subgroup = t->unit.subgroup;
    vk_constants(p, &constants, sizeof constants);
    vk_reads(p, &m->a);
    vk_reads(p, &m->b);
    vk_reads(p, bias);
    vk_reads(p, residual);
    vk_updates(p, c, constants.accumulate);
    for (int width = 2; width <= 4; width *= 2) {
        vk_again(p, &m->a);
        vk_again(p, &m->b);
        vk_again(p, c);
    }
    vk_updates(p, &m->sums, m->add_sums);
    vk_word(p, rows);
    vk_word(p, cols);
    vk_word(p, k);
    vk_word(p, k_chunk);
    vk_word(p, m->a.stride);
    vk_word(p, m->b.stride);
    vk_word(p, m->residual.stride);
    vk_word(p, c->stride);
    int64_t across = ceil_div(cols, t->bn);
    if (t->shader == SHADER_MATMUL_SKINNY) across = min_i64(across, l->device->limits.groups);
    vk_groups(p, across, ceil_div(rows, t->bm), splits);
    p->work = 2.0 * (double)rows * (double)cols * (double)k;
    p->splittable = t->shader != SHADER_MATMUL_SKINNY;
}

// Split-K, pass 2: adds the splits.
static void split_k_reduce(struct vk_lowering *l, const struct vk_matmul *m,
                           const struct vk_view *splits, int64_t count) {
    struct vk_pass *p = vk_pass(l, SHADER_MATMUL_SPLIT_K_REDUCE);
    bool residual = m->residual.address != 0;
    int64_t paired = vk_paired(&m->c) &&
                     (!residual || dtype_size(m->residual.dtype) == 4 || vk_paired(&m->residual)),
            units = m->c.cols >> paired;
    struct vk_shape shape = vk_element_shape(l, units);
    vk_shape_constants(p, shape);
    vk_constant(p, m->bias.address != 0);
    vk_constant(p, residual);
    vk_constant(p, m->accumulate);
    vk_constant(p, m->activation);
    vk_constant(p, m->residual.dtype);
    vk_constant(p, m->c.dtype);
    vk_constant(p, paired);
    vk_constant(p, m->derivative);
    vk_reads(p, splits);
    vk_reads(p, &m->bias);
    vk_reads(p, &m->residual);
    vk_updates(p, &m->c, m->accumulate);
    vk_word(p, m->c.rows);
    vk_word(p, m->c.cols);
    vk_word(p, count);
    vk_word(p, m->residual.stride);
    vk_word(p, m->c.stride);
    vk_element_groups(l, p, shape, m->c.rows, units);
}

// The product as its shader makes it: those without tiles in shared memory leave sums of a factor to a
// pass of its own.
static struct vk_matmul sums_apart(struct vk_lowering *l, const struct vk_matmul *m,
                                   const struct vk_tile *t) {
    struct vk_matmul product = *m;
    bool skinny = t->shader == SHADER_MATMUL_SKINNY,
         unshared = t->shader == SHADER_MATMUL_NO_SHARED;
    if (m->of == VK_SUMS_NONE || !(skinny || unshared)) return product;
    vk_lower_column_sum(l, m->of == VK_SUMS_A ? &m->a : &m->b, &m->sums, m->add_sums);
    product.of = VK_SUMS_NONE;
    product.sums = (struct vk_view){0};
    product.add_sums = false;
    return product;
}

void vk_lower_matmul(struct vk_lowering *l, const struct vk_matmul *m) {
    int64_t k = m->transpose_a ? m->a.rows : m->a.cols;
    int64_t k_chunk = choose_k_chunk(l, m->c.rows, m->c.cols, k, m->operands),
            splits = ceil_div(k, k_chunk);
    struct vk_tile tile = choose_tile(l, m, k_chunk, splits);
    struct vk_matmul product = sums_apart(l, m, &tile);
    if (splits == 1) {
        vk_matmul_pass(l, &product, &tile, k, k_chunk, &m->c);
        return;
    }
    struct vk_view parts = vk_scratch(l, splits * m->c.rows, m->c.cols);
    if (product.of != VK_SUMS_NONE) product.sums = vk_scratch(l, splits, m->sums.rows);
    product.add_sums = false;
    vk_matmul_pass(l, &product, &tile, k, k_chunk, &parts);
    split_k_reduce(l, m, &parts, splits);
    if (product.of != VK_SUMS_NONE) vk_lower_column_sum(l, &product.sums, &m->sums, m->add_sums);
}

void vk_op_matmul(struct vk_lowering *l) {
    enum vk_sums of = l->out[1].address != 0   ? VK_SUMS_A
                      : l->out[2].address != 0 ? VK_SUMS_B
                                               : VK_SUMS_NONE;
    struct vk_matmul m = {.a = l->in[0],
                          .b = l->in[1],
                          .bias = l->in[2],
                          .residual = l->in[3],
                          .c = l->out[0],
                          .transpose_a = l->op->u.matmul.transpose_a,
                          .transpose_b = l->op->u.matmul.transpose_b,
                          .accumulate = vk_accumulates(l, 0),
                          .activation = l->op->u.matmul.activation,
                          .derivative = l->op->u.matmul.derivative,
                          .operands = l->op->u.matmul.operands,
                          .of = of};
    if (of != VK_SUMS_NONE) m.sums = l->out[of], m.add_sums = vk_accumulates(l, (int)of);
    vk_lower_matmul(l, &m);
}
