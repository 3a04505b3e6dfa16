#include "train/ledger.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "infer/paired.h"
#include "train/trainer.h"

enum dapt_status dapt_ledger_create(struct dapt_trainer *t) {
    size_t count = t->config->data.eval_count;
    t->ledger = dapt_alloc(count + 1, sizeof *t->ledger);
    enum dapt_status status = t->ledger ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++)
        status = dapt_paired_create(t->setup.evals[i], &t->ledger[i].units, &t->ledger[i].count);
    return status;
}

void dapt_ledger_free(struct dapt_trainer *t) {
    for (size_t i = 0; t->ledger && i < t->config->data.eval_count; i++) {
        free(t->ledger[i].units);
        free(t->ledger[i].course);
    }
    free(t->ledger);
    t->ledger = NULL;
}

bool dapt_ledger_known(const struct dapt_trainer *t, size_t i) {
    return t->ledger[i].count > 0 && isfinite(t->ledger[i].units[0].before);
}

double dapt_ledger_change(const struct dapt_trainer *t, size_t i, uint64_t step) {
    const struct dapt_ledger_set *set = &t->ledger[i];
    for (size_t k = 0; k < set->entries; k++)
        if (set->course[k].step == step) return set->course[k].change;
    return NAN;
}

// ------------------------------------------------------------------------------------------- figures

enum dapt_status dapt_ledger_score(struct dapt_trainer *t, size_t i,
                                   struct dapt_evaluation *result) {
    struct dapt_ledger_set *set = &t->ledger[i];
    enum dapt_status status = dapt_paired_score(t->setup.engine, t->setup.evals[i], t->batches[0],
                                                t->config->data.eval[i].name, set->units,
                                                set->count, result);
    result->role = t->config->data.eval[i].role;
    return status;
}

// One entry a step: an evaluation that is made again after a resume takes its own place.
static enum dapt_status add_entry(struct dapt_ledger_set *set,
                                  const struct dapt_ledger_entry *entry) {
    while (set->entries > 0 && set->course[set->entries - 1].step >= entry->step) set->entries--;
    enum dapt_status status = dapt_grow(&set->course, &set->capacity, set->entries + 1,
                                        sizeof *set->course);
    if (!status) set->course[set->entries++] = *entry;
    return status;
}

// What a record keeps is rounded to what comes back from it: a run that was resumed goes on with the same
// figures.
static enum dapt_status enter_set(struct dapt_trainer *t, size_t i, struct dapt_evaluation *e) {
    struct dapt_ledger_set *set = &t->ledger[i];
    const struct dapt_evaluation *last = &t->evaluations[i];
    struct dapt_interval interval;
    e->nats_before = t->step == 0 ? dapt_json_round(e->nats_per_token) : last->nats_before;
    e->bits_before = t->step == 0 ? dapt_json_round(e->bits_per_byte) : last->bits_before;
    for (size_t u = 0; t->step == 0 && u < set->count; u++)
        set->units[u].before = set->units[u].after = dapt_json_round(set->units[u].after);
    enum dapt_status status = dapt_interval_change(set->units, set->count, t->config->train.seed,
                                                   &interval);
    if (status) return status;
    e->change_low = dapt_json_round(interval.low);
    e->change_high = dapt_json_round(interval.high);
    double change = t->step == 0 ? 0 : e->bits_per_byte - e->bits_before;
    return add_entry(
        set, &(struct dapt_ledger_entry){.step = t->step,
                                         .nats_per_token = dapt_json_round(e->nats_per_token),
                                         .bits_per_byte = dapt_json_round(e->bits_per_byte),
                                         .change = dapt_json_round(change),
                                         .low = e->change_low,
                                         .high = e->change_high});
}

enum dapt_status dapt_ledger_enter(struct dapt_trainer *t, struct dapt_evaluation *fresh) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; !status && i < t->config->data.eval_count; i++)
        status = enter_set(t, i, &fresh[i]);
    return status;
}

// -------------------------------------------------------------------------------------------- writing

// The columns of "course" and "units": a key, and where its numbers lie.
struct column {
    const char *key;
    size_t offset;
};
#define ENTRY(member) \
    { #member, offsetof(struct dapt_ledger_entry, member) }
static const struct column course_columns[] = {ENTRY(nats_per_token), ENTRY(bits_per_byte),
                                               ENTRY(change), ENTRY(low), ENTRY(high)};
static const struct column unit_columns[] = {
    {"nats_before", offsetof(struct dapt_paired, before)},
    {"nats_after", offsetof(struct dapt_paired, after)},
    {"scored", offsetof(struct dapt_paired, scored)},
    {"tokens", offsetof(struct dapt_paired, tokens)},
    {"bytes", offsetof(struct dapt_paired, bytes)},
};
static const struct column record_column = {"documents_before",
                                            offsetof(struct dapt_paired, before)};
#define COUNT(table) (sizeof(table) / sizeof *(table))

static cJSON *number_of(double value) {
    return isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull();
}

static void add_columns(cJSON *object, const struct column *columns, size_t column_count,
                        const void *rows, size_t count, size_t size) {
    for (size_t c = 0; c < column_count; c++) {
        cJSON *list = cJSON_AddArrayToObject(object, columns[c].key);
        for (size_t r = 0; r < count; r++) {
            const char *row = (const char *)rows + r * size;
            cJSON_AddItemToArray(
                list, number_of(*(const double *)(const void *)(row + columns[c].offset)));
        }
    }
}

static void add_course(const struct dapt_ledger_set *set, cJSON *item) {
    cJSON *course = cJSON_AddObjectToObject(item, "course");
    cJSON *steps = cJSON_AddArrayToObject(course, "step");
    for (size_t k = 0; k < set->entries; k++)
        cJSON_AddItemToArray(steps, cJSON_CreateNumber((double)set->course[k].step));
    add_columns(course, course_columns, COUNT(course_columns), set->course, set->entries,
                sizeof *set->course);
}

static void add_set(const struct dapt_trainer *t, size_t i, cJSON *list) {
    const struct dapt_evaluation *e = &t->evaluations[i];
    const struct dapt_ledger_set *set = &t->ledger[i];
    char data[33];
    cJSON *item = cJSON_CreateObject(), *units;
    dapt_trainer_set_hash(t, i, data);
    cJSON_AddStringToObject(item, "name", e->name);
    cJSON_AddStringToObject(item, "role", e->role);
    cJSON_AddStringToObject(item, "data", data);
    cJSON_AddBoolToObject(item, "masked", e->masked);
    cJSON_AddNumberToObject(item, "documents", (double)e->documents);
    cJSON_AddNumberToObject(item, "scored", (double)e->scored);
    cJSON_AddNumberToObject(item, "tokens", (double)e->tokens);
    cJSON_AddNumberToObject(item, "bytes", (double)e->bytes);
    dapt_json_add_number(item, "budget", dapt_trainer_budget(t, i));
    dapt_json_add_number(item, "nats_before", e->nats_before);
    dapt_json_add_number(item, "nats_after", e->nats_per_token);
    dapt_json_add_number(item, "bits_before", e->bits_before);
    dapt_json_add_number(item, "bits_after", e->bits_per_byte);
    dapt_json_add_number(item, "change", e->bits_per_byte - e->bits_before);
    dapt_json_add_number(item, "low", e->change_low);
    dapt_json_add_number(item, "high", e->change_high);
    add_course(set, item);
    units = cJSON_AddObjectToObject(item, "units");
    add_columns(units, unit_columns, COUNT(unit_columns), set->units, set->count,
                sizeof *set->units);
    cJSON_AddItemToArray(list, item);
}

enum dapt_status dapt_ledger_write(const struct dapt_trainer *t) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, t->run.path, "ledger.json"), *text = NULL;
    cJSON *ledger = cJSON_CreateObject();
    cJSON_AddStringToObject(ledger, "format", "dapt.ledger/1");
    cJSON_AddNumberToObject(ledger, "step", (double)t->step);
    cJSON_AddNumberToObject(ledger, "steps", (double)t->setup.steps);
    cJSON_AddNumberToObject(ledger, "level", 0.95);
    cJSON_AddNumberToObject(ledger, "resamples", DAPT_INTERVAL_RESAMPLES);
    cJSON *sets = cJSON_AddArrayToObject(ledger, "sets");
    for (size_t i = 0; sets && i < t->config->data.eval_count; i++) add_set(t, i, sets);
    cJSON *raises = cJSON_AddArrayToObject(ledger, "raises");
    for (size_t i = 0; raises && i < t->setup.raise_count; i++)
        cJSON_AddItemToArray(raises, cJSON_CreateNumber((double)t->setup.raises[i]));
    enum dapt_status status = path && raises ? dapt_run_folder_check(&t->run)
                                             : dapt_fail(DAPT_ERROR_MEMORY, "no memory for it");
    if (!status) status = dapt_record_seal(ledger);
    if (!status && !(text = cJSON_PrintUnformatted(ledger)))
        status = dapt_fail(DAPT_ERROR_MEMORY, "no memory for it");
    if (!status) status = dapt_file_write(path, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(ledger);
    dapt_arena_free(&arena);
    return status ? dapt_fail_in(status, "the ledger") : DAPT_OK;
}

// ------------------------------------------------------------------------------------------ the record

void dapt_ledger_record(const struct dapt_trainer *t, size_t i, cJSON *item) {
    const struct dapt_ledger_set *set = &t->ledger[i];
    add_course(set, item);
    add_columns(item, &record_column, 1, set->units, set->count, sizeof *set->units);
}

// Fills one column where there are as many numbers; null becomes NaN.
static bool read_column(const cJSON *object, const struct column *column, void *rows, size_t count,
                        size_t size) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, column->key), *item;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != count) return false;
    char *row = (char *)rows + column->offset;
    cJSON_ArrayForEach(item, list) {
        *(double *)(void *)row = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        row += size;
    }
    return true;
}

enum dapt_status dapt_ledger_restore(struct dapt_trainer *t, size_t i, const cJSON *item) {
    struct dapt_ledger_set *set = &t->ledger[i];
    const cJSON *course = cJSON_GetObjectItemCaseSensitive(item, "course"), *step,
                *steps = cJSON_GetObjectItemCaseSensitive(course, "step");
    size_t count = cJSON_IsArray(steps) ? (size_t)cJSON_GetArraySize(steps) : 0, k = 0;
    bool whole = true;
    read_column(item, &record_column, set->units, set->count, sizeof *set->units);
    enum dapt_status status = dapt_grow(&set->course, &set->capacity, count, sizeof *set->course);
    if (status) return status;
    cJSON_ArrayForEach(step, steps) set->course[k++].step = (uint64_t)fmax(step->valuedouble, 0);
    for (size_t c = 0; c < COUNT(course_columns); c++)
        whole = read_column(course, &course_columns[c], set->course, count, sizeof *set->course) &&
                whole;
    set->entries = whole ? count : 0;
    return DAPT_OK;
}
