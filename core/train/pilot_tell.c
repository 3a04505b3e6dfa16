// What is told of pilots, and pilot.json.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/json_tree.h"
#include "train/pilot.h"

void dapt_pilot_tell(const struct dapt_pilot *p, const char *format, ...) {
    char line[1024];
    va_list arguments;
    if (!p->options->tell) return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    p->options->tell(p->options->user, line);
}

static void list_numbers(char *text, size_t size, const double *values, size_t count) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used + 24 < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%g", i ? ", " : "", values[i]);
}

void dapt_pilot_tell_plan(const struct dapt_pilot *p) {
    char shares[256], rates[256];
    struct dapt_small_text a, b, c, d;
    uint64_t steps = p->unit * dapt_pilot_units(p);
    list_numbers(shares, sizeof shares, p->shares, p->share_count);
    list_numbers(rates, sizeof rates, p->rates, p->rate_count);
    dapt_pilot_tell(
        p,
        "pilots          %zu runs in %s: first %zu of %" PRIu64
        " steps over shares of replay %s and rates %s, then at the best rate each share "
        "for %" PRIu64 ", %" PRIu64 " and %" PRIu64 " steps",
        dapt_pilot_all_runs(p), p->folder, dapt_pilot_first_runs(p), 2 * p->unit, shares, rates,
        p->unit, 4 * p->unit, 8 * p->unit);
    if (isfinite(p->step_seconds))
        dapt_pilot_tell(p, "time            about %s: %s of %.3g s, and %s for each run besides",
                        dapt_duration_text((double)steps * p->step_seconds +
                                               p->overhead_seconds * (double)dapt_pilot_all_runs(p),
                                           &a),
                        dapt_counted_text(steps, "step", &b), p->step_seconds,
                        dapt_duration_text(p->overhead_seconds, &c));
    dapt_pilot_tell(p, "for             a full run of %s, %s tokens",
                    dapt_counted_text(p->full_steps, "step", &a),
                    dapt_count_text(p->full_steps * p->tokens_per_step, &d));
}

// "anatomy 2.0415 (-1.5161)", set by set.
static void add_figures(const struct dapt_pilot *p, const struct dapt_pilot_run *run, char *text,
                        size_t size) {
    size_t used = 0;
    text[0] = '\0';
    if (run->diverged)
        snprintf(text, size, "  diverged at step %" PRIu64 ": the rate is too high", run->diverged);
    for (size_t i = 0; !run->diverged && i < p->set_count && used + 64 < size; i++)
        used += (size_t)snprintf(text + used, size - used, "  %.24s %.4f nats (%+.4f bits/byte)",
                                 p->sets[i].name, run->figures[i].nats, run->figures[i].change);
}

void dapt_pilot_tell_run(const struct dapt_pilot *p, size_t r, bool made, double seconds) {
    char figures[512], time[64] = "  done before";
    const struct dapt_pilot_run *run = &p->runs[r];
    struct dapt_small_text small;
    add_figures(p, run, figures, sizeof figures);
    if (made) snprintf(time, sizeof time, "  %s", dapt_duration_text(seconds, &small));
    dapt_pilot_tell(p, "pilot %zu/%zu  share %g  rate %g  %" PRIu64 " steps%s%s", r + 1,
                    dapt_pilot_all_runs(p), run->share, run->rate, run->steps, figures, time);
}

// ------------------------------------------------------------------------------------------ results

static void tell_table(const struct dapt_pilot *p) {
    dapt_pilot_tell(p, "%s", "");
    dapt_pilot_tell(p, "%8s %10s %8s  %s", "share", "rate", "steps",
                    "change of each set in bits/byte (95 % interval)");
    for (size_t r = 0; r < p->run_count; r++) {
        const struct dapt_pilot_run *run = &p->runs[r];
        char text[512];
        size_t used = 0;
        if (run->diverged)
            snprintf(text, sizeof text, "  diverged at step %" PRIu64, run->diverged);
        for (size_t i = 0; !run->diverged && i < p->set_count && used + 80 < sizeof text; i++) {
            const struct dapt_pilot_figure *f = &run->figures[i];
            used += (size_t)snprintf(text + used, sizeof text - used, "  %.24s %+.4f (%+.4f %+.4f)",
                                     p->sets[i].name, f->change, f->low, f->high);
        }
        dapt_pilot_tell(p, "%8g %10g %8" PRIu64 "%s", run->share, run->rate, run->steps, text);
    }
}

// "2.03 (s + 0.3)^0.253", or what takes its place in a turning law.
static void add_learnt(const struct dapt_pilot_set *s, char *text, size_t size) {
    const struct dapt_law *l = &s->law;
    if (s->form == DAPT_LAW_PLAIN)
        snprintf(text, size, "%.3g (s + %g)^%.3g", l->b, l->epsilon, l->eta);
    else
        snprintf(text, size, "(%.3g %c %.3g (s + %g)^%.3g)", l->a, l->b < 0 ? '-' : '+', fabs(l->b),
                 l->epsilon, l->eta);
}

static void tell_fits(const struct dapt_pilot *p) {
    dapt_pilot_tell(p, "%s", "");
    for (size_t i = 0; i < p->set_count; i++) {
        const struct dapt_pilot_set *s = &p->sets[i];
        const struct dapt_law *l = &s->law;
        char learnt[128];
        if (!isfinite(l->e)) continue;
        add_learnt(s, learnt, sizeof learnt);
        dapt_pilot_tell(
            p,
            "law of %-8s  %.4g + %s / t^%.3g + %.3g / (s + %g)^%.3g nats/token; s: share "
            "of %s, t: tokens / %" PRIu64,
            s->name, l->e, learnt, l->beta, l->c, l->epsilon, l->gamma, i ? "replay" : "the domain",
            p->unit * p->tokens_per_step);
        dapt_pilot_tell(p,
                        "                fitted within %.2g %%; each pilot by a fit to the others: "
                        "off by %.4f nats/token, of %.4f that all differ by",
                        100 * s->error, s->left_out, s->spread);
    }
}

static void tell_best(const struct dapt_pilot *p) {
    const struct dapt_pilot_run *best = dapt_pilot_best(p);
    char figures[512];
    if (!best) {
        dapt_pilot_tell(p, "best pilot      none is inside the budget");
        return;
    }
    add_figures(p, best, figures, sizeof figures);
    dapt_pilot_tell(p, "best pilot      share %g, rate %g, %" PRIu64 " steps:%s", best->share,
                    best->rate, best->steps, figures);
}

// Where the best of what was tried is the last of it, a better one may lie beyond.
static const char *edge_of(double value, const double *tried, size_t count) {
    if (count < 2 || (value > tried[0] && value < tried[count - 1])) return "";
    return value > tried[0] ? "; the greatest tried: try greater ones too"
                            : "; the least tried: try lesser ones too";
}

static void tell_rate(const struct dapt_pilot *p) {
    double low = INFINITY, high = 0;
    for (size_t r = 0; r < p->rate_count; r++) {
        if (p->votes[r] < 0.025) continue;
        low = fmin(low, p->rates[r]);
        high = fmax(high, p->rates[r]);
    }
    dapt_pilot_tell(p, "rate            %g (95 %% interval %g to %g, of those tried)%s",
                    p->rates[p->rate], low, high,
                    edge_of(p->rates[p->rate], p->rates, p->rate_count));
}

static void tell_recommended(const struct dapt_pilot *p) {
    struct dapt_small_text a, b, c, d;
    dapt_pilot_tell(p, "share           %.3g (95 %% interval %.3g to %.3g)%s", p->share.value,
                    p->share.low, p->share.high,
                    edge_of(p->share.value, p->shares, p->share_count));
    tell_rate(p);
    dapt_pilot_tell(p, "tokens          %s (95 %% interval %s to %s), %s%s",
                    dapt_count_text(p->steps * p->tokens_per_step, &a),
                    dapt_count_text((uint64_t)fmax(p->tokens.low, 0), &b),
                    dapt_count_text((uint64_t)fmax(p->tokens.high, 0), &c),
                    dapt_counted_text(p->steps, "step", &d),
                    p->steps < p->full_steps
                        ? "; more would gain less than 0.005 bits/byte, or lose"
                        : ", all of the full run");
    for (size_t i = 0; i < p->set_count; i++)
        dapt_pilot_tell(p, "predicted       %s %+.4f bits/byte (95 %% interval %+.4f to %+.4f)",
                        p->sets[i].name, p->changes[i].value, p->changes[i].low,
                        p->changes[i].high);
}

void dapt_pilot_tell_results(const struct dapt_pilot *p) {
    tell_table(p);
    tell_fits(p);
    dapt_pilot_tell(p, "%s", "");
    tell_best(p);
    if (p->reason.length) {
        tell_rate(p);
        dapt_pilot_tell(p, "cannot extrapolate: %s", p->reason.data);
    } else {
        tell_recommended(p);
    }
}

// ----------------------------------------------------------------------------------------- pilot.json

static void add(cJSON *object, const char *key, double value) {
    dapt_json_add_number(object, key, dapt_json_round(value));
}

static cJSON *list_of(const double *values, size_t count) {
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(dapt_json_round(values[i])));
    return list;
}

static void add_estimate(cJSON *object, const char *key, const struct dapt_pilot_estimate *e) {
    cJSON *item = cJSON_AddObjectToObject(object, key);
    add(item, "value", e->value);
    add(item, "low", e->low);
    add(item, "high", e->high);
}

static void add_run(const struct dapt_pilot *p, const struct dapt_pilot_run *run, cJSON *list) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "run", run->name);
    add(item, "share", run->share);
    add(item, "rate", run->rate);
    add(item, "steps", (double)run->steps);
    add(item, "tokens", (double)(run->steps * p->tokens_per_step));
    cJSON_AddBoolToObject(item, "fitted", dapt_pilot_counts(p, run));
    if (run->diverged) add(item, "diverged", (double)run->diverged);
    cJSON *sets = cJSON_AddObjectToObject(item, "sets");
    for (size_t i = 0; !run->diverged && i < p->set_count; i++) {
        const struct dapt_pilot_figure *f = &run->figures[i];
        cJSON *set = cJSON_AddObjectToObject(sets, p->sets[i].name);
        add(set, "nats_per_token", f->nats);
        add(set, "change", f->change);
        add(set, "low", f->low);
        add(set, "high", f->high);
    }
    cJSON_AddItemToArray(list, item);
}

static void add_law(const struct dapt_pilot_set *s, cJSON *laws) {
    const struct dapt_law *l = &s->law;
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"nats_before", s->nats_before},
                   {"budget", s->budget},
                   {"e", l->e},
                   {"a", l->a},
                   {"b", l->b},
                   {"c", l->c},
                   {"beta", l->beta},
                   {"eta", l->eta},
                   {"gamma", l->gamma},
                   {"epsilon", l->epsilon},
                   {"log_error", s->error},
                   {"left_out", s->left_out},
                   {"spread", s->spread}};
    cJSON *item = cJSON_AddObjectToObject(laws, s->name);
    cJSON_AddStringToObject(item, "role", s->role);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add(item, numbers[i].key, numbers[i].value);
}

static void add_recommendation(const struct dapt_pilot *p, cJSON *root) {
    cJSON *item = cJSON_AddObjectToObject(root, "recommended");
    add_estimate(item, "share", &p->share);
    add_estimate(item, "tokens", &p->tokens);
    add(item, "rate", p->rates[p->rate]);
    add(item, "steps", (double)p->steps);
    cJSON *sets = cJSON_AddObjectToObject(item, "predicted");
    for (size_t i = 0; i < p->set_count; i++) add_estimate(sets, p->sets[i].name, &p->changes[i]);
}

static cJSON *make(const struct dapt_pilot *p) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "dapt.pilot/1");
    cJSON_AddStringToObject(root, "config", p->config_hash);
    add(root, "full_steps", (double)p->full_steps);
    add(root, "tokens_per_step", (double)p->tokens_per_step);
    add(root, "unit_tokens", (double)(p->unit * p->tokens_per_step));
    cJSON_AddStringToObject(root, "rule", p->budgeted ? "domain inside budget" : "least sum");
    cJSON *runs = cJSON_AddArrayToObject(root, "pilots");
    for (size_t r = 0; r < p->run_count; r++) add_run(p, &p->runs[r], runs);
    cJSON_AddItemToObject(root, "rates", list_of(p->rates, p->rate_count));
    cJSON_AddItemToObject(root, "rate_wins", list_of(p->votes, p->rate_count));
    cJSON *laws = cJSON_AddObjectToObject(root, "laws");
    for (size_t i = 0; i < p->set_count; i++) add_law(&p->sets[i], laws);
    cJSON_AddBoolToObject(root, "extrapolates", !p->reason.length);
    if (p->reason.length)
        cJSON_AddStringToObject(root, "reason", p->reason.data);
    else
        add_recommendation(p, root);
    return root;
}

enum dapt_status dapt_pilot_write(const struct dapt_pilot *p) {
    struct dapt_arena arena = {0};
    cJSON *root = make(p);
    char *path = dapt_path_join(&arena, p->folder, "pilot.json"), *text = cJSON_Print(root);
    enum dapt_status status = path && text
                                  ? dapt_file_write(path, text, strlen(text))
                                  : dapt_fail(DAPT_ERROR_MEMORY, "no memory for pilot.json");
    if (!status && p->options->emit) p->options->emit(p->options->user, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(root);
    dapt_arena_free(&arena);
    return status;
}
