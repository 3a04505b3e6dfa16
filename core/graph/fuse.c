// Fusion: matmul, then bias, then activation, then residual become one op, as far as the backend
// runs it so; and matmul, then the gradient of an activation. A result that somebody else reads (a
// pre-activation that the gradient needs) stays, and what follows it is not merged. The sum over the
// rows of a gradient goes into the matmul that multiplies it for the gradient of a weight.
#include <stdlib.h>
#include <string.h>

#include "graph/ops.h"
#include "graph/rewrite.h"

struct uses {
    // [values] ops that read any part of the value's storage after the value was made
    uint32_t *readers;
    uint32_t *maker;   // [storages] index of the op that first writes it, or DAPT_NONE
    uint32_t *reader;  // [storages] index of the last op that reads it, or DAPT_NONE
    bool *merged;      // [ops] merged into an earlier op: dropped at the end
};

static enum dapt_status count_uses(const struct dapt_graph *g, struct uses *u) {
    u->readers = dapt_alloc(g->storage_count, sizeof *u->readers);
    u->maker = dapt_alloc(g->storage_count, sizeof *u->maker);
    u->reader = dapt_alloc(g->storage_count, sizeof *u->reader);
    u->merged = dapt_alloc(g->op_count, sizeof *u->merged);
    if (!u->readers || !u->maker || !u->reader || !u->merged) return DAPT_ERROR_MEMORY;
    memset(u->reader, 0xff, g->storage_count * sizeof *u->reader);
    memset(u->maker, 0xff, g->storage_count * sizeof *u->maker);
    for (size_t k = 0; k < g->op_count; k++) {
        for (int i = 0; i < DAPT_OP_INPUTS; i++)
            if (g->ops[k].inputs[i] != DAPT_NONE) {
                uint32_t storage = g->values[g->ops[k].inputs[i]].tensor.buffer;
                u->readers[storage]++;
                u->reader[storage] = (uint32_t)k;
            }
        for (int i = 0; i < DAPT_OP_OUTPUTS; i++) {
            if (g->ops[k].outputs[i] == DAPT_NONE) continue;
            uint32_t storage = g->values[g->ops[k].outputs[i]].tensor.buffer;
            if (u->maker[storage] == DAPT_NONE)
                u->maker[storage] = (uint32_t)k;
            else
                u->readers[storage]++;  // written twice: in place or accumulated; leave it alone
        }
    }
    return DAPT_OK;
}

// The op after `k` that is the only one to touch the output of op k, if it is of one of the kinds
// that merge.
static struct dapt_op *sole_reader(struct dapt_graph *g, const struct uses *u, size_t k) {
    dapt_value c = g->ops[k].outputs[0];
    uint32_t storage = g->values[c].tensor.buffer;
    if (g->storages[storage].role != DAPT_BUFFER_WORK || u->readers[storage] != 1 ||
        u->maker[storage] != k)
        return NULL;
    uint32_t j = u->reader[storage];
    if (j == DAPT_NONE || j <= k) return NULL;
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        dapt_value v = g->ops[j].inputs[i];
        if (v == DAPT_NONE || g->values[v].tensor.buffer != storage) continue;
        return dapt_tensor_same(&g->values[v].tensor, &g->values[c].tensor) ? &g->ops[j] : NULL;
    }
    return NULL;
}

// Whether `moved` may change places with `op`: that does not write what it reads, nor touch what it
// writes.
static bool passes(const struct dapt_graph *g, const struct dapt_op *moved,
                   const struct dapt_op *op) {
    uint32_t target = g->values[moved->outputs[0]].tensor.buffer;
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        if (op->inputs[i] != DAPT_NONE && g->values[op->inputs[i]].tensor.buffer == target)
            return false;
    for (int o = 0; o < DAPT_OP_OUTPUTS; o++) {
        if (op->outputs[o] == DAPT_NONE) continue;
        uint32_t written = g->values[op->outputs[o]].tensor.buffer;
        if (written == target) return false;
        for (int i = 0; i < DAPT_OP_INPUTS; i++)
            if (moved->inputs[i] != DAPT_NONE &&
                g->values[moved->inputs[i]].tensor.buffer == written)
                return false;
    }
    return true;
}

// Whether `next` may be done at the place of op k.
static bool movable(const struct dapt_graph *g, const struct uses *u, size_t k,
                    const struct dapt_op *next) {
    for (const struct dapt_op *op = &g->ops[k + 1]; op < next; op++)
        if (!u->merged[op - g->ops] && !passes(g, next, op)) return false;
    return true;
}

// The matmul with `next` merged into it; false when they don't merge.
static bool merged(const struct dapt_graph *g, size_t k, const struct dapt_op *next,
                   struct dapt_op *out) {
    *out = g->ops[k];
    out->outputs[0] = next->outputs[0];
    bool plain = out->inputs[3] == DAPT_NONE && out->u.matmul.activation == DAPT_ACT_NONE;
    if (out->accumulate || next->accumulate) return false;
    if (next->opcode == DAPT_OP_ADD_BIAS && plain && out->inputs[2] == DAPT_NONE) {
        out->inputs[2] = next->inputs[1];
        return true;
    }
    if (next->opcode == DAPT_OP_ACTIVATE && plain) {
        out->u.matmul.activation = next->u.activation.kind;
        return true;
    }
    dapt_value c = g->ops[k].outputs[0];
    if (next->opcode == DAPT_OP_ACTIVATE_GRAD && plain && out->inputs[2] == DAPT_NONE) {
        out->u.matmul.activation = next->u.activation.kind;
        out->u.matmul.derivative = true;
        out->inputs[3] = next->inputs[1];
        return next->inputs[0] == c && g->values[out->inputs[3]].tensor.rank == 2;
    }
    if (next->opcode != DAPT_OP_ADD || out->inputs[3] != DAPT_NONE) return false;
    dapt_value other = next->inputs[next->inputs[0] == c ? 1 : 0];
    if (g->values[other].tensor.rank != 2) return false;
    out->inputs[3] = other;
    return true;
}

// Op k becomes `fused`, and reads and writes what `next` did.
static void replace(struct dapt_graph *g, struct uses *u, size_t k, const struct dapt_op *next,
                    const struct dapt_op *fused) {
    size_t gone = (size_t)(next - g->ops);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        if (next->inputs[i] == DAPT_NONE) continue;
        uint32_t storage = g->values[next->inputs[i]].tensor.buffer;
        if (u->reader[storage] == gone) u->reader[storage] = (uint32_t)k;
    }
    g->ops[k] = *fused;
    u->maker[g->values[fused->outputs[0]].tensor.buffer] = (uint32_t)k;
    u->merged[gone] = true;
}

// ------------------------------------------------------------------------------- sums over rows

// The matmul with the sum over rows of its factor; false when it has none such.
static bool with_sum(const struct dapt_graph *g, const struct dapt_op *matmul,
                     const struct dapt_op *sum, struct dapt_op *out) {
    const struct dapt_tensor *x = &g->values[sum->inputs[0]].tensor;
    *out = *matmul;
    if (matmul->opcode != DAPT_OP_MATMUL || !matmul->u.matmul.transpose_a ||
        matmul->u.matmul.transpose_b || matmul->outputs[1] != DAPT_NONE ||
        matmul->outputs[2] != DAPT_NONE)
        return false;
    for (int factor = 0; factor < 2; factor++) {
        if (!dapt_tensor_same(&g->values[matmul->inputs[factor]].tensor, x)) continue;
        out->outputs[1 + factor] = sum->outputs[0];
        out->accumulate |= (sum->accumulate & 1) << (1 + factor);
        return true;
    }
    return false;
}

// Puts sum k into the next matmul that takes it. Whether one did.
static bool merge_sum(struct dapt_graph *g, size_t k, const bool *merged,
                      dapt_graph_supports supports, void *context) {
    const struct dapt_op *sum = &g->ops[k];
    struct dapt_op fused;
    for (size_t j = k + 1; j < g->op_count; j++) {
        if (merged[j]) continue;
        if (!passes(g, sum, &g->ops[j])) return false;
        if (with_sum(g, &g->ops[j], sum, &fused) && dapt_graph_runs(g, &fused, supports, context)) {
            g->ops[j] = fused;
            return true;
        }
    }
    return false;
}

// -------------------------------------------------------------------------------------- the pass

static void drop_merged(struct dapt_graph *g, const struct uses *u) {
    size_t n = 0, forward = g->forward_count;
    for (size_t k = 0; k < g->op_count; k++) {
        if (u->merged[k] && k < forward) g->forward_count--;
        if (u->merged[k]) continue;
        g->ops[n] = g->ops[k];
        g->blocks[n++] = g->blocks[k];
    }
    g->op_count = n;
}

enum dapt_status dapt_graph_fuse(struct dapt_graph *graph, dapt_graph_supports supports,
                                 void *context) {
    if (graph->status || !supports) return graph->status;
    struct uses u = {0};
    graph->status = count_uses(graph, &u);
    for (size_t k = 0; k < graph->op_count && !graph->status; k++) {
        struct dapt_op *next, fused;
        while (!u.merged[k] && graph->ops[k].opcode == DAPT_OP_MATMUL &&
               (next = sole_reader(graph, &u, k)) && merged(graph, k, next, &fused) &&
               movable(graph, &u, k, next) && dapt_graph_runs(graph, &fused, supports, context)) {
            replace(graph, &u, k, next, &fused);
        }
    }
    for (size_t k = 0; k < graph->op_count && !graph->status; k++)
        if (!u.merged[k] && graph->ops[k].opcode == DAPT_OP_COLUMN_SUM)
            u.merged[k] = merge_sum(graph, k, u.merged, supports, context);
    if (!graph->status) drop_merged(graph, &u);
    free(u.readers);
    free(u.maker);
    free(u.reader);
    free(u.merged);
    return graph->status;
}

enum dapt_status dapt_graph_prune(struct dapt_graph *graph) {
    if (graph->status) return graph->status;
    bool *read = dapt_alloc(graph->storage_count, sizeof *read),
         *live = dapt_alloc(graph->op_count, sizeof *live);
    if (!read || !live) graph->status = DAPT_ERROR_MEMORY;
    for (size_t k = graph->op_count; k-- > 0 && !graph->status;) {
        const struct dapt_op *op = &graph->ops[k];
        for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
            if (op->outputs[i] != DAPT_NONE) {
                uint32_t storage = graph->values[op->outputs[i]].tensor.buffer;
                live[k] |= read[storage] || graph->storages[storage].role != DAPT_BUFFER_WORK;
            }
        for (int i = 0; live[k] && i < DAPT_OP_INPUTS; i++)
            if (op->inputs[i] != DAPT_NONE) read[graph->values[op->inputs[i]].tensor.buffer] = true;
    }
    size_t n = 0;
    for (size_t k = 0; k < graph->op_count && !graph->status; k++)
        if (live[k]) {
            graph->ops[n] = graph->ops[k];
            graph->blocks[n++] = graph->blocks[k];
        }
    if (!graph->status) graph->op_count = n;
    free(read);
    free(live);
    return graph->status;
}
