// Embedding: the lookup of rows, its gradient, scatter_rows; and rotary positions (RoPE).
#include "lower.h"

// ----------------------------------------------------------------- embed, scatter_rows, embed_grad

static void lower_lookup(struct vk_lowering *l, enum vk_shader shader) {
    const struct vk_view *x = &l->in[0], *rows = &l->in[1], *y = &l->out[0];
    struct vk_pass *p = vk_pass(l, shader);
    int64_t paired = vk_paired(y) && (dtype_size(x->dtype) == 4 || vk_paired(x)),
            units = y->cols >> paired;
    struct vk_shape shape = vk_element_shape(l, units);
    vk_shape_constants(p, shape);
    vk_constant(p, x->dtype);
    vk_constant(p, y->dtype);
    vk_constant(p, paired);
    vk_reads(p, x);
    vk_reads(p, rows);
    vk_writes(p, y);
    vk_word(p, rows->rows);
    vk_word(p, y->cols);
    vk_word(p, x->stride);
    vk_word(p, y->stride);
    vk_element_groups(l, p, shape, rows->rows, units);
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
#define SORT_INVOCATIONS 128

// The numbers n = 0 .. count-1 sorted by rows[n], stable: a radix sort, one pass for each digit.
static struct vk_view lower_sort(struct vk_lowering *l, const struct vk_view *rows, int64_t limit) {
    struct vk_view order[2] = {vk_scratch(l, rows->rows, 1), vk_scratch(l, rows->rows, 1)};
    int from = 1, shift = 0;
    do {
        struct vk_pass *p = vk_pass(l, SHADER_EMBED_SORT);
        vk_shape_constants(p, (struct vk_shape){SORT_INVOCATIONS, 1});
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
    int64_t paired = vk_paired(dy), units = table->cols >> paired;
    struct vk_shape shape = vk_element_shape(l, units);
    vk_shape_constants(p, shape);
    vk_constant(p, dy->dtype);
    vk_constant(p, paired);
    vk_reads(p, dy);
    vk_reads(p, rows);
    vk_reads(p, &order);
    vk_updates(p, table, true);
    vk_word(p, rows->rows);
    vk_word(p, table->cols);
    vk_element_groups(l, p, shape, rows->rows, units);
}

// -------------------------------------------------------------------------------------------- rope

void vk_op_rope(struct vk_lowering *l) {
    const struct vk_view *x = &l->in[0], *table = &l->in[1], *y = &l->out[0];
    struct vk_pass *p = vk_pass(l, SHADER_ROPE);
    // Halves of what turns are of whole words, too.
    int64_t paired = vk_paired(x) && vk_paired(y) && table->cols % 4 == 0,
            places = (y->cols - table->cols / 2) >> paired;
    struct vk_shape shape = vk_element_shape(l, places);
    vk_shape_constants(p, shape);
    vk_constant(p, l->op->u.rope.interleaved);
    vk_constant(p, l->op->u.rope.inverse);
    vk_constant(p, x->dtype);
    vk_constant(p, paired);
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
