// Sums over rows (column_sum, gradients of biases), RMS norm and layer norm, and their gradients.
#include "lower.h"

// ---------------------------------------------------------------------------------- sums over rows

#define SUM_COLUMNS 32  // that a workgroup takes, or as many pairs of them
#define MAX_CHUNKS 64
#define MAX_CHUNKS_SOFTWARE 8
#define MIN_CHUNK 64  // rows

static int64_t chunk_rows(const struct vk_lowering *l, int64_t rows) {
    int64_t chunk = ceil_div(rows, l->device->limits.software ? MAX_CHUNKS_SOFTWARE : MAX_CHUNKS);
    return min_i64(max_i64(MIN_CHUNK, chunk), VK_LOOP_LIMIT);
}

// On software devices a workgroup has one row of invocations: barriers are slow there.
static struct vk_shape sum_shape(const struct vk_lowering *l) {
    return (struct vk_shape){SUM_COLUMNS,
                             l->device->limits.software ? 1 : vk_workgroup(l) / SUM_COLUMNS};
}

static void sum_rows(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                     int64_t chunk, bool accumulate) {
    struct vk_pass *p = vk_pass(l, SHADER_COLUMN_SUM);
    int64_t cols = x->inner * x->cols, paired = vk_paired(x);
    vk_shape_constants(p, sum_shape(l));
    vk_constant(p, accumulate);
    vk_constant(p, x->dtype);
    vk_constant(p, paired);
    vk_reads(p, x);
    vk_updates(p, y, accumulate);
    vk_word(p, x->rows);
    vk_word(p, cols);
    vk_word(p, chunk);
    vk_word(p, x->stride);
    vk_groups(p, min_i64(ceil_div(cols, SUM_COLUMNS << paired), l->device->limits.groups),
              ceil_div(x->rows, chunk), 1);
}

void vk_lower_column_sum(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                         bool accumulate) {
    int64_t chunk = chunk_rows(l, x->rows), chunks = ceil_div(x->rows, chunk);
    if (chunks == 1) {
        sum_rows(l, x, y, chunk, accumulate);
        return;
    }
    struct vk_view parts = vk_scratch(l, chunks, x->inner * x->cols);
    sum_rows(l, x, &parts, chunk, false);
    sum_rows(l, &parts, y, chunks, accumulate);
}

void vk_op_column_sum(struct vk_lowering *l) {
    vk_lower_column_sum(l, &l->in[0], &l->out[0], vk_accumulates(l, 0));
}

// ------------------------------------------------------------------------------------------- norms

// Rows of a norm; x has rank 2 or 3. Several invocations share a row.
static int64_t norm_rows(const struct vk_view *x) {
    return x->rows * x->inner;
}
// `units`: columns, or pairs of them.
static struct vk_shape norm_shape(const struct vk_lowering *l, int64_t units) {
    if (l->device->limits.software) return (struct vk_shape){1, 16};
    int64_t all = vk_workgroup(l), width = min_i64(vk_next_power_of_two(ceil_div(units, 4)), all);
    return (struct vk_shape){width, all / width};
}
static int64_t norm_unroll(struct vk_shape shape, int64_t units) {
    return units % (4 * shape.width) == 0 ? 4 : 1;
}
static void norm_groups(struct vk_lowering *l, struct vk_pass *p, struct vk_shape shape,
                        int64_t rows) {
    vk_element_groups(l, p, (struct vk_shape){shape.height, 1}, 1, rows);
}

void vk_op_norm(struct vk_lowering *l) {
    bool layer = l->op->opcode == DAPT_OP_LAYER_NORM;
    const struct vk_view *x = &l->in[0], *bias = &l->in[2], *y = &l->out[0], none = {0};
    struct vk_pass *p = vk_pass(l, layer ? SHADER_LAYER_NORM : SHADER_RMS_NORM);
    int64_t paired = vk_paired(x) && vk_paired(y), units = x->cols >> paired;
    struct vk_shape shape = norm_shape(l, units);
    vk_shape_constants(p, shape);
    vk_constant(p, layer && bias->address != 0);
    vk_constant(p, norm_unroll(shape, units));
    vk_constant(p, l->op->u.norm.weight_offset != 0);
    vk_constant(p, x->dtype);
    vk_constant(p, paired);
    vk_reads(p, x);
    vk_reads(p, &l->in[1]);
    vk_reads(p, layer ? bias : &none);
    vk_writes(p, y);
    vk_writes(p, layer ? &l->out[1] : &none);
    vk_writes(p, &l->out[layer ? 2 : 1]);
    vk_word(p, norm_rows(x));
    vk_word(p, x->cols);
    vk_word(p, x->inner);
    vk_word(p, x->stride);
    vk_word(p, y->stride);
    vk_float(p, l->op->u.norm.eps);
    vk_float(p, l->op->u.norm.weight_offset);
    norm_groups(l, p, shape, norm_rows(x));
}

// Partial sums of dweight and dbias, each [parts, C].
struct norm_parts {
    struct vk_view weight, bias;  // bias: of layer norms alone
};

static struct norm_parts norm_parts(struct vk_lowering *l, int64_t parts) {
    bool layer = l->op->opcode == DAPT_OP_LAYER_NORM_GRAD;
    struct norm_parts p = {.weight = vk_scratch(l, parts, l->in[1].cols)};
    if (layer) p.bias = vk_scratch(l, parts, l->in[1].cols);
    return p;
}
static void add_norm_parts(struct vk_lowering *l, const struct norm_parts *p) {
    int64_t parts = p->weight.rows;
    if (l->out[1].address != 0) sum_rows(l, &p->weight, &l->out[1], parts, vk_accumulates(l, 1));
    if (l->out[2].address != 0) sum_rows(l, &p->bias, &l->out[2], parts, vk_accumulates(l, 2));
}

// dweight and dbias in two passes: the sum of each chunk of rows, then their sum in order.
static void norm_weight_grad(struct vk_lowering *l, bool layer, const struct vk_view *mean,
                             const struct vk_view *rstd) {
    const struct vk_view *dy = &l->in[0], *x = &l->in[1];
    int64_t rows = norm_rows(x), chunk = chunk_rows(l, rows), chunks = ceil_div(rows, chunk);
    struct norm_parts parts = norm_parts(l, chunks);
    struct vk_pass *p = vk_pass(l, layer ? SHADER_LAYER_NORM_WEIGHT : SHADER_RMS_NORM_WEIGHT);
    int64_t paired = vk_paired(x) && vk_paired(dy);
    vk_shape_constants(p, sum_shape(l));
    vk_constant(p, 0);
    vk_constant(p, x->dtype);
    vk_constant(p, paired);
    vk_reads(p, x);
    vk_reads(p, dy);
    vk_reads(p, rstd);
    vk_reads(p, mean);
    vk_writes(p, &parts.weight);
    vk_writes(p, &parts.bias);
    vk_word(p, rows);
    vk_word(p, x->cols);
    vk_word(p, chunk);
    vk_word(p, x->stride);
    vk_word(p, dy->stride);
    vk_word(p, x->inner);
    vk_groups(p, ceil_div(x->cols, SUM_COLUMNS << paired), chunks, 1);
    add_norm_parts(l, &parts);
}

// All gradients in one pass (norm_grad_sums.comp): by so many workgroups, each with some rounds of rows; an
// invocation has at most so many columns, whose sums are in registers.
#define SUMS_GROUPS 256
#define SUMS_ROUNDS 4
#define SUMS_COLUMNS 16

static int64_t sums_chunk(struct vk_shape shape, int64_t rows) {
    int64_t rounds = ceil_div(ceil_div(rows, SUMS_GROUPS), shape.height);
    return max_i64(rounds, SUMS_ROUNDS) * shape.height;
}

void vk_op_norm_grad(struct vk_lowering *l) {
    bool layer = l->op->opcode == DAPT_OP_LAYER_NORM_GRAD;
    const struct vk_view *dy = &l->in[0], *x = &l->in[1], *dx = &l->out[0], none = {0};
    const struct vk_view *mean = layer ? &l->in[3] : &none, *rstd = &l->in[layer ? 4 : 3];
    int64_t paired = vk_paired(dy) && vk_paired(x) && vk_paired(dx), units = x->cols >> paired;
    struct vk_shape shape = norm_shape(l, units);
    int64_t rows = norm_rows(x), share = ceil_div(units, shape.width);
    bool sums = l->out[1].address != 0 || l->out[2].address != 0,
         once = sums && !l->device->limits.software && share << paired <= SUMS_COLUMNS;
    int64_t chunk = once ? sums_chunk(shape, rows) : 0;
    struct norm_parts parts = {0};
    if (once) parts = norm_parts(l, ceil_div(rows, chunk));
    struct vk_pass *p = vk_pass(
        l, once    ? layer ? SHADER_LAYER_NORM_GRAD_SUMS : SHADER_RMS_NORM_GRAD_SUMS
           : layer ? SHADER_LAYER_NORM_GRAD
                   : SHADER_RMS_NORM_GRAD);
    vk_shape_constants(p, shape);
    vk_constant(p, vk_accumulates(l, 0));
    vk_constant(p, once ? share : norm_unroll(shape, units));
    vk_constant(p, l->op->u.norm.weight_offset != 0);
    vk_constant(p, x->dtype);
    vk_constant(p, paired);
    vk_reads(p, dy);
    vk_reads(p, x);
    vk_reads(p, &l->in[2]);
    vk_reads(p, mean);
    vk_reads(p, rstd);
    vk_updates(p, dx, vk_accumulates(l, 0));
    if (once) vk_writes(p, &parts.weight), vk_writes(p, &parts.bias);
    vk_word(p, rows);
    vk_word(p, x->cols);
    vk_word(p, x->inner);
    vk_word(p, dy->stride);
    vk_word(p, x->stride);
    vk_word(p, dx->stride);
    vk_float(p, l->op->u.norm.weight_offset);
    if (once) {
        vk_word(p, chunk);
        vk_groups(p, parts.weight.rows, 1, 1);
        add_norm_parts(l, &parts);
        return;
    }
    norm_groups(l, p, shape, rows);
    if (sums) norm_weight_grad(l, layer, mean, rstd);
}
