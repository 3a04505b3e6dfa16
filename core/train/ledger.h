// The ledger of a run: what each set cost the base model and what it costs now, document by document,
// and the change with its interval at every evaluation. Checkpoints record it; RUN/ledger.json shows
// it, written whole, with a checksum as run.json has it.
#ifndef DAPT_TRAIN_LEDGER_H
#define DAPT_TRAIN_LEDGER_H
#include <cjson/cJSON.h>

#include "dapt/dapt.h"
#include "infer/interval.h"

struct dapt_trainer;

// Of the i-th set.
struct dapt_ledger_entry {
    uint64_t step;
    double nats_per_token, bits_per_byte, change, low, high;  // not known: NaN
};
struct dapt_ledger_set {
    struct dapt_paired *units;  // [count], as infer/paired.h has them
    size_t count;
    struct dapt_ledger_entry *course;  // one an evaluation
    size_t entries, capacity;
};

// One for each evaluation set of the run, empty.
enum dapt_status dapt_ledger_create(struct dapt_trainer *trainer);
void dapt_ledger_free(struct dapt_trainer *trainer);
// Evaluates the i-th set by documents.
enum dapt_status dapt_ledger_score(struct dapt_trainer *trainer, size_t i,
                                   struct dapt_evaluation *result);
// All sets were scored at the trainer's step, `fresh` [eval_count] being the sums: adds to them what
// they were before and the intervals. At step 0 they are what was before.
enum dapt_status dapt_ledger_enter(struct dapt_trainer *trainer, struct dapt_evaluation *fresh);
enum dapt_status dapt_ledger_write(const struct dapt_trainer *trainer);
// What a checkpoint's record holds of the i-th set, in `item`: "course" and "documents_before", the
// nats of each unit at step 0. RUN/ledger.json is never read: it says what the record says, for people.
void dapt_ledger_record(const struct dapt_trainer *trainer, size_t i, cJSON *item);
// Reads it again. A record without them is older: the set has no intervals then.
enum dapt_status dapt_ledger_restore(struct dapt_trainer *trainer, size_t i, const cJSON *item);
// Whether documents of the i-th set are known from before.
bool dapt_ledger_known(const struct dapt_trainer *trainer, size_t i);
// What the i-th set has lost at `step`, in bits/byte; NaN where no evaluation of then is known.
double dapt_ledger_change(const struct dapt_trainer *trainer, size_t i, uint64_t step);
#endif
