// The memory plan. A work storage lives from the op that first writes it to the op that last
// touches it; storages that never live at the same time share memory. An op that can work in place
// takes over the storage of an input that dies with it. Placement: largest first, each at the
// lowest offset that is free over its whole life.
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/ops.h"

#define ALIGN 256u  // bytes; what any device asks of a storage buffer's offset, at most

struct life {
    uint32_t first, last, storage, joined;
};  // joined: the storage it was merged into, or DAPT_NONE

static uint32_t find(struct life *lives, uint32_t s) {
    while (lives[s].joined != DAPT_NONE) s = lives[s].joined;
    return s;
}

static void touch(struct dapt_graph *g, struct life *lives, dapt_value v, uint32_t k) {
    if (v == DAPT_NONE) return;
    struct life *l = &lives[g->values[v].tensor.buffer];
    if (l->first == DAPT_NONE) l->first = k;
    l->last = k;
}

static bool whole(const struct dapt_graph *g, dapt_value v) {
    const struct dapt_tensor *t = &g->values[v].tensor;
    return t->offset == 0 && dapt_tensor_span(t) == g->storages[t->buffer].size;
}

static void join_in_place(struct dapt_graph *g, struct life *lives) {
    for (uint32_t k = 0; k < g->op_count; k++) {
        const struct dapt_op *op = &g->ops[k];
        const struct dapt_op_info *info = dapt_op_info(op->opcode);
        for (uint32_t i = 0; i < dapt_op_input_count(info); i++) {
            if (!(info->in_place >> i & 1) || op->inputs[i] == DAPT_NONE || (op->accumulate & 1))
                continue;
            const struct dapt_tensor *in = &g->values[op->inputs[i]].tensor,
                                     *out = &g->values[op->outputs[0]].tensor;
            uint32_t from = find(lives, in->buffer), to = out->buffer;
            bool work = g->storages[from].role == DAPT_BUFFER_WORK &&
                        g->storages[to].role == DAPT_BUFFER_WORK;
            bool shared = false;  // another input on the storage that would be overwritten
            for (uint32_t j = 0; j < dapt_op_input_count(info); j++)
                if (j != i && op->inputs[j] != DAPT_NONE &&
                    find(lives, g->values[op->inputs[j]].tensor.buffer) == from)
                    shared = true;
            if (!work || shared || from == to || lives[to].joined != DAPT_NONE ||
                lives[to].first != k || lives[from].last != k || !whole(g, op->inputs[i]) ||
                !whole(g, op->outputs[0]) || in->stride != out->stride || in->rank != out->rank ||
                in->shape[1] != out->shape[1] || g->storages[from].size != g->storages[to].size)
                continue;
            lives[to].joined = from;
            lives[from].last = lives[to].last;
            break;
        }
    }
}

static int by_size(const void *a, const void *b, void *graph) {
    const struct dapt_graph *g = graph;
    const struct life *x = *(struct life *const *)a, *y = *(struct life *const *)b;
    uint64_t sx = g->storages[x->storage].size, sy = g->storages[y->storage].size;
    if (sx != sy) return sx < sy ? 1 : -1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->storage < y->storage ? -1 : x->storage > y->storage;
}

static uint64_t padded(const struct dapt_graph *g, const struct life *l) {
    return (g->storages[l->storage].size + ALIGN - 1) / ALIGN * ALIGN;
}

// What is placed already, by offset: so that a walk meets the gaps from the lowest up.
struct placed {
    uint64_t begin, end;  // bytes
    uint32_t first, last;
};

static void insert(struct placed *placed, size_t count, struct placed fresh) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (placed[middle].begin <= fresh.begin)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(&placed[low + 1], &placed[low], (count - low) * sizeof *placed);
    placed[low] = fresh;
}

static void place(struct dapt_graph *g, struct life **order, size_t count, struct placed *placed) {
    for (size_t n = 0; n < count; n++) {
        struct life *l = order[n];
        uint64_t offset = 0, size = padded(g, l);
        for (size_t m = 0; m < n; m++) {
            const struct placed *p = &placed[m];
            if (p->first > l->last || l->first > p->last) continue;
            if (offset + size <= p->begin) break;
            if (p->end > offset) offset = p->end;
        }
        g->storages[l->storage].offset = offset;
        insert(placed, n, (struct placed){offset, offset + size, l->first, l->last});
        if (offset + size > g->role_size[DAPT_BUFFER_WORK])
            g->role_size[DAPT_BUFFER_WORK] = offset + size;
    }
}

enum dapt_status dapt_graph_plan(struct dapt_graph *graph) {
    if (graph->status) return graph->status;
    size_t count = graph->storage_count, used = 0;
    struct life *lives = dapt_alloc(count, sizeof *lives),
                **order = dapt_alloc(count, sizeof *order);
    struct placed *placed = dapt_alloc(count, sizeof *placed);
    if (!lives || !order || !placed) graph->status = DAPT_ERROR_MEMORY;
    if (!graph->status) {
        for (size_t s = 0; s < count; s++)
            lives[s] = (struct life){DAPT_NONE, 0, (uint32_t)s, DAPT_NONE};
        for (uint32_t k = 0; k < graph->op_count; k++) {
            for (int i = 0; i < DAPT_OP_INPUTS; i++)
                touch(graph, lives, graph->ops[k].inputs[i], k);
            for (int i = 0; i < DAPT_OP_OUTPUTS; i++)
                touch(graph, lives, graph->ops[k].outputs[i], k);
        }
        join_in_place(graph, lives);
        for (size_t s = 0; s < count; s++)
            if (lives[s].joined == DAPT_NONE && lives[s].first != DAPT_NONE &&
                graph->storages[s].role == DAPT_BUFFER_WORK)
                order[used++] = &lives[s];
        graph->role_size[DAPT_BUFFER_WORK] = 0;
        qsort_r(order, used, sizeof *order, by_size, graph);
        place(graph, order, used, placed);
        for (size_t s = 0; s < count; s++)
            if (lives[s].joined != DAPT_NONE)
                graph->storages[s].offset = graph->storages[find(lives, (uint32_t)s)].offset;
    }
    free(lives);
    free(order);
    free(placed);
    return graph->status;
}
