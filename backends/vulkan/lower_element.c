// Element-wise ops: one shader source, a row of the table each.
#include "lower.h"

static const struct {
    enum vk_shader shader;
    int inputs, outputs;
} rows[DAPT_OP_COUNT] = {
    [DAPT_OP_ADD_BIAS] = {SHADER_ADD, 2, 1},
    [DAPT_OP_ACTIVATE] = {SHADER_ACTIVATE, 1, 1},
    [DAPT_OP_ACTIVATE_GRAD] = {SHADER_ACTIVATE_GRAD, 2, 1},
    [DAPT_OP_GATE] = {SHADER_GATE, 2, 1},
    [DAPT_OP_GATE_GRAD] = {SHADER_GATE_GRAD, 3, 2},
    [DAPT_OP_ADD] = {SHADER_ADD, 2, 1},
    [DAPT_OP_SCALE] = {SHADER_SCALE, 1, 1},
    [DAPT_OP_COPY] = {SHADER_COPY, 1, 1},
    [DAPT_OP_CAST] = {SHADER_COPY, 1, 1},
    [DAPT_OP_FILL] = {SHADER_FILL, 0, 1},
};

static int64_t activation_of(const struct dapt_op *op) {
    switch (op->opcode) {
    case DAPT_OP_ACTIVATE:
    case DAPT_OP_ACTIVATE_GRAD:
    case DAPT_OP_GATE:
    case DAPT_OP_GATE_GRAD: return op->u.activation.kind;
    default: return DAPT_ACT_NONE;
    }
}

// Elements that an invocation takes at a time: 1, or as many as the widest load of all operands has.
static int64_t unit_of(const struct vk_view *in, int inputs, const struct vk_view *out, int outputs,
                       int64_t count, int64_t cols) {
    int64_t unit = 4;
    for (int i = 0; i < inputs; i++)
        if (dtype_size(in[i].dtype) == 2) unit = 8;
    for (int i = 0; i < outputs; i++)
        if (dtype_size(out[i].dtype) == 2) unit = 8;
    bool aligned = cols % unit == 0;
    for (int i = 0; i < inputs; i++) aligned = aligned && vk_aligned(&in[i], count, unit);
    for (int i = 0; i < outputs; i++) aligned = aligned && vk_aligned(&out[i], count, unit);
    return aligned ? unit : 1;
}

void vk_op_element(struct vk_lowering *l) {
    const struct dapt_op *op = l->op;
    struct vk_view in[3] = {l->in[0], l->in[1], l->in[2]}, out[2] = {l->out[0], l->out[1]},
                   none = {0};
    int inputs = rows[op->opcode].inputs, outputs = rows[op->opcode].outputs;
    int64_t count = out[0].rows, cols = out[0].inner * out[0].cols;
    bool flat = op->opcode != DAPT_OP_ADD_BIAS;
    // A bias is a matrix with stride 0: all rows are the same.
    if (op->opcode == DAPT_OP_ADD_BIAS)
        in[1] = (struct vk_view){
            .address = in[1].address, .rows = 1, .inner = 1, .cols = cols, .dtype = in[1].dtype};
    for (int i = 0; i < inputs; i++) flat = flat && vk_dense(&in[i]);
    for (int i = 0; i < outputs; i++) flat = flat && vk_dense(&out[i]);
    if (flat) cols *= count, count = 1;
    float limit = op->opcode == DAPT_OP_SCALE ? op->u.scale.softcap : 0.0f;
    struct vk_pass *p = vk_pass(l, limit > 0 ? SHADER_SCALE_CAPPED : rows[op->opcode].shader);
    int64_t unit = unit_of(in, inputs, out, outputs, count, cols);
    struct vk_shape shape = vk_element_shape(l, cols / unit);
    vk_shape_constants(p, shape);
    vk_constant(p, activation_of(op));
    vk_constant(p, unit);
    vk_constant(p, inputs > 0 ? in[0].dtype : DAPT_F32);
    vk_constant(p, inputs > 1 ? in[1].dtype : DAPT_F32);
    vk_constant(p, out[0].dtype);
    for (int i = 0; i < 3; i++) vk_reads(p, i < inputs ? &in[i] : &none);
    for (int i = 0; i < 2; i++) vk_writes(p, i < outputs ? &out[i] : &none);
    for (int i = 0; i < 3; i++) vk_again(p, i < inputs ? &in[i] : &none);
    for (int i = 0; i < 2; i++) vk_again(p, i < outputs ? &out[i] : &none);
    vk_word(p, count);
    vk_word(p, cols);
    for (int i = 0; i < 3; i++) vk_word(p, in[i].stride);
    for (int i = 0; i < 2; i++) vk_word(p, out[i].stride);
    vk_float(p, op->opcode == DAPT_OP_SCALE  ? op->u.scale.factor
                : op->opcode == DAPT_OP_FILL ? op->u.fill.value
                                             : 0.0f);
    vk_float(p, limit);
    vk_element_groups(l, p, shape, count, cols / unit);
}
