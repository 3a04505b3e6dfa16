// What passes that rewrite a graph share: a list of ops that takes the place of the graph's own.
#ifndef DAPT_GRAPH_REWRITE_H
#define DAPT_GRAPH_REWRITE_H
#include "graph/graph.h"

struct dapt_op_list {
    struct dapt_op *ops;
    uint32_t *blocks;  // [count] recompute block of each op
    size_t count, capacity, block_capacity;
};
enum dapt_status dapt_op_list_add(struct dapt_op_list *list, const struct dapt_op *op,
                                  uint32_t block);
// The graph's ops become the list's, which is empty afterwards.
void dapt_op_list_put(struct dapt_op_list *list, struct dapt_graph *graph);
void dapt_op_list_free(struct dapt_op_list *list);

// Whether the device runs this op of the graph, as it stands or in float32 between casts.
bool dapt_graph_runs(const struct dapt_graph *graph, const struct dapt_op *op,
                     dapt_graph_supports supports, void *context);
#endif
