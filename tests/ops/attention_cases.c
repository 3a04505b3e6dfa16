// Attention and its gradient on every device, and a chain of ops.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bed.h"

#define SHAPE(...)      \
    (const int64_t[]) { \
        __VA_ARGS__     \
    }
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

struct attention_case {
    int64_t sequences, query_rows, key_rows, heads, groups, size, gap;
    int32_t window;
    float softcap;
    // 0: causal, 1: all, 2: documents, 3: documents and rows that see nothing, 4: a cache filled
    // in part
    int mask;
    int poison;  // operand with a NaN in a row of the middle: q, k or v, counted from 1
};

static void set_ranges(const struct attention_case *a, int32_t *first, int32_t *last) {
    for (int64_t n = 0; n < a->sequences * a->query_rows; n++) {
        int32_t t = (int32_t)(n % a->query_rows + a->key_rows - a->query_rows),
                document = a->mask >= 2 ? 23 : 1 << 20;
        first[n] = t / document * document;
        last[n] = a->mask == 1 ? (int32_t)a->key_rows - 1 : t;
        if (a->mask == 3 && n % 5 == 2) first[n] = 3, last[n] = 2;
        if (a->mask == 4) first[n] = 0, last[n] = (int32_t)(a->key_rows / 2 + n % a->query_rows);
    }
}

static void begin_attention(const struct attention_case *a, struct op_case *k, int first_operand) {
    k->op.u.attention.sequences = (int32_t)a->sequences;
    k->op.u.attention.window = a->window;
    k->op.u.attention.softcap = a->softcap;
    k->op.u.attention.scale = 1 / sqrtf((float)a->size);
    int64_t n = a->sequences * a->query_rows, m = a->sequences * a->key_rows;
    case_input(k, first_operand, a->gap, 3, SHAPE(n, a->heads, a->size));
    case_input(k, first_operand + 1, 2 * a->gap, 3, SHAPE(m, a->groups, a->size));
    case_input(k, first_operand + 2, a->gap, 3, SHAPE(m, a->groups, a->size));
}

static void check_attention(const struct attention_case *a) {
    int64_t n = a->sequences * a->query_rows, m = a->sequences * a->key_rows;
    char name[160];
    snprintf(
        name, sizeof name,
        "attention %lld x %lld/%lld, heads %lld/%lld x %lld, window %d, cap %g, mask %d, NaN %d",
        (long long)a->sequences, (long long)a->query_rows, (long long)a->key_rows,
        (long long)a->heads, (long long)a->groups, (long long)a->size, a->window,
        (double)a->softcap, a->mask, a->poison);
    struct op_case k, g;
    case_begin(&k, DAPT_OP_ATTENTION, name);
    begin_attention(a, &k, 0);
    int32_t *first = case_indices(&k, 3, n, 2), *last = case_indices(&k, 4, n, 2);
    set_ranges(a, first, last);
    case_output(&k, 0, a->gap, 3, SHAPE(n, a->heads, a->size));
    case_output(&k, 1, 0, 2, SHAPE(n, a->heads));
    k.poisoned = a->poison > 0;
    int64_t heads = a->poison >= 2 ? a->groups : a->heads;
    int64_t rows = a->poison >= 2 ? a->key_rows : a->query_rows;
    int64_t poisoned = (rows / 2 * heads + heads - 1) * a->size + a->size / 2;
    if (a->poison > 0) k.in[a->poison - 1].f[poisoned] = NAN;

    // The gradient of the same, from the reference's result.
    case_begin(&g, DAPT_OP_ATTENTION_GRAD, name);
    case_input(&g, 0, a->gap, 3, SHAPE(n, a->heads, a->size));
    begin_attention(a, &g, 1);
    case_input(&g, 4, a->gap, 3, SHAPE(n, a->heads, a->size));
    case_input(&g, 5, 0, 2, SHAPE(n, a->heads));
    for (int i = 0; i < 3; i++)
        for (int64_t e = 0; e < operand_count(&k.in[i]); e++) g.in[1 + i].f[e] = k.in[i].f[e];
    double *outputs[DAPT_OP_OUTPUTS];
    case_reference(&k, outputs);
    for (int i = 0; i < 2; i++) {
        for (int64_t e = 0; e < operand_count(&k.out[i]); e++)
            g.in[4 + i].f[e] = (float)outputs[i][e];
        free(outputs[i]);
    }
    set_ranges(a, case_indices(&g, 6, n, 2), case_indices(&g, 7, n, 2));
    case_output(&g, 0, a->gap, 3, SHAPE(n, a->heads, a->size));
    case_output(&g, 1, a->gap, 3, SHAPE(m, a->groups, a->size));
    case_output(&g, 2, 0, 3, SHAPE(m, a->groups, a->size));
    g.poisoned = k.poisoned;
    g.spreads = true;  // of a gradient that is not finite nothing is used
    if (a->window == 1)
        g.tolerance = 1e-3;  // one key: the true gradient is 0, a difference of two roundings
    case_check(&k);
    case_check(&g);
}

void test_attention(void **state) {
    (void)state;
    static const struct attention_case table[] = {
        {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0},       {2, 9, 9, 2, 1, 8, 0, 0, 0, 0, 0},
        {2, 65, 65, 4, 2, 8, 3, 0, 0, 0, 0},     {1, 150, 150, 2, 2, 48, 0, 0, 0, 0, 0},
        {1, 130, 130, 2, 1, 64, 5, 37, 0, 0, 0}, {2, 70, 70, 3, 3, 20, 0, 0, 2, 0, 0},
        {1, 129, 129, 1, 1, 128, 0, 0, 0, 1, 0}, {2, 100, 100, 2, 2, 16, 1, 0, 0, 2, 0},
        {2, 100, 100, 4, 2, 13, 0, 17, 3, 3, 0}, {1, 64, 64, 2, 1, 32, 0, 1, 0, 0, 0},
        {1, 40, 170, 2, 1, 24, 0, 0, 0, 0, 0},   {3, 1, 200, 4, 2, 40, 2, 0, 0, 4, 0},
        {2, 3, 131, 4, 1, 64, 0, 50, 4, 4, 0},   {1, 1, 1000, 2, 2, 8, 0, 0, 0, 0, 0},
        {2, 4, 64, 3, 3, 33, 1, 0, 0, 3, 0},     {8, 130, 130, 4, 2, 8, 0, 0, 0, 0, 0},
        {4, 70, 70, 8, 4, 12, 2, 20, 2, 3, 0},   {16, 33, 33, 1, 1, 64, 1, 0, 0, 2, 0},
    };
    // A NaN stays where it is seen: causal, in documents, in a window, under a cap, for few queries.
    static const struct attention_case poisoned[] = {
        {1, 90, 90, 2, 1, 16, 0, 0, 0, 0, 1},  {1, 90, 90, 2, 1, 16, 0, 0, 0, 2, 2},
        {8, 70, 70, 2, 2, 16, 0, 0, 0, 0, 3},  {1, 2, 90, 2, 1, 16, 0, 0, 0, 0, 2},
        {1, 90, 90, 2, 1, 16, 0, 0, 0, 2, 3},  {1, 90, 90, 2, 1, 16, 0, 0, 0, 2, 1},
        {9, 70, 70, 4, 2, 13, 1, 0, 0, 2, 2},  {9, 70, 70, 4, 2, 20, 0, 11, 0, 0, 3},
        {2, 90, 90, 2, 1, 16, 0, 0, 2, 2, 3},  {2, 90, 90, 2, 1, 16, 0, 0, 2, 2, 2},
        {1, 40, 170, 2, 1, 24, 0, 0, 0, 4, 3}, {3, 3, 131, 2, 1, 24, 0, 0, 0, 4, 3},
        {1, 40, 170, 2, 1, 64, 0, 0, 0, 3, 1}, {1, 130, 130, 1, 1, 64, 0, 0, 0, 1, 3},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) check_attention(&table[i]);
    for (size_t i = 0; i < COUNT_OF(poisoned); i++) check_attention(&poisoned[i]);
}

// Large scores, where a softmax that does not subtract the maximum would fail.
void test_attention_large(void **state) {
    (void)state;
    struct op_case k;
    case_begin(&k, DAPT_OP_ATTENTION, "attention, large scores");
    const struct attention_case a = {1, 100, 100, 1, 1, 16, 0, 0, 0, 0, 0};
    begin_attention(&a, &k, 0);
    for (int64_t i = 0; i < 1600; i++) k.in[0].f[i] *= 30, k.in[1].f[i] *= 30;
    int32_t *first = case_indices(&k, 3, 100, 2), *last = case_indices(&k, 4, 100, 2);
    set_ranges(&a, first, last);
    case_output(&k, 0, 0, 3, SHAPE(100, 1, 16));
    case_output(&k, 1, 0, 2, SHAPE(100, 1));
    k.tolerance = 1e-3;
    case_check(&k);
}

// A block forward and back in one program, with scratch of different sizes and loops that follow
// each other at once: the same bits for any number of threads.
#define CHAIN_ROWS 192
#define CHAIN_COLS 48

void test_chain(void **state) {
    (void)state;
    enum { X, W, Y, DY, DW, DX, Z, LSE, LOSS, SEED, WORD, FIRST, LAST, NORM, RSTD, TENSORS };
    static const int64_t shapes[TENSORS][3] = {
        [X] = {CHAIN_ROWS, CHAIN_COLS},  [W] = {CHAIN_COLS, CHAIN_COLS},
        [Y] = {CHAIN_ROWS, CHAIN_COLS},  [DY] = {CHAIN_ROWS, CHAIN_COLS},
        [DW] = {CHAIN_COLS, CHAIN_COLS}, [DX] = {CHAIN_ROWS, CHAIN_COLS},
        [Z] = {CHAIN_ROWS, CHAIN_COLS},  [LSE] = {CHAIN_ROWS, 3},
        [LOSS] = {CHAIN_ROWS},           [SEED] = {1},
        [WORD] = {CHAIN_ROWS},           [FIRST] = {CHAIN_ROWS},
        [LAST] = {CHAIN_ROWS},           [NORM] = {CHAIN_COLS},
        [RSTD] = {CHAIN_ROWS},
    };
    struct dapt_tensor tensors[TENSORS + 2];
    uint64_t sizes_of[2] = {0, 0};
    for (int t = 0; t < TENSORS; t++) {
        uint32_t buffer = t == WORD || t == FIRST || t == LAST;
        tensors[t] = (struct dapt_tensor){
            .dtype = buffer ? DAPT_I32 : DAPT_F32,
            .rank = shapes[t][1] > 0 ? 2 : 1,
            .buffer = buffer,
            .shape = {shapes[t][0], shapes[t][1] > 0 ? shapes[t][1] : 1, 1, 1},
            .offset = sizes_of[buffer]};
        tensors[t].stride = tensors[t].shape[1];
        sizes_of[buffer] += (uint64_t)(tensors[t].shape[0] * tensors[t].stride) * 4;
    }
    for (int t = 0; t < 2; t++) {  // y and z as three heads of 16
        struct dapt_tensor *heads = &tensors[TENSORS + t];
        *heads = tensors[t == 0 ? Y : Z];
        heads->rank = 3, heads->shape[1] = 3, heads->shape[2] = 16;
    }
    const uint32_t none = DAPT_NONE;
    struct dapt_op ops[40] = {
        {.opcode = DAPT_OP_RMS_NORM,
         .inputs = {X, NORM},
         .outputs = {DX, RSTD, none, none},
         .u.norm.eps = 1e-5f},
        {.opcode = DAPT_OP_MATMUL,
         .inputs = {DX, W, none, X},
         .outputs = {Y, none, none, none},
         .u.matmul = {.transpose_b = true, .activation = DAPT_ACT_SILU}},
        {.opcode = DAPT_OP_ATTENTION,
         .inputs = {TENSORS, TENSORS, TENSORS, FIRST, LAST},
         .outputs = {TENSORS + 1, LSE, none, none},
         .u.attention = {.sequences = 2, .scale = 0.25f}},
        {.opcode = DAPT_OP_LM_LOSS_GRAD,
         .inputs = {Z, W, none, WORD, SEED},
         .outputs = {LOSS, DY, DW, none},
         .u.lm = {.scale = 1}},
        {.opcode = DAPT_OP_MATMUL,
         .accumulate = 1,
         .inputs = {DY, X, none, none},
         .outputs = {DW, none, none, none},
         .u.matmul = {.transpose_a = true}},
        {.opcode = DAPT_OP_ADD, .inputs = {X, DY}, .outputs = {X, none, none, none}},
    };
    const uint32_t count = 6, repeats = 6;
    static const uint32_t inputs[] = {2, 4, 5, 5, 4, 2};
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = inputs[i]; k < DAPT_OP_INPUTS; k++) ops[i].inputs[k] = none;
    for (uint32_t i = count; i < count * repeats; i++) ops[i] = ops[i - count];
    struct dapt_buffer_info infos[2] = {{DAPT_BUFFER_WORK, sizes_of[0]},
                                        {DAPT_BUFFER_BATCH, sizes_of[1]}};
    float *values = malloc(sizes_of[0]);
    int32_t *whole = malloc(sizes_of[1]);
    assert_non_null(values);
    assert_non_null(whole);
    for (uint64_t i = 0; i < sizes_of[0] / 4; i++) values[i] = (float)bed_random();
    for (int32_t i = 0; i < CHAIN_ROWS; i++) {
        whole[i] = i * 7 % CHAIN_COLS;
        whole[CHAIN_ROWS + i] = 0;
        whole[2 * CHAIN_ROWS + i] = i % (CHAIN_ROWS / 2);
    }
    struct dapt_program program = {2, TENSORS + 2, count * repeats, infos, tensors, ops};
    bed_check_bits(&program, (const void *const[]){values, whole});
    free(values);
    free(whole);
}
