#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

#include "graph/ops.h"
#include "graph/rewrite.h"

#define ALIGN 64u  // bytes; a cache line, and what vector loads like

struct dapt_graph *dapt_graph_create(void) {
    return dapt_alloc(1, sizeof(struct dapt_graph));
}

void dapt_graph_destroy(struct dapt_graph **graph) {
    if (!graph || !*graph) return;
    struct dapt_graph *g = *graph;
    dapt_arena_free(&g->arena);
    free(g->values);
    free(g->storages);
    free(g->ops);
    free(g->blocks);
    free(g);
    *graph = NULL;
}

const struct dapt_tensor *dapt_graph_tensor(const struct dapt_graph *graph, dapt_value value) {
    return &graph->values[value].tensor;
}

// After a failure, builders go on with value 0 or DAPT_NONE and do nothing; whoever finishes the
// graph sees the status.
static dapt_value fail(struct dapt_graph *g, enum dapt_status status) {
    if (!g->status) g->status = status;
    return DAPT_NONE;
}

static dapt_value add_value(struct dapt_graph *g, const struct dapt_value_info *info) {
    enum dapt_status status = dapt_grow(&g->values, &g->value_capacity, g->value_count + 1,
                                        sizeof *g->values);
    if (status) return fail(g, status);
    g->values[g->value_count] = *info;
    return (dapt_value)g->value_count++;
}

static dapt_value add_stored(struct dapt_graph *g, enum dapt_buffer_role role, uint64_t offset,
                             enum dapt_dtype dtype, uint32_t rank, const int64_t *shape,
                             const char *name) {
    if (g->status) return DAPT_NONE;
    if (rank < 1 || rank > DAPT_MAX_RANK)
        return fail(g, dapt_fail(DAPT_ERROR_INTERNAL, "graph: rank %u", rank));
    struct dapt_value_info info = {
        .parent = DAPT_NONE, .name = name, .gradient = role == DAPT_BUFFER_PARAM};
    info.tensor = (struct dapt_tensor){
        .dtype = dtype, .rank = rank, .shape = {1, 1, 1, 1}, .buffer = (uint32_t)g->storage_count};
    int64_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(count, shape[i], &count) ||
            count > INT64_MAX / 16)
            return fail(g, dapt_fail(DAPT_ERROR_INVALID, "graph: %s: impossible shape",
                                     name ? name : "a value"));
        else
            info.tensor.shape[i] = shape[i];
    info.tensor.stride = count / shape[0];

    enum dapt_status status = dapt_grow(&g->storages, &g->storage_capacity, g->storage_count + 1,
                                        sizeof *g->storages);
    if (status) return fail(g, status);
    struct dapt_storage *s = &g->storages[g->storage_count++];
    *s = (struct dapt_storage){.role = role, .size = (uint64_t)count * dapt_dtype_size(dtype)};
    if (role != DAPT_BUFFER_WORK) {
        s->offset = offset == DAPT_GRAPH_NEXT ? (g->role_size[role] + ALIGN - 1) / ALIGN * ALIGN
                                              : offset;
        if (s->offset + s->size > g->role_size[role]) g->role_size[role] = s->offset + s->size;
    }
    return add_value(g, &info);
}

dapt_value dapt_graph_input(struct dapt_graph *graph, enum dapt_buffer_role role, uint64_t offset,
                            enum dapt_dtype dtype, uint32_t rank, const int64_t *shape,
                            const char *name) {
    return add_stored(graph, role, offset, dtype, rank, shape, name);
}

dapt_value dapt_graph_new(struct dapt_graph *graph, enum dapt_buffer_role role,
                          enum dapt_dtype dtype, uint32_t rank, const int64_t *shape) {
    return add_stored(graph, role, DAPT_GRAPH_NEXT, dtype, rank, shape, NULL);
}

dapt_value dapt_graph_slice(struct dapt_graph *graph, dapt_value value, int64_t begin,
                            int64_t count) {
    if (graph->status) return DAPT_NONE;
    struct dapt_value_info info = graph->values[value];
    struct dapt_tensor *t = &info.tensor;
    if (t->rank < 2 || begin < 0 || count < 1 || begin + count > t->shape[1])
        return fail(graph, dapt_fail(DAPT_ERROR_INTERNAL, "graph: slice outside of its value"));
    t->offset += (uint64_t)(begin * t->shape[2] * t->shape[3]) * dapt_dtype_size(t->dtype);
    t->shape[1] = count;
    info.parent = value;
    info.name = NULL;
    return add_value(graph, &info);
}

dapt_value dapt_graph_reshape(struct dapt_graph *graph, dapt_value value, uint32_t rank,
                              const int64_t *shape) {
    if (graph->status) return DAPT_NONE;
    struct dapt_value_info info = graph->values[value];
    struct dapt_tensor *t = &info.tensor, old = *t;
    bool dense = dapt_tensor_dense(&old);
    t->rank = rank;
    for (uint32_t i = 0; i < DAPT_MAX_RANK; i++) t->shape[i] = i < rank ? shape[i] : 1;
    if (dapt_tensor_count(t) != dapt_tensor_count(&old) || (!dense && t->shape[0] != old.shape[0]))
        return fail(graph, dapt_fail(DAPT_ERROR_INTERNAL, "graph: reshape to another size"));
    if (dense) t->stride = dapt_tensor_row(t);
    info.parent = value;
    info.name = NULL;
    return add_value(graph, &info);
}

dapt_value dapt_graph_alias(struct dapt_graph *graph, dapt_value value) {
    if (graph->status) return DAPT_NONE;
    struct dapt_value_info info = graph->values[value];
    info.parent = DAPT_NONE;
    info.name = NULL;
    return add_value(graph, &info);
}

// An op over its own few tensors, which lie in storages in the place of buffers: so that it can be
// checked as a program's ops are, at a cost that does not grow with the graph.
struct local_op {
    struct dapt_op op;
    struct dapt_tensor tensors[DAPT_OP_SLOTS];
    uint32_t count;
};

static enum dapt_status localize(const struct dapt_graph *g, const struct dapt_op *op,
                                 uint32_t outputs, struct local_op *local) {
    uint32_t inputs = dapt_op_input_count(dapt_op_info(op->opcode));
    local->op = *op;
    local->count = 0;
    for (uint32_t i = 0; i < inputs + outputs; i++) {
        uint32_t *slot = i < inputs ? &local->op.inputs[i] : &local->op.outputs[i - inputs];
        if (*slot == DAPT_NONE) continue;
        if (*slot >= g->value_count)
            return dapt_fail(DAPT_ERROR_INTERNAL, "graph: an operand names no value");
        local->tensors[local->count] = g->values[*slot].tensor;
        *slot = local->count++;
    }
    return DAPT_OK;
}

static enum dapt_status check(const struct dapt_graph *g, const struct dapt_op *op) {
    struct local_op local;
    enum dapt_status status = localize(g, op, dapt_op_output_count(dapt_op_info(op->opcode)),
                                       &local);
    return status ? status : dapt_op_check(&local.op, local.tensors, local.count);
}

void dapt_graph_op(struct dapt_graph *graph, const struct dapt_op *op) {
    if (graph->status) return;
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    enum dapt_status status = info ? DAPT_OK
                                   : dapt_fail(DAPT_ERROR_INTERNAL, "graph: no such operation");
    if (!status)
        status = dapt_grow(&graph->ops, &graph->op_capacity, graph->op_count + 1,
                           sizeof *graph->ops);
    if (!status)
        status = dapt_grow(&graph->blocks, &graph->block_capacity, graph->op_count + 1,
                           sizeof *graph->blocks);
    if (status) {
        fail(graph, status);
        return;
    }
    struct dapt_op *added = &graph->ops[graph->op_count];
    *added = *op;
    if (!added->label) added->label = graph->label;
    for (uint32_t i = dapt_op_input_count(info); i < DAPT_OP_INPUTS; i++)
        added->inputs[i] = DAPT_NONE;
    for (uint32_t i = dapt_op_output_count(info); i < DAPT_OP_OUTPUTS; i++)
        added->outputs[i] = DAPT_NONE;
    if ((status = check(graph, added))) {
        fail(graph, status);
        return;
    }
    bool gradient = false;
    for (uint32_t i = 0; i < DAPT_OP_INPUTS; i++)
        if (added->inputs[i] != DAPT_NONE) gradient |= graph->values[added->inputs[i]].gradient;
    for (uint32_t i = 0; i < DAPT_OP_OUTPUTS; i++)
        if (added->outputs[i] != DAPT_NONE) graph->values[added->outputs[i]].gradient |= gradient;
    graph->blocks[graph->op_count++] = graph->block;
}

// What the host reads is float32.
static enum dapt_dtype made_dtype(const struct dapt_graph *g, enum dapt_buffer_role role,
                                  enum dapt_operand_class class) {
    enum dapt_precision precision = role == DAPT_BUFFER_RESULT ? DAPT_PRECISION_FLOAT32
                                                               : g->precision;
    return dapt_precision_dtype(precision, class);
}

dapt_value dapt_graph_make(struct dapt_graph *graph, enum dapt_buffer_role role,
                           const struct dapt_op *op) {
    const struct dapt_op_info *info = dapt_op_info(op->opcode);
    struct dapt_op made = *op;
    struct local_op local;
    if (graph->status) return DAPT_NONE;
    if (op->opcode == DAPT_OP_MATMUL)
        made.u.matmul.operands = dapt_precision_dtype(graph->precision, DAPT_CLASS_ACTIVATION);
    enum dapt_status status = localize(graph, op, 0, &local);
    for (uint32_t o = 0; o < dapt_op_output_count(info) && !status; o++) {
        struct dapt_tensor t = {0};
        made.outputs[o] = DAPT_NONE;
        if (info->out[o].flags & DAPT_OPERAND_OPTIONAL) continue;
        if (!(status = dapt_op_output_shape(&local.op, local.tensors, o, &t)))
            made.outputs[o] = dapt_graph_new(
                graph, o ? DAPT_BUFFER_WORK : role,
                made_dtype(graph, o ? DAPT_BUFFER_WORK : role, info->out[o].class), t.rank,
                t.shape);
    }
    if (status) return fail(graph, status);
    dapt_graph_op(graph, &made);
    return graph->status ? DAPT_NONE : made.outputs[0];
}

enum dapt_status dapt_graph_program(struct dapt_graph *graph, struct dapt_program *program) {
    if (graph->status) return graph->status;
    struct dapt_buffer_info *buffers = dapt_arena_alloc(&graph->arena,
                                                        DAPT_BUFFER_ROLE_COUNT * sizeof *buffers);
    struct dapt_tensor *tensors = dapt_arena_alloc(&graph->arena,
                                                   (graph->value_count + 1) * sizeof *tensors);
    if (!buffers || !tensors) return DAPT_ERROR_MEMORY;
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
        buffers[r] = (struct dapt_buffer_info){.role = (enum dapt_buffer_role)r,
                                               .size = graph->role_size[r]};
    for (size_t i = 0; i < graph->value_count; i++) {
        const struct dapt_storage *s = &graph->storages[graph->values[i].tensor.buffer];
        tensors[i] = graph->values[i].tensor;
        tensors[i].buffer = (uint32_t)s->role;
        tensors[i].offset += s->offset;
    }
    *program = (struct dapt_program){.buffer_count = DAPT_BUFFER_ROLE_COUNT,
                                     .buffers = buffers,
                                     .tensor_count = (uint32_t)graph->value_count,
                                     .tensors = tensors,
                                     .op_count = (uint32_t)graph->op_count,
                                     .ops = graph->ops};
    return DAPT_OK;
}

// -------------------------------------------------------------------------------------- rewriting

enum dapt_status dapt_op_list_add(struct dapt_op_list *list, const struct dapt_op *op,
                                  uint32_t block) {
    enum dapt_status status = dapt_grow(&list->ops, &list->capacity, list->count + 1,
                                        sizeof *list->ops);
    if (!status)
        status = dapt_grow(&list->blocks, &list->block_capacity, list->count + 1,
                           sizeof *list->blocks);
    if (status) return status;
    list->ops[list->count] = *op;
    list->blocks[list->count++] = block;
    return DAPT_OK;
}

void dapt_op_list_put(struct dapt_op_list *list, struct dapt_graph *graph) {
    free(graph->ops);
    free(graph->blocks);
    graph->ops = list->ops;
    graph->blocks = list->blocks;
    graph->op_count = list->count;
    graph->op_capacity = list->capacity;
    graph->block_capacity = list->block_capacity;
    *list = (struct dapt_op_list){0};
}

void dapt_op_list_free(struct dapt_op_list *list) {
    free(list->ops);
    free(list->blocks);
    *list = (struct dapt_op_list){0};
}
