// The figures: one run has a curve for each of its sets, several have one each.
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/small_text.h"
#include "report/page.h"
#include "report/plot.h"

#define COLUMNS 340   // of a drawing: more points than two in each do not show
#define STRETCHES 50  // a mean is over so many a run, so that it follows the course,
#define WINDOW 200    // and at most over so many steps
#define NEUTRAL 7u    // the style of what is no set's, where there is one run

#define SERIES 64
struct figure {
    struct dapt_page *page;
    struct dapt_plot_series series[SERIES];
    size_t count;
};

static unsigned style_of(const struct figure *f, size_t run) {
    return f->page->count == 1 ? NEUTRAL : (unsigned)run;
}

static struct dapt_plot_point *new_points(struct figure *f, size_t count) {
    struct dapt_plot_point *points = dapt_arena_alloc(&f->page->arena,
                                                      (count + 1) * sizeof *points);
    if (!points && !f->page->html.status) f->page->html.status = DAPT_ERROR_MEMORY;
    return points;
}

static void add_series(struct figure *f, const char *label, enum dapt_plot_look look,
                       unsigned style, struct dapt_plot_point *points, size_t count) {
    if (!points || f->count == SERIES) return;
    count = dapt_plot_thin(points, count, COLUMNS);
    f->series[f->count++] = (struct dapt_plot_series){label, look, style, points, count};
}

// ------------------------------------------------------------------------------------- by the step

typedef double (*of_step)(const struct dapt_run *run, const struct dapt_run_step *step);

static double loss_of(const struct dapt_run *run, const struct dapt_run_step *step) {
    (void)run;
    return step->loss;
}
static double norm_of(const struct dapt_run *run, const struct dapt_run_step *step) {
    (void)run;
    return step->norm;
}
static double rate_of(const struct dapt_run *run, const struct dapt_run_step *step) {
    (void)run;
    return step->rate;
}
static double speed_of(const struct dapt_run *run, const struct dapt_run_step *step) {
    return step->seconds > 0 ? dapt_run_number(run->start, "tokens_per_step") / step->seconds : NAN;
}

// Steps of which a mean is taken.
static size_t window_of(const struct dapt_run *run) {
    size_t window = run->step_count / STRETCHES;
    return window > WINDOW ? WINDOW : window > 1 ? window : 1;
}

// Each value, or the mean of the last `window` that are finite numbers.
static void add_steps(struct figure *f, size_t r, const char *label, of_step value,
                      enum dapt_plot_look look, size_t window) {
    const struct dapt_run *run = &f->page->runs[r];
    struct dapt_plot_point *points = new_points(f, run->step_count);
    for (size_t i = 0; points && i < run->step_count; i++) {
        double sum = 0, finite = 0;
        for (size_t k = i + 1 > window ? i + 1 - window : 0; k <= i; k++) {
            double y = value(run, &run->steps[k]);
            if (!isfinite(y)) continue;
            sum += y;
            finite++;
        }
        points[i] = (struct dapt_plot_point){run->steps[i].step, finite ? sum / finite : NAN, NAN,
                                             NAN};
    }
    add_series(f, label, look, style_of(f, r), points, run->step_count);
}

// A run's own name, or what is shown where it is the only one.
static const char *run_label(const struct figure *f, size_t r, const char *alone) {
    const struct dapt_page *page = f->page;
    return page->count == 1 ? alone : page->runs[r].name;
}

// With each value behind the mean where there is room for it.
static void add_mean(struct figure *f, size_t r, const char *alone, of_step value) {
    size_t window = window_of(&f->page->runs[r]);
    const char *label = run_label(f, r, alone);
    if (window > 1 && f->page->count == 1)
        label = dapt_arena_format(&f->page->arena, "%s, mean of %zu steps", label, window);
    if (!label) return;
    if (window > 1 && f->page->count == 1) add_steps(f, r, label, value, DAPT_PLOT_FAINT, 1);
    add_steps(f, r, label, value, DAPT_PLOT_LINE, window);
}

// -------------------------------------------------------------------------------------------- sets

static void add_set(struct figure *f, const struct dapt_run_set *set, const char *label,
                    unsigned style, bool changes) {
    struct dapt_plot_point *points = new_points(f, set->count);
    for (size_t i = 0; points && i < set->count; i++) {
        const struct dapt_run_entry *e = &set->entries[i];
        points[i] = (struct dapt_plot_point){e->step, changes ? e->change : e->nats,
                                             changes ? e->low : NAN, changes ? e->high : NAN};
    }
    add_series(f, label, DAPT_PLOT_MARKED, style, points, set->count);
}

static const char *set_label(struct dapt_page *page, const struct dapt_run_set *set) {
    if (strcmp(set->name, set->role) == 0) return set->name;
    const char *label = dapt_arena_format(&page->arena, "%s (%s)", set->name, set->role);
    return label ? label : set->name;
}

// All sets of the only run.
static void add_sets(struct figure *f, bool changes) {
    const struct dapt_run *run = &f->page->runs[0];
    for (size_t i = 0; i < run->set_count; i++)
        add_set(f, &run->sets[i], set_label(f->page, &run->sets[i]), (unsigned)i % NEUTRAL,
                changes);
}

// ----------------------------------------------------------------------------------------- figures

static void say_loss(struct dapt_html *html, double value) {
    dapt_html_number(html, "%.4f", value);
}
static void say_change(struct dapt_html *html, double value) {
    dapt_html_number(html, "%+.4f", value);
}
static void say_rate(struct dapt_html *html, double value) {
    dapt_html_number(html, "%.2e", value);
}
static void say_norm(struct dapt_html *html, double value) {
    dapt_html_number(html, "%.2g", value);
}
static void say_speed(struct dapt_html *html, double value) {
    struct dapt_small_text text;
    dapt_html_text(html, dapt_count_text(value < 1e18 ? (uint64_t)value : 0, &text));
}
static void say_share(struct dapt_html *html, double value) {
    dapt_html_number(html, "%.3g", value);
}

static void draw(struct figure *f, struct dapt_plot plot) {
    plot.series = f->series;
    plot.count = f->count;
    for (size_t r = 0; r < f->page->count; r++)
        plot.last = fmax(plot.last, dapt_run_done(&f->page->runs[r]));
    dapt_plot_curves(&f->page->html, &plot);
}

static void draw_losses(struct dapt_page *page) {
    struct figure f = {.page = page};
    for (size_t r = 0; r < page->count; r++) add_mean(&f, r, "training", loss_of);
    if (page->count == 1) add_sets(&f, false);
    draw(&f,
         (struct dapt_plot){.title = page->count == 1 ? "Loss" : "Training loss",
                            .unit = page->count == 1 ? "nats/token" : "nats/token, running mean",
                            .say = say_loss});
}

// Of one run: all its sets. Of several: a figure a set, with a curve a run.
static void draw_courses(struct dapt_page *page) {
    struct dapt_plot plot = {.title = "How it changed",
                             .unit = "bits/byte since step 0, 95 % intervals where known",
                             .say = say_change,
                             .zero = true};
    struct figure f = {.page = page};
    if (page->count == 1) {
        add_sets(&f, true);
        draw(&f, plot);
        return;
    }
    for (size_t r = 0; r < page->count; r++) {
        for (size_t i = 0; i < page->runs[r].set_count; i++) {
            const struct dapt_run_set *set = &page->runs[r].sets[i];
            if (dapt_page_told(page, r, set->name)) continue;
            f.count = 0;
            for (size_t k = r; k < page->count; k++) {
                const struct dapt_run_set *same = dapt_run_find_set(&page->runs[k], set->name);
                if (same) add_set(&f, same, page->runs[k].name, (unsigned)k, true);
            }
            plot.title = dapt_arena_format(&page->arena, "How %s changed", set_label(page, set));
            if (plot.title) draw(&f, plot);
        }
    }
}

static void draw_rates(struct dapt_page *page) {
    struct figure f = {.page = page};
    for (size_t r = 0; r < page->count; r++)
        add_steps(&f, r, run_label(&f, r, "learning rate"), rate_of, DAPT_PLOT_LINE, 1);
    draw(&f, (struct dapt_plot){
                 .title = "Learning rate", .unit = "each step", .say = say_rate, .zero = true});
}

// Spikes of a hundredfold would flatten all else.
static bool spans(const struct dapt_page *page, double factor) {
    double least = INFINITY, most = 0;
    for (size_t r = 0; r < page->count; r++) {
        for (size_t i = 0; i < page->runs[r].step_count; i++) {
            double norm = page->runs[r].steps[i].norm;
            if (!isfinite(norm) || norm <= 0) continue;
            least = fmin(least, norm);
            most = fmax(most, norm);
        }
    }
    return most > factor * least;
}

static void draw_norms(struct dapt_page *page) {
    struct figure f = {.page = page};
    bool logarithmic = spans(page, 50);
    for (size_t r = 0; r < page->count; r++)
        add_steps(&f, r, run_label(&f, r, "gradient norm"), norm_of, DAPT_PLOT_LINE, 1);
    draw(&f, (struct dapt_plot){.title = "Gradient norm",
                                .unit = logarithmic ? "before clipping, each step; logarithmic"
                                                    : "before clipping, each step",
                                .say = say_norm,
                                .zero = !logarithmic,
                                .logarithmic = logarithmic});
}

static void draw_speeds(struct dapt_page *page) {
    struct figure f = {.page = page};
    for (size_t r = 0; r < page->count; r++) add_mean(&f, r, "tokens/s", speed_of);
    draw(&f, (struct dapt_plot){.title = "Throughput",
                                .unit = page->count == 1 ? "tokens/s" : "tokens/s, running mean",
                                .say = say_speed,
                                .zero = true});
}

static double first_share(const struct dapt_run *run) {
    const struct dapt_json *data = dapt_json_member(run->config.root, "data");
    return dapt_run_number(dapt_json_member(data, "replay"), "share");
}

// Only where it changed on the way.
static void draw_shares(struct dapt_page *page) {
    struct figure f = {.page = page};
    size_t changes = 0;
    for (size_t r = 0; r < page->count; r++) {
        const struct dapt_run *run = &page->runs[r];
        struct dapt_plot_point *points = new_points(&f, run->share_count + 2);
        double share = first_share(run);
        size_t count = 0;
        changes += run->share_count;
        if (!points || (!isfinite(share) && !run->share_count)) continue;
        points[count++] = (struct dapt_plot_point){0, share, NAN, NAN};
        for (size_t i = 0; i < run->share_count; i++) {
            share = run->shares[i].share;
            points[count++] = (struct dapt_plot_point){run->shares[i].step, share, NAN, NAN};
        }
        points[count++] = (struct dapt_plot_point){dapt_run_done(run), share, NAN, NAN};
        add_series(&f, run_label(&f, r, "share of replay"), DAPT_PLOT_STAIRS, style_of(&f, r),
                   points, count);
    }
    if (changes)
        draw(&f, (struct dapt_plot){.title = "Replay",
                                    .unit = "share of the sequences",
                                    .say = say_share,
                                    .zero = true});
}

void dapt_page_curves(struct dapt_page *page) {
    dapt_html_put(&page->html, "<div class=\"plots\">\n");
    draw_losses(page);
    draw_rates(page);
    draw_norms(page);
    draw_shares(page);
    draw_speeds(page);
    dapt_html_put(&page->html, "</div>\n");
}

// ----------------------------------------------------------------------------------------- changes

static struct dapt_plot_change change_of(struct dapt_page *page, size_t r, size_t i) {
    const struct dapt_run_set *set = &page->runs[r].sets[i];
    const struct dapt_run_entry e = dapt_run_last(set);
    bool alone = page->count == 1;
    return (struct dapt_plot_change){.label = alone ? set_label(page, set) : page->runs[r].name,
                                     .style = (unsigned)(alone ? i % NEUTRAL : r),
                                     .change = e.step > 0 ? e.change : NAN,
                                     .low = e.step > 0 ? e.low : NAN,
                                     .high = e.step > 0 ? e.high : NAN,
                                     .budget = set->budget};
}

// Rows by set; of several runs under the set's name.
void dapt_page_changes(struct dapt_page *page) {
    size_t most = 0, count = 0;
    for (size_t r = 0; r < page->count; r++) most += page->runs[r].set_count;
    struct dapt_plot_change *rows = dapt_arena_alloc(&page->arena, (most + 1) * sizeof *rows);
    for (size_t r = 0; rows && r < page->count; r++) {
        for (size_t i = 0; i < page->runs[r].set_count; i++) {
            const struct dapt_run_set *set = &page->runs[r].sets[i];
            if (dapt_page_told(page, r, set->name)) continue;
            size_t first = count;
            for (size_t k = r; k < page->count; k++) {
                const struct dapt_run_set *same = dapt_run_find_set(&page->runs[k], set->name);
                if (same) rows[count++] = change_of(page, k, (size_t)(same - page->runs[k].sets));
            }
            if (page->count > 1) rows[first].group = set_label(page, set);
        }
    }
    if (count) dapt_plot_changes(&page->html, "What changed", rows, count);
    draw_courses(page);
}
