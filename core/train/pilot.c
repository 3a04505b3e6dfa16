#include "train/pilot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/statistics.h"
#include "base/threads.h"
#include "train/trainer.h"

static const double usual_shares[] = {0.02, 0.08, 0.2, 0.5};
static const double usual_rates[] = {1.0 / 3, 1, 3};  // times the configured peak

// --------------------------------------------------------------------------------------- arguments

// Sorted, each once, and each between `least` and `most`.
static enum dapt_status take_numbers(const char *what, const double *values, size_t count,
                                     double least, double most, double *into, size_t room,
                                     size_t *taken) {
    if (count > room)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: %zu were given, at most %zu are tried", what,
                         count, room);
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] >= least && values[i] <= most))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: %g, expected a number from %g to %g", what,
                             values[i], least, most);
        into[i] = dapt_json_round(values[i]);
    }
    dapt_sort_numbers(into, count);
    *taken = count;
    for (size_t i = 1; i < count; i++)
        if (into[i] == into[i - 1])
            return dapt_fail(DAPT_ERROR_INVALID, "%s: %g was given twice", what, into[i]);
    return DAPT_OK;
}

static enum dapt_status take_shares(struct dapt_pilot *p) {
    const struct dapt_pilot_options *o = p->options;
    bool own = o->share_count > 0;
    return take_numbers("shares", own ? o->shares : usual_shares,
                        own ? o->share_count : sizeof usual_shares / sizeof *usual_shares, 0, 0.95,
                        p->shares, DAPT_PILOT_SHARES, &p->share_count);
}

// To two digits where they are ours.
static enum dapt_status take_rates(struct dapt_pilot *p, double peak) {
    const struct dapt_pilot_options *o = p->options;
    double rates[sizeof usual_rates / sizeof *usual_rates];
    char text[32];
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        snprintf(text, sizeof text, "%.1e", peak * usual_rates[i]);
        rates[i] = usual_rates[i] == 1 ? peak : strtod(text, NULL);
    }
    bool own = o->rate_count > 0;
    return take_numbers("rates", own ? o->rates : rates,
                        own ? o->rate_count : sizeof rates / sizeof *rates, 1e-9, 10, p->rates,
                        DAPT_PILOT_RATES, &p->rate_count);
}

// --------------------------------------------------------------------------------------------- sets

// The domain, whichever decides; then those that count as a cost.
static bool is_cost(const struct dapt_eval_set *set, double budget) {
    return strcmp(set->role, "general") == 0 || isfinite(budget);
}

static enum dapt_status add_set(struct dapt_pilot *p, const struct dapt_eval_set *set) {
    double budget = dapt_config_budget(p->config, set);
    if (p->set_count == DAPT_PILOT_SETS)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: more than %d sets are to be decided by",
                         p->options->config, DAPT_PILOT_SETS);
    p->sets[p->set_count++] = (struct dapt_pilot_set){.name = set->name,
                                                      .role = set->role,
                                                      .budget = budget,
                                                      .nats_before = NAN,
                                                      .law = {.e = NAN}};
    p->budgeted |= isfinite(budget);
    return DAPT_OK;
}

static enum dapt_status choose_sets(struct dapt_pilot *p) {
    const struct dapt_config *c = p->config;
    size_t deciding = dapt_config_deciding(c);
    p->sets = dapt_arena_alloc(&p->arena, DAPT_PILOT_SETS * sizeof *p->sets);
    if (!p->sets) return DAPT_ERROR_MEMORY;
    if (deciding == c->data.eval_count)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: data.eval names no set; pilots need one of the domain and one of "
                         "general text",
                         p->options->config);
    enum dapt_status status = add_set(p, &c->data.eval[deciding]);
    for (size_t i = 0; !status && i < c->data.eval_count; i++)
        if (i != deciding && is_cost(&c->data.eval[i], dapt_config_budget(c, &c->data.eval[i])))
            status = add_set(p, &c->data.eval[i]);
    if (!status && p->set_count == 1)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: no set of data.eval has the role \"general\" or a budget: what a "
                           "share of replay is good for could not be seen",
                           p->options->config);
    return status;
}

// ------------------------------------------------------------------------------------------ opening

static enum dapt_status check_options(const struct dapt_pilot_options *o) {
    if (!o->config) return dapt_fail(DAPT_ERROR_INVALID, "no configuration was named");
    if ((o->seconds > 0) + (o->steps > 0) + (o->tokens > 0) > 1)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "the pilots' budget is a time, steps or tokens: expected one of them");
    return DAPT_OK;
}

static enum dapt_status check_config(struct dapt_pilot *p) {
    const struct dapt_config *c = p->config;
    if (!c->run)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: \"run\" is missing: pilots go to the folder beside it, RUN-pilot",
                         p->options->config);
    if (c->data.replay.from.count == 0)
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: data.replay.from is missing: the general text whose share pilots try",
                         p->options->config);
    size_t length = strlen(c->run);
    while (length > 1 && c->run[length - 1] == '/') length--;
    p->folder = dapt_arena_format(&p->arena, "%.*s-pilot", (int)length, c->run);
    return p->folder ? DAPT_OK : DAPT_ERROR_MEMORY;
}

static enum dapt_status hash_config(struct dapt_pilot *p) {
    struct dapt_string text = {0};
    enum dapt_status status = dapt_config_write(p->config, &text);
    if (!status) dapt_hash_text(dapt_hash_bytes(text.data, text.length), p->config_hash);
    dapt_string_free(&text);
    return status;
}

// Reads and tokenises all data, so that pilots find it in the cache; finds the rate that would be taken, and
// how long the full run is.
static enum dapt_status look(struct dapt_pilot *p) {
    const struct dapt_reporter quiet = {dapt_report_nothing, NULL};
    struct dapt_setup setup = {0};
    double peak = 0;
    enum dapt_status status = dapt_setup_open_data(p->config, &quiet, &setup);
    if (!status) {
        p->full_steps = setup.steps;
        p->tokens_per_step = (uint64_t)p->config->train.batch * p->config->data.sequence;
        status = dapt_json_get_number(p->config->train.schedule.options, "peak", &peak);
    }
    if (!status && !(peak > 0) && !p->options->rate_count)
        status = dapt_fail(DAPT_ERROR_INVALID,
                           "%s: the schedule \"%s\" has no peak to begin from; give the rates "
                           "(--rates)",
                           p->options->config, p->config->train.schedule.plugin);
    if (!status) status = take_rates(p, peak);
    dapt_setup_close(&setup);
    return status;
}

// An output that is there, before the pilots came to an end, is somebody else's.
static enum dapt_status check_out(struct dapt_pilot *p) {
    const char *out = p->options->out;
    char *done = dapt_path_join(&p->arena, p->folder, "pilot.json");
    if (!done) return DAPT_ERROR_MEMORY;
    if (!out || dapt_is_file(done) || !(dapt_is_file(out) || dapt_is_dir(out))) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID, "%s: is there already; expected a new file", out);
}

// ----------------------------------------------------------------------------------------- the result

// The configuration with what was recommended. What is there already is never replaced: it may be the
// same.
static enum dapt_status write_out(struct dapt_pilot *p) {
    const struct dapt_pilot_run run = {
        .share = dapt_json_round(p->share.value), .rate = p->rates[p->rate], .steps = p->steps};
    const char *out = p->options->out, **sets = dapt_pilot_sets(p, &run, true);
    struct dapt_config *config = NULL;
    struct dapt_string text = {0}, there = {0};
    if (!sets) return DAPT_ERROR_MEMORY;
    enum dapt_status status = dapt_config_read(p->options->config, sets, &config);
    if (!status) status = dapt_config_write(config, &text);
    bool same = false;
    if (!status && dapt_is_file(out) && dapt_file_read(out, text.length + 1, &there) == DAPT_OK)
        same = there.length == text.length && memcmp(there.data, text.data, text.length) == 0;
    if (!status && !same && (dapt_is_file(out) || dapt_is_dir(out)))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is there already, and is never replaced", out);
    if (!status && !same) status = dapt_file_write(out, text.data, text.length);
    if (!status) dapt_pilot_tell(p, "written         %s", out);
    dapt_string_free(&text);
    dapt_string_free(&there);
    dapt_config_free(&config);
    return status;
}

static enum dapt_status conclude(struct dapt_pilot *p) {
    enum dapt_status status = dapt_pilot_fit(p);
    if (status) return status;
    dapt_pilot_tell_results(p);
    status = dapt_pilot_write(p);
    if (status || !p->options->out) return status;
    if (p->reason.length)
        return dapt_fail(DAPT_ERROR_INVALID, "%s was not written: cannot extrapolate: %s",
                         p->options->out, p->reason.data);
    return write_out(p);
}

enum dapt_status dapt_pilot_start(const struct dapt_pilot_options *options) {
    struct dapt_pilot p = {.options = options, .step_seconds = NAN, .overhead_seconds = NAN};
    enum dapt_status status = check_options(options);
    if (!status) status = dapt_config_read(options->config, options->sets, &p.config);
    if (!status) status = check_config(&p);
    if (!status) status = hash_config(&p);
    if (!status) status = choose_sets(&p);
    if (!status) status = take_shares(&p);
    if (!status) status = check_out(&p);
    if (!status) status = look(&p);
    if (!status) status = dapt_pilot_plan(&p);
    if (!status) dapt_pilot_tell_plan(&p);
    if (!status) status = dapt_pilot_list(&p, false);
    if (!status) status = dapt_pilot_make(&p);
    if (!status) status = dapt_pilot_choose_rate(&p);
    if (!status) status = dapt_pilot_list(&p, true);
    if (!status) status = dapt_pilot_make(&p);
    if (!status) status = conclude(&p);
    if (status == DAPT_ERROR_CANCELLED)
        dapt_fail(status, "stopped with pilots made: %zu; the same command goes on from there",
                  dapt_pilot_made(&p));
    dapt_pilot_free_runs(&p);
    dapt_string_free(&p.reason);
    dapt_config_free(&p.config);
    dapt_arena_free(&p.arena);
    return status;
}
