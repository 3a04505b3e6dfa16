#include "corpus/mix.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "corpus/internal.h"

__extension__ typedef unsigned __int128 wide;

static const uint64_t whole = UINT64_C(1) << 32;  // a share of 1

// Streams of random numbers. Without weights a pass over the domain has its own number.
static const uint64_t weighted_stream = UINT64_C(1) << 63, replay_stream = UINT64_C(1) << 62;

struct dapt_mix {
    struct dapt_mix_options options;
    struct dapt_mix_position at;
    uint64_t rate;  // of replay in this step, in units of 2^-32
};

// How many of the first `index` places of a stream a source with the share rate / total has had.
static uint64_t taken(uint64_t index, uint64_t rate, uint64_t total) {
    return total ? (uint64_t)((wide)index * rate / total) : 0;
}

// ----------------------------------------------------------------------- the entries of one corpus

// Of a corpus' endless order: which group place `index` belongs to, and its place in the group's own
// endless order. Each group strides over what those before it left.
static const struct dapt_group *find_group(const struct dapt_plan *plan, uint64_t *index) {
    uint64_t total = plan->drawn;
    const struct dapt_group *group = plan->groups, *last = group + plan->group_count - 1;
    for (; group < last; total -= group++->drawn) {
        uint64_t before = taken(*index, group->drawn, total);
        if (taken(*index + 1, group->drawn, total) > before) {
            *index = before;
            break;
        }
        *index -= before;
    }
    return group;
}

static uint64_t find_sequence(const struct dapt_plan *plan, uint64_t seed, uint64_t stream,
                              uint64_t index) {
    const struct dapt_group *group = find_group(plan, &index);
    if (plan->weighted) stream |= weighted_stream | (uint64_t)(group - plan->groups) << 40;
    uint64_t pass = index / group->count & ((UINT64_C(1) << 40) - 1);
    return group->first + dapt_permute(seed, stream | pass, group->count, index % group->count);
}

// ------------------------------------------------------------------------------------- domain, replay

static enum dapt_status read_share(struct dapt_mix *mix, uint64_t step) {
    double share = 0;
    enum dapt_status status = DAPT_OK;
    if (mix->options.share) status = mix->options.share(mix->options.context, step, &share);
    if (status) return status;
    if (!(share >= 0 && share <= 1))
        return dapt_fail(DAPT_ERROR_INVALID,
                         "the share of replay is %g at step %" PRIu64 ": 0 to 1 was expected",
                         share, step);
    if (share > 0 && !mix->options.replay)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "the share of replay is %g at step %" PRIu64
                         ", but there is no text for it; set data.replay.from",
                         share, step);
    mix->rate = (uint64_t)llround(share * (double)whole);
    return DAPT_OK;
}

enum dapt_status dapt_mix_create(const struct dapt_mix_options *options, struct dapt_mix **out) {
    struct dapt_mix *mix = *out = dapt_alloc(1, sizeof *mix);
    if (!mix) return DAPT_ERROR_MEMORY;
    mix->options = *options;
    enum dapt_status status = read_share(mix, 0);
    if (status) dapt_mix_destroy(out);
    return status;
}

void dapt_mix_destroy(struct dapt_mix **mix) {
    free(*mix);
    *mix = NULL;
}

// Places of replay among the first `count` of this step.
static uint64_t replay_before(const struct dapt_mix *mix, uint64_t count) {
    return (mix->at.fraction + count * mix->rate) / whole;
}

static enum dapt_status advance(struct dapt_mix *mix) {
    uint64_t batch = mix->options.batch;
    uint32_t fraction = (uint32_t)((mix->at.fraction + batch * mix->rate) % whole);
    mix->at = (struct dapt_mix_position){mix->at.step + 1,
                                         mix->at.replay + replay_before(mix, batch), fraction};
    return read_share(mix, mix->at.step);
}

enum dapt_status dapt_mix_seek(struct dapt_mix *mix, uint64_t step) {
    enum dapt_status status = DAPT_OK;
    if (step < mix->at.step) {
        mix->at = (struct dapt_mix_position){0};
        status = read_share(mix, 0);
    }
    while (!status && mix->at.step < step) status = advance(mix);
    return status;
}

enum dapt_status dapt_mix_restore(struct dapt_mix *mix, const struct dapt_mix_position *position) {
    if (position->replay > (wide)position->step * mix->options.batch)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%" PRIu64 " sequences of replay in %" PRIu64 " steps: at most %" PRIu32
                         " a step were expected",
                         position->replay, position->step, mix->options.batch);
    mix->at = *position;
    return read_share(mix, position->step);
}

void dapt_mix_position(const struct dapt_mix *mix, struct dapt_mix_position *position) {
    *position = mix->at;
}

void dapt_mix_batch(const struct dapt_mix *mix, uint32_t first, struct dapt_batch *batch) {
    const struct dapt_mix_options *o = &mix->options;
    uint64_t run = mix->at.step * o->batch, domain = run - mix->at.replay;
    batch->scored = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        uint64_t place = first + b, before = replay_before(mix, place);
        bool replay = replay_before(mix, place + 1) > before;
        const struct dapt_corpus *corpus = replay ? o->replay : o->domain;
        uint64_t index = replay ? mix->at.replay + before : domain + place - before;
        assert(batch->length == corpus->plan.sequence);
        batch->replay[b] = replay;
        dapt_batch_fill(corpus, o->objective,
                        find_sequence(&corpus->plan, o->seed, replay ? replay_stream : 0, index),
                        run + place, b, batch);
    }
}

// -------------------------------------------------------------------------------- what was taken

static uint32_t group_count(const struct dapt_corpus *corpus) {
    return corpus ? (uint32_t)corpus->plan.group_count : 0;
}

uint32_t dapt_mix_source_count(const struct dapt_mix *mix) {
    return group_count(mix->options.domain) + group_count(mix->options.replay);
}

struct dapt_mix_source dapt_mix_source(const struct dapt_mix *mix, uint32_t index) {
    uint32_t domains = group_count(mix->options.domain);
    bool replay = index >= domains;
    const struct dapt_plan *plan = replay ? &mix->options.replay->plan : &mix->options.domain->plan;
    uint64_t left = replay ? mix->at.replay : mix->at.step * mix->options.batch - mix->at.replay;
    uint64_t total = plan->drawn;
    uint32_t entry = replay ? index - domains : index;
    for (uint32_t g = 0; g < entry; total -= plan->groups[g++].drawn)
        left -= taken(left, plan->groups[g].drawn, total);
    return (struct dapt_mix_source){.replay = replay,
                                    .entry = plan->weighted ? entry : DAPT_MIX_ALL,
                                    .sequences = plan->groups[entry].count,
                                    .taken = taken(left, plan->groups[entry].drawn, total)};
}
