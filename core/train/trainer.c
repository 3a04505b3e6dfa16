#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "train/fit.h"
#include "train/fingerprint.h"

#define RETRY_SECONDS 60.0  // until a checkpoint that failed is tried again

// ------------------------------------------------------------------------------------ checkpoints

static bool checkpoint_is_due(const struct dapt_trainer *t) {
    uint64_t every = t->config->train.checkpoint_every;
    if (t->step == 0 || t->checkpointed == t->step || t->tried == t->step) return false;
    if (t->bad_in_row > 0 && !dapt_trainer_finished(t)) return false;  // the weights may be why
    if (dapt_trainer_finished(t) || (every && t->step % every == 0)) return true;
    return t->retry_checkpoint > 0 && dapt_seconds() >= t->retry_checkpoint;
}

// By rank 0's clock, where it is a matter of time.
static enum dapt_status decide_checkpoint(struct dapt_trainer *t, bool *due) {
    *due = checkpoint_is_due(t);
    return t->retry_checkpoint > 0 ? dapt_ranks_broadcast(t->setup.ranks, due, sizeof *due, 0)
                                   : DAPT_OK;
}

const struct dapt_evaluation *dapt_trainer_deciding(const struct dapt_trainer *t) {
    size_t i = dapt_config_deciding(t->config);
    return i < t->config->data.eval_count ? &t->evaluations[i] : NULL;
}

// Whether this step's evaluation is better than that of any checkpoint, and every set inside its budget:
// then it is the best now.
static bool take_best(struct dapt_trainer *t) {
    const struct dapt_evaluation *e = t->evaluated == t->step ? dapt_trainer_deciding(t) : NULL;
    if (!e || !isfinite(e->nats_per_token)) return false;
    if (t->best != DAPT_NEVER && e->nats_per_token >= t->best_value) return false;
    if (!dapt_trainer_inside(t, t->step)) return false;
    t->best = t->step;
    t->best_value = dapt_json_round(e->nats_per_token);
    return true;
}

// The evaluation of a step whose checkpoint is there already: it was stopped before, or its sets
// are others now.
static void judge_checkpoint(struct dapt_trainer *t) {
    if (t->checkpointed != t->step || !take_best(t) || !dapt_trainer_leads(t)) return;
    if (dapt_run_folder_mark(&t->run, "best", t->step))
        dapt_log(DAPT_LOG_WARNING, "%s", dapt_error());
}

// The checkpoint itself is there: that a mark could not be moved or an old one not be removed is told,
// and an error only where nothing comes after that could put it right.
static enum dapt_status mark_checkpoint(struct dapt_trainer *t, const char *name, bool better) {
    if (!dapt_trainer_leads(t)) return DAPT_OK;
    enum dapt_status status = dapt_run_folder_mark(&t->run, "latest", t->step);
    if (!status && better) status = dapt_run_folder_mark(&t->run, "best", t->step);
    if (!status) status = dapt_checkpoint_prune(&t->run, t->config->train.keep);
    if (!status) return DAPT_OK;
    dapt_fail(status, "%s; %s itself is whole", dapt_error(), name);
    if (dapt_trainer_finished(t))
        return dapt_fail(status, "%s, and --resume puts the marks right", dapt_error());
    dapt_trainer_trouble(t, dapt_error());
    return DAPT_OK;
}

static void tell_writing(const char *name) {
    char line[64];
    snprintf(line, sizeof line, "writing checkpoint %s", name);
    dapt_log_status(line);
}

static enum dapt_status write_checkpoint(struct dapt_trainer *t) {
    return dapt_checkpoint_write(&t->run, t->step, t->setup.engine, t->setup.model,
                                 dapt_trainer_record(t));
}

static enum dapt_status checkpoint(struct dapt_trainer *t) {
    char name[32];
    double begin = dapt_seconds();
    uint64_t best = t->best;
    double best_value = t->best_value;
    enum dapt_status status = dapt_trainer_agree_weights(t);
    if (status) return status;
    bool better = take_best(t);  // in the record of this very checkpoint
    dapt_metrics_sync(t->metrics);
    dapt_run_folder_name(t->step, name);
    tell_writing(name);
    status = dapt_trainer_together(t, write_checkpoint);
    dapt_log_status(NULL);
    if (status) {
        t->best = best;
        t->best_value = best_value;
        return status;
    }
    t->checkpointed = t->step;
    t->retry_checkpoint = 0;
    status = mark_checkpoint(t, name, better);
    dapt_trainer_tell(
        t, DAPT_EVENT_CHECKPOINT,
        &(struct dapt_event){
            .told = {.text = name}, .best = better, .seconds = dapt_seconds() - begin});
    return status;
}

// A checkpoint on the way that can't be written (a full disk, say) must not end hours of training:
// it is told, and tried again. From a device that failed nothing can be read any more.
static enum dapt_status checkpoint_on_the_way(struct dapt_trainer *t) {
    enum dapt_status status = checkpoint(t);
    if (!status || status == DAPT_ERROR_DEVICE || t->alike || t->apart) return status;
    if (dapt_trainer_leads(t) && dapt_run_folder_check(&t->run))
        return status;  // no more of this run can be kept there
    if (status == DAPT_ERROR_INVALID) return dapt_trainer_ruined(t);
    if (t->checkpointed == t->step) return status;  // only its marks are missing
    if (dapt_trainer_finished(t))
        return dapt_fail(
            status,
            "%s; what was trained since the checkpoint before is lost, --resume trains "
            "it again",
            dapt_error());
    struct dapt_string text = {0};
    if (dapt_string_format(&text, "%s; training goes on, next try in %g s", dapt_error(),
                           RETRY_SECONDS) == DAPT_OK)
        dapt_trainer_trouble(t, text.data);
    dapt_string_free(&text);
    t->tried = t->step;  // not again at this step
    t->retry_checkpoint = dapt_seconds() + RETRY_SECONDS;
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------ steps

// What a slow step is at: the first one from its beginning, others after a second.
static void tell_micro(const struct dapt_trainer *t, uint64_t step, uint32_t micro, double start) {
    char line[128];
    if (step != t->started && dapt_seconds() - start < 1) return;
    snprintf(line, sizeof line, "step %" PRIu64 "/%" PRIu64 "  micro-batch %" PRIu32 " of %" PRIu32,
             step + 1, t->setup.steps, micro + 1, t->setup.own);
    dapt_log_status(line);
}

// A step that the device is at, or has done.
struct flight {
    struct dapt_schedule_point point;
    uint64_t scored;
    double scale;   // of its loss; 0: none
    double before;  // its loss by an evaluation before it; NaN: not to be compared
};

// This rank's micro-batches of a step, and what all of them score.
static uint64_t fill_batches(struct dapt_trainer *t) {
    const struct dapt_setup *s = &t->setup;
    uint64_t scored = 0;
    for (uint32_t i = 0; i < s->micros; i++) {
        bool own = i >= s->first && i < s->first + s->own;
        struct dapt_batch *batch = own ? t->batches[i - s->first] : t->spare;
        dapt_mix_batch(s->mix, i * s->micro, batch);
        scored += batch->scored;
    }
    return scored;
}

// Gives the device the micro-batches of the step after `step`. That one may still be under way.
static enum dapt_status launch(struct dapt_trainer *t, uint64_t step, struct flight *flight) {
    double start = dapt_seconds();
    // Of a step under way the scale is not known yet that follows from it: the same steps later, waited
    // for or not.
    *flight = (struct flight){.before = NAN,
                              .scale = step == t->step ? t->scale.next : t->scale.value};
    dapt_step_note(step + 1);
    enum dapt_status status = dapt_setup_point(&t->setup, step, &flight->point);
    if (!status) status = dapt_mix_seek(t->setup.mix, step);
    if (status) return status;
    flight->scored = fill_batches(t);
    if (flight->scored == 0) return DAPT_OK;
    status = dapt_trainer_first_loss(t, step, flight->scored, &flight->before);
    struct dapt_engine_step begun = {
        .learning_rate = flight->point.learning_rate,
        .weight_decay = flight->point.weight_decay,
        .clip = t->config->train.clip,
        .scored = flight->scored,
        .scale = flight->scale,
        .seed = t->config->train.seed,
        .draw = step,
        .rows = (uint64_t)t->setup.first * t->setup.micro * t->config->data.sequence};
    if (!status) status = dapt_engine_begin(t->setup.engine, &begun);
    for (uint32_t i = 0; !status && i < t->setup.own; i++) {
        tell_micro(t, step, i, start);
        status = dapt_engine_micro(t->setup.engine, t->batches[i]);
    }
    return status ? dapt_fail_in(status, "step %" PRIu64, step + 1) : DAPT_OK;
}

static enum dapt_status skip(struct dapt_trainer *t, const struct dapt_engine_result *result,
                             uint64_t scored) {
    char text[160];
    t->skipped++;
    t->bad_in_row++;
    if (scored == 0)
        snprintf(text, sizeof text, "its batch holds no token that can be scored");
    else
        snprintf(text, sizeof text, "loss %g, gradient norm %g", result->loss, result->norm);
    dapt_trainer_tell(t, DAPT_EVENT_SKIP,
                      &(struct dapt_event){.told = {.text = text,
                                                    .bad_in_row = t->bad_in_row,
                                                    .loss = scored ? result->loss : 0,
                                                    .norm = scored ? result->norm : 0}});
    if (t->bad_in_row < t->config->train.max_bad_steps) return DAPT_OK;
    struct dapt_small_text count;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "stopped at step %" PRIu64
                     ": %s in a row changed nothing (the last: %s), as many as train.max_bad_steps "
                     "allows%s",
                     t->step, dapt_counted_text(t->bad_in_row, "step", &count), text,
                     !scored               ? ""
                     : t->scale.value == 0 ? "; a lower learning rate may help"
                                           : "; float16 holds nothing above 65504, bfloat16 and "
                                             "float32 (backend.precision) do");
}

// The gradient was too large for the scale of the loss: no fault of the run's, so it does not count
// towards those that end it.
static enum dapt_status skip_overflow(struct dapt_trainer *t, double scale) {
    char text[160];
    t->skipped++;
    snprintf(text, sizeof text,
             "its gradient is too large for float16 with the loss scaled by %.0f; the scale is now "
             "%.0f",
             scale, t->scale.value);
    dapt_trainer_tell(t, DAPT_EVENT_SKIP,
                      &(struct dapt_event){.told = {.text = text}, .loss_scale = scale});
    return DAPT_OK;
}

static double seconds_left(const struct dapt_trainer *t) {
    uint64_t steps = t->setup.steps - t->step, every = t->config->train.evaluate_every;
    uint64_t evaluations = t->config->data.eval_count ? (every ? steps / every : 0) + 1 : 0;
    return (double)steps * t->step_seconds + (double)evaluations * t->evaluate_seconds;
}

static void tell_step(struct dapt_trainer *t, const struct dapt_engine_result *result,
                      const struct flight *flight, double seconds) {
    double rate = (double)t->config->train.batch * t->config->data.sequence / t->step_seconds;
    bool first = t->step == t->started + 1;
    dapt_trainer_tell(t, DAPT_EVENT_STEP,
                      &(struct dapt_event){.told = {.loss = result->loss,
                                                    .norm = result->norm,
                                                    .learning_rate = flight->point.learning_rate,
                                                    .tokens_per_second = rate,
                                                    .seconds_left = seconds_left(t)},
                                           .weight_decay = flight->point.weight_decay,
                                           .loss_scale = flight->scale,
                                           .busy = dapt_engine_busy(t->setup.engine),
                                           .ranks = dapt_ranks_count(t->setup.ranks),
                                           .scored = flight->scored,
                                           .seconds = seconds,
                                           .since_start = first ? dapt_seconds() - t->begin : 0});
}

// Waits for the step, and tells what came of it.
static enum dapt_status land(struct dapt_trainer *t, const struct flight *flight) {
    struct dapt_engine_result result = {.loss = NAN, .norm = NAN};
    enum dapt_status status = DAPT_OK;
    if (flight->scored > 0) status = dapt_engine_result(t->setup.engine, &result);
    if (!status && result.finite) status = dapt_trainer_check(t, flight->before, result.loss);
    if (status) return dapt_fail_in(status, "step %" PRIu64, t->step + 1);
    double now = dapt_seconds(), seconds = now - t->landed;
    t->landed = now;
    uint64_t done = t->step - t->started;
    // The first step also compiles: it says nothing of the others.
    t->step_seconds = done <= 1 ? seconds : 0.9 * t->step_seconds + 0.1 * seconds;
    t->train_seconds += seconds;
    t->step++;
    bool overflow = flight->scored > 0 &&
                    dapt_loss_scale_adapt(&t->scale, result.loss, result.finite);
    if (overflow) return skip_overflow(t, flight->scale);
    if (!result.finite) return skip(t, &result, flight->scored);
    t->updates++;
    t->bad_in_row = 0;
    t->tokens += flight->scored;
    tell_step(t, &result, flight, seconds);
    dapt_trainer_watch(t);
    return DAPT_OK;
}

// Whether more than the next step may follow this one: the device is waited for there.
static bool pauses_at(const struct dapt_trainer *t, uint64_t step) {
    uint64_t evaluate = t->config->train.evaluate_every,
             checkpoint = t->config->train.checkpoint_every;
    return step == t->setup.steps || (evaluate && step % evaluate == 0) ||
           (checkpoint && step % checkpoint == 0) || t->retry_checkpoint > 0 ||
           dapt_trainer_asked(t);
}

// Trains as far as pauses_at() allows. The device is given the micro-batches of the next step before the
// result of the one under way is waited for, so it is never without work. The bits are those of one
// step after the other: micro-batches need nothing of that result, and the update, which does, comes
// after it.
static enum dapt_status train(struct dapt_trainer *t) {
    struct flight flight, next = {0};
    t->landed = dapt_seconds();
    enum dapt_status status = launch(t, t->step, &flight);
    for (bool more = true; !status && more; flight = next) {
        if (flight.scored > 0) status = dapt_engine_update(t->setup.engine, t->updates + 1);
        if (!status && flight.scored > 0) status = dapt_trainer_hear(t);
        more = !pauses_at(t, t->step + 1);
        if (!status && more) status = launch(t, t->step + 1, &next);
        if (!status) status = land(t, &flight);
    }
    return status;
}

// ------------------------------------------------------------------------------------- begin, end

static void tell_start(struct dapt_trainer *t) {
    const struct dapt_device_info *info = dapt_device_info(t->setup.device);
    uint64_t host;
    dapt_trainer_tell(
        t, t->step ? DAPT_EVENT_RESUME : DAPT_EVENT_START,
        &(struct dapt_event){
            .version = dapt_version(),
            .backend = dapt_device_backend(t->setup.device)->name,
            .device = info->name,
            .threads = info->threads,
            .ranks = dapt_ranks_count(t->setup.ranks),
            .precision = dapt_precision_name(t->config->backend.precision),
            .family = dapt_setup_family(t->setup.model),
            .objective = dapt_objective_name(dapt_objective_kind(t->setup.objective)),
            .parameters = t->setup.model->weight_count,
            .trained_parameters = dapt_model_trained(t->setup.model),
            .memory = dapt_fit_memory(&t->setup, &host),
            .tokens_per_step = (uint64_t)t->config->train.batch * t->config->data.sequence,
            .config = t->fingerprint_hash,
            .data = t->data_hash,
            .setup = &t->setup});
}

// Someone asked to stop: what was trained is written, and how to go on is said.
static enum dapt_status stop(struct dapt_trainer *t) {
    struct dapt_string text = {0};
    enum dapt_status status = DAPT_OK;
    if (t->step > 0 && t->checkpointed != t->step) status = checkpoint(t);
    if (status)
        return dapt_fail_in(status,
                            "stopped at step %" PRIu64
                            ", but what was trained since the last checkpoint is lost",
                            t->step);
    if (t->step == 0)
        status = dapt_string_format(&text, "stopped before the first step; nothing was trained");
    else
        status = dapt_string_format(&text, "stopped at step %" PRIu64 " of %" PRIu64 "; to go on: ",
                                    t->step, t->setup.steps);
    if (!status && t->step > 0) status = dapt_trainer_command(t, &text);
    if (!status) {
        dapt_trainer_tell(t, DAPT_EVENT_STOP, &(struct dapt_event){.told = {.text = text.data}});
        status = dapt_fail(DAPT_ERROR_CANCELLED, "%s", text.data);
    }
    dapt_string_free(&text);
    return status;
}

static enum dapt_status loop(struct dapt_trainer *t) {
    enum dapt_status status = DAPT_OK;
    bool due = false;
    for (;;) {
        if (dapt_trainer_evaluation_due(t)) status = dapt_trainer_evaluate(t);
        if (!status) judge_checkpoint(t);
        if (!status) status = decide_checkpoint(t, &due);
        if (!status && due) status = checkpoint_on_the_way(t);
        if (status == DAPT_ERROR_CANCELLED) t->asked = true;  // an evaluation: on all ranks
        if (status == DAPT_ERROR_CANCELLED ||
            (!status && !dapt_trainer_finished(t) && dapt_trainer_asked(t)))
            return stop(t);
        if (status || dapt_trainer_finished(t)) break;
        status = train(t);
        if (status) break;
    }
    if (!status) dapt_trainer_end(t);
    return status;
}

// ---------------------------------------------------------------------------------------- opening

// A folder that holds checkpoints is gone on with on purpose only.
static enum dapt_status open_run(struct dapt_trainer *t) {
    uint64_t *steps;
    size_t count;
    if (!t->config->run)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: \"run\" is missing: the folder that the run goes to",
                         t->options->config);
    enum dapt_status status = dapt_run_folder_open(t->config->run, &t->run);
    if (!status) status = dapt_run_folder_steps(&t->run, &steps, &count);
    if (status) return status;
    if (count > 0 && !t->options->resume) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: holds a run already (newest checkpoint: step-%06" PRIu64
                           "); go on with it by --resume, or set \"run\" to another folder",
                           t->run.path, steps[count - 1]);
    }
    free(steps);
    return status;
}

// What a plan can tell of it without making it.
static enum dapt_status look_at_run(const struct dapt_trainer *t) {
    struct stat info;
    if (!t->config->run || stat(t->config->run, &info) || S_ISDIR(info.st_mode)) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID, "the run folder: %s: is there, and is no folder",
                     t->config->run);
}

static enum dapt_status write_config(const struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    struct dapt_string text = {0};
    char *path = dapt_path_join(&arena, t->run.path, "config.json");
    enum dapt_status status = path ? dapt_config_write(t->config, &text) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_file_write(path, text.data, text.length);
    dapt_string_free(&text);
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status open_metrics(struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, t->run.path, "metrics.jsonl");
    enum dapt_status status = path ? dapt_metrics_open(path, &t->metrics) : DAPT_ERROR_MEMORY;
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status make_batches(struct dapt_trainer *t) {
    size_t evals = t->config->data.eval_count;
    bool masked = dapt_objective_kind(t->setup.objective) == DAPT_OBJECTIVE_MASKED;
    enum dapt_status status = DAPT_OK;
    t->batches = dapt_alloc(t->setup.own, sizeof *t->batches);
    t->evaluations = dapt_alloc(evals ? evals : 1, sizeof *t->evaluations);
    if (!t->batches || !t->evaluations) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < evals; i++)
        t->evaluations[i] = (struct dapt_evaluation){.name = t->config->data.eval[i].name,
                                                     .nats_per_token = NAN,
                                                     .perplexity = NAN,
                                                     .bits_per_byte = NAN,
                                                     .nats_before = NAN,
                                                     .bits_before = NAN,
                                                     .masked = masked,
                                                     .role = t->config->data.eval[i].role,
                                                     .change_low = NAN,
                                                     .change_high = NAN};
    for (uint32_t i = 0; !status && i < t->setup.own; i++) {
        status = dapt_batch_create(t->setup.micro, t->config->data.sequence, &t->batches[i]);
    }
    if (!status && t->setup.ranks) {
        status = dapt_batch_create(t->setup.micro, t->config->data.sequence, &t->spare);
        t->busy = dapt_alloc(dapt_ranks_count(t->setup.ranks), sizeof *t->busy);
        if (!status && !t->busy) status = DAPT_ERROR_MEMORY;
    }
    return status;
}

static enum dapt_status identify(struct dapt_trainer *t) {
    struct dapt_hash hash;
    dapt_corpus_hash(t->setup.domain, &hash);
    dapt_hash_text(hash, t->data_hash);
    if (t->setup.replay) {
        dapt_corpus_hash(t->setup.replay, &hash);
        dapt_hash_text(hash, t->replay_hash);
    }
    enum dapt_status status = dapt_model_hash(t->setup.model, &hash);
    if (!status) dapt_hash_text(hash, t->model_hash);
    if (!status && t->setup.model->adapters) {
        status = dapt_model_base_hash(t->setup.model, &hash);
        if (!status) dapt_hash_text(hash, t->base_hash);
    }
    if (!status) status = dapt_setup_schedule_hash(&t->setup, &hash);
    if (!status) dapt_hash_text(hash, t->schedule_hash);
    if (!status) status = dapt_fingerprint_create(t->config, &t->fingerprint);
    if (!status) status = dapt_fingerprint_hash(t->fingerprint, t->fingerprint_hash);
    return status ? status : dapt_fingerprint_tokenizer(t->config, &t->tokenizer);
}

// Weights and where the run stands: from files that rank 0 reads, to all.
static enum dapt_status read_weights(struct dapt_trainer *t) {
    return t->options->resume ? dapt_trainer_resume(t) : dapt_setup_weights(&t->setup);
}

static enum dapt_status load(struct dapt_trainer *t) {
    enum dapt_status status = dapt_trainer_together(t, read_weights);
    t->alike = status && !t->apart && !dapt_trainer_leads(t);  // rank 0's error
    if (!status && t->options->resume) status = dapt_trainer_resume_others(t);
    return status ? status : dapt_trainer_agree_weights(t);
}

// Other ranks than the first keep no run folder, and are silent.
static enum dapt_status join(struct dapt_trainer *t) {
    struct dapt_launch launch;
    if (dapt_launched(&launch) && launch.rank) dapt_log_level(DAPT_LOG_ERROR);
    enum dapt_status status = dapt_config_read(t->options->config, t->options->sets, &t->config);
    if (!status) status = dapt_setup_join(t->config, &t->setup);
    if (!status) status = dapt_trainer_agree_config(t);
    if (status || dapt_trainer_leads(t)) return status;
    dapt_log_level(DAPT_LOG_ERROR);
    t->reporter = (struct dapt_reporter){dapt_report_nothing, NULL};
    return DAPT_OK;
}

static enum dapt_status open_files(struct dapt_trainer *t) {
    if (!dapt_trainer_leads(t)) return DAPT_OK;
    t->accepted = true;
    enum dapt_status status = write_config(t);
    return status ? status : open_metrics(t);
}

static enum dapt_status begin(struct dapt_trainer *t) {
    bool plan_only = t->options->plan_only;
    enum dapt_status status = join(t);
    if (!status && plan_only)
        status = look_at_run(t);
    else if (!status && dapt_trainer_leads(t))
        status = open_run(t);
    struct dapt_fit fit = {0};
    if (!status && t->options->resume && !plan_only) status = dapt_trainer_recall(t, &fit);
    if (!status) status = dapt_setup_open(t->config, &fit, &t->reporter, &t->setup);
    if (!status) t->config->modules = t->setup.modules;
    uint64_t tokens = status ? 0 : (uint64_t)t->config->train.batch * t->config->data.sequence;
    if (!status) t->scale = dapt_loss_scale_start(t->config->backend.precision, tokens);
    if (!status) status = make_batches(t);
    if (!status) status = dapt_ledger_create(t);
    if (status || plan_only) return status ? status : dapt_trainer_plan(t);
    dapt_log_status("reading the model");
    status = identify(t);
    if (!status) status = dapt_trainer_agree_data(t);
    if (!status) status = load(t);
    dapt_log_status(NULL);
    if (!status) status = open_files(t);
    if (!status) tell_start(t);
    return status ? status : dapt_trainer_certify(t);
}

static void finish(struct dapt_trainer *t) {
    for (uint32_t i = 0; t->batches && i < t->setup.own; i++) dapt_batch_destroy(&t->batches[i]);
    free(t->batches);
    dapt_batch_destroy(&t->spare);
    free(t->busy);
    free(t->evaluations);
    if (t->config) dapt_ledger_free(t);
    dapt_metrics_close(&t->metrics);
    dapt_setup_close(&t->setup);
    if (!t->accepted) dapt_run_folder_discard(&t->run);
    dapt_run_folder_close(&t->run);
    cJSON_Delete(t->fingerprint);
    cJSON_Delete(t->restored);
    cJSON_Delete(t->tokenizer);
    dapt_config_free(&t->config);
}

enum dapt_status dapt_trainer_run(const struct dapt_train_options *options) {
    struct dapt_console console;
    dapt_console_start(&console);
    struct dapt_trainer t = {.options = options,
                             .run = {.lock = -1},
                             .best_value = NAN,
                             .lowest = NAN,
                             .judged = DAPT_NEVER,
                             .evaluated = DAPT_NEVER,
                             .checkpointed = DAPT_NEVER,
                             .tried = DAPT_NEVER,
                             .best = DAPT_NEVER,
                             .begin = dapt_seconds()};
    t.reporter = options->callback ? (struct dapt_reporter){options->callback, options->user}
                                   : (struct dapt_reporter){dapt_console_event, &console};
    enum dapt_status status = begin(&t);
    t.started = t.step;
    if (status == DAPT_ERROR_CANCELLED) {
        dapt_report(&t.reporter, &(struct dapt_train_event){
                                     .kind = DAPT_TRAIN_STOP,
                                     .text = "stopped before the first step; nothing was trained"});
    }
    if (!status && !options->plan_only) status = loop(&t);
    dapt_step_note(0);
    if (status == DAPT_ERROR_DEVICE && t.metrics) status = dapt_trainer_lost(&t);
    if (!options->callback && console.terminal) dapt_log_status(NULL);
    dapt_trainer_abort(&t, status);
    finish(&t);
    return status;
}
