// The reference's gradients against central differences of the reference's forward ops, in double
// precision. The backends are compared with the same reference in test_ops.c.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reference.h"

#define STEP 1e-5
#define TOLERANCE 1e-7
#define MAX_VALUES 4096

static double pool[64 * MAX_VALUES];
static size_t pool_used;
static int32_t indices[8 * MAX_VALUES];
static size_t indices_used;
static uint64_t state = 88172645463325252u;

static double uniform(void) {  // -1 .. 1
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 4503599627370496.0 - 1.0;
}

static int reset(void **unused) {
    (void)unused;
    pool_used = indices_used = 0;
    return 0;
}

static int64_t count_of(const struct reference_tensor *t) {
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}

// A tensor of random values; trailing zero sizes are left out.
static struct reference_tensor values(int64_t d0, int64_t d1, int64_t d2) {
    struct reference_tensor t = {.rank = d2 > 0   ? 3
                                         : d1 > 0 ? 2
                                                  : 1,
                                 .shape = {d0, d1 > 0 ? d1 : 1, d2 > 0 ? d2 : 1, 1}};
    t.v = pool + pool_used;
    pool_used += (size_t)count_of(&t);
    assert_true(pool_used <= sizeof pool / sizeof *pool);
    for (int64_t i = 0; i < count_of(&t); i++) t.v[i] = uniform() * 1.5;
    return t;
}

static struct reference_tensor whole(int64_t count, int64_t limit) {
    struct reference_tensor t = {.rank = 1, .shape = {count, 1, 1, 1}, .i = indices + indices_used};
    indices_used += (size_t)count;
    assert_true(indices_used <= sizeof indices / sizeof *indices);
    for (int64_t i = 0; i < count; i++)
        t.i[i] = (int32_t)((uniform() * 0.5 + 0.5) * (double)limit) % (int32_t)limit;
    return t;
}

// sum(dy * y) of the first output.
static double objective(const struct dapt_op *op, const struct reference_tensor *in,
                        const struct reference_tensor *out, const struct reference_tensor *dy) {
    reference_run(op, in, out);
    double sum = 0;
    for (int64_t i = 0; i < count_of(dy); i++) sum += dy->v[i] * out[0].v[i];
    return sum;
}

// Compares `grad` with the central differences of the objective in input `slot`.
static void compare(const char *name, const struct dapt_op *op, const struct reference_tensor *in,
                    const struct reference_tensor *out, const struct reference_tensor *dy, int slot,
                    const struct reference_tensor *grad) {
    assert_int_equal(count_of(&in[slot]), count_of(grad));
    for (int64_t i = 0; i < count_of(grad); i++) {
        double *place = &in[slot].v[i], old = *place;
        *place = old + STEP;
        double above = objective(op, in, out, dy);
        *place = old - STEP;
        double below = objective(op, in, out, dy);
        *place = old;
        double want = (above - below) / (2 * STEP), error = fabs(grad->v[i] - want);
        if (!(error <= TOLERANCE * (1 + fabs(want))))
            fail_msg("%s: gradient of input %d, element %lld: %.12g, differences give %.12g", name,
                     slot, (long long)i, grad->v[i], want);
    }
    reference_run(op, in, out);
}

static void test_embed(void **unused) {
    (void)unused;
    struct reference_tensor in[8] = {values(7, 5, 0), whole(11, 7)}, out[4] = {values(11, 5, 0)},
                            dy = values(11, 5, 0);
    struct reference_tensor grad_in[8] = {dy, in[1]}, grad[4] = {values(7, 5, 0)};
    struct dapt_op forward = {.opcode = DAPT_OP_EMBED}, backward = {.opcode = DAPT_OP_EMBED_GRAD};
    reference_run(&backward, grad_in, grad);
    compare("embed", &forward, in, out, &dy, 0, &grad[0]);
}

// What autodiff writes for a product: two products and a sum over rows.
static void test_matmul(void **unused) {
    (void)unused;
    struct reference_tensor in[8] = {values(6, 5, 0), values(4, 5, 0), values(4, 0, 0),
                                     values(6, 4, 0)};
    struct reference_tensor out[4] = {values(6, 4, 0)}, dy = values(6, 4, 0);
    struct dapt_op forward = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true}};
    reference_run(&forward, in, out);
    struct reference_tensor grad[4] = {values(6, 5, 0)}, da_in[8] = {dy, in[1]},
                            db_in[8] = {dy, in[0]};
    struct dapt_op da = {.opcode = DAPT_OP_MATMUL};
    reference_run(&da, da_in, grad);
    compare("matmul", &forward, in, out, &dy, 0, &grad[0]);
    struct dapt_op db = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_a = true}};
    grad[0] = values(4, 5, 0);
    reference_run(&db, db_in, grad);
    compare("matmul", &forward, in, out, &dy, 1, &grad[0]);
    struct dapt_op bias = {.opcode = DAPT_OP_COLUMN_SUM};
    struct reference_tensor bias_in[8] = {dy};
    grad[0] = values(4, 0, 0);
    reference_run(&bias, bias_in, grad);
    compare("matmul", &forward, in, out, &dy, 2, &grad[0]);
    compare("matmul", &forward, in, out, &dy, 3, &dy);
}

static void test_norms(void **unused) {
    (void)unused;
    struct reference_tensor dy = values(5, 7, 0);
    struct reference_tensor in[8] = {values(5, 7, 0), values(7, 0, 0), values(7, 0, 0)};
    struct reference_tensor grad[4] = {values(5, 7, 0), values(7, 0, 0), values(7, 0, 0)};
    struct reference_tensor out[4] = {values(5, 7, 0), values(5, 0, 0), values(5, 0, 0)};
    struct dapt_op forward = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-3f},
                   backward = forward;
    backward.opcode = DAPT_OP_LAYER_NORM_GRAD;
    reference_run(&forward, in, out);
    struct reference_tensor grad_in[8] = {dy, in[0], in[1], out[1], out[2]};
    reference_run(&backward, grad_in, grad);
    for (int i = 0; i < 3; i++) compare("layer_norm", &forward, in, out, &dy, i, &grad[i]);

    in[2].v = NULL;
    forward.opcode = DAPT_OP_RMS_NORM, backward.opcode = DAPT_OP_RMS_NORM_GRAD;
    for (int offset = 0; offset < 2; offset++) {
        forward.u.norm.weight_offset = backward.u.norm.weight_offset = (float)offset;
        reference_run(&forward, in, out);
        struct reference_tensor rms_in[8] = {dy, in[0], in[1], out[1]};
        reference_run(&backward, rms_in, grad);
        for (int i = 0; i < 2; i++) compare("rms_norm", &forward, in, out, &dy, i, &grad[i]);
    }
}

static void test_rope(void **unused) {
    (void)unused;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        struct reference_tensor in[8] = {values(6, 2, 8), values(9, 6, 0), whole(6, 9)};
        struct reference_tensor out[4] = {values(6, 2, 8)}, grad[4] = {values(6, 2, 8)},
                                dy = values(6, 2, 8);
        struct dapt_op forward = {.opcode = DAPT_OP_ROPE, .u.rope.interleaved = interleaved != 0},
                       backward = forward;
        backward.u.rope.inverse = true;
        struct reference_tensor grad_in[8] = {dy, in[1], in[2]};
        reference_run(&backward, grad_in, grad);
        compare("rope", &forward, in, out, &dy, 0, &grad[0]);
    }
}

static void check_attention(int32_t window, float softcap, int64_t query_rows, int64_t key_rows) {
    const int64_t sequences = 2, heads = 4, groups = 2, size = 3, n = sequences * query_rows,
                  m = sequences * key_rows;
    struct dapt_op forward = {.opcode = DAPT_OP_ATTENTION}, backward;
    forward.u.attention.sequences = (int32_t)sequences;
    forward.u.attention.window = window;
    forward.u.attention.scale = 0.7f;
    forward.u.attention.softcap = softcap;
    backward = forward;
    backward.opcode = DAPT_OP_ATTENTION_GRAD;
    struct reference_tensor in[8] = {values(n, heads, size), values(m, groups, size),
                                     values(m, groups, size), whole(n, 1), whole(n, 1)};
    for (int64_t i = 0; i < n; i++) {
        int32_t t = (int32_t)(i % query_rows + key_rows - query_rows);
        in[3].i[i] = t / 4 * 4;                        // documents of 4
        in[4].i[i] = i % 5 == 3 ? in[3].i[i] - 1 : t;  // and rows that see nothing
    }
    struct reference_tensor out[4] = {values(n, heads, size), values(n, heads, 0)},
                            dy = values(n, heads, size);
    struct reference_tensor grad[4] = {values(n, heads, size), values(m, groups, size),
                                       values(m, groups, size)};
    reference_run(&forward, in, out);
    struct reference_tensor grad_in[8] = {dy, in[0], in[1], in[2], out[0], out[1], in[3], in[4]};
    reference_run(&backward, grad_in, grad);
    for (int i = 0; i < 3; i++) compare("attention", &forward, in, out, &dy, i, &grad[i]);
}

static void test_attention(void **unused) {
    check_attention(0, 0, 7, 7);
    reset(unused);
    check_attention(2, 0, 7, 7);
    reset(unused);
    check_attention(3, 1.5f, 6, 9);
}

static void test_activations(void **unused) {
    for (int kind = 0; kind < DAPT_ACT_COUNT; kind++) {
        reset(unused);
        struct reference_tensor in[8] = {values(20, 9, 0), values(20, 9, 0)},
                                out[4] = {values(20, 9, 0)};
        struct reference_tensor grad[4] = {values(20, 9, 0), values(20, 9, 0)},
                                dy = values(20, 9, 0);
        for (int64_t i = 0; i < 180; i++) {
            in[0].v[i] *= 4;
            if (fabs(in[0].v[i]) < 1e-3) in[0].v[i] = 0.5;  // relu has a corner at 0
        }
        struct dapt_op forward = {.opcode = DAPT_OP_ACTIVATE,
                                  .u.activation.kind = (enum dapt_activation)kind};
        struct dapt_op backward = forward;
        backward.opcode = DAPT_OP_ACTIVATE_GRAD;
        struct reference_tensor grad_in[8] = {dy, in[0]}, gate_in[8] = {dy, in[0], in[1]};
        reference_run(&backward, grad_in, grad);
        compare("activate", &forward, in, out, &dy, 0, &grad[0]);
        forward.opcode = DAPT_OP_GATE, backward.opcode = DAPT_OP_GATE_GRAD;
        reference_run(&backward, gate_in, grad);
        for (int i = 0; i < 2; i++) compare("gate", &forward, in, out, &dy, i, &grad[i]);
    }
}

static void test_lm_loss(void **unused) {
    for (int variant = 0; variant < 2; variant++) {
        reset(unused);
        struct dapt_op forward = {.opcode = DAPT_OP_LM_LOSS}, backward;
        forward.u.lm.scale = variant ? 0.5f : 1.0f;
        forward.u.lm.softcap = variant ? 2.0f : 0.0f;
        backward = forward;
        backward.opcode = DAPT_OP_LM_LOSS_GRAD;
        struct reference_tensor in[8] = {values(6, 4, 0), values(9, 4, 0), values(9, 0, 0),
                                         whole(6, 9), values(1, 0, 0)};
        in[3].i[2] = -1;
        struct reference_tensor out[4] = {values(6, 0, 0)}, dy = values(6, 0, 0);
        for (int64_t i = 0; i < 6; i++) dy.v[i] = in[4].v[0];  // the gradient of sum(seed * loss)
        struct reference_tensor grad[4] = {values(6, 0, 0), values(6, 4, 0), values(9, 4, 0),
                                           values(9, 0, 0)};
        reference_run(&backward, in, grad);
        for (int i = 0; i < 3; i++) compare("lm_loss", &forward, in, out, &dy, i, &grad[1 + i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_embed, reset),
        cmocka_unit_test_setup(test_matmul, reset),
        cmocka_unit_test_setup(test_norms, reset),
        cmocka_unit_test_setup(test_rope, reset),
        cmocka_unit_test_setup(test_attention, reset),
        cmocka_unit_test_setup(test_activations, reset),
        cmocka_unit_test_setup(test_lm_loss, reset),
    };
    return cmocka_run_group_tests_name("grad", tests, NULL, NULL);
}
