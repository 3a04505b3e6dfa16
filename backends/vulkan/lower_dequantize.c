// Weights in blocks become float32.
#include "lower.h"

// An invocation has four neighbours.
void vk_op_dequantize(struct vk_lowering *l) {
    const struct vk_view *y = &l->out[0];
    int64_t count = y->rows * y->inner * y->cols, across = count / 4;
    bool nf4 = l->in[0].dtype == DAPT_NF4;
    int64_t words = count / DAPT_BLOCK * (nf4 ? 1 + DAPT_BLOCK / 8 : 1 + DAPT_BLOCK / 4);
    const struct vk_view x = {.address = l->in[0].address,
                              .rows = 1,
                              .inner = 1,
                              .cols = words,
                              .stride = words,
                              .dtype = DAPT_I32};
    struct vk_pass *p = vk_pass(l, SHADER_DEQUANTIZE);
    struct vk_shape shape = vk_element_shape(l, across);
    vk_shape_constants(p, shape);
    vk_constant(p, nf4);
    vk_constant(p, vk_vec4(y, 1));
    vk_reads(p, &x);
    vk_writes(p, y);
    vk_again(p, y);
    vk_word(p, across);
    vk_element_groups(l, p, shape, 1, across);
}
