// Which pilots are made: decided once, and recorded.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "host/json_tree.h"
#include "train/pilot.h"
#include "train/trainer.h"

#define FORMAT "dapt.pilot-plan/1"
#define LEAST_UNIT 4  // steps: of fewer a schedule is none
#define RECORD_LIMIT ((size_t)1 << 20)

size_t dapt_pilot_first_runs(const struct dapt_pilot *p) {
    return p->share_count * p->rate_count;
}

// Units of steps that all runs take: 2 for each share and rate; 1, 4 and 8 for each share.
uint64_t dapt_pilot_units(const struct dapt_pilot *p) {
    return p->share_count * (2 * p->rate_count + 1 + 4 + 8);
}

size_t dapt_pilot_all_runs(const struct dapt_pilot *p) {
    return dapt_pilot_first_runs(p) + p->share_count * (DAPT_PILOT_LENGTHS - 1);
}

static void add_run(struct dapt_pilot *p, double share, double rate, uint64_t steps) {
    struct dapt_pilot_run *run = &p->runs[p->run_count++];
    *run = (struct dapt_pilot_run){.share = share, .rate = rate, .steps = steps};
    snprintf(run->name, sizeof run->name, "share-%g-rate-%g-steps-%" PRIu64, share, rate, steps);
}

enum dapt_status dapt_pilot_list(struct dapt_pilot *p, bool second) {
    static const uint64_t lengths[] = {1, 4, 8};
    if (!p->runs) p->runs = dapt_alloc(dapt_pilot_all_runs(p), sizeof *p->runs);
    if (!p->runs) return DAPT_ERROR_MEMORY;
    for (size_t r = 0; !second && r < p->rate_count; r++)
        for (size_t s = 0; s < p->share_count; s++)
            add_run(p, p->shares[s], p->rates[r], 2 * p->unit);
    for (size_t l = 0; second && l < sizeof lengths / sizeof *lengths; l++)
        for (size_t s = 0; s < p->share_count; s++)
            add_run(p, p->shares[s], p->rates[p->rate], lengths[l] * p->unit);
    return DAPT_OK;
}

// ---------------------------------------------------------------------------------------- deciding

// As `dapt plan` measures: what a step takes here, and what a run takes besides its steps.
static enum dapt_status measure(struct dapt_pilot *p) {
    const struct dapt_pilot_run run = {
        .share = p->shares[0], .rate = p->rates[0], .steps = p->full_steps};
    const char **sets = dapt_pilot_sets(p, &run, false);
    struct dapt_plan plan = {0};
    if (!sets) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_trainer_run(
        &(struct dapt_train_options){.config = p->options->config,
                                     .sets = sets,
                                     .plan_only = true,
                                     .callback = dapt_report_nothing,
                                     .plan = &plan});
    p->step_seconds = dapt_json_round(plan.step_seconds);
    p->overhead_seconds = dapt_json_round(plan.prepare_seconds + plan.evaluate_seconds);
    return status;
}

// Steps that all pilots together may take.
static double steps_allowed(const struct dapt_pilot *p) {
    const struct dapt_pilot_options *o = p->options;
    if (o->steps) return (double)o->steps;
    if (o->tokens) return (double)(o->tokens / p->tokens_per_step);
    double seconds = o->seconds > 0 ? o->seconds : DAPT_PILOT_SECONDS;
    return (seconds - p->overhead_seconds * (double)dapt_pilot_all_runs(p)) / p->step_seconds;
}

// A unit, so that the runs use up the budget; none needs to be longer than the full run.
static enum dapt_status decide(struct dapt_pilot *p) {
    struct dapt_small_text needed;
    double unit = floor(
        fmin(steps_allowed(p) / (double)dapt_pilot_units(p), (double)p->full_steps / 8));
    uint64_t least = dapt_pilot_units(p) * LEAST_UNIT;
    p->unit = unit > 0 ? (uint64_t)unit : 0;
    if (p->unit >= LEAST_UNIT) return DAPT_OK;
    if (p->full_steps < 8 * LEAST_UNIT)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: a run of %" PRIu64
                         " steps needs no pilots; expected at least %d steps",
                         p->options->config, p->full_steps, 8 * LEAST_UNIT);
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "the pilots' budget is too small: %zu runs, the shortest of %d steps, are %" PRIu64
        " steps, which take about %s here; allow more, or try fewer shares or rates",
        dapt_pilot_all_runs(p), LEAST_UNIT, least,
        dapt_duration_text(
            (double)least * p->step_seconds + p->overhead_seconds * (double)dapt_pilot_all_runs(p),
            &needed));
}

// ---------------------------------------------------------------------------------------- recording

static void add_numbers(cJSON *object, const char *key, const double *values, size_t count) {
    cJSON *list = cJSON_AddArrayToObject(object, key);
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(dapt_json_round(values[i])));
}

// What was asked for, which a later part must ask for too.
static cJSON *asked(const struct dapt_pilot *p) {
    const struct dapt_pilot_options *o = p->options;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "config", p->config_hash);
    add_numbers(object, "shares", p->shares, p->share_count);
    add_numbers(object, "rates", p->rates, p->rate_count);
    if (o->steps)
        cJSON_AddNumberToObject(object, "steps", (double)o->steps);
    else if (o->tokens)
        cJSON_AddNumberToObject(object, "tokens", (double)o->tokens);
    else
        cJSON_AddNumberToObject(object, "seconds",
                                o->seconds > 0 ? o->seconds : DAPT_PILOT_SECONDS);
    return object;
}

// How fast it is, is recorded only where it decided something: else two recordings of the same would differ.
static enum dapt_status record(const struct dapt_pilot *p, const char *path) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", FORMAT);
    cJSON_AddItemToObject(root, "asked", asked(p));
    cJSON_AddNumberToObject(root, "unit", (double)p->unit);
    if (!p->options->steps && !p->options->tokens) {
        dapt_json_add_number(root, "step_seconds", p->step_seconds);
        dapt_json_add_number(root, "overhead_seconds", p->overhead_seconds);
    }
    enum dapt_status status = dapt_mkdirs(p->folder);
    if (!status) status = dapt_record_write(root, path);
    cJSON_Delete(root);
    return status;
}

static enum dapt_status compare(const struct dapt_pilot *p, const cJSON *root, const char *path) {
    static const struct {
        const char *key, *what;
    } parts[] = {
        {"config", "the configuration (or --set)"},
        {"shares", "--shares"},
        {"rates", "--rates"},
        {"seconds", "--time"},
        {"steps", "--steps"},
        {"tokens", "--tokens"},
    };
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(root, "asked");
    cJSON *now = asked(p);
    const char *differs = NULL;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !differs; i++) {
        const cJSON *a = cJSON_GetObjectItemCaseSensitive(then, parts[i].key),
                    *b = cJSON_GetObjectItemCaseSensitive(now, parts[i].key);
        if ((a || b) && !cJSON_Compare(a, b, true)) differs = parts[i].what;
    }
    cJSON_Delete(now);
    if (!differs) return DAPT_OK;
    return dapt_fail(
        DAPT_ERROR_INVALID,
        "%s: these pilots were planned with another value of %s; give the same as then "
        "to go on, or set \"run\" to another folder",
        path, differs);
}

static enum dapt_status restore(struct dapt_pilot *p, const char *path) {
    struct dapt_string text = {0};
    cJSON *root = NULL;
    enum dapt_status status = dapt_file_read(path, RECORD_LIMIT, &text);
    if (!status && !(root = cJSON_ParseWithLength(text.data, text.length)))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is no JSON", path);
    if (!status) status = dapt_record_check(root, path);
    if (!status && !dapt_json_has_text(root, "format", FORMAT))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: expected the format %s", path, FORMAT);
    if (!status) status = compare(p, root, path);
    const cJSON *unit = cJSON_GetObjectItemCaseSensitive(root, "unit"),
                *step = cJSON_GetObjectItemCaseSensitive(root, "step_seconds"),
                *overhead = cJSON_GetObjectItemCaseSensitive(root, "overhead_seconds");
    if (!status && !(cJSON_IsNumber(unit) && unit->valuedouble >= LEAST_UNIT &&
                     unit->valuedouble <= (double)p->full_steps))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: \"unit\" is no number of steps", path);
    if (!status) p->unit = (uint64_t)unit->valuedouble;
    if (cJSON_IsNumber(step)) p->step_seconds = step->valuedouble;
    if (cJSON_IsNumber(overhead)) p->overhead_seconds = overhead->valuedouble;
    cJSON_Delete(root);
    dapt_string_free(&text);
    return status;
}

enum dapt_status dapt_pilot_plan(struct dapt_pilot *p) {
    char *path = dapt_path_join(&p->arena, p->folder, "plan.json");
    if (!path) return DAPT_ERROR_MEMORY;
    if (dapt_is_file(path)) return restore(p, path);
    enum dapt_status status = measure(p);
    if (!status) status = decide(p);
    return status ? status : record(p, path);
}
