// Batches: sequences of the plan, as the arrays that programs read.
#include <assert.h>
#include <stdlib.h>

#include "corpus/internal.h"

enum dapt_status dapt_batch_create(uint32_t sequences, uint32_t length, struct dapt_batch **out) {
    struct dapt_batch *batch = *out = dapt_alloc(1, sizeof *batch);
    if (!batch) return DAPT_ERROR_MEMORY;
    size_t places = (size_t)sequences * length;  // two uint32: no overflow
    *batch = (struct dapt_batch){.sequences = sequences, .length = length};
    int32_t **const arrays[] = {&batch->ids, &batch->targets, &batch->positions, &batch->first,
                                &batch->last};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (!(*arrays[i] = dapt_alloc_aligned(places, sizeof **arrays[i]))) {
            dapt_batch_destroy(out);
            return DAPT_ERROR_MEMORY;
        }
    return DAPT_OK;
}

void dapt_batch_destroy(struct dapt_batch **batch) {
    if (!*batch) return;
    free((*batch)->ids);
    free((*batch)->targets);
    free((*batch)->positions);
    free((*batch)->first);
    free((*batch)->last);
    free(*batch);
    *batch = NULL;
}

static int32_t token_at(const struct dapt_shard *shard, uint64_t index) {
    return shard->token_size == 2 ? ((const uint16_t *)shard->tokens)[index]
                                  : (int32_t)((const uint32_t *)shard->tokens)[index];
}

// Puts a part at place `at` of the row that begins at `row`.
static void fill_part(const struct dapt_shard *shard, const struct dapt_part *part, size_t row,
                      uint32_t at, struct dapt_batch *batch) {
    for (uint32_t i = 0; i < part->length; i++) {
        size_t place = row + at + i;
        batch->ids[place] = token_at(shard, part->begin + i);
        batch->positions[place] = (int32_t)i;
        batch->first[place] = (int32_t)at;
        batch->last[place] = (int32_t)(at + i);
        if (i) batch->targets[place - 1] = batch->ids[place];
    }
    batch->targets[row + at + part->length - 1] = part->continues
                                                      ? token_at(shard, part->begin + part->length)
                                                      : -1;
    batch->scored += part->length - !part->continues;
}

static void fill_nothing(size_t row, uint32_t at, struct dapt_batch *batch) {
    for (; at < batch->length; at++) {
        batch->ids[row + at] = batch->positions[row + at] = 0;
        batch->targets[row + at] = -1;
        batch->first[row + at] = batch->last[row + at] = (int32_t)at;
    }
}

static void fill_sequence(const struct dapt_corpus *corpus, uint64_t sequence, size_t row,
                          struct dapt_batch *batch) {
    const struct dapt_plan *plan = &corpus->plan;
    uint32_t at = 0;
    if (plan->packing == DAPT_PACK_DOCUMENTS) {
        for (uint64_t p = plan->first_part[sequence]; p < plan->first_part[sequence + 1]; p++) {
            fill_part(&corpus->shard, &plan->parts[p], row, at, batch);
            at += plan->parts[p].length;
        }
    } else {
        size_t g = 0;
        while (sequence - plan->groups[g].first >= plan->groups[g].count) g++;
        const struct dapt_part window = {
            .begin = plan->window[g] + (sequence - plan->groups[g].first) * plan->sequence,
            .length = plan->sequence};
        fill_part(&corpus->shard, &window, row, 0, batch);
        at = plan->sequence;
    }
    fill_nothing(row, at, batch);
}

void dapt_corpus_train_batch(const struct dapt_corpus *corpus, uint64_t seed, uint64_t index,
                             struct dapt_batch *batch) {
    assert(batch->length == corpus->plan.sequence);
    batch->scored = 0;
    for (uint32_t b = 0; b < batch->sequences; b++)
        fill_sequence(corpus, dapt_plan_train(&corpus->plan, seed, index + b),
                      (size_t)b * batch->length, batch);
}

void dapt_corpus_eval_batch(const struct dapt_corpus *corpus, uint64_t index,
                            struct dapt_batch *batch) {
    assert(batch->length == corpus->plan.sequence);
    batch->scored = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        size_t row = (size_t)b * batch->length;
        if (index + b < corpus->plan.drawn)
            fill_sequence(corpus, dapt_plan_eval(&corpus->plan, index + b), row, batch);
        else
            fill_nothing(row, 0, batch);
    }
}
