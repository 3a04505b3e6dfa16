// The gradients that autodiff makes of each op, computed by the reference, against central
// differences of the reference's forward op, in double precision. The backends are compared with the
// same reference in test_ops.c.
//
// An op stands before an lm_loss, which autodiff starts from, and its operands are parameters.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "graph/cases.h"
#include "graph/graph.h"
#include "reference.h"

#define STEP 1e-5
#define TOLERANCE 1e-7
#define CLASSES 5
#define SEED 0.25

struct fixture {
    struct dapt_graph *graph;
    dapt_value loss;
    dapt_value inputs[DAPT_OP_INPUTS];
    // What the storages hold, one of both.
    double **floats;
    int32_t **whole;
};

// ------------------------------------------------------------------------------------- the program

static dapt_value add_input(struct fixture *f, enum dapt_buffer_role role,
                            const struct dapt_tensor *t, const char *name) {
    return dapt_graph_input(f->graph, role, DAPT_GRAPH_NEXT, t->dtype, t->rank, t->shape, name);
}

// The loss of what the op gives, seen as rows; an lm_loss is its own.
static dapt_value add_loss(struct fixture *f, dapt_value y, enum dapt_opcode opcode) {
    if (opcode == DAPT_OP_LM_LOSS || f->graph->status) return y;
    const struct dapt_tensor t = *dapt_graph_tensor(f->graph, y);
    int64_t rows = t.shape[0], columns = dapt_tensor_count(&t) / rows;
    const struct dapt_tensor w = {DAPT_F32, 2, {CLASSES, columns, 1, 1}, columns, 0, 0},
                             targets = {DAPT_I32, 1, {rows, 1, 1, 1}, 1, 0, 0};
    struct dapt_op loss = {
        .opcode = DAPT_OP_LM_LOSS,
        .inputs = {dapt_graph_reshape(f->graph, y, 2, (const int64_t[]){rows, columns}),
                   add_input(f, DAPT_BUFFER_CONSTANT, &w, "w"), DAPT_NONE,
                   add_input(f, DAPT_BUFFER_BATCH, &targets, "targets")},
        .u.lm.scale = 1};
    return dapt_graph_make(f->graph, DAPT_BUFFER_RESULT, &loss);
}

static void build(struct fixture *f, const struct dapt_case *c) {
    struct dapt_op op;
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS];
    const struct dapt_tensor one = {DAPT_F32, 1, {1, 1, 1, 1}, 1, 0, 0};
    const struct dapt_op_info *info = dapt_op_info(c->row->op.opcode);
    *f = (struct fixture){.graph = dapt_graph_create()};
    assert_non_null(f->graph);
    dapt_case_make(c, &op, tensors);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        if (op.inputs[i] == DAPT_NONE) continue;
        enum dapt_buffer_role role = DAPT_BUFFER_PARAM;
        if (info->in[i].class == DAPT_CLASS_INDEX) role = DAPT_BUFFER_BATCH;
        if (op.opcode == DAPT_OP_ROPE && i == 1) role = DAPT_BUFFER_CONSTANT;
        op.inputs[i] = f->inputs[i] = add_input(f, role, &tensors[i], info->in[i].name);
    }
    dapt_value seed = add_input(f, DAPT_BUFFER_STEP, &one, "seed"),
               y = dapt_graph_make(f->graph, DAPT_BUFFER_WORK, &op);
    f->loss = add_loss(f, y, op.opcode);
    if (dapt_graph_autodiff(f->graph, f->loss, seed, false)) fail_msg("%s", dapt_error());
}

// Memory for all that the program names, and what it begins with.
static void fill(struct fixture *f, const struct dapt_case *c) {
    const struct dapt_graph *g = f->graph;
    f->floats = calloc(g->storage_count, sizeof *f->floats);
    f->whole = calloc(g->storage_count, sizeof *f->whole);
    assert_true(f->floats && f->whole);
    for (size_t v = 0; v < g->value_count; v++) {
        const struct dapt_tensor *t = &g->values[v].tensor;
        const char *name = g->values[v].name ? g->values[v].name : "";
        size_t s = t->buffer, count = (size_t)dapt_tensor_count(t);
        if (f->floats[s] || f->whole[s]) continue;
        if (t->dtype == DAPT_I32) {
            assert_non_null(f->whole[s] = calloc(count, sizeof **f->whole));
            for (size_t i = 0; i < count; i++) f->whole[s][i] = (int32_t)(i * 3 % CLASSES);
            continue;
        }
        assert_non_null(f->floats[s] = calloc(count, sizeof **f->floats));
        for (size_t i = 0; i < count && strcmp(name, "w") == 0; i++)
            f->floats[s][i] = dapt_random_normal(1, 0, i);
        if (strcmp(name, "seed") == 0) f->floats[s][0] = SEED;
    }
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        const struct dapt_tensor *t = &g->values[f->inputs[i]].tensor;
        if (i >= (int)dapt_op_input_count(dapt_op_info(c->row->op.opcode)) ||
            (c->row->absent >> i & 1))
            continue;
        size_t count = (size_t)dapt_tensor_count(t);
        float *values = calloc(count, sizeof *values);
        assert_non_null(values);
        void *into = t->dtype == DAPT_I32 ? (void *)f->whole[t->buffer] : values;
        dapt_case_fill(c, i, (uint64_t)i, (int64_t)count, into);
        for (size_t k = 0; k < count && t->dtype != DAPT_I32; k++)
            f->floats[t->buffer][k] = (double)values[k];
        free(values);
    }
}

static void destroy(struct fixture *f) {
    for (size_t s = 0; s < f->graph->storage_count; s++) free(f->floats[s]), free(f->whole[s]);
    free(f->floats);
    free(f->whole);
    dapt_graph_destroy(&f->graph);
}

static struct reference_tensor reference_of(const struct fixture *f, dapt_value v) {
    if (v == DAPT_NONE) return (struct reference_tensor){0};
    const struct dapt_tensor *t = dapt_graph_tensor(f->graph, v);
    assert_true(t->offset == 0 && dapt_tensor_dense(t));
    struct reference_tensor r = {.rank = t->rank};
    memcpy(r.shape, t->shape, sizeof r.shape);
    r.v = f->floats[t->buffer];
    r.i = f->whole[t->buffer];
    return r;
}

// Runs the first `count` ops. The objective: the seed times the sum of all losses.
static double run(const struct fixture *f, size_t count) {
    for (size_t k = 0; k < count; k++) {
        const struct dapt_op *op = &f->graph->ops[k];
        struct reference_tensor in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
        for (int i = 0; i < DAPT_OP_INPUTS; i++) in[i] = reference_of(f, op->inputs[i]);
        for (int i = 0; i < DAPT_OP_OUTPUTS; i++) out[i] = reference_of(f, op->outputs[i]);
        reference_run(op, in, out);
    }
    struct reference_tensor loss = reference_of(f, f->loss);
    double sum = 0;
    for (int64_t i = 0; i < loss.shape[0]; i++) sum += SEED * loss.v[i];
    return sum;
}

// --------------------------------------------------------------------------------------- the tests

// Where autodiff put the gradient of a parameter: the value of its name in the gradients.
static const double *gradient_of(const struct fixture *f, const char *name) {
    for (size_t v = 0; v < f->graph->value_count; v++) {
        const struct dapt_value_info *info = &f->graph->values[v];
        if (f->graph->storages[info->tensor.buffer].role == DAPT_BUFFER_GRAD && info->name &&
            strcmp(info->name, name) == 0)
            return f->floats[info->tensor.buffer];
    }
    fail_msg("%s has no gradient", name);
    return NULL;
}

static void check_parameter(const struct fixture *f, dapt_value v, const char *op) {
    const char *name = f->graph->values[v].name;
    const struct dapt_tensor *t = dapt_graph_tensor(f->graph, v);
    size_t count = (size_t)dapt_tensor_count(t);
    double *values = f->floats[t->buffer], *grad = malloc(count * sizeof *grad);
    assert_non_null(grad);
    memcpy(grad, gradient_of(f, name), count * sizeof *grad);
    for (size_t i = 0; i < count; i++) {
        double old = values[i];
        values[i] = old + STEP;
        double above = run(f, f->graph->forward_count);
        values[i] = old - STEP;
        double below = run(f, f->graph->forward_count);
        values[i] = old;
        double want = (above - below) / (2 * STEP), error = fabs(grad[i] - want);
        if (!(error <= TOLERANCE * (1 + fabs(want))))
            fail_msg("%s: gradient of %s, element %zu of %zu: %.12g, differences give %.12g", op,
                     name, i, count, grad[i], want);
    }
    free(grad);
}

static void check_case(const struct dapt_case *c) {
    const char *name = dapt_op_info(c->row->op.opcode)->name;
    struct fixture f;
    build(&f, c);
    fill(&f, c);
    for (size_t v = 0; v < f.graph->value_count; v++)
        if (f.graph->values[v].parent == DAPT_NONE &&
            f.graph->storages[f.graph->values[v].tensor.buffer].role == DAPT_BUFFER_PARAM) {
            run(&f, f.graph->op_count);
            check_parameter(&f, (dapt_value)v, name);
        }
    destroy(&f);
}

static bool covered[DAPT_OP_COUNT];

static void test_gradients(void **state) {
    (void)state;
    for (struct dapt_case c = {0}; dapt_case_next(&c, DAPT_CASE_GRADIENT);) {
        check_case(&c);
        covered[c.row->op.opcode] = true;
    }
}

// An op that has a NAME_grad beside it has a case.
static void test_all_covered(void **state) {
    (void)state;
    for (int i = 0; i < DAPT_OP_COUNT; i++)
        for (int k = 0; k < DAPT_OP_COUNT; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s_grad", dapt_op_info((enum dapt_opcode)i)->name);
            if (strcmp(name, dapt_op_info((enum dapt_opcode)k)->name) == 0 && !covered[i])
                fail_msg("%s has no case for its gradient",
                         dapt_op_info((enum dapt_opcode)i)->name);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_all_covered),
    };
    return cmocka_run_group_tests_name("grad", tests, NULL, NULL);
}
