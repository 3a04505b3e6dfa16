// Reverse mode over the op list. Walking backwards from the loss, each op's rule appends the ops
// that turn the gradient of its output into gradients of its inputs.
//
// Where a gradient lies ("place"): a parameter's in the gradient buffer; a slice's inside its
// parent's; an in-place op's output on its input's; that of x in y = x + b on that of y, with no op
// at all; else in a new value. The first contribution writes, later ones add.
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/ops.h"

struct state {
    struct dapt_graph *g;
    size_t count;          // values of the forward graph
    dapt_value *place;     // [count] where the gradient of each value lies, or DAPT_NONE so far
    bool *written;         // [count] whether anything was put there
    dapt_value *alias_of;  // [count] for outputs of in-place ops: the input
    dapt_value *child;     // [count] the first view of each value, or DAPT_NONE
    dapt_value *sibling;   // [count] the next view of the same parent, in order, or DAPT_NONE
    uint32_t *holders;     // [storage at places] values that still wait with their gradient there
    size_t holder_capacity;
};

static const struct dapt_tensor *tensor(const struct state *s, dapt_value v) {
    return &s->g->values[v].tensor;
}

static uint32_t *holders(struct state *s, dapt_value place) {
    size_t storage = tensor(s, place)->buffer, old = s->holder_capacity;
    if (dapt_grow(&s->holders, &s->holder_capacity, storage + 1, sizeof *s->holders)) {
        s->g->status = DAPT_ERROR_MEMORY;
        return NULL;
    }
    if (s->holder_capacity > old)
        memset(s->holders + old, 0, (s->holder_capacity - old) * sizeof *s->holders);
    return &s->holders[storage];
}

static void hold(struct state *s, dapt_value place, int change) {
    uint32_t *count = place == DAPT_NONE ? NULL : holders(s, place);
    if (count) *count += (uint32_t)change;
}

static dapt_value new_like(struct state *s, dapt_value v) {
    const struct dapt_tensor *t = tensor(s, v);
    int64_t shape[DAPT_MAX_RANK];
    memcpy(shape, t->shape, sizeof shape);
    return dapt_graph_new(s->g, DAPT_BUFFER_WORK, t->dtype, t->rank, shape);
}

// The view on `whole` that `child` is on `parent`.
static dapt_value view_like(struct state *s, dapt_value whole, dapt_value parent,
                            dapt_value child) {
    struct dapt_tensor p = *tensor(s, parent), c = *tensor(s, child);
    if (c.rank == p.rank && c.shape[1] != p.shape[1]) {
        int64_t begin = (int64_t)((c.offset - p.offset) / dapt_dtype_size(c.dtype)) /
                        (c.shape[2] * c.shape[3]);
        return dapt_graph_slice(s->g, whole, begin, c.shape[1]);
    }
    return dapt_graph_reshape(s->g, whole, c.rank, c.shape);
}

static dapt_value place_of(struct state *s, dapt_value v) {
    if (s->g->status || s->place[v] != DAPT_NONE) return s->place[v];
    struct dapt_value_info info = s->g->values[v];
    const struct dapt_storage storage = s->g->storages[info.tensor.buffer];
    dapt_value place;
    if (info.parent != DAPT_NONE) {
        dapt_value whole = place_of(s, info.parent);
        if (s->g->status) return DAPT_NONE;
        place = view_like(s, whole, info.parent, v);
    } else if (s->alias_of[v] != DAPT_NONE) {
        place = place_of(s, s->alias_of[v]);
    } else if (storage.role == DAPT_BUFFER_PARAM) {
        place = dapt_graph_input(s->g, DAPT_BUFFER_GRAD, storage.offset,
                                 dapt_precision_dtype(s->g->precision, DAPT_CLASS_GRADIENT),
                                 info.tensor.rank, info.tensor.shape, info.name);
    } else {
        place = new_like(s, v);
        hold(s, place, 1);
    }
    if (s->g->status) return DAPT_NONE;
    return s->place[v] = place;
}

static bool is_root(const struct state *s, dapt_value v) {
    return s->g->values[v].parent == DAPT_NONE && s->alias_of[v] == DAPT_NONE &&
           s->g->storages[tensor(s, v)->buffer].role == DAPT_BUFFER_WORK;
}

// Before adding to a gradient that shares its place with another that is still to be read: move it
// to a place of its own.
static void make_private(struct state *s, dapt_value v) {
    if (!is_root(s, v) || s->g->status) return;
    uint32_t *count = holders(s, s->place[v]);
    if (!count || *count <= 1) return;
    dapt_value old = s->place[v], fresh = new_like(s, v);
    dapt_graph_op(s->g,
                  &(struct dapt_op){.opcode = DAPT_OP_COPY, .inputs = {old}, .outputs = {fresh}});
    hold(s, old, -1);
    hold(s, fresh, 1);
    s->place[v] = fresh;
}

// Where an op must put its contribution to the gradient of `v`; sets bit `bit` of *accumulate when
// it is not the first. DAPT_NONE where `v` has no gradient.
static dapt_value target(struct state *s, dapt_value v, uint32_t bit, uint32_t *accumulate) {
    if (v == DAPT_NONE || !s->g->values[v].gradient) return DAPT_NONE;
    dapt_value place = place_of(s, v);
    if (s->g->status) return DAPT_NONE;
    if (s->written[v]) {
        make_private(s, v);
        place = s->place[v];
        *accumulate |= 1u << bit;
    }
    s->written[v] = true;
    return place;
}

// The same for outputs[0] of an op that always writes it: where `v` has no gradient, a value that
// nobody reads.
static dapt_value target_or_spare(struct state *s, dapt_value v, uint32_t *accumulate) {
    return s->g->values[v].gradient ? target(s, v, 0, accumulate) : new_like(s, v);
}

// The same for an op that always writes, and can only overwrite: a value of its own when it is not the
// first, which settle() adds afterwards, and where `v` has no gradient, which nobody reads.
static dapt_value overwrite(struct state *s, dapt_value v, dapt_value *pending) {
    *pending = DAPT_NONE;
    if (!s->g->values[v].gradient) return new_like(s, v);
    if (!s->written[v]) {
        uint32_t none = 0;
        return target(s, v, 0, &none);
    }
    return *pending = new_like(s, v);
}

static void settle(struct state *s, dapt_value v, dapt_value pending) {
    if (pending == DAPT_NONE || s->g->status) return;
    uint32_t accumulate = 0;
    dapt_value place = target(s, v, 0, &accumulate), sum = dapt_graph_alias(s->g, place);
    dapt_graph_op(s->g, &(struct dapt_op){
                            .opcode = DAPT_OP_ADD, .inputs = {place, pending}, .outputs = {sum}});
}

// The gradient of `v` is that of `y`, unchanged.
static void adopt(struct state *s, dapt_value v, dapt_value y) {
    if (!s->g->values[v].gradient) return;
    if (!s->written[v] && s->alias_of[y] == v) {  // y was put in the place of v
        s->place[v] = s->place[y];
        s->written[v] = true;
        return;
    }
    if (!s->written[v] && s->place[v] == DAPT_NONE && is_root(s, v)) {
        s->place[v] = s->place[y];
        s->written[v] = true;
        hold(s, s->place[v], 1);
        return;
    }
    dapt_value pending = s->place[y];
    if (s->written[v]) {
        settle(s, v, pending);
    } else {
        uint32_t none = 0;
        dapt_value place = target(s, v, 0, &none);
        dapt_graph_op(s->g, &(struct dapt_op){
                                .opcode = DAPT_OP_COPY, .inputs = {pending}, .outputs = {place}});
    }
}

// --------------------------------------------------------------------------------------- the rules
// `op` is a copy: the list grows under it. `dy` is where the gradient of outputs[0] lies.

typedef void (*rule)(struct state *s, const struct dapt_op *op, dapt_value dy);

static void embed(struct state *s, const struct dapt_op *op, dapt_value dy) {
    struct dapt_op d = {.opcode = DAPT_OP_EMBED_GRAD, .inputs = {dy, op->inputs[1]}};
    d.outputs[0] = target(s, op->inputs[0], 0, &d.accumulate);
    dapt_graph_op(s->g, &d);
}

static void matmul(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value a = op->inputs[0], b = op->inputs[1];
    bool tb = op->u.matmul.transpose_b;
    enum dapt_dtype operands = op->u.matmul.operands;
    if (op->u.matmul.transpose_a || op->inputs[2] != DAPT_NONE || op->inputs[3] != DAPT_NONE ||
        op->u.matmul.activation) {
        s->g->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                 "autodiff: a fused or transposed matmul in a forward graph");
        return;
    }
    if (s->g->values[b].gradient) {  // b [K,N]: a^T dy;  b [N,K]: dy^T a
        struct dapt_op d = {.opcode = DAPT_OP_MATMUL,
                            .inputs = {tb ? dy : a, tb ? a : dy, DAPT_NONE, DAPT_NONE},
                            .outputs = {0, DAPT_NONE, DAPT_NONE},
                            .u.matmul = {.transpose_a = true, .operands = operands}};
        d.outputs[0] = target(s, b, 0, &d.accumulate);
        dapt_graph_op(s->g, &d);
    }
    if (s->g->values[a].gradient) {
        struct dapt_op d = {.opcode = DAPT_OP_MATMUL,
                            .inputs = {dy, b, DAPT_NONE, DAPT_NONE},
                            .outputs = {0, DAPT_NONE, DAPT_NONE},
                            .u.matmul = {.transpose_b = !tb, .operands = operands}};
        d.outputs[0] = target(s, a, 0, &d.accumulate);
        dapt_graph_op(s->g, &d);
    }
}

static void add_bias(struct state *s, const struct dapt_op *op, dapt_value dy) {
    struct dapt_op d = {.opcode = DAPT_OP_COLUMN_SUM, .inputs = {dy}};
    d.outputs[0] = target(s, op->inputs[1], 0, &d.accumulate);
    if (d.outputs[0] != DAPT_NONE) dapt_graph_op(s->g, &d);
    adopt(s, op->inputs[0], op->outputs[0]);
}

static void rms_norm(struct state *s, const struct dapt_op *op, dapt_value dy) {
    struct dapt_op d = {.opcode = DAPT_OP_RMS_NORM_GRAD,
                        .inputs = {dy, op->inputs[0], op->inputs[1], op->outputs[1]},
                        .u.norm = op->u.norm};
    d.outputs[0] = target_or_spare(s, op->inputs[0], &d.accumulate);
    d.outputs[1] = target(s, op->inputs[1], 1, &d.accumulate);
    dapt_graph_op(s->g, &d);
}

static void layer_norm(struct state *s, const struct dapt_op *op, dapt_value dy) {
    struct dapt_op d = {
        .opcode = DAPT_OP_LAYER_NORM_GRAD,
        .u.norm = op->u.norm,
        .inputs = {dy, op->inputs[0], op->inputs[1], op->outputs[1], op->outputs[2]}};
    d.outputs[0] = target_or_spare(s, op->inputs[0], &d.accumulate);
    d.outputs[1] = target(s, op->inputs[1], 1, &d.accumulate);
    d.outputs[2] = target(s, op->inputs[2], 2, &d.accumulate);
    dapt_graph_op(s->g, &d);
}

static void rope(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value pending = DAPT_NONE, x = op->inputs[0], dx;
    struct dapt_op d = {
        .opcode = DAPT_OP_ROPE, .inputs = {dy, op->inputs[1], op->inputs[2]}, .u.rope = op->u.rope};
    if (s->alias_of[op->outputs[0]] == x && !s->written[x]) {
        dx = dapt_graph_alias(s->g, dy);
        s->place[x] = dx;
        s->written[x] = true;
    } else {
        dx = overwrite(s, x, &pending);
    }
    d.u.rope.inverse = !d.u.rope.inverse;
    d.outputs[0] = dx;
    dapt_graph_op(s->g, &d);
    settle(s, x, pending);
}

static void attention(struct state *s, const struct dapt_op *op, dapt_value dy) {
    const uint32_t *in = op->inputs;
    dapt_value pending[3];
    struct dapt_op d = {
        .opcode = DAPT_OP_ATTENTION_GRAD,
        .u.attention = op->u.attention,
        .inputs = {dy, in[0], in[1], in[2], op->outputs[0], op->outputs[1], in[3], in[4]}};
    for (int i = 0; i < 3; i++) d.outputs[i] = overwrite(s, in[i], &pending[i]);
    dapt_graph_op(s->g, &d);
    for (int i = 0; i < 3; i++) settle(s, in[i], pending[i]);
}

static void activate(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value pending, x = op->inputs[0];
    struct dapt_op d = {
        .opcode = DAPT_OP_ACTIVATE_GRAD, .inputs = {dy, x}, .u.activation = op->u.activation};
    d.outputs[0] = overwrite(s, x, &pending);
    dapt_graph_op(s->g, &d);
    settle(s, x, pending);
}

static void gate(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value pending[2];
    struct dapt_op d = {.opcode = DAPT_OP_GATE_GRAD,
                        .inputs = {dy, op->inputs[0], op->inputs[1]},
                        .u.activation = op->u.activation};
    for (int i = 0; i < 2; i++) d.outputs[i] = overwrite(s, op->inputs[i], &pending[i]);
    dapt_graph_op(s->g, &d);
    for (int i = 0; i < 2; i++) settle(s, op->inputs[i], pending[i]);
}

static void add(struct state *s, const struct dapt_op *op, dapt_value dy) {
    (void)dy;
    adopt(s, op->inputs[0], op->outputs[0]);
    adopt(s, op->inputs[1], op->outputs[0]);
}

static void copy(struct state *s, const struct dapt_op *op, dapt_value dy) {
    (void)dy;
    adopt(s, op->inputs[0], op->outputs[0]);
}

static void cast(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value pending;
    struct dapt_op d = {.opcode = DAPT_OP_CAST, .inputs = {dy}};
    d.outputs[0] = overwrite(s, op->inputs[0], &pending);
    dapt_graph_op(s->g, &d);
    settle(s, op->inputs[0], pending);
}

static void scale(struct state *s, const struct dapt_op *op, dapt_value dy) {
    dapt_value pending;
    if (op->u.scale.softcap != 0) {
        s->g->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                 "autodiff: a scale with a softcap has no gradient");
        return;
    }
    struct dapt_op d = {.opcode = DAPT_OP_SCALE, .inputs = {dy}, .u.scale = op->u.scale};
    d.outputs[0] = overwrite(s, op->inputs[0], &pending);
    dapt_graph_op(s->g, &d);
    settle(s, op->inputs[0], pending);
}

static void dropout(struct state *s, const struct dapt_op *op, dapt_value dy) {
    struct dapt_op d = {
        .opcode = DAPT_OP_DROPOUT, .inputs = {dy, op->inputs[1]}, .u.dropout = op->u.dropout};
    d.outputs[0] = target(s, op->inputs[0], 0, &d.accumulate);
    if (d.outputs[0] != DAPT_NONE) dapt_graph_op(s->g, &d);
}

static const rule rules[DAPT_OP_COUNT] = {
    [DAPT_OP_EMBED] = embed,
    [DAPT_OP_MATMUL] = matmul,
    [DAPT_OP_ADD_BIAS] = add_bias,
    [DAPT_OP_RMS_NORM] = rms_norm,
    [DAPT_OP_LAYER_NORM] = layer_norm,
    [DAPT_OP_ROPE] = rope,
    [DAPT_OP_ATTENTION] = attention,
    [DAPT_OP_ACTIVATE] = activate,
    [DAPT_OP_GATE] = gate,
    [DAPT_OP_ADD] = add,
    [DAPT_OP_COPY] = copy,
    [DAPT_OP_CAST] = cast,
    [DAPT_OP_SCALE] = scale,
    [DAPT_OP_DROPOUT] = dropout,
};

// ---------------------------------------------------------------------------------------- the walk

// Whether any part of the gradient of `v` has been written.
static bool reached(const struct state *s, dapt_value v) {
    if (s->written[v]) return true;
    for (dapt_value c = s->child[v]; c != DAPT_NONE; c = s->sibling[c])
        if (reached(s, c)) return true;
    return false;
}

// Makes the gradient of `v` whole before it is read: parts of it that nobody contributed to are
// zero.
static void complete(struct state *s, dapt_value v) {
    if (s->written[v] || s->g->status) return;
    int64_t covered = 0, all = dapt_tensor_count(tensor(s, v));
    bool any = false;
    for (dapt_value c = s->child[v]; c != DAPT_NONE && !s->g->status; c = s->sibling[c]) {
        if (!reached(s, c) && covered >= all) continue;
        complete(s, c);
        covered += dapt_tensor_count(tensor(s, c));
        any = true;
    }
    if (!any) {
        dapt_value place = place_of(s, v);
        if (!s->g->status)
            dapt_graph_op(s->g, &(struct dapt_op){.opcode = DAPT_OP_FILL, .outputs = {place}});
    } else if (covered != all && !s->g->status) {
        s->g->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                 "autodiff: slices of a value do not cover it");
    }
    s->written[v] = true;
}

static void replace_loss(struct state *s, size_t index, dapt_value seed) {
    struct dapt_op op = s->g->ops[index];
    struct dapt_op d = {.opcode = DAPT_OP_LM_LOSS_GRAD,
                        .inputs = {op.inputs[0], op.inputs[1], op.inputs[2], op.inputs[3], seed},
                        .outputs = {op.outputs[0], DAPT_NONE, DAPT_NONE, DAPT_NONE},
                        .u.lm = op.u.lm,
                        .label = op.label};
    for (int i = 5; i < DAPT_OP_INPUTS; i++) d.inputs[i] = DAPT_NONE;
    dapt_value pending = DAPT_NONE, x = op.inputs[0];
    d.outputs[1] = s->g->values[x].gradient ? overwrite(s, x, &pending) : DAPT_NONE;
    d.outputs[2] = target(s, op.inputs[1], 2, &d.accumulate);
    d.outputs[3] = target(s, op.inputs[2], 3, &d.accumulate);
    if (!s->g->status && pending != DAPT_NONE)
        s->g->status = dapt_fail(DAPT_ERROR_INTERNAL, "autodiff: two losses of one value");
    if (!s->g->status) s->g->ops[index] = d;
}

// Views stand behind their parents, so that from the last to the first each list comes in order.
static void list_views(struct state *s) {
    for (size_t v = 0; v < s->count; v++) s->child[v] = s->sibling[v] = DAPT_NONE;
    for (size_t v = s->count; v-- > 0;) {
        dapt_value parent = s->g->values[v].parent;
        if (parent == DAPT_NONE) continue;
        s->sibling[v] = s->child[parent];
        s->child[parent] = (dapt_value)v;
    }
}

static enum dapt_status prepare(struct state *s, bool accumulate) {
    struct dapt_graph *g = s->g;
    s->count = g->value_count;
    s->place = dapt_alloc(s->count, sizeof *s->place);
    s->written = dapt_alloc(s->count, sizeof *s->written);
    s->alias_of = dapt_alloc(s->count, sizeof *s->alias_of);
    s->child = dapt_alloc(s->count, sizeof *s->child);
    s->sibling = dapt_alloc(s->count, sizeof *s->sibling);
    if (!s->place || !s->written || !s->alias_of || !s->child || !s->sibling)
        return DAPT_ERROR_MEMORY;
    list_views(s);
    for (size_t v = 0; v < s->count; v++) {
        s->place[v] = s->alias_of[v] = DAPT_NONE;
        bool param = g->storages[g->values[v].tensor.buffer].role == DAPT_BUFFER_PARAM;
        s->written[v] = param && accumulate;
    }
    for (size_t k = 0; k < g->op_count; k++) {
        const struct dapt_op *op = &g->ops[k];
        const struct dapt_op_info *info = dapt_op_info(op->opcode);
        for (uint32_t i = 0; i < dapt_op_input_count(info) && op->outputs[0] != DAPT_NONE; i++)
            if ((info->in_place >> i & 1) && op->inputs[i] != DAPT_NONE &&
                dapt_tensor_same(tensor(s, op->inputs[i]), tensor(s, op->outputs[0])))
                s->alias_of[op->outputs[0]] = op->inputs[i];
    }
    return DAPT_OK;
}

static void differentiate(struct state *s, const struct dapt_op *op, uint32_t block) {
    struct dapt_graph *g = s->g;
    dapt_value y = op->outputs[0];
    if (y == DAPT_NONE || !g->values[y].gradient || !reached(s, y)) return;
    if (!rules[op->opcode]) {
        g->status = dapt_fail(DAPT_ERROR_INTERNAL, "autodiff: op %s has no gradient rule",
                              dapt_op_info(op->opcode)->name);
        return;
    }
    g->block = block;
    g->label = op->label;
    complete(s, y);
    if (g->status) return;
    dapt_value dy = s->place[y];
    rules[op->opcode](s, op, dy);
    if (is_root(s, y)) hold(s, dy, -1);
}

enum dapt_status dapt_graph_autodiff(struct dapt_graph *graph, dapt_value loss, dapt_value seed,
                                     bool accumulate) {
    if (graph->status) return graph->status;
    struct state s = {.g = graph};
    graph->status = prepare(&s, accumulate);
    size_t forward = graph->op_count, root = forward;
    for (size_t k = 0; k < forward && !graph->status; k++)
        if (graph->ops[k].opcode == DAPT_OP_LM_LOSS && graph->ops[k].outputs[0] == loss) root = k;
    if (!graph->status && root == forward)
        graph->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                  "autodiff: the loss is not the output of an lm_loss");
    if (!graph->status) replace_loss(&s, root, seed);
    for (size_t k = root; k-- > 0 && !graph->status;) {
        struct dapt_op op = graph->ops[k];
        differentiate(&s, &op, graph->blocks[k]);
    }
    // A parameter without a gradient would silently not be trained.
    for (size_t v = 0; v < s.count && !graph->status; v++)
        if (graph->storages[graph->values[v].tensor.buffer].role == DAPT_BUFFER_PARAM &&
            graph->values[v].parent == DAPT_NONE) {
            if (!reached(&s, (dapt_value)v))
                graph->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                          "autodiff: parameter %s gets no gradient",
                                          graph->values[v].name ? graph->values[v].name : "?");
            else
                complete(&s, (dapt_value)v);
        }
    graph->block = 0;
    graph->forward_count = forward;
    free(s.place);
    free(s.written);
    free(s.alias_of);
    free(s.child);
    free(s.sibling);
    free(s.holders);
    return graph->status;
}
