// The cases of the parity certificate: a table of operations, each at every shape of a list. What
// its operands are like follows from the letters of the op table.
#include "train/parity_cases.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "graph/ops.h"

#define SEED UINT64_C(0xdab7)
#define ALIGNMENT UINT64_C(256)

// ------------------------------------------------------------------------------------------ tables

// What the letters of the op table stand for; 'Q': sequences of an attention. A list ends with a
// row of zeros. Rows and columns: one, odd, around the widths of vectors and of workgroups.
struct shape {
    uint16_t size['Z' + 1];
};
static const struct shape row_shapes[] = {
    {{['N'] = 1, ['C'] = 1, ['V'] = 3, ['P'] = 5}},
    {{['N'] = 7, ['C'] = 33, ['V'] = 19, ['P'] = 17}},
    {{['N'] = 64, ['C'] = 48, ['V'] = 19, ['P'] = 131}},
    {{['N'] = 13, ['C'] = 300, ['V'] = 5, ['P'] = 29}},
    {{0}},
};
// The last shape of one column is left out: what a layer norm makes of it is rounding alone.
#define WIDE_SHAPES (row_shapes + 1)
static const struct shape head_shapes[] = {
    // norms of heads: "~C" of rank 3
    {{['N'] = 9, ['H'] = 3, ['C'] = 10}},
    {{['N'] = 33, ['H'] = 2, ['C'] = 64}},
    {{0}},
};
static const struct shape matmul_shapes[] = {
    {{['M'] = 1, ['N'] = 130, ['K'] = 67}},
    {{['M'] = 5, ['N'] = 7, ['K'] = 3}},
    {{['M'] = 33, ['N'] = 65, ['K'] = 190}},
    {{['M'] = 64, ['N'] = 64, ['K'] = 32}},
    {{0}},
};
static const struct shape rope_shapes[] = {
    {{['N'] = 5, ['H'] = 1, ['D'] = 10, ['R'] = 6, ['P'] = 11}},
    {{['N'] = 33, ['H'] = 3, ['D'] = 16, ['R'] = 16, ['P'] = 40}},
    {{0}},
};
// One head size: kernels are made for it, and making them is what takes the time.
static const struct shape attention_shapes[] = {
    {{['N'] = 26, ['M'] = 26, ['H'] = 4, ['G'] = 2, ['D'] = 10, ['Q'] = 2}},
    {{['N'] = 35, ['M'] = 70, ['H'] = 2, ['G'] = 2, ['D'] = 10, ['Q'] = 1}},
    {{['N'] = 51, ['M'] = 51, ['H'] = 3, ['G'] = 1, ['D'] = 10, ['Q'] = 3}},
    {{0}},
};
static const struct shape lm_shapes[] = {
    {{['N'] = 5, ['C'] = 7, ['V'] = 33}},
    {{['N'] = 40, ['C'] = 24, ['V'] = 517}},
    {{0}},
};
static const struct shape flat_shapes[] = {
    {{['#'] = 1}},
    {{['#'] = 40}},
    {{['#'] = 7003}},
    {{0}},
};

struct row {
    struct dapt_op op;  // opcode, accumulate and attributes
    const struct shape *shapes;
    uint32_t absent;  // bit i: input i is not there
    bool gaps;        // what may be strided is
};

// clang-format off
static const struct row rows[] = {
    {.op = {.opcode = DAPT_OP_EMBED}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_EMBED_GRAD}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_EMBED_GRAD, .accumulate = 1}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_SCATTER_ROWS}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_MATMUL}, .shapes = matmul_shapes, .absent = 0xc},
    {.op = {.opcode = DAPT_OP_MATMUL, .accumulate = 1, .u.matmul = {.transpose_a = true}}, .shapes = matmul_shapes, .absent = 0xc, .gaps = true},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true, .activation = DAPT_ACT_GELU_TANH}}, .shapes = matmul_shapes, .absent = 0x8},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true}}, .shapes = matmul_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ADD_BIAS}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_COLUMN_SUM}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_COLUMN_SUM, .accumulate = 1}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm.eps = 1e-5f}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm.eps = 1e-5f}, .shapes = head_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm = {.eps = 1e-5f, .weight_offset = 1}}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 3}, .shapes = head_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .u.norm.weight_offset = 1}, .shapes = head_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .gaps = true},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .absent = 0x4},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = WIDE_SHAPES},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD, .accumulate = 7}, .shapes = WIDE_SHAPES, .gaps = true},
    {.op = {.opcode = DAPT_OP_ROPE}, .shapes = rope_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ROPE, .u.rope = {.inverse = true}}, .shapes = rope_shapes},
    {.op = {.opcode = DAPT_OP_ROPE, .u.rope = {.interleaved = true}}, .shapes = rope_shapes},
    {.op = {.opcode = DAPT_OP_ATTENTION, .u.attention = {.scale = 0.3f}}, .shapes = attention_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ATTENTION, .u.attention = {.scale = 0.3f, .window = 5, .softcap = 3}}, .shapes = attention_shapes},
    {.op = {.opcode = DAPT_OP_ATTENTION_GRAD, .u.attention = {.scale = 0.3f}}, .shapes = attention_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ATTENTION_GRAD, .u.attention = {.scale = 0.3f, .window = 5, .softcap = 3}}, .shapes = attention_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_ADD}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale.factor = -1.75f}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale = {.factor = -1.75f, .softcap = 1.5f}}, .shapes = row_shapes},
    {.op = {.opcode = DAPT_OP_COPY}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_FILL, .u.fill.value = 0.3f}, .shapes = row_shapes, .gaps = true},
    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 0.5f, .softcap = 3}}, .shapes = lm_shapes},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 1}}, .shapes = lm_shapes, .absent = 0x4},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .accumulate = 0xc, .u.lm = {.scale = 0.5f, .softcap = 3}}, .shapes = lm_shapes},
    {.op = {.opcode = DAPT_OP_SUM}, .shapes = flat_shapes},
    {.op = {.opcode = DAPT_OP_SUM, .accumulate = 1}, .shapes = flat_shapes},
    {.op = {.opcode = DAPT_OP_SUM_SQUARES}, .shapes = flat_shapes},
    {.op = {.opcode = DAPT_OP_ADAMW, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decay = true}}, .shapes = flat_shapes},
    {.op = {.opcode = DAPT_OP_ADAMW, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f}}, .shapes = flat_shapes},
};
// clang-format on
#define ROWS (sizeof rows / sizeof rows[0])

// ----------------------------------------------------------------------------------------- tensors

static bool is_end(const struct shape *s) {
    return s->size['N'] == 0 && s->size['#'] == 0;
}

static int64_t letter(const struct shape *s, char name) {
    return s->size[(unsigned char)name];
}

// The shape of one operand, from its letters.
static void make_shape(struct dapt_tensor *t, const char *letters, const struct shape *s) {
    *t = (struct dapt_tensor){.dtype = DAPT_F32, .rank = 2, .shape = {1, 1, 1, 1}};
    int64_t heads = letter(s, 'H');
    switch (letters[0]) {
    case '1': t->rank = 1; break;
    case '#':
        t->rank = 1;
        t->shape[0] = letter(s, '#');
        break;
    case '=':
    case '~':
        t->rank = heads && letters[0] == '~' ? 3 : 2;
        t->shape[0] = letter(s, 'N');
        t->shape[1] = t->rank == 3 ? heads : letter(s, 'C');
        if (t->rank == 3) t->shape[2] = letter(s, 'C');
        break;
    default:
        t->rank = (uint32_t)strlen(letters);
        for (uint32_t i = 0; i < t->rank; i++) t->shape[i] = letter(s, letters[i]);
    }
}

// The letters of an operand of an op: as in the op table but for what a product's transposes turn
// and what only one op calls so.
static const char *letters_of(const struct dapt_op *op, const struct dapt_operand *operand, int i,
                              bool input) {
    bool norm = op->opcode == DAPT_OP_RMS_NORM || op->opcode == DAPT_OP_RMS_NORM_GRAD;
    if (op->opcode == DAPT_OP_MATMUL && input && i == 0 && op->u.matmul.transpose_a) return "KM";
    if (op->opcode == DAPT_OP_MATMUL && input && i == 1 && op->u.matmul.transpose_b) return "NK";
    return norm && strcmp(operand->shape, "R") == 0 ? "rows" : operand->shape;
}

static enum dapt_status add_tensor(struct dapt_parity_bench *b, const struct dapt_operand *operand,
                                   const char *letters, const struct shape *s, bool gap, int buffer,
                                   uint32_t *index) {
    struct dapt_tensor t;
    if (strcmp(letters, "rows") == 0) {
        make_shape(&t, "1", s);
        t.shape[0] = letter(s, 'N') * (letter(s, 'H') ? letter(s, 'H') : 1);
    } else if (strcmp(letters, "S") == 0) {
        make_shape(&t, "1", s);
        t.shape[0] = DAPT_STEP_COUNT;
    } else {
        make_shape(&t, letters, s);
    }
    if (operand->flags & DAPT_OPERAND_INDEX) t.dtype = DAPT_I32;
    int64_t dense = t.shape[1] * t.shape[2] * t.shape[3];
    t.stride = dense + (gap && (operand->flags & DAPT_OPERAND_STRIDED) && t.rank > 1 ? 3 : 0);
    t.buffer = (uint32_t)buffer;
    t.offset = b->size[buffer];
    b->size[buffer] += (dapt_tensor_span(&t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    enum dapt_status status = dapt_grow(&b->tensors, &b->tensor_capacity, b->tensor_count + 1,
                                        sizeof *b->tensors);
    if (status) return status;
    *index = (uint32_t)b->tensor_count;
    b->tensors[b->tensor_count++] = t;
    return DAPT_OK;
}

// "7 x 33": the shape of the first output.
static enum dapt_status add_label(struct dapt_parity_bench *b, struct dapt_op *op) {
    const struct dapt_tensor *t = &b->tensors[op->outputs[0]];
    char text[64] = "";
    for (uint32_t i = 0; i < t->rank; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%" PRIi64, i ? " x " : "", t->shape[i]);
    }
    op->label = dapt_arena_format(&b->arena, "%s of %s", dapt_op_info(op->opcode)->name, text);
    return op->label ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status add_case(struct dapt_parity_bench *b, const struct row *row,
                                 const struct shape *s) {
    struct dapt_op *op = &b->ops[b->count];
    const struct dapt_op_info *info = dapt_op_info(row->op.opcode);
    enum dapt_status status = DAPT_OK;
    *op = row->op;
    for (int i = 0; i < DAPT_OP_INPUTS; i++) op->inputs[i] = DAPT_NONE;
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) op->outputs[i] = DAPT_NONE;
    if (op->opcode == DAPT_OP_ATTENTION || op->opcode == DAPT_OP_ATTENTION_GRAD)
        op->u.attention.sequences = (int32_t)letter(s, 'Q');
    for (int i = 0; i < (int)dapt_op_input_count(info) && !status; i++)
        if (!(row->absent >> i & 1))
            status = add_tensor(b, &info->in[i], letters_of(op, &info->in[i], i, true), s,
                                row->gaps, DAPT_PARITY_INPUTS, &op->inputs[i]);
    // The gradient of what is absent is absent: a loss's bias.
    uint32_t outputs = dapt_op_output_count(info);
    if (op->opcode == DAPT_OP_LM_LOSS_GRAD && (row->absent >> 2 & 1)) outputs--;
    for (int i = 0; i < (int)outputs && !status; i++)
        status = add_tensor(b, &info->out[i], letters_of(op, &info->out[i], i, false), s, row->gaps,
                            DAPT_PARITY_OUTPUTS, &op->outputs[i]);
    if (!status) status = add_label(b, op);
    b->count++;
    return status;
}

// ---------------------------------------------------------------------------------------- contents

// An index operand: of rows of a table, of classes, of what each query sees.
static void fill_indices(const struct dapt_op *op, const char *name, const struct shape *s,
                         uint64_t stream, int32_t *values, int64_t count) {
    bool scatter = op->opcode == DAPT_OP_SCATTER_ROWS, rope = op->opcode == DAPT_OP_ROPE;
    int64_t limit = scatter || rope ? letter(s, 'P') : letter(s, 'V');
    int64_t queries = letter(s, 'Q') ? letter(s, 'N') / letter(s, 'Q') : 1,
            keys = letter(s, 'Q') ? letter(s, 'M') / letter(s, 'Q') : 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t t = i % queries, last = t + keys - queries;
        uint64_t bits = dapt_random_bits(SEED, stream, (uint64_t)i) % 0x7fffffff;
        if (scatter)
            values[i] = (int32_t)((2 * i + 1) % limit);  // all different: 2 N + 3 rows
        else if (strcmp(name, "first") == 0)
            values[i] = (int32_t)(t == 3 ? 1 : last / 7 * 7);  // documents of 7
        else if (strcmp(name, "last") == 0)
            values[i] = (int32_t)(t == 3 ? 0 : last);  // row 3 sees nothing
        else if (strcmp(name, "targets") == 0 && i % 3 == 1)
            values[i] = -1;  // not scored
        else
            values[i] = (int32_t)((int64_t)bits % limit);
    }
}

static void fill_step(float *slots) {
    slots[DAPT_STEP_LEARNING_RATE] = 0.01f;
    slots[DAPT_STEP_WEIGHT_DECAY] = 0.1f;
    slots[DAPT_STEP_CORRECTION1] = 0.271f;
    slots[DAPT_STEP_CORRECTION2] = 0.1426f;
    slots[DAPT_STEP_CLIP] = 1;
}

// Normal numbers, but for operands that an op expects in a range.
static void fill_floats(const struct dapt_op *op, const char *name, uint64_t stream, float *values,
                        int64_t count) {
    bool positive = strcmp(name, "rstd") == 0 ||
                    (op->opcode == DAPT_OP_ADAMW && strcmp(name, "v") == 0);
    bool sum = op->opcode == DAPT_OP_SUM || op->opcode == DAPT_OP_SUM_SQUARES;
    for (int64_t i = 0; i < count; i++) {
        double x = dapt_random_normal(SEED, stream, (uint64_t)i);
        if (positive) x = fabs(x) + 0.1;
        if (sum) x += 0.5;                              // not near 0
        if (strcmp(name, "lse") == 0) x = 4 + x * 0.1;  // of scores as these
        values[i] = (float)x;
    }
    if (strcmp(name, "step") == 0) {
        memset(values, 0, (size_t)count * sizeof *values);
        fill_step(values);
    }
    if (strcmp(name, "norm2") == 0) values[0] = 4;
    if (strcmp(name, "seed") == 0) values[0] = 0.25f;
}

static void fill_case(struct dapt_parity_bench *b, size_t k, const struct shape *s) {
    const struct dapt_op *op = &b->ops[k];
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    for (int i = 0; i < DAPT_OP_INPUTS + DAPT_OP_OUTPUTS; i++) {
        bool input = i < DAPT_OP_INPUTS;
        uint32_t index = input ? op->inputs[i] : op->outputs[i - DAPT_OP_INPUTS];
        if (index == DAPT_NONE) continue;
        const struct dapt_operand *operand = input ? &info->in[i] : &info->out[i - DAPT_OP_INPUTS];
        const struct dapt_tensor *t = &b->tensors[index];
        void *data = b->image[t->buffer] + t->offset;
        int64_t count = (int64_t)(dapt_tensor_span(t) / 4);  // gaps too
        if (t->dtype == DAPT_I32)
            fill_indices(op, operand->name, s, index, data, count);
        else
            fill_floats(op, operand->name, index, data, count);
    }
}

// ------------------------------------------------------------------------------------- open, close

enum dapt_status dapt_parity_bench_open(struct dapt_parity_bench *b) {
    size_t count = 0, k = 0;
    *b = (struct dapt_parity_bench){0};
    for (size_t r = 0; r < ROWS; r++)
        for (const struct shape *s = rows[r].shapes; !is_end(s); s++) count++;
    enum dapt_status status = DAPT_OK;
    b->ops = dapt_alloc(count, sizeof *b->ops);
    if (!b->ops) status = DAPT_ERROR_MEMORY;
    for (size_t r = 0; r < ROWS; r++)
        for (const struct shape *s = rows[r].shapes; !is_end(s) && !status; s++)
            status = add_case(b, &rows[r], s);
    for (int i = 0; i < 2 && !status; i++)
        if (!(b->image[i] = dapt_alloc(b->size[i], 1))) status = DAPT_ERROR_MEMORY;
    for (size_t r = 0; r < ROWS && !status; r++)
        for (const struct shape *s = rows[r].shapes; !is_end(s); s++) fill_case(b, k++, s);
    if (status) dapt_parity_bench_close(b);
    return status;
}

void dapt_parity_bench_close(struct dapt_parity_bench *b) {
    free(b->ops);
    free(b->tensors);
    for (int i = 0; i < 2; i++) free(b->image[i]);
    dapt_arena_free(&b->arena);
    *b = (struct dapt_parity_bench){0};
}
