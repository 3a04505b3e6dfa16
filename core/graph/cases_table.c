// The table of op cases. The certificate goes by the order of its rows and shapes: what is put
// between them changes the numbers that its operands hold.
#include "graph/cases.h"

enum { TEST = DAPT_CASE_TEST, CERTIFY = DAPT_CASE_CERTIFY, GRADIENT = DAPT_CASE_GRADIENT };
enum { LLAMA = DAPT_CASE_LLAMA, GPT2 = DAPT_CASE_GPT2 };
#define NO_INPUT DAPT_CASE_NO_INPUT
#define NO_OUTPUT DAPT_CASE_NO_OUTPUT

// ------------------------------------------------------------------------------------------ shapes

#define END           \
    {                 \
        .size = { 0 } \
    }
#define LIST(...) ((const struct dapt_case_shape[]){__VA_ARGS__, END})
// clang-format off

// Rows and columns: one, odd, around the widths of vectors and of workgroups, larger than one task.
#define ROWS(n, c, v, p, u) {.size = {['N'] = n, ['C'] = c, ['V'] = v, ['P'] = p}, .uses = u}
static const struct dapt_case_shape row_shapes[] = {
    ROWS(1, 1, 3, 5, TEST | CERTIFY),
    ROWS(7, 33, 19, 17, TEST | CERTIFY),
    ROWS(64, 48, 19, 131, TEST | CERTIFY),
    ROWS(13, 300, 5, 29, TEST | CERTIFY),
    ROWS(3, 5, 19, 9, TEST),
    ROWS(7, 16, 19, 17, TEST),
    ROWS(5, 33, 19, 13, TEST),
    ROWS(13, 172, 19, 29, TEST),
    ROWS(300, 65, 19, 603, TEST),
    ROWS(2, 20000, 19, 7, TEST),
    ROWS(5, 7, 9, 13, GRADIENT),
    ROWS(11, 5, 7, 25, GRADIENT),
    ROWS(20, 9, 5, 43, GRADIENT),
    END,
};
// What a layer norm makes of one column is rounding alone.
#define WIDE_SHAPES (row_shapes + 1)
#define ONE_COLUMN LIST(ROWS(1, 1, 3, 5, TEST))
#define TALL LIST(ROWS(3000, 9, 3, 5, TEST))

static const struct dapt_case_shape any_shapes[] = {  // of each rank
    {.size = {['N'] = 1}, .uses = TEST},
    {.size = {['N'] = 7}, .uses = TEST},
    {.size = {['N'] = 5, ['C'] = 33}, .uses = TEST},
    {.size = {['N'] = 3, ['C'] = 4, ['H'] = 9}, .uses = TEST},
    {.size = {['N'] = 2, ['C'] = 3, ['H'] = 5, ['D'] = 7}, .uses = TEST | GRADIENT},
    {.size = {['N'] = 70, ['C'] = 500}, .uses = TEST},
    END,
};

#define HEADS(n, h, c, u) {.size = {['N'] = n, ['H'] = h, ['C'] = c}, .uses = u}
static const struct dapt_case_shape head_shapes[] = {
    HEADS(9, 3, 10, TEST | CERTIFY),
    HEADS(33, 2, 64, TEST | CERTIFY),
    HEADS(37, 4, 24, TEST),
    HEADS(5, 3, 7, TEST | GRADIENT),
    END,
};

#define MNK(m, n, k, u) {.size = {['M'] = m, ['N'] = n, ['K'] = k}, .uses = u}
static const struct dapt_case_shape matmul_shapes[] = {
    MNK(1, 130, 67, TEST | CERTIFY),
    MNK(5, 7, 3, TEST | CERTIFY),
    MNK(33, 65, 190, TEST | CERTIFY),
    MNK(64, 64, 32, TEST | CERTIFY),
    END,
};
// A product in all its transposes.
#define PRODUCTS(in, add, act, ...) \
    PRODUCT(in, add, act, false, false, __VA_ARGS__), PRODUCT(in, add, act, true, false, __VA_ARGS__), \
    PRODUCT(in, add, act, false, true, __VA_ARGS__), PRODUCT(in, add, act, true, true, __VA_ARGS__)
#define PRODUCT(in, add, act, ta, tb, ...) \
    {.op = {.opcode = DAPT_OP_MATMUL, .accumulate = add, .u.matmul = {ta, tb, act, DAPT_F32, false}}, .shapes = LIST(__VA_ARGS__), \
     .uses = TEST, .absent = in}
// The same with operands rounded to 16-bit floats.
#define HALF_PRODUCTS(in, act, ...) \
    HALF_PRODUCT(in, act, false, false, F16, __VA_ARGS__), HALF_PRODUCT(in, act, true, false, F16, __VA_ARGS__), \
    HALF_PRODUCT(in, act, false, true, F16, __VA_ARGS__), HALF_PRODUCT(in, act, true, true, F16, __VA_ARGS__), \
    HALF_PRODUCT(in, act, false, false, BF16, __VA_ARGS__), HALF_PRODUCT(in, act, true, false, BF16, __VA_ARGS__), \
    HALF_PRODUCT(in, act, false, true, BF16, __VA_ARGS__), HALF_PRODUCT(in, act, true, true, BF16, __VA_ARGS__)
#define HALF_PRODUCT(in, act, ta, tb, half, ...) \
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {ta, tb, act, DAPT_##half, false}}, .shapes = LIST(__VA_ARGS__), \
     .uses = TEST, .absent = in}
#define DERIVATIVE(act, half, tb, when, ...) \
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {false, tb, DAPT_ACT_##act, DAPT_##half, true}}, .shapes = LIST(__VA_ARGS__), \
     .uses = when, .absent = RESIDUAL}
#define WEIGHT_GRADIENT(sum, add, half, when, ...) \
    {.op = {.opcode = DAPT_OP_MATMUL, .accumulate = add, .u.matmul = {true, false, DAPT_ACT_NONE, DAPT_##half, false}}, \
     .shapes = LIST(__VA_ARGS__), .uses = when, .absent = sum}
#define NO_SUMS (NO_OUTPUT(1) | NO_OUTPUT(2))
#define PLAIN (NO_INPUT(2) | NO_INPUT(3) | NO_SUMS)
#define BIAS (NO_INPUT(3) | NO_SUMS)
#define RESIDUAL (NO_INPUT(2) | NO_SUMS)
#define BOTH NO_SUMS
// With sums of one factor; as gradients of weights and biases are made.
#define SUM_A (NO_INPUT(2) | NO_INPUT(3) | NO_OUTPUT(2))
#define SUM_B (NO_INPUT(2) | NO_INPUT(3) | NO_OUTPUT(1))

#define HEADS_OF(n, h, d, r, p, u) {.size = {['N'] = n, ['H'] = h, ['D'] = d, ['R'] = r, ['P'] = p}, .uses = u}
static const struct dapt_case_shape rope_shapes[] = {
    HEADS_OF(5, 1, 10, 6, 11, TEST | CERTIFY),
    HEADS_OF(33, 3, 16, 16, 40, TEST | CERTIFY),
    HEADS_OF(9, 2, 8, 8, 41, TEST),
    HEADS_OF(33, 3, 48, 48, 41, TEST),
    HEADS_OF(5, 1, 10, 6, 41, TEST),
    HEADS_OF(70, 4, 64, 32, 41, TEST),
    HEADS_OF(3, 2, 128, 128, 41, TEST),
    HEADS_OF(4, 1, 2, 2, 41, TEST),
    HEADS_OF(6, 2, 8, 6, 9, GRADIENT),
    END,
};

// Sequences, query and key rows of each, heads, key heads, head size.
#define SEQUENCES(q, n, m, h, g, d, see, u) \
    {.size = {['Q'] = q, ['N'] = (q) * (n), ['M'] = (q) * (m), ['H'] = h, ['G'] = g, ['D'] = d}, .uses = u, .sight = DAPT_SIGHT_##see}
// One head size: kernels are made for it, and making them is what takes the time.
static const struct dapt_case_shape attention_shapes[] = {
    SEQUENCES(2, 13, 13, 4, 2, 10, DOCUMENTS, TEST | CERTIFY),
    SEQUENCES(1, 35, 70, 2, 2, 10, DOCUMENTS, TEST | CERTIFY),
    SEQUENCES(3, 17, 17, 3, 1, 10, DOCUMENTS, TEST | CERTIFY),
    END,
};
static const struct dapt_case_shape sight_shapes[] = {
    SEQUENCES(1, 1, 1, 1, 1, 1, CAUSAL, TEST),
    SEQUENCES(2, 9, 9, 2, 1, 8, CAUSAL, TEST),
    SEQUENCES(2, 65, 65, 4, 2, 8, CAUSAL, TEST),
    SEQUENCES(1, 150, 150, 2, 2, 48, CAUSAL, TEST),
    SEQUENCES(1, 129, 129, 1, 1, 128, WHOLE, TEST),
    SEQUENCES(2, 100, 100, 2, 2, 16, LONG_DOCUMENTS, TEST),
    SEQUENCES(1, 40, 170, 2, 1, 24, CAUSAL, TEST),
    SEQUENCES(3, 1, 200, 4, 2, 40, CACHE, TEST),
    SEQUENCES(1, 1, 1000, 2, 2, 8, CAUSAL, TEST),
    SEQUENCES(2, 4, 64, 3, 3, 33, HOLES, TEST),
    SEQUENCES(8, 130, 130, 4, 2, 8, CAUSAL, TEST),
    SEQUENCES(16, 33, 33, 1, 1, 64, LONG_DOCUMENTS, TEST),
    SEQUENCES(1, 200, 200, 4, 2, 64, LONG_DOCUMENTS, TEST),
    SEQUENCES(1, 150, 150, 2, 1, 80, CAUSAL, TEST),
    SEQUENCES(1, 70, 70, 1, 1, 256, HOLES, TEST),
    END,
};
static const struct dapt_case_shape small_attention[] = {
    SEQUENCES(2, 7, 7, 4, 2, 3, SHORT_HOLES, TEST | GRADIENT),
    SEQUENCES(2, 6, 9, 4, 2, 3, SHORT_HOLES, TEST | GRADIENT),
    END,
};
// Forward and gradient; a scale of 0: by the head size.
#define ATTENTIONS(scale_, window_, cap, list) \
    {.op = {.opcode = DAPT_OP_ATTENTION, .u.attention = {.scale = scale_, .window = window_, .softcap = cap}}, .shapes = list, \
     .uses = TEST | GRADIENT}, \
    {.op = {.opcode = DAPT_OP_ATTENTION_GRAD, .u.attention = {.scale = scale_, .window = window_, .softcap = cap}}, \
     /* of one key: the true gradient is 0, a difference of two roundings */ \
     .shapes = list, .uses = TEST, .tolerance = (window_) == 1 ? 1e-3 : 0}

#define CLASSES(n, c, v, u) {.size = {['N'] = n, ['C'] = c, ['V'] = v}, .uses = u}
static const struct dapt_case_shape lm_shapes[] = {
    CLASSES(5, 7, 33, TEST | CERTIFY),
    CLASSES(40, 24, 517, TEST | CERTIFY),
    CLASSES(1, 1, 1, TEST),
    CLASSES(70, 16, 130, TEST),
    CLASSES(100, 24, 517, TEST),
    CLASSES(9, 8, 3001, TEST),
    CLASSES(17, 5, 64, TEST),
    CLASSES(1100, 6, 40, TEST),
    CLASSES(6, 4, 9, GRADIENT),
    END,
};

#define FLAT(n, u) {.size = {['#'] = n}, .uses = u}
static const struct dapt_case_shape flat_shapes[] = {
    FLAT(1, TEST | CERTIFY), FLAT(40, TEST | CERTIFY), FLAT(7003, TEST | CERTIFY),
    FLAT(5, TEST), FLAT(7, TEST), FLAT(1000, TEST), FLAT(65536, TEST), FLAT(70003, TEST), FLAT(150001, TEST),
    END,
};

// Whole blocks of 64: one, a row's, across rows, many.
static const struct dapt_case_shape block_shapes[] = {
    ROWS(1, 64, 3, 5, TEST | CERTIFY),
    ROWS(5, 192, 3, 5, TEST | CERTIFY),
    ROWS(64, 9, 3, 5, TEST | CERTIFY),
    ROWS(640, 333, 3, 5, TEST),
    END,
};

// -------------------------------------------------------------------------------------------- rows

// y = x w^T of every token, of a model with w [out, in], and both gradients, for the bench.
#define MEASURED(names, transposes, add, letters, who, times) \
    {.op = {.opcode = DAPT_OP_MATMUL, .accumulate = add, .u.matmul = transposes}, .absent = PLAIN, \
     .bench = {.name = names, .sizes = letters, .families = who, .per_layer = times, .flops = true}}
#define A_TRANSPOSED {.transpose_a = true}
#define B_TRANSPOSED {.transpose_b = true}
#define LINEAR(names, in, out, who, times) \
    MEASURED(names, B_TRANSPOSED, 0, "M=N N=" out " K=" in, who, times), \
    MEASURED(names " dx", {0}, 0, "M=N N=" in " K=" out, who, times), \
    MEASURED(names " dw", A_TRANSPOSED, 1, "M=" out " N=" in " K=N", who, times)

static const struct dapt_case_row rows[] = {
    {.op = {.opcode = DAPT_OP_EMBED}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT,
     .bench = {.name = "embed", .sizes = "V N C", .besides = 1}},
    {.op = {.opcode = DAPT_OP_EMBED_GRAD}, .shapes = row_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_EMBED_GRAD, .accumulate = 1}, .shapes = row_shapes, .uses = CERTIFY,
     .bench = {.name = "embed grad", .sizes = "V N C", .besides = 1}},
    {.op = {.opcode = DAPT_OP_SCATTER_ROWS}, .shapes = row_shapes, .uses = TEST | CERTIFY, .gaps = true},

    {.op = {.opcode = DAPT_OP_MATMUL}, .shapes = matmul_shapes, .uses = TEST | CERTIFY, .absent = PLAIN},
    {.op = {.opcode = DAPT_OP_MATMUL, .accumulate = 1, .u.matmul = {.transpose_a = true}}, .shapes = matmul_shapes, .uses = TEST | CERTIFY, .absent = PLAIN, .gaps = true},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true, .activation = DAPT_ACT_GELU_TANH}}, .shapes = matmul_shapes, .uses = TEST | CERTIFY, .absent = BIAS},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true}}, .shapes = matmul_shapes, .uses = TEST | CERTIFY, .absent = BOTH, .gaps = true},
    PRODUCTS(PLAIN, 0, DAPT_ACT_NONE, MNK(1, 1, 1, TEST), MNK(64, 64, 1030, TEST), MNK(33, 172, 64, TEST), MNK(300, 600, 20, TEST)),
    PRODUCTS(BIAS, 0, DAPT_ACT_NONE, MNK(20, 1100, 130, TEST)),
    PRODUCTS(BIAS, 0, DAPT_ACT_SILU, MNK(1, 300, 64, TEST)),
    PRODUCTS(BIAS, 0, DAPT_ACT_GELU, MNK(200, 96, 64, TEST)),
    PRODUCTS(RESIDUAL, 0, DAPT_ACT_NONE, MNK(1, 130, 40, TEST)),
    PRODUCTS(BOTH, 0, DAPT_ACT_NONE, MNK(1, 257, 67, TEST), MNK(33, 65, 1500, TEST), MNK(700, 200, 40, TEST)),
    PRODUCTS(BOTH, 0, DAPT_ACT_SILU, MNK(200, 96, 33, TEST)),
    PRODUCTS(BOTH, 0, DAPT_ACT_GELU_TANH, MNK(64, 64, 1030, TEST), MNK(130, 70, 50, TEST)),
    // More than the op table allows; backends do it all the same.
    PRODUCT(PLAIN, 1, DAPT_ACT_GELU, false, false, MNK(3, 129, 45, TEST)),
    PRODUCT(RESIDUAL, 1, DAPT_ACT_NONE, true, false, MNK(130, 70, 50, TEST)),
    PRODUCT(BOTH, 1, DAPT_ACT_NONE, false, true, MNK(5, 7, 3, TEST)),
    PRODUCT(BOTH, 1, DAPT_ACT_RELU, true, true, MNK(4, 31, 200, TEST)),
    HALF_PRODUCTS(PLAIN, DAPT_ACT_NONE, MNK(1, 130, 67, TEST), MNK(33, 65, 190, TEST), MNK(64, 64, 1030, TEST), MNK(128, 128, 64, TEST)),
    HALF_PRODUCTS(BOTH, DAPT_ACT_SILU, MNK(3, 31, 40, TEST), MNK(130, 70, 50, TEST)),
    {.op = {.opcode = DAPT_OP_MATMUL}, .shapes = LIST(MNK(6, 4, 5, GRADIENT)), .uses = GRADIENT, .absent = PLAIN},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = {.transpose_b = true}}, .shapes = LIST(MNK(6, 4, 5, GRADIENT)), .uses = GRADIENT, .absent = PLAIN},
    LINEAR("q, o", "C", "C", LLAMA, 2),
    LINEAR("k, v", "C", "K", LLAMA, 2),
    LINEAR("gate, up", "C", "F", LLAMA, 2),
    LINEAR("qkv", "C", "A", GPT2, 1),
    LINEAR("o", "C", "C", GPT2, 1),
    LINEAR("up", "C", "F", GPT2, 1),
    LINEAR("down", "F", "C", LLAMA | GPT2, 1),
    // Generation: one token, the weights read once.
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = B_TRANSPOSED}, .absent = PLAIN,
     .bench = {.name = "one token, up", .sizes = "M=1 N=F K=C", .families = LLAMA, .besides = 1, .flops = true, .token = true}},
    {.op = {.opcode = DAPT_OP_MATMUL}, .absent = PLAIN,
     .bench = {.name = "one token, up", .sizes = "M=1 N=F K=C", .families = GPT2, .besides = 1, .flops = true, .token = true}},
    {.op = {.opcode = DAPT_OP_MATMUL, .u.matmul = B_TRANSPOSED}, .absent = PLAIN,
     .bench = {.name = "one token, head", .sizes = "M=1 N=V K=C", .besides = 1, .flops = true, .token = true}},

    {.op = {.opcode = DAPT_OP_ADD_BIAS}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true},
    {.op = {.opcode = DAPT_OP_COLUMN_SUM}, .shapes = row_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_COLUMN_SUM, .accumulate = 1}, .shapes = row_shapes, .uses = CERTIFY, .gaps = true},

    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm.eps = 1e-5f}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true,
     .bench = {.name = "norm", .sizes = "N C", .families = LLAMA, .per_layer = 2, .besides = 1}},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm.eps = 1e-5f}, .shapes = head_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm = {.eps = 1e-5f, .weight_offset = 1}}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_RMS_NORM, .u.norm = {.eps = 1e-5f, .weight_offset = 1}}, .shapes = head_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD}, .shapes = row_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 3}, .shapes = head_shapes, .uses = TEST | CERTIFY, .gaps = true,
     .bench = {.name = "norm grad", .sizes = "N C", .families = LLAMA, .per_layer = 2, .besides = 1}},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .u.norm.weight_offset = 1}, .shapes = head_shapes, .uses = TEST | CERTIFY, .gaps = true},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 3, .u.norm.weight_offset = 0.75f}, .shapes = row_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 1}, .shapes = head_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 2}, .shapes = head_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD, .accumulate = 2}, .shapes = TALL, .uses = TEST},
    {.op = {.opcode = DAPT_OP_RMS_NORM_GRAD}, .shapes = head_shapes, .uses = TEST, .absent = NO_OUTPUT(1)},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .uses = CERTIFY | GRADIENT, .gaps = true,
     .bench = {.name = "norm", .sizes = "N C", .families = GPT2, .per_layer = 2, .besides = 1}},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .uses = CERTIFY | GRADIENT, .absent = NO_INPUT(2)},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .uses = TEST, .shift = 3, .tolerance = 5e-5},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = WIDE_SHAPES, .uses = TEST, .absent = NO_INPUT(2), .shift = 3, .tolerance = 5e-5},
    {.op = {.opcode = DAPT_OP_LAYER_NORM, .u.norm.eps = 1e-5f}, .shapes = ONE_COLUMN, .uses = TEST, .shift = 3, .tolerance = 1e-3},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = WIDE_SHAPES, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD, .accumulate = 7}, .shapes = WIDE_SHAPES, .uses = CERTIFY, .gaps = true,
     .bench = {.name = "norm grad", .sizes = "N C", .families = GPT2, .per_layer = 2, .besides = 1}},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = WIDE_SHAPES, .uses = TEST, .absent = NO_OUTPUT(2)},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = ONE_COLUMN, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = WIDE_SHAPES, .uses = TEST, .absent = NO_OUTPUT(1)},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD}, .shapes = WIDE_SHAPES, .uses = TEST, .absent = NO_OUTPUT(1) | NO_OUTPUT(2)},
    {.op = {.opcode = DAPT_OP_LAYER_NORM_GRAD, .accumulate = 6}, .shapes = TALL, .uses = TEST},

    {.op = {.opcode = DAPT_OP_ROPE}, .shapes = rope_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true,
     .bench = {.name = "rope q", .sizes = "N H D R=D P=T", .families = LLAMA, .per_layer = 2, .in_place = 1}},
    {.op = {.opcode = DAPT_OP_ROPE, .u.rope = {.inverse = true}}, .shapes = rope_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_ROPE, .u.rope = {.interleaved = true}}, .shapes = rope_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_ROPE, .u.rope = {.interleaved = true, .inverse = true}}, .shapes = rope_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_ROPE},
     .bench = {.name = "rope k", .sizes = "N H=G D R=D P=T", .families = LLAMA, .per_layer = 2, .in_place = 1}},

    {.op = {.opcode = DAPT_OP_ATTENTION, .u.attention = {.scale = 0.3f}}, .shapes = attention_shapes, .uses = TEST | CERTIFY, .gaps = true,
     .bench = {.name = "attention", .sizes = "Q N M=N H G D", .per_layer = 1, .flops = true}},
    {.op = {.opcode = DAPT_OP_ATTENTION, .u.attention = {.scale = 0.3f, .window = 5, .softcap = 3}}, .shapes = attention_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_ATTENTION_GRAD, .u.attention = {.scale = 0.3f}}, .shapes = attention_shapes, .uses = TEST | CERTIFY, .gaps = true,
     .bench = {.name = "attention grad", .sizes = "Q N M=N H G D", .per_layer = 1, .flops = true}},
    {.op = {.opcode = DAPT_OP_ATTENTION_GRAD, .u.attention = {.scale = 0.3f, .window = 5, .softcap = 3}}, .shapes = attention_shapes, .uses = TEST | CERTIFY},
    ATTENTIONS(0, 0, 0, sight_shapes),
    ATTENTIONS(0, 37, 0, LIST(SEQUENCES(1, 130, 130, 2, 1, 64, CAUSAL, TEST))),
    ATTENTIONS(0, 0, 2, LIST(SEQUENCES(2, 70, 70, 3, 3, 20, CAUSAL, TEST))),
    ATTENTIONS(0, 17, 3, LIST(SEQUENCES(2, 100, 100, 4, 2, 13, HOLES, TEST))),
    ATTENTIONS(0, 1, 0, LIST(SEQUENCES(1, 64, 64, 2, 1, 32, CAUSAL, TEST))),
    ATTENTIONS(0, 100, 5, LIST(SEQUENCES(1, 150, 150, 1, 1, 128, LONG_DOCUMENTS, TEST))),
    ATTENTIONS(0, 50, 4, LIST(SEQUENCES(2, 3, 131, 4, 1, 64, CACHE, TEST))),
    ATTENTIONS(0, 20, 2, LIST(SEQUENCES(4, 70, 70, 8, 4, 12, HOLES, TEST))),
    ATTENTIONS(0.7f, 0, 0, small_attention),
    ATTENTIONS(0.7f, 2, 0, small_attention),
    ATTENTIONS(0.7f, 3, 1.5f, small_attention),

    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true, .tolerance = 2e-6},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .tolerance = 2e-6,
     .bench = {.name = "activate", .sizes = "N C=F", .families = GPT2, .per_layer = 1}},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .tolerance = 2e-6},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .tolerance = 2e-6},
    {.op = {.opcode = DAPT_OP_ACTIVATE, .u.activation.kind = DAPT_ACT_NONE}, .shapes = row_shapes, .uses = TEST | GRADIENT, .tolerance = 2e-6},
    // Where a slope crosses 0 it is a difference of two numbers near 1.
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .uses = TEST | CERTIFY, .gaps = true, .tolerance = 1e-5},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes, .uses = TEST | CERTIFY, .tolerance = 1e-5,
     .bench = {.name = "activate grad", .sizes = "N C=F", .families = GPT2, .per_layer = 1}},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .uses = TEST | CERTIFY, .tolerance = 1e-5},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes, .uses = TEST | CERTIFY, .tolerance = 2e-6},
    {.op = {.opcode = DAPT_OP_ACTIVATE_GRAD, .u.activation.kind = DAPT_ACT_NONE}, .shapes = row_shapes, .uses = TEST, .tolerance = 2e-6},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT, .gaps = true,
     .bench = {.name = "gate", .sizes = "N C=F", .families = LLAMA, .per_layer = 1}},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_GATE, .u.activation.kind = DAPT_ACT_NONE}, .shapes = row_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_SILU}, .shapes = row_shapes, .uses = TEST | CERTIFY, .gaps = true,
     .bench = {.name = "gate grad", .sizes = "N C=F", .families = LLAMA, .per_layer = 1}},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_GELU_TANH}, .shapes = row_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_GELU}, .shapes = row_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_RELU}, .shapes = row_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_GATE_GRAD, .u.activation.kind = DAPT_ACT_NONE}, .shapes = row_shapes, .uses = TEST},

    {.op = {.opcode = DAPT_OP_ADD}, .shapes = row_shapes, .uses = CERTIFY | GRADIENT, .gaps = true,
     .bench = {.name = "add", .sizes = "N C", .per_layer = 4}},
    {.op = {.opcode = DAPT_OP_ADD}, .shapes = any_shapes, .uses = TEST | GRADIENT, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale.factor = -1.75f}, .shapes = row_shapes, .uses = CERTIFY | GRADIENT, .gaps = true},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale.factor = -1.75f}, .shapes = any_shapes, .uses = TEST | GRADIENT, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale = {.factor = -1.75f, .softcap = 1.5f}}, .shapes = row_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_SCALE, .u.scale = {.factor = -1.75f, .softcap = 1.5f}}, .shapes = any_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_COPY}, .shapes = row_shapes, .uses = CERTIFY | GRADIENT, .gaps = true},
    {.op = {.opcode = DAPT_OP_COPY}, .shapes = any_shapes, .uses = TEST | GRADIENT, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = row_shapes, .uses = CERTIFY | GRADIENT, .gaps = true},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = any_shapes, .uses = TEST | GRADIENT, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = any_shapes, .uses = TEST, .dtype = DAPT_F32, .mixed = DAPT_BF16, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = any_shapes, .uses = TEST, .dtype = DAPT_F32, .mixed = DAPT_F16, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = any_shapes, .uses = TEST, .dtype = DAPT_BF16, .mixed = DAPT_F32, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_CAST}, .shapes = any_shapes, .uses = TEST, .dtype = DAPT_F16, .mixed = DAPT_BF16, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_FILL, .u.fill.value = 0.3f}, .shapes = row_shapes, .uses = CERTIFY, .gaps = true},
    {.op = {.opcode = DAPT_OP_FILL, .u.fill.value = 0.3f}, .shapes = any_shapes, .uses = TEST, .tolerance = 1e-6},

    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 0.5f, .softcap = 3}}, .shapes = lm_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 1}}, .shapes = lm_shapes, .uses = TEST | GRADIENT, .absent = NO_INPUT(2),
     .bench = {.name = "lm_loss (evaluation)", .sizes = "N C V", .flops = true}},
    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 1}}, .shapes = lm_shapes, .uses = TEST | GRADIENT},
    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 1, .softcap = 5}}, .shapes = lm_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LM_LOSS, .u.lm = {.scale = 2}}, .shapes = lm_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 1}}, .shapes = lm_shapes, .uses = TEST | CERTIFY, .absent = NO_INPUT(2) | NO_OUTPUT(3),
     .bench = {.name = "lm_loss_grad", .sizes = "N C V", .besides = 1, .flops = true}},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .accumulate = 0xc, .u.lm = {.scale = 0.5f, .softcap = 3}}, .shapes = lm_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 1}}, .shapes = lm_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .accumulate = 8, .u.lm = {.scale = 1, .softcap = 5}}, .shapes = lm_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 2}}, .shapes = lm_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 2}}, .shapes = lm_shapes, .uses = TEST, .absent = NO_OUTPUT(1)},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 2}}, .shapes = lm_shapes, .uses = TEST, .absent = NO_OUTPUT(2) | NO_OUTPUT(3)},
    {.op = {.opcode = DAPT_OP_LM_LOSS_GRAD, .u.lm = {.scale = 2}}, .shapes = lm_shapes, .uses = TEST, .absent = NO_OUTPUT(1) | NO_OUTPUT(2)},

    {.op = {.opcode = DAPT_OP_SUM}, .shapes = flat_shapes, .uses = TEST | CERTIFY, .shift = 0.5f, .tolerance = 1e-6},
    {.op = {.opcode = DAPT_OP_SUM, .accumulate = 1}, .shapes = flat_shapes, .uses = CERTIFY, .shift = 0.5f},
    {.op = {.opcode = DAPT_OP_SUM_SQUARES}, .shapes = flat_shapes, .uses = TEST | CERTIFY, .shift = 0.5f, .tolerance = 1e-6,
     .bench = {.name = "sum_squares", .sizes = "#", .besides = 1}},

    {.op = {.opcode = DAPT_OP_ADAMW, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .rate = 1, .decay = true}}, .shapes = flat_shapes, .uses = TEST | CERTIFY,
     .bench = {.name = "adamw", .sizes = "#", .besides = 1}},
    {.op = {.opcode = DAPT_OP_ADAMW, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .rate = 1}}, .shapes = flat_shapes, .uses = TEST | CERTIFY},
    {.op = {.opcode = DAPT_OP_ADAMW, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .rate = 0.3f, .decay = true}}, .shapes = flat_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_ADAMW_8BIT, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .rate = 1, .decay = true}}, .shapes = flat_shapes, .uses = TEST | CERTIFY,
     .bench = {.name = "adamw_8bit", .sizes = "#"}},
    {.op = {.opcode = DAPT_OP_ADAMW_8BIT, .u.adamw = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .rate = 0.3f}}, .shapes = flat_shapes, .uses = TEST},

    {.op = {.opcode = DAPT_OP_DROPOUT, .u.dropout = {.rate = 0.1f, .stream = 3}}, .shapes = row_shapes, .uses = TEST | CERTIFY | GRADIENT},
    {.op = {.opcode = DAPT_OP_DROPOUT, .accumulate = 1, .u.dropout = {.rate = 0.75f, .stream = UINT32_MAX}}, .shapes = row_shapes, .uses = CERTIFY, .gaps = true},
    {.op = {.opcode = DAPT_OP_DROPOUT}, .shapes = row_shapes, .uses = TEST},
    {.op = {.opcode = DAPT_OP_DEQUANTIZE}, .shapes = block_shapes, .uses = TEST | CERTIFY, .mixed = DAPT_NF4, .tolerance = 1e-7},
    {.op = {.opcode = DAPT_OP_DEQUANTIZE}, .shapes = block_shapes, .uses = TEST | CERTIFY, .mixed = DAPT_INT8, .tolerance = 1e-7},

    // Products as backward passes have them: times an activation's derivative; with sums of a factor.
    DERIVATIVE(GELU_TANH, F32, false, TEST | CERTIFY, MNK(33, 64, 40, TEST | CERTIFY), MNK(64, 64, 1030, TEST), MNK(1, 300, 64, TEST)),
    DERIVATIVE(SILU, F16, true, TEST, MNK(128, 72, 50, TEST)),
    WEIGHT_GRADIENT(SUM_A, 0, F32, TEST | CERTIFY, MNK(65, 33, 50, TEST | CERTIFY), MNK(64, 64, 1030, TEST), MNK(2, 30, 40, TEST)),
    WEIGHT_GRADIENT(SUM_B, 5, F32, TEST | CERTIFY, MNK(65, 33, 50, TEST | CERTIFY), MNK(64, 64, 1030, TEST), MNK(2, 30, 40, TEST)),
    WEIGHT_GRADIENT(SUM_A, 0, F16, TEST, MNK(128, 132, 70, TEST)),
    WEIGHT_GRADIENT(SUM_B, 0, BF16, TEST, MNK(132, 128, 1030, TEST)),
};
// clang-format on

const struct dapt_case_row *dapt_case_rows(size_t *count) {
    *count = sizeof rows / sizeof *rows;
    return rows;
}
