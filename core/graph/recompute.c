// Recomputing blocks (Chen et al. 2016): of a block, only what later blocks read is kept from the
// forward pass. What the block's backward pass needs besides is computed again, by copies of the
// block's own ops, just before the backward pass reads it for the first time.
#include <stdlib.h>
#include <string.h>

#include "graph/ops.h"
#include "graph/rewrite.h"

struct rewrite {
    struct dapt_graph *g;
    size_t values, storages;  // counts before any copy was made
    uint32_t
        *writer;  // [storages] block of the forward op that first wrote it; 0: none or no block
    bool *kept;   // [storages] read by forward ops of other blocks
    uint32_t *storage_copy;  // [storages] its copy, or DAPT_NONE
    dapt_value *value_copy;  // [values]
    bool *needed;            // [forward ops]
    struct dapt_op_list out;
};

static uint32_t storage_of(const struct rewrite *r, dapt_value v) {
    return r->g->values[v].tensor.buffer;
}

// Which block wrote each storage, and which storages other blocks read.
static void survey(struct rewrite *r) {
    struct dapt_graph *g = r->g;
    for (size_t k = 0; k < g->forward_count; k++)
        for (int i = 0; i < DAPT_OP_OUTPUTS; i++) {
            dapt_value v = g->ops[k].outputs[i];
            if (v != DAPT_NONE && g->storages[storage_of(r, v)].role == DAPT_BUFFER_WORK &&
                !r->writer[storage_of(r, v)])
                r->writer[storage_of(r, v)] = g->blocks[k];
        }
    for (size_t k = 0; k < g->forward_count; k++)
        for (int i = 0; i < DAPT_OP_INPUTS; i++) {
            dapt_value v = g->ops[k].inputs[i];
            if (v != DAPT_NONE && r->writer[storage_of(r, v)] != g->blocks[k])
                r->kept[storage_of(r, v)] = true;
        }
}

static bool recomputable(const struct rewrite *r, dapt_value v, uint32_t block) {
    return v < r->values && r->writer[storage_of(r, v)] == block && !r->kept[storage_of(r, v)];
}

// Marks the forward ops that the backward ops of `block` depend on, back to what is kept. False:
// none.
static bool mark(struct rewrite *r, uint32_t block) {
    struct dapt_graph *g = r->g;
    bool *wanted = dapt_alloc(r->storages, sizeof *wanted), any = false;
    if (!wanted) {
        g->status = DAPT_ERROR_MEMORY;
        return false;
    }
    for (size_t k = g->forward_count; k < g->op_count; k++)
        for (int i = 0; i < DAPT_OP_INPUTS; i++) {
            dapt_value v = g->ops[k].inputs[i];
            if (v != DAPT_NONE && recomputable(r, v, block)) wanted[storage_of(r, v)] = any = true;
        }
    // In place ops write the storage that they read, so that a wanted storage wants all its
    // writers.
    for (size_t k = g->forward_count; k-- > 0;) {
        if (g->blocks[k] != block) continue;
        for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
            if (g->ops[k].outputs[i] != DAPT_NONE && wanted[storage_of(r, g->ops[k].outputs[i])] &&
                !r->kept[storage_of(r, g->ops[k].outputs[i])])
                r->needed[k] = true;
        for (int i = 0; r->needed[k] && i < DAPT_OP_INPUTS; i++) {
            dapt_value v = g->ops[k].inputs[i];
            if (v != DAPT_NONE && recomputable(r, v, block)) wanted[storage_of(r, v)] = true;
        }
    }
    free(wanted);
    return any;
}

static dapt_value copy_value(struct rewrite *r, dapt_value v) {
    struct dapt_graph *g = r->g;
    if (g->status || v >= r->values || r->value_copy[v] != DAPT_NONE)
        return g->status || v >= r->values ? v : r->value_copy[v];
    uint32_t storage = storage_of(r, v);
    if (r->storage_copy[storage] == DAPT_NONE) {
        enum dapt_dtype dtype = g->values[v].tensor.dtype;
        int64_t count = (int64_t)(g->storages[storage].size / dapt_dtype_size(dtype));
        dapt_value whole = dapt_graph_new(g, DAPT_BUFFER_WORK, dtype, 1, &count);
        if (g->status) return v;
        r->storage_copy[storage] = storage_of(r, whole);
    }
    dapt_value copy = dapt_graph_alias(g, v);
    if (g->status) return v;
    g->values[copy].tensor.buffer = r->storage_copy[storage];
    return r->value_copy[v] = copy;
}

static void map_operands(struct rewrite *r, struct dapt_op *op, uint32_t block, bool outputs) {
    for (int i = 0; i < DAPT_OP_INPUTS; i++)
        if (op->inputs[i] != DAPT_NONE && recomputable(r, op->inputs[i], block))
            op->inputs[i] = copy_value(r, op->inputs[i]);
    for (int i = 0; outputs && i < DAPT_OP_OUTPUTS; i++)
        if (op->outputs[i] != DAPT_NONE) op->outputs[i] = copy_value(r, op->outputs[i]);
}

// Blocks that an op reads recomputable values of are copied in front of it, once.
static enum dapt_status before(struct rewrite *r, struct dapt_op *op, bool *done) {
    struct dapt_graph *g = r->g;
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        dapt_value v = op->inputs[i];
        uint32_t block = v == DAPT_NONE || v >= r->values ? 0 : r->writer[storage_of(r, v)];
        if (!block || !recomputable(r, v, block)) continue;
        if (!done[block] && mark(r, block)) {
            for (size_t k = 0; k < g->forward_count && !g->status; k++) {
                if (!r->needed[k] || g->blocks[k] != block) continue;
                struct dapt_op again = g->ops[k];
                map_operands(r, &again, block, true);
                if (!g->status) g->status = dapt_op_list_add(&r->out, &again, 0);
            }
        }
        done[block] = true;
        if (g->status) return g->status;
        op->inputs[i] = copy_value(r, v);
    }
    return g->status;
}

enum dapt_status dapt_graph_recompute(struct dapt_graph *graph, enum dapt_recompute mode) {
    if (graph->status || mode == DAPT_RECOMPUTE_NONE) return graph->status;
    struct rewrite r = {.g = graph, .values = graph->value_count, .storages = graph->storage_count};
    uint32_t blocks = 0;
    for (size_t k = 0; k < graph->forward_count; k++)
        blocks = graph->blocks[k] > blocks ? graph->blocks[k] : blocks;
    r.writer = dapt_alloc(r.storages, sizeof *r.writer);
    r.kept = dapt_alloc(r.storages, sizeof *r.kept);
    r.storage_copy = dapt_alloc(r.storages, sizeof *r.storage_copy);
    r.value_copy = dapt_alloc(r.values, sizeof *r.value_copy);
    r.needed = dapt_alloc(graph->forward_count, sizeof *r.needed);
    bool *done = dapt_alloc(blocks + 1u, sizeof *done);
    if (!r.writer || !r.kept || !r.storage_copy || !r.value_copy || !r.needed || !done)
        graph->status = DAPT_ERROR_MEMORY;
    if (!graph->status) {
        memset(r.storage_copy, 0xff, r.storages * sizeof *r.storage_copy);
        memset(r.value_copy, 0xff, r.values * sizeof *r.value_copy);
        survey(&r);
    }
    for (size_t k = 0; k < graph->op_count && !graph->status; k++) {
        struct dapt_op op = graph->ops[k];
        if (k >= graph->forward_count) graph->status = before(&r, &op, done);
        if (!graph->status) graph->status = dapt_op_list_add(&r.out, &op, graph->blocks[k]);
    }
    if (!graph->status) dapt_op_list_put(&r.out, graph);
    dapt_op_list_free(&r.out);
    free(r.writer);
    free(r.kept);
    free(r.storage_copy);
    free(r.value_copy);
    free(r.needed);
    free(done);
    return graph->status;
}
