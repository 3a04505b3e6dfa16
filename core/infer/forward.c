#include "infer/forward.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/threads.h"

#define BATCH_TOKENS 2048u         // of a batch
#define BATCH_NUMBERS (16u << 20)  // numbers that a batch may give; more where one sequence does
#define USUAL_LENGTH 2048u         // of texts, where the model says nothing
#define SHORTEST 32u               // places of the shortest batch

struct run {
    struct dapt_engine *engine;
    const struct dapt_model *model;
    enum dapt_forward_kind kind;
    const struct dapt_sequence *sequences;
    size_t *order, count;  // by place in a batch, longest first
    const char *what;
    dapt_forward_each each;
    void *user;
    struct dapt_batch *batch;
    float *rows;
    size_t done;
    double told;
};

// Numbers of a place.
static uint32_t width(const struct dapt_model *model, enum dapt_forward_kind kind) {
    const uint32_t widths[DAPT_FORWARD_COUNT] = {[DAPT_FORWARD_LOSSES] = 1,
                                                 [DAPT_FORWARD_LOGITS] = model->vocab,
                                                 [DAPT_FORWARD_HIDDEN] = model->hidden};
    return widths[kind];
}

// The length of the batch for so many tokens: 32, 48, 64, 96, 128 ... and the model's positions.
static uint32_t batch_length(const struct dapt_model *model, uint32_t count) {
    uint32_t length = SHORTEST;
    while (length < count) length += length & (length - 1) ? length / 3 : length / 2;
    uint32_t most = model->max_positions;
    return most && length > most && count <= most ? most : length;
}

static uint32_t batch_sequences(const struct run *r, uint32_t length) {
    uint64_t rows = (uint64_t)length * width(r->model, r->kind);
    uint64_t by_rows = BATCH_NUMBERS / rows, by_tokens = BATCH_TOKENS / length;
    uint64_t sequences = by_rows < by_tokens ? by_rows : by_tokens;
    return sequences ? (uint32_t)sequences : 1;
}

// By pointers into the list, so that those of one length keep its order.
static int longest_first(const void *a, const void *b) {
    const struct dapt_sequence *x = *(const struct dapt_sequence *const *)a,
                               *y = *(const struct dapt_sequence *const *)b;
    int shorter = (x->count < y->count) - (x->count > y->count);
    return shorter ? shorter : (x > y) - (x < y);
}

static enum dapt_status sort(struct run *r) {
    const struct dapt_sequence **pointers = dapt_alloc(r->count, sizeof *pointers);
    r->order = dapt_alloc(r->count, sizeof *r->order);
    bool room = pointers && r->order;
    for (size_t i = 0; room && i < r->count; i++) pointers[i] = &r->sequences[i];
    if (room) qsort(pointers, r->count, sizeof *pointers, longest_first);
    for (size_t i = 0; room && i < r->count; i++)
        r->order[i] = (size_t)(pointers[i] - r->sequences);
    free(pointers);
    return room ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// Each place sees those before it in its sequence, and itself; in an encoder all of the sequence; places
// without a token see only themselves.
static void fill(struct dapt_batch *batch, uint32_t row, const struct dapt_sequence *s,
                 bool bidirectional) {
    uint32_t count = s ? s->count : 0;
    for (uint32_t i = 0; i < batch->length; i++) {
        size_t place = (size_t)row * batch->length + i;
        bool token = i < count, scored = token && i >= count - s->scored;
        batch->ids[place] = token ? (int32_t)s->ids[i] : 0;
        batch->targets[place] = scored ? (int32_t)s->ids[i + 1] : -1;
        batch->positions[place] = token ? (int32_t)i : 0;
        batch->first[place] = token ? 0 : (int32_t)i;
        batch->last[place] = (int32_t)(token && bidirectional ? count - 1 : i);
        batch->scored += scored;
    }
}

static void tell_progress(struct run *r) {
    char line[128];
    if (dapt_seconds() - r->told < 0.5) return;
    r->told = dapt_seconds();
    snprintf(line, sizeof line, "%s  %zu of %zu", r->what, r->done, r->count);
    dapt_log_status(line);
}

// The next sequences, `count` of them, as one batch.
static enum dapt_status run_batch(struct run *r, uint32_t count) {
    static enum dapt_status (*const run[DAPT_FORWARD_COUNT])(struct dapt_engine *,
                                                             const struct dapt_batch *, float *) = {
        [DAPT_FORWARD_LOSSES] = dapt_engine_losses,
        [DAPT_FORWARD_LOGITS] = dapt_engine_logits,
        [DAPT_FORWARD_HIDDEN] = dapt_engine_hidden};
    const size_t *order = r->order + r->done;
    r->batch->scored = 0;
    for (uint32_t b = 0; b < r->batch->sequences; b++)
        fill(r->batch, b, b < count ? &r->sequences[order[b]] : NULL, r->model->masked);
    tell_progress(r);
    if (dapt_cancelled()) return dapt_fail(DAPT_ERROR_CANCELLED, "%s was stopped", r->what);
    enum dapt_status status = run[r->kind](r->engine, r->batch, r->rows);
    size_t stride = (size_t)r->batch->length * width(r->model, r->kind);
    for (uint32_t b = 0; b < count && !status; b++)
        status = r->each(r->user, order[b], r->rows + b * stride);
    r->done += count;
    return status;
}

// All sequences from the next one on that go into batches of one shape.
static enum dapt_status run_shape(struct run *r) {
    uint32_t length = batch_length(r->model, r->sequences[r->order[r->done]].count);
    uint32_t sequences = batch_sequences(r, length);
    size_t end = r->done;
    while (end < r->count && batch_length(r->model, r->sequences[r->order[end]].count) == length)
        end++;
    enum dapt_status status = dapt_engine_reshape(r->engine, sequences, length);
    if (!status) status = dapt_batch_create(sequences, length, &r->batch);
    r->rows = dapt_alloc_aligned((size_t)sequences * length,
                                 width(r->model, r->kind) * sizeof *r->rows);
    if (!status && !r->rows) status = DAPT_ERROR_MEMORY;
    while (!status && r->done < end) {
        size_t left = end - r->done;
        status = run_batch(r, left < sequences ? (uint32_t)left : sequences);
    }
    dapt_batch_destroy(&r->batch);
    free(r->rows);
    r->rows = NULL;
    return status;
}

enum dapt_status dapt_forward_length(const struct dapt_model *model, uint32_t wanted,
                                     uint32_t *length) {
    uint32_t most = model->max_positions;
    *length = wanted ? wanted : most ? most : USUAL_LENGTH;
    if (most && wanted > most)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "texts of %u tokens: expected 1 to %u, the positions of the model", wanted,
                         most);
    return DAPT_OK;
}

enum dapt_status dapt_forward(struct dapt_engine *engine, const struct dapt_model *model,
                              enum dapt_forward_kind kind, const struct dapt_sequence *sequences,
                              size_t count, const char *what, dapt_forward_each each, void *user) {
    struct run r = {.engine = engine,
                    .model = model,
                    .kind = kind,
                    .sequences = sequences,
                    .count = count,
                    .what = what,
                    .each = each,
                    .user = user};
    enum dapt_status status = sort(&r);
    while (!status && r.done < count) status = run_shape(&r);
    dapt_log_status(NULL);
    free(r.order);
    return status;
}
