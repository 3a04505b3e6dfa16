#include "report/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "report/page.h"
#include "report/plot.h"

struct dapt_sweep_point {
    double alpha;
    bool budgeted, inside;
    struct figure {
        double bits, change, low, high;
    } * figures;  // [sets]
};

// ----------------------------------------------------------------------------------------- points

static enum dapt_status take_names(struct dapt_sweep *s, const struct dapt_blend_point *point) {
    s->sets = point->count;
    s->names = dapt_arena_alloc(&s->arena, s->sets * sizeof *s->names);
    s->roles = dapt_arena_alloc(&s->arena, s->sets * sizeof *s->roles);
    for (size_t i = 0; i < s->sets && s->names && s->roles; i++) {
        const struct dapt_evaluation *e = &point->evaluations[i];
        s->names[i] = dapt_arena_copy(&s->arena, e->name, strlen(e->name));
        s->roles[i] = dapt_arena_copy(&s->arena, e->role, strlen(e->role));
        if (!s->names[i] || !s->roles[i]) return DAPT_ERROR_MEMORY;
    }
    return s->names && s->roles ? DAPT_OK : DAPT_ERROR_MEMORY;
}

void dapt_sweep_add(struct dapt_sweep *s, const struct dapt_blend_point *point) {
    struct figure *figures = dapt_arena_alloc(&s->arena, point->count * sizeof *figures);
    if (!s->status && !figures) s->status = DAPT_ERROR_MEMORY;
    if (!s->status && !s->names) s->status = take_names(s, point);
    if (!s->status)
        s->status = dapt_grow(&s->points, &s->capacity, s->count + 1, sizeof *s->points);
    if (s->status) return;
    for (size_t i = 0; i < point->count; i++) {
        const struct dapt_evaluation *e = &point->evaluations[i];
        figures[i] = (struct figure){e->bits_per_byte, e->bits_per_byte - e->bits_before,
                                     e->change_low, e->change_high};
    }
    s->points[s->count++] = (struct dapt_sweep_point){.alpha = point->alpha,
                                                      .budgeted = point->budgeted,
                                                      .inside = point->inside,
                                                      .figures = figures};
}

void dapt_sweep_free(struct dapt_sweep *s) {
    free(s->points);
    dapt_arena_free(&s->arena);
    *s = (struct dapt_sweep){0};
}

// ------------------------------------------------------------------------------------------- page

static int by_x(const void *a, const void *b) {
    double x = ((const struct dapt_plot_point *)a)->x, y = ((const struct dapt_plot_point *)b)->x;
    return (x > y) - (x < y);
}

static void say_change(struct dapt_html *html, double value) {
    dapt_html_number(html, "%+.4f", value);
}

static enum dapt_status draw_curves(const struct dapt_sweep *s, struct dapt_html *html) {
    struct dapt_plot_series *series = dapt_alloc(s->sets, sizeof *series);
    struct dapt_plot_point *points = dapt_alloc(s->sets * s->count, sizeof *points);
    enum dapt_status status = series && points ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < s->sets; i++) {
        series[i] = (struct dapt_plot_series){.label = s->names[i],
                                              .look = DAPT_PLOT_MARKED,
                                              .style = (unsigned)i,
                                              .points = points + i * s->count,
                                              .count = s->count};
        for (size_t k = 0; k < s->count; k++) {
            const struct figure *f = &s->points[k].figures[i];
            series[i].points[k] = (struct dapt_plot_point){s->points[k].alpha, f->change, f->low,
                                                           f->high};
        }
        qsort(series[i].points, s->count, sizeof *points, by_x);
    }
    const struct dapt_plot plot = {.title = "Change since the base",
                                   .unit = "bits/byte; less is better",
                                   .series = series,
                                   .count = s->sets,
                                   .say = say_change,
                                   .axis = "alpha",
                                   .zero = true};
    if (!status) dapt_plot_curves(html, &plot);
    free(points);
    free(series);
    return status;
}

static void put_rows(const struct dapt_sweep *s, struct dapt_html *html, double chosen) {
    for (size_t k = 0; k < s->count; k++) {
        const struct dapt_sweep_point *point = &s->points[k];
        for (size_t i = 0; i < s->sets; i++) {
            const struct figure *f = &point->figures[i];
            dapt_html_put(html, "<tr><th scope=\"row\">%g%s</th>", point->alpha,
                          point->alpha == chosen ? " (chosen)" : "");
            dapt_page_cell(html, s->names[i]);
            dapt_page_cell(html, s->roles[i]);
            dapt_page_number(html, "%.4f", f->bits);
            dapt_page_number(html, "%+.4f", f->change);
            dapt_page_number(html, "%+.4f", f->low);
            dapt_page_number(html, "%+.4f", f->high);
            dapt_page_cell(html, !point->budgeted ? NULL : point->inside ? "holds" : "broken");
            dapt_html_put(html, "</tr>\n");
        }
    }
}

static void put_table(const struct dapt_sweep *s, struct dapt_html *html, double chosen) {
    static const char *const columns[] = {"alpha", "set",   "role",   "#bits/byte", "#change",
                                          "#low",  "#high", "budget", NULL};
    dapt_html_table(html, "Each point, with the 95 % interval of the change");
    dapt_html_columns(html, columns);
    dapt_html_put(html, "<tbody>\n");
    put_rows(s, html, chosen);
    dapt_html_put(html, "</tbody>\n");
    dapt_html_table_end(html);
}

static void put_choice(struct dapt_html *html, const struct dapt_blended *result) {
    dapt_html_put(html, "<p class=\"headline\">");
    if (!result->chosen)
        dapt_html_put(html, "No point is inside the budget.");
    else
        dapt_html_put(html, "Chosen: alpha %g, %s.", result->alpha,
                      result->budgeted ? "the best domain score inside the budget"
                                       : "the least sum of the changes of domain and general");
    dapt_html_put(html, "</p>\n");
}

enum dapt_status dapt_sweep_write(const struct dapt_sweep *s, const char *base, const char *adapted,
                                  const struct dapt_blended *result, const char *path) {
    struct dapt_html html = {0};
    if (s->status) return dapt_fail(s->status, "%s: no memory for the page", path);
    dapt_page_head(&html);
    dapt_html_put(&html, "Blends – dapt");
    dapt_page_body(&html);
    dapt_html_put(&html, "<header>\n<p class=\"kind\">Blends</p>\n<h1>");
    dapt_html_format(&html, "%s and %s", base, adapted);
    dapt_html_put(&html, "</h1>\n");
    put_choice(&html, result);
    dapt_html_put(&html,
                  "</header>\n<main>\n<section>\n<h2>Gained and paid</h2>\n<p>Weights are base "
                  "+ alpha (adapted - base).</p>\n");
    enum dapt_status status = draw_curves(s, &html);
    put_table(s, &html, result->chosen ? result->alpha : NAN);
    dapt_html_put(&html,
                  "</section>\n</main>\n<footer><p>Written by dapt %s.</p></footer>\n</body>\n"
                  "</html>\n",
                  dapt_version());
    if (!status) status = html.status;
    if (!status) status = dapt_file_write(path, html.text.data, html.text.length);
    dapt_string_free(&html.text);
    return status;
}
