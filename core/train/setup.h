// Everything a configuration asks for, opened: model, tokenizer, data, device, engine, schedule.
#ifndef DAPT_TRAIN_SETUP_H
#define DAPT_TRAIN_SETUP_H
#include "base/crash.h"
#include "comm/launch.h"
#include "corpus/mix.h"
#include "corpus/objective.h"
#include "engine/engine.h"
#include "train/report.h"

struct dapt_setup {
    const struct dapt_config *config;  // outlives the setup
    struct dapt_modules *modules;
    struct dapt_ranks *ranks;  // NULL: one process
    struct dapt_model *model;
    const char *tokenizer_path;  // as configured; NULL: none is needed
    struct dapt_tokenizer *tokenizer;
    struct dapt_objective *objective;
    struct dapt_corpus *domain, *replay;  // replay NULL: none
    struct dapt_corpus **evals;           // [config->data.eval_count]
    struct dapt_device_handle *device;
    struct dapt_engine *engine;  // weights not yet loaded
    const struct dapt_schedule_1 *schedule;
    void *schedule_handle;
    struct dapt_call schedule_call;  // for dapt_call_note()
    struct dapt_options *schedule_options;
    struct dapt_mix *mix;  // of domain and replay, over the whole run
    uint32_t micro;        // sequences of a micro-batch
    enum dapt_recompute recompute;
    uint32_t micros;      // micro-batches of a step, of all ranks
    uint32_t first, own;  // of these this rank's: from `first` on, `own` of them
    uint64_t steps;       // of the whole run
    // [raise_count] steps, ascending, from which on replay's share is a raise higher
    uint64_t *raises;
    size_t raise_count, raise_capacity;
};
// What an earlier part of the run chose for "auto": a resume takes the same, so that its bits are.
struct dapt_fit {
    uint32_t micro;  // 0: nothing is known
    enum dapt_recompute recompute;
};
// The first part of dapt_setup_open(): loads the modules and joins the other ranks, where there are some.
enum dapt_status dapt_setup_join(const struct dapt_config *config, struct dapt_setup *setup);
// Opens all of it, telling what was found. A half-open setup is closed by dapt_setup_close too.
// Collective, with what the ranks of a machine share (text that is tokenised) made by one of them.
// What the configuration leaves to the model (the learning rate's peak) and to the device (the
// precision) is put into it.
enum dapt_status dapt_setup_open(struct dapt_config *config, const struct dapt_fit *fit,
                                 const struct dapt_reporter *reporter, struct dapt_setup *setup);
// All but device and engine; for a setup of one process, which nothing was done with before.
enum dapt_status dapt_setup_open_data(struct dapt_config *config,
                                      const struct dapt_reporter *reporter,
                                      struct dapt_setup *setup);
void dapt_setup_close(struct dapt_setup *setup);  // a zeroed struct is fine; collective
// The model's own weights, or new ones.
enum dapt_status dapt_setup_weights(struct dapt_setup *setup);
// What the schedule says for step `step` (0-based).
enum dapt_status dapt_setup_point(const struct dapt_setup *setup, uint64_t step,
                                  struct dapt_schedule_point *point);
// Raises the share of replay from `step` on, as train.raise_replay says, and tells what it is there
// before and after; where it is at its limit nothing is noted.
enum dapt_status dapt_setup_raise(struct dapt_setup *setup, uint64_t step, double *before,
                                  double *after);
// What decides the schedule's course: its values over the whole run (of a long one, at 4096 steps).
enum dapt_status dapt_setup_schedule_hash(const struct dapt_setup *setup, struct dapt_hash *hash);
// devices.c: opens the device that the configuration names, or the one that falls to this rank; tells it,
// and which the other ranks have. Collective.
enum dapt_status dapt_setup_device(struct dapt_setup *setup, const struct dapt_reporter *reporter);
// rate.c: puts the peak that the number of trained parameters asks for into a configuration that gives
// none, where the schedule's option "peak" has the default "0"; tells it with its reason.
enum dapt_status dapt_rate_choose(struct dapt_config *config, const struct dapt_model *model,
                                  const struct dapt_option *options,
                                  const struct dapt_reporter *reporter);
bool dapt_rate_given(const struct dapt_config *config);
enum dapt_status dapt_rate_set(struct dapt_config *config, double peak);
// How often the run goes over the domain, by the configured share of replay.
double dapt_setup_passes(const struct dapt_setup *setup);
const char *dapt_setup_family(const struct dapt_model *model);  // config.json's model_type
// trained.c: tells what of the model is trained, what is not, and its adapters.
void dapt_trained_tell(const struct dapt_model *model, const struct dapt_reporter *reporter);
#endif
