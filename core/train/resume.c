#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "train/fingerprint.h"
#include "train/fit.h"
#include "train/trainer.h"

// ----------------------------------------------------------------------------------------- record

void dapt_trainer_set_hash(const struct dapt_trainer *t, size_t i, char text[33]) {
    struct dapt_hash hash;
    dapt_corpus_hash(t->setup.evals[i], &hash);
    dapt_hash_text(hash, text);
}

static void add_evaluations(const struct dapt_trainer *t, cJSON *record) {
    char data[33];
    cJSON *list = cJSON_AddArrayToObject(record, "evaluations");
    for (size_t i = 0; list && i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        cJSON *item = cJSON_CreateObject();
        dapt_trainer_set_hash(t, i, data);
        cJSON_AddStringToObject(item, "name", t->config->data.eval[i].name);
        cJSON_AddStringToObject(item, "data", data);
        dapt_json_add_number(item, "nats_per_token", e->nats_per_token);
        dapt_json_add_number(item, "bits_per_byte", e->bits_per_byte);
        dapt_json_add_number(item, "nats_before", e->nats_before);
        dapt_json_add_number(item, "bits_before", e->bits_before);
        dapt_json_add_number(item, "change_low", e->change_low);
        dapt_json_add_number(item, "change_high", e->change_high);
        dapt_ledger_record(t, i, item);
        cJSON_AddItemToArray(list, item);
    }
}

static void add_step(cJSON *record, const char *key, uint64_t step) {
    if (step == DAPT_NEVER)
        cJSON_AddNullToObject(record, key);
    else
        cJSON_AddNumberToObject(record, key, (double)step);
}

static void add_mix(const struct dapt_trainer *t, cJSON *record) {
    struct dapt_mix_position position;
    dapt_mix_position(t->setup.mix, &position);
    cJSON *mix = cJSON_AddObjectToObject(record, "mix");
    cJSON_AddNumberToObject(mix, "step", (double)position.step);
    cJSON_AddNumberToObject(mix, "replay", (double)position.replay);
    cJSON_AddNumberToObject(mix, "fraction", position.fraction);
}

// Which builds of tokenizer and schedule took part. For people: what is compared is what they give. (That
// of a source shows in the text's hash: with the text in the cache none is asked.)
static void add_modules(const struct dapt_trainer *t, cJSON *record) {
    const char *const used[][2] = {{DAPT_TOKENIZER_1, t->config->tokenizer.plugin},
                                   {DAPT_SCHEDULE_1, t->config->train.schedule.plugin}};
    cJSON *modules = cJSON_AddObjectToObject(record, "modules");
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
        char name[256], text[33];
        snprintf(name, sizeof name, "%s %s", used[i][0], used[i][1]);
        dapt_hash_text(
            dapt_modules_content(t->setup.modules,
                                 dapt_modules_plugin(t->setup.modules, used[i][0], used[i][1])),
            text);
        cJSON_AddStringToObject(modules, name, text);
    }
}

static void add_fit(const struct dapt_trainer *t, cJSON *record) {
    cJSON *fit = cJSON_AddObjectToObject(record, "fit");
    cJSON_AddNumberToObject(fit, "micro_batch", t->setup.micro);
    cJSON_AddBoolToObject(fit, "recompute", t->setup.recompute == DAPT_RECOMPUTE_BLOCK);
}

static void add_scale(const struct dapt_trainer *t, cJSON *record) {
    cJSON *scale = cJSON_AddObjectToObject(record, "loss_scale");
    cJSON_AddNumberToObject(scale, "next", t->scale.next);
    cJSON_AddNumberToObject(scale, "value", t->scale.value);
    cJSON_AddNumberToObject(scale, "good", (double)t->scale.good);
    cJSON_AddNumberToObject(scale, "overflows", (double)t->scale.overflows);
}

static void add_patience(const struct dapt_trainer *t, cJSON *record) {
    cJSON *patience = cJSON_AddObjectToObject(record, "patience");
    add_step(patience, "step", t->judged);
    dapt_json_add_number(patience, "lowest", t->lowest);
    cJSON_AddNumberToObject(patience, "stale", (double)t->stale);
}

static void add_raises(const struct dapt_trainer *t, cJSON *record) {
    cJSON *raises = cJSON_AddArrayToObject(record, "raises");
    for (size_t i = 0; i < t->setup.raise_count; i++)
        cJSON_AddItemToArray(raises, cJSON_CreateNumber((double)t->setup.raises[i]));
}

// No times and no paths: a run that was killed and resumed leaves the same record as one that was
// not.
cJSON *dapt_trainer_record(const struct dapt_trainer *t) {
    char seed[24];
    cJSON *record = cJSON_CreateObject();
    if (!record) return NULL;
    snprintf(seed, sizeof seed, "%" PRIu64, t->config->train.seed);
    cJSON_AddStringToObject(record, "format", "dapt.run/1");
    cJSON *versions = cJSON_AddObjectToObject(record, "versions");
    cJSON_AddStringToObject(versions, "dapt", dapt_version());
    cJSON_AddNumberToObject(versions, "plugin_abi", DAPT_PLUGIN_ABI);
    cJSON_AddNumberToObject(versions, "backend_abi", DAPT_BACKEND_ABI);
    add_modules(t, record);
    cJSON_AddNumberToObject(record, "step", (double)t->step);
    cJSON_AddNumberToObject(record, "steps", (double)t->setup.steps);
    cJSON_AddNumberToObject(record, "updates", (double)t->updates);
    cJSON_AddNumberToObject(record, "skipped", (double)t->skipped);
    cJSON_AddNumberToObject(record, "skipped_in_row", (double)t->bad_in_row);
    cJSON_AddNumberToObject(record, "next_sequence", (double)(t->step * t->config->train.batch));
    cJSON_AddNumberToObject(record, "tokens", (double)t->tokens);
    cJSON_AddStringToObject(record, "seed", seed);
    add_mix(t, record);
    cJSON_AddStringToObject(record, "data", t->data_hash);
    if (t->setup.replay) cJSON_AddStringToObject(record, "replay", t->replay_hash);
    cJSON_AddStringToObject(record, "model", t->model_hash);
    if (*t->base_hash) cJSON_AddStringToObject(record, "base", t->base_hash);
    cJSON_AddStringToObject(record, "schedule", t->schedule_hash);
    cJSON_AddStringToObject(record, "objective",
                            dapt_objective_name(dapt_objective_kind(t->setup.objective)));
    cJSON_AddStringToObject(record, "config", t->fingerprint_hash);
    cJSON_AddItemToObject(record, "course", cJSON_Duplicate(t->fingerprint, true));
    cJSON_AddItemToObject(record, "tokenizer",
                          t->tokenizer ? cJSON_Duplicate(t->tokenizer, true) : cJSON_CreateNull());
    if (dapt_fit_asked(t->config)) add_fit(t, record);
    if (t->scale.value > 0) add_scale(t, record);
    add_step(record, "evaluated", t->evaluated);
    add_evaluations(t, record);
    add_step(record, "best", t->best);
    dapt_json_add_number(record, "best_value", t->best_value);
    const struct dapt_evaluation *decides = dapt_trainer_deciding(t);
    cJSON_AddItemToObject(record, "best_set",
                          decides ? cJSON_CreateString(decides->name) : cJSON_CreateNull());
    add_patience(t, record);
    add_raises(t, record);
    return record;
}

// ----------------------------------------------------------------------------------------- resume

static enum dapt_status read_count(const cJSON *record, const char *key, uint64_t *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(record, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < 0x1p53)) {
        return dapt_fail(DAPT_ERROR_INVALID, "run.json: \"%s\" is not a count", key);
    }
    *value = (uint64_t)item->valuedouble;
    return DAPT_OK;
}

static uint64_t read_step(const cJSON *record, const char *key) {
    double value = dapt_json_value(record, key);
    return value >= 0 && value < 0x1p53 ? (uint64_t)value : DAPT_NEVER;
}

// What the record has of the i-th set; NULL: nothing, or of another text by the same name.
static const cJSON *find_set(const struct dapt_trainer *t, const cJSON *record, size_t i) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(record, "evaluations"), *item;
    char data[33];
    dapt_trainer_set_hash(t, i, data);
    cJSON_ArrayForEach(item, list) {
        if (dapt_json_has_text(item, "name", t->config->data.eval[i].name) &&
            dapt_json_has_text(item, "data", data))
            return item;
    }
    return NULL;
}

// What the sets gave before, by name: the sets of a configuration may change between two runs, and
// figures of another text are no figures before. Nor is a checkpoint the best one by another set.
static enum dapt_status read_evaluations(struct dapt_trainer *t, const cJSON *record) {
    const struct dapt_evaluation *decides = dapt_trainer_deciding(t);
    enum dapt_status status = DAPT_OK;
    if (decides && !dapt_json_has_text(record, "best_set", decides->name)) t->best = DAPT_NEVER;
    for (size_t i = 0; !status && i < t->config->data.eval_count; i++) {
        struct dapt_evaluation *e = &t->evaluations[i];
        const cJSON *item = find_set(t, record, i);
        if (!item) {
            t->evaluated = DAPT_NEVER;
            if (e == decides) t->best = DAPT_NEVER;
            continue;
        }
        e->nats_per_token = dapt_json_value(item, "nats_per_token");
        e->bits_per_byte = dapt_json_value(item, "bits_per_byte");
        e->perplexity = exp(e->nats_per_token);
        e->nats_before = dapt_json_value(item, "nats_before");
        e->bits_before = dapt_json_value(item, "bits_before");
        e->change_low = dapt_json_value(item, "change_low");
        e->change_high = dapt_json_value(item, "change_high");
        status = dapt_ledger_restore(t, i, item);
    }
    // A budget may be another one now, and what the best checkpoint cost be unknown.
    if (!dapt_trainer_inside(t, t->best)) t->best = DAPT_NEVER;
    if (t->best == DAPT_NEVER) t->best_value = NAN;
    return status;
}

// Patience begins anew where another set, or another text of it, decides now.
static void read_patience(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *patience = cJSON_GetObjectItemCaseSensitive(record, "patience");
    const struct dapt_evaluation *decides = dapt_trainer_deciding(t);
    double stale = dapt_json_value(patience, "stale");
    if (!decides || !dapt_json_has_text(record, "best_set", decides->name) ||
        !isfinite(decides->nats_per_token))
        return;
    t->judged = read_step(patience, "step");
    t->lowest = dapt_json_value(patience, "lowest");
    t->stale = stale >= 0 && stale < 0x1p53 ? (uint64_t)stale : 0;
}

static enum dapt_status read_raises(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(record, "raises"), *item;
    enum dapt_status status = DAPT_OK;
    double before, after, last = 0;
    t->setup.raise_count = 0;
    cJSON_ArrayForEach(item, list) {
        if (status) break;
        if (!cJSON_IsNumber(item) || !(item->valuedouble > last) ||
            item->valuedouble > (double)t->step)
            return dapt_fail(DAPT_ERROR_INVALID, "run.json: \"raises\" is no list of its steps");
        last = item->valuedouble;
        status = dapt_setup_raise(&t->setup, (uint64_t)last, &before, &after);
    }
    return status;
}

// Of a run in float16; its precision is what it was, or the resume is refused before.
static enum dapt_status read_scale(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *scale = cJSON_GetObjectItemCaseSensitive(record, "loss_scale");
    if (t->scale.value == 0) return DAPT_OK;
    double *const values[] = {&t->scale.next, &t->scale.value};
    for (int i = 0; i < 2; i++) {
        double value = dapt_json_value(scale, i ? "value" : "next");
        int exponent;
        if (!(value >= 1 && value <= DAPT_LOSS_SCALE_MOST) || frexp(value, &exponent) != 0.5)
            return dapt_fail(DAPT_ERROR_INVALID,
                             "run.json: \"loss_scale\" has no power of two from 1 on");
        *values[i] = value;
    }
    enum dapt_status status = read_count(scale, "good", &t->scale.good);
    return status ? status : read_count(scale, "overflows", &t->scale.overflows);
}

static enum dapt_status read_mix(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *mix = cJSON_GetObjectItemCaseSensitive(record, "mix");
    struct dapt_mix_position position;
    uint64_t fraction = 0;
    if (!mix) return dapt_mix_seek(t->setup.mix, t->step);  // written before there was replay
    enum dapt_status status = read_count(mix, "step", &position.step);
    if (!status) status = read_count(mix, "replay", &position.replay);
    if (!status) status = read_count(mix, "fraction", &fraction);
    if (!status &&
        ((position.step != t->step && position.step + 1 != t->step) || fraction > UINT32_MAX))
        status = dapt_fail(DAPT_ERROR_INVALID, "run.json: \"mix\" is of another step");
    if (status) return status;
    position.fraction = (uint32_t)fraction;
    return dapt_mix_restore(t->setup.mix, &position);
}

// A plugin may have been built anew under the same version.
static enum dapt_status check_schedule(const struct dapt_trainer *t, const cJSON *record,
                                       uint64_t steps) {
    if (steps != t->setup.steps || !cJSON_GetObjectItemCaseSensitive(record, "schedule") ||
        dapt_json_has_text(record, "schedule", t->schedule_hash))
        return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "train.schedule.plugin \"%s\" gives other values than when the checkpoint was "
                     "written: it was built anew; set it back, or start another run folder",
                     t->config->train.schedule.plugin);
}

static enum dapt_status check_base(const struct dapt_trainer *t, const cJSON *record) {
    if (!*t->base_hash || dapt_json_has_text(record, "base", t->base_hash)) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: is not the base that the run's adapters were trained on: its "
                     "config.json or weights differ; set it back, or start another run folder",
                     t->setup.model->folder);
}

static enum dapt_status read_record(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(record, "format");
    uint64_t steps = 0;
    if (!cJSON_IsString(format) || strcmp(format->valuestring, "dapt.run/1") != 0) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "run.json: its format is not \"dapt.run/1\": written by another version");
    }
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(record, "course");
    if (!cJSON_IsObject(then)) {
        return dapt_fail(DAPT_ERROR_INVALID, "run.json: \"course\" is not an object");
    }
    enum dapt_status status = dapt_fingerprint_compare(then, t->fingerprint, t->setup.modules);
    if (!status && !dapt_json_has_text(record, "model", t->model_hash)) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "the model's config.json means another model than when the checkpoint "
                           "was written; set it back, or start another run folder for it");
    }
    if (!status) status = check_base(t, record);
    if (!status && !dapt_json_has_text(record, "data", t->data_hash)) {
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "data.domain holds other text, or is tokenised otherwise, than when the checkpoint "
            "was written; start another run folder for it");
    }
    const cJSON *replay = cJSON_GetObjectItemCaseSensitive(record, "replay");
    if (!status && strcmp(cJSON_IsString(replay) ? replay->valuestring : "", t->replay_hash) != 0)
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "data.replay.from holds other text, or is tokenised otherwise, than when "
            "the checkpoint was written; start another run folder for it");
    if (!status) status = read_count(record, "steps", &steps);
    if (!status) status = dapt_fingerprint_steps(steps, t->setup.steps, t->options->sets);
    if (!status) status = check_schedule(t, record, steps);
    if (!status) status = read_count(record, "step", &t->step);
    if (!status) status = read_count(record, "updates", &t->updates);
    if (!status) status = read_count(record, "skipped", &t->skipped);
    if (!status) status = read_count(record, "skipped_in_row", &t->bad_in_row);
    if (!status) status = read_count(record, "tokens", &t->tokens);
    if (!status && t->step != t->updates + t->skipped) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "run.json: steps, updates and skipped steps do not fit together");
    }
    if (!status && t->step > t->setup.steps) {
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "the run is at step %" PRIu64 " already, beyond the %" PRIu64
                           " asked for",
                           t->step, t->setup.steps);
    }
    if (!status) status = read_raises(t, record);
    if (!status) status = read_mix(t, record);
    if (!status) status = read_scale(t, record);
    if (status) return status;
    t->evaluated = read_step(record, "evaluated");
    t->best = read_step(record, "best");
    t->best_value = dapt_json_value(record, "best_value");
    status = read_evaluations(t, record);
    read_patience(t, record);
    return status;
}

// Puts a damaged checkpoint aside, so that it is neither tried again nor in the way.
static bool put_aside(struct dapt_trainer *t, uint64_t step) {
    struct dapt_arena arena = {0};
    char name[32];
    dapt_run_folder_name(step, name);
    dapt_log(DAPT_LOG_WARNING, "checkpoint %s is not whole: %s", name, dapt_error());
    char *from = dapt_path_join(&arena, t->run.checkpoints, name);
    char *to = dapt_arena_format(&arena, "%s/damaged-%s", t->run.checkpoints, name);
    bool moved = from && to && dapt_remove_tree(to) == DAPT_OK && dapt_rename(from, to) == DAPT_OK;
    if (moved)
        dapt_log(DAPT_LOG_WARNING, "put aside as damaged-%s; falling back to the one before", name);
    dapt_arena_free(&arena);
    return moved;
}

static enum dapt_status newest_whole(struct dapt_trainer *t, struct dapt_arena *arena,
                                     char **folder, cJSON **record) {
    uint64_t *steps;
    size_t count, left;
    enum dapt_status status = dapt_run_folder_steps(&t->run, &steps, &count);
    if (status) return status;
    *folder = NULL;
    for (left = count; !status && left > 0 && !*record; left--) {
        *folder = dapt_run_folder_checkpoint(arena, &t->run, steps[left - 1]);
        status = *folder ? dapt_checkpoint_check(*folder, record) : DAPT_ERROR_MEMORY;
        if (status == DAPT_ERROR_INVALID) {
            put_aside(t, steps[left - 1]);
            status = DAPT_OK;
        } else if (status == DAPT_ERROR_IO) {  // it may be whole: nothing is decided
            dapt_fail_in(status, "resume: a checkpoint cannot be read");
        }
    }
    if (!status && count > 0 && !*record) {
        status = dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: none of its checkpoints (%zu) is whole; to begin anew, use another run folder",
            t->run.path, count);
    }
    free(steps);
    return status;
}

// A kill may fall between a checkpoint and the marks that follow it, and damaged ones were put
// aside: the marks follow the record. Pruning keeps what RUN/best names.
static enum dapt_status restore_marks(struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    char *best = NULL;
    enum dapt_status status = dapt_run_folder_mark(&t->run, "latest", t->step);
    if (!status && t->best != DAPT_NEVER &&
        !(best = dapt_run_folder_checkpoint(&arena, &t->run, t->best)))
        status = DAPT_ERROR_MEMORY;
    if (!status && best && dapt_is_dir(best)) {
        status = dapt_run_folder_mark(&t->run, "best", t->best);
    } else if (!status) {
        t->best = DAPT_NEVER;
        t->best_value = NAN;
        status = dapt_run_folder_unmark(&t->run, "best");
    }
    dapt_arena_free(&arena);
    return status;
}

// Takes the newest checkpoint that can be restored. DAPT_END: there is none at all.
static enum dapt_status restore_newest(struct dapt_trainer *t, struct dapt_arena *arena,
                                       char **folder) {
    for (;;) {
        cJSON *record = NULL;
        enum dapt_status status = newest_whole(t, arena, folder, &record);
        if (!status && !record) return DAPT_END;
        if (!status && (status = read_record(t, record)))
            dapt_fail_in(status, "resume from %s", *folder);
        cJSON_Delete(t->restored);
        t->restored = record;
        if (status) return status;
        status = dapt_checkpoint_restore(*folder, t->setup.engine, t->setup.model);
        // Numbers that are not finite, say: as bad as damage.
        if (status != DAPT_ERROR_INVALID || !put_aside(t, t->step)) return status;
    }
}

// A budget needs the figures of step 0; where it acts by intervals, those of each document.
static enum dapt_status check_budget(const struct dapt_trainer *t) {
    bool acts = t->config->train.on_budget != DAPT_ON_BUDGET_KEEP_BEST;
    for (size_t i = 0; i < t->config->data.eval_count; i++) {
        const struct dapt_evaluation *e = &t->evaluations[i];
        if (!isfinite(dapt_trainer_budget(t, i))) continue;
        if (!isfinite(e->bits_before))
            return dapt_fail(
                DAPT_ERROR_INVALID,
                "train.budget: what %s was at step 0 is not known: it is a new set, or "
                "of other text now; leave its budget out, or start another run folder",
                e->name);
        if (acts && !dapt_ledger_known(t, i))
            return dapt_fail(DAPT_ERROR_INVALID,
                             "train.budget: the checkpoint is older, and does not hold what the "
                             "documents of %s were at step 0; set train.on_budget to "
                             "\"keep-best\", or start another run folder",
                             e->name);
    }
    return DAPT_OK;
}

enum dapt_status dapt_trainer_resume(struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    char *folder = NULL;
    enum dapt_status status = restore_newest(t, &arena, &folder);
    if (status == DAPT_END) {
        dapt_report_note(&t->reporter, "resume          no checkpoint yet: from the beginning");
        status = dapt_setup_weights(&t->setup);
    } else if (!status) {
        status = restore_marks(t);
        if (!status) status = check_budget(t);
        t->checkpointed = t->step;
        if (!status)
            dapt_report_note(&t->reporter, "resume          from %s, step %" PRIu64 " of %" PRIu64,
                             folder, t->step, t->setup.steps);
    }
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_trainer_resume_others(struct dapt_trainer *t) {
    enum dapt_status status = dapt_trainer_share_record(t, &t->restored);
    if (!status && t->restored && !dapt_trainer_leads(t)) {
        status = read_record(t, t->restored);
        t->checkpointed = t->step;
    }
    cJSON_Delete(t->restored);
    t->restored = NULL;
    return status;
}

// --------------------------------------------------------------------------------- what was chosen

// Of the newest checkpoint that has one to be read: what is damaged is told later. NULL inside: none.
static enum dapt_status newest_record(const struct dapt_trainer *t, cJSON **record) {
    struct dapt_arena arena = {0};
    uint64_t *steps;
    size_t count;
    *record = NULL;
    if (!dapt_trainer_leads(t)) return DAPT_OK;
    enum dapt_status status = dapt_run_folder_steps(&t->run, &steps, &count);
    if (status) return status;
    for (size_t left = count; !*record && left > 0; left--) {
        const char *folder = dapt_run_folder_checkpoint(&arena, &t->run, steps[left - 1]);
        if (folder) dapt_checkpoint_record(folder, record);
    }
    free(steps);
    dapt_arena_free(&arena);
    return DAPT_OK;
}

static void read_fit(const struct dapt_trainer *t, const cJSON *record, struct dapt_fit *fit) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(record, "fit");
    double micro = dapt_json_value(found, "micro_batch");
    // A step of another size has other divisors.
    if (!(micro >= 1 && micro <= t->config->train.batch) || fmod(t->config->train.batch, micro))
        return;
    bool block = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(found, "recompute"));
    fit->micro = (uint32_t)micro;
    fit->recompute = block ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE;
}

static enum dapt_status read_peak(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(record, "course");
    const cJSON *train = cJSON_GetObjectItemCaseSensitive(course, "train");
    const cJSON *schedule = cJSON_GetObjectItemCaseSensitive(train, "schedule");
    double peak = dapt_json_value(schedule, "peak");
    if (!isfinite(peak) ||
        !dapt_json_has_text(schedule, "plugin", t->config->train.schedule.plugin))
        return DAPT_OK;
    return dapt_rate_set(t->config, peak);
}

// Records of before there was a choice have none, or a name that meant float32.
static void read_precision(struct dapt_trainer *t, const cJSON *record) {
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(record, "course");
    const cJSON *backend = cJSON_GetObjectItemCaseSensitive(course, "backend");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(backend, "precision");
    unsigned choice = DAPT_PRECISION_FLOAT32;
    if (!course) return;
    if (!cJSON_IsString(name) ||
        dapt_config_choose("backend.precision", name->valuestring, &choice) ||
        choice == DAPT_PRECISION_AUTO)
        choice = DAPT_PRECISION_FLOAT32;
    t->config->backend.precision = (enum dapt_precision)choice;
}

enum dapt_status dapt_trainer_recall(struct dapt_trainer *t, struct dapt_fit *fit) {
    bool given = dapt_rate_given(t->config),
         precision = t->config->backend.precision != DAPT_PRECISION_AUTO;
    cJSON *record;
    *fit = (struct dapt_fit){0};
    if (given && precision && !dapt_fit_asked(t->config)) return DAPT_OK;
    enum dapt_status status = newest_record(t, &record);
    if (!status) status = dapt_trainer_share_record(t, &record);
    if (status) return status;
    read_fit(t, record, fit);
    if (!precision) read_precision(t, record);
    if (!given) status = read_peak(t, record);
    cJSON_Delete(record);
    return status;
}
