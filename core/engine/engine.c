#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/decode.h"
#include "host/config.h"

#define PIECE ((uint64_t)1 << 20)  // elements moved at a time

struct dapt_engine {
    const struct dapt_model *model;
    struct dapt_device_handle *device;
    struct dapt_engine_options options;
    struct dapt_programs *programs;
    struct dapt_engine_step step;
    bool first;         // no micro-batch of this step has run
    uint32_t capacity;  // of the key/value cache
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
    if (status) dapt_engine_destroy(&e);
    *engine = e;
    return status;
}

void dapt_engine_destroy(struct dapt_engine **engine) {
    if (!engine || !*engine) return;
    dapt_programs_destroy(&(*engine)->programs);
    free(*engine);
    *engine = NULL;
}

// ------------------------------------------------------------------------------------------- state

// One run of elements in one buffer: of the parameters the trained ones lie in one, the frozen ones in
// another.
struct part {
    struct dapt_buffer_handle *buffer;
    uint64_t offset, count;  // elements
};

// The first part of [begin, begin + count).
static enum dapt_status first_part(const struct dapt_engine *e, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, struct part *part) {
    static const enum dapt_buffer_role roles[] = {[DAPT_STATE_PARAM] = DAPT_BUFFER_PARAM,
                                                  [DAPT_STATE_GRAD] = DAPT_BUFFER_GRAD,
                                                  [DAPT_STATE_MOMENT1] = DAPT_BUFFER_MOMENT1,
                                                  [DAPT_STATE_MOMENT2] = DAPT_BUFFER_MOMENT2};
    uint64_t trained = e->model->trained_count,
             end = state == DAPT_STATE_PARAM ? e->model->flat_count : trained;
    bool frozen = begin >= trained;
    if (begin > end || count > end - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL, "engine: state range outside");
    *part = (struct part){
        .buffer = dapt_programs_buffer(e->programs, frozen ? DAPT_BUFFER_FROZEN : roles[state]),
        .offset = frozen ? begin - trained : begin,
        .count = frozen || count < trained - begin ? count : trained - begin};
    return part->buffer
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_INTERNAL, "engine: this state is only kept for training");
}

enum dapt_status dapt_engine_read(struct dapt_engine *engine, enum dapt_engine_state state,
                                  uint64_t begin, uint64_t count, float *values) {
    enum dapt_status status = DAPT_OK;
    for (struct part part = {0}; count && !status; begin += part.count, count -= part.count) {
        status = first_part(engine, state, begin, count, &part);
        if (!status)
            status = dapt_buffer_read(part.buffer, part.offset * sizeof *values, values,
                                      part.count * sizeof *values);
        values += part.count;
    }
    return status;
}

enum dapt_status dapt_engine_write(struct dapt_engine *engine, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, const float *values) {
    enum dapt_status status = DAPT_OK;
    for (struct part part = {0}; count && !status; begin += part.count, count -= part.count) {
        status = first_part(engine, state, begin, count, &part);
        if (!status)
            status = dapt_buffer_write(part.buffer, part.offset * sizeof *values, values,
                                       part.count * sizeof *values);
        values += part.count;
    }
    return status;
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

static enum dapt_status run_batch(struct dapt_engine *e, enum dapt_program_kind kind,
                                  const struct dapt_batch *b) {
    enum dapt_status status = check_batch(e, b);
    if (!status) status = dapt_programs_need(e->programs, kind);
    if (status) return status;
    const struct dapt_model_io *io = dapt_programs_io(e->programs, kind);
    uint64_t n = (uint64_t)b->sequences * b->length;
    const struct dapt_program_input inputs[] = {{io->ids, b->ids, n},
                                                {io->targets, b->targets, n},
                                                {io->positions, b->positions, n},
                                                {io->first, b->first, n},
                                                {io->last, b->last, n}};
    status = dapt_programs_write(e->programs, kind, inputs, sizeof inputs / sizeof *inputs);
    return status ? status : dapt_programs_run(e->programs, kind);
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
    engine->step = *step;
    double scale = step->scale > 0 ? step->scale : 1;
    engine->step.scale = scale;
    slots[DAPT_STEP_SEED] = step->scored ? (float)(scale / (double)step->scored) : 0;
    slots[DAPT_STEP_UNSCALE] = (float)(1 / scale);
    engine->first = true;
    return dapt_buffer_write(dapt_programs_buffer(engine->programs, DAPT_BUFFER_STEP), 0, slots,
                             sizeof slots);
}

enum dapt_status dapt_engine_micro(struct dapt_engine *engine, const struct dapt_batch *batch) {
    enum dapt_status status = run_batch(
        engine, engine->first ? DAPT_PROGRAM_TRAIN_FIRST : DAPT_PROGRAM_TRAIN_NEXT, batch);
    engine->first = false;
    return status;
}

enum dapt_status dapt_engine_finish(struct dapt_engine *engine, bool update,
                                    struct dapt_engine_result *result) {
    struct dapt_programs *p = engine->programs;
    float loss = 0, norm2 = 0;
    enum dapt_status status = engine->first ? dapt_fail(DAPT_ERROR_INTERNAL,
                                                        "engine: a step without a micro-batch")
                                            : DAPT_OK;
    if (!status) status = dapt_programs_run(p, DAPT_PROGRAM_NORM);
    if (!status) status = dapt_device_wait(engine->device, 0);
    if (!status) {
        dapt_value sum = dapt_programs_io(p, DAPT_PROGRAM_TRAIN_FIRST)->loss_sum;
        uint64_t offset = dapt_programs_offset(p, DAPT_PROGRAM_TRAIN_FIRST, sum);
        status = dapt_programs_result(p, DAPT_PROGRAM_TRAIN_FIRST, offset, &loss, sizeof loss);
    }
    if (!status)
        status = dapt_programs_result(p, DAPT_PROGRAM_NORM, DAPT_NORM_OFFSET, &norm2, sizeof norm2);
    *result = (struct dapt_engine_result){
        .loss = engine->step.scored ? loss / (double)engine->step.scored : 0,
        .norm = sqrt(norm2) / engine->step.scale,
        .finite = isfinite(norm2) && isfinite(loss)};
    // The optimizer looks at the norm alone, and the gradient may be finite where the loss is not
    // (a logit of -infinity has none): that is decided here.
    if (!status && update && result->finite) {
        status = dapt_programs_run(p, DAPT_PROGRAM_UPDATE);
        if (!status) status = dapt_device_wait(engine->device, 0);
    }
    return status;
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
