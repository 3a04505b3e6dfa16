// Graphs as built for every family and mode: valid programs, sound memory plans, gradients for
// every parameter.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "graph/ops.h"
#include "model/model.h"

#define SIZES                                                                                      \
    "\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":3,\"num_attention_heads\":" \
    "4,\"vocab_size\":64,\"max_position_embeddings\":64"

static const char *const configs[] = {
    "{\"model_type\":\"gpt2\",\"n_embd\":32,\"n_layer\":3,\"n_head\":4,\"n_positions\":64,\"vocab_"
    "size\":64}",
    "{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"llama\"," SIZES
    ",\"num_key_value_heads\":1,\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":"
    "true}",
    "{\"model_type\":\"mistral\"," SIZES ",\"num_key_value_heads\":2,\"sliding_window\":8}",
    "{\"model_type\":\"qwen2\"," SIZES ",\"num_key_value_heads\":2}",
    "{\"model_type\":\"qwen3\"," SIZES ",\"num_key_value_heads\":2,\"head_dim\":16}",
    "{\"model_type\":\"bert\"," SIZES ",\"type_vocab_size\":3}",
    "{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":4}",
};
#define CONFIGS (sizeof configs / sizeof *configs)

static struct dapt_model *model_of(const char *config) {
    struct dapt_json *json;
    struct dapt_model *model;
    assert_int_equal(dapt_json_parse("test", config, strlen(config), &json), DAPT_OK);
    if (dapt_model_from_json(json, &model)) fail_msg("%s: %s", config, dapt_error());
    return model;
}

static bool fuse_all(void *context, const struct dapt_program *program) {
    (void)context;
    (void)program;
    return true;
}

// As a backend whose kernels take float32 and which can cast.
static bool only_float32(void *context, const struct dapt_program *program) {
    bool narrow = false;
    (void)context;
    for (uint32_t i = 0; i < program->tensor_count; i++)
        narrow |= dapt_dtype_size(program->tensors[i].dtype) == 2;
    return !narrow || program->ops[0].opcode == DAPT_OP_CAST;
}

static enum dapt_precision precision;  // of the graphs that build() builds
static bool bridged;                   // ... for a device that computes in float32

static struct dapt_graph *build(const struct dapt_model *model, enum dapt_model_mode mode,
                                enum dapt_recompute recompute, bool fuse, bool accumulate) {
    struct dapt_model_io io;
    struct dapt_graph *g = dapt_graph_create();
    struct dapt_model_build b = {.mode = mode,
                                 .precision = precision,
                                 .sequences = mode == DAPT_MODEL_DECODE ? 1 : 2,
                                 .length = 16,
                                 .capacity = 40,
                                 .accumulate = accumulate};
    enum dapt_status status = dapt_model_graph(model, &b, g, &io);
    if (!status) status = dapt_graph_recompute(g, recompute);
    if (!status && fuse) status = dapt_graph_fuse(g, fuse_all, NULL);
    if (!status) status = dapt_graph_prune(g);
    if (!status) status = dapt_graph_bridge(g, bridged ? only_float32 : fuse_all, NULL);
    if (!status) status = dapt_graph_plan(g);
    if (status) fail_msg("%s", dapt_error());
    return g;
}

#define UNIT 2  // bytes that a tag stands for

// Runs the program's data flow on tags instead of numbers: every op stamps the bytes that it
// writes, and must find in the bytes that it reads the stamp that the op list (by storage, before
// planning) says. So an overlap of two living values can't go unnoticed.
static void check_plan(struct dapt_graph *g) {
    size_t words = g->role_size[DAPT_BUFFER_WORK] / UNIT + 1;
    uint32_t *memory = calloc(words, sizeof *memory);
    uint32_t **shadow = calloc(g->storage_count, sizeof *shadow);
    for (size_t s = 0; s < g->storage_count; s++)
        if (g->storages[s].role == DAPT_BUFFER_WORK)
            shadow[s] = calloc(g->storages[s].size / UNIT + 1, sizeof **shadow);
    for (size_t k = 0; k < g->op_count; k++)
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < (pass ? DAPT_OP_OUTPUTS : DAPT_OP_INPUTS); i++) {
                dapt_value v = pass ? g->ops[k].outputs[i] : g->ops[k].inputs[i];
                if (v == DAPT_NONE) continue;
                const struct dapt_tensor *t = &g->values[v].tensor;
                const struct dapt_storage *s = &g->storages[t->buffer];
                if (s->role != DAPT_BUFFER_WORK) continue;
                int64_t units = (int64_t)dapt_dtype_size(t->dtype) / UNIT,
                        row = dapt_tensor_row(t) * units;
                for (int64_t r = 0; r < t->shape[0]; r++)
                    for (int64_t c = 0; c < row; c++) {
                        size_t at = t->offset / UNIT + (size_t)(r * t->stride * units + c);
                        assert_true(s->offset / UNIT + at < words);
                        bool reads = !pass || (g->ops[k].accumulate >> i & 1);
                        if (reads && memory[s->offset / UNIT + at] != shadow[t->buffer][at])
                            fail_msg("op %zu (%s) reads what another op overwrote", k,
                                     dapt_op_info(g->ops[k].opcode)->name);
                        if (reads && !shadow[t->buffer][at])
                            fail_msg("op %zu (%s) reads what nobody wrote", k,
                                     dapt_op_info(g->ops[k].opcode)->name);
                        if (pass)
                            memory[s->offset / UNIT + at] = shadow[t->buffer][at] =
                                (uint32_t)(k * 8 + (size_t)i + 1);
                    }
            }
    for (size_t s = 0; s < g->storage_count; s++) free(shadow[s]);
    free(shadow);
    free(memory);
}

static void every_mode_gives_a_valid_program(void **state) {
    (void)state;
    for (size_t c = 0; c < CONFIGS; c++) {
        struct dapt_model *model = model_of(configs[c]);
        for (int mode = 0; mode <= (model->masked ? DAPT_MODEL_LOGITS : DAPT_MODEL_DECODE); mode++)
            for (int variant = 0; variant < 5 * 8; variant++) {
                precision = (enum dapt_precision)((variant / 8 + 1) / 2);
                bridged = variant / 8 % 2 == 1;
                struct dapt_graph *g = build(
                    model, mode, variant & 1 ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE,
                    variant & 2, variant & 4);
                struct dapt_program program;
                assert_int_equal(dapt_graph_program(g, &program), DAPT_OK);
                for (uint32_t k = 0; k < program.op_count; k++) {
                    const struct dapt_op *op = &program.ops[k];
                    if (dapt_op_check(op, program.tensors, program.tensor_count))
                        fail_msg("config %zu: op %u: %s", c, k, dapt_error());
                    for (uint32_t i = dapt_op_input_count(dapt_op_info(op->opcode));
                         i < DAPT_OP_INPUTS; i++)
                        assert_int_equal(op->inputs[i], DAPT_NONE);
                    for (uint32_t i = dapt_op_output_count(dapt_op_info(op->opcode));
                         i < DAPT_OP_OUTPUTS; i++)
                        assert_int_equal(op->outputs[i], DAPT_NONE);
                }
                check_plan(g);
                dapt_graph_destroy(&g);
            }
        precision = DAPT_PRECISION_FLOAT32;
        bridged = false;
        dapt_model_close(&model);
    }
}

// Every element of every parameter's gradient is written, and nothing else of the gradient buffer;
// without `accumulate` first by an op that overwrites.
static void every_parameter_gets_a_gradient(void **state) {
    (void)state;
    for (size_t c = 0; c < CONFIGS; c++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            struct dapt_model *model = model_of(configs[c]);
            struct dapt_graph *g = build(model, DAPT_MODEL_TRAIN, DAPT_RECOMPUTE_NONE, true,
                                         accumulate);
            uint8_t *written = calloc(model->flat_count, 1);
            for (size_t k = 0; k < g->op_count; k++)
                for (int i = 0; i < DAPT_OP_OUTPUTS; i++) {
                    dapt_value v = g->ops[k].outputs[i];
                    if (v == DAPT_NONE) continue;
                    const struct dapt_tensor *t = &g->values[v].tensor;
                    const struct dapt_storage *s = &g->storages[t->buffer];
                    if (s->role != DAPT_BUFFER_GRAD) continue;
                    size_t begin = (s->offset + t->offset) / 4,
                           end = begin + dapt_tensor_span(t) / 4;
                    assert_true(end <= model->flat_count);
                    for (size_t e = begin; e < end; e++) {
                        bool adds = g->ops[k].accumulate >> i & 1;
                        assert_true(adds || !written[e]);  // nothing is overwritten
                        assert_true(!adds || written[e] || accumulate);
                        written[e] = 1;
                    }
                }
            for (size_t p = 0; p < model->parameter_count; p++) {
                uint64_t begin = 0, end = model->parameters[p].count;
                // To rows of tables that nothing reads, which are zero, nothing is added.
                if (accumulate && p == model->slots[DAPT_SLOT_TYPE]) end = model->hidden;
                if (accumulate && p == model->slots[DAPT_SLOT_POSITION])
                    begin = (uint64_t)model->first_position * model->hidden;
                for (uint64_t e = begin; e < end; e++) {
                    if (written[model->parameters[p].offset + e] != 1)
                        fail_msg("config %zu: %s has no gradient", c, model->parameters[p].name);
                    written[model->parameters[p].offset + e] = 2;
                }
            }
            for (uint64_t e = 0; e < model->flat_count; e++) assert_int_not_equal(written[e], 1);
            free(written);
            dapt_graph_destroy(&g);
            dapt_model_close(&model);
        }
}

static void recompute_saves_memory(void **state) {
    (void)state;
    struct dapt_model *model = model_of(
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":96,\"num_hidden_"
        "layers\":12,\"num_attention_heads\":4,\"vocab_size\":64}");
    struct dapt_graph *all = build(model, DAPT_MODEL_TRAIN, DAPT_RECOMPUTE_NONE, true, false);
    struct dapt_graph *block = build(model, DAPT_MODEL_TRAIN, DAPT_RECOMPUTE_BLOCK, true, false);
    uint64_t a = all->role_size[DAPT_BUFFER_WORK], b = block->role_size[DAPT_BUFFER_WORK];
    print_message("work memory of 12 layers: %llu bytes, recomputed %llu; ops %zu, %zu\n",
                  (unsigned long long)a, (unsigned long long)b, all->op_count, block->op_count);
    assert_true(b * 3 < a);
    assert_true(block->op_count > all->op_count);
    dapt_graph_destroy(&all);
    dapt_graph_destroy(&block);
    dapt_model_close(&model);
}

// Of this process, so that others on the machine do not matter.
static double seconds_to_build(const char *layers) {
    char config[256];
    snprintf(config, sizeof config,
             "{\"model_type\":\"gpt2\",\"n_layer\":%s,\"n_embd\":8,\"n_head\":2,\"n_positions\":16,"
             "\"vocab_size\":16}",
             layers);
    struct dapt_model *model = model_of(config);
    clock_t begin = clock();
    struct dapt_graph *graph = build(model, DAPT_MODEL_TRAIN, DAPT_RECOMPUTE_NONE, true, false);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    dapt_graph_destroy(&graph);
    dapt_model_close(&model);
    return seconds;
}

// By its square, eight times the layers took 64 times as long.
static void time_follows_the_layers(void **state) {
    (void)state;
    double few = seconds_to_build("256"), many = seconds_to_build("2048");
    print_message("256 layers in %.3f s, 2048 in %.3f s\n", few, many);
    assert_true(many < 30 * few + 2);
}

static size_t count_ops(const struct dapt_graph *g, enum dapt_opcode opcode) {
    size_t n = 0;
    for (size_t k = 0; k < g->op_count; k++) n += g->ops[k].opcode == opcode;
    return n;
}

static void fusion_leaves_no_separate_op(void **state) {
    (void)state;
    struct dapt_model *model = model_of(configs[0]);
    struct dapt_graph *plain = build(model, DAPT_MODEL_LOSS, DAPT_RECOMPUTE_NONE, false, false);
    struct dapt_graph *fused = build(model, DAPT_MODEL_LOSS, DAPT_RECOMPUTE_NONE, true, false);
    struct dapt_graph *train = build(model, DAPT_MODEL_TRAIN, DAPT_RECOMPUTE_NONE, true, false);
    assert_int_equal(count_ops(plain, DAPT_OP_ADD_BIAS), 12);
    assert_int_equal(count_ops(plain, DAPT_OP_ACTIVATE), 3);
    assert_int_equal(count_ops(fused, DAPT_OP_ADD_BIAS) + count_ops(fused, DAPT_OP_ACTIVATE), 0);
    assert_int_equal(count_ops(fused, DAPT_OP_ADD), 1);  // of the two embeddings
    assert_int_equal(count_ops(train, DAPT_OP_ACTIVATE),
                     3);  // the gradient needs what comes before it
    assert_int_equal(count_ops(train, DAPT_OP_ADD_BIAS), 0);
    // Gradients of activations and of biases are made by products.
    assert_int_equal(count_ops(train, DAPT_OP_ACTIVATE_GRAD), 0);
    assert_int_equal(count_ops(train, DAPT_OP_COLUMN_SUM), 0);
    assert_int_equal(count_ops(train, DAPT_OP_COPY),
                     0);  // residual gradients are passed on, not copied
    assert_int_equal(count_ops(train, DAPT_OP_ADD), 1);
    dapt_graph_destroy(&plain);
    dapt_graph_destroy(&fused);
    dapt_graph_destroy(&train);
    dapt_model_close(&model);
}

static dapt_value given(struct dapt_graph *g, const char *name) {
    return dapt_graph_input(g, DAPT_BUFFER_CACHE, DAPT_GRAPH_NEXT, DAPT_F32, 2, (int64_t[]){4, 4},
                            name);
}

static dapt_value work(struct dapt_graph *g) {
    return dapt_graph_new(g, DAPT_BUFFER_WORK, DAPT_F32, 2, (int64_t[]){4, 4});
}

static dapt_value apply(struct dapt_graph *g, enum dapt_opcode opcode, dapt_value a, dapt_value b,
                        dapt_value y) {
    struct dapt_op op = {.opcode = opcode,
                         .inputs = {a, b, DAPT_NONE, DAPT_NONE},
                         .outputs = {y, DAPT_NONE, DAPT_NONE}};
    if (opcode == DAPT_OP_SCALE) op.u.scale.factor = 2;
    if (opcode == DAPT_OP_ACTIVATE_GRAD) op.u.activation.kind = DAPT_ACT_SILU;
    dapt_graph_op(g, &op);
    return y;
}

// y = a b + r is one op, but not where r gets another value between the product and the sum, nor
// where the sum goes to a place that is still read in between.
static void a_sum_is_not_moved_over_what_it_touches(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct dapt_graph *g = dapt_graph_create();
        dapt_value a = given(g, "a");
        dapt_value r = apply(g, DAPT_OP_SCALE, a, DAPT_NONE, work(g));
        dapt_value c = apply(g, DAPT_OP_MATMUL, a, a, work(g)), y = work(g);
        if (variant == 1) r = apply(g, DAPT_OP_SCALE, r, DAPT_NONE, dapt_graph_alias(g, r));
        if (variant == 2) {
            dapt_value out = dapt_graph_new(g, DAPT_BUFFER_RESULT, DAPT_F32, 2, (int64_t[]){4, 4});
            apply(g, DAPT_OP_SCALE, r, DAPT_NONE, out);
            y = dapt_graph_alias(g, r);
        }
        apply(g, DAPT_OP_ADD, c, r, y);
        assert_int_equal(g->status, DAPT_OK);
        assert_int_equal(dapt_graph_fuse(g, fuse_all, NULL), DAPT_OK);
        assert_int_equal(count_ops(g, DAPT_OP_ADD), variant == 0 ? 0 : 1);
        dapt_graph_destroy(&g);
    }
}

// The sum over the rows of dy is the product's that has dy as a factor over those rows, but not behind
// what changes dy, nor what reads or changes the sum; nor that of a product over columns.
static void a_sum_of_rows_is_made_by_a_product(void **state) {
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        struct dapt_graph *g = dapt_graph_create();
        dapt_value x = given(g, "x");
        dapt_value dy = apply(g, DAPT_OP_SCALE, x, DAPT_NONE, work(g)),
                   bias = dapt_graph_new(g, DAPT_BUFFER_GRAD, DAPT_F32, 1, (int64_t[]){4}),
                   row = dapt_graph_new(g, DAPT_BUFFER_RESULT, DAPT_F32, 1, (int64_t[]){4});
        struct dapt_op sum = {.opcode = DAPT_OP_COLUMN_SUM,
                              .accumulate = variant == 1,
                              .inputs = {dy},
                              .outputs = {bias}},
                       product = {.opcode = DAPT_OP_MATMUL,
                                  .inputs = {variant == 1 ? dy : x, variant == 1 ? x : dy,
                                             DAPT_NONE, DAPT_NONE},
                                  .outputs = {dapt_graph_new(g, DAPT_BUFFER_RESULT, DAPT_F32, 2,
                                                             (int64_t[]){4, 4}),
                                              DAPT_NONE, DAPT_NONE},
                                  .u.matmul.transpose_a = variant != 5};
        dapt_graph_op(g, &sum);
        if (variant == 2) apply(g, DAPT_OP_SCALE, dy, DAPT_NONE, dapt_graph_alias(g, dy));
        if (variant == 3) apply(g, DAPT_OP_COPY, bias, DAPT_NONE, row);
        if (variant == 4) dapt_graph_op(g, &sum);
        dapt_graph_op(g, &product);
        assert_int_equal(g->status, DAPT_OK);
        assert_int_equal(dapt_graph_fuse(g, fuse_all, NULL), DAPT_OK);
        const struct dapt_op *last = &g->ops[g->op_count - 1];
        assert_int_equal(count_ops(g, DAPT_OP_COLUMN_SUM), variant < 2 ? 0 : 1);
        assert_int_equal(last->outputs[1], variant == 1 ? bias : DAPT_NONE);
        assert_int_equal(last->outputs[2], variant == 0 || variant == 4 ? bias : DAPT_NONE);
        assert_int_equal(last->accumulate, variant == 1 ? 2 : 0);
        dapt_graph_destroy(&g);
    }
}

// dy act'(x) is the product's that makes dy, but not where something else is made of dy, too.
static void a_derivative_is_taken_by_a_product(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct dapt_graph *g = dapt_graph_create();
        dapt_value x = given(g, "x");
        dapt_value dy = apply(g, DAPT_OP_MATMUL, x, x, work(g));
        if (variant == 1) apply(g, DAPT_OP_SCALE, dy, DAPT_NONE, work(g));
        apply(g, DAPT_OP_ACTIVATE_GRAD, variant == 2 ? x : dy, variant == 2 ? dy : x, work(g));
        assert_int_equal(g->status, DAPT_OK);
        assert_int_equal(dapt_graph_fuse(g, fuse_all, NULL), DAPT_OK);
        assert_int_equal(count_ops(g, DAPT_OP_ACTIVATE_GRAD), variant == 0 ? 0 : 1);
        assert_int_equal(g->ops[0].u.matmul.derivative, variant == 0);
        assert_int_equal(g->ops[0].inputs[3], variant == 0 ? x : DAPT_NONE);
        dapt_graph_destroy(&g);
    }
}

// What is capped is not differentiated: a gradient that leaves the cap out would look like one.
static void a_cap_is_not_differentiated(void **state) {
    (void)state;
    struct dapt_graph *g = dapt_graph_create();
    dapt_value w = dapt_graph_input(g, DAPT_BUFFER_PARAM, 0, DAPT_F32, 2, (int64_t[]){4, 4}, "w"),
               targets = dapt_graph_input(g, DAPT_BUFFER_BATCH, DAPT_GRAPH_NEXT, DAPT_I32, 1,
                                          (int64_t[]){4}, "targets"),
               seed = dapt_graph_input(g, DAPT_BUFFER_STEP, 0, DAPT_F32, 1, (int64_t[]){1}, "seed");
    dapt_value capped = dapt_graph_make(
        g, DAPT_BUFFER_WORK,
        &(struct dapt_op){
            .opcode = DAPT_OP_SCALE, .inputs = {w}, .u.scale = {.factor = 1, .softcap = 2}});
    dapt_value loss = dapt_graph_make(
        g, DAPT_BUFFER_WORK,
        &(struct dapt_op){
            .opcode = DAPT_OP_LM_LOSS, .inputs = {capped, w, DAPT_NONE, targets}, .u.lm.scale = 1});
    assert_int_equal(g->status, DAPT_OK);
    assert_int_equal(dapt_graph_autodiff(g, loss, seed, false), DAPT_ERROR_INTERNAL);
    assert_non_null(strstr(dapt_error(), "softcap"));
    dapt_graph_destroy(&g);
}

// A tensor that the family names and nothing builds with would be loaded and saved, but not trained.
static void a_parameter_that_nothing_uses_is_named(void **state) {
    (void)state;
    struct dapt_model *model = model_of(configs[4]);
    struct dapt_model_build b = {.mode = DAPT_MODEL_TRAIN, .sequences = 1, .length = 16};
    struct dapt_model_io io;
    struct dapt_graph *g = dapt_graph_create();
    assert_int_equal(model->slots[DAPT_SLOT_COUNT + DAPT_SLOT_Q_BIAS] == DAPT_NONE, 0);
    model->slots[DAPT_SLOT_COUNT + DAPT_SLOT_Q_BIAS] = DAPT_NONE;
    assert_int_equal(dapt_model_graph(model, &b, g, &io), DAPT_ERROR_INTERNAL);
    assert_non_null(strstr(dapt_error(), "model.layers.0.self_attn.q_proj.bias"));
    dapt_graph_destroy(&g);
    dapt_model_close(&model);
}

static bool no_rope(void *context, const struct dapt_program *program) {
    return only_float32(context, program) && program->ops[0].opcode != DAPT_OP_ROPE;
}
static bool no_cast(void *context, const struct dapt_program *program) {
    return only_float32(context, program) && program->ops[0].opcode != DAPT_OP_CAST;
}

// What a device does not run in any way is refused with the op and the dtypes.
static void what_no_cast_helps_is_named(void **state) {
    (void)state;
    struct dapt_model *model = model_of(configs[1]);
    for (int variant = 0; variant < 2; variant++) {
        struct dapt_model_build b = {.mode = DAPT_MODEL_TRAIN,
                                     .precision = DAPT_PRECISION_BFLOAT16,
                                     .sequences = 1,
                                     .length = 16};
        struct dapt_model_io io;
        struct dapt_graph *g = dapt_graph_create();
        assert_int_equal(dapt_model_graph(model, &b, g, &io), DAPT_OK);
        assert_int_equal(dapt_graph_bridge(g, variant ? no_cast : no_rope, NULL),
                         DAPT_ERROR_UNSUPPORTED);
        const char *expected = variant ? "op cast of embedding with x f32, y bf16"
                                       : "op rope of layers.0.attention with x bf16, table f32, "
                                         "positions i32, y bf16";
        if (!strstr(dapt_error(), expected)) fail_msg("%s", dapt_error());
        dapt_graph_destroy(&g);
    }
    dapt_model_close(&model);
}

static void bad_operands_are_refused(void **state) {
    (void)state;
    struct dapt_tensor m = {.dtype = DAPT_F32, .rank = 2, .shape = {4, 6, 1, 1}, .stride = 6};
    struct dapt_tensor t[4] = {m, m, m, m};
    for (uint32_t i = 0; i < 4; i++) t[i].buffer = i;
    struct dapt_op add = {.opcode = DAPT_OP_ADD, .inputs = {0, 1}, .outputs = {2}};
    assert_int_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    add.inputs[1] = 4;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    add.inputs[1] = DAPT_NONE;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    add.inputs[1] = 1;
    add.accumulate = 1;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    add.accumulate = 0;
    t[1].shape[1] = 5;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    t[1] = t[2];
    t[1].offset = 8;  // overlaps the output, shifted
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    t[1].offset = 0;  // the very same: in place
    assert_int_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    t[1].dtype = DAPT_I32;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    t[1].dtype = DAPT_BF16;  // activations of an op share a dtype
    t[1].buffer = 1;
    assert_int_not_equal(dapt_op_check(&add, t, 4), DAPT_OK);
    t[0].dtype = t[2].dtype = DAPT_BF16;
    assert_int_equal(dapt_op_check(&add, t, 4), DAPT_OK);

    // Columns of one matrix side by side do not overlap; shifted into each other they do.
    struct dapt_tensor left = {.dtype = DAPT_F32, .rank = 2, .shape = {4, 3, 1, 1}, .stride = 6},
                       right = left;
    right.offset = 12;
    assert_false(dapt_tensor_overlap(&left, &right));
    right.offset = 8;
    assert_true(dapt_tensor_overlap(&left, &right));
    right.offset = 12 + 24;
    assert_false(dapt_tensor_overlap(&left, &right));
    right.offset = 16;
    assert_true(dapt_tensor_overlap(&left, &right));  // wraps into the next row
}

static void impossible_configs_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"model_type\":5}",
        "{\"model_type\":\"mamba\"}",
        "{\"model_type\":\"llama\"}",
        "{\"model_type\":\"llama\"," SIZES ",\"num_key_value_heads\":3}",
        "{\"model_type\":\"llama\"," SIZES ",\"hidden_act\":\"mish\"}",
        "{\"model_type\":\"llama\"," SIZES ",\"rope_scaling\":{\"type\":\"alibi\",\"factor\":4}}",
        "{\"model_type\":\"llama\"," SIZES ",\"quantization_config\":{\"bits\":4}}",
        "{\"model_type\":\"llama\"," SIZES ",\"rms_norm_eps\":-1}",
        "{\"model_type\":\"llama\"," SIZES ",\"head_dim\":7}",
        "{\"model_type\":\"mistral\"," SIZES ",\"num_key_value_heads\":2,\"sliding_window\":-4}",
        "{\"model_type\":\"qwen3\"," SIZES
        ",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\"]}",
        "{\"model_type\":\"gpt2\",\"n_embd\":33,\"n_layer\":3,\"n_head\":4,\"vocab_size\":64}",
        "{\"model_type\":\"gpt2\",\"n_embd\":1000000,\"n_layer\":4000,\"n_head\":4,\"vocab_size\":"
        "16000000}",
        "{\"model_type\":\"gpt2\",\"n_embd\":32,\"n_layer\":3,\"n_head\":4,\"vocab_size\":64,"
        "\"scale_attn_by_inverse_layer_idx\":true}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dapt_json *json;
        struct dapt_model *model;
        assert_int_equal(dapt_json_parse("config.json", bad[i], strlen(bad[i]), &json), DAPT_OK);
        if (!dapt_model_from_json(json, &model)) fail_msg("accepted: %s", bad[i]);
        assert_null(model);
        assert_non_null(strstr(dapt_error(), "config.json:1:"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_gives_a_valid_program),
        cmocka_unit_test(every_parameter_gets_a_gradient),
        cmocka_unit_test(recompute_saves_memory),
        cmocka_unit_test(time_follows_the_layers),
        cmocka_unit_test(fusion_leaves_no_separate_op),
        cmocka_unit_test(a_sum_of_rows_is_made_by_a_product),
        cmocka_unit_test(a_derivative_is_taken_by_a_product),
        cmocka_unit_test(a_sum_is_not_moved_over_what_it_touches),
        cmocka_unit_test(a_cap_is_not_differentiated),
        cmocka_unit_test(a_parameter_that_nothing_uses_is_named),
        cmocka_unit_test(what_no_cast_helps_is_named),
        cmocka_unit_test(bad_operands_are_refused),
        cmocka_unit_test(impossible_configs_are_refused),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
