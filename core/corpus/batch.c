// Batches: sequences of the plan, as the arrays that programs read.
#include <assert.h>
#include <stdlib.h>

#include "corpus/internal.h"
#include "corpus/objective.h"

enum dapt_status dapt_batch_create(uint32_t sequences, uint32_t length, struct dapt_batch **out) {
    struct dapt_batch *batch = *out = dapt_alloc(1, sizeof *batch);
    if (!batch) return DAPT_ERROR_MEMORY;
    size_t places = (size_t)sequences * length;  // two uint32: no overflow
    *batch = (struct dapt_batch){.sequences = sequences, .length = length};
    int32_t **const arrays[] = {&batch->ids, &batch->targets, &batch->positions, &batch->first,
                                &batch->last};
    bool all = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        all = (*arrays[i] = dapt_alloc_aligned(places, sizeof **arrays[i])) && all;
    batch->documents = dapt_alloc(places, sizeof *batch->documents);
    batch->replay = dapt_alloc(sequences, sizeof *batch->replay);
    if (all && batch->documents && batch->replay) return DAPT_OK;
    dapt_batch_destroy(out);
    return DAPT_ERROR_MEMORY;
}

void dapt_batch_destroy(struct dapt_batch **batch) {
    if (!*batch) return;
    free((*batch)->ids);
    free((*batch)->targets);
    free((*batch)->positions);
    free((*batch)->first);
    free((*batch)->last);
    free((*batch)->documents);
    free((*batch)->replay);
    free(*batch);
    *batch = NULL;
}

// The document that holds a token.
static uint64_t document_of(const struct dapt_shard *shard, uint64_t token) {
    uint64_t low = 0, high = shard->counts.documents - 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (shard->documents[middle].end > token)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static const uint64_t masks_stream = UINT64_C(3) << 60;  // no stream that orders sequences

struct row {
    const struct dapt_shard *shard;
    const struct dapt_objective *objective;
    size_t begin;  // first place in the batch
    uint64_t run;
};

// Puts a part at place `at` of the row.
static void fill_part(const struct row *row, const struct dapt_part *part, uint32_t at,
                      struct dapt_batch *batch) {
    const struct dapt_shard *shard = row->shard;
    uint64_t document = document_of(shard, part->begin), behind = part->begin + part->length;
    for (uint32_t i = 0; i < part->length; i++) {
        size_t place = row->begin + at + i;
        while (shard->documents[document].end <= part->begin + i) document++;
        batch->ids[place] = (int32_t)dapt_shard_token(shard, part->begin + i);
        batch->positions[place] = (int32_t)i;
        batch->documents[place] = document;
    }
    bool evaluation = row->run == DAPT_NO_RUN;
    dapt_objective_apply(
        row->objective,
        &(struct dapt_span){.begin = row->begin + at,
                            .row_at = at,
                            .length = part->length,
                            .next = part->continues ? (int32_t)dapt_shard_token(shard, behind) : -1,
                            .stream = row->run | masks_stream,
                            .index = evaluation ? part->begin : at},
        batch);
}

static void fill_nothing(size_t row, uint32_t at, struct dapt_batch *batch) {
    for (; at < batch->length; at++) {
        batch->ids[row + at] = batch->positions[row + at] = 0;
        batch->targets[row + at] = -1;
        batch->first[row + at] = batch->last[row + at] = (int32_t)at;
        batch->documents[row + at] = DAPT_NO_DOCUMENT;
    }
}

void dapt_batch_fill(const struct dapt_corpus *corpus, const struct dapt_objective *objective,
                     uint64_t sequence, uint64_t run, uint32_t b, struct dapt_batch *batch) {
    const struct dapt_plan *plan = &corpus->plan;
    const struct row row = {&corpus->shard, objective, (size_t)b * batch->length, run};
    uint32_t at = 0;
    if (plan->packing == DAPT_PACK_DOCUMENTS) {
        for (uint64_t p = plan->first_part[sequence]; p < plan->first_part[sequence + 1]; p++) {
            fill_part(&row, &plan->parts[p], at, batch);
            at += plan->parts[p].length;
        }
    } else {
        size_t g = 0;
        while (sequence - plan->groups[g].first >= plan->groups[g].count) g++;
        const struct dapt_part window = {
            .begin = plan->window[g] + (sequence - plan->groups[g].first) * plan->sequence,
            .length = plan->sequence};
        fill_part(&row, &window, 0, batch);
        at = plan->sequence;
    }
    fill_nothing(row.begin, at, batch);
}

void dapt_corpus_eval_batch(const struct dapt_corpus *corpus, uint64_t index,
                            struct dapt_batch *batch) {
    assert(batch->length == corpus->plan.sequence);
    batch->scored = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        batch->replay[b] = false;
        if (index + b < corpus->plan.drawn)
            dapt_batch_fill(corpus, corpus->objective, dapt_plan_eval(&corpus->plan, index + b),
                            DAPT_NO_RUN, b, batch);
        else
            fill_nothing((size_t)b * batch->length, 0, batch);
    }
}
