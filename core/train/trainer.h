// The training loop.
#ifndef DAPT_TRAIN_TRAINER_H
#define DAPT_TRAIN_TRAINER_H
#include "train/event.h"
#include "train/ledger.h"
#include "train/metrics.h"
#include "train/precision.h"
#include "checkpoint/runfolder.h"
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
    cJSON *fingerprint, *tokenizer;  // see fingerprint.h
    cJSON *restored;  // the record that a resume goes on from, until all ranks have it
    char fingerprint_hash[33], data_hash[33], model_hash[33], schedule_hash[33];
    char replay_hash[33];                 // "": no replay
    char base_hash[33];                   // of the model under adapters; "": there are none
    struct dapt_batch **batches;          // [setup.own] of one step: this rank's
    struct dapt_batch *spare;             // of others, to count what they score; NULL: one process
    struct dapt_evaluation *evaluations;  // [config->data.eval_count], the last ones
    struct dapt_ledger_set *ledger;       // [config->data.eval_count]

    uint64_t step;     // steps done, skipped ones included: the schedule and the data follow it
    uint64_t updates;  // of the weights
    uint64_t skipped, bad_in_row;
    struct dapt_loss_scale scale;
    uint64_t tokens;                   // scored so far
    uint64_t evaluated, checkpointed;  // steps of the last ones; DAPT_NEVER: none yet
    uint64_t tried;                    // step at which writing one failed last; DAPT_NEVER
    uint64_t best;                     // step of the best checkpoint; DAPT_NEVER
    double best_value;                 // its nats/token on the deciding set
    // Patience: the least nats/token of the deciding set, evaluations since then, the last one counted.
    double lowest;
    uint64_t stale, judged;  // judged DAPT_NEVER: none

    uint64_t started;      // step at which this process began
    double begin, landed;  // when this process began, and when the last step was done
    double step_seconds, evaluate_seconds, train_seconds, retry_checkpoint;
    bool metrics_failed;
    bool rounding_told;  // what it costs to write another dtype than is trained
    bool reached;        // every trained tensor has had a gradient
    // Among ranks: some were asked to stop; an error is seen by all alike, or by this one alone, so that they
    // can only end; a slow one was told of; seconds that each is at its own work in a step [ranks].
    bool asked, alike, apart, slow_told;
    double *busy;
    bool accepted;  // nothing speaks against training: the run folder stays
};

enum dapt_status dapt_trainer_run(const struct dapt_train_options *options);

// The evaluation set that decides which checkpoint is the best one; NULL: none.
const struct dapt_evaluation *dapt_trainer_deciding(const struct dapt_trainer *trainer);
// budget.c: bits/byte that the i-th set may lose; infinite: as many as it likes.
double dapt_trainer_budget(const struct dapt_trainer *trainer, size_t i);
// Whether the evaluation at `step` found every set inside its budget; where there was none, sets that have
// one are not.
bool dapt_trainer_inside(const struct dapt_trainer *trainer, uint64_t step);
// Sets were just evaluated: counts patience, and raises the share of replay where that is asked for.
enum dapt_status dapt_trainer_judge(struct dapt_trainer *trainer);
// Whether the step that the trainer is at is its last: all are done, or an evaluation ended the run.
bool dapt_trainer_finished(const struct dapt_trainer *trainer);
// In the latter case why, in `text`; NULL: all are done.
const char *dapt_trainer_ending(const struct dapt_trainer *trainer, struct dapt_string *text);
// checks.c: whether a step trains what it is to train. Before the first step: the mean loss of its batches
// as evaluations compute it; NaN before others, and where that is not to be compared.
enum dapt_status dapt_trainer_first_loss(struct dapt_trainer *trainer, uint64_t step,
                                         uint64_t scored, double *loss);
// After a step: the first one's loss is that, else a warning; and in the first two updates each trained
// tensor got a gradient, else an error that names it.
enum dapt_status dapt_trainer_check(struct dapt_trainer *trainer, double before, double loss);
// evaluations.c: whether the step that the trainer is at asks for one; scores all sets, logs and tells
// them.
bool dapt_trainer_evaluation_due(const struct dapt_trainer *trainer);
enum dapt_status dapt_trainer_evaluate(struct dapt_trainer *trainer);
// resume.c: what the i-th set holds, for telling whether figures can be compared.
void dapt_trainer_set_hash(const struct dapt_trainer *trainer, size_t i, char text[33]);
// The trainer's part of run.json; NULL: no memory.
cJSON *dapt_trainer_record(const struct dapt_trainer *trainer);
// What the configuration leaves open is what the run chose before, as its newest checkpoint has it: the
// peak of the learning rate and the precision are put into the configuration, micro-batch and
// recomputation into *fit (micro 0: nothing). Whether that checkpoint is whole is the resume's business.
enum dapt_status dapt_trainer_recall(struct dapt_trainer *trainer, struct dapt_fit *fit);
// Finds the newest whole checkpoint, checks that it belongs to this run, restores it, and sets
// RUN/latest and RUN/best as it says. Leaves the trainer at step 0 with the model's own weights when
// there is none.
enum dapt_status dapt_trainer_resume(struct dapt_trainer *trainer);
// After it on rank 0: the other ranks stand where that one does. Collective.
enum dapt_status dapt_trainer_resume_others(struct dapt_trainer *trainer);
// plan.c: tells how long the run would take and what its checkpoints need, by timing one micro-batch,
// an update and one batch of an evaluation; fills options->plan. The weights stay what they were.
enum dapt_status dapt_trainer_plan(struct dapt_trainer *trainer);
// summary.c: tells how the run ended: what was done, the best checkpoint by name, each set
// better or WORSE than before training, passes over each source.
void dapt_trainer_end(struct dapt_trainer *trainer);
// event.c: adds what happened at the step that the trainer is at to metrics.jsonl, and reports it.
// That the file cannot be written is reported once and does not stop training.
void dapt_trainer_tell(struct dapt_trainer *trainer, enum dapt_event_kind kind,
                       struct dapt_event *event);
// Tells what failed without ending the run. `text` may be dapt_error(), which telling may replace.
void dapt_trainer_trouble(struct dapt_trainer *trainer, const char *text);
// together.c: the ranks of a run. In one process all of it does nothing, or what rank 0 does. Rank 0
// reads and writes the run folder, and tells what happens.
bool dapt_trainer_leads(const struct dapt_trainer *trainer);
// That all are in the same run: before anything is opened, when all is, and of the weights at any time.
// Collective; the error names what differs, and a rank.
enum dapt_status dapt_trainer_agree_config(struct dapt_trainer *trainer);
enum dapt_status dapt_trainer_agree_data(struct dapt_trainer *trainer);
enum dapt_status dapt_trainer_agree_weights(struct dapt_trainer *trainer);
// Rank 0's to all; it may be NULL.
enum dapt_status dapt_trainer_share_record(struct dapt_trainer *trainer, cJSON **record);
// Rank 0 does `work`, which may move weights and moments, the others lend it theirs; all get its outcome.
enum dapt_status dapt_trainer_together(struct dapt_trainer *trainer,
                                       enum dapt_status (*work)(struct dapt_trainer *trainer));
// Whether the run was asked to stop, as all ranks know it; hears of it after each update.
bool dapt_trainer_asked(const struct dapt_trainer *trainer);
enum dapt_status dapt_trainer_hear(struct dapt_trainer *trainer);
// After a step: tells of a rank that all others wait for.
void dapt_trainer_watch(struct dapt_trainer *trainer);
// Tells the last reason, with rank and machine, and ends all ranks, this process too; returns where
// there is no other rank, no error, or all stop alike.
void dapt_trainer_abort(struct dapt_trainer *trainer, enum dapt_status status);
// recovery.c: appends the command that goes on with this run: with the same --set, else it could mean
// another one.
enum dapt_status dapt_trainer_command(const struct dapt_trainer *trainer, struct dapt_string *text);
// The device failed (its reason is the last one recorded): tells it, and says which checkpoint there
// is and how to go on. Returns DAPT_ERROR_DEVICE.
enum dapt_status dapt_trainer_lost(struct dapt_trainer *trainer);
// What was to be written is no checkpoint (its reason is the last one recorded: weights that are not
// finite, a run folder that is another one now): says which checkpoint is the last good one, and how to
// go on from it. Returns DAPT_ERROR_INVALID.
enum dapt_status dapt_trainer_ruined(struct dapt_trainer *trainer);
// On a device other than the cpu: finds or makes its certificate and puts it into RUN/device.json.
// One that does not hold is told, and training goes on: the tolerances are ours, the shapes not the
// run's, and it is the user's to judge. DAPT_ERROR_DEVICE where the device failed on the way.
enum dapt_status dapt_trainer_certify(struct dapt_trainer *trainer);
#endif
