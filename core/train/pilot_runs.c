// Making the pilots, each an ordinary run, and reading from their ledgers what they came to.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "host/json_tree.h"
#include "train/pilot.h"
#include "train/trainer.h"

#define LEDGER_LIMIT ((size_t)1 << 28)
#define DIVERGED "diverged.json"
#define DIVERGED_LIMIT ((size_t)1 << 16)

// What a run is beside what the configuration and --set say. Between its ends nothing is evaluated, so that
// no budget and no patience changes its course. `full`: the run that is recommended, which keeps all that.
const char **dapt_pilot_sets(struct dapt_pilot *p, const struct dapt_pilot_run *run, bool full) {
    static const char *const fixed[] = {"train.evaluate_every=0", "train.keep=1",
                                        "train.on_budget=keep-best", "train.patience=0"};
    const char *const *given = p->options->sets;
    size_t count = 0, n = 0;
    while (given && given[count]) count++;
    const char **sets = dapt_arena_alloc(&p->arena, (count + 12) * sizeof *sets);
    if (!sets) return NULL;
    for (size_t i = 0; i < count; i++) sets[n++] = given[i];
    sets[n++] = dapt_arena_format(&p->arena, "data.replay.share=%.15g", run->share);
    sets[n++] = dapt_arena_format(&p->arena, "train.schedule.peak=%.15g", run->rate);
    sets[n++] = dapt_arena_format(&p->arena, "train.steps=%" PRIu64, run->steps);
    if (!full && run->name[0])
        sets[n++] = dapt_arena_format(&p->arena, "run=%s/%s", p->folder, run->name);
    for (size_t i = 0; !full && i < sizeof fixed / sizeof *fixed; i++) sets[n++] = fixed[i];
    for (size_t i = 0; i < n; i++)
        if (!sets[i]) return NULL;
    return sets;
}

// ----------------------------------------------------------------------------------------- reading

static enum dapt_status read_units(const cJSON *set, struct dapt_pilot_figure *figure) {
    static const struct {
        const char *key;
        size_t offset;
    } columns[] = {{"nats_before", offsetof(struct dapt_paired, before)},
                   {"nats_after", offsetof(struct dapt_paired, after)},
                   {"scored", offsetof(struct dapt_paired, scored)}};
    const cJSON *units = cJSON_GetObjectItemCaseSensitive(set, "units"), *item;
    int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(units, "scored"));
    figure->count = (size_t)count;
    figure->units = dapt_alloc(figure->count + 1, sizeof *figure->units);
    if (!figure->units) return DAPT_ERROR_MEMORY;
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(units, columns[c].key);
        size_t i = 0;
        if (cJSON_GetArraySize(list) != count) return DAPT_ERROR_INVALID;
        cJSON_ArrayForEach(item, list) {
            char *unit = (char *)&figure->units[i++];
            *(double *)(void *)(unit + columns[c].offset) = item->valuedouble;
        }
    }
    return DAPT_OK;
}

// What the ledger says of the set. The first run tells what all sets cost the base; another figure of that
// in a later run is an error.
static enum dapt_status read_set(struct dapt_pilot_set *set, const cJSON *ledger,
                                 struct dapt_pilot_figure *figure) {
    const cJSON *sets = cJSON_GetObjectItemCaseSensitive(ledger, "sets"), *item, *found = NULL;
    cJSON_ArrayForEach(item, sets) {
        if (dapt_json_has_text(item, "name", set->name)) found = item;
    }
    double before = dapt_json_value(found, "nats_before"),
           bits = dapt_json_value(found, "bits_before") / before;
    *figure = (struct dapt_pilot_figure){.nats = dapt_json_value(found, "nats_after"),
                                         .change = dapt_json_value(found, "change"),
                                         .low = dapt_json_value(found, "low"),
                                         .high = dapt_json_value(found, "high")};
    if (!(before > 0) || !(bits > 0) || !(figure->nats > 0) || !isfinite(figure->change))
        return dapt_fail(DAPT_ERROR_INVALID, "says nothing of the set \"%s\"", set->name);
    if (isfinite(set->nats_before) && fabs(before / set->nats_before - 1) > 1e-4)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "the set \"%s\" cost the base %.4f nats/token, in pilots before it %.4f: "
                         "text or model were changed; set \"run\" to another folder",
                         set->name, before, set->nats_before);
    if (!isfinite(set->nats_before)) {
        set->nats_before = before;
        set->bits = bits;
    }
    enum dapt_status status = read_units(found, figure);
    return status == DAPT_ERROR_INVALID
               ? dapt_fail(status, "the documents of \"%s\" are not as written", set->name)
               : status;
}

// A record of a run's. DAPT_END: it is not there, or not whole.
static enum dapt_status read_record(const char *path, size_t limit, cJSON **record) {
    struct dapt_string text = {0};
    *record = NULL;
    if (!dapt_is_file(path)) return DAPT_END;
    enum dapt_status status = dapt_file_read(path, limit, &text);
    if (!status) *record = cJSON_ParseWithLength(text.data, text.length);
    dapt_string_free(&text);
    if (status) return status;
    if (*record && !dapt_record_check(*record, path)) return DAPT_OK;
    cJSON_Delete(*record);
    *record = NULL;
    return DAPT_END;
}

// A run that diverged. DAPT_END: it did not, as far as is known.
static enum dapt_status read_diverged(struct dapt_pilot *p, struct dapt_pilot_run *run) {
    cJSON *record;
    char *path = dapt_arena_format(&p->arena, "%s/%s/" DIVERGED, p->folder, run->name);
    enum dapt_status status = path ? read_record(path, DIVERGED_LIMIT, &record) : DAPT_ERROR_MEMORY;
    if (status) return status;
    run->diverged = (uint64_t)fmax(dapt_json_value(record, "step"), 0);
    cJSON_Delete(record);
    if (run->diverged == 0) return DAPT_END;
    run->figures = dapt_alloc(p->set_count, sizeof *run->figures);
    if (!run->figures) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < p->set_count; i++)
        run->figures[i] = (struct dapt_pilot_figure){INFINITY, INFINITY, INFINITY,
                                                     INFINITY, NULL,     0};
    return DAPT_OK;
}

// DAPT_END: the run has no whole ledger of its last step: it is to be made.
static enum dapt_status read_ledger(const char *path, uint64_t steps, cJSON **ledger) {
    enum dapt_status status = read_record(path, LEDGER_LIMIT, ledger);
    if (status || (dapt_json_value(*ledger, "step") == (double)steps &&
                   dapt_json_value(*ledger, "steps") == (double)steps))
        return status;
    cJSON_Delete(*ledger);
    *ledger = NULL;
    return DAPT_END;
}

static enum dapt_status read_run(struct dapt_pilot *p, struct dapt_pilot_run *run) {
    cJSON *ledger;
    enum dapt_status known = read_diverged(p, run);
    if (known != DAPT_END) return known;
    char *path = dapt_arena_format(&p->arena, "%s/%s/ledger.json", p->folder, run->name);
    enum dapt_status status = path ? read_ledger(path, run->steps, &ledger) : DAPT_ERROR_MEMORY;
    if (status) return status;
    run->figures = dapt_alloc(p->set_count, sizeof *run->figures);
    if (!run->figures) status = DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < p->set_count; i++) {
        status = read_set(&p->sets[i], ledger, &run->figures[i]);
        if (status == DAPT_ERROR_INVALID) dapt_fail_in(status, "%s", path);
    }
    cJSON_Delete(ledger);
    return status;
}

void dapt_pilot_free_runs(struct dapt_pilot *p) {
    for (size_t r = 0; r < p->run_count; r++) {
        for (size_t i = 0; p->runs[r].figures && i < p->set_count; i++)
            free(p->runs[r].figures[i].units);
        free(p->runs[r].figures);
    }
    free(p->runs);
    p->runs = NULL;
}

// ------------------------------------------------------------------------------------------ making

struct listener {
    const struct dapt_pilot *pilot;
    size_t run;
    // The first of the steps whose numbers were none, or the one after which a set's loss was none; 0: it
    // was not so.
    uint64_t diverged;
    char text[192];
};

// No fault of the rate's are a batch without a token to score, whose loss is 0, and what the base itself
// has no number for, in the first step already: such runs end with the trainer's own reason.
static void note_divergence(struct listener *l, const struct dapt_train_event *event) {
    if (event->kind == DAPT_TRAIN_SKIP && !isfinite(event->loss + event->norm) &&
        event->bad_in_row >= l->pilot->config->train.max_bad_steps &&
        event->step > event->bad_in_row) {
        l->diverged = event->step - event->bad_in_row + 1;
        snprintf(l->text, sizeof l->text, "%s", event->text);
    }
    for (size_t i = 0; event->kind == DAPT_TRAIN_EVALUATION && i < event->evaluation_count; i++) {
        const struct dapt_evaluation *set = &event->evaluations[i];
        if (event->step == 0 || l->diverged || isfinite(set->nats_per_token) ||
            !isfinite(set->nats_before))
            continue;
        l->diverged = event->step;
        snprintf(l->text, sizeof l->text, "the loss of %.64s is %g", set->name,
                 set->nats_per_token);
    }
}

static void listen(void *user, const struct dapt_train_event *event) {
    struct listener *l = user;
    char line[160];
    note_divergence(l, event);
    if (event->kind == DAPT_TRAIN_TROUBLE) dapt_log(DAPT_LOG_WARNING, "%s", event->text);
    if (event->kind != DAPT_TRAIN_STEP) return;
    snprintf(line, sizeof line, "pilot %zu  step %" PRIu64 "/%" PRIu64 "  loss %.4f", l->run + 1,
             event->step, event->steps, event->loss);
    dapt_log_status(line);
}

// What the pilots are for is in their ledgers: their weights would fill the disk.
static enum dapt_status clear(struct dapt_pilot *p, const struct dapt_pilot_run *run) {
    static const char *const names[] = {"latest", "best", "checkpoints"};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && !p->options->keep && i < sizeof names / sizeof *names; i++) {
        char *path = dapt_arena_format(&p->arena, "%s/%s/%s", p->folder, run->name, names[i]);
        status = path ? dapt_remove_tree(path) : DAPT_ERROR_MEMORY;
    }
    return status;
}

// Keeps that a run diverged, so that it is not made again.
static enum dapt_status write_diverged(struct dapt_pilot *p, const struct listener *l) {
    char *folder = dapt_path_join(&p->arena, p->folder, p->runs[l->run].name),
         *path = folder ? dapt_path_join(&p->arena, folder, DIVERGED) : NULL;
    cJSON *record = cJSON_CreateObject();
    cJSON_AddNumberToObject(record, "step", (double)l->diverged);
    cJSON_AddStringToObject(record, "text", l->text);
    enum dapt_status status = path ? dapt_mkdirs(folder) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_record_write(record, path);
    cJSON_Delete(record);
    return status;
}

static enum dapt_status train(struct dapt_pilot *p, size_t r) {
    const char **sets = dapt_pilot_sets(p, &p->runs[r], false);
    struct listener listener = {.pilot = p, .run = r};
    if (!sets) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_trainer_run(
        &(struct dapt_train_options){.config = p->options->config,
                                     .sets = sets,
                                     .resume = true,
                                     .callback = listen,
                                     .user = &listener});
    dapt_log_status(NULL);
    if (listener.diverged && (!status || status == DAPT_ERROR_INVALID))
        return write_diverged(p, &listener);
    return status ? dapt_fail_in(status, "pilot %s", p->runs[r].name) : DAPT_OK;
}

static enum dapt_status make(struct dapt_pilot *p, size_t r) {
    double begin = dapt_seconds();
    enum dapt_status status = read_run(p, &p->runs[r]);
    bool made = status == DAPT_END;
    if (made) status = train(p, r);
    if (made && !status) status = read_run(p, &p->runs[r]);
    if (status == DAPT_END)
        status = dapt_fail(DAPT_ERROR_INVALID, "pilot %s ended without a ledger of its last step",
                           p->runs[r].name);
    if (!status) status = clear(p, &p->runs[r]);
    if (!status) dapt_pilot_tell_run(p, r, made, dapt_seconds() - begin);
    return status;
}

enum dapt_status dapt_pilot_make(struct dapt_pilot *p) {
    enum dapt_status status = DAPT_OK;
    for (size_t r = 0; !status && r < p->run_count; r++) {
        if (p->runs[r].figures) continue;
        status = make(p, r);
        if (!status && dapt_cancelled()) status = dapt_fail(DAPT_ERROR_CANCELLED, "stopped");
    }
    return status;
}

size_t dapt_pilot_made(const struct dapt_pilot *p) {
    size_t made = 0;
    for (size_t r = 0; r < p->run_count; r++) made += p->runs[r].figures != NULL;
    return made;
}
