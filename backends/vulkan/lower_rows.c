// Rows by number, sums over rows, norms, rotary positions, and what works on flat ranges.
#include "lower.h"

// ---------------------------------------------------------------------------------- rows by number

static void lower_lookup(struct vk_lowering *l, enum vk_shader shader) {
    const struct vk_view *x = &l->in[0], *rows = &l->in[1], *y = &l->out[0];
    struct vk_pass *p = vk_pass(l, shader);
    struct vk_shape shape = vk_element_shape(l, y->cols);
    vk_shape_constants(p, shape);
    vk_reads(p, x);
    vk_reads(p, rows);
    vk_writes(p, y);
    vk_word(p, rows->rows);
    vk_word(p, y->cols);
    vk_word(p, x->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, shape, rows->rows, y->cols);
}

void vk_op_embed(struct vk_lowering *l) {
    lower_lookup(l, SHADER_EMBED);
}
void vk_op_scatter_rows(struct vk_lowering *l) {
    lower_lookup(l, SHADER_SCATTER_ROWS);
}

static void lower_zero(struct vk_lowering *l, const struct vk_view *y) {
    struct dapt_op fill = {.opcode = DAPT_OP_FILL};
    struct vk_lowering zero = *l;
    zero.op = &fill;
    zero.out[0] = *y;
    zero.out[1] = (struct vk_view){0};
    vk_op_element(&zero);
    l->status = zero.status;
}

#define DIGIT_BITS 4  // of embed_sort.comp
#define SORTERS 128

// The numbers 0 .. count-1 ordered by rows[n], equals in their order.
static struct vk_view lower_sort(struct vk_lowering *l, const struct vk_view *rows, int64_t limit) {
    struct vk_view order[2] = {vk_scratch(l, rows->rows, 1), vk_scratch(l, rows->rows, 1)};
    int from = 1, shift = 0;
    do {
        struct vk_pass *p = vk_pass(l, SHADER_EMBED_SORT);
        vk_shape_constants(p, (struct vk_shape){SORTERS, 1});
        vk_constant(p, shift == 0);
        vk_reads(p, rows);
        vk_reads(p, &order[from]);
        vk_writes(p, &order[!from]);
        vk_word(p, rows->rows);
        vk_word(p, shift);
        from = !from;
        shift += DIGIT_BITS;
    } while (shift < 31 && (limit - 1) >> shift > 0);
    return order[from];
}

void vk_op_embed_grad(struct vk_lowering *l) {
    const struct vk_view *dy = &l->in[0], *rows = &l->in[1], *table = &l->out[0];
    if (!vk_accumulates(l, 0)) lower_zero(l, table);
    struct vk_view order = lower_sort(l, rows, table->rows);
    struct vk_pass *p = vk_pass(l, SHADER_EMBED_GRAD);
    struct vk_shape shape = vk_element_shape(l, table->cols);
    vk_shape_constants(p, shape);
    vk_reads(p, dy);
    vk_reads(p, rows);
    vk_reads(p, &order);
    vk_writes(p, table);
    vk_word(p, rows->rows);
    vk_word(p, table->cols);
    vk_element_groups(l, p, shape, rows->rows, table->cols);
}

// ---------------------------------------------------------------------------------- sums over rows

#define SUM_COLUMNS 32  // that a workgroup takes
#define MAX_CHUNKS 64
#define MAX_CHUNKS_SOFTWARE 8
#define MIN_CHUNK 64  // rows

static int64_t chunk_rows(const struct vk_lowering *l, int64_t rows) {
    int64_t chunk = ceil_div(rows, l->device->limits.software ? MAX_CHUNKS_SOFTWARE : MAX_CHUNKS);
    return min_i64(max_i64(MIN_CHUNK, chunk), VK_LOOP_LIMIT);
}

// A processor does not like to wait for others: nothing is shared there.
static struct vk_shape sum_shape(const struct vk_lowering *l) {
    return (struct vk_shape){SUM_COLUMNS,
                             l->device->limits.software ? 1 : vk_workgroup(l) / SUM_COLUMNS};
}

static void sum_rows(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                     int64_t chunk, bool accumulate) {
    struct vk_pass *p = vk_pass(l, SHADER_COLUMN_SUM);
    int64_t cols = x->inner * x->cols;
    vk_shape_constants(p, sum_shape(l));
    vk_constant(p, accumulate);
    vk_reads(p, x);
    vk_writes(p, y);
    vk_word(p, x->rows);
    vk_word(p, cols);
    vk_word(p, chunk);
    vk_word(p, x->stride);
    vk_groups(p, min_i64(ceil_div(cols, SUM_COLUMNS), l->device->limits.groups),
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

// Rows of a norm, of rank 2 or 3; elements of a row by several invocations.
static int64_t norm_rows(const struct vk_view *x) {
    return x->rows * x->inner;
}
static struct vk_shape norm_shape(const struct vk_lowering *l, int64_t cols) {
    if (l->device->limits.software) return (struct vk_shape){1, 16};
    int64_t all = vk_workgroup(l), width = min_i64(vk_power_above(ceil_div(cols, 4)), all);
    return (struct vk_shape){width, all / width};
}
static int64_t norm_at_once(struct vk_shape shape, int64_t cols) {
    return cols % (4 * shape.width) == 0 ? 4 : 1;
}
static void norm_groups(struct vk_lowering *l, struct vk_pass *p, struct vk_shape shape,
                        int64_t rows) {
    vk_element_groups(l, p, (struct vk_shape){shape.height, 1}, 1, rows);
}

void vk_op_norm(struct vk_lowering *l) {
    bool layer = l->op->opcode == DAPT_OP_LAYER_NORM;
    const struct vk_view *x = &l->in[0], *bias = &l->in[2], *y = &l->out[0], none = {0};
    struct vk_pass *p = vk_pass(l, layer ? SHADER_LAYER_NORM : SHADER_RMS_NORM);
    struct vk_shape shape = norm_shape(l, x->cols);
    vk_shape_constants(p, shape);
    vk_constant(p, layer && bias->address != 0);
    vk_constant(p, norm_at_once(shape, x->cols));
    vk_constant(p, l->op->u.norm.weight_offset != 0);
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

// dweight and dbias: each chunk of rows to a row of parts, then the parts in order.
static void norm_weight_grad(struct vk_lowering *l, bool layer, const struct vk_view *mean,
                             const struct vk_view *rstd) {
    const struct vk_view *dy = &l->in[0], *x = &l->in[1];
    int64_t rows = norm_rows(x), chunk = chunk_rows(l, rows), chunks = ceil_div(rows, chunk);
    struct vk_view weight = vk_scratch(l, chunks, x->cols), bias = {0};
    if (layer) bias = vk_scratch(l, chunks, x->cols);
    struct vk_pass *p = vk_pass(l, layer ? SHADER_LAYER_NORM_WEIGHT : SHADER_RMS_NORM_WEIGHT);
    vk_shape_constants(p, sum_shape(l));
    vk_constant(p, 0);
    vk_reads(p, x);
    vk_reads(p, dy);
    vk_reads(p, rstd);
    vk_reads(p, mean);
    vk_writes(p, &weight);
    vk_writes(p, &bias);
    vk_word(p, rows);
    vk_word(p, x->cols);
    vk_word(p, chunk);
    vk_word(p, x->stride);
    vk_word(p, dy->stride);
    vk_word(p, x->inner);
    vk_groups(p, ceil_div(x->cols, SUM_COLUMNS), chunks, 1);
    sum_rows(l, &weight, &l->out[1], chunks, vk_accumulates(l, 1));
    if (layer && l->out[2].address != 0)
        sum_rows(l, &bias, &l->out[2], chunks, vk_accumulates(l, 2));
}

void vk_op_norm_grad(struct vk_lowering *l) {
    bool layer = l->op->opcode == DAPT_OP_LAYER_NORM_GRAD;
    const struct vk_view *dy = &l->in[0], *x = &l->in[1], *dx = &l->out[0], none = {0};
    const struct vk_view *mean = layer ? &l->in[3] : &none, *rstd = &l->in[layer ? 4 : 3];
    struct vk_pass *p = vk_pass(l, layer ? SHADER_LAYER_NORM_GRAD : SHADER_RMS_NORM_GRAD);
    struct vk_shape shape = norm_shape(l, x->cols);
    vk_shape_constants(p, shape);
    vk_constant(p, vk_accumulates(l, 0));
    vk_constant(p, norm_at_once(shape, x->cols));
    vk_constant(p, l->op->u.norm.weight_offset != 0);
    vk_reads(p, dy);
    vk_reads(p, x);
    vk_reads(p, &l->in[2]);
    vk_reads(p, mean);
    vk_reads(p, rstd);
    vk_writes(p, dx);
    vk_word(p, norm_rows(x));
    vk_word(p, x->cols);
    vk_word(p, x->inner);
    vk_word(p, dy->stride);
    vk_word(p, x->stride);
    vk_word(p, dx->stride);
    vk_float(p, l->op->u.norm.weight_offset);
    norm_groups(l, p, shape, norm_rows(x));
    norm_weight_grad(l, layer, mean, rstd);
}

// -------------------------------------------------------------------------------------------- rope

void vk_op_rope(struct vk_lowering *l) {
    const struct vk_view *x = &l->in[0], *table = &l->in[1], *y = &l->out[0];
    struct vk_pass *p = vk_pass(l, SHADER_ROPE);
    int64_t places = y->cols - table->cols / 2;
    struct vk_shape shape = vk_element_shape(l, places);
    vk_shape_constants(p, shape);
    vk_constant(p, l->op->u.rope.interleaved);
    vk_constant(p, l->op->u.rope.inverse);
    vk_reads(p, x);
    vk_reads(p, table);
    vk_reads(p, &l->in[2]);
    vk_writes(p, y);
    vk_word(p, y->rows);
    vk_word(p, y->inner);
    vk_word(p, y->cols);
    vk_word(p, table->cols);
    vk_word(p, x->stride);
    vk_word(p, table->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, shape, y->rows * y->inner, places);
}

// ------------------------------------------------------------------------------------- flat ranges
//
// They may be longer than a shader can count: cut into pieces.

#define PIECE (INT64_C(1) << 30)
#define ADAMW_PIECE (INT64_C(1) << 28)  // touches 28 bytes an element
#define SUM_CHUNK 16384                 // elements of a workgroup

static struct vk_view flat(const struct vk_view *v) {
    return (struct vk_view){v->address, v->rows * v->inner * v->cols, 1, 1, 1};
}

static void sum_pass(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                     int64_t chunk, bool squares, bool accumulate) {
    struct vk_pass *p = vk_pass(l, SHADER_SUM);
    vk_shape_constants(p, (struct vk_shape){vk_workgroup(l), 1});
    vk_constant(p, squares);
    vk_constant(p, accumulate);
    vk_reads(p, x);
    vk_writes(p, y);
    vk_word(p, x->rows);
    vk_word(p, chunk);
    vk_groups(p, ceil_div(x->rows, chunk), 1, 1);
}

void vk_op_sum(struct vk_lowering *l) {
    struct vk_view x = flat(&l->in[0]);
    bool squares = l->op->opcode == DAPT_OP_SUM_SQUARES, accumulate = vk_accumulates(l, 0);
    int64_t chunk = max_i64(SUM_CHUNK, ceil_div(min_i64(x.rows, PIECE), l->device->limits.groups));
    if (x.rows <= chunk) {
        sum_pass(l, &x, &l->out[0], chunk, squares, accumulate);
        return;
    }
    int64_t count = 0;
    for (int64_t at = 0; at < x.rows; at += PIECE)
        count += ceil_div(min_i64(PIECE, x.rows - at), chunk);
    struct vk_view parts = vk_scratch(l, count, 1);
    for (int64_t at = 0, to = 0; at < x.rows; at += PIECE) {
        struct vk_view piece = vk_rows(&x, at, min_i64(PIECE, x.rows - at));
        int64_t groups = ceil_div(piece.rows, chunk);
        struct vk_view sums = vk_rows(&parts, to, groups);
        sum_pass(l, &piece, &sums, chunk, squares, false);
        to += groups;
    }
    sum_pass(l, &parts, &l->out[0], count, false, accumulate);
}

void vk_op_adamw(struct vk_lowering *l) {
    struct vk_view grad = flat(&l->in[0]), state[3];
    for (int i = 0; i < 3; i++) state[i] = flat(&l->out[i]);
    for (int64_t at = 0; at < grad.rows; at += ADAMW_PIECE) {
        int64_t count = min_i64(ADAMW_PIECE, grad.rows - at);
        struct vk_pass *p = vk_pass(l, SHADER_ADAMW);
        struct vk_shape shape = {vk_workgroup(l), 1};
        vk_shape_constants(p, shape);
        vk_constant(p, l->op->u.adamw.decay);
        struct vk_view piece = vk_rows(&grad, at, count);
        vk_reads(p, &piece);
        vk_reads(p, &l->in[1]);
        vk_reads(p, &l->in[2]);
        for (int i = 0; i < 3; i++) {
            struct vk_view part = vk_rows(&state[i], at, count);
            vk_writes(p, &part);
        }
        vk_word(p, count);
        vk_float(p, l->op->u.adamw.beta1);
        vk_float(p, l->op->u.adamw.beta2);
        vk_float(p, l->op->u.adamw.eps);
        vk_element_groups(l, p, shape, 1, count);
    }
}
