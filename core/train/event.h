// What happens in a run. An event is one struct: metrics.jsonl, the terminal and the callback of an
// embedding program print it.
#ifndef DAPT_TRAIN_EVENT_H
#define DAPT_TRAIN_EVENT_H
#include "train/setup.h"

enum dapt_event_kind {
    // A line of metrics.jsonl (an evaluation: one of each set), and told.
    DAPT_EVENT_STEP = DAPT_TRAIN_STEP,
    DAPT_EVENT_SKIP = DAPT_TRAIN_SKIP,
    DAPT_EVENT_EVALUATION = DAPT_TRAIN_EVALUATION,
    DAPT_EVENT_CHECKPOINT = DAPT_TRAIN_CHECKPOINT,
    DAPT_EVENT_TROUBLE = DAPT_TRAIN_TROUBLE,
    DAPT_EVENT_STOP = DAPT_TRAIN_STOP,
    DAPT_EVENT_END = DAPT_TRAIN_END,
    // A line only.
    DAPT_EVENT_START,
    DAPT_EVENT_RESUME,
    DAPT_EVENT_ROUNDING,
    DAPT_EVENT_FAILURE,
    DAPT_EVENT_REPLAY,  // a set is over its budget: the share of replay from the next step on
    DAPT_EVENT_COUNT
};

struct dapt_event_pass {
    char source[64];
    double passes;
};

// The table in event.c says which kinds have which fields; the others are not looked at.
struct dapt_event {
    struct dapt_train_event told;  // its kind, step and steps are set by who tells it
    double seconds;                // of the step, the checkpoint, the whole run
    // A step.
    double weight_decay, since_start;  // since_start 0: not the first step of this process
    double loss_scale;                 // also of one that was skipped for it; 0: none
    uint64_t scored;
    const double *busy;  // [ranks] seconds that each was at its own work; NULL: one process
    uint32_t ranks;      // also of the start
    // A checkpoint: whether it is the best so far.
    bool best;
    // An evaluation (set by who tells it: each of told.evaluations in turn) or what rounding costs.
    struct dapt_evaluation set;
    double bits_change, bits_float32, budget;  // budget: not finite: there is none
    const char *dtype;
    double share;  // of replay: set is the one over its budget
    // The end.
    uint64_t updates, skipped, tokens, best_step;  // best_step DAPT_NEVER: none
    const char *ended;                             // before the last step: why; NULL: it was not
    double train_seconds, tokens_per_second;
    const struct dapt_event_pass *passes;
    size_t pass_count;
    // The start: the setup for its corpora.
    const struct dapt_setup *setup;
    const char *version, *backend, *device, *precision, *family, *objective, *config, *data;
    uint64_t threads, parameters, trained_parameters, memory, tokens_per_step;
};
#endif
