// The training loop.
#ifndef DAPT_TRAIN_TRAINER_H
#define DAPT_TRAIN_TRAINER_H
#include "train/metrics.h"
#include "train/runfolder.h"
#include "train/setup.h"

#define DAPT_NEVER UINT64_MAX

// A run under way. Everything that a resume must find again goes through dapt_trainer_record and
// dapt_trainer_resume.
struct dapt_trainer {
    const struct dapt_train_options *options;
    struct dapt_reporter reporter;
    struct dapt_config *config;
    struct dapt_setup setup;
    struct dapt_run_folder run;
    struct dapt_metrics *metrics;
    cJSON *course, *tokenizer;     // see course.h
    const char *tokenizer_folder;  // whose files go into checkpoints; NULL: the model's own
    char course_hash[33], data_hash[33], model_hash[33];
    struct dapt_batch **batches;          // [setup.micros] of one step
    struct dapt_evaluation *evaluations;  // [config->data.eval_count], the last ones

    uint64_t step;     // steps done, skipped ones included: the schedule and the data follow it
    uint64_t updates;  // of the weights
    uint64_t skipped, bad_in_row;
    uint64_t tokens;                   // scored so far
    uint64_t evaluated, checkpointed;  // steps of the last ones; DAPT_NEVER: none yet
    uint64_t tried;                    // step at which writing one failed last; DAPT_NEVER
    uint64_t best;                     // step of the best checkpoint; DAPT_NEVER
    double best_value;                 // its nats/token on the deciding set

    uint64_t started;  // step at which this process began
    double begin, step_seconds, evaluate_seconds, train_seconds, retry_checkpoint;
    bool metrics_failed;
    bool accepted;  // nothing speaks against training: the run folder stays
};

enum dapt_status dapt_trainer_run(const struct dapt_train_options *options);

// The evaluation set that decides which checkpoint is the best one; NULL: none.
const struct dapt_evaluation *dapt_trainer_deciding(const struct dapt_trainer *trainer);
// resume.c: the trainer's part of run.json; NULL: no memory.
cJSON *dapt_trainer_record(const struct dapt_trainer *trainer);
// Finds the newest whole checkpoint, checks that it belongs to this course, restores it, and sets
// RUN/latest and RUN/best as it says. Leaves the trainer at step 0 with the model's own weights when
// there is none.
enum dapt_status dapt_trainer_resume(struct dapt_trainer *trainer);
// Adds an event to metrics.jsonl; a failure is told once and does not stop training. Takes `event`
// over.
void dapt_trainer_log(struct dapt_trainer *trainer, cJSON *event);
#endif
