// What a run would take: time, by a micro-batch, an update and a batch of an evaluation; disk, by the
// size of a checkpoint.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/threads.h"
#include "engine/shard.h"
#include "train/fit.h"
#include "train/traffic.h"
#include "train/trainer.h"

#define ENOUGH_SECONDS 3  // a measurement that took longer is not made again

// A step of so many micro-batches that changes no weight.
static enum dapt_status time_step(struct dapt_trainer *t, uint32_t micros, double *seconds) {
    struct dapt_engine_result result;
    uint64_t scored = t->batches[0]->scored ? t->batches[0]->scored : 1;
    struct dapt_engine_step step = {
        .clip = t->config->train.clip, .scored = scored * micros, .scale = t->scale.value};
    double begin = dapt_seconds();
    enum dapt_status status = dapt_engine_begin(t->setup.engine, &step);
    for (uint32_t i = 0; !status && i < micros; i++)
        status = dapt_engine_micro(t->setup.engine, t->batches[0]);
    if (!status) status = dapt_engine_finish(t->setup.engine, 1, &result);
    *seconds = dapt_seconds() - begin;
    return status;
}

// The first step warms up. A step of two micro-batches tells what each further one takes.
static enum dapt_status measure_step(struct dapt_trainer *t, struct dapt_traffic_step *step) {
    double one, two;
    bool further = t->setup.micros > 1 || t->options->plan_ranks.ranks > 1;
    enum dapt_status status = dapt_mix_seek(t->setup.mix, 0);
    if (status) return status;
    dapt_mix_batch(t->setup.mix, 0, t->batches[0]);
    status = time_step(t, 1, &one);
    if (!status && one < ENOUGH_SECONDS) status = time_step(t, 1, &one);
    two = 2 * one;
    if (!status && further && one < ENOUGH_SECONDS) status = time_step(t, 2, &two);
    step->micro_seconds = fmin(fmax(two - one, 0), one);
    step->update_seconds = one - step->micro_seconds;
    return status;
}

// Seconds of one batch of an evaluation; its program is made in the first.
static enum dapt_status measure_losses(struct dapt_trainer *t, double *seconds) {
    size_t places = (size_t)t->batches[0]->sequences * t->batches[0]->length;
    float *losses = dapt_alloc(places, sizeof *losses);
    enum dapt_status status = losses ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (int i = 0; !status && i < 2; i++) {
        double begin = dapt_seconds();
        if (i == 0) dapt_corpus_eval_batch(t->setup.evals[0], 0, t->batches[0]);
        status = dapt_engine_losses(t->setup.engine, t->batches[0], losses);
        *seconds = dapt_seconds() - begin;
        if (*seconds > ENOUGH_SECONDS) break;
    }
    free(losses);
    return status;
}

static uint64_t batches_of(const struct dapt_trainer *t, size_t set) {
    return (dapt_corpus_report(t->setup.evals[set])->sequences + t->setup.micro - 1) /
           t->setup.micro;
}

static enum dapt_status plan_evaluations(struct dapt_trainer *t, struct dapt_plan *plan) {
    uint64_t every = t->config->train.evaluate_every, batches = 0;
    double seconds = 0;
    if (t->config->data.eval_count == 0) return DAPT_OK;
    plan->evaluations = 2 + (every ? (plan->steps - 1) / every : 0);
    for (size_t i = 0; i < t->config->data.eval_count; i++) batches += batches_of(t, i);
    batches *= plan->evaluations;
    const struct dapt_evaluation *deciding = dapt_trainer_deciding(t);
    if (deciding && dapt_model_rounds(t->setup.model))  // what rounding costs, twice
        batches += (plan->evaluations > 2 ? 2 : 1) *
                   batches_of(t, (size_t)(deciding - t->evaluations));
    enum dapt_status status = measure_losses(t, &seconds);
    plan->evaluate_seconds = seconds * (double)batches;
    return status;
}

// Where the run goes, or the nearest folder above it that is there.
static uint64_t free_bytes(const char *path) {
    struct statvfs info;
    struct dapt_arena arena = {0};
    char *folder = dapt_arena_copy(&arena, path, strlen(path)), *slash;
    bool found = folder && statvfs(folder, &info) == 0;
    while (folder && !found && (slash = strrchr(folder, '/')) && slash != folder) {
        *slash = '\0';
        found = statvfs(folder, &info) == 0;
    }
    if (!found) found = statvfs(path[0] == '/' ? "/" : ".", &info) == 0;
    dapt_arena_free(&arena);
    return found ? (uint64_t)info.f_bavail * info.f_frsize : 0;
}

static void plan_checkpoints(const struct dapt_trainer *t, struct dapt_plan *plan) {
    const struct dapt_model *model = t->setup.model;
    uint64_t every = t->config->train.checkpoint_every, keep = t->config->train.keep;
    bool rounds = dapt_model_rounds(model) != NULL;
    plan->checkpoints = 1 + (every ? (plan->steps - 1) / every : 0);
    if (keep == 0) keep = 1;
    if (t->config->data.eval_count) keep++;  // the best one
    plan->checkpoints_kept = plan->checkpoints < keep ? plan->checkpoints : keep;
    uint64_t element = dapt_file_dtype_size(DAPT_FILE_F32);  // moments, and exact parameters
    plan->checkpoint_bytes = dapt_model_written(model) * (rounds ? element / 2 : element) +
                             model->trained_count * element * (rounds ? 1 : 0) +
                             2 * dapt_engine_moment_bytes(t->setup.engine);
    bool more = plan->checkpoints > plan->checkpoints_kept;  // written before one is removed
    plan->disk_bytes = (plan->checkpoints_kept + more) * plan->checkpoint_bytes;
    if (t->config->run) plan->free_bytes = free_bytes(t->config->run);
}

static void tell(const struct dapt_trainer *t, const struct dapt_plan *plan) {
    struct dapt_small_text all, train, evaluate, rate, a, b, c, d;
    double tokens = (double)t->config->train.batch * t->config->data.sequence;
    double flops = 3 * dapt_model_flops(t->setup.model, t->config->data.sequence) * tokens;
    dapt_report_note(
        &t->reporter,
        "time            about %s: training %s, %s %s; a step takes %.3g s here (%s tokens/s, %.3g "
        "GFLOP/s)",
        dapt_duration_text(plan->prepare_seconds + plan->train_seconds + plan->evaluate_seconds,
                           &all),
        dapt_duration_text(plan->train_seconds, &train),
        dapt_counted_text(plan->evaluations, "evaluation", &a),
        dapt_duration_text(plan->evaluate_seconds, &evaluate), plan->step_seconds,
        dapt_count_text((uint64_t)(tokens / plan->step_seconds), &rate),
        flops / plan->step_seconds * 1e-9);
    dapt_report_note(
        &t->reporter, "disk            %s of %s, at most %" PRIu64 " kept: up to %s; %s free%s",
        dapt_counted_text(plan->checkpoints, "checkpoint", &a),
        dapt_bytes_text(plan->checkpoint_bytes, &b), plan->checkpoints_kept,
        dapt_bytes_text(plan->disk_bytes, &c),
        plan->free_bytes ? dapt_bytes_text(plan->free_bytes, &d) : "not known how much",
        plan->free_bytes && plan->free_bytes < plan->disk_bytes ? ", NOT ENOUGH" : "");
}

// Bytes a second from the device into host memory: a bucket of gradients, as ranks would read it.
static enum dapt_status measure_copy(struct dapt_trainer *t, double *rate) {
    uint64_t count = t->setup.model->trained_count;
    if (count > DAPT_SHARD_BUCKET) count = DAPT_SHARD_BUCKET;
    float *values = dapt_alloc(count ? count : 1, sizeof *values);
    enum dapt_status status = values ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (int i = 0; !status && i < 2; i++) {
        double begin = dapt_seconds();
        status = dapt_engine_read(t->setup.engine, DAPT_STATE_GRAD, 0, count, values);
        *rate = (double)count * sizeof *values / fmax(dapt_seconds() - begin, 1e-6);
    }
    free(values);
    return status;
}

static void tell_ranks(const struct dapt_trainer *t, const struct dapt_plan *plan,
                       const struct dapt_traffic_ranks *ranks, const struct dapt_traffic *traffic) {
    struct dapt_small_text a, b, c;
    char between[64] = "";
    if (ranks->machines > 1)
        snprintf(between, sizeof between, "%.3g Gbit/s between machines, ",
                 ranks->bandwidth * 8e-9);
    dapt_report_note(&t->reporter,
                     "ranks           %" PRIu32
                     " on %s, each with a device like this one: about %s of its "
                     "memory; a rank sends %s a step",
                     ranks->ranks, dapt_counted_text(ranks->machines, "machine", &a),
                     dapt_bytes_text(plan->rank_memory, &b), dapt_bytes_text(plan->rank_sent, &c));
    dapt_report_note(
        &t->reporter,
        "                a step takes about %.3g s: %.3g computing, %.3g to and from the device, "
        "%.3g between ranks (%s%.3g Gbit/s within one); %.3g times the tokens/s of one rank, "
        "efficiency "
        "%.0f %%%s",
        traffic->step_seconds, traffic->compute_seconds, traffic->host_seconds,
        traffic->travel_seconds, between, ranks->local * 8e-9, traffic->efficiency * ranks->ranks,
        100 * traffic->efficiency,
        t->setup.micros % ranks->ranks ? "; micro-batches are no multiple of the ranks: some wait"
                                       : "");
}

static enum dapt_status plan_ranks(struct dapt_trainer *t, struct dapt_traffic_step *step,
                                   struct dapt_plan *plan) {
    const struct dapt_plan_ranks *asked = &t->options->plan_ranks;
    uint64_t bytes[DAPT_BUFFER_ROLE_COUNT];
    dapt_engine_memory(t->setup.engine, bytes);
    enum dapt_status status = measure_copy(t, &step->copied);
    if (status) return status;
    step->trained = t->setup.model->trained_count;
    step->micros = t->setup.micros;
    step->wire = t->config->backend.precision == DAPT_PRECISION_FLOAT32 ? 4 : 2;
    struct dapt_traffic_ranks ranks = {
        .ranks = asked->ranks,
        .machines = asked->machines ? asked->machines : 1,
        .bandwidth = (asked->bandwidth > 0 ? asked->bandwidth : 10e9) / 8,
        .local = step->copied,
        .latency = asked->latency > 0 ? asked->latency : 50e-6,
    };
    struct dapt_traffic traffic = dapt_traffic_of(&ranks, step);
    uint64_t moments = bytes[DAPT_BUFFER_MOMENT1] + bytes[DAPT_BUFFER_MOMENT2];
    plan->rank_memory = plan->host_memory ? plan->memory  // moments are not on the device
                                          : moments / ranks.ranks + plan->memory - moments;
    plan->rank_sent = traffic.sent;
    plan->rank_step_seconds = traffic.step_seconds;
    plan->rank_efficiency = traffic.efficiency;
    tell_ranks(t, plan, &ranks, &traffic);
    return DAPT_OK;
}

enum dapt_status dapt_trainer_plan(struct dapt_trainer *t) {
    struct dapt_traffic_step step = {0};
    struct dapt_plan plan = {.steps = t->setup.steps};
    dapt_log_status("reading the model");
    enum dapt_status status = dapt_setup_weights(&t->setup);
    plan.prepare_seconds = dapt_seconds() - t->begin;
    plan.tokens = plan.steps * t->config->train.batch * t->config->data.sequence;
    plan.passes = dapt_setup_passes(&t->setup);
    plan.memory = dapt_fit_memory(&t->setup, &plan.host_memory);
    dapt_log_status("timing a step");
    if (!status) status = measure_step(t, &step);
    plan.step_seconds = step.update_seconds + t->setup.micros * step.micro_seconds;
    plan.train_seconds = plan.step_seconds * (double)plan.steps;
    if (!status) status = plan_evaluations(t, &plan);
    dapt_log_status(NULL);
    if (status) return status;
    plan_checkpoints(t, &plan);
    tell(t, &plan);
    if (t->options->plan_ranks.ranks > 1) status = plan_ranks(t, &step, &plan);
    if (status) return status;
    if (t->options->plan) *t->options->plan = plan;
    return DAPT_OK;
}
