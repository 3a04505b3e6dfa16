// Attention on operands of special values, and a chain of ops.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "bed.h"
#include "part.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

void attention_results(struct op_case *grad) {
    double *outputs[DAPT_OP_OUTPUTS];
    struct op_case forward = {.op = grad->op, .in_place = -1};
    forward.op.opcode = DAPT_OP_ATTENTION;
    for (int i = 0; i < 3; i++) forward.in[i] = grad->in[1 + i];
    for (int i = 0; i < 2; i++) {
        forward.in[3 + i] = grad->in[6 + i];
        forward.out[i] = grad->in[4 + i];
    }
    case_reference(&forward, outputs);
    for (int i = 0; i < 2; i++) {
        for (int64_t e = 0; e < operand_count(&forward.out[i]); e++)
            grad->in[4 + i].f[e] = (float)outputs[i][e];
        operand_round(&grad->in[4 + i]);
        free(outputs[i]);
    }
}

struct poisoned {
    uint32_t sequences, query_rows, key_rows, heads, groups, size, gap;
    int32_t window;
    float softcap;
    enum dapt_case_sight sight;
    int operand;  // with a NaN in a row of the middle: q, k or v
    enum dapt_dtype dtype;
};

static void check_poisoned(const struct poisoned *p, bool grad) {
    const struct dapt_case_shape shape = {.size = {['N'] = p->sequences * p->query_rows,
                                                   ['M'] = p->sequences * p->key_rows,
                                                   ['Q'] = p->sequences,
                                                   ['H'] = p->heads,
                                                   ['G'] = p->groups,
                                                   ['D'] = p->size},
                                          .sight = p->sight};
    const struct dapt_case_row row = {
        .op = {.opcode = grad ? DAPT_OP_ATTENTION_GRAD : DAPT_OP_ATTENTION,
               .u.attention = {.window = p->window, .softcap = p->softcap}},
        .dtype = p->dtype};
    struct op_case k;
    case_open(&k, &(struct dapt_case){.row = &row, .shape = &shape}, "not a number");
    k.gap = p->gap;
    uint32_t heads = p->operand ? p->groups : p->heads,
             rows = p->operand ? p->key_rows : p->query_rows;
    k.in[p->operand + grad].f[(rows / 2 * heads + heads - 1) * p->size + p->size / 2] = NAN;
    if (grad) attention_results(&k);
    k.poisoned = true;
    k.spreads = grad;  // of a gradient that is not finite nothing is used
    k.spreads_in_row = !grad && p->dtype != DAPT_F32;
    case_check(&k);
    case_close(&k);
}

// A NaN stays where it is seen: causal, in documents, in a window, under a cap, for few queries.
void test_attention_poisoned(void **state) {
    (void)state;
    enum { Q, K, V };
    static const struct poisoned table[] = {
        {1, 90, 90, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_CAUSAL, Q, DAPT_F32},
        {1, 90, 90, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, K, DAPT_F32},
        {8, 70, 70, 2, 2, 16, 0, 0, 0, DAPT_SIGHT_CAUSAL, V, DAPT_F32},
        {1, 2, 90, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_CAUSAL, K, DAPT_F32},
        {1, 90, 90, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, V, DAPT_F32},
        {1, 90, 90, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, Q, DAPT_F32},
        {9, 70, 70, 4, 2, 13, 1, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, K, DAPT_F32},
        {9, 70, 70, 4, 2, 20, 0, 11, 0, DAPT_SIGHT_CAUSAL, V, DAPT_F32},
        {2, 90, 90, 2, 1, 16, 0, 0, 2, DAPT_SIGHT_LONG_DOCUMENTS, V, DAPT_F32},
        {2, 90, 90, 2, 1, 16, 0, 0, 2, DAPT_SIGHT_LONG_DOCUMENTS, K, DAPT_F32},
        {1, 40, 170, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_CACHE, V, DAPT_F32},
        {3, 3, 131, 2, 1, 16, 0, 0, 0, DAPT_SIGHT_CACHE, V, DAPT_F32},
        {1, 40, 170, 2, 1, 64, 0, 0, 0, DAPT_SIGHT_HOLES, Q, DAPT_F32},
        {1, 130, 130, 2, 1, 64, 0, 0, 0, DAPT_SIGHT_WHOLE, V, DAPT_F32},
        {1, 130, 130, 2, 1, 68, 0, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, V, DAPT_F32},
        {1, 130, 130, 2, 1, 68, 0, 40, 0, DAPT_SIGHT_CAUSAL, K, DAPT_F32},
        {1, 130, 130, 2, 1, 128, 0, 0, 2, DAPT_SIGHT_CAUSAL, V, DAPT_F32},
        {2, 3, 150, 2, 1, 128, 0, 0, 0, DAPT_SIGHT_CACHE, V, DAPT_F32},
        {1, 130, 130, 2, 1, 64, 0, 0, 0, DAPT_SIGHT_LONG_DOCUMENTS, V, DAPT_F16},
    };
    const size_t count = 2 * COUNT_OF(table);  // forward and back
    for (size_t i = 0; i < count; i++)
        if (is_in_part(i, count) && (table[i / 2].dtype == DAPT_F32 || i % 2 == 0))
            check_poisoned(&table[i / 2], i % 2);
}

// Large scores, where a softmax that does not subtract the maximum would fail.
void test_attention_large(void **state) {
    (void)state;
    const struct dapt_case_shape shape = {
        .size = {['N'] = 100, ['M'] = 100, ['Q'] = 1, ['H'] = 1, ['G'] = 1, ['D'] = 16},
        .sight = DAPT_SIGHT_CAUSAL};
    const struct dapt_case_row row = {.op = {.opcode = DAPT_OP_ATTENTION}, .tolerance = 1e-3};
    struct op_case k;
    case_open(&k, &(struct dapt_case){.row = &row, .shape = &shape}, "large scores");
    for (int64_t i = 0; i < 1600; i++) k.in[0].f[i] *= 30, k.in[1].f[i] *= 30;
    case_check(&k);
    case_close(&k);
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
    for (uint64_t i = 0; i < sizes_of[0] / 4; i++)
        values[i] = (float)(2 * dapt_random_uniform(1, 0, i) - 1);
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
