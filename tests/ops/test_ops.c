// Every op on every device against the double reference: each case of the table (graph/cases.h) in
// every dtype and every layout that the op table allows. By hand is only what a row can't say:
// operands of special values.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "bed.h"
#include "part.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const enum dapt_activation kinds[] = {DAPT_ACT_NONE, DAPT_ACT_GELU, DAPT_ACT_GELU_TANH,
                                             DAPT_ACT_SILU, DAPT_ACT_RELU};

// ------------------------------------------------------------------------------- cases of the table

// The outputs that may be added to, all at once; 0 where the op as it stands allows none.
static uint32_t adds_of(const struct dapt_case *from) {
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS];
    struct dapt_op op;
    dapt_case_make(from, &op, tensors);
    const struct dapt_op_info *info = dapt_op_info(op.opcode);
    for (int i = 0; i < DAPT_OP_OUTPUTS && from->row->op.accumulate == 0; i++)
        if (op.outputs[i] != DAPT_NONE && (info->out[i].flags & DAPT_OPERAND_ADD))
            op.accumulate |= 1u << i;
    bool allowed = dapt_op_check(&op, tensors, DAPT_CASE_OPERANDS) == DAPT_OK;
    return allowed ? op.accumulate : 0;
}

static bool may_have_gaps(const struct op_case *c) {
    const struct dapt_op_info *info = dapt_op_info(c->op.opcode);
    bool found = false;
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        found |= c->in[i].rank > 1 && (info->in[i].flags & DAPT_OPERAND_STRIDED);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
        found |= c->out[i].rank > 1 && (info->out[i].flags & DAPT_OPERAND_STRIDED);
    return found;
}

// Dense and with gaps (odd ones in one case, such as keep rows aligned in the next); with an output
// of its own, in place of each input that it may be, and added to what is there.
static void check_layouts(const struct dapt_case *from, size_t number) {
    char what[32];
    struct op_case c;
    snprintf(what, sizeof what, "row %zu, %s", (size_t)(from->row - dapt_case_rows(&(size_t){0})),
             dapt_dtype_name(from->row->dtype ? from->row->dtype : from->dtype));
    case_open(&c, from, what);
    if (c.op.opcode == DAPT_OP_ATTENTION_GRAD) attention_results(&c);
    uint32_t places = dapt_op_info(c.op.opcode)->in_place, adds = adds_of(from);
    c.gap = !may_have_gaps(&c) ? 0 : number % 2 ? 1 : 8;
    for (c.in_place = DAPT_OP_INPUTS - 1; c.in_place >= -1; c.in_place--)
        if (c.in_place < 0 || ((places >> c.in_place & 1) && c.in[c.in_place].rank > 0))
            case_check(&c);
    c.in_place = -1;
    c.op.accumulate = adds;
    if (adds) case_check(&c);
    case_close(&c);
}

// Drivers make the kernels of products and attention anew for each shape, head size, window and dtype,
// which takes longer than all else: minutes in a driver that runs on the processor. So of attention's
// tiles (heads of a multiple of 4) they get one of a small size, the usual one, and the large one with a
// softcap; and of 16 bits what training runs: products with operands of that type, one head of either
// kind. bfloat16's kernels are float16's but for a constant. DAPT_TEST_FLOAT32=1: nothing in 16 bits;
// DAPT_TEST_ALL=1: all.
static bool drivers_lack(const struct dapt_op *op, const struct dapt_case *c) {
    const uint32_t *size = c->shape->size;
    bool wide = c->dtype == DAPT_F32, half = c->dtype == DAPT_F16,
         plain = (c->row->absent & (DAPT_CASE_NO_INPUT(2) | DAPT_CASE_NO_INPUT(3))) != 0;
    uint32_t head = size['D'];
    switch (op->opcode) {
    case DAPT_OP_MATMUL:
        if (wide) return false;
        if (op->u.matmul.operands == DAPT_F32) return true;
        return plain && !(half && (size['M'] == 128 || size['M'] == 1));
    case DAPT_OP_ATTENTION:
    case DAPT_OP_ATTENTION_GRAD:
        if (!wide && head == 64) return op->u.attention.window != 37;
        if (!wide) return !half || head != 10 || op->u.attention.window > 0;
        if (head == 8) return size['N'] != 130;
        if (head == 64) return op->u.attention.window == 0 && size['N'] != 200;
        return head % 4 == 0 && !(head == 128 && op->u.attention.softcap > 0);
    default: return false;
    }
}

static bool is_left_out(const struct dapt_case *c) {
    const char *backends = getenv("DAPT_TEST_BACKENDS");
    if (!backends || strcmp(backends, "vulkan") != 0 || getenv("DAPT_TEST_ALL")) return false;
    if (c->dtype != DAPT_F32 && getenv("DAPT_TEST_FLOAT32")) return true;
    return drivers_lack(&c->row->op, c);
}

static void test_opcode(void **state) {
    const enum dapt_opcode *opcode = *state;
    size_t count = 0, number = 0;
    for (struct dapt_case c = {0}; dapt_case_next(&c, DAPT_CASE_TEST);)
        count += c.row->op.opcode == *opcode && !is_left_out(&c);
    if (count == 0) fail_msg("no case of the table is for tests");
    for (struct dapt_case c = {0}; dapt_case_next(&c, DAPT_CASE_TEST);) {
        if (c.row->op.opcode != *opcode || is_left_out(&c)) continue;
        if (is_in_part(number, count)) check_layouts(&c, number);
        number++;
    }
}

// ----------------------------------------------------------------------------------- special values

static void open_case(struct op_case *c, const struct dapt_case_row *row,
                      const struct dapt_case_shape *shape, const char *what) {
    case_open(c, &(struct dapt_case){.row = row, .shape = shape}, what);
}

static void finish_case(struct op_case *c) {
    case_check(c);
    case_close(c);
}

// Over the whole range: what is large, tiny or past where exponentials end.
static void test_activate_range(void **state) {
    (void)state;
    const struct dapt_case_shape shape = {.size = {['N'] = 1, ['C'] = 4001}};
    for (size_t a = 0; a < COUNT_OF(kinds); a++)
        for (int grad = 0; grad < 2; grad++) {
            struct dapt_case_row row = {
                .op = {.opcode = grad ? DAPT_OP_ACTIVATE_GRAD : DAPT_OP_ACTIVATE,
                       .u.activation.kind = kinds[a]},
                .tolerance = 1e-6};
            struct op_case k;
            open_case(&k, &row, &shape, "whole range");
            for (int i = 0; i < 4001; i++) {
                k.in[grad].f[i] = ((float)i - 2000.5f) * (i % 2 == 0 ? 0.006f : 0.1f);
                if (grad) k.in[0].f[i] = 1;
            }
            finish_case(&k);
        }
}

// All scored, and none.
static void test_lm_targets(void **state) {
    (void)state;
    static const struct {
        struct dapt_case_shape shape;
        uint32_t absent, accumulate;
        float scale;
        bool scored;
    } table[] = {
        {{.size = {['N'] = 70, ['C'] = 16, ['V'] = 130}},
         DAPT_CASE_NO_INPUT(2) | DAPT_CASE_NO_OUTPUT(3),
         4,
         1,
         true},
        {{.size = {['N'] = 1100, ['C'] = 6, ['V'] = 40}}, 0, 0, 1, true},
        {{.size = {['N'] = 17, ['C'] = 5, ['V'] = 64}}, 0, 0, 2, false},
        {{.size = {['N'] = 17, ['C'] = 5, ['V'] = 64}}, 0, 12, 2, false},
    };
    for (size_t t = 0; t < COUNT_OF(table); t++)
        for (int grad = 0; grad < 2; grad++) {
            struct dapt_case_row row = {
                .op = {.opcode = grad ? DAPT_OP_LM_LOSS_GRAD : DAPT_OP_LM_LOSS,
                       .accumulate = grad ? table[t].accumulate : 0,
                       .u.lm.scale = table[t].scale},
                .absent = table[t].absent};
            struct op_case k;
            open_case(&k, &row, &table[t].shape, table[t].scored ? "all scored" : "none scored");
            for (int64_t i = 0; i < operand_count(&k.in[3]); i++)
                k.in[3].i[i] = table[t].scored ? (int32_t)(i * 7 % k.in[1].shape[0]) : -1;
            finish_case(&k);
        }
}

// With and without clipping and a loss scale; a norm that is not finite changes nothing.
static void test_adamw_norms(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 5, 40, 70003};
    static const float norms[] = {0.25f, 400.0f, INFINITY, NAN};
    for (size_t s = 0; s < COUNT_OF(counts); s++)
        for (size_t n = 0; n < COUNT_OF(norms); n++)
            for (int variant = 0; variant < 8; variant++) {
                struct dapt_case_shape shape = {.size = {['#'] = counts[s]}};
                struct dapt_case_row row = {
                    .op = {.opcode = variant & 4 ? DAPT_OP_ADAMW_8BIT : DAPT_OP_ADAMW,
                           .u.adamw = {0.9f, 0.95f, 1e-8f, 1, (variant & 1) != 0}}};
                struct op_case k;
                open_case(&k, &row, &shape, "norms");
                k.in[1].f[DAPT_STEP_CLIP] = variant & 2 ? 1.0f : 0.0f;
                k.in[1].f[DAPT_STEP_UNSCALE] = variant & 4 ? 0x1p-10f : 1.0f;
                k.in[2].f[0] = norms[n];
                if (n >= 2) k.tolerance = 0;
                finish_case(&k);
            }
}

// Gradients of all sizes in a block of new moments: no root above 0 is lost, whatever is beside it; and
// blocks of zeros.
static void test_adamw_8bit_range(void **state) {
    (void)state;
    const struct dapt_case_shape shape = {.size = {['#'] = 1000}};
    const struct dapt_case_row row = {
        .op = {.opcode = DAPT_OP_ADAMW_8BIT, .u.adamw = {0.9f, 0.95f, 1e-8f, 1, true}}};
    struct op_case k;
    open_case(&k, &row, &shape, "whole range");
    k.in[1].f[DAPT_STEP_CLIP] = 0;
    for (int i = 0; i < 1000; i++)
        k.in[0].f[i] = i >= 256 && i < 512 ? 0 : (i % 2 ? -1 : 1) * powf(10, (float)(-i % 14));
    for (int o = 1; o < 3; o++)
        memset(k.out[o].i, 0, (size_t)operand_count(&k.out[o]) * sizeof(int32_t));
    finish_case(&k);
}

// What is not a number reaches what depends on it, and nothing else. `at`: the element of inputs[slot].
static void check_poisoned(const struct dapt_case_row *row, const struct dapt_case_shape *shape,
                           int slots, int64_t at) {
    struct op_case k;
    open_case(&k, row, shape, "not a number");
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        if (slots >> i & 1) k.in[i].f[at] = NAN;
    k.poisoned = true;
    // A loss that is none updates nothing: no gradient of it is used.
    k.spreads = row->op.opcode == DAPT_OP_LM_LOSS_GRAD;
    finish_case(&k);
}

static void test_not_a_number(void **state) {
    (void)state;
    const struct dapt_case_shape products[] = {{.size = {['M'] = 70, ['N'] = 50, ['K'] = 40}},
                                               {.size = {['M'] = 2, ['N'] = 50, ['K'] = 40}}},
                                 rows[] = {{.size = {['N'] = 3, ['C'] = 37}},
                                           {.size = {['N'] = 5, ['C'] = 37}}},
                                 classes = {.size = {['N'] = 20, ['C'] = 9, ['V'] = 130}},
                                 flat = {.size = {['#'] = 70000}};
    for (int slot = 0; slot < 4; slot++)
        for (int few = 0; few < 2; few++) {
            struct dapt_case_row row = {.op = {.opcode = DAPT_OP_MATMUL},
                                        .absent = DAPT_CASE_NO_OUTPUT(1) | DAPT_CASE_NO_OUTPUT(2)};
            row.op.u.matmul.activation = slot % 2 ? DAPT_ACT_RELU : DAPT_ACT_GELU;
            check_poisoned(&row, &products[few], 1 << slot, 33);
        }
    for (size_t a = 0; a < COUNT_OF(kinds); a++) {
        struct dapt_case_row row = {
            .op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = kinds[a]}};
        check_poisoned(&row, &rows[0], 1, 41);
        row.op.opcode = DAPT_OP_ACTIVATE_GRAD;
        check_poisoned(&row, &rows[0], 3, 41);
    }
    struct dapt_case_row norm = {.op = {.opcode = DAPT_OP_RMS_NORM}},
                         sum = {.op = {.opcode = DAPT_OP_SUM_SQUARES}},
                         loss = {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm.scale = 1},
                                 .absent = DAPT_CASE_NO_INPUT(2) | DAPT_CASE_NO_OUTPUT(3)};
    check_poisoned(&norm, &rows[1], 1, 50);
    check_poisoned(&sum, &flat, 1, 69999);
    // The row of x is scored.
    for (int slot = 0; slot < 2; slot++) check_poisoned(&loss, &classes, 1 << slot, 5);
    struct dapt_case_row capped = {
        .op = {.opcode = DAPT_OP_SCALE, .u.scale = {.factor = 2, .softcap = 3}}};
    check_poisoned(&capped, &rows[0], 1, 41);
}

// Of every row, column and word so many are dropped as the rate says, within five deviations; two
// rows, and two streams, agree about as many as chance has it.
static void check_share(const char *what, size_t part, double count, double of, double share) {
    double deviation = sqrt(of * share * (1 - share));
    if (!(fabs(count - of * share) < 5 * deviation))
        fail_msg("%s %zu: %g of %g, expected %g", what, part, count, of, of * share);
}

static void test_dropout_mask(void **state) {
    enum { ROWS = 2000, COLUMNS = 40 };
    static const struct dapt_case_shape shape = {.size = {['N'] = ROWS, ['C'] = COLUMNS}};
    struct dapt_case_row row = {
        .op = {.opcode = DAPT_OP_DROPOUT, .u.dropout = {.rate = 0.3f, .stream = 1}}};
    double *dropped[2][DAPT_OP_OUTPUTS], of_column[COLUMNS] = {0}, all = 0, both = 0, pairs = 0;
    const double share = (double)0.3f, alike = share * share + (1 - share) * (1 - share);
    (void)state;
    for (int i = 0; i < 2; i++, row.op.u.dropout.stream++) {
        struct op_case c;
        open_case(&c, &row, &shape, "mask");
        for (size_t k = 0; k < ROWS * COLUMNS; k++) c.in[0].f[k] = 1;
        case_reference(&c, dropped[i]);
        case_close(&c);
    }
    for (size_t n = 0; n < ROWS; n++) {
        const double *at = dropped[0][0] + n * COLUMNS, *other = dropped[1][0] + n * COLUMNS;
        double of_row = 0;
        for (size_t k = 0; k < COLUMNS; k++) {
            assert_true(at[k] == 0 || fabs(at[k] * (1 - share) - 1) < 1e-12);
            of_row += at[k] == 0;
            of_column[k] += at[k] == 0;
            both += (at[k] == 0) == (other[k] == 0);
            if (n > 0) pairs += (at[k] == 0) == (at[k - COLUMNS] == 0);
        }
        check_share("dropped in row", n, of_row, COLUMNS, share);
        all += of_row;
    }
    for (size_t k = 0; k < COLUMNS; k++)
        check_share("dropped in column", k, of_column[k], ROWS, share);
    check_share("dropped", 0, all, ROWS * COLUMNS, share);
    check_share("the same in streams", 0, both, ROWS * COLUMNS, alike);
    check_share("the same in neighbouring rows", 0, pairs, (ROWS - 1.0) * COLUMNS, alike);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++) free(dropped[i][k]);
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
    static enum dapt_opcode opcodes[DAPT_OP_COUNT];
    static const struct CMUnitTest special[] = {
        cmocka_unit_test(test_activate_range),  cmocka_unit_test(test_lm_targets),
        cmocka_unit_test(test_adamw_norms),     cmocka_unit_test(test_adamw_8bit_range),
        cmocka_unit_test(test_not_a_number),    cmocka_unit_test(test_attention_poisoned),
        cmocka_unit_test(test_attention_large), cmocka_unit_test(test_chain),
        cmocka_unit_test(test_dropout_mask),
    };
    struct CMUnitTest tests[DAPT_OP_COUNT + COUNT_OF(special)];
    for (int i = 0; i < DAPT_OP_COUNT; i++) {
        opcodes[i] = (enum dapt_opcode)i;
        tests[i] = (struct CMUnitTest){.name = dapt_op_info(opcodes[i])->name,
                                       .test_func = test_opcode,
                                       .initial_state = &opcodes[i]};
    }
    for (size_t i = 0; i < COUNT_OF(special); i++) tests[DAPT_OP_COUNT + i] = special[i];
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("ops", tests, setup, teardown);
}
