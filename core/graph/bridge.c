// What a backend lacks: an op that the device does not run with its dtypes is run in float32 between
// casts of what it reads and writes; one that lacks a type of weights alone reads those in float32.
// So matrices of blocks are dequantized in front of each product, one at a time.
#include <stdio.h>
#include <string.h>

#include "graph/ops.h"
#include "graph/rewrite.h"

// Which operands are float32 instead: none, weights, all.
enum width { AS_IS, WEIGHTS, ALL };

static bool widens(const struct dapt_op *op, int slot, const struct dapt_tensor *t,
                   enum width width) {
    const struct dapt_operand *operand = dapt_op_operand(dapt_op_info(op->opcode), slot);
    bool narrow = t->dtype == DAPT_F16 || t->dtype == DAPT_BF16 || dapt_dtype_blocks(t->dtype);
    return narrow && (width == ALL || (width == WEIGHTS && operand->class == DAPT_CLASS_WEIGHT));
}

// Whether the device runs this op with its operands of this width.
static bool runs(const struct dapt_graph *g, const struct dapt_op *op, enum width width,
                 dapt_graph_supports supports, void *context) {
    struct dapt_tensor tensors[DAPT_OP_SLOTS];
    struct dapt_buffer_info buffers[DAPT_OP_SLOTS];
    struct dapt_op alone = *op;
    uint32_t n = 0;
    for (int i = 0; i < DAPT_OP_SLOTS; i++) {
        uint32_t *at = dapt_op_slot(&alone, i);
        if (*at == DAPT_NONE) continue;
        struct dapt_tensor *t = &tensors[n];
        *t = g->values[*at].tensor;
        buffers[n] = (struct dapt_buffer_info){g->storages[t->buffer].role,
                                               g->storages[t->buffer].size};
        if (widens(op, i, t, width)) {
            t->dtype = DAPT_F32;
            t->offset = 0;
            t->stride = dapt_tensor_row(t);
            buffers[n] = (struct dapt_buffer_info){DAPT_BUFFER_WORK, dapt_tensor_span(t)};
        }
        t->buffer = n;
        *at = n++;
    }
    const struct dapt_program program = {.buffer_count = n,
                                         .tensor_count = n,
                                         .op_count = 1,
                                         .buffers = buffers,
                                         .tensors = tensors,
                                         .ops = &alone};
    return supports(context, &program);
}

bool dapt_graph_runs(const struct dapt_graph *graph, const struct dapt_op *op,
                     dapt_graph_supports supports, void *context) {
    for (enum width width = AS_IS; width <= ALL; width++)
        if (runs(graph, op, width, supports, context)) return true;
    return false;
}

// "op matmul of layers.0.mlp with a bf16, b f32, c bf16: the device does not run it, ..."
static enum dapt_status refuse(const struct dapt_graph *g, struct dapt_op op) {
    const struct dapt_op_info *info = dapt_op_info(op.opcode);
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; i < DAPT_OP_SLOTS && used < sizeof list; i++) {
        uint32_t v = *dapt_op_slot(&op, i);
        if (v == DAPT_NONE) continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s %s", used ? ", " : "",
                                 dapt_op_operand(info, i)->name,
                                 dapt_dtype_name(g->values[v].tensor.dtype));
    }
    return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                     "op %s%s%s with %s: the device does not run it, nor in f32 between casts",
                     info->name, op.label ? " of " : "", op.label ? op.label : "", list);
}

static enum dapt_status cast(struct dapt_graph *g, struct dapt_op_list *list, dapt_value from,
                             dapt_value to, const struct dapt_op *beside, uint32_t block,
                             dapt_graph_supports supports, void *context) {
    bool blocks = dapt_dtype_blocks(g->values[from].tensor.dtype);
    struct dapt_op op = {.opcode = blocks ? DAPT_OP_DEQUANTIZE : DAPT_OP_CAST,
                         .label = beside->label};
    for (int i = 0; i < DAPT_OP_SLOTS; i++) *dapt_op_slot(&op, i) = DAPT_NONE;
    op.inputs[0] = from;
    op.outputs[0] = to;
    if (!runs(g, &op, AS_IS, supports, context)) return refuse(g, op);
    return dapt_op_list_add(list, &op, block);
}

// The op with as few operands in float32 as the device takes, between the casts of those.
static enum dapt_status widen(struct dapt_graph *g, struct dapt_op_list *list, struct dapt_op op,
                              uint32_t block, dapt_graph_supports supports, void *context) {
    const struct dapt_op_info *info = dapt_op_info(op.opcode);
    dapt_value results[DAPT_OP_OUTPUTS];
    enum width width = runs(g, &op, WEIGHTS, supports, context) ? WEIGHTS : ALL;
    enum dapt_status status = runs(g, &op, width, supports, context) ? DAPT_OK : refuse(g, op);
    memcpy(results, op.outputs, sizeof results);
    for (int i = 0; i < DAPT_OP_SLOTS && !status; i++) {
        uint32_t *at = dapt_op_slot(&op, i), old = *at;
        if (old == DAPT_NONE || !widens(&op, i, &g->values[old].tensor, width)) continue;
        const struct dapt_tensor t = g->values[old].tensor;
        *at = dapt_graph_new(g, DAPT_BUFFER_WORK, DAPT_F32, t.rank, t.shape);
        int output = i - DAPT_OP_INPUTS;
        bool read = output < 0 || (op.accumulate >> output & 1) ||
                    (info->out[output].flags & DAPT_OPERAND_UPDATE);
        status = g->status;
        if (!status && read) status = cast(g, list, old, *at, &op, block, supports, context);
    }
    if (!status) status = dapt_op_list_add(list, &op, block);
    for (int o = 0; o < DAPT_OP_OUTPUTS && !status; o++)
        if (op.outputs[o] != results[o])
            status = cast(g, list, op.outputs[o], results[o], &op, block, supports, context);
    return status;
}

enum dapt_status dapt_graph_bridge(struct dapt_graph *graph, dapt_graph_supports supports,
                                   void *context) {
    struct dapt_op_list list = {0};
    for (size_t k = 0; k < graph->op_count && !graph->status; k++) {
        const struct dapt_op op = graph->ops[k];
        uint32_t block = graph->blocks[k];
        graph->status = runs(graph, &op, AS_IS, supports, context)
                            ? dapt_op_list_add(&list, &op, block)
                            : widen(graph, &list, op, block, supports, context);
    }
    if (!graph->status) dapt_op_list_put(&list, graph);
    dapt_op_list_free(&list);
    return graph->status;
}
