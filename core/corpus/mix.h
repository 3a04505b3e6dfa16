// The mixer: which sequence of which text stands at each place of a run. There is no other: replay
// and the weights of entries are the same strides.
//
// A source that has the share r / t of a stream has had floor(k r / t) of its first k sequences, so
// any window holds its share to within one sequence, nothing is random but the order inside a
// source, and a place is found without going through those before.
#ifndef DAPT_CORPUS_MIX_H
#define DAPT_CORPUS_MIX_H
#include "corpus/corpus.h"

struct dapt_mix_options {
    const struct dapt_corpus *domain;        // they outlive the mix
    const struct dapt_corpus *replay;        // NULL: none
    const struct dapt_objective *objective;  // NULL: causal
    uint64_t seed;                           // of the order inside each source
    uint32_t batch;                          // sequences of an optimizer step
    // The share of replay in a step, 0 .. 1. Pure. NULL: 0.
    enum dapt_status (*share)(void *context, uint64_t step, double *share);
    void *context;
};

// Counters at the beginning of a step: what a checkpoint records, and all that a share that changes
// from step to step leaves behind.
struct dapt_mix_position {
    uint64_t step;
    uint64_t replay;    // sequences taken from replay in all steps before
    uint32_t fraction;  // of the next one, in units of 2^-32
};

struct dapt_mix;
enum dapt_status dapt_mix_create(const struct dapt_mix_options *options, struct dapt_mix **mix);
void dapt_mix_destroy(struct dapt_mix **mix);
// Goes to a step. Forward it asks for the share of each step passed, backward for those from 0 on;
// fails where a share is none. [one thread at a time]
enum dapt_status dapt_mix_seek(struct dapt_mix *mix, uint64_t step);
// Goes to where a checkpoint was. DAPT_ERROR_INVALID: no run can have been there.
enum dapt_status dapt_mix_restore(struct dapt_mix *mix, const struct dapt_mix_position *position);
void dapt_mix_position(const struct dapt_mix *mix, struct dapt_mix_position *position);

// Fills the batch with sequences first .. first + batch->sequences - 1 of the step that was sought.
// [any thread, but not while seeking]
void dapt_mix_batch(const struct dapt_mix *mix, uint32_t first, struct dapt_batch *batch);

// What has been taken from each source before the step that was sought.
struct dapt_mix_source {
    bool replay;         // of the replay corpus, else of the domain
    uint32_t entry;      // of its data list; DAPT_MIX_ALL: all entries, which have weight 1
    uint64_t sequences;  // that it has; taken / sequences: passes over it
    uint64_t taken;
};
#define DAPT_MIX_ALL UINT32_MAX
uint32_t dapt_mix_source_count(const struct dapt_mix *mix);
struct dapt_mix_source dapt_mix_source(const struct dapt_mix *mix, uint32_t index);
#endif
