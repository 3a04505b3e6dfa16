#include "train/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/ops.h"

#define CHUNK 32u  // tokens that generation feeds at a time
#define PIECE ((uint64_t)1 << 20)
#define NORM_OFFSET 64u  // of the squared norm in the result buffer, behind the loss

// The programs an engine runs. All work on the same parameters; a lane's other buffers are shared
// with lanes that need no more.
enum lane_kind {
    LANE_TRAIN_FIRST,
    LANE_TRAIN_NEXT,
    LANE_NORM,
    LANE_UPDATE,
    LANE_LOSS,
    LANE_LOGITS,
    LANE_DECODE_ONE,
    LANE_DECODE_CHUNK,
    LANE_COUNT
};

struct lane {
    struct dapt_graph *graph;  // kept for labels and profiles
    struct dapt_model_io io;
    struct dapt_executable_handle *executable;
    struct dapt_buffer_handle *buffers[DAPT_BUFFER_ROLE_COUNT];  // shared; owned by the engine
};

struct dapt_engine {
    const struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine_options options;
    struct lane lanes[LANE_COUNT];
    struct dapt_buffer_handle *current[DAPT_BUFFER_ROLE_COUNT];  // the largest so far of each role
    struct dapt_buffer_handle **owned;
    size_t owned_count, owned_capacity;
    uint32_t capacity;  // of the key/value cache
    struct dapt_engine_step step;
    bool first;  // no micro-batch of this step has run
};

static enum dapt_status ensure_buffer(struct dapt_engine *e, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer_handle **buffer) {
    *buffer = NULL;
    if (!size) return DAPT_OK;
    if (dapt_buffer_size(e->current[role]) < size) {
        struct dapt_buffer_handle *fresh;
        enum dapt_status status = dapt_grow(&e->owned, &e->owned_capacity, e->owned_count + 1,
                                            sizeof *e->owned);
        if (!status) status = dapt_buffer_create(e->device, role, size, &fresh);
        if (status) return status;
        e->owned[e->owned_count++] = e->current[role] = fresh;
    }
    *buffer = e->current[role];
    return DAPT_OK;
}

// Asks the device about an op of a graph that has no program yet.
static bool supports(void *context, const struct dapt_graph *graph, const struct dapt_op *op) {
    struct dapt_tensor tensors[DAPT_OP_INPUTS + DAPT_OP_OUTPUTS];
    struct dapt_buffer_info buffers[DAPT_OP_INPUTS + DAPT_OP_OUTPUTS];
    struct dapt_op copy = *op;
    uint32_t n = 0;
    for (int i = 0; i < DAPT_OP_INPUTS + DAPT_OP_OUTPUTS; i++) {
        uint32_t *operand = i < DAPT_OP_INPUTS ? &copy.inputs[i]
                                               : &copy.outputs[i - DAPT_OP_INPUTS];
        if (*operand == DAPT_NONE) continue;
        tensors[n] = graph->values[*operand].tensor;
        buffers[n] = (struct dapt_buffer_info){graph->storages[tensors[n].buffer].role,
                                               graph->storages[tensors[n].buffer].size};
        tensors[n].buffer = n;
        *operand = n++;
    }
    struct dapt_program program = {.buffer_count = n,
                                   .tensor_count = n,
                                   .op_count = 1,
                                   .buffers = buffers,
                                   .tensors = tensors,
                                   .ops = &copy};
    return dapt_device_supports(context, &program, &copy);
}

static enum dapt_status fill_ropes(struct dapt_engine *e, const struct lane *lane) {
    uint64_t size = lane->graph->role_size[DAPT_BUFFER_CONSTANT];
    if (!size) return DAPT_OK;
    const struct dapt_storage *storages = lane->graph->storages;
    float *tables = dapt_alloc_aligned(size / sizeof(float), sizeof *tables);
    if (!tables) return DAPT_ERROR_MEMORY;
    for (int i = 0; i < DAPT_ROPES; i++) {
        if (lane->io.ropes[i] == DAPT_NONE) continue;
        const struct dapt_tensor *t = dapt_graph_tensor(lane->graph, lane->io.ropes[i]);
        dapt_rope_table(&e->model->ropes[i], (uint32_t)t->shape[0], (uint32_t)t->stride,
                        tables + (storages[t->buffer].offset + t->offset) / sizeof *tables);
    }
    enum dapt_status status = dapt_buffer_write(lane->buffers[DAPT_BUFFER_CONSTANT], 0, tables,
                                                size);
    free(tables);
    return status;
}

static enum dapt_status finish_lane(struct dapt_engine *e, struct lane *lane,
                                    enum dapt_recompute recompute) {
    struct dapt_graph *g = lane->graph;
    struct dapt_program program;
    enum dapt_status status = dapt_graph_recompute(g, recompute);
    if (!status) status = dapt_graph_fuse(g, supports, e->device);
    if (!status) status = dapt_graph_prune(g);
    if (!status) status = dapt_graph_plan(g);
    if (!status) status = dapt_graph_program(g, &program);
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT && !status; r++) {
        uint64_t size = r <= DAPT_BUFFER_MOMENT2 && g->role_size[r]
                            ? e->model->flat_count * sizeof(float)
                            : g->role_size[r];
        status = ensure_buffer(e, (enum dapt_buffer_role)r, size, &lane->buffers[r]);
        if (status)
            status = dapt_fail_in(
                status, "%.1f MiB of device memory for %" PRIu64 " parameters, %u x %u tokens",
                (double)size / 1048576.0, e->model->weight_count, e->options.sequences,
                e->options.length);
    }
    if (!status) status = fill_ropes(e, lane);
    return status ? status
                  : dapt_program_compile(e->device, &program, lane->buffers, &lane->executable);
}

static dapt_value flat(struct dapt_graph *g, enum dapt_buffer_role role, uint64_t begin,
                       uint64_t count) {
    return dapt_graph_input(g, role, begin * sizeof(float), DAPT_F32, 2,
                            (int64_t[]){(int64_t)(count / 16), 16}, "flat");
}

static dapt_value scalar(struct dapt_graph *g, enum dapt_buffer_role role, uint64_t offset,
                         int64_t count) {
    return dapt_graph_input(g, role, offset, DAPT_F32, 1, &count, "scalar");
}

static void norm_graph(struct dapt_engine *e, struct dapt_graph *g) {
    g->label = "gradient norm";
    dapt_value norm2 = scalar(g, DAPT_BUFFER_RESULT, NORM_OFFSET, 1);
    dapt_graph_op(g,
                  &(struct dapt_op){.opcode = DAPT_OP_SUM_SQUARES,
                                    .inputs = {flat(g, DAPT_BUFFER_GRAD, 0, e->model->flat_count)},
                                    .outputs = {norm2}});
}

static void update_graph(struct dapt_engine *e, struct dapt_graph *g) {
    g->label = "optimizer";
    dapt_value norm2 = scalar(g, DAPT_BUFFER_RESULT, NORM_OFFSET, 1),
               step = scalar(g, DAPT_BUFFER_STEP, 0, DAPT_STEP_COUNT);
    uint64_t split = e->options.decay_all ? e->model->flat_count : e->model->decay_count;
    for (int part = 0; part < 2; part++) {
        uint64_t begin = part ? split : 0, end = part ? e->model->flat_count : split;
        if (begin == end) continue;
        struct dapt_op op = {
            .opcode = DAPT_OP_ADAMW,
            .inputs = {flat(g, DAPT_BUFFER_GRAD, begin, end - begin), step, norm2}};
        op.outputs[0] = flat(g, DAPT_BUFFER_PARAM, begin, end - begin);
        op.outputs[1] = flat(g, DAPT_BUFFER_MOMENT1, begin, end - begin);
        op.outputs[2] = flat(g, DAPT_BUFFER_MOMENT2, begin, end - begin);
        op.u.adamw.beta1 = e->options.beta1;
        op.u.adamw.beta2 = e->options.beta2;
        op.u.adamw.eps = e->options.eps;
        op.u.adamw.decay = part == 0;
        dapt_graph_op(g, &op);
    }
}

static enum dapt_status build_lane(struct dapt_engine *e, enum lane_kind kind) {
    static const enum dapt_model_mode modes[LANE_COUNT] = {
        [LANE_TRAIN_FIRST] = DAPT_MODEL_TRAIN, [LANE_TRAIN_NEXT] = DAPT_MODEL_TRAIN,
        [LANE_LOSS] = DAPT_MODEL_LOSS,         [LANE_LOGITS] = DAPT_MODEL_LOGITS,
        [LANE_DECODE_ONE] = DAPT_MODEL_DECODE, [LANE_DECODE_CHUNK] = DAPT_MODEL_DECODE};
    struct lane *lane = &e->lanes[kind];
    if (lane->executable) return DAPT_OK;
    dapt_graph_destroy(&lane->graph);
    if (!(lane->graph = dapt_graph_create())) return DAPT_ERROR_MEMORY;
    enum dapt_recompute recompute = DAPT_RECOMPUTE_NONE;
    enum dapt_status status = DAPT_OK;
    if (kind == LANE_NORM) {
        norm_graph(e, lane->graph);
    } else if (kind == LANE_UPDATE) {
        update_graph(e, lane->graph);
    } else {
        bool decode = modes[kind] == DAPT_MODEL_DECODE;
        struct dapt_model_build build = {.mode = modes[kind],
                                         .accumulate = kind == LANE_TRAIN_NEXT,
                                         .sequences = decode ? 1 : e->options.sequences,
                                         .length = decode ? CHUNK : e->options.length};
        // Both decode lanes see a cache of capacity + CHUNK places, the last ones for a chunk's
        // padding.
        if (decode) build.capacity = e->capacity;
        if (kind == LANE_DECODE_ONE) {
            build.length = 1;
            build.capacity = e->capacity + CHUNK - 1;
        }
        if (modes[kind] == DAPT_MODEL_TRAIN) recompute = e->options.recompute;
        status = dapt_model_graph(e->model, &build, lane->graph, &lane->io);
    }
    return status ? status : finish_lane(e, lane, recompute);
}

static void drop_lane(struct lane *lane) {
    dapt_program_destroy(&lane->executable);
    dapt_graph_destroy(&lane->graph);
    *lane = (struct lane){0};
}

enum dapt_status dapt_engine_create(const struct dapt_model *model,
                                    struct dapt_device_handle *device,
                                    const struct dapt_engine_options *options,
                                    struct dapt_engine **engine) {
    *engine = NULL;
    struct dapt_engine *e = dapt_alloc(1, sizeof *e);
    if (!e) return DAPT_ERROR_MEMORY;
    e->model = model;
    e->device = device;
    e->options = *options;
    struct dapt_buffer_handle *ignored;
    enum dapt_status status = ensure_buffer(e, DAPT_BUFFER_PARAM, model->flat_count * sizeof(float),
                                            &ignored);
    // All lanes of a step together and first: nobody needs more memory. Their step and result
    // buffers are the same ones.
    if (!status && options->train)
        status = ensure_buffer(e, DAPT_BUFFER_RESULT, 2 * NORM_OFFSET, &ignored);
    if (!status && options->train)
        status = ensure_buffer(e, DAPT_BUFFER_STEP, DAPT_STEP_COUNT * sizeof(float), &ignored);
    for (int kind = LANE_TRAIN_FIRST; options->train && kind <= LANE_UPDATE && !status; kind++)
        status = build_lane(e, (enum lane_kind)kind);
    if (status) dapt_engine_destroy(&e);
    *engine = e;
    return status;
}

void dapt_engine_destroy(struct dapt_engine **engine) {
    if (!engine || !*engine) return;
    struct dapt_engine *e = *engine;
    for (int i = 0; i < LANE_COUNT; i++) drop_lane(&e->lanes[i]);
    for (size_t i = 0; i < e->owned_count; i++) dapt_buffer_destroy(&e->owned[i]);
    free(e->owned);
    free(e);
    *engine = NULL;
}

// ------------------------------------------------------------------------------------------- state

static enum dapt_status state_buffer(struct dapt_engine *e, enum dapt_engine_state state,
                                     uint64_t begin, uint64_t count,
                                     struct dapt_buffer_handle **buffer) {
    static const enum dapt_buffer_role roles[] = {[DAPT_STATE_PARAM] = DAPT_BUFFER_PARAM,
                                                  [DAPT_STATE_GRAD] = DAPT_BUFFER_GRAD,
                                                  [DAPT_STATE_MOMENT1] = DAPT_BUFFER_MOMENT1,
                                                  [DAPT_STATE_MOMENT2] = DAPT_BUFFER_MOMENT2};
    *buffer = e->current[roles[state]];
    if (!*buffer)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: this state is only kept for training");
    if (begin > e->model->flat_count || count > e->model->flat_count - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: state range outside");
    return DAPT_OK;
}

enum dapt_status dapt_engine_read(struct dapt_engine *engine, enum dapt_engine_state state,
                                  uint64_t begin, uint64_t count, float *values) {
    struct dapt_buffer_handle *buffer;
    enum dapt_status status = state_buffer(engine, state, begin, count, &buffer);
    return status
               ? status
               : dapt_buffer_read(buffer, begin * sizeof *values, values, count * sizeof *values);
}

enum dapt_status dapt_engine_write(struct dapt_engine *engine, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, const float *values) {
    struct dapt_buffer_handle *buffer;
    enum dapt_status status = state_buffer(engine, state, begin, count, &buffer);
    return status
               ? status
               : dapt_buffer_write(buffer, begin * sizeof *values, values, count * sizeof *values);
}

static enum dapt_status put(void *context, uint64_t offset, const float *values, uint64_t count) {
    return dapt_engine_write(context, DAPT_STATE_PARAM, offset, count, values);
}

static enum dapt_status get(void *context, uint64_t offset, float *values, uint64_t count) {
    return dapt_engine_read(context, DAPT_STATE_PARAM, offset, count, values);
}

enum dapt_status dapt_engine_load(struct dapt_engine *engine, const char *folder) {
    return dapt_model_load(engine->model, folder, put, engine);
}

enum dapt_status dapt_engine_init(struct dapt_engine *engine, uint64_t seed) {
    return dapt_model_init(engine->model, seed, put, engine);
}

enum dapt_status dapt_engine_save(struct dapt_engine *engine, const char *folder) {
    return dapt_model_save(engine->model, folder, get, engine);
}

// Moves all parameters through the host in pieces: `round` of them are kept exactly in the place of the
// gradients and rounded in their own; otherwise they are taken from there.
static enum dapt_status move_parameters(struct dapt_engine *e, bool round) {
    uint64_t total = e->model->flat_count;
    float *piece = dapt_alloc_aligned(PIECE, sizeof *piece);
    enum dapt_status status = piece ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint64_t at = 0; !status && at < total; at += PIECE) {
        uint64_t n = total - at < PIECE ? total - at : PIECE;
        status = dapt_engine_read(e, round ? DAPT_STATE_PARAM : DAPT_STATE_GRAD, at, n, piece);
        if (!status && round) status = dapt_engine_write(e, DAPT_STATE_GRAD, at, n, piece);
        if (!status && round) status = dapt_model_round(e->model, at, n, piece);
        if (!status) status = dapt_engine_write(e, DAPT_STATE_PARAM, at, n, piece);
    }
    free(piece);
    return status;
}

enum dapt_status dapt_engine_round(struct dapt_engine *engine) {
    return dapt_model_rounds(engine->model) ? move_parameters(engine, true) : DAPT_OK;
}

enum dapt_status dapt_engine_unround(struct dapt_engine *engine) {
    return dapt_model_rounds(engine->model) ? move_parameters(engine, false) : DAPT_OK;
}

// ---------------------------------------------------------------------------------------- training

static enum dapt_status write_rows(struct lane *lane, dapt_value input, const int32_t *rows,
                                   uint64_t count) {
    const struct dapt_tensor *t = dapt_graph_tensor(lane->graph, input);
    uint64_t offset = lane->graph->storages[t->buffer].offset;
    return dapt_buffer_write(lane->buffers[DAPT_BUFFER_BATCH], offset, rows, count * sizeof *rows);
}

// Backends rely on indices being in range.
static enum dapt_status check_batch(const struct dapt_engine *e, const struct dapt_batch *b) {
    if (b->sequences != e->options.sequences || b->length != e->options.length)
        return dapt_fail(DAPT_ERROR_INTERNAL, "a batch of %u x %u tokens for an engine of %u x %u",
                         b->sequences, b->length, e->options.sequences, e->options.length);
    int32_t vocab = (int32_t)e->model->vocab, length = (int32_t)b->length;
    for (size_t i = 0; i < (size_t)b->sequences * b->length; i++) {
        if (b->ids[i] < 0 || b->ids[i] >= vocab || b->targets[i] >= vocab)
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "token id %d: the model has ids 0 to %d; is this the model's own tokenizer?",
                b->ids[i] < 0 || b->ids[i] >= vocab ? b->ids[i] : b->targets[i], vocab - 1);
        if (b->positions[i] < 0 || b->positions[i] >= length || b->first[i] < 0 ||
            b->last[i] >= length)
            return dapt_fail(DAPT_ERROR_INTERNAL,
                             "a batch with positions outside of its sequences");
    }
    return DAPT_OK;
}

static enum dapt_status run_batch(struct dapt_engine *e, enum lane_kind kind,
                                  const struct dapt_batch *b) {
    uint64_t n = (uint64_t)b->sequences * b->length;
    struct lane *lane = &e->lanes[kind];
    enum dapt_status status = check_batch(e, b);
    if (!status) status = build_lane(e, kind);
    if (!status) status = write_rows(lane, lane->io.ids, b->ids, n);
    if (!status) status = write_rows(lane, lane->io.targets, b->targets, n);
    if (!status) status = write_rows(lane, lane->io.positions, b->positions, n);
    if (!status) status = write_rows(lane, lane->io.first, b->first, n);
    if (!status) status = write_rows(lane, lane->io.last, b->last, n);
    return status ? status : dapt_program_run(lane->executable);
}

enum dapt_status dapt_engine_begin(struct dapt_engine *engine,
                                   const struct dapt_engine_step *step) {
    if (!engine->options.train)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: not made for training");
    float slots[DAPT_STEP_COUNT] = {0};
    slots[DAPT_STEP_LEARNING_RATE] = (float)step->learning_rate;
    slots[DAPT_STEP_WEIGHT_DECAY] = (float)step->weight_decay;
    slots[DAPT_STEP_CORRECTION1] = (float)(1 - pow(engine->options.beta1, (double)step->number));
    slots[DAPT_STEP_CORRECTION2] = (float)(1 - pow(engine->options.beta2, (double)step->number));
    slots[DAPT_STEP_CLIP] = (float)step->clip;
    slots[DAPT_STEP_SEED] = step->scored ? (float)(1.0 / (double)step->scored) : 0;
    engine->step = *step;
    engine->first = true;
    return dapt_buffer_write(engine->lanes[LANE_UPDATE].buffers[DAPT_BUFFER_STEP], 0, slots,
                             sizeof slots);
}

enum dapt_status dapt_engine_micro(struct dapt_engine *engine, const struct dapt_batch *batch) {
    enum dapt_status status = run_batch(engine, engine->first ? LANE_TRAIN_FIRST : LANE_TRAIN_NEXT,
                                        batch);
    engine->first = false;
    return status;
}

enum dapt_status dapt_engine_finish(struct dapt_engine *engine, bool update,
                                    struct dapt_engine_result *result) {
    const struct lane *train = &engine->lanes[LANE_TRAIN_FIRST], *norm = &engine->lanes[LANE_NORM];
    float loss = 0, norm2 = 0;
    enum dapt_status status = engine->first ? dapt_fail(DAPT_ERROR_INTERNAL,
                                                        "engine: a step without a micro-batch")
                                            : DAPT_OK;
    if (!status) status = dapt_program_run(norm->executable);
    if (!status) status = dapt_device_wait(engine->device, 0);
    uint64_t offset =
        status ? 0
               : train->graph->storages[dapt_graph_tensor(train->graph, train->io.loss_sum)->buffer]
                     .offset;
    if (!status)
        status = dapt_buffer_read(train->buffers[DAPT_BUFFER_RESULT], offset, &loss, sizeof loss);
    if (!status)
        status = dapt_buffer_read(norm->buffers[DAPT_BUFFER_RESULT], NORM_OFFSET, &norm2,
                                  sizeof norm2);
    *result = (struct dapt_engine_result){
        .loss = engine->step.scored ? loss / (double)engine->step.scored : 0,
        .norm = sqrt(norm2),
        .finite = isfinite(norm2) && isfinite(loss)};
    // The optimizer looks at the norm alone, and the gradient may be finite where the loss is not
    // (a logit of -infinity has none): that is decided here.
    if (!status && update && result->finite) {
        status = dapt_program_run(engine->lanes[LANE_UPDATE].executable);
        if (!status) status = dapt_device_wait(engine->device, 0);
    }
    return status;
}

// ------------------------------------------------------------------------------------ forward only

// Runs a batch and reads `each` results of every place of it.
static enum dapt_status forward(struct dapt_engine *engine, enum lane_kind kind,
                                const struct dapt_batch *batch, uint64_t each, float *results) {
    uint64_t count = (uint64_t)batch->sequences * batch->length * each;
    enum dapt_status status = run_batch(engine, kind, batch);
    return status ? status
                  : dapt_buffer_read(engine->lanes[kind].buffers[DAPT_BUFFER_RESULT], 0, results,
                                     count * sizeof *results);
}

enum dapt_status dapt_engine_losses(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *losses) {
    return forward(engine, LANE_LOSS, batch, 1, losses);
}

enum dapt_status dapt_engine_logits(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *logits) {
    return forward(engine, LANE_LOGITS, batch, engine->model->vocab, logits);
}

// -------------------------------------------------------------------------------------- generation

enum dapt_status dapt_engine_decode_start(struct dapt_engine *engine, uint32_t capacity) {
    if (!capacity || capacity > 1u << 24)
        return dapt_fail(DAPT_ERROR_INVALID, "generation: a text of %u tokens: expected 1 to %u",
                         capacity, 1u << 24);
    if (!engine->model->ropes[0].size && capacity > engine->model->max_positions)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "generation: %u tokens with the prompt: the model has positions for %u",
                         capacity, engine->model->max_positions);
    if (capacity == engine->capacity) return DAPT_OK;
    drop_lane(&engine->lanes[LANE_DECODE_ONE]);
    drop_lane(&engine->lanes[LANE_DECODE_CHUNK]);
    engine->capacity = capacity;
    return DAPT_OK;
}

// `count` real tokens in a lane of `length`; the others see nothing and write behind the cache.
static enum dapt_status decode_chunk(struct dapt_engine *e, struct lane *lane, uint32_t length,
                                     const uint32_t *ids, uint32_t count, uint32_t position) {
    int32_t rows[6][CHUNK];
    for (uint32_t i = 0; i < length; i++) {
        bool real = i < count;
        rows[0][i] = real ? (int32_t)ids[i] : 0;
        rows[1][i] = real ? (int32_t)(position + i) : 0;
        rows[2][i] = 0;
        rows[3][i] = real ? (int32_t)(position + i) : -1;
        rows[4][i] = real ? (int32_t)(position + i) : (int32_t)(e->capacity + i);
    }
    int32_t pick = (int32_t)count - 1;
    enum dapt_status status = write_rows(lane, lane->io.ids, rows[0], length);
    if (!status) status = write_rows(lane, lane->io.positions, rows[1], length);
    if (!status) status = write_rows(lane, lane->io.first, rows[2], length);
    if (!status) status = write_rows(lane, lane->io.last, rows[3], length);
    if (!status) status = write_rows(lane, lane->io.rows, rows[4], length);
    if (!status) status = write_rows(lane, lane->io.pick, &pick, 1);
    return status ? status : dapt_program_run(lane->executable);
}

enum dapt_status dapt_engine_decode(struct dapt_engine *engine, const uint32_t *ids, uint32_t count,
                                    uint32_t position, float *logits) {
    if (!count || position > engine->capacity || count > engine->capacity - position)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "generation: places %u to %u of a text of at most %u tokens", position,
                         position + count, engine->capacity);
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] >= engine->model->vocab)
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "token id %u: the model has ids 0 to %u; is this the model's own tokenizer?",
                ids[i], engine->model->vocab - 1);
    struct lane *lane = NULL;
    enum dapt_status status = DAPT_OK;
    for (uint32_t done = 0; done < count && !status;) {
        enum lane_kind kind = count - done == 1 ? LANE_DECODE_ONE : LANE_DECODE_CHUNK;
        uint32_t length = kind == LANE_DECODE_ONE ? 1 : CHUNK,
                 n = count - done < length ? count - done : length;
        lane = &engine->lanes[kind];
        // The larger lane first: the cache that it makes serves both.
        status = build_lane(engine, LANE_DECODE_CHUNK);
        if (!status) status = build_lane(engine, kind);
        if (!status) status = decode_chunk(engine, lane, length, ids + done, n, position + done);
        done += n;
    }
    return status ? status
                  : dapt_buffer_read(lane->buffers[DAPT_BUFFER_RESULT], 0, logits,
                                     (uint64_t)engine->model->vocab * sizeof *logits);
}

// ----------------------------------------------------------------------------------------- reports

void dapt_engine_memory(const struct dapt_engine *engine, uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]) {
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
        bytes[r] = dapt_buffer_size(engine->current[r]);
}

enum dapt_status dapt_engine_profile(struct dapt_engine *engine, dapt_engine_op each, void *user) {
    static const enum lane_kind kinds[] = {LANE_TRAIN_FIRST, LANE_NORM, LANE_UPDATE};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !status; i++) {
        struct lane *lane = &engine->lanes[kinds[i]];
        struct dapt_program program;
        uint64_t *ns = dapt_alloc(lane->graph->op_count, sizeof *ns);
        status = ns ? dapt_graph_program(lane->graph, &program) : DAPT_ERROR_MEMORY;
        if (!status) status = dapt_program_timings(lane->executable, ns, program.op_count);
        for (uint32_t k = 0; !status && k < program.op_count; k++)
            each(user, &program.ops[k], program.tensors, ns[k]);
        free(ns);
    }
    return status;
}
