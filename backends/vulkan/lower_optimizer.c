// AdamW over flat ranges, and the sums that gradient clipping and reports need.
#include "lower.h"

// A range may have more elements than a shader can count: then it takes several passes.
#define MAX_SUM_ELEMENTS (INT64_C(1) << 30)    // of one pass
#define MAX_ADAMW_ELEMENTS (INT64_C(1) << 28)  // of one pass, which touches 28 bytes an element
#define SUM_CHUNK 16384                        // elements of a workgroup

static struct vk_view flat(const struct vk_view *v) {
    return (struct vk_view){.address = v->address,
                            .rows = v->rows * v->inner * v->cols,
                            .inner = 1,
                            .cols = 1,
                            .stride = 1};
}

static void sum_pass(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                     int64_t chunk, bool squares, bool accumulate) {
    struct vk_pass *p = vk_pass(l, SHADER_SUM);
    vk_shape_constants(p, (struct vk_shape){l->device->limits.software ? 8 : vk_workgroup(l), 1});
    vk_constant(p, squares);
    vk_constant(p, accumulate);
    vk_reads(p, x);
    vk_updates(p, y, accumulate);
    vk_word(p, x->rows);
    vk_word(p, chunk);
    vk_groups(p, ceil_div(x->rows, chunk), 1, 1);
}

void vk_op_sum(struct vk_lowering *l) {
    struct vk_view x = flat(&l->in[0]);
    bool squares = l->op->opcode == DAPT_OP_SUM_SQUARES, accumulate = vk_accumulates(l, 0);
    int64_t chunk = max_i64(SUM_CHUNK,
                            ceil_div(min_i64(x.rows, MAX_SUM_ELEMENTS), l->device->limits.groups));
    if (x.rows <= chunk) {
        sum_pass(l, &x, &l->out[0], chunk, squares, accumulate);
        return;
    }
    int64_t count = 0;
    for (int64_t at = 0; at < x.rows; at += MAX_SUM_ELEMENTS)
        count += ceil_div(min_i64(MAX_SUM_ELEMENTS, x.rows - at), chunk);
    struct vk_view parts = vk_scratch(l, count, 1);
    for (int64_t at = 0, to = 0; at < x.rows; at += MAX_SUM_ELEMENTS) {
        struct vk_view range = vk_rows(&x, at, min_i64(MAX_SUM_ELEMENTS, x.rows - at));
        int64_t groups = ceil_div(range.rows, chunk);
        struct vk_view sums = vk_rows(&parts, to, groups);
        sum_pass(l, &range, &sums, chunk, squares, false);
        to += groups;
    }
    sum_pass(l, &parts, &l->out[0], count, false, accumulate);
}

static void adamw_pass(struct vk_lowering *l, const struct vk_view *grad,
                       const struct vk_view state[3]) {
    struct vk_pass *p = vk_pass(l, SHADER_ADAMW);
    bool vec4 = vk_vec4(grad, 1);
    for (int i = 0; i < 3; i++) vec4 = vec4 && vk_vec4(&state[i], 1);
    int64_t count = vec4 ? ceil_div(grad->rows, 4) : grad->rows;
    struct vk_shape shape = vk_element_shape(l, count);
    shape.height = 1;
    vk_shape_constants(p, shape);
    vk_constant(p, l->op->u.adamw.decay);
    vk_constant(p, vec4);
    vk_reads(p, grad);
    vk_reads(p, &l->in[1]);
    vk_reads(p, &l->in[2]);
    for (int i = 0; i < 3; i++) vk_updates(p, &state[i], true);
    vk_again(p, grad);
    for (int i = 0; i < 3; i++) vk_again(p, &state[i]);
    vk_word(p, grad->rows);
    vk_float(p, l->op->u.adamw.beta1);
    vk_float(p, l->op->u.adamw.beta2);
    vk_float(p, l->op->u.adamw.eps);
    vk_float(p, l->op->u.adamw.rate);
    vk_element_groups(l, p, shape, 1, count);
}

void vk_op_adamw(struct vk_lowering *l) {
    struct vk_view grad = flat(&l->in[0]), state[3];
    for (int i = 0; i < 3; i++) state[i] = flat(&l->out[i]);
    for (int64_t at = 0; at < grad.rows; at += MAX_ADAMW_ELEMENTS) {
        int64_t count = min_i64(MAX_ADAMW_ELEMENTS, grad.rows - at);
        struct vk_view part = vk_rows(&grad, at, count), parts[3];
        for (int i = 0; i < 3; i++) parts[i] = vk_rows(&state[i], at, count);
        adamw_pass(l, &part, parts);
    }
}

// Invocations of a block: as many as it has words of codes, so that neighbours load neighbours. On
// software devices one vector has a block.
#define BLOCK_WIDTH 64
#define SOFTWARE_BLOCK_WIDTH 8

static void adamw_8bit_pass(struct vk_lowering *l, const struct vk_view *grad,
                            const struct vk_view state[3]) {
    struct vk_pass *p = vk_pass(l, SHADER_ADAMW_8BIT);
    bool software = l->device->limits.software;
    int64_t width = software ? SOFTWARE_BLOCK_WIDTH : BLOCK_WIDTH, blocks = state[1].rows;
    struct vk_shape shape = {width, software ? 1 : vk_workgroup(l) / width};
    vk_shape_constants(p, shape);
    vk_constant(p, l->op->u.adamw.decay);
    vk_constant(p, vk_vec4(grad, 1) && vk_vec4(&state[0], 1));
    vk_reads(p, grad);
    vk_reads(p, &l->in[1]);
    vk_reads(p, &l->in[2]);
    for (int i = 0; i < 3; i++) vk_updates(p, &state[i], true);
    vk_again(p, grad);
    vk_again(p, &state[0]);
    vk_word(p, grad->rows);
    vk_float(p, l->op->u.adamw.beta1);
    vk_float(p, l->op->u.adamw.beta2);
    vk_float(p, l->op->u.adamw.eps);
    vk_float(p, l->op->u.adamw.rate);
    vk_element_groups(l, p, (struct vk_shape){shape.height, 1}, 1, blocks);
}

void vk_op_adamw_8bit(struct vk_lowering *l) {
    struct vk_view grad = flat(&l->in[0]), param = flat(&l->out[0]);
    for (int64_t at = 0; at < grad.rows; at += MAX_ADAMW_ELEMENTS) {
        int64_t count = min_i64(MAX_ADAMW_ELEMENTS, grad.rows - at), block = at / DAPT_MOMENT_BLOCK,
                blocks = ceil_div(count, DAPT_MOMENT_BLOCK);
        struct vk_view part = vk_rows(&grad, at, count),
                       state[3] = {vk_rows(&param, at, count), vk_rows(&l->out[1], block, blocks),
                                   vk_rows(&l->out[2], block, blocks)};
        adamw_8bit_pass(l, &part, state);
    }
}
