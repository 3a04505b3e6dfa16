// The graph: a list of operations over values, built by the model room (forward only), grown by
// autodiff, rewritten by recompute and fuse, laid out in memory by plan, and handed to a backend as
// a dapt_program. It knows nothing of models or devices.
//
// A value is a typed shape in a storage. Values are written once (in place operations make a new
// value on the same storage).
#ifndef DAPT_GRAPH_GRAPH_H
#define DAPT_GRAPH_GRAPH_H
#include "base/memory.h"
#include "graph/ops.h"
#include "host/choices.h"

typedef uint32_t dapt_value;  // index into the graph's values, or DAPT_NONE

struct dapt_value_info {
    struct dapt_tensor tensor;  // .buffer: index into storages; .offset: bytes from its start
    dapt_value parent;  // the value that this one is a slice or a reshaped view of, or DAPT_NONE
    bool gradient;      // depends on trained parameters: autodiff walks through it
    const char *name;   // for inputs and parameters; else NULL
};

struct dapt_storage {
    enum dapt_buffer_role role;
    uint64_t size;    // bytes
    uint64_t offset;  // bytes in the role's buffer: fixed when placed, or found by plan (work)
};

struct dapt_graph {
    struct dapt_arena arena;
    struct dapt_value_info *values;
    size_t value_count, value_capacity;
    struct dapt_storage *storages;
    size_t storage_count, storage_capacity;
    struct dapt_op *ops;
    size_t op_count, op_capacity;
    uint32_t *blocks;
    size_t block_capacity;                       // [op_count] recompute block of each op; 0: none
    uint32_t block;                              // of ops added now
    size_t forward_count;                        // ops before autodiff; 0 until then
    const char *label;                           // of ops added now
    enum dapt_precision precision;               // what dtypes dapt_graph_make() gives
    uint64_t role_size[DAPT_BUFFER_ROLE_COUNT];  // bytes of each role's buffer
    enum dapt_status status;  // first failure of any builder call; every rewrite returns it
};

struct dapt_graph *dapt_graph_create(void);  // NULL: no memory
void dapt_graph_destroy(struct dapt_graph **graph);

// Values that exist before the program runs. `offset`: bytes in the role's buffer; DAPT_GRAPH_NEXT:
// behind the last one (64-byte aligned).
#define DAPT_GRAPH_NEXT UINT64_MAX
dapt_value dapt_graph_input(struct dapt_graph *graph, enum dapt_buffer_role role, uint64_t offset,
                            enum dapt_dtype dtype, uint32_t rank, const int64_t *shape,
                            const char *name);
// A new dense value of the work buffer (or, with a role other than work, behind the last one of
// that role).
dapt_value dapt_graph_new(struct dapt_graph *graph, enum dapt_buffer_role role,
                          enum dapt_dtype dtype, uint32_t rank, const int64_t *shape);
// Columns [begin, begin + count) of dimension 1 of a rank-2 value, or heads of a rank-3 one: a
// view.
dapt_value dapt_graph_slice(struct dapt_graph *graph, dapt_value value, int64_t begin,
                            int64_t count);
// The same elements under another shape: a view. Dimension 0 must stay when the value is strided.
dapt_value dapt_graph_reshape(struct dapt_graph *graph, dapt_value value, uint32_t rank,
                              const int64_t *shape);
// A new value on the storage of `value`: the output of an operation done in place. `value` must not
// be read after that operation.
dapt_value dapt_graph_alias(struct dapt_graph *graph, dapt_value value);

// Adds an operation whose outputs exist. Operands are checked against the op table; a failure is kept
// in graph->status.
void dapt_graph_op(struct dapt_graph *graph, const struct dapt_op *op);
// Adds an operation and makes its outputs, all that are not optional, from its inputs and
// attributes: shapes by the letters of the op table, dtypes by the class of each operand and the
// graph's precision (in the result buffer float32), to which a matmul's factors are rounded too.
// Gives outputs[0], which lies in `role`; the others are work.
dapt_value dapt_graph_make(struct dapt_graph *graph, enum dapt_buffer_role role,
                           const struct dapt_op *op);
const struct dapt_tensor *dapt_graph_tensor(const struct dapt_graph *graph, dapt_value value);

// The gradient of `loss` (an LM_LOSS output; d objective / d loss = `seed` [1] for every scored
// row) with respect to every PARAM value, written to the GRAD role at the parameter's own offset;
// parameters in the FROZEN role have none, and where nothing below is trained the walk ends.
// `accumulate`: added to what is there. Reverse mode over the op list; each op's rule stands in
// autodiff.c's table.
enum dapt_status dapt_graph_autodiff(struct dapt_graph *graph, dapt_value loss, dapt_value seed,
                                     bool accumulate);
// Trades memory for time: forward values of a block that the backward pass needs are computed again
// just before it.
enum dapt_status dapt_graph_recompute(struct dapt_graph *graph, enum dapt_recompute mode);
// Whether a device runs a program's only op.
typedef bool (*dapt_graph_supports)(void *context, const struct dapt_program *program);
// Merges bias, activation and residual into matmul where the device runs the merged op (supports
// NULL: never).
enum dapt_status dapt_graph_fuse(struct dapt_graph *graph, dapt_graph_supports supports,
                                 void *context);
// Ops that the device does not run with the dtypes that they have are done in float32 between casts.
// DAPT_ERROR_UNSUPPORTED where that does not help either: names the op and the dtypes.
enum dapt_status dapt_graph_bridge(struct dapt_graph *graph, dapt_graph_supports supports,
                                   void *context);
// Drops operations whose results nobody reads.
enum dapt_status dapt_graph_prune(struct dapt_graph *graph);
// Gives every work storage its place by liveness, so that values that don't live at the same time
// share memory.
enum dapt_status dapt_graph_plan(struct dapt_graph *graph);

// The program of a planned graph. Its arrays belong to the graph. One buffer a role, at index
// `role`.
enum dapt_status dapt_graph_program(struct dapt_graph *graph, struct dapt_program *program);
#endif
