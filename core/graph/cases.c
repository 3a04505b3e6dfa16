// Cases made of rows: the shapes of operands from their letters, and what they hold.
#include "graph/cases.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

#define SEED UINT64_C(0xdab7)

static bool is_end(const struct dapt_case_shape *s) {
    return s->size['N'] == 0 && s->size['#'] == 0;
}

static bool has(const struct dapt_op_info *info, enum dapt_operand_class class, uint32_t flags) {
    bool found = false;
    for (int slot = 0; slot < DAPT_CASE_OPERANDS; slot++) {
        const struct dapt_operand *operand = dapt_op_operand(info, slot);
        found |= operand->name && operand->class == class && (operand->flags & flags) == flags;
    }
    return found;
}

// Of products, whose kernels take long to make: whether a row is tested in a 16-bit dtype. In that of its
// operands, or else in one of both by turns.
static bool takes(const struct dapt_case_row *row, enum dapt_dtype dtype) {
    size_t count;
    bool odd = (row - dapt_case_rows(&count)) % 2 != 0;
    enum dapt_dtype operands = row->op.u.matmul.operands;
    return row->op.opcode != DAPT_OP_MATMUL || dtype == (operands != DAPT_F32 ? operands
                                                         : odd                ? DAPT_F16
                                                                              : DAPT_BF16);
}

// The dtypes that a row of float32 is tested in, in their order.
static bool next_dtype(struct dapt_case *c) {
    static const enum dapt_dtype orders[][2] = {{DAPT_F32, DAPT_F32},
                                                {DAPT_F16, DAPT_F16},
                                                {DAPT_BF16, DAPT_BF16},
                                                {DAPT_F16, DAPT_F32},
                                                {DAPT_BF16, DAPT_F32}};
    const struct dapt_op_info *info = dapt_op_info(c->row->op.opcode);
    size_t i = 0;
    if (c->row->dtype != DAPT_F32 || c->row->mixed != DAPT_F32 ||
        !has(info, DAPT_CLASS_ACTIVATION, 0))
        return false;
    while (orders[i][0] != c->dtype || orders[i][1] != c->mixed) i++;
    // A cast has rows of its own.
    bool mixed = has(info, DAPT_CLASS_ACTIVATION, DAPT_OPERAND_MIXED) &&
                 c->row->op.opcode == DAPT_OP_MATMUL;
    do {
        if (++i == (mixed ? 5 : 3)) return false;
    } while (!takes(c->row, orders[i][0]));
    c->dtype = orders[i][0], c->mixed = orders[i][1];
    return true;
}

bool dapt_case_next(struct dapt_case *c, enum dapt_case_use use) {
    size_t count;
    const struct dapt_case_row *rows = dapt_case_rows(&count), *end = rows + count;
    if (c->row && use == DAPT_CASE_TEST && next_dtype(c)) return true;
    c->dtype = c->mixed = DAPT_F32;
    if (!c->row)
        c->row = rows, c->shape = rows->shapes;
    else
        c->shape++;
    for (;;) {
        for (; c->shape && !is_end(c->shape); c->shape++)
            if (c->row->uses & c->shape->uses & use) return true;
        if (++c->row == end) return false;
        c->shape = c->row->shapes;
    }
}

// ------------------------------------------------------------------------------------------ shapes

static int64_t letter(const struct dapt_case *c, char name) {
    return c->shape->size[(unsigned char)name];
}

static void add_dimension(struct dapt_tensor *t, int64_t size) {
    if (size > 0) t->shape[t->rank++] = size;
}

// The shape of one operand, from its letters.
static void set_shape(struct dapt_tensor *t, const char *letters, const struct dapt_case *c) {
    int64_t heads = letter(c, 'H');
    *t = (struct dapt_tensor){.shape = {1, 1, 1, 1}};
    if (strcmp(letters, "1") == 0) {
        add_dimension(t, 1);
    } else if (strcmp(letters, "S") == 0) {
        add_dimension(t, DAPT_STEP_COUNT);
    } else if (strcmp(letters, "R") == 0) {  // rows of the "~C" beside it
        add_dimension(t, letter(c, 'N') * (heads ? heads : 1));
    } else if (strcmp(letters, "BW") == 0) {  // of moments in 8 bits
        add_dimension(t, (int64_t)dapt_moment_blocks((uint64_t)letter(c, '#')));
        add_dimension(t, DAPT_MOMENT_WORDS);
    } else if (letters[0] == '~') {
        add_dimension(t, letter(c, 'N'));
        add_dimension(t, heads);
        add_dimension(t, letter(c, 'C'));
    } else {
        if (letters[0] == '=') letters = "NCHD";
        for (; *letters; letters++) add_dimension(t, letter(c, *letters));
    }
    t->stride = dapt_tensor_row(t);
}

static enum dapt_dtype dtype_of(const struct dapt_case *c, int slot) {
    const struct dapt_op *op = &c->row->op;
    const struct dapt_operand *operand = dapt_op_operand(dapt_op_info(op->opcode), slot);
    bool both = op->opcode == DAPT_OP_MATMUL && op->u.matmul.transpose_a && slot == 1;
    if (operand->flags & DAPT_OPERAND_BLOCKS) return c->row->mixed;
    if (operand->class != DAPT_CLASS_ACTIVATION && !both)
        return dapt_precision_dtype(DAPT_PRECISION_FLOAT32, operand->class);
    if (operand->flags & DAPT_OPERAND_MIXED) return c->row->mixed ? c->row->mixed : c->mixed;
    return c->row->dtype ? c->row->dtype : c->dtype;
}

void dapt_case_make(const struct dapt_case *c, struct dapt_op *op,
                    struct dapt_tensor tensors[DAPT_CASE_OPERANDS]) {
    *op = c->row->op;
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    for (int slot = 0; slot < DAPT_CASE_OPERANDS; slot++) {
        const struct dapt_operand *operand = dapt_op_operand(info, slot);
        bool present = operand->name && !(c->row->absent >> slot & 1);
        *dapt_op_slot(op, slot) = present ? (uint32_t)slot : DAPT_NONE;
        tensors[slot] = (struct dapt_tensor){0};
        if (!present) continue;
        const char *letters = slot < DAPT_OP_INPUTS ? dapt_op_input_shape(op, (uint32_t)slot)
                                                    : operand->shape;
        set_shape(&tensors[slot], letters, c);
        tensors[slot].dtype = dtype_of(c, slot);
        tensors[slot].buffer = (uint32_t)slot;
    }
    if (op->opcode == DAPT_OP_ATTENTION || op->opcode == DAPT_OP_ATTENTION_GRAD) {
        op->u.attention.sequences = (int32_t)letter(c, 'Q');
        if (op->u.attention.scale == 0) op->u.attention.scale = 1 / sqrtf((float)letter(c, 'D'));
    }
}

// ---------------------------------------------------------------------------------------- contents

// The keys that query row n sees.
static void see(const struct dapt_case *c, int64_t n, int32_t *first, int32_t *last) {
    static const struct {
        int32_t document, period, blind;  // row `blind` of each `period`, or of each sequence
    } sights[] = {
        [DAPT_SIGHT_DOCUMENTS] = {7, 0, 3},      [DAPT_SIGHT_CAUSAL] = {INT32_MAX, 0, -1},
        [DAPT_SIGHT_WHOLE] = {INT32_MAX, 0, -1}, [DAPT_SIGHT_LONG_DOCUMENTS] = {23, 0, -1},
        [DAPT_SIGHT_HOLES] = {23, 5, 2},         [DAPT_SIGHT_SHORT_HOLES] = {4, 5, 3},
        [DAPT_SIGHT_CACHE] = {INT32_MAX, 0, -1},
    };
    enum dapt_case_sight sight = c->shape->sight;
    int64_t queries = letter(c, 'N') / letter(c, 'Q'), keys = letter(c, 'M') / letter(c, 'Q'),
            t = n % queries, period = sights[sight].period ? sights[sight].period : queries;
    *last = (int32_t)(t + keys - queries);
    if (sight == DAPT_SIGHT_WHOLE) *last = (int32_t)keys - 1;
    if (sight == DAPT_SIGHT_CACHE) *last = (int32_t)(keys / 2 + t);
    *first = *last / sights[sight].document * sights[sight].document;
    if (n % period == sights[sight].blind) *first = 1, *last = 0;
}

// An index operand: of rows of a table, of classes, of what each query sees.
static void fill_indices(const struct dapt_case *c, const char *name, uint64_t stream,
                         int64_t count, int32_t *values) {
    enum dapt_opcode opcode = c->row->op.opcode;
    bool scatter = opcode == DAPT_OP_SCATTER_ROWS, rope = opcode == DAPT_OP_ROPE,
         first = strcmp(name, "first") == 0, last = strcmp(name, "last") == 0,
         targets = strcmp(name, "targets") == 0;
    int64_t limit = letter(c, scatter || rope ? 'P' : 'V');
    if (strcmp(name, "keys") == 0) limit = INT32_MAX;  // any
    for (int64_t i = 0; i < count; i++) {
        int32_t keys[2];
        uint64_t bits = dapt_random_bits(SEED, stream, (uint64_t)i) % 0x7fffffff;
        if (first || last) {
            see(c, i, &keys[0], &keys[1]);
            values[i] = keys[last];
        } else if (scatter) {
            values[i] = (int32_t)((2 * i + 1) % limit);  // all different: 2 N + 3 rows
        } else if (targets && i % 3 == 1) {
            values[i] = -1;  // not scored
        } else {
            values[i] = (int32_t)((int64_t)bits % limit);
        }
    }
}

// Moments in 8 bits: all codes, behind the last number 0, and a unit a block.
static void fill_packed(const struct dapt_case *c, uint64_t stream, int64_t count, int32_t *words) {
    int64_t numbers = letter(c, '#');
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i % DAPT_MOMENT_WORDS, left = numbers - i / DAPT_MOMENT_WORDS * 256 - at * 4;
        uint64_t bits = dapt_random_bits(SEED, stream, (uint64_t)i);
        uint32_t word = left <= 0 ? 0 : (uint32_t)bits >> (left < 4 ? 8 * (4 - left) : 0);
        float unit = (float)(1 + bits % 1000) * 1e-7f;
        memcpy(&words[i], at == DAPT_MOMENT_WORDS - 1 ? (void *)&unit : (void *)&word, 4);
    }
}

static void fill_step(float *slots) {
    slots[DAPT_STEP_LEARNING_RATE] = 0.01f;
    slots[DAPT_STEP_WEIGHT_DECAY] = 0.1f;
    slots[DAPT_STEP_CORRECTION1] = 0.271f;
    slots[DAPT_STEP_CORRECTION2] = 0.1426f;
    slots[DAPT_STEP_CLIP] = 1;
    slots[DAPT_STEP_UNSCALE] = 0.5f;
}

// Normal numbers, but for operands that an op expects in a range.
static void fill_floats(const struct dapt_case *c, int slot, const char *name, uint64_t stream,
                        int64_t count, float *values) {
    bool positive = strcmp(name, "rstd") == 0 ||
                    (c->row->op.opcode == DAPT_OP_ADAMW && strcmp(name, "v") == 0),
         lse = strcmp(name, "lse") == 0;
    double shift = slot % DAPT_OP_INPUTS == 0 ? (double)c->row->shift : 0;
    for (int64_t i = 0; i < count; i++) {
        double x = dapt_random_normal(SEED, stream, (uint64_t)i);
        if (positive) x = fabs(x) + 0.1;
        if (lse) x = 4 + x * 0.1;  // of scores as these
        values[i] = (float)(x + shift);
    }
    if (strcmp(name, "step") == 0) {
        memset(values, 0, (size_t)count * sizeof *values);
        fill_step(values);
    }
    if (strcmp(name, "norm2") == 0) values[0] = 4;
    if (strcmp(name, "seed") == 0) values[0] = 0.25f;
}

void dapt_case_fill(const struct dapt_case *c, int slot, uint64_t stream, int64_t count,
                    void *values) {
    const struct dapt_operand *operand = dapt_op_operand(dapt_op_info(c->row->op.opcode), slot);
    if (operand->class == DAPT_CLASS_PACKED)
        fill_packed(c, stream, count, values);
    else if (operand->class == DAPT_CLASS_INDEX)
        fill_indices(c, operand->name, stream, count, values);
    else
        fill_floats(c, slot, operand->name, stream, count, values);
}
