// Every op on every device against the double reference: odd sizes, strides, sums, in place,
// operands absent.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <math.h>

#include <cmocka.h>

#include "bed.h"

#define SHAPE(...)      \
    (const int64_t[]) { \
        __VA_ARGS__     \
    }
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const enum dapt_activation kinds[] = {DAPT_ACT_NONE, DAPT_ACT_GELU, DAPT_ACT_GELU_TANH,
                                             DAPT_ACT_SILU, DAPT_ACT_RELU};
// Rows and columns: one, odd, around the widths of vectors, larger than one task.
static const int64_t sizes[][2] = {{1, 1},   {3, 5},    {7, 16},   {5, 33},
                                   {64, 48}, {13, 172}, {300, 65}, {2, 20000}};

// -------------------------------------------------------------------------------------------- rows

static void test_embed(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t n = sizes[s][0], c = sizes[s][1], v = 19;
        struct op_case k;
        case_begin(&k, DAPT_OP_EMBED, "embed");
        case_input(&k, 0, 0, 2, SHAPE(v, c));
        case_indices(&k, 1, n, v);
        case_output(&k, 0, 0, 2, SHAPE(n, c));
        case_check(&k);
        for (uint32_t accumulate = 0; accumulate < 2; accumulate++) {
            case_begin(&k, DAPT_OP_EMBED_GRAD, "embed_grad");
            k.op.accumulate = accumulate;
            case_input(&k, 0, 0, 2, SHAPE(n, c));
            case_indices(&k, 1, n, v);
            case_output(&k, 0, 0, 2, SHAPE(v, c));
            case_check(&k);
        }
    }
}

static void test_scatter_rows(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t n = sizes[s][0], c = sizes[s][1], p = 2 * n + 3;
        struct op_case k;
        case_begin(&k, DAPT_OP_SCATTER_ROWS, "scatter_rows");
        case_input(&k, 0, s % 3, 2, SHAPE(n, c));
        int32_t *rows = case_indices(&k, 1, n, p);
        for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)((i * 2 + 1) % p);
        case_output(&k, 0, 0, 2, SHAPE(p, c));
        case_check(&k);
    }
}

// ------------------------------------------------------------------------------------------ matmul

struct matmul_case {
    int64_t m, n, k, gap;
    bool bias, residual, in_place, accumulate;
    enum dapt_activation kind;
};

static void check_matmul(struct matmul_case m, bool ta, bool tb) {
    struct op_case k;
    char name[128];
    snprintf(name, sizeof name,
             "matmul %lldx%lldx%lld t%d%d bias %d residual %d here %d += %d act %d", (long long)m.m,
             (long long)m.n, (long long)m.k, ta, tb, m.bias, m.residual, m.in_place, m.accumulate,
             m.kind);
    case_begin(&k, DAPT_OP_MATMUL, name);
    k.op.u.matmul.transpose_a = ta;
    k.op.u.matmul.transpose_b = tb;
    k.op.u.matmul.activation = m.kind;
    k.op.accumulate = m.accumulate;
    case_input(&k, 0, m.gap, 2, ta ? SHAPE(m.k, m.m) : SHAPE(m.m, m.k));
    case_input(&k, 1, 2 * m.gap, 2, tb ? SHAPE(m.n, m.k) : SHAPE(m.k, m.n));
    if (m.bias) case_input(&k, 2, 0, 1, SHAPE(m.n));
    if (m.residual) case_input(&k, 3, m.gap, 2, SHAPE(m.m, m.n));
    if (m.in_place)
        case_in_place(&k, 0, 3);
    else
        case_output(&k, 0, m.gap, 2, SHAPE(m.m, m.n));
    case_check(&k);
}

static void test_matmul(void **state) {
    (void)state;
    static const struct matmul_case table[] = {
        {1, 1, 1, 0, false, false, false, false, DAPT_ACT_NONE},
        {1, 300, 64, 0, true, false, false, false, DAPT_ACT_SILU},
        {1, 257, 67, 3, true, true, false, false, DAPT_ACT_NONE},
        {1, 130, 40, 0, false, true, true, false, DAPT_ACT_NONE},
        {3, 129, 45, 1, false, false, false, true, DAPT_ACT_GELU},
        {4, 31, 200, 0, true, true, true, true, DAPT_ACT_RELU},
        {5, 7, 3, 2, true, true, false, true, DAPT_ACT_NONE},
        {64, 64, 1030, 0, false, false, false, true, DAPT_ACT_NONE},
        {64, 64, 1030, 1, true, true, false, false, DAPT_ACT_GELU_TANH},
        {33, 65, 1500, 1, true, true, true, false, DAPT_ACT_NONE},
        {33, 172, 64, 0, false, false, false, false, DAPT_ACT_NONE},
        {200, 96, 64, 5, true, false, false, false, DAPT_ACT_GELU},
        {200, 96, 33, 5, true, true, false, false, DAPT_ACT_SILU},
        {130, 70, 50, 0, false, true, true, true, DAPT_ACT_NONE},
        {130, 70, 50, 0, true, true, true, false, DAPT_ACT_GELU_TANH},
        {300, 600, 20, 0, false, false, false, true, DAPT_ACT_NONE},
        {20, 1100, 130, 1, true, false, false, false, DAPT_ACT_NONE},
        {700, 200, 40, 0, true, true, true, false, DAPT_ACT_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        for (int t = 0; t < 4; t++) check_matmul(table[i], (t & 1) != 0, (t & 2) != 0);
}

static void test_bias_and_column_sum(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        int64_t n = sizes[s][0], c = sizes[s][1];
        struct op_case k;
        for (int in_place = 0; in_place < 2; in_place++) {
            case_begin(&k, DAPT_OP_ADD_BIAS, "add_bias");
            case_input(&k, 0, s % 3, 2, SHAPE(n, c));
            case_input(&k, 1, 0, 1, SHAPE(c));
            if (in_place)
                case_in_place(&k, 0, 0);
            else
                case_output(&k, 0, s % 2, 2, SHAPE(n, c));
            case_check(&k);
        }
        for (uint32_t accumulate = 0; accumulate < 2; accumulate++) {
            case_begin(&k, DAPT_OP_COLUMN_SUM, "column_sum");
            k.op.accumulate = accumulate;
            case_input(&k, 0, s % 4, 2, SHAPE(n, c));
            case_output(&k, 0, 0, 1, SHAPE(c));
            case_check(&k);
        }
    }
}

// ------------------------------------------------------------------------------------------- norms

// Rank 2 or 3: rows of `heads` heads each.
static void check_norm(int64_t n, int64_t heads, int64_t c, int64_t gap, bool bias, float offset) {
    uint32_t rank = heads > 0 ? 3 : 2;
    const int64_t shape[3] = {n, heads > 0 ? heads : c, c}, rows = n * (heads > 0 ? heads : 1);
    bool layer = heads == 0;
    struct op_case k;
    case_begin(&k, DAPT_OP_RMS_NORM, "rms_norm");
    k.op.u.norm.eps = 1e-5f;
    k.op.u.norm.weight_offset = offset;
    case_input(&k, 0, gap, rank, shape);
    case_input(&k, 1, 0, 1, &c);
    case_output(&k, 0, 2 * gap, rank, shape);
    case_output(&k, 1, 0, 1, &rows);
    case_check(&k);
    if (!layer) return;
    case_begin(&k, DAPT_OP_LAYER_NORM, "layer_norm");
    k.op.u.norm.eps = 1e-5f;
    float *x = case_input(&k, 0, gap, 2, shape);
    for (int64_t i = 0; i < n * c; i++) x[i] += 3.0f;
    case_input(&k, 1, 0, 1, &c);
    if (bias) case_input(&k, 2, 0, 1, &c);
    case_output(&k, 0, gap, 2, shape);
    case_output(&k, 1, 0, 1, &rows);
    case_output(&k, 2, 0, 1, &rows);
    k.tolerance = 5e-5;
    if (c == 1) k.tolerance = 1e-3;  // all is rounding there
    case_check(&k);
}

static void check_norm_grad(int64_t n, int64_t heads, int64_t c, int64_t gap, uint32_t accumulate,
                            bool bias, float offset) {
    uint32_t rank = heads > 0 ? 3 : 2;
    const int64_t shape[3] = {n, heads > 0 ? heads : c, c}, rows = n * (heads > 0 ? heads : 1);
    struct op_case k;
    for (int layer = 0; layer < (heads > 0 ? 1 : 2); layer++) {
        case_begin(&k, layer ? DAPT_OP_LAYER_NORM_GRAD : DAPT_OP_RMS_NORM_GRAD,
                   layer ? "layer_norm_grad" : "rms_norm_grad");
        k.op.accumulate = layer && bias ? accumulate : accumulate & 3;
        k.op.u.norm.weight_offset = layer ? 0 : offset;
        case_input(&k, 0, gap, rank, shape);
        case_input(&k, 1, 2 * gap, rank, shape);
        case_input(&k, 2, 0, 1, &c);
        if (layer) case_input(&k, 3, 0, 1, &rows);
        case_input(&k, layer ? 4 : 3, 0, 1, &rows);
        case_output(&k, 0, gap, rank, shape);
        case_output(&k, 1, 0, 1, &c);
        if (layer && bias) case_output(&k, 2, 0, 1, &c);
        case_check(&k);
    }
}

static void test_norms(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        float offset = s % 3 == 1 ? 1 : 0;
        check_norm(sizes[s][0], 0, sizes[s][1], (int64_t)s % 3, s % 2 == 0, offset);
        for (uint32_t accumulate = 0; accumulate < 8; accumulate += 7)
            check_norm_grad(sizes[s][0], 0, sizes[s][1], (int64_t)s % 3, accumulate, s % 2 == 0,
                            offset);
    }
    for (int offset = 0; offset < 2; offset++) {
        check_norm(37, 4, 24, 8, false, (float)offset);
        check_norm(5, 3, 7, 0, false, (float)offset);
        check_norm_grad(37, 4, 24, 8, 1, false, (float)offset);
        check_norm_grad(37, 4, 24, 0, 2, false, (float)offset);
        check_norm_grad(3000, 0, 9, 0, 6, true, (float)offset * 0.75f);
    }
}

static void test_rope(void **state) {
    (void)state;
    static const int64_t shapes[][4] = {{9, 2, 8, 8},    {33, 3, 48, 48},  {5, 1, 10, 6},
                                        {70, 4, 64, 32}, {3, 2, 128, 128}, {4, 1, 2, 2}};
    for (size_t s = 0; s < COUNT_OF(shapes); s++)
        for (int variant = 0; variant < 8; variant++) {
            int64_t n = shapes[s][0], h = shapes[s][1], d = shapes[s][2], r = shapes[s][3],
                    gap = variant % 3;
            struct op_case k;
            case_begin(&k, DAPT_OP_ROPE, "rope");
            k.op.u.rope.interleaved = (variant & 1) != 0;
            k.op.u.rope.inverse = (variant & 2) != 0;
            case_input(&k, 0, gap, 3, SHAPE(n, h, d));
            case_input(&k, 1, variant % 4, 2, SHAPE(41, r));
            case_indices(&k, 2, n, 41);
            if ((variant & 4) != 0)
                case_in_place(&k, 0, 0);
            else
                case_output(&k, 0, 1, 3, SHAPE(n, h, d));
            case_check(&k);
        }
}

// ---------------------------------------------------------------------------------------- elements

static void test_activate(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t a = 0; a < COUNT_OF(kinds); a++)
            for (int here = 0; here < 2; here++) {
                int64_t n = sizes[s][0], c = sizes[s][1], gap = (int64_t)(s + a) % 3;
                struct op_case k;
                case_begin(&k, DAPT_OP_ACTIVATE, "activate");
                k.op.u.activation.kind = kinds[a];
                float *x = case_input(&k, 0, gap, 2, SHAPE(n, c));
                for (int64_t i = 0; i < n * c; i += 2) x[i] *= 4;
                if (here)
                    case_in_place(&k, 0, 0);
                else
                    case_output(&k, 0, gap / 2, 2, SHAPE(n, c));
                k.tolerance = 2e-6;
                case_check(&k);

                case_begin(&k, DAPT_OP_ACTIVATE_GRAD, "activate_grad");
                k.op.u.activation.kind = kinds[a];
                case_input(&k, 0, gap, 2, SHAPE(n, c));
                x = case_input(&k, 1, gap, 2, SHAPE(n, c));
                for (int64_t i = 0; i < n * c; i += 2) x[i] *= 4;
                if (here)
                    case_in_place(&k, 0, 0);
                else
                    case_output(&k, 0, gap / 2, 2, SHAPE(n, c));
                k.tolerance = 2e-6;
                case_check(&k);
            }
}

// Over the whole range: what is large, tiny or past where exponentials end.
static void test_activate_range(void **state) {
    (void)state;
    for (size_t a = 0; a < COUNT_OF(kinds); a++)
        for (int grad = 0; grad < 2; grad++) {
            struct op_case k;
            case_begin(&k, grad ? DAPT_OP_ACTIVATE_GRAD : DAPT_OP_ACTIVATE,
                       "activate, whole range");
            k.op.u.activation.kind = kinds[a];
            float *x = case_input(&k, grad, 0, 2, SHAPE(1, 4001));
            for (int i = 0; i < 4001; i++)
                x[i] = ((float)i - 2000.5f) * (i % 2 == 0 ? 0.006f : 0.1f);
            if (grad) {
                float *dy = case_input(&k, 0, 0, 2, SHAPE(1, 4001));
                for (int i = 0; i < 4001; i++) dy[i] = 1;
            }
            case_output(&k, 0, 0, 2, SHAPE(1, 4001));
            k.tolerance = 1e-6;
            case_check(&k);
        }
}

static void test_gate(void **state) {
    (void)state;
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t a = 0; a < COUNT_OF(kinds); a++) {
            int64_t n = sizes[s][0], c = sizes[s][1], gap = (int64_t)(s + a) % 2 * 3;
            struct op_case k;
            case_begin(&k, DAPT_OP_GATE, "gate");
            k.op.u.activation.kind = kinds[a];
            case_input(&k, 0, gap, 2, SHAPE(n, c));
            case_input(&k, 1, 0, 2, SHAPE(n, c));
            case_output(&k, 0, gap, 2, SHAPE(n, c));
            case_check(&k);
            case_begin(&k, DAPT_OP_GATE_GRAD, "gate_grad");
            k.op.u.activation.kind = kinds[a];
            case_input(&k, 0, gap, 2, SHAPE(n, c));
            case_input(&k, 1, gap, 2, SHAPE(n, c));
            case_input(&k, 2, 0, 2, SHAPE(n, c));
            case_output(&k, 0, gap, 2, SHAPE(n, c));
            case_output(&k, 1, 0, 2, SHAPE(n, c));
            case_check(&k);
        }
}

static void test_elements(void **state) {
    (void)state;
    static const enum dapt_opcode opcodes[] = {DAPT_OP_ADD, DAPT_OP_SCALE, DAPT_OP_COPY,
                                               DAPT_OP_FILL};
    static const int64_t shapes[][4] = {{1, 1, 1, 1}, {7, 1, 1, 1}, {5, 33, 1, 1},
                                        {3, 4, 9, 1}, {2, 3, 5, 7}, {70, 500, 1, 1}};
    static const uint32_t ranks[] = {1, 1, 2, 3, 4, 2};
    for (size_t o = 0; o < COUNT_OF(opcodes); o++)
        for (size_t s = 0; s < COUNT_OF(shapes); s++)
            for (int variant = 0; variant < 6; variant++) {
                int inputs = opcodes[o] == DAPT_OP_ADD ? 2 : opcodes[o] == DAPT_OP_FILL ? 0 : 1;
                int place = variant % 3;  // 1: in place of input 0, 2: of input 1
                if (place > 0 && (place > inputs || opcodes[o] == DAPT_OP_COPY)) continue;
                struct op_case k;
                case_begin(&k, opcodes[o], "element");
                if (opcodes[o] == DAPT_OP_SCALE) {
                    k.op.u.scale.factor = -1.75f;
                    k.op.u.scale.softcap = s % 2 == 0 ? 0 : 1.5f;
                }
                if (opcodes[o] == DAPT_OP_FILL) k.op.u.fill.value = 0.3f;
                for (int i = 0; i < inputs; i++)
                    case_input(&k, i, variant / 3 * (i + 2), ranks[s], shapes[s]);
                if (place > 0)
                    case_in_place(&k, 0, place - 1);
                else
                    case_output(&k, 0, variant / 3, ranks[s], shapes[s]);
                k.tolerance = 1e-6;
                case_check(&k);
            }
}

// -------------------------------------------------------------------------------------- loss, sums

static void check_lm(int64_t n, int64_t c, int64_t v, bool bias, float softcap, float scale,
                     int unscored, uint32_t accumulate) {
    for (int grad = 0; grad < 2; grad++) {
        char name[96];
        snprintf(name, sizeof name, "lm_loss%s %lldx%lldx%lld", grad ? "_grad" : "", (long long)n,
                 (long long)c, (long long)v);
        struct op_case k;
        case_begin(&k, grad ? DAPT_OP_LM_LOSS_GRAD : DAPT_OP_LM_LOSS, name);
        k.op.u.lm.scale = scale;
        k.op.u.lm.softcap = softcap;
        case_input(&k, 0, 0, 2, SHAPE(n, c));
        case_input(&k, 1, 0, 2, SHAPE(v, c));
        if (bias) case_input(&k, 2, 0, 1, SHAPE(v));
        int32_t *targets = case_indices(&k, 3, n, v);
        for (int64_t i = 0; i < n; i++)
            if (unscored == 2 || (unscored == 1 && i % 3 == 1)) targets[i] = -1;
        case_output(&k, 0, 0, 1, SHAPE(n));
        if (grad) {
            float *seed = case_input(&k, 4, 0, 1, SHAPE(1));
            *seed = 0.25f;
            k.op.accumulate = bias ? accumulate : accumulate & 4;
            case_output(&k, 1, 0, 2, SHAPE(n, c));
            case_output(&k, 2, 0, 2, SHAPE(v, c));
            if (bias) case_output(&k, 3, 0, 1, SHAPE(v));
        }
        case_check(&k);
    }
}

static void test_lm_loss(void **state) {
    (void)state;
    check_lm(1, 1, 1, false, 0, 1, 0, 0);
    check_lm(5, 7, 33, true, 0, 1, 1, 0);
    check_lm(70, 16, 130, false, 0, 1, 0, 4);
    check_lm(100, 24, 517, true, 3, 0.5f, 1, 12);
    check_lm(9, 8, 3001, true, 5, 1, 1, 8);
    check_lm(17, 5, 64, true, 0, 2, 2, 0);
    check_lm(17, 5, 64, true, 0, 2, 2, 12);
    check_lm(1100, 6, 40, true, 0, 1, 0, 0);
    check_lm(1100, 6, 40, false, 0, 1, 1, 4);
}

static void test_sums(void **state) {
    (void)state;
    static const int64_t counts[] = {1, 7, 1000, 65536, 150001};
    for (size_t s = 0; s < COUNT_OF(counts); s++)
        for (uint32_t variant = 0; variant < 4; variant++) {
            struct op_case k;
            case_begin(&k, variant & 1 ? DAPT_OP_SUM : DAPT_OP_SUM_SQUARES, "sum");
            k.op.accumulate = variant >> 1;
            float *x = case_input(&k, 0, 0, 1, &counts[s]);
            for (int64_t i = 0; i < counts[s]; i++) x[i] += 0.5f;  // not near 0
            case_output(&k, 0, 0, 1, SHAPE(1));
            k.tolerance = 1e-6;
            case_check(&k);
        }
}

static void test_adamw(void **state) {
    (void)state;
    static const int64_t counts[] = {1, 5, 40, 70003};
    static const float norms[] = {0.25f, 400.0f, INFINITY, NAN};
    for (size_t s = 0; s < COUNT_OF(counts); s++)
        for (size_t n = 0; n < COUNT_OF(norms); n++)
            for (int variant = 0; variant < 4; variant++) {
                struct op_case k;
                case_begin(&k, DAPT_OP_ADAMW, "adamw");
                k.op.u.adamw.beta1 = 0.9f;
                k.op.u.adamw.beta2 = 0.95f;
                k.op.u.adamw.eps = 1e-8f;
                k.op.u.adamw.decay = (variant & 1) != 0;
                case_input(&k, 0, 0, 1, &counts[s]);
                float *step = case_input(&k, 1, 0, 1, SHAPE(DAPT_STEP_COUNT));
                step[DAPT_STEP_LEARNING_RATE] = 0.01f;
                step[DAPT_STEP_WEIGHT_DECAY] = 0.1f;
                step[DAPT_STEP_CORRECTION1] = 0.271f;
                step[DAPT_STEP_CORRECTION2] = 0.1426f;
                step[DAPT_STEP_CLIP] = variant & 2 ? 1.0f : 0.0f;
                *case_input(&k, 2, 0, 1, SHAPE(1)) = norms[n];
                for (int i = 0; i < 3; i++) case_output(&k, i, 0, 1, &counts[s]);
                for (int64_t i = 0; i < counts[s]; i++) k.out[2].f[i] = fabsf(k.out[2].f[i]);
                if (n >= 2) k.tolerance = 0;
                case_check(&k);
            }
}

// ---------------------------------------------------------------------------- what is not a number

static void test_not_a_number(void **state) {
    (void)state;
    struct op_case k;
    for (int slot = 0; slot < 4; slot++)
        for (int few = 0; few < 2; few++) {
            int64_t m = few ? 2 : 70;
            case_begin(&k, DAPT_OP_MATMUL, "matmul, NaN");
            k.op.u.matmul.activation = slot % 2 ? DAPT_ACT_RELU : DAPT_ACT_GELU;
            case_input(&k, 0, 0, 2, SHAPE(m, 40));
            case_input(&k, 1, 0, 2, SHAPE(40, 50));
            case_input(&k, 2, 0, 1, SHAPE(50));
            case_input(&k, 3, 0, 2, SHAPE(m, 50));
            case_output(&k, 0, 0, 2, SHAPE(m, 50));
            k.in[slot].f[33] = NAN;
            k.poisoned = true;
            case_check(&k);
        }
    for (size_t a = 0; a < COUNT_OF(kinds); a++)
        for (int slot = 0; slot < 2; slot++) {
            case_begin(&k, slot ? DAPT_OP_ACTIVATE_GRAD : DAPT_OP_ACTIVATE, "activate, NaN");
            k.op.u.activation.kind = kinds[a];
            for (int i = 0; i <= slot; i++) case_input(&k, i, 0, 2, SHAPE(3, 37))[41] = NAN;
            case_output(&k, 0, 0, 2, SHAPE(3, 37));
            k.poisoned = true;
            case_check(&k);
        }
    case_begin(&k, DAPT_OP_SCALE, "scale with a softcap, NaN");
    k.op.u.scale.factor = 2;
    k.op.u.scale.softcap = 3;
    case_input(&k, 0, 0, 2, SHAPE(3, 37))[41] = NAN;
    case_output(&k, 0, 0, 2, SHAPE(3, 37));
    k.poisoned = true;
    case_check(&k);
    case_begin(&k, DAPT_OP_RMS_NORM, "rms_norm, NaN");
    case_input(&k, 0, 0, 2, SHAPE(5, 37))[50] = NAN;
    case_input(&k, 1, 0, 1, SHAPE(37));
    case_output(&k, 0, 0, 2, SHAPE(5, 37));
    case_output(&k, 1, 0, 1, SHAPE(5));
    k.poisoned = true;
    case_check(&k);
    for (int slot = 0; slot < 2; slot++) {
        case_begin(&k, DAPT_OP_LM_LOSS_GRAD, "lm_loss_grad, NaN");
        k.op.u.lm.scale = 1;
        case_input(&k, 0, 0, 2, SHAPE(20, 9));
        case_input(&k, 1, 0, 2, SHAPE(130, 9));
        case_indices(&k, 3, 20, 130);
        *case_input(&k, 4, 0, 1, SHAPE(1)) = 1;
        case_output(&k, 0, 0, 1, SHAPE(20));
        case_output(&k, 1, 0, 2, SHAPE(20, 9));
        case_output(&k, 2, 0, 2, SHAPE(130, 9));
        k.in[slot].f[13] = NAN;
        k.poisoned = true;
        case_check(&k);
    }
    case_begin(&k, DAPT_OP_SUM_SQUARES, "sum_squares, NaN");
    case_input(&k, 0, 0, 1, SHAPE(70000))[69999] = NAN;
    case_output(&k, 0, 0, 1, SHAPE(1));
    k.poisoned = true;
    case_check(&k);
}

static void test_all_covered(void **state) {
    (void)state;
    for (int opcode = 0; opcode < DAPT_OP_COUNT; opcode++)
        if (!bed_covered((enum dapt_opcode)opcode)) fail_msg("operation %d has no case", opcode);
}

static int setup(void **state) {
    (void)state;
    bed_open();
    return 0;
}
static int teardown(void **state) {
    (void)state;
    bed_close();
    return 0;
}

// A pattern as the only argument chooses tests: "*attention*".
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),     cmocka_unit_test(test_scatter_rows),
        cmocka_unit_test(test_matmul),    cmocka_unit_test(test_bias_and_column_sum),
        cmocka_unit_test(test_norms),     cmocka_unit_test(test_rope),
        cmocka_unit_test(test_activate),  cmocka_unit_test(test_activate_range),
        cmocka_unit_test(test_gate),      cmocka_unit_test(test_elements),
        cmocka_unit_test(test_lm_loss),   cmocka_unit_test(test_sums),
        cmocka_unit_test(test_adamw),     cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_attention_large),
        cmocka_unit_test(test_chain),     cmocka_unit_test(test_all_covered),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("ops", tests, setup, teardown);
}
