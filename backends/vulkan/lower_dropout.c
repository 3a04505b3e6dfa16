// Dropout.
#include "common/dropout.h"
#include "lower.h"

// An invocation has the four columns that one counter is for.
void vk_op_dropout(struct vk_lowering *l) {
    const struct vk_view *x = &l->in[0], *keys = &l->in[1], *y = &l->out[0];
    int64_t across = ceil_div(y->cols, 4);
    struct vk_pass *p = vk_pass(l, SHADER_DROPOUT);
    struct vk_shape shape = vk_element_shape(l, across);
    vk_shape_constants(p, shape);
    vk_constant(p, vk_accumulates(l, 0));
    vk_reads(p, x);
    vk_reads(p, keys);
    vk_updates(p, y, vk_accumulates(l, 0));
    vk_word(p, y->rows);
    vk_word(p, y->cols);
    vk_word(p, x->stride);
    vk_word(p, y->stride);
    vk_word(p, l->op->u.dropout.stream);
    vk_word(p, dropout_least(l->op->u.dropout.rate));
    vk_float(p, dropout_factor(l->op->u.dropout.rate));
    vk_element_groups(l, p, shape, y->rows, across);
}
