#include "train/setup.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "model/slots.h"
#include "train/fit.h"
#include "train/precision.h"

// ------------------------------------------------------------------------------------------ model

const char *dapt_setup_family(const struct dapt_model *model) {
    const char *name = "?";
    return dapt_json_get_string(model->config, "model_type", &name) == DAPT_OK ? name : "?";
}

static enum dapt_status open_random(const struct dapt_config *config, struct dapt_model **model) {
    struct dapt_string text = {0};
    struct dapt_json *copy = NULL;
    enum dapt_status status;
    if (config->model_config) {
        status = dapt_json_read(config->model_config, DAPT_JSON_LIMIT, &copy);
        return status ? status : dapt_model_from_json(copy, model);
    }
    status = dapt_json_write(config->model_random, &text);
    if (!status) status = dapt_json_parse("model.random", text.data, text.length, &copy);
    dapt_string_free(&text);
    return status ? status : dapt_model_from_json(copy, model);
}

// What checkpoints take from the folders of model and tokenizer. "tokenizer.path" is a folder, or a
// file in one.
static enum dapt_status keep_model(struct dapt_setup *setup) {
    struct dapt_arena arena = {0};
    const char *path = setup->tokenizer_path, *slash = path ? strrchr(path, '/') : NULL;
    enum dapt_status status = DAPT_OK;
    if (slash && !dapt_is_dir(path)) {
        path = dapt_arena_copy(&arena, path, (size_t)(slash - path));
        if (!path) status = DAPT_ERROR_MEMORY;
    }
    if (!status) status = dapt_model_keep(setup->model, path, setup->config->checkpoint.dtype);
    dapt_arena_free(&arena);
    return status;
}

// A checkpoint of ours to begin from is what its run wrote.
static enum dapt_status check_checkpoint(const char *folder) {
    cJSON *record = NULL;
    enum dapt_status status = dapt_checkpoint_record(folder, &record);
    if (status == DAPT_END) return DAPT_OK;
    if (!status) status = dapt_checkpoint_files(folder, record, false);
    if (!status) status = dapt_checkpoint_files(folder, record, true);
    cJSON_Delete(record);
    return status;
}

// A run has many models, and its newest one changes: a configuration names one for good.
static enum dapt_status refuse_run(const char *path) {
    struct dapt_arena arena = {0};
    char *checkpoints = dapt_path_join(&arena, path, "checkpoints");
    enum dapt_status status = checkpoints ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && dapt_is_dir(checkpoints))
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "model %s: is the folder of a run; expected one of its checkpoints, as "
                           "%s/step-000500",
                           path, checkpoints);
    dapt_arena_free(&arena);
    return status;
}

// New adapters, or more of those that the model was opened with.
static enum dapt_status adapt(struct dapt_setup *setup) {
    const struct dapt_lora *lora = setup->config->train.lora;
    if (!lora) return DAPT_OK;
    if (setup->model->adapters) return dapt_model_adapt_on(setup->model, lora, "train.lora");
    if (!setup->model->folder)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "train.lora: \"model\" is of new weights, which there is nothing to adapt "
                         "of: expected a model's folder");
    return dapt_model_adapt(setup->model, lora, "train.lora");
}

// Adapters may come without a tokenizer: then it is that of their base.
static enum dapt_status find_tokenizer(struct dapt_setup *setup) {
    const struct dapt_config *config = setup->config;
    setup->tokenizer_path = config->tokenizer.path;
    if (!config->model || config->tokenizer.path != config->model) return DAPT_OK;
    return dapt_model_tokenizer(&setup->model->arena, config->model, config->base,
                                &setup->tokenizer_path);
}

static enum dapt_status open_model(struct dapt_setup *setup, const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    struct dapt_small_text count;
    enum dapt_status status = config->model ? refuse_run(config->model) : DAPT_OK;
    if (!status && config->model) status = check_checkpoint(config->model);
    if (!status)
        status = config->model ? dapt_model_open_on(config->model, config->base, &setup->model)
                               : open_random(config, &setup->model);
    if (!status) status = adapt(setup);
    if (!status) status = find_tokenizer(setup);
    size_t frozen = 0;
    while (config->train.freeze && config->train.freeze[frozen]) frozen++;
    if (!status)
        status = dapt_model_freeze(setup->model, config->train.freeze, frozen, "train.freeze");
    // Before the text is tokenised; the weights themselves come after.
    if (!status) status = keep_model(setup);
    if (status) return status;
    const struct dapt_model *model = setup->model;
    uint64_t trained = dapt_model_trained(model);
    char part[64] = "all";
    if (trained < model->weight_count)
        snprintf(part, sizeof part, "%s of them", dapt_count_text(trained, &count));
    dapt_report_note(reporter, "model           %s, %s, %s parameters, %s trained",
                     config->model ? config->model : "new weights", dapt_setup_family(model),
                     dapt_count_text(model->weight_count, &count), part);
    dapt_trained_tell(model, reporter);
    if (model->max_positions && config->data.sequence > model->max_positions) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "data.sequence is %" PRIu32 ", but the model has %" PRIu32 " positions",
                         config->data.sequence, model->max_positions);
    }
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------- data

static enum dapt_status open_corpus(struct dapt_setup *setup, const struct dapt_reporter *reporter,
                                    const char *name, const struct dapt_data_list *list,
                                    uint64_t max_tokens, struct dapt_corpus **corpus) {
    const struct dapt_config *config = setup->config;
    struct dapt_corpus_options options = {.modules = setup->modules,
                                          .tokenizer = setup->tokenizer,
                                          .sequence = config->data.sequence,
                                          .packing = config->data.packing,
                                          .special = config->data.special,
                                          .cache = config->data.cache,
                                          .skip_errors = config->data.skip_errors,
                                          .skip_errors_key = "data.skip_errors",
                                          .max_tokens = max_tokens,
                                          .vocab = setup->model->vocab,
                                          .threads = config->backend.threads,
                                          .name = name,
                                          .objective = setup->objective};
    struct dapt_string line = {0};
    enum dapt_status status = dapt_corpus_open(list, &options, corpus);
    if (!status) status = dapt_corpus_describe(*corpus, &line);
    if (!status) {
        dapt_report_note(reporter, "%-15s %s%s", name, line.data,
                         dapt_corpus_report(*corpus)->cached ? " (from the cache)" : "");
    }
    dapt_string_free(&line);
    return status;
}

// Copies of what may be private: where they are, and how one gets rid of them.
static void tell_cache(const struct dapt_config *config, const struct dapt_reporter *reporter) {
    struct dapt_arena arena = {0};
    const char *folder;
    if (!dapt_cache_find(config->data.cache, &arena, &folder))
        dapt_report_note(reporter,
                         "cache           tokenised text is kept in %s; see `dapt cache%s`", folder,
                         config->data.cache ? " --cache FOLDER" : "");
    dapt_arena_free(&arena);
}

// "auto": what the model was made for.
static enum dapt_objective_kind objective_kind(const struct dapt_setup *setup) {
    enum dapt_objective_kind kind = setup->config->train.objective.kind;
    if (kind != DAPT_OBJECTIVE_AUTO) return kind;
    return setup->model->masked ? DAPT_OBJECTIVE_MASKED : DAPT_OBJECTIVE_CAUSAL;
}

static enum dapt_status open_objective(struct dapt_setup *setup,
                                       const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    bool masked = objective_kind(setup) == DAPT_OBJECTIVE_MASKED;
    if (setup->model->masked && !masked)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "train.objective.kind is \"causal\", but a %s model predicts hidden "
                         "tokens: set it to \"masked\" or \"auto\"",
                         dapt_setup_family(setup->model));
    if (masked)
        dapt_report_note(reporter,
                         "objective       masked: %g %% of the tokens are predicted, from all "
                         "others of their text",
                         100 * config->train.objective.rate);
    const struct dapt_objective_options options = {
        .kind = objective_kind(setup),
        .rate = config->train.objective.rate,
        .whole_words = config->train.objective.whole_words,
        .mask = config->train.objective.mask,
        .seed = config->train.seed};
    return dapt_objective_create(&options, setup->tokenizer, &setup->objective);
}

static enum dapt_status open_corpora(struct dapt_setup *setup,
                                     const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    char name[128];
    enum dapt_status status = open_corpus(setup, reporter, "domain", &config->data.domain, 0,
                                          &setup->domain);
    if (!status && config->data.replay.from.count > 0)
        status = open_corpus(setup, reporter, "replay", &config->data.replay.from, 0,
                             &setup->replay);
    if (!status && config->data.eval_count > 0) {
        setup->evals = dapt_alloc(config->data.eval_count, sizeof *setup->evals);
        if (!setup->evals) return DAPT_ERROR_MEMORY;
    }
    for (size_t i = 0; !status && i < config->data.eval_count; i++) {
        const struct dapt_eval_set *set = &config->data.eval[i];
        snprintf(name, sizeof name, "eval %s", set->name);
        status = open_corpus(setup, reporter, name, &set->data, config->data.eval_tokens,
                             &setup->evals[i]);
    }
    if (!status) tell_cache(config, reporter);
    return status;
}

// One rank of each machine tokenises what is not in its cache; the others find it there.
static enum dapt_status open_in_turn(struct dapt_setup *setup,
                                     const struct dapt_reporter *reporter) {
    bool waits = dapt_ranks_world(setup->ranks)->local_rank > 0;
    enum dapt_status status = waits ? dapt_ranks_barrier(setup->ranks) : DAPT_OK;
    if (!status) status = open_corpora(setup, reporter);
    return status || waits ? status : dapt_ranks_barrier(setup->ranks);
}

static enum dapt_status open_data(struct dapt_setup *setup, const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    enum dapt_status status = dapt_tokenizer_open(setup->modules, config->tokenizer.plugin,
                                                  config->tokenizer.options, setup->tokenizer_path,
                                                  &setup->tokenizer);
    uint32_t vocab = status ? 0 : dapt_tokenizer_vocab_size(setup->tokenizer);
    if (!status && objective_kind(setup) == DAPT_OBJECTIVE_CAUSAL &&
        dapt_tokenizer_special(setup->tokenizer, DAPT_SPECIAL_EOS) < 0)
        dapt_log(
            DAPT_LOG_WARNING,
            "no end-of-text token is known: documents are not ended by one, and generation does "
            "not learn to stop; set \"eos_token\" in the model's tokenizer_config.json to a token "
            "of its vocabulary");
    if (vocab > setup->model->vocab) {  // told before hours of tokenising; the text decides
        dapt_log(DAPT_LOG_WARNING,
                 "the tokenizer has %" PRIu32 " ids, the model's vocabulary only %" PRIu32
                 " entries",
                 vocab, setup->model->vocab);
    }
    if (!status) status = open_objective(setup, reporter);
    return status ? status : open_in_turn(setup, reporter);
}

// ------------------------------------------------------------------------------------------- plan

static enum dapt_status plan_steps(struct dapt_setup *setup) {
    const struct dapt_config *config = setup->config;
    uint64_t sequences = dapt_corpus_report(setup->domain)->sequences;
    uint64_t step_tokens = (uint64_t)config->train.batch * config->data.sequence;
    uint32_t ranks = dapt_ranks_count(setup->ranks), rank = dapt_ranks_index(setup->ranks);
    double steps = 0;
    if (setup->micro == 0 || config->train.batch % setup->micro != 0) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "train.micro_batch is %" PRIu32
                         ", expected a divisor of train.batch (%" PRIu32 ")",
                         setup->micro, config->train.batch);
    }
    setup->micros = config->train.batch / setup->micro;
    if (setup->micros < ranks)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "train.batch of %" PRIu32 " in micro-batches of %" PRIu32 " is %" PRIu32
                         " for %" PRIu32
                         " ranks, and each needs one: a larger train.batch, a smaller "
                         "train.micro_batch, or fewer ranks",
                         config->train.batch, setup->micro, setup->micros, ranks);
    setup->first = (uint32_t)((uint64_t)setup->micros * rank / ranks);
    setup->own = (uint32_t)((uint64_t)setup->micros * (rank + 1) / ranks) - setup->first;
    if (config->train.steps)
        setup->steps = config->train.steps;
    else if (config->train.tokens)
        setup->steps = config->train.tokens / step_tokens +
                       (config->train.tokens % step_tokens != 0);
    else
        steps = ceil(config->train.epochs * (double)sequences /
                     ((double)config->train.batch * (1 - config->data.replay.share)));
    if (steps >= 1 && steps < 0x1p53) setup->steps = (uint64_t)steps;
    if (setup->steps == 0 || setup->steps >= (UINT64_C(1) << 53) / config->train.batch) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "train: %" PRIu64
                         " steps; expected at least one, and a number that can be counted",
                         setup->steps);
    }
    return DAPT_OK;
}

// What the schedule says, and of each raise up to there its part: a function of the step and the steps of
// the raises.
static enum dapt_status replay_share(void *context, uint64_t step, double *share) {
    const struct dapt_setup *setup = context;
    double factor = setup->config->train.raise_replay.factor,
           limit = setup->config->train.raise_replay.limit;
    struct dapt_schedule_point point;
    enum dapt_status status = dapt_setup_point(setup, step, &point);
    *share = point.replay_share;
    for (size_t i = 0; i < setup->raise_count && setup->raises[i] <= step; i++)
        *share = fmax(*share, fmin(*share * factor, limit));
    return status;
}

enum dapt_status dapt_setup_raise(struct dapt_setup *setup, uint64_t step, double *before,
                                  double *after) {
    enum dapt_status status = replay_share(setup, step, before);
    if (!status)
        status = dapt_grow(&setup->raises, &setup->raise_capacity, setup->raise_count + 1,
                           sizeof *setup->raises);
    if (status) return status;
    setup->raises[setup->raise_count++] = step;
    status = replay_share(setup, step, after);
    if (status || *after == *before) setup->raise_count--;
    return status;
}

static enum dapt_status open_mix(struct dapt_setup *setup) {
    const struct dapt_mix_options options = {.domain = setup->domain,
                                             .replay = setup->replay,
                                             .objective = setup->objective,
                                             .seed = setup->config->train.seed,
                                             .batch = setup->config->train.batch,
                                             .share = replay_share,
                                             .context = setup};
    return dapt_mix_create(&options, &setup->mix);
}

double dapt_setup_passes(const struct dapt_setup *setup) {
    return (double)setup->steps * setup->config->train.batch *
           (1 - setup->config->data.replay.share) /
           (double)dapt_corpus_report(setup->domain)->sequences;
}

static void tell_plan(const struct dapt_setup *setup, const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    uint64_t step_tokens = (uint64_t)config->train.batch * config->data.sequence;
    double passes = dapt_setup_passes(setup);
    struct dapt_small_text a, b, c;
    char micro[96] = "";
    int used = setup->micros > 1
                   ? snprintf(micro, sizeof micro, " in %" PRIu32 " micro-batches", setup->micros)
                   : 0;
    if (setup->ranks)
        snprintf(micro + used, sizeof micro - (size_t)used, " on %" PRIu32 " ranks",
                 dapt_ranks_count(setup->ranks));
    dapt_report_note(reporter,
                     "plan            %s of %s tokens (%" PRIu32 " x %" PRIu32
                     "%s): %s tokens, %.3g passes over the domain",
                     dapt_counted_text(setup->steps, "step", &a), dapt_count_text(step_tokens, &b),
                     config->train.batch, config->data.sequence, micro,
                     dapt_count_text(setup->steps * step_tokens, &c), passes);
    // Muennighoff et al. 2023: up to four passes are worth nearly as much as new text, later ones less
    // and less.
    if (passes > 4)
        dapt_log(
            DAPT_LOG_WARNING,
            "%.3g passes over the domain: beyond about 4 a model learns its text by heart; fewer "
            "steps, more text, or replay would serve it better",
            passes);
}

// ----------------------------------------------------------------------------------------- device

static void tell_memory(const struct dapt_setup *setup, const struct dapt_reporter *reporter) {
    uint64_t bytes[DAPT_BUFFER_ROLE_COUNT], total = dapt_engine_memory(setup->engine, bytes);
    struct dapt_small_text parameters, gradients, optimizer, work, rest, all;
    uint64_t state = bytes[DAPT_BUFFER_MOMENT1] + bytes[DAPT_BUFFER_MOMENT2],
             host = dapt_fit_host_bytes(setup, bytes);
    bytes[DAPT_BUFFER_PARAM] += bytes[DAPT_BUFFER_FROZEN];
    uint64_t other = total - bytes[DAPT_BUFFER_PARAM] - bytes[DAPT_BUFFER_GRAD] - state -
                     bytes[DAPT_BUFFER_WORK];
    dapt_report_note(
        reporter,
        "memory          %s: parameters %s, gradients %s, optimizer %s%s, activations %s, other %s",
        dapt_bytes_text(total - host, &all), dapt_bytes_text(bytes[DAPT_BUFFER_PARAM], &parameters),
        dapt_bytes_text(bytes[DAPT_BUFFER_GRAD], &gradients), dapt_bytes_text(state, &optimizer),
        host ? " in the host's memory, beside these" : "",
        dapt_bytes_text(bytes[DAPT_BUFFER_WORK], &work), dapt_bytes_text(other, &rest));
}

static struct dapt_engine_options engine_options(const struct dapt_setup *setup) {
    const struct dapt_config *config = setup->config;
    return (struct dapt_engine_options){
        .train = true,
        .sequences = setup->micro,
        .length = config->data.sequence,
        .recompute = setup->recompute,
        .precision = config->backend.precision,
        .beta1 = (float)config->train.optimizer.beta1,
        .beta2 = (float)config->train.optimizer.beta2,
        .eps = (float)config->train.optimizer.eps,
        .moments = config->train.optimizer.moments,
        .decay_all = config->train.optimizer.decay == DAPT_DECAY_ALL,
        .ranks = setup->ranks};
}

// The largest micro-batch of which a step has at least one for each rank: a divisor of the batch. 1 where
// there are fewer sequences than ranks.
static uint32_t largest_micro(uint32_t batch, uint32_t ranks) {
    uint32_t most = batch / ranks ? batch / ranks : 1;
    while (batch % most) most--;
    return most;
}

// Micro-batch and recomputation: as configured, as before in this run, or what the memory takes.
static enum dapt_status choose_fit(struct dapt_setup *setup, const struct dapt_fit *fit,
                                   const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    uint32_t micro = config->train.micro_batch;
    uint32_t most = largest_micro(config->train.batch, dapt_ranks_count(setup->ranks));
    setup->micro = micro && micro != DAPT_AUTO ? micro : most;
    setup->recompute = config->train.recompute;
    if (!dapt_fit_asked(config)) return DAPT_OK;
    if (!fit || !fit->micro || (micro == DAPT_AUTO && fit->micro > most))
        return dapt_fit_choose(setup, engine_options(setup), reporter);
    if (micro == DAPT_AUTO) setup->micro = fit->micro;
    if (config->train.recompute == DAPT_RECOMPUTE_AUTO) setup->recompute = fit->recompute;
    return DAPT_OK;
}

static enum dapt_status open_engine(struct dapt_setup *setup,
                                    const struct dapt_reporter *reporter) {
    struct dapt_engine_options options = engine_options(setup);
    enum dapt_status status = dapt_engine_create(setup->model, setup->device, &options,
                                                 &setup->engine);
    if (!status) tell_memory(setup, reporter);
    return status;
}

static enum dapt_status open_schedule(struct dapt_setup *setup, struct dapt_config *config,
                                      const struct dapt_reporter *reporter) {
    static const char *const ours[] = {"plugin", NULL};
    const struct dapt_plugin_descriptor *descriptor = dapt_modules_plugin(
        setup->modules, DAPT_SCHEDULE_1, config->train.schedule.plugin);
    if (!descriptor) return dapt_fail_in(DAPT_ERROR_INVALID, "train.schedule.plugin");
    enum dapt_status status = dapt_rate_choose(config, setup->model, descriptor->options, reporter);
    if (!status)
        status = dapt_options_create(descriptor->options, config->train.schedule.options, ours,
                                     &setup->schedule_options);
    if (status) return status;
    setup->schedule = descriptor->implementation;
    setup->schedule_call = (struct dapt_call){
        .module = dapt_modules_file(setup->modules, descriptor),
        .kind = "schedule",
        .id = descriptor->id,
        .function = "open or at"};
    const struct dapt_call *before = dapt_call_note(&setup->schedule_call);
    status = setup->schedule->open(dapt_host(), setup->schedule_options, &setup->schedule_handle);
    dapt_call_note(before);
    return status ? dapt_fail_in(status, "train.schedule \"%s\"", descriptor->id) : DAPT_OK;
}

enum dapt_status dapt_setup_point(const struct dapt_setup *setup, uint64_t step,
                                  struct dapt_schedule_point *point) {
    *point = (struct dapt_schedule_point){
        .weight_decay = setup->config->train.optimizer.weight_decay,
        .replay_share = setup->config->data.replay.share};
    const struct dapt_call *before = dapt_call_note(&setup->schedule_call);
    setup->schedule->at(setup->schedule_handle, step, setup->steps, point);
    dapt_call_note(before);
    if (isfinite(point->learning_rate) && point->learning_rate >= 0 &&
        isfinite(point->weight_decay))
        return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "train.schedule \"%s\": gives a learning rate of %g and a weight decay of %g "
                     "at step %" PRIu64,
                     setup->config->train.schedule.plugin, point->learning_rate,
                     point->weight_decay, step);
}

enum dapt_status dapt_setup_schedule_hash(const struct dapt_setup *setup, struct dapt_hash *hash) {
    const uint64_t most = 4096, count = setup->steps < most ? setup->steps : most;
    struct dapt_hasher *hasher = NULL;
    enum dapt_status status = dapt_hasher_create(&hasher);
    for (uint64_t i = 0; i < count && !status; i++) {
        struct dapt_schedule_point point;
        uint64_t step = (uint64_t)((double)i * (double)setup->steps / (double)count);
        status = dapt_setup_point(setup, step, &point);
        double values[] = {point.learning_rate, point.weight_decay, point.replay_share};
        dapt_hasher_add(hasher, values, sizeof values);
    }
    if (!status) *hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    return status;
}

// ------------------------------------------------------------------------------------------ setup

// What is cheap to find wrong comes first: the device before hours of tokenising.
static enum dapt_status open_all(struct dapt_config *config, const struct dapt_fit *fit,
                                 const struct dapt_reporter *reporter, bool device,
                                 struct dapt_setup *setup) {
    enum dapt_status status = open_model(setup, reporter);
    if (!status) status = open_schedule(setup, config, reporter);
    if (!status && device) status = dapt_setup_device(setup, reporter);
    if (!status && device) dapt_precision_choose(config, dapt_device_info(setup->device), reporter);
    if (!status) status = open_data(setup, reporter);
    if (!status && device) status = choose_fit(setup, fit, reporter);
    if (!device) setup->micro = config->train.batch;
    if (!status) status = plan_steps(setup);
    return status ? status : open_mix(setup);
}

enum dapt_status dapt_setup_join(const struct dapt_config *config, struct dapt_setup *setup) {
    // Others wait while one rank tokenises. One that is gone is seen long before.
    static const struct dapt_comm_options patient = {.timeout = 6 * 3600.0};
    *setup = (struct dapt_setup){.config = config};
    enum dapt_status status = dapt_modules_load(config->plugins, &setup->modules);
    return status ? status : dapt_ranks_join(setup->modules, &patient, &setup->ranks);
}

enum dapt_status dapt_setup_open_data(struct dapt_config *config,
                                      const struct dapt_reporter *reporter,
                                      struct dapt_setup *setup) {
    *setup = (struct dapt_setup){.config = config};
    enum dapt_status status = dapt_modules_load(config->plugins, &setup->modules);
    return status ? status : open_all(config, NULL, reporter, false, setup);
}

enum dapt_status dapt_setup_open(struct dapt_config *config, const struct dapt_fit *fit,
                                 const struct dapt_reporter *reporter, struct dapt_setup *setup) {
    enum dapt_status status = open_all(config, fit, reporter, true, setup);
    if (!status) status = open_engine(setup, reporter);
    if (!status) tell_plan(setup, reporter);
    return status;
}

void dapt_setup_close(struct dapt_setup *setup) {
    dapt_engine_destroy(&setup->engine);
    dapt_device_close(&setup->device);
    if (setup->schedule) setup->schedule->close(setup->schedule_handle);
    dapt_options_destroy(&setup->schedule_options);
    for (size_t i = 0; setup->evals && i < setup->config->data.eval_count; i++)
        dapt_corpus_close(&setup->evals[i]);
    free(setup->evals);
    dapt_mix_destroy(&setup->mix);
    free(setup->raises);
    dapt_corpus_close(&setup->domain);
    dapt_corpus_close(&setup->replay);
    dapt_objective_destroy(&setup->objective);
    dapt_tokenizer_close(&setup->tokenizer);
    dapt_model_close(&setup->model);
    dapt_ranks_close(&setup->ranks);
    dapt_modules_unload(&setup->modules);
    *setup = (struct dapt_setup){0};
}

enum dapt_status dapt_setup_weights(struct dapt_setup *setup) {
    const char *folder = setup->config->model;
    const struct dapt_adapters *adapters = setup->model->adapters;
    enum dapt_status status = folder ? dapt_engine_load(setup->engine, folder) : DAPT_OK;
    if (status || (folder && (!adapters || adapters->folder))) return status;
    return dapt_engine_init(setup->engine, setup->config->train.seed);
}
