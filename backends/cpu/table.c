// The table of operations of one instruction set and dtype of activations.
#include "simd.h"

op_table ISA(cpu_ops) = {
    [DAPT_OP_EMBED] = &ISA(op_embed),
    [DAPT_OP_EMBED_GRAD] = &ISA(op_embed_grad),
    [DAPT_OP_SCATTER_ROWS] = &ISA(op_scatter_rows),
    [DAPT_OP_MATMUL] = &ISA(op_matmul),
    [DAPT_OP_ADD_BIAS] = &ISA(op_add_bias),
    [DAPT_OP_COLUMN_SUM] = &ISA(op_column_sum),
    [DAPT_OP_RMS_NORM] = &ISA(op_rms_norm),
    [DAPT_OP_RMS_NORM_GRAD] = &ISA(op_rms_norm_grad),
    [DAPT_OP_LAYER_NORM] = &ISA(op_layer_norm),
    [DAPT_OP_LAYER_NORM_GRAD] = &ISA(op_layer_norm_grad),
    [DAPT_OP_ROPE] = &ISA(op_rope),
    [DAPT_OP_ATTENTION] = &ISA(op_attention),
    [DAPT_OP_ATTENTION_GRAD] = &ISA(op_attention_grad),
    [DAPT_OP_ACTIVATE] = &ISA(op_activate),
    [DAPT_OP_ACTIVATE_GRAD] = &ISA(op_activate_grad),
    [DAPT_OP_GATE] = &ISA(op_gate),
    [DAPT_OP_GATE_GRAD] = &ISA(op_gate_grad),
    [DAPT_OP_ADD] = &ISA(op_add),
    [DAPT_OP_SCALE] = &ISA(op_scale),
    [DAPT_OP_FILL] = &ISA(op_fill),
    [DAPT_OP_LM_LOSS] = &ISA(op_lm_loss),
    [DAPT_OP_LM_LOSS_GRAD] = &ISA(op_lm_loss_grad),
#if DAPT_ELEMENT_FLOAT
    [DAPT_OP_COPY] = &ISA(op_copy),
    [DAPT_OP_CAST] = &ISA(op_cast),
    [DAPT_OP_SUM] = &ISA(op_sum),
    [DAPT_OP_SUM_SQUARES] = &ISA(op_sum_squares),
    [DAPT_OP_ADAMW] = &ISA(op_adamw),
#endif
};
