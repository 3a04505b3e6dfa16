// The forward pass, for every family: what differs is asked of the family's row, the model's numbers
// and the slots that it has. N rows (sequences x length), C hidden, H heads, G key heads, D head size,
// F feed-forward, V vocabulary, P places of the cache.
#include "model/families.h"
#include "model/slots.h"

#define NONE DAPT_NONE

struct builder {
    const struct dapt_model *m;
    const struct dapt_model_build *b;
    struct dapt_graph *g;
    struct dapt_model_io *io;
    int64_t n, places;  // N; rows of one layer's cache
    uint32_t row;       // of model->slots: 0 outside of layers, else layer + 1
    bool *used;         // [parameters] whether anything was built with them
};

static dapt_value make(struct builder *x, struct dapt_op op) {
    return dapt_graph_make(x->g, DAPT_BUFFER_WORK, &op);
}

static dapt_value reshape3(struct builder *x, dapt_value v, int64_t a, int64_t b, int64_t c) {
    return dapt_graph_reshape(x->g, v, 3, (int64_t[]){a, b, c});
}

static dapt_value reshape2(struct builder *x, dapt_value v, int64_t a, int64_t b) {
    return dapt_graph_reshape(x->g, v, 2, (int64_t[]){a, b});
}

static bool has(const struct builder *x, enum dapt_slot slot) {
    return x->m->slots[(size_t)x->row * DAPT_SLOT_COUNT + slot] != NONE;
}

// `count` parameters, one behind the other, as one value. One value each: call once.
static dapt_value parameters(struct builder *x, const uint32_t *which, int count) {
    const struct dapt_parameter *all = x->m->parameters, *p = &all[which[0]];
    enum dapt_dtype dtype = p->base && !p->trained ? x->m->adapters->base : DAPT_F32;
    int64_t shape[2] = {(int64_t)p->shape[0], (int64_t)p->shape[1]};
    for (int i = 1; i < count; i++) shape[0] += (int64_t)all[which[i]].shape[0];
    for (int i = 0; i < count; i++) x->used[which[i]] = true;
    return dapt_graph_input(x->g, p->trained ? DAPT_BUFFER_PARAM : DAPT_BUFFER_FROZEN,
                            dapt_model_byte(x->m, p->offset), dtype, p->rank, shape, p->name);
}

// Those of `count` slots; NONE when the first is not there.
static dapt_value parameter(struct builder *x, enum dapt_slot slot, int count) {
    const uint32_t *slots = x->m->slots + (size_t)x->row * DAPT_SLOT_COUNT;
    return slots[slot] == NONE ? NONE : parameters(x, slots + slot, count);
}

// -------------------------------------------------------------------------------------- small parts

// y = x w (+ bias)
static dapt_value linear(struct builder *x, dapt_value in, dapt_value w, dapt_value bias) {
    dapt_value y = make(x, (struct dapt_op){.opcode = DAPT_OP_MATMUL,
                                            .inputs = {in, w, NONE, NONE},
                                            .u.matmul.transpose_b = !x->m->family->input_major});
    if (bias == NONE) return y;
    return make(x, (struct dapt_op){.opcode = DAPT_OP_ADD_BIAS, .inputs = {y, bias}});
}

static bool together(const struct builder *x, enum dapt_slot slot, enum dapt_slot bias, int count) {
    size_t row = (size_t)x->row * DAPT_SLOT_COUNT;
    return dapt_slots_together(x->m, row + slot, count) &&
           dapt_slots_together(x->m, row + bias, count);
}

static dapt_value add(struct builder *x, dapt_value a, dapt_value b) {
    return make(x, (struct dapt_op){.opcode = DAPT_OP_ADD, .inputs = {a, b}});
}

static dapt_value scaled(struct builder *x, dapt_value in, float factor) {
    if (factor == 1) return in;
    return make(
        x, (struct dapt_op){.opcode = DAPT_OP_SCALE, .inputs = {in}, .u.scale.factor = factor});
}

static dapt_value activated(struct builder *x, dapt_value in, enum dapt_activation kind) {
    return make(
        x, (struct dapt_op){.opcode = DAPT_OP_ACTIVATE, .inputs = {in}, .u.activation.kind = kind});
}

static dapt_value embed(struct builder *x, dapt_value table, dapt_value rows) {
    return make(x, (struct dapt_op){.opcode = DAPT_OP_EMBED, .inputs = {table, rows}});
}

// Rows [begin, begin + count) of a table. The others are views that nobody reads: their gradient is
// zero.
static dapt_value rows_of(struct builder *x, enum dapt_slot slot, int64_t begin, int64_t count) {
    const struct dapt_parameter *p = &x->m->parameters[x->m->slots[slot]];
    int64_t rows = (int64_t)p->shape[0], columns = (int64_t)p->shape[1], end = begin + count;
    dapt_value whole = parameter(x, slot, 1);
    if (count == rows) return whole;
    dapt_value stack = reshape3(x, whole, 1, rows, columns);
    if (begin > 0) dapt_graph_slice(x->g, stack, 0, begin);
    if (end < rows) dapt_graph_slice(x->g, stack, end, rows - end);
    return reshape2(x, dapt_graph_slice(x->g, stack, begin, count), count, columns);
}

static dapt_value rms_norm(struct builder *x, dapt_value in, enum dapt_slot slot) {
    return make(x, (struct dapt_op){.opcode = DAPT_OP_RMS_NORM,
                                    .inputs = {in, parameter(x, slot, 1)},
                                    .u.norm = {.eps = x->m->norm_eps,
                                               .weight_offset = x->m->family->norm_offset}});
}

// A norm over each row; the row itself where the layer has no such norm.
static dapt_value norm(struct builder *x, dapt_value in, enum dapt_slot slot) {
    if (!has(x, slot)) return in;
    if (!x->m->family->layer_norm) return rms_norm(x, in, slot);
    dapt_value w = parameter(x, slot, 1), bias = parameter(x, slot + 1, 1);
    return make(x, (struct dapt_op){.opcode = DAPT_OP_LAYER_NORM,
                                    .inputs = {in, w, bias},
                                    .u.norm.eps = x->m->norm_eps});
}

// An op whose output takes the place of a value.
static dapt_value in_place(struct builder *x, dapt_value value, struct dapt_op op) {
    op.outputs[0] = dapt_graph_alias(x->g, value);
    dapt_graph_op(x->g, &op);
    return op.outputs[0];
}

static dapt_value rope(struct builder *x, dapt_value in) {
    dapt_value table = x->io->ropes[x->m->rope_of[x->row - 1]];
    if (table == NONE || (x->m->unrotated && x->m->unrotated[x->row - 1])) return in;
    return in_place(
        x, in, (struct dapt_op){.opcode = DAPT_OP_ROPE, .inputs = {in, table, x->io->positions}});
}

// ----------------------------------------------------------------------------------------- products

// What training drops at random before an adapter reads it: of each adapter something else.
static dapt_value dropped(struct builder *x, dapt_value in, uint32_t a) {
    const struct dapt_adapters *adapters = x->m->adapters;
    if (x->io->keys == NONE) return in;
    return make(x, (struct dapt_op){.opcode = DAPT_OP_DROPOUT,
                                    .inputs = {in, x->io->keys},
                                    .u.dropout = {.rate = (float)adapters->dropout,
                                                  .stream = a - (uint32_t)adapters->first}});
}

// factor (in A^T), the small side of adapters, of A's that lie one behind the other.
static dapt_value lowered(struct builder *x, dapt_value in, const uint32_t *a, int count) {
    in = dropped(x, in, a[0]);
    dapt_value low = make(x, (struct dapt_op){.opcode = DAPT_OP_MATMUL,
                                              .inputs = {in, parameters(x, a, count), NONE, NONE},
                                              .u.matmul.transpose_b = true});
    return scaled(x, low, x->m->adapters->factor);
}

// Adds what its adapter makes of `low` to a product; in its place where it is columns of a larger one.
static dapt_value adapted(struct builder *x, dapt_value low, uint32_t b, dapt_value y, bool whole) {
    dapt_value more = make(x, (struct dapt_op){.opcode = DAPT_OP_MATMUL,
                                               .inputs = {low, parameters(x, &b, 1), NONE, NONE},
                                               .u.matmul.transpose_b = true});
    if (whole) return add(x, more, y);
    return in_place(x, y, (struct dapt_op){.opcode = DAPT_OP_ADD, .inputs = {more, y}});
}

#define TOGETHER 3  // slots that one product may be of

// Adds to the products of `in` with `count` slots what those that have adapters are due.
static void adapt(struct builder *x, dapt_value in, enum dapt_slot slot, int count,
                  dapt_value *products) {
    const struct dapt_adapters *adapters = x->m->adapters;
    uint32_t a[TOGETHER], b[TOGETHER];
    int of[TOGETHER], n = 0;
    for (int i = 0; adapters && i < count; i++) {
        size_t k = (size_t)x->row * DAPT_SLOT_COUNT + slot + (size_t)i;
        if (adapters->a[k] == NONE) continue;
        a[n] = adapters->a[k];
        b[n] = adapters->b[k];
        of[n++] = i;
    }
    bool joined = n > 1 && x->io->keys == NONE && dapt_slots_adjoin(x->m, a, n);
    dapt_value all = joined ? lowered(x, in, a, n) : NONE;
    for (int i = 0; i < n; i++) {
        int64_t rank = adapters->rank;
        dapt_value low = joined ? dapt_graph_slice(x->g, all, i * rank, rank)
                                : lowered(x, in, &a[i], 1);
        products[of[i]] = adapted(x, low, b[i], products[of[i]], count == 1);
    }
}

static bool any_adapter(const struct builder *x, enum dapt_slot slot, int count) {
    for (int i = 0; x->m->adapters && i < count; i++)
        if (x->m->adapters->a[(size_t)x->row * DAPT_SLOT_COUNT + slot + (size_t)i] != NONE)
            return true;
    return false;
}

// The product of `in` with the matrices of `count` slots, and their biases, as one: [N, all columns].
static dapt_value product(struct builder *x, dapt_value in, enum dapt_slot slot,
                          enum dapt_slot bias, int count) {
    dapt_value w = parameter(x, slot, count);
    return linear(x, in, w, parameter(x, bias, count));
}

// That of one slot, with its adapter.
static dapt_value project(struct builder *x, dapt_value in, enum dapt_slot slot,
                          enum dapt_slot bias) {
    dapt_value y = product(x, in, slot, bias, 1);
    adapt(x, in, slot, 1, &y);
    return y;
}

// Those of several slots, each with its adapter, of so many columns each: columns of one product where
// the parameters lie together.
static void project_each(struct builder *x, dapt_value in, enum dapt_slot slot, enum dapt_slot bias,
                         int count, const int64_t *columns, dapt_value *products) {
    if (!together(x, slot, bias, count)) {
        for (int i = 0; i < count; i++)
            products[i] = project(x, in, slot + (enum dapt_slot)i, bias + (enum dapt_slot)i);
        return;
    }
    dapt_value all = product(x, in, slot, bias, count);
    int64_t at = 0;
    for (int i = 0; i < count; at += columns[i++])
        products[i] = dapt_graph_slice(x->g, all, at, columns[i]);
    adapt(x, in, slot, count, products);
}

// ---------------------------------------------------------------------------------------- attention

// Puts the new rows into this layer's cache and gives the whole of it.
static dapt_value cached(struct builder *x, dapt_value rows) {
    int64_t g = x->m->kv_heads, d = x->m->head_size;
    enum dapt_dtype dtype = dapt_precision_dtype(x->g->precision, DAPT_CLASS_ACTIVATION);
    dapt_value cache = dapt_graph_new(x->g, DAPT_BUFFER_CACHE, dtype, 2,
                                      (int64_t[]){x->places, g * d});
    dapt_graph_op(x->g, &(struct dapt_op){.opcode = DAPT_OP_SCATTER_ROWS,
                                          .inputs = {reshape2(x, rows, x->n, g * d), x->io->rows},
                                          .outputs = {cache}});
    return reshape3(x, cache, x->places, g, d);
}

// The heads of q or k [N, heads D] with their norm, turned by their positions: [N, heads, D].
static dapt_value turned(struct builder *x, dapt_value in, enum dapt_slot slot, int64_t heads) {
    enum dapt_qk_norm kind = x->m->family->qk_norm;
    if (kind == DAPT_QK_NORM_WHOLE) in = norm(x, in, slot);
    in = reshape3(x, in, x->n, heads, x->m->head_size);
    return rope(x, kind == DAPT_QK_NORM_HEAD ? rms_norm(x, in, slot) : in);
}

// q, k and v [N, heads, D] as columns of one product.
static void joined_heads(struct builder *x, dapt_value qkv, dapt_value *q, dapt_value *k,
                         dapt_value *v) {
    int64_t h = x->m->heads, g = x->m->kv_heads, d = x->m->head_size, n = x->n;
    if (x->m->family->qk_norm) {
        *q = turned(x, dapt_graph_slice(x->g, qkv, 0, h * d), DAPT_SLOT_Q_NORM, h);
        *k = turned(x, dapt_graph_slice(x->g, qkv, h * d, g * d), DAPT_SLOT_K_NORM, g);
        *v = reshape3(x, dapt_graph_slice(x->g, qkv, (h + g) * d, g * d), n, g, d);
        return;
    }
    qkv = reshape3(x, qkv, n, h + 2 * g, d);
    dapt_value qk = rope(x, dapt_graph_slice(x->g, qkv, 0, h + g));
    *q = dapt_graph_slice(x->g, qk, 0, h);
    *k = dapt_graph_slice(x->g, qk, h, g);
    *v = dapt_graph_slice(x->g, qkv, h + g, g);
}

static void project_heads(struct builder *x, dapt_value in, dapt_value *q, dapt_value *k,
                          dapt_value *v) {
    int64_t h = x->m->heads, g = x->m->kv_heads, d = x->m->head_size;
    dapt_value each[3] = {NONE, NONE, NONE};
    if (has(x, DAPT_SLOT_QKV)) {
        joined_heads(x, project(x, in, DAPT_SLOT_QKV, DAPT_SLOT_QKV_BIAS), q, k, v);
    } else if (together(x, DAPT_SLOT_Q, DAPT_SLOT_Q_BIAS, 3) && !any_adapter(x, DAPT_SLOT_Q, 3)) {
        joined_heads(x, product(x, in, DAPT_SLOT_Q, DAPT_SLOT_Q_BIAS, 3), q, k, v);
    } else {
        project_each(x, in, DAPT_SLOT_Q, DAPT_SLOT_Q_BIAS, 3, (int64_t[]){h * d, g * d, g * d},
                     each);
        *q = turned(x, each[0], DAPT_SLOT_Q_NORM, h);
        *k = turned(x, each[1], DAPT_SLOT_K_NORM, g);
        *v = reshape3(x, each[2], x->n, g, d);
    }
}

static dapt_value attention(struct builder *x, dapt_value in) {
    const struct dapt_model *m = x->m;
    dapt_value q = NONE, k = NONE, v = NONE;
    project_heads(x, in, &q, &k, &v);
    if (x->b->mode == DAPT_MODEL_DECODE) {
        k = cached(x, k);
        v = cached(x, v);
    }
    dapt_value y = make(x, (struct dapt_op){.opcode = DAPT_OP_ATTENTION,
                                            .inputs = {q, k, v, x->io->first, x->io->last},
                                            .u.attention = {.sequences = (int32_t)x->b->sequences,
                                                            .window = m->windows[x->row - 1],
                                                            .scale = m->attention_scale,
                                                            .softcap = m->attention_cap}});
    return project(x, reshape2(x, y, x->n, (int64_t)m->heads * m->head_size), DAPT_SLOT_OUT,
                   DAPT_SLOT_OUT_BIAS);
}

// ------------------------------------------------------------------------------------------- layers

static dapt_value gated(struct builder *x, dapt_value in) {
    int64_t f = x->m->feed_forward;
    dapt_value parts[2] = {NONE, NONE};
    if (has(x, DAPT_SLOT_GATE_UP)) {
        dapt_value both = project(x, in, DAPT_SLOT_GATE_UP, DAPT_SLOT_GATE_BIAS);
        for (int i = 0; i < 2; i++) parts[i] = dapt_graph_slice(x->g, both, i * f, f);
    } else {
        project_each(x, in, DAPT_SLOT_GATE, DAPT_SLOT_GATE_BIAS, 2, (int64_t[]){f, f}, parts);
    }
    return make(x, (struct dapt_op){.opcode = DAPT_OP_GATE,
                                    .inputs = {parts[0], parts[1]},
                                    .u.activation.kind = x->m->activation});
}

static dapt_value feed_forward(struct builder *x, dapt_value in) {
    dapt_value y = x->m->family->gated
                       ? gated(x, in)
                       : activated(x, project(x, in, DAPT_SLOT_UP, DAPT_SLOT_UP_BIAS),
                                   x->m->activation);
    return project(x, y, DAPT_SLOT_DOWN, DAPT_SLOT_DOWN_BIAS);
}

static void label(struct builder *x, const char *part) {
    x->g->label = dapt_arena_format(&x->g->arena, "layers.%u.%s", x->row - 1, part);
}

// One layer of the stream [N, C]. Which norms it has is a matter of its slots.
static dapt_value layer(struct builder *x, dapt_value stream) {
    float factor = x->m->residual_scale;
    label(x, "attention");
    dapt_value in = norm(x, stream, DAPT_SLOT_NORM1),
               change = norm(x, attention(x, in), DAPT_SLOT_POST_NORM1),
               sum = add(x, scaled(x, change, factor), stream),
               next = norm(x, sum, DAPT_SLOT_SUM_NORM1);
    label(x, "mlp");
    if (!x->m->parallel)
        in = norm(x, next, DAPT_SLOT_NORM2);
    else if (has(x, DAPT_SLOT_NORM2))
        in = norm(x, stream, DAPT_SLOT_NORM2);
    change = norm(x, feed_forward(x, in), DAPT_SLOT_POST_NORM2);
    return norm(x, add(x, scaled(x, change, factor), next), DAPT_SLOT_SUM_NORM2);
}

// ------------------------------------------------------------------------------------ the whole model

static dapt_value embeddings(struct builder *x, dapt_value table) {
    const struct dapt_model *m = x->m;
    dapt_value h = scaled(x, embed(x, table, x->io->ids), m->embedding_scale);
    if (has(x, DAPT_SLOT_POSITION)) {
        dapt_value positions = rows_of(x, DAPT_SLOT_POSITION, m->first_position, m->max_positions);
        h = add(x, h, embed(x, positions, x->io->positions));
    }
    if (has(x, DAPT_SLOT_TYPE)) {
        dapt_value type = dapt_graph_reshape(x->g, rows_of(x, DAPT_SLOT_TYPE, 0, 1), 1,
                                             (int64_t[]){m->hidden});
        h = make(x, (struct dapt_op){.opcode = DAPT_OP_ADD_BIAS, .inputs = {h, type}});
    }
    return norm(x, h, DAPT_SLOT_EMBED_NORM);
}

// What the logits are made of: what a masked model's head does before its table.
static dapt_value head_input(struct builder *x, dapt_value h) {
    if (!has(x, DAPT_SLOT_HEAD_DENSE)) return h;
    h = project(x, h, DAPT_SLOT_HEAD_DENSE, DAPT_SLOT_HEAD_DENSE_BIAS);
    return norm(x, activated(x, h, x->m->head_activation), DAPT_SLOT_HEAD_NORM);
}

static dapt_value batch_input(struct builder *x, int64_t n, const char *name) {
    return dapt_graph_input(x->g, DAPT_BUFFER_BATCH, DAPT_GRAPH_NEXT, DAPT_I32, 1, &n, name);
}

static void rope_inputs(struct builder *x) {
    int64_t shape[2] = {x->b->mode == DAPT_MODEL_DECODE ? x->b->capacity : x->b->length, 0}, at = 0;
    for (int i = 0; i < DAPT_ROPES; i++) shape[1] += x->m->ropes[i].size;
    dapt_value all = NONE;
    if (shape[1])
        all = dapt_graph_input(x->g, DAPT_BUFFER_CONSTANT, DAPT_GRAPH_NEXT, DAPT_F32, 2, shape,
                               "rope");
    for (int i = 0; i < DAPT_ROPES; i++) {
        int64_t size = x->m->ropes[i].size;
        x->io->ropes[i] = size ? dapt_graph_slice(x->g, all, at, size) : NONE;
        at += size;
    }
}

static void inputs(struct builder *x) {
    struct dapt_model_io *io = x->io;
    *io = (struct dapt_model_io){.rows = NONE,
                                 .pick = NONE,
                                 .keys = NONE,
                                 .losses = NONE,
                                 .loss_sum = NONE,
                                 .logits = NONE,
                                 .hidden = NONE};
    io->ids = batch_input(x, x->n, "ids");
    io->targets = batch_input(x, x->n, "targets");
    io->positions = batch_input(x, x->n, "positions");
    io->first = batch_input(x, x->n, "first");
    io->last = batch_input(x, x->n, "last");
    if (x->b->mode == DAPT_MODEL_DECODE) {
        io->rows = batch_input(x, x->n, "rows");
        io->pick = batch_input(x, 1, "pick");
    }
    if (x->b->mode == DAPT_MODEL_TRAIN && x->m->adapters && x->m->adapters->dropout > 0)
        io->keys = batch_input(x, x->n, "keys");
    rope_inputs(x);
}

// Evaluation reads every place's loss; training only their sum.
static enum dapt_status loss(struct builder *x, dapt_value h, dapt_value head, dapt_value bias) {
    struct dapt_model_io *io = x->io;
    bool train = x->b->mode == DAPT_MODEL_TRAIN;
    const struct dapt_op op = {.opcode = DAPT_OP_LM_LOSS,
                               .inputs = {h, head, bias, io->targets},
                               .u.lm = {.scale = x->m->logit_scale, .softcap = x->m->logit_cap}};
    io->losses = dapt_graph_make(x->g, train ? DAPT_BUFFER_WORK : DAPT_BUFFER_RESULT, &op);
    if (!train) return x->g->status;
    io->loss_sum = dapt_graph_make(
        x->g, DAPT_BUFFER_RESULT,
        &(struct dapt_op){
            .opcode = DAPT_OP_SUM, .inputs = {io->losses}, .accumulate = x->b->accumulate});
    dapt_value seed = dapt_graph_input(x->g, DAPT_BUFFER_STEP, DAPT_STEP_SEED * sizeof(float),
                                       DAPT_F32, 1, (int64_t[]){1}, "seed");
    return dapt_graph_autodiff(x->g, io->losses, seed, x->b->accumulate);
}

static enum dapt_status logits(struct builder *x, dapt_value h, dapt_value head, dapt_value bias) {
    if (x->b->mode == DAPT_MODEL_DECODE) h = embed(x, h, x->io->pick);
    h = scaled(x, h, x->m->logit_scale);
    dapt_value y = dapt_graph_make(x->g, DAPT_BUFFER_RESULT,
                                   &(struct dapt_op){.opcode = DAPT_OP_MATMUL,
                                                     .inputs = {h, head, NONE, NONE},
                                                     .u.matmul.transpose_b = true});
    if (bias != NONE)
        y = in_place(x, y, (struct dapt_op){.opcode = DAPT_OP_ADD_BIAS, .inputs = {y, bias}});
    if (x->m->logit_cap > 0)
        y = in_place(x, y,
                     (struct dapt_op){.opcode = DAPT_OP_SCALE,
                                      .inputs = {y},
                                      .u.scale = {.factor = 1, .softcap = x->m->logit_cap}});
    x->io->logits = y;
    return x->g->status;
}

// A copy in float32: what the final norm makes lies among values that are overwritten.
static enum dapt_status hidden(struct builder *x, dapt_value h) {
    bool wide = dapt_graph_tensor(x->g, h)->dtype == DAPT_F32;
    x->io->hidden = dapt_graph_make(
        x->g, DAPT_BUFFER_RESULT,
        &(struct dapt_op){.opcode = wide ? DAPT_OP_COPY : DAPT_OP_CAST, .inputs = {h}});
    return x->g->status;
}

// A family may name a tensor that nothing here builds with: it would be loaded and saved, and
// silently never be trained.
static enum dapt_status check_used(const struct builder *x) {
    for (size_t i = 0; !x->g->status && i < x->m->parameter_count; i++)
        if (!x->used[i])
            x->g->status = dapt_fail(DAPT_ERROR_INTERNAL,
                                     "a %s model has parameter %s, which no part of it uses",
                                     x->m->family->type, x->m->parameters[i].name);
    return x->g->status;
}

static enum dapt_status check_build(const struct dapt_model *m,
                                    const struct dapt_model_build *build) {
    if (m->masked && build->mode == DAPT_MODEL_DECODE)
        return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                         "a %s model predicts hidden tokens: it can't go on with a text",
                         m->family->type);
    if (m->family->learned_positions && build->length > m->max_positions)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "sequences of %u tokens: the model has positions for %u", build->length,
                         m->max_positions);
    uint32_t longest = build->capacity > build->length ? build->capacity : build->length;
    for (int i = 0; i < DAPT_ROPES; i++)
        if (m->ropes[i].limit && longest > m->ropes[i].limit)
            return dapt_fail(
                DAPT_ERROR_UNSUPPORTED,
                "sequences of %u tokens: the model's rope settings hold other frequencies for "
                "more than %u, which are not built",
                longest, m->ropes[i].limit);
    return DAPT_OK;
}

enum dapt_status dapt_model_graph(const struct dapt_model *model,
                                  const struct dapt_model_build *build, struct dapt_graph *graph,
                                  struct dapt_model_io *io) {
    struct builder x = {.m = model,
                        .b = build,
                        .g = graph,
                        .io = io,
                        .n = (int64_t)build->sequences * build->length,
                        .places = (int64_t)build->capacity +
                                  build->length};  // padding rows of a chunk go behind the cache
    enum dapt_status status = check_build(model, build);
    if (status) return status;
    x.used = dapt_arena_alloc(&graph->arena, model->parameter_count * sizeof *x.used);
    if (!x.used) return DAPT_ERROR_MEMORY;
    graph->precision = build->precision;
    inputs(&x);
    graph->label = "embedding";
    dapt_value table = parameter(&x, DAPT_SLOT_EMBED, 1);
    dapt_value head = model->tied ? table : parameter(&x, DAPT_SLOT_HEAD, 1);
    dapt_value h = embeddings(&x, table);
    for (uint32_t l = 0; l < model->layers && !graph->status; l++) {
        x.row = graph->block = l + 1;
        h = layer(&x, h);
    }
    x.row = graph->block = 0;
    graph->label = "head";
    dapt_value last = norm(&x, h, DAPT_SLOT_FINAL_NORM);
    h = head_input(&x, last);
    dapt_value bias = parameter(&x, model->tied ? DAPT_SLOT_HEAD_BIAS : DAPT_SLOT_HEAD_OWN_BIAS, 1);
    if (check_used(&x)) return graph->status;
    switch (build->mode) {
    case DAPT_MODEL_LOSS:
    case DAPT_MODEL_TRAIN: return loss(&x, h, head, bias);
    case DAPT_MODEL_HIDDEN: return hidden(&x, last);
    default: return logits(&x, h, head, bias);
    }
}
