#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/threads.h"
#include "engine/decode.h"
#include "engine/moments.h"
#include "engine/shard.h"
#include "graph/blocks.h"
#include "host/config.h"

#define PIECE ((uint64_t)1 << 20)  // elements moved at a time
#define STREAM_DROPOUT 0x64726f706f7574ull

struct dapt_engine {
    const struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine_options options;
    struct dapt_programs *programs;
    struct dapt_engine_step step;
    bool first;                       // no micro-batch of this step has run
    uint64_t rows;                    // of the micro-batches of this step so far
    struct dapt_engine_step updated;  // the last one whose update was started
    struct dapt_shard *shard;         // among ranks; NULL: alone
    struct dapt_shard_result shared;  // of the last update, by all ranks
    uint32_t capacity;                // of the key/value cache
};

enum dapt_status dapt_engine_precision(const char *name, enum dapt_precision *precision) {
    unsigned choice = DAPT_PRECISION_FLOAT32;
    enum dapt_status status = name ? dapt_config_choose("backend.precision", name, &choice)
                                   : DAPT_OK;
    *precision = (enum dapt_precision)choice;
    if (!status && choice == DAPT_PRECISION_AUTO)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "precision \"auto\" is chosen by a run: expected \"float32\", "
                           "\"bfloat16\" or \"float16\"");
    return status;
}

enum dapt_status dapt_engine_create(const struct dapt_model *model,
                                    struct dapt_device_handle *device,
                                    const struct dapt_engine_options *options,
                                    struct dapt_engine **engine) {
    *engine = NULL;
    struct dapt_engine *e = dapt_alloc(1, sizeof *e);
    if (!e) return DAPT_ERROR_MEMORY;
    *e = (struct dapt_engine){.model = model, .device = device, .options = *options};
    enum dapt_status status = dapt_programs_create(model, device, &e->options, &e->programs);
    if (!status) status = dapt_shard_create(model, &e->options, e->programs, &e->shard);
    if (status) dapt_engine_destroy(&e);
    *engine = e;
    return status;
}

void dapt_engine_destroy(struct dapt_engine **engine) {
    if (!engine || !*engine) return;
    dapt_shard_destroy(&(*engine)->shard);
    dapt_programs_destroy(&(*engine)->programs);
    free(*engine);
    *engine = NULL;
}

// ------------------------------------------------------------------------------------------- state

// One run of elements in one buffer: of the parameters the trained ones lie in one, the frozen ones in
// another, first those of the base that are stored in fewer bits.
struct part {
    enum dapt_buffer_role role;
    struct dapt_buffer_handle *buffer;
    uint64_t begin, count;  // elements of the flat buffer
    enum dapt_dtype dtype;
};

// The first part of [begin, begin + count), of parameters or gradients.
static enum dapt_status first_part(const struct dapt_engine *e, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, struct part *part) {
    const struct dapt_parameter_group *base = dapt_model_base_group(e->model);
    uint64_t trained = e->model->trained_count,
             end = state == DAPT_STATE_PARAM ? e->model->flat_count : trained;
    bool frozen = begin >= trained, packed = frozen && base && begin < base->end;
    uint64_t limit = !frozen ? trained : packed ? base->end : end;
    if (begin > end || count > end - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: state range outside");
    enum dapt_buffer_role role = frozen                      ? DAPT_BUFFER_FROZEN
                                 : state == DAPT_STATE_PARAM ? DAPT_BUFFER_PARAM
                                                             : DAPT_BUFFER_GRAD;
    *part = (struct part){.role = role,
                          .buffer = dapt_programs_buffer(e->programs, role),
                          .begin = begin,
                          .count = count < limit - begin ? count : limit - begin,
                          .dtype = packed ? base->dtype : DAPT_F32};
    return part->buffer
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_INTERNAL, "engine: this state is only kept for training");
}

// Bytes of a part to its buffer; where this rank leads, on all.
static enum dapt_status put_bytes(const struct dapt_engine *e, const struct part *part,
                                  const void *bytes, uint64_t size) {
    uint64_t offset = dapt_model_byte(e->model, part->begin);
    return dapt_shard_leads(e->shard) ? dapt_shard_write(e->shard, part->role, offset, bytes, size)
                                      : dapt_buffer_write(part->buffer, offset, bytes, size);
}

// The moments [begin, begin + count) of a range in 8 bits, counted in it.
static enum dapt_status read_packed(struct dapt_engine *e, enum dapt_engine_state state,
                                    const struct dapt_moment_range *range, uint64_t begin,
                                    uint64_t count, float *values) {
    uint64_t block = DAPT_MOMENT_WORDS * sizeof(uint32_t), first = begin / DAPT_MOMENT_BLOCK,
             blocks = dapt_moment_blocks(begin + count) - first;
    uint8_t *bytes = dapt_alloc(blocks, block);
    if (!bytes) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_engine_read_moments(e, state, range->offset + first * block,
                                                       blocks * block, bytes);
    if (!status)
        dapt_moments_decode(bytes, state == DAPT_STATE_MOMENT2, begin % DAPT_MOMENT_BLOCK, count,
                            values);
    free(bytes);
    return status;
}

// By the blocks that it touches.
static enum dapt_status read_base(const struct dapt_engine *e, const struct part *part,
                                  float *values) {
    uint64_t skip = (part->begin - e->model->trained_count) % DAPT_BLOCK,
             count = (skip + part->count + DAPT_BLOCK - 1) / DAPT_BLOCK * DAPT_BLOCK,
             size = dapt_dtype_bytes(part->dtype, count);
    void *bytes = dapt_alloc(size, 1);
    float *blocks = dapt_alloc(count, sizeof *blocks);
    enum dapt_status status = bytes && blocks ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status)
        status = dapt_buffer_read(part->buffer, dapt_model_byte(e->model, part->begin - skip),
                                  bytes, size);
    if (!status) status = dapt_floats_unpack(bytes, count, part->dtype, blocks);
    if (!status) memcpy(values, blocks + skip, part->count * sizeof *values);
    free(bytes);
    free(blocks);
    return status;
}

// Of whole blocks: such are the pieces in which weights are loaded (dapt_slots_lay_out).
static enum dapt_status write_base(const struct dapt_engine *e, const struct part *part,
                                   const float *values) {
    uint64_t size = dapt_dtype_bytes(part->dtype, part->count);
    if ((part->begin - e->model->trained_count) % DAPT_BLOCK || part->count % DAPT_BLOCK)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: a part of a block of the base");
    void *bytes = dapt_alloc(size, 1);
    if (!bytes) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_floats_pack(values, part->count, part->dtype, bytes);
    if (!status) status = put_bytes(e, part, bytes, size);
    free(bytes);
    return status;
}

static enum dapt_status read_ranges(struct dapt_engine *e, enum dapt_engine_state state,
                                    uint64_t begin, uint64_t count, float *values) {
    struct dapt_moment_range ranges[DAPT_GROUPS];
    uint64_t bytes, end = begin + count;
    if (begin > e->model->trained_count || count > e->model->trained_count - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: state range outside");
    size_t range_count = dapt_moment_ranges(e->model, e->options.moments, 0,
                                            e->model->trained_count, ranges, &bytes);
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < range_count && !status; i++) {
        uint64_t from = ranges[i].begin, to = ranges[i].end;
        uint64_t first = begin > from ? begin : from, last = end < to ? end : to;
        if (first >= last) continue;
        float *at = values + (first - begin);
        status = ranges[i].packed
                     ? read_packed(e, state, &ranges[i], first - from, last - first, at)
                     : dapt_engine_read_moments(e, state,
                                                ranges[i].offset + (first - from) * sizeof *at,
                                                (last - first) * sizeof *at, at);
    }
    return status;
}

static bool is_moment(enum dapt_engine_state state) {
    return state == DAPT_STATE_MOMENT1 || state == DAPT_STATE_MOMENT2;
}

enum dapt_status dapt_engine_read(struct dapt_engine *engine, enum dapt_engine_state state,
                                  uint64_t begin, uint64_t count, float *values) {
    enum dapt_status status = DAPT_OK;
    if (is_moment(state)) return read_ranges(engine, state, begin, count, values);
    for (struct part part = {0}; count && !status; begin += part.count, count -= part.count) {
        status = first_part(engine, state, begin, count, &part);
        if (!status && part.dtype != DAPT_F32)
            status = read_base(engine, &part, values);
        else if (!status)
            status = dapt_buffer_read(part.buffer, dapt_model_byte(engine->model, begin), values,
                                      part.count * sizeof *values);
        values += part.count;
    }
    return status;
}

// Of moments in float32, whose layout is that of the parameters.
static enum dapt_status write_floats(struct dapt_engine *e, enum dapt_engine_state state,
                                     uint64_t begin, uint64_t count, const float *values) {
    if (e->options.moments == DAPT_MOMENTS_8BIT)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: moments of 8 bits are written as bytes");
    if (begin > e->model->trained_count || count > e->model->trained_count - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: state range outside");
    return dapt_engine_write_moments(e, state, begin * sizeof *values, count * sizeof *values,
                                     values);
}

enum dapt_status dapt_engine_write(struct dapt_engine *engine, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, const float *values) {
    enum dapt_status status = DAPT_OK;
    if (is_moment(state)) return write_floats(engine, state, begin, count, values);
    for (struct part part = {0}; count && !status; begin += part.count, count -= part.count) {
        status = first_part(engine, state, begin, count, &part);
        if (!status && part.dtype != DAPT_F32)
            status = write_base(engine, &part, values);
        else if (!status)
            status = put_bytes(engine, &part, values, part.count * sizeof *values);
        values += part.count;
    }
    return status;
}

uint64_t dapt_engine_moment_bytes(const struct dapt_engine *engine) {
    return dapt_moment_byte(engine->model, engine->options.moments, engine->model->trained_count);
}

enum dapt_moments dapt_engine_moments(const struct dapt_engine *engine) {
    return engine->options.moments;
}

static enum dapt_buffer_role moment_role(enum dapt_engine_state state) {
    return state == DAPT_STATE_MOMENT1 ? DAPT_BUFFER_MOMENT1 : DAPT_BUFFER_MOMENT2;
}

static enum dapt_status find_moments(const struct dapt_engine *e, enum dapt_engine_state state,
                                     struct dapt_buffer_handle **buffer) {
    *buffer = dapt_programs_buffer(e->programs, moment_role(state));
    return *buffer ? DAPT_OK
                   : dapt_fail(DAPT_ERROR_INTERNAL, "engine: this state is only kept for training");
}

enum dapt_status dapt_engine_read_moments(struct dapt_engine *engine, enum dapt_engine_state state,
                                          uint64_t offset, uint64_t size, void *bytes) {
    struct dapt_buffer_handle *buffer;
    if (engine->shard)
        return dapt_shard_read_moments(engine->shard, moment_role(state), offset, size, bytes);
    enum dapt_status status = find_moments(engine, state, &buffer);
    return status ? status : dapt_buffer_read(buffer, offset, bytes, size);
}

enum dapt_status dapt_engine_write_moments(struct dapt_engine *engine, enum dapt_engine_state state,
                                           uint64_t offset, uint64_t size, const void *bytes) {
    struct dapt_buffer_handle *buffer;
    if (engine->shard)
        return dapt_shard_write_moments(engine->shard, moment_role(state), offset, size, bytes);
    enum dapt_status status = find_moments(engine, state, &buffer);
    return status ? status : dapt_buffer_write(buffer, offset, bytes, size);
}

// ------------------------------------------------------------------------------------------- ranks

struct dapt_ranks *dapt_engine_ranks(const struct dapt_engine *engine) {
    return engine->options.ranks;
}

void dapt_engine_own(const struct dapt_engine *engine, uint64_t *begin, uint64_t *end) {
    dapt_moment_own(engine->model, &engine->options, begin, end);
}

const double *dapt_engine_busy(const struct dapt_engine *engine) {
    return engine->shard ? dapt_shard_busy(engine->shard) : NULL;
}

void dapt_engine_lead(struct dapt_engine *engine) {
    if (engine->shard) dapt_shard_lead(engine->shard);
}

enum dapt_status dapt_engine_lead_end(struct dapt_engine *engine, enum dapt_status outcome) {
    enum dapt_status status = engine->shard ? dapt_shard_end(engine->shard, outcome) : DAPT_OK;
    return status ? status : outcome;
}

bool dapt_engine_apart(const struct dapt_engine *engine) {
    return dapt_shard_apart(engine->shard);
}

enum dapt_status dapt_engine_follow(struct dapt_engine *engine, enum dapt_status *outcome) {
    *outcome = DAPT_OK;
    return engine->shard ? dapt_shard_follow(engine->shard, outcome) : DAPT_OK;
}

// Frozen parameters are what will be written of them from the start.
static enum dapt_status put_frozen(struct dapt_engine *e, uint64_t offset, const float *values,
                                   uint64_t count) {
    float *rounded = dapt_alloc_aligned(count, sizeof *rounded);
    if (!rounded) return DAPT_ERROR_MEMORY;
    memcpy(rounded, values, count * sizeof *rounded);
    enum dapt_status status = dapt_model_round(e->model, offset, count, rounded);
    if (!status) status = dapt_engine_write(e, DAPT_STATE_PARAM, offset, count, rounded);
    free(rounded);
    return status;
}

static enum dapt_status put(void *context, uint64_t offset, const float *values, uint64_t count) {
    struct dapt_engine *e = context;
    return offset >= e->model->trained_count && dapt_model_rounds(e->model)
               ? put_frozen(e, offset, values, count)
               : dapt_engine_write(e, DAPT_STATE_PARAM, offset, count, values);
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

// Moves all trained parameters through the host in pieces: `round`: they are kept exactly in the place
// of the gradients and rounded in their own; otherwise they are taken from there.
static enum dapt_status move_parameters(struct dapt_engine *e, bool round) {
    uint64_t total = e->model->trained_count;
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

// A number for each of the next `count` rows: by its place in the batch of the whole step, not in the
// micro-batch.
static int32_t *draw_keys(struct dapt_engine *e, uint64_t count) {
    int32_t *keys = dapt_alloc(count, sizeof *keys);
    for (uint64_t i = 0; keys && i < count; i++)
        keys[i] = (int32_t)dapt_random_bits(e->step.seed, STREAM_DROPOUT,
                                            e->step.draw << 32 | (e->rows + i));
    e->rows += count;
    return keys;
}

static enum dapt_status run_batch(struct dapt_engine *e, enum dapt_program_kind kind,
                                  const struct dapt_batch *b) {
    enum dapt_status status = check_batch(e, b);
    if (!status) status = dapt_programs_need(e->programs, kind);
    if (status) return status;
    const struct dapt_model_io *io = dapt_programs_io(e->programs, kind);
    uint64_t n = (uint64_t)b->sequences * b->length;
    bool drops = io->keys != DAPT_NONE;
    int32_t *keys = drops ? draw_keys(e, n) : NULL;
    if (drops && !keys) return DAPT_ERROR_MEMORY;
    const struct dapt_program_input inputs[] = {
        {io->ids, b->ids, n},     {io->targets, b->targets, n}, {io->positions, b->positions, n},
        {io->first, b->first, n}, {io->last, b->last, n},       {io->keys, keys, n}};
    status = dapt_programs_write(e->programs, kind, inputs, drops ? 6 : 5);
    free(keys);
    return status ? status : dapt_programs_run(e->programs, kind);
}

// The step's scalars: micro-batches read the seed, the update of that number all others.
static enum dapt_status write_step(struct dapt_engine *e, uint64_t number) {
    const struct dapt_engine_step *step = &e->step;
    float slots[DAPT_STEP_COUNT] = {0};
    slots[DAPT_STEP_LEARNING_RATE] = (float)step->learning_rate;
    slots[DAPT_STEP_WEIGHT_DECAY] = (float)step->weight_decay;
    slots[DAPT_STEP_CORRECTION1] = (float)(1 - pow(e->options.beta1, (double)number));
    slots[DAPT_STEP_CORRECTION2] = (float)(1 - pow(e->options.beta2, (double)number));
    slots[DAPT_STEP_CLIP] = (float)step->clip;
    slots[DAPT_STEP_SEED] = step->scored ? (float)(step->scale / (double)step->scored) : 0;
    slots[DAPT_STEP_UNSCALE] = (float)(1 / step->scale);
    return dapt_buffer_write(dapt_programs_buffer(e->programs, DAPT_BUFFER_STEP), 0, slots,
                             sizeof slots);
}

enum dapt_status dapt_engine_begin(struct dapt_engine *engine,
                                   const struct dapt_engine_step *step) {
    if (!engine->options.train)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: not made for training");
    engine->step = *step;
    if (step->scale == 0) engine->step.scale = 1;
    engine->first = true;
    engine->rows = step->rows;
    return write_step(engine, 0);
}

enum dapt_status dapt_engine_micro(struct dapt_engine *engine, const struct dapt_batch *batch) {
    enum dapt_status status = run_batch(
        engine, engine->first ? DAPT_PROGRAM_TRAIN_FIRST : DAPT_PROGRAM_TRAIN_NEXT, batch);
    engine->first = false;
    return status;
}

enum dapt_status dapt_engine_update(struct dapt_engine *engine, uint64_t number) {
    if (engine->first)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: a step without a micro-batch");
    engine->updated = engine->step;
    enum dapt_status status = number ? write_step(engine, number) : DAPT_OK;
    if (!status && engine->shard)
        return dapt_shard_update(engine->shard, number > 0, &engine->shared);
    if (!status) status = dapt_programs_run(engine->programs, DAPT_PROGRAM_NORM);
    if (!status && number) status = dapt_programs_run(engine->programs, DAPT_PROGRAM_UPDATE);
    return status;
}

// Of norm and loss as they are scaled.
static struct dapt_engine_result result_of(const struct dapt_engine *e, double norm2, double loss,
                                           double decides) {
    return (struct dapt_engine_result){
        .loss = e->updated.scored ? loss / (double)e->updated.scored : 0,
        .norm = sqrt(norm2) / e->updated.scale,
        .finite = isfinite(decides)};
}

enum dapt_status dapt_engine_result(struct dapt_engine *engine, struct dapt_engine_result *result) {
    const struct dapt_shard_result *s = &engine->shared;
    if (engine->shard) {
        *result = result_of(engine, (double)(float)s->norm2, s->loss, (double)s->decides);
        result->cancelled = s->cancelled;
        return DAPT_OK;
    }
    float scalars[DAPT_RESULT_COUNT];
    enum dapt_status status = dapt_programs_scalars(engine->programs, scalars);
    if (status) return status;
    *result = result_of(engine, (double)scalars[DAPT_RESULT_NORM2],
                        (double)scalars[DAPT_RESULT_LOSS], (double)scalars[DAPT_RESULT_DECIDES]);
    result->cancelled = dapt_cancelled();
    return DAPT_OK;
}

enum dapt_status dapt_engine_finish(struct dapt_engine *engine, uint64_t number,
                                    struct dapt_engine_result *result) {
    enum dapt_status status = dapt_engine_update(engine, number);
    if (!status) status = dapt_engine_result(engine, result);
    return status ? status : dapt_device_wait(engine->device, 0);
}

// ------------------------------------------------------------------------------------ forward only

// Runs a batch and reads `each` results of every place of it.
static enum dapt_status forward(struct dapt_engine *engine, enum dapt_program_kind kind,
                                const struct dapt_batch *batch, uint64_t each, float *results) {
    uint64_t count = (uint64_t)batch->sequences * batch->length * each;
    enum dapt_status status = run_batch(engine, kind, batch);
    return status
               ? status
               : dapt_programs_result(engine->programs, kind, 0, results, count * sizeof *results);
}

enum dapt_status dapt_engine_losses(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *losses) {
    return forward(engine, DAPT_PROGRAM_LOSS, batch, 1, losses);
}

enum dapt_status dapt_engine_logits(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *logits) {
    return forward(engine, DAPT_PROGRAM_LOGITS, batch, engine->model->vocab, logits);
}

enum dapt_status dapt_engine_hidden(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *hidden) {
    return forward(engine, DAPT_PROGRAM_HIDDEN, batch, engine->model->hidden, hidden);
}

enum dapt_status dapt_engine_reshape(struct dapt_engine *engine, uint32_t sequences,
                                     uint32_t length) {
    if (engine->options.train)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: another shape of batches while training");
    engine->options.sequences = sequences;
    engine->options.length = length;
    dapt_programs_reshape(engine->programs);
    return DAPT_OK;
}

// -------------------------------------------------------------------------------------- generation

enum dapt_status dapt_engine_decode_start(struct dapt_engine *engine, uint32_t capacity) {
    enum dapt_status status = dapt_decode_check(engine->model, capacity);
    if (status || capacity == engine->capacity) return status;
    dapt_programs_set_capacity(engine->programs, capacity);
    engine->capacity = capacity;
    return DAPT_OK;
}

enum dapt_status dapt_engine_decode(struct dapt_engine *engine, const uint32_t *ids, uint32_t count,
                                    uint32_t position, float *logits) {
    if (!count || position > engine->capacity || count > engine->capacity - position)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "generation: places %u to %u of a text of at most %u tokens", position,
                         position + count, engine->capacity);
    return dapt_decode(engine->programs, engine->model, engine->capacity, ids, count, position,
                       logits);
}

// ----------------------------------------------------------------------------------------- reports

uint64_t dapt_engine_memory(const struct dapt_engine *engine,
                            uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]) {
    uint64_t total = 0;
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++) {
        bytes[r] = dapt_buffer_size(
            dapt_programs_buffer(engine->programs, (enum dapt_buffer_role)r));
        total += bytes[r];
    }
    return total;
}

enum dapt_status dapt_engine_profile(struct dapt_engine *engine, dapt_engine_op each, void *user) {
    return dapt_programs_profile(engine->programs, each, user);
}
