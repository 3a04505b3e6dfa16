// What follows from the pilots: the rate that won, laws of the losses, and the best share and tokens by them.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/statistics.h"
#include "infer/worth.h"
#include "train/pilot.h"

#define ROUNDS DAPT_PILOT_ROUNDS
#define SHARE_STEP 0.005
// Tokens that are looked at: the target, and down from it by a fourth root of 2 each.
#define TOKENS_STEPS 17
#define ENOUGH 0.005  // bits/byte: fewer tokens that lose no more than this are recommended
// A law is not gone by whose misses are more than this part of what the losses differ by in all.
#define WORST_MISS 0.15
#define WORST_WIDTH \
    0.5  // nor one whose prediction's interval is wider than this part of the change

// "pilotdoc", "pilotfit": apart from all other streams.
#define STREAM_DOCUMENTS 0x70696c6f74646f63ull
#define STREAM_RESIDUALS 0x70696c6f74666974ull

double dapt_pilot_value(const struct dapt_pilot *p, const double *changes) {
    struct dapt_worth_set sets[DAPT_PILOT_SETS];
    for (size_t i = 0; i < p->set_count; i++)
        sets[i] = (struct dapt_worth_set){.change = changes[i],
                                          .budget = p->sets[i].budget,
                                          .general = strcmp(p->sets[i].role, "general") == 0};
    return dapt_worth_inside(sets, p->set_count) ? dapt_worth(sets, p->set_count, 0) : INFINITY;
}

bool dapt_pilot_counts(const struct dapt_pilot *p, const struct dapt_pilot_run *run) {
    return run->rate == p->rates[p->rate] && !run->diverged;
}

static double value_of_run(const struct dapt_pilot *p, const struct dapt_pilot_run *run) {
    double changes[DAPT_PILOT_SETS];
    for (size_t i = 0; i < p->set_count; i++) changes[i] = run->figures[i].change;
    return dapt_pilot_value(p, changes);
}

const struct dapt_pilot_run *dapt_pilot_best(const struct dapt_pilot *p) {
    const struct dapt_pilot_run *best = NULL;
    double least = INFINITY;
    for (size_t r = 0; r < p->run_count; r++) {
        double value = value_of_run(p, &p->runs[r]);
        if (!(value < least)) continue;
        least = value;
        best = &p->runs[r];
    }
    return best;
}

// ------------------------------------------------------------------------------------ the bootstrap

// How often each document of a set is drawn in a round: the same ones for every run.
static void draw_documents(const struct dapt_pilot *p, size_t set, size_t count, uint64_t round,
                           double *times) {
    uint64_t stream = STREAM_DOCUMENTS + set;
    memset(times, 0, count * sizeof *times);
    for (size_t i = 0; i < count; i++)
        times[dapt_random_bits(p->config->train.seed, stream, round * count + i) % count]++;
}

// What a run, and the base before it, cost on the documents drawn, in nats/token; as measured where
// nothing is scored in them.
static void cost_of(const struct dapt_pilot_figure *figure, const double *times, double before_all,
                    double *before, double *after) {
    double sum[3] = {0};
    for (size_t i = 0; i < figure->count; i++) {
        const struct dapt_paired *unit = &figure->units[i];
        sum[0] += times[i] * unit->before;
        sum[1] += times[i] * unit->after;
        sum[2] += times[i] * unit->scored;
    }
    bool any = sum[2] > 0 && isfinite(sum[0] + sum[1]);
    *before = any ? sum[0] / sum[2] : before_all;
    *after = any ? sum[1] / sum[2] : figure->nats;
}

// Of a set: the same ones in every run, but none where it diverged.
static size_t documents_of(const struct dapt_pilot *p, size_t set) {
    size_t count = 0;
    for (size_t r = 0; r < p->run_count && count == 0; r++) count = p->runs[r].figures[set].count;
    return count;
}

static size_t most_documents(const struct dapt_pilot *p) {
    size_t most = 1;
    for (size_t i = 0; i < p->set_count; i++)
        if (documents_of(p, i) > most) most = documents_of(p, i);
    return most;
}

static struct dapt_pilot_estimate estimate(double value, double *draws, size_t count) {
    struct dapt_pilot_estimate e = {value, NAN, NAN};
    if (count < ROUNDS / 2) return e;
    dapt_sort_numbers(draws, count);
    e.low = dapt_quantile(draws, count, 0.025);
    e.high = dapt_quantile(draws, count, 0.975);
    return e;
}

// -------------------------------------------------------------------------------------------- rates

static bool any_diverged(const struct dapt_pilot *p, double rate) {
    for (size_t r = 0; r < p->run_count; r++)
        if (p->runs[r].rate == rate && p->runs[r].diverged) return true;
    return false;
}

// The rate whose best share is the best, among those of which no run diverged; changes [first
// runs][set_count].
static size_t winner(const struct dapt_pilot *p, const double *changes) {
    size_t won = p->rate_count;
    double best = INFINITY, over = INFINITY;
    for (size_t r = 0; r < dapt_pilot_first_runs(p); r++) {
        if (any_diverged(p, p->runs[r].rate)) continue;
        if (won == p->rate_count) won = r / p->share_count;
        const double *row = changes + r * p->set_count;
        double value = dapt_pilot_value(p, row), sum = 0;
        for (size_t i = 0; i < p->set_count; i++)
            if (isfinite(p->sets[i].budget)) sum += fmax(row[i] - p->sets[i].budget, 0);
        // Where none is inside the budgets, the one that breaks them least.
        if (value < best || (!isfinite(best) && sum < over)) won = r / p->share_count;
        best = fmin(best, value);
        over = fmin(over, sum);
    }
    return won;
}

static void draw_changes(const struct dapt_pilot *p, uint64_t round, double *times,
                         double *changes) {
    for (size_t i = 0; i < p->set_count; i++) {
        draw_documents(p, i, documents_of(p, i), round, times);
        for (size_t r = 0; r < dapt_pilot_first_runs(p); r++) {
            double before, after;
            cost_of(&p->runs[r].figures[i], times, p->sets[i].nats_before, &before, &after);
            changes[r * p->set_count + i] = (after - before) * p->sets[i].bits;
        }
    }
}

static enum dapt_status check_rates(const struct dapt_pilot *p) {
    for (size_t k = 0; k < p->rate_count; k++)
        if (!any_diverged(p, p->rates[k])) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "pilots diverged at every rate, from %g to %g: try lower ones (--rates) in "
                     "another folder (\"run\")",
                     p->rates[0], p->rates[p->rate_count - 1]);
}

enum dapt_status dapt_pilot_choose_rate(struct dapt_pilot *p) {
    enum dapt_status status = check_rates(p);
    if (status) return status;
    size_t first = dapt_pilot_first_runs(p);
    double *changes = dapt_alloc(first * p->set_count, sizeof *changes);
    double *times = dapt_alloc(most_documents(p), sizeof *times);
    status = changes && times ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t r = 0; !status && r < first; r++)
        for (size_t i = 0; i < p->set_count; i++)
            changes[r * p->set_count + i] = p->runs[r].figures[i].change;
    if (!status) p->rate = winner(p, changes);
    for (uint64_t round = 0; !status && round < ROUNDS; round++) {
        draw_changes(p, round, times, changes);
        p->votes[winner(p, changes)] += 1.0 / ROUNDS;
    }
    free(changes);
    free(times);
    return status;
}

// --------------------------------------------------------------------------------------------- laws

// A law's unit of tokens is the shortest pilot's. Its share is that of the text that the set is of: the
// domain's is what replay leaves.
static double unit_tokens(const struct dapt_pilot *p) {
    return (double)p->unit * (double)p->tokens_per_step;
}
static double share_of(size_t set, double replay) {
    return set == 0 ? 1 - replay : replay;
}

static size_t list_points(const struct dapt_pilot *p, size_t set, struct dapt_law_point *points) {
    size_t n = 0;
    for (size_t r = 0; r < p->run_count; r++) {
        const struct dapt_pilot_run *run = &p->runs[r];
        if (!dapt_pilot_counts(p, run)) continue;
        points[n++] = (struct dapt_law_point){.tokens = (double)run->steps / (double)p->unit,
                                              .share = share_of(set, run->share),
                                              .loss = run->figures[set].nats};
    }
    return n;
}

static enum dapt_status fit_set(struct dapt_pilot *p, size_t i) {
    struct dapt_pilot_set *set = &p->sets[i];
    struct dapt_law_point points[DAPT_PILOT_RUNS];
    size_t n = list_points(p, i, points);
    double least = INFINITY, most = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        least = fmin(least, points[k].loss);
        most = fmax(most, points[k].loss);
    }
    set->spread = most - least;
    return dapt_law_choose(points, n, &set->form, &set->law, &set->error, &set->left_out);
}

static double predict(const struct dapt_pilot *p, size_t i, const struct dapt_law *law,
                      double before, double share, double tokens) {
    return (dapt_law_at(law, tokens / unit_tokens(p), share_of(i, share)) - before) *
           p->sets[i].bits;
}

// ------------------------------------------------------------------------------------ the best of all

struct guess {
    struct dapt_law laws[DAPT_PILOT_SETS];
    double before[DAPT_PILOT_SETS];
};
struct pick {
    double share, tokens, value;  // value infinite: nothing is inside the budgets
};

static double value_at(const struct dapt_pilot *p, const struct guess *g, double share,
                       double tokens) {
    double changes[DAPT_PILOT_SETS];
    for (size_t i = 0; i < p->set_count; i++)
        changes[i] = predict(p, i, &g->laws[i], g->before[i], share, tokens);
    double value = dapt_pilot_value(p, changes);
    return isnan(value) ? INFINITY : value;
}

// Shares between the least and the greatest that were tried: a law is not asked beyond them.
static struct pick best_share(const struct dapt_pilot *p, const struct guess *g, double tokens) {
    double low = p->shares[0], high = p->shares[p->share_count - 1];
    size_t steps = (size_t)ceil((high - low) / SHARE_STEP - 1e-9);
    struct pick best = {NAN, tokens, INFINITY};
    for (size_t k = 0; k <= steps; k++) {
        double share = fmin(low + (double)k * SHARE_STEP, high),
               value = value_at(p, g, share, tokens);
        if (value < best.value) best = (struct pick){share, tokens, value};
    }
    return best;
}

static double target_tokens(const struct dapt_pilot *p) {
    return (double)p->full_steps * (double)p->tokens_per_step;
}

// The fewest tokens that lose no more than ENOUGH against the best number of them.
static struct pick best_pick(const struct dapt_pilot *p, const struct guess *g) {
    struct pick picks[TOKENS_STEPS], best = {NAN, NAN, INFINITY};
    for (int k = 0; k < TOKENS_STEPS; k++) {
        double tokens = target_tokens(p) * pow(2, -k / 4.0);
        picks[k] = best_share(p, g, tokens);
        if (tokens >= unit_tokens(p) && picks[k].value < best.value) best = picks[k];
    }
    for (int k = TOKENS_STEPS - 1; k >= 0; k--)
        if (picks[k].tokens >= unit_tokens(p) && picks[k].value <= best.value + ENOUGH)
            return picks[k];
    return best;
}

// ---------------------------------------------------------------------------------------- intervals

struct draws {
    double *times;
    double share[ROUNDS], tokens[ROUNDS], changes[DAPT_PILOT_SETS][ROUNDS];
    size_t picks, count;  // rounds that had a pick; all that could be fitted
};

// A round's losses: of documents drawn with replacement, and off the law by residuals drawn from the fit's,
// as wide as fitting left them narrow.
static enum dapt_status draw_law(const struct dapt_pilot *p, size_t i, uint64_t round,
                                 double *times, struct guess *g) {
    struct dapt_law_point points[DAPT_PILOT_RUNS], drawn[DAPT_PILOT_RUNS];
    const struct dapt_pilot_set *set = &p->sets[i];
    size_t n = list_points(p, i, points), k = 0;
    size_t fitted = DAPT_LAW_PARAMETERS - (set->form == DAPT_LAW_PLAIN);
    double wider = sqrt((double)n / fmax((double)n - (double)fitted, 1)), error;
    draw_documents(p, i, documents_of(p, i), round, times);
    for (size_t r = 0; r < p->run_count; r++) {
        if (!dapt_pilot_counts(p, &p->runs[r])) continue;
        double after;
        cost_of(&p->runs[r].figures[i], times, set->nats_before, &g->before[i], &after);
        uint64_t other = dapt_random_bits(p->config->train.seed, STREAM_RESIDUALS + i,
                                          round * DAPT_PILOT_RUNS + k) %
                         n;
        double fit = dapt_law_at(&set->law, points[k].tokens, points[k].share),
               off = log(points[other].loss /
                         dapt_law_at(&set->law, points[other].tokens, points[other].share));
        drawn[k] = points[k];
        drawn[k].loss = fit * exp(off * wider) * after / points[k].loss;
        k++;
    }
    return dapt_law_fit(drawn, n, set->form, &set->law, &g->laws[i], &error);
}

static enum dapt_status draw_round(struct dapt_pilot *p, uint64_t round, struct draws *d) {
    struct guess g;
    for (size_t i = 0; i < p->set_count; i++) {
        enum dapt_status status = draw_law(p, i, round, d->times, &g);
        if (status == DAPT_ERROR_INVALID) return DAPT_OK;  // no law: the round tells nothing
        if (status) return status;
    }
    for (size_t i = 0; i < p->set_count; i++)
        d->changes[i][d->count] = predict(p, i, &g.laws[i], g.before[i], p->share.value,
                                          p->tokens.value);
    d->count++;
    struct pick pick = best_pick(p, &g);
    if (!isfinite(pick.value)) return DAPT_OK;
    d->share[d->picks] = pick.share;
    d->tokens[d->picks++] = pick.tokens;
    return DAPT_OK;
}

static enum dapt_status estimate_all(struct dapt_pilot *p, const struct guess *g) {
    struct draws *d = dapt_alloc(1, sizeof *d);
    if (d) d->times = dapt_alloc(most_documents(p), sizeof *d->times);
    enum dapt_status status = d && d->times ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (uint64_t round = 0; !status && round < ROUNDS; round++) status = draw_round(p, round, d);
    if (!status) {
        p->share = estimate(p->share.value, d->share, d->picks);
        p->tokens = estimate(p->tokens.value, d->tokens, d->picks);
    }
    for (size_t i = 0; !status && i < p->set_count; i++)
        p->changes[i] = estimate(
            predict(p, i, &g->laws[i], g->before[i], p->share.value, p->tokens.value),
            d->changes[i], d->count);
    if (d) free(d->times);
    free(d);
    return status;
}

// ------------------------------------------------------------------------------------------- reasons

static enum dapt_status doubt_rate(struct dapt_pilot *p) {
    for (size_t r = 0; r < p->run_count; r++) {
        const struct dapt_pilot_run *run = &p->runs[r];
        if (!run->diverged || run->rate != p->rates[p->rate]) continue;
        return dapt_string_format(&p->reason,
                                  "at the rate %g the pilot of share %g and %" PRIu64
                                  " steps diverged at step %" PRIu64
                                  ": too high for the full run; try lower ones (--rates)",
                                  run->rate, run->share, run->steps, run->diverged);
    }
    return DAPT_OK;
}

// The first reason not to go beyond what was measured.
static enum dapt_status doubt_fits(struct dapt_pilot *p) {
    double reach = p->options->reach > 0 ? p->options->reach : DAPT_PILOT_REACH,
           times = (double)p->full_steps / (8 * (double)p->unit);
    if (times > reach)
        return dapt_string_format(
            &p->reason,
            "the full run is %.3g times as long as the longest pilot, more than "
            "the %g that is gone by (--reach); allow the pilots more",
            times, reach);
    for (size_t i = 0; i < p->set_count; i++)
        if (!(p->sets[i].left_out <= WORST_MISS * p->sets[i].spread))
            return dapt_string_format(
                &p->reason,
                "the law of %s misses pilots that it was not fitted to by %.4f nats/token, where "
                "all differ by %.4f; longer pilots may lie better",
                p->sets[i].name, p->sets[i].left_out, p->sets[i].spread);
    return DAPT_OK;
}

static enum dapt_status doubt_prediction(struct dapt_pilot *p) {
    const struct dapt_pilot_estimate *e = &p->changes[0];
    if (!(e->high - e->low <= WORST_WIDTH * fabs(e->value)))
        return dapt_string_format(
            &p->reason,
            "%s there is %+.3f bits/byte by the law, but anything from %+.3f to %+.3f by its "
            "draws; longer pilots, or more of them, would narrow it",
            p->sets[0].name, e->value, e->low, e->high);
    return DAPT_OK;
}

enum dapt_status dapt_pilot_fit(struct dapt_pilot *p) {
    struct guess g;
    size_t points = p->share_count * DAPT_PILOT_LENGTHS;
    p->changes = dapt_arena_alloc(&p->arena, p->set_count * sizeof *p->changes);
    if (!p->changes) return DAPT_ERROR_MEMORY;
    enum dapt_status status = doubt_rate(p);
    if (status || p->reason.length) return status;
    if (points < DAPT_LAW_PARAMETERS + 2)
        return dapt_string_format(&p->reason,
                                  "%zu pilots of one rate are too few for a law of %d numbers; at "
                                  "least 3 shares are needed (--shares)",
                                  points, DAPT_LAW_PARAMETERS);
    for (size_t i = 0; i < p->set_count; i++) {
        status = fit_set(p, i);
        if (status) return status;
        g.laws[i] = p->sets[i].law;
        g.before[i] = p->sets[i].nats_before;
        p->changes[i] = (struct dapt_pilot_estimate){NAN, NAN, NAN};
    }
    struct pick pick = best_pick(p, &g);
    p->share = (struct dapt_pilot_estimate){pick.share, NAN, NAN};
    p->tokens = (struct dapt_pilot_estimate){pick.tokens, NAN, NAN};
    status = doubt_fits(p);
    if (status || p->reason.length) return status;
    if (!isfinite(pick.value))
        return dapt_string_format(
            &p->reason,
            "by the laws no share from %g to %g keeps the budget, whatever the "
            "number of tokens",
            p->shares[0], p->shares[p->share_count - 1]);
    p->steps = (uint64_t)fmax(ceil(pick.tokens / (double)p->tokens_per_step), 1);
    status = estimate_all(p, &g);
    return status ? status : doubt_prediction(p);
}
