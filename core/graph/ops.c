#include "graph/ops.h"

#include <string.h>

#define OPT DAPT_OPERAND_OPTIONAL
#define STR DAPT_OPERAND_STRIDED
#define MIX DAPT_OPERAND_MIXED
#define ADD DAPT_OPERAND_ADD
#define UPD DAPT_OPERAND_UPDATE
#define BLK DAPT_OPERAND_BLOCKS

#define ACT DAPT_CLASS_ACTIVATION
#define WEI DAPT_CLASS_WEIGHT
#define GRA DAPT_CLASS_GRADIENT
#define STA DAPT_CLASS_STATISTIC
#define OWN DAPT_CLASS_STATE
#define PAK DAPT_CLASS_PACKED
#define IDX DAPT_CLASS_INDEX

// clang-format off
static const struct dapt_op_info table[DAPT_OP_COUNT] = {
    [DAPT_OP_EMBED] = {"embed",
        {{"table", "VC", 0, WEI}, {"rows", "N", 0, IDX}}, {{"y", "NC", 0, ACT}}, 0, 0},
    [DAPT_OP_EMBED_GRAD] = {"embed_grad",
        {{"dy", "NC", 0, ACT}, {"rows", "N", 0, IDX}}, {{"dtable", "VC", ADD, GRA}}, 0, 1},
    [DAPT_OP_SCATTER_ROWS] = {"scatter_rows",
        {{"x", "NC", STR, ACT}, {"rows", "N", 0, IDX}}, {{"table", "PC", UPD, ACT}}, 0, 0},
    [DAPT_OP_MATMUL] = {"matmul",
        {{"a", "MK", STR, ACT}, {"b", "KN", STR | BLK, WEI}, {"bias", "N", OPT, WEI},
         {"residual", "MN", OPT | STR, ACT}},
        {{"c", "MN", STR | MIX | ADD, ACT}, {"sum_a", "M", OPT | ADD, GRA},
         {"sum_b", "N", OPT | ADD, GRA}}, 1u << 3, 0},
    [DAPT_OP_ADD_BIAS] = {"add_bias",
        {{"x", "NC", STR, ACT}, {"bias", "C", 0, WEI}}, {{"y", "NC", STR, ACT}}, 1, 1},
    [DAPT_OP_COLUMN_SUM] = {"column_sum", {{"x", "NC", STR, ACT}}, {{"y", "C", ADD, GRA}}, 0, 1},
    [DAPT_OP_RMS_NORM] = {"rms_norm",
        {{"x", "~C", STR, ACT}, {"weight", "C", 0, WEI}},
        {{"y", "~C", STR, ACT}, {"rstd", "R", 0, STA}}, 0, 4},
    [DAPT_OP_RMS_NORM_GRAD] = {"rms_norm_grad",
        {{"dy", "~C", STR, ACT}, {"x", "~C", STR, ACT}, {"weight", "C", 0, WEI},
         {"rstd", "R", 0, STA}},
        {{"dx", "~C", STR | ADD, ACT}, {"dweight", "C", OPT | ADD, GRA}}, 0, 10},
    [DAPT_OP_LAYER_NORM] = {"layer_norm",
        {{"x", "NC", STR, ACT}, {"weight", "C", 0, WEI}, {"bias", "C", OPT, WEI}},
        {{"y", "NC", STR, ACT}, {"mean", "N", 0, STA}, {"rstd", "N", 0, STA}}, 0, 7},
    [DAPT_OP_LAYER_NORM_GRAD] = {"layer_norm_grad",
        {{"dy", "NC", STR, ACT}, {"x", "NC", STR, ACT}, {"weight", "C", 0, WEI},
         {"mean", "N", 0, STA}, {"rstd", "N", 0, STA}},
        {{"dx", "NC", STR | ADD, ACT}, {"dweight", "C", OPT | ADD, GRA},
         {"dbias", "C", OPT | ADD, GRA}}, 0, 14},
    [DAPT_OP_ROPE] = {"rope",
        {{"x", "NHD", STR, ACT}, {"table", "PR", STR, STA}, {"positions", "N", 0, IDX}},
        {{"y", "NHD", STR, ACT}}, 1, 3},
    [DAPT_OP_ATTENTION] = {"attention",
        {{"q", "NHD", STR, ACT}, {"k", "MGD", STR, ACT}, {"v", "MGD", STR, ACT},
         {"first", "N", 0, IDX}, {"last", "N", 0, IDX}},
        {{"y", "NHD", STR, ACT}, {"lse", "NH", 0, STA}}, 0, 0},
    [DAPT_OP_ATTENTION_GRAD] = {"attention_grad",
        {{"dy", "NHD", STR, ACT}, {"q", "NHD", STR, ACT}, {"k", "MGD", STR, ACT},
         {"v", "MGD", STR, ACT}, {"y", "NHD", STR, ACT}, {"lse", "NH", 0, STA},
         {"first", "N", 0, IDX}, {"last", "N", 0, IDX}},
        {{"dq", "NHD", STR, ACT}, {"dk", "MGD", STR, ACT}, {"dv", "MGD", STR, ACT}}, 0, 0},
    [DAPT_OP_ACTIVATE] = {"activate", {{"x", "NC", STR, ACT}}, {{"y", "NC", STR, ACT}}, 1, 10},
    [DAPT_OP_ACTIVATE_GRAD] = {"activate_grad",
        {{"dy", "NC", STR, ACT}, {"x", "NC", STR, ACT}}, {{"dx", "NC", STR, ACT}}, 1, 15},
    [DAPT_OP_GATE] = {"gate",
        {{"gate", "NC", STR, ACT}, {"up", "NC", STR, ACT}},
        {{"y", "NC", STR, ACT}}, 0, 11},
    [DAPT_OP_GATE_GRAD] = {"gate_grad",
        {{"dy", "NC", STR, ACT}, {"gate", "NC", STR, ACT}, {"up", "NC", STR, ACT}},
        {{"dgate", "NC", STR, ACT}, {"dup", "NC", STR, ACT}}, 0, 20},
    [DAPT_OP_ADD] = {"add",
        {{"a", "=", STR, ACT}, {"b", "=", STR, ACT}}, {{"y", "=", STR, ACT}}, 3, 1},
    [DAPT_OP_SCALE] = {"scale", {{"x", "=", STR, ACT}}, {{"y", "=", STR, ACT}}, 1, 1},
    [DAPT_OP_COPY] = {"copy", {{"x", "=", STR, ACT}}, {{"y", "=", STR, ACT}}, 0, 0},
    [DAPT_OP_CAST] = {"cast", {{"x", "=", STR, ACT}}, {{"y", "=", STR | MIX, ACT}}, 0, 0},
    [DAPT_OP_FILL] = {"fill", {{0}}, {{"y", "=", STR | MIX, ACT}}, 0, 0},
    [DAPT_OP_LM_LOSS] = {"lm_loss",
        {{"x", "NC", 0, ACT}, {"w", "VC", 0, WEI}, {"bias", "V", OPT, WEI},
         {"targets", "N", 0, IDX}},
        {{"loss", "N", 0, STA}}, 0, 0},
    [DAPT_OP_LM_LOSS_GRAD] = {"lm_loss_grad",
        {{"x", "NC", 0, ACT}, {"w", "VC", 0, WEI}, {"bias", "V", OPT, WEI},
         {"targets", "N", 0, IDX}, {"seed", "1", 0, STA}},
        {{"loss", "N", 0, STA}, {"dx", "NC", OPT, ACT}, {"dw", "VC", OPT | ADD, GRA},
         {"dbias", "V", OPT | ADD, GRA}}, 0, 0},
    [DAPT_OP_SUM] = {"sum", {{"x", "#", 0, STA}}, {{"y", "1", ADD, STA}}, 0, 0},
    [DAPT_OP_SUM_SQUARES] = {"sum_squares", {{"x", "#", 0, GRA}}, {{"y", "1", ADD, STA}}, 0, 0},
    [DAPT_OP_ADAMW] = {"adamw",
        {{"grad", "#", 0, GRA}, {"step", "S", 0, STA}, {"norm2", "1", 0, STA}},
        {{"param", "#", UPD, OWN}, {"m", "#", UPD, OWN}, {"v", "#", UPD, OWN}}, 0, 14},
    [DAPT_OP_ADAMW_8BIT] = {"adamw_8bit",
        {{"grad", "#", 0, GRA}, {"step", "S", 0, STA}, {"norm2", "1", 0, STA}},
        {{"param", "#", UPD, OWN}, {"m", "BW", UPD, PAK}, {"v", "BW", UPD, PAK}}, 0, 30},
    [DAPT_OP_DEQUANTIZE] = {"dequantize", {{"x", "=", BLK, WEI}}, {{"y", "=", 0, WEI}}, 0, 1},
    [DAPT_OP_DROPOUT] = {"dropout",
        {{"x", "NC", STR, ACT}, {"keys", "N", 0, IDX}}, {{"y", "NC", STR | ADD, ACT}}, 0, 1},
};
// clang-format on

const struct dapt_op_info *dapt_op_info(enum dapt_opcode opcode) {
    return (unsigned)opcode < DAPT_OP_COUNT ? &table[opcode] : NULL;
}

uint32_t dapt_op_input_count(const struct dapt_op_info *info) {
    uint32_t n = 0;
    while (n < DAPT_OP_INPUTS && info->in[n].name) n++;
    return n;
}

uint32_t dapt_op_output_count(const struct dapt_op_info *info) {
    uint32_t n = 0;
    while (n < DAPT_OP_OUTPUTS && info->out[n].name) n++;
    return n;
}

uint32_t *dapt_op_slot(struct dapt_op *op, int slot) {
    return slot < DAPT_OP_INPUTS ? &op->inputs[slot] : &op->outputs[slot - DAPT_OP_INPUTS];
}

const struct dapt_operand *dapt_op_operand(const struct dapt_op_info *info, int slot) {
    return slot < DAPT_OP_INPUTS ? &info->in[slot] : &info->out[slot - DAPT_OP_INPUTS];
}

size_t dapt_dtype_size(enum dapt_dtype dtype) {
    static const size_t sizes[DAPT_DTYPE_COUNT] = {[DAPT_F32] = 4, [DAPT_F16] = 2,  [DAPT_BF16] = 2,
                                                   [DAPT_I32] = 4, [DAPT_INT8] = 4, [DAPT_NF4] = 4};
    return (unsigned)dtype < DAPT_DTYPE_COUNT ? sizes[dtype] : 0;
}

bool dapt_dtype_blocks(enum dapt_dtype dtype) {
    return dtype == DAPT_INT8 || dtype == DAPT_NF4;
}

uint64_t dapt_dtype_bytes(enum dapt_dtype dtype, uint64_t count) {
    if (!dapt_dtype_blocks(dtype)) return count * dapt_dtype_size(dtype);
    uint64_t codes = dtype == DAPT_NF4 ? DAPT_BLOCK / 2 : DAPT_BLOCK;
    return (count + DAPT_BLOCK - 1) / DAPT_BLOCK * (sizeof(float) + codes);
}

uint64_t dapt_moment_blocks(uint64_t count) {
    return (count + DAPT_MOMENT_BLOCK - 1) / DAPT_MOMENT_BLOCK;
}

const char *dapt_dtype_name(enum dapt_dtype dtype) {
    static const char *const names[DAPT_DTYPE_COUNT] = {
        [DAPT_F32] = "f32", [DAPT_F16] = "f16",   [DAPT_BF16] = "bf16",
        [DAPT_I32] = "i32", [DAPT_INT8] = "int8", [DAPT_NF4] = "nf4"};
    return (unsigned)dtype < DAPT_DTYPE_COUNT ? names[dtype] : "?";
}

enum dapt_dtype dapt_precision_dtype(enum dapt_precision precision, enum dapt_operand_class class) {
    // Weights are float32: kernels round them as they read them.
    static const enum dapt_dtype activations[DAPT_PRECISION_COUNT] = {
        [DAPT_PRECISION_FLOAT32] = DAPT_F32,
        [DAPT_PRECISION_BFLOAT16] = DAPT_BF16,
        [DAPT_PRECISION_FLOAT16] = DAPT_F16};
    return class == DAPT_CLASS_ACTIVATION                            ? activations[precision]
           : class == DAPT_CLASS_INDEX || class == DAPT_CLASS_PACKED ? DAPT_I32
                                                                     : DAPT_F32;
}

int64_t dapt_tensor_row(const struct dapt_tensor *t) {
    return t->shape[1] * t->shape[2] * t->shape[3];
}

int64_t dapt_tensor_count(const struct dapt_tensor *t) {
    return t->shape[0] * dapt_tensor_row(t);
}

uint64_t dapt_tensor_span(const struct dapt_tensor *t) {
    return dapt_dtype_bytes(t->dtype,
                            (uint64_t)((t->shape[0] - 1) * t->stride + dapt_tensor_row(t)));
}

bool dapt_tensor_dense(const struct dapt_tensor *t) {
    return t->shape[0] == 1 || t->stride == dapt_tensor_row(t);
}

bool dapt_tensor_same(const struct dapt_tensor *a, const struct dapt_tensor *b) {
    return a->buffer == b->buffer && a->offset == b->offset && a->dtype == b->dtype &&
           a->shape[0] == b->shape[0] && dapt_tensor_row(a) == dapt_tensor_row(b) &&
           (a->shape[0] == 1 || a->stride == b->stride);
}

bool dapt_tensor_overlap(const struct dapt_tensor *a, const struct dapt_tensor *b) {
    if (a->buffer != b->buffer) return false;
    if (a->offset + dapt_tensor_span(a) <= b->offset ||
        b->offset + dapt_tensor_span(b) <= a->offset)
        return false;
    // Slices of the columns of one matrix interleave without touching.
    if (a->stride != b->stride || a->shape[0] == 1 || b->shape[0] == 1 ||
        dapt_dtype_blocks(a->dtype) || dapt_dtype_blocks(b->dtype))
        return true;
    int64_t step = a->stride * (int64_t)dapt_dtype_size(a->dtype);
    int64_t d = ((int64_t)b->offset - (int64_t)a->offset) % step;
    if (d < 0) d += step;
    int64_t wide_a = dapt_tensor_row(a) * (int64_t)dapt_dtype_size(a->dtype),
            wide_b = dapt_tensor_row(b) * (int64_t)dapt_dtype_size(b->dtype);
    return !(d >= wide_a && d + wide_b <= step);
}

// What the letters of an op stand for, as its operands are read.
struct binding {
    int64_t size[128];
    const struct dapt_tensor *activation;  // the first one
    struct dapt_tensor equal, rows;  // the first operand of "=" and of "~C"; rank 0: none so far
};

static bool bind(struct binding *b, char letter, int64_t size) {
    int64_t *slot = &b->size[(unsigned char)letter & 127];
    if (*slot == 0) *slot = size;
    return *slot == size;
}

static bool match(struct binding *b, const char *shape, const struct dapt_tensor *t) {
    if (shape[0] == '1') return dapt_tensor_count(t) == 1;
    if (shape[0] == '#') return bind(b, '#', dapt_tensor_count(t));
    if (shape[0] == '~') {
        if (t->rank < 2 || t->rank > 3) return false;
        int64_t columns = t->shape[t->rank - 1];
        if (!b->rows.rank) b->rows = *t;
        return bind(b, 'C', columns) && bind(b, 'R', dapt_tensor_count(t) / columns);
    }
    if (shape[0] == '=') {
        if (!b->equal.rank) b->equal = *t;
        return b->equal.rank == t->rank &&
               memcmp(b->equal.shape, t->shape, sizeof b->equal.shape) == 0;
    }
    if (strlen(shape) != t->rank) return false;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!bind(b, shape[i], t->shape[i])) return false;
    return true;
}

static enum dapt_status fail_operand(const struct dapt_op *op, const struct dapt_operand *operand,
                                     const char *what) {
    return dapt_fail(DAPT_ERROR_INVALID, "op %s%s%s: operand %s (%s): %s", table[op->opcode].name,
                     op->label ? " of " : "", op->label ? op->label : "", operand->name,
                     operand->shape, what);
}

static bool is_float(enum dapt_dtype dtype) {
    return dtype == DAPT_F32 || dtype == DAPT_F16 || dtype == DAPT_BF16;
}

// What is wrong with the dtype of an operand; NULL: nothing.
static const char *wrong_dtype(const struct dapt_operand *operand, const struct dapt_tensor *t,
                               struct binding *b) {
    switch (operand->class) {
    case DAPT_CLASS_PACKED:
    case DAPT_CLASS_INDEX: return t->dtype == DAPT_I32 ? NULL : "must be i32";
    case DAPT_CLASS_ACTIVATION:
    case DAPT_CLASS_WEIGHT: break;
    default: return t->dtype == DAPT_F32 ? NULL : "must be f32";
    }
    if (dapt_dtype_blocks(t->dtype) && (operand->flags & BLK))
        return dapt_tensor_dense(t) && dapt_tensor_count(t) % DAPT_BLOCK == 0
                   ? NULL
                   : "must be of whole blocks, and dense";
    if (!is_float(t->dtype)) return "must be a float type";
    if (operand->class == DAPT_CLASS_WEIGHT || (operand->flags & MIX)) return NULL;
    if (!b->activation) b->activation = t;
    return b->activation->dtype == t->dtype ? NULL
                                            : "has another dtype than the activations before it";
}

// Index of the operand's tensor checked, sizes sane, dtype and layout as the table says.
static enum dapt_status check_operand(const struct dapt_op *op, const struct dapt_operand *operand,
                                      const char *shape, uint32_t index,
                                      const struct dapt_tensor *tensors, size_t tensor_count,
                                      struct binding *binding) {
    if (index == DAPT_NONE)
        return operand->flags & OPT ? DAPT_OK : fail_operand(op, operand, "is missing");
    if (index >= tensor_count)
        return fail_operand(op, operand, "names a tensor that does not exist");
    const struct dapt_tensor *t = &tensors[index];
    if (t->rank < 1 || t->rank > DAPT_MAX_RANK)
        return fail_operand(op, operand, "has a rank outside 1..4");
    for (uint32_t i = 0; i < DAPT_MAX_RANK; i++)
        if (t->shape[i] < 1 || t->shape[i] > INT32_MAX || (i >= t->rank && t->shape[i] != 1))
            return fail_operand(op, operand, "has an impossible shape");
    // In this order: what comes behind can't overflow.
    if (t->shape[1] * t->shape[2] > INT32_MAX || t->stride < dapt_tensor_row(t) ||
        t->stride > INT32_MAX * (int64_t)4 || (double)t->shape[0] * (double)t->stride > 1e15)
        return fail_operand(op, operand, "has an impossible shape or stride");
    const char *wrong = wrong_dtype(operand, t, binding);
    if (wrong) return fail_operand(op, operand, wrong);
    if (!(operand->flags & STR) && !dapt_tensor_dense(t))
        return fail_operand(op, operand, "must be dense");
    if (!match(binding, shape, t))
        return fail_operand(op, operand, "does not fit the shapes before it");
    return DAPT_OK;
}

const char *dapt_op_input_shape(const struct dapt_op *op, uint32_t i) {
    if (op->opcode == DAPT_OP_MATMUL && i == 0 && op->u.matmul.transpose_a) return "KM";
    if (op->opcode == DAPT_OP_MATMUL && i == 1 && op->u.matmul.transpose_b) return "NK";
    return table[op->opcode].in[i].shape;
}

// What the letters can't say.
static enum dapt_status check_rest(const struct dapt_op *op, const struct binding *b) {
    const struct dapt_op_info *info = &table[op->opcode];
    const int64_t *s = b->size;
    switch (op->opcode) {
    case DAPT_OP_ROPE:
        if (s['R'] % 2 || s['R'] > s['D'])
            return fail_operand(op, &info->in[1],
                                "must be an even number of columns, at most the head size");
        break;
    case DAPT_OP_LAYER_NORM:
    case DAPT_OP_LAYER_NORM_GRAD:
        if (op->u.norm.weight_offset != 0)
            return fail_operand(op, &info->in[1], "takes no offset in a layer norm");
        break;
    case DAPT_OP_ATTENTION:
    case DAPT_OP_ATTENTION_GRAD:
        if (s['H'] % s['G'])
            return fail_operand(op, &info->in[0], "heads are no multiple of the key heads");
        if (op->u.attention.sequences < 1 || s['N'] % op->u.attention.sequences ||
            s['M'] % op->u.attention.sequences)
            return fail_operand(op, &info->in[0], "rows do not split into the sequences");
        if (op->u.attention.window < 0) return fail_operand(op, &info->in[0], "window below 0");
        break;
    case DAPT_OP_MATMUL:
        if ((op->accumulate & 1) &&
            (op->inputs[3] != DAPT_NONE || op->u.matmul.activation != DAPT_ACT_NONE))
            return fail_operand(op, &info->out[0],
                                "accumulates, so it takes no residual or activation");
        if (!is_float(op->u.matmul.operands))
            return fail_operand(op, &info->in[0], "would be rounded to what is no float type");
        if (op->u.matmul.derivative && op->inputs[3] == DAPT_NONE)
            return fail_operand(op, &info->in[3], "is missing, where the derivative is taken");
        if (op->outputs[1] != DAPT_NONE &&
            (!op->u.matmul.transpose_a || op->outputs[2] != DAPT_NONE))
            return fail_operand(op, &info->out[1], "is of a transposed a, and without sum_b");
        if (op->outputs[2] != DAPT_NONE && op->u.matmul.transpose_b)
            return fail_operand(op, &info->out[2], "is of a b that is not transposed");
        break;
    case DAPT_OP_ADAMW_8BIT:
        if (s['W'] != DAPT_MOMENT_WORDS || s['B'] != (int64_t)dapt_moment_blocks((uint64_t)s['#']))
            return fail_operand(op, &info->out[1], "must be the blocks of all numbers");
        // fall through
    case DAPT_OP_ADAMW:
        if (s['S'] != DAPT_STEP_COUNT)
            return fail_operand(op, &info->in[1], "must have DAPT_STEP_COUNT scalars");
        if (!(op->u.adamw.rate > 0)) return fail_operand(op, &info->out[0], "has no rate above 0");
        break;
    case DAPT_OP_DROPOUT:
        if (!(op->u.dropout.rate >= 0 && op->u.dropout.rate < 1))
            return fail_operand(op, &info->out[0], "is of a rate outside of [0, 1)");
        break;
    default: break;
    }
    return DAPT_OK;
}

static enum dapt_status check_overlaps(const struct dapt_op *op, const struct dapt_op_info *info,
                                       const struct dapt_tensor *tensors) {
    uint32_t inputs = dapt_op_input_count(info), outputs = dapt_op_output_count(info);
    for (uint32_t o = 0; o < outputs; o++) {
        if (op->outputs[o] == DAPT_NONE) continue;
        const struct dapt_tensor *out = &tensors[op->outputs[o]];
        for (uint32_t i = 0; i < inputs; i++) {
            if (op->inputs[i] == DAPT_NONE) continue;
            const struct dapt_tensor *in = &tensors[op->inputs[i]];
            bool may = o == 0 && (info->in_place >> i & 1) && dapt_tensor_same(in, out);
            if (!may && dapt_tensor_overlap(in, out))
                return fail_operand(op, &info->out[o], "overlaps an input");
        }
        for (uint32_t p = 0; p < o; p++)
            if (op->outputs[p] != DAPT_NONE && dapt_tensor_overlap(&tensors[op->outputs[p]], out))
                return fail_operand(op, &info->out[o], "overlaps another output");
    }
    return DAPT_OK;
}

enum dapt_status dapt_op_check(const struct dapt_op *op, const struct dapt_tensor *tensors,
                               size_t tensor_count) {
    if ((unsigned)op->opcode >= DAPT_OP_COUNT)
        return dapt_fail(DAPT_ERROR_INVALID, "op %d: no such operation", (int)op->opcode);
    const struct dapt_op_info *info = &table[op->opcode];
    struct binding binding = {0};
    uint32_t inputs = dapt_op_input_count(info), outputs = dapt_op_output_count(info);
    for (uint32_t i = 0; i < inputs; i++) {
        enum dapt_status status = check_operand(op, &info->in[i], dapt_op_input_shape(op, i),
                                                op->inputs[i], tensors, tensor_count, &binding);
        if (status) return status;
    }
    for (uint32_t o = 0; o < outputs; o++) {
        enum dapt_status status = check_operand(op, &info->out[o], info->out[o].shape,
                                                op->outputs[o], tensors, tensor_count, &binding);
        if (status) return status;
        if ((op->accumulate >> o & 1) && !(info->out[o].flags & ADD))
            return fail_operand(op, &info->out[o], "can't be accumulated to");
    }
    if (op->accumulate >> outputs)
        return fail_operand(op, &info->out[0], "accumulate has bits beyond the outputs");
    enum dapt_status status = check_rest(op, &binding);
    return status ? status : check_overlaps(op, info, tensors);
}

enum dapt_status dapt_op_output_shape(const struct dapt_op *op, const struct dapt_tensor *tensors,
                                      uint32_t output, struct dapt_tensor *made) {
    const struct dapt_op_info *info = &table[op->opcode];
    struct binding b = {0};
    for (uint32_t i = 0; i < dapt_op_input_count(info); i++)
        if (op->inputs[i] != DAPT_NONE &&
            !match(&b, dapt_op_input_shape(op, i), &tensors[op->inputs[i]]))
            return fail_operand(op, &info->in[i], "does not fit the shapes before it");
    const char *letters = info->out[output].shape;
    const struct dapt_tensor *like = letters[0] == '~' ? &b.rows : &b.equal;
    bool whole = letters[0] == '~' || letters[0] == '=', known = !whole || like->rank;
    made->rank = whole ? like->rank : (uint32_t)strlen(letters);
    for (uint32_t i = 0; i < DAPT_MAX_RANK && known; i++) {
        bool here = !whole && i < made->rank && letters[i] != '1';
        made->shape[i] = whole  ? like->shape[i]
                         : here ? b.size[(unsigned char)letters[i] & 127]
                                : 1;
        known = made->shape[i] > 0;
    }
    return known
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_INTERNAL, "op %s: its inputs do not say the shape of %s (%s)",
                           info->name, info->out[output].name, letters);
}

// Of a loss: logits, and the gradients of x and w where they are wanted.
static double products(const struct dapt_op *op) {
    if (op->opcode == DAPT_OP_LM_LOSS) return 1;
    return 1.0 + (op->outputs[1] != DAPT_NONE) + (op->outputs[2] != DAPT_NONE);
}

double dapt_op_flops(const struct dapt_op *op, const struct dapt_tensor *tensors) {
    const struct dapt_tensor *a = op->inputs[0] == DAPT_NONE ? NULL : &tensors[op->inputs[0]];
    const struct dapt_tensor *out = &tensors[op->outputs[0]];
    switch (op->opcode) {
    case DAPT_OP_MATMUL:
        return 2.0 * (double)dapt_tensor_count(out) *
               (double)a->shape[op->u.matmul.transpose_a ? 0 : 1];
    case DAPT_OP_LM_LOSS:
    case DAPT_OP_LM_LOSS_GRAD:
        return 2.0 * products(op) * (double)dapt_tensor_count(a) *
               (double)tensors[op->inputs[1]].shape[0];
    case DAPT_OP_ATTENTION:
    case DAPT_OP_ATTENTION_GRAD: {
        // Half of the pairs, as if causal: what a row sees is in the batch.
        const struct dapt_tensor *k = &tensors[op->inputs[op->opcode == DAPT_OP_ATTENTION ? 1 : 2]];
        double keys = (double)k->shape[0] / op->u.attention.sequences,
               pairs = (double)a->shape[0] * (double)a->shape[1] * keys * 0.5;
        return pairs * (double)a->shape[2] * (op->opcode == DAPT_OP_ATTENTION ? 4 : 10);
    }
    case DAPT_OP_SUM: return (double)dapt_tensor_count(a);
    case DAPT_OP_SUM_SQUARES: return 2.0 * (double)dapt_tensor_count(a);
    default: return table[op->opcode].flops_per_output * (double)dapt_tensor_count(out);
    }
}

double dapt_op_bytes(const struct dapt_op *op, const struct dapt_tensor *tensors) {
    const struct dapt_op_info *info = &table[op->opcode];
    double bytes = 0;
    for (uint32_t i = 0; i < dapt_op_input_count(info); i++)
        if (op->inputs[i] != DAPT_NONE) {
            const struct dapt_tensor *t = &tensors[op->inputs[i]];
            bool lookup = op->opcode == DAPT_OP_EMBED && i == 0;  // reads the rows it needs
            bytes += (double)dapt_dtype_bytes(
                t->dtype, (uint64_t)dapt_tensor_count(lookup ? &tensors[op->outputs[0]] : t));
        }
    for (uint32_t o = 0; o < dapt_op_output_count(info); o++)
        if (op->outputs[o] != DAPT_NONE) {
            const struct dapt_tensor *t = &tensors[op->outputs[o]];
            bool scattered = op->opcode == DAPT_OP_SCATTER_ROWS;
            bool both = (info->out[o].flags & UPD && !scattered) || (op->accumulate >> o & 1);
            bytes += (double)dapt_tensor_count(scattered ? &tensors[op->inputs[0]] : t) *
                     (double)dapt_dtype_size(t->dtype) * (both ? 2 : 1);
        }
    return bytes;
}
