#include "report/plot.h"

#include <math.h>

#include "report/scale.h"

// The drawing, in units that are about a pixel at 400 of them: text stays legible on a phone, and a
// figure is never drawn much larger.
#define WIDTH 400.0
#define HEIGHT 236.0
#define LEFT 50.0
#define RIGHT 18.0
#define TOP 10.0
#define BOTTOM 36.0
#define MANY 48  // points of which not each has its mark

size_t dapt_plot_thin(struct dapt_plot_point *points, size_t count, size_t columns) {
    if (count <= 2 * columns + 2) return count;
    double first = points[0].x, width = (points[count - 1].x - first) / (double)columns;
    size_t kept = 1;  // the first; nothing is written beyond what was read
    for (size_t i = 1; i + 1 < count;) {
        double end = first + width * (floor((points[i].x - first) / width) + 1);
        size_t least = i, most = i, next = i;
        for (; next + 1 < count && (next == i || points[next].x < end); next++) {
            if (!(points[next].y >= points[least].y)) least = next;
            if (points[next].y > points[most].y || isnan(points[most].y)) most = next;
        }
        size_t a = least < most ? least : most, b = least < most ? most : least;
        struct dapt_plot_point second = points[b];
        points[kept++] = points[a];
        if (b != a) points[kept++] = second;
        i = next;
    }
    points[kept++] = points[count - 1];
    return kept;
}

// ----------------------------------------------------------------------------------------- drawing

struct drawing {
    struct dapt_html *html;
    struct dapt_scale x, y;
};

static void draw_x(void *user, double value, const char *text) {
    const struct drawing *d = user;
    double x = dapt_scale_place(&d->x, value);
    dapt_html_put(d->html,
                  "<path class=\"t\" d=\"M%.1f,%.1fv4\"/><text class=\"mid\" x=\"%.1f\" "
                  "y=\"%.1f\">",
                  x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 16);
    dapt_html_text(d->html, text);
    dapt_html_put(d->html, "</text>\n");
}

static void draw_y(void *user, double value, const char *text) {
    const struct drawing *d = user;
    double y = dapt_scale_place(&d->y, value);
    dapt_html_put(d->html,
                  "<path class=\"%s\" d=\"M%.0f,%.1fH%.0f\"/><text class=\"end\" x=\"%.0f\" "
                  "y=\"%.1f\">",
                  value == 0 ? "z" : "g", LEFT, y, WIDTH - RIGHT, LEFT - 6, y + 4);
    if (*text == '-') dapt_html_put(d->html, "−");
    dapt_html_text(d->html, text + (*text == '-'));
    dapt_html_put(d->html, "</text>\n");
}

static bool drawn(const struct drawing *d, double y) {
    return isfinite(y) && (!d->y.logarithmic || y > 0);
}

static void draw_line(const struct drawing *d, const struct dapt_plot_series *s) {
    bool pen = false, stairs = s->look == DAPT_PLOT_STAIRS;
    dapt_html_put(d->html, "<path class=\"%s\" d=\"", s->look == DAPT_PLOT_FAINT ? "f" : "l");
    for (size_t i = 0; i < s->count; i++) {
        double x = dapt_scale_place(&d->x, s->points[i].x), y = s->points[i].y;
        bool here = drawn(d, y);
        if (pen && stairs) dapt_html_put(d->html, "H%.1f", x);
        if (here)
            dapt_html_put(d->html, "%c%.1f,%.1f", pen ? 'L' : 'M', x, dapt_scale_place(&d->y, y));
        pen = here;
    }
    dapt_html_put(d->html, "\"/>\n");
}

// Of many points the marks would run into each other, and the intervals are a band.
static void draw_band(const struct drawing *d, const struct dapt_plot_series *s) {
    char pen = 'M';
    dapt_html_put(d->html, "<path class=\"b\" d=\"");
    for (size_t i = 0; i < 2 * s->count; i++) {
        const struct dapt_plot_point *p = &s->points[i < s->count ? i : 2 * s->count - 1 - i];
        if (!drawn(d, p->low) || !drawn(d, p->high)) continue;
        dapt_html_put(d->html, "%c%.1f,%.1f", pen, dapt_scale_place(&d->x, p->x),
                      dapt_scale_place(&d->y, i < s->count ? p->low : p->high));
        pen = 'L';
    }
    dapt_html_put(d->html, "\"/>\n");
}

static void draw_marks(const struct drawing *d, const struct dapt_plot_series *s) {
    for (size_t i = 0; i < s->count; i++) {
        const struct dapt_plot_point *p = &s->points[i];
        double x = dapt_scale_place(&d->x, p->x);
        if (!drawn(d, p->y)) continue;
        if (drawn(d, p->low) && drawn(d, p->high))
            dapt_html_put(d->html, "<path class=\"i\" d=\"M%.1f,%.1fV%.1f\"/>", x,
                          dapt_scale_place(&d->y, p->low), dapt_scale_place(&d->y, p->high));
        dapt_plot_mark(d->html, s->style, x, dapt_scale_place(&d->y, p->y));
    }
}

static void draw_series(const struct drawing *d, const struct dapt_plot_series *s) {
    bool marked = s->look == DAPT_PLOT_MARKED && s->count <= MANY;
    dapt_html_put(d->html, "<g class=\"s%u\">", s->style % DAPT_PLOT_STYLES);
    if (s->look == DAPT_PLOT_MARKED && !marked) draw_band(d, s);
    draw_line(d, s);
    if (marked) draw_marks(d, s);
    dapt_html_put(d->html, "</g>\n");
}

static const char *axis_of(const struct dapt_plot *plot) {
    return plot->axis ? plot->axis : "step";
}

static void draw(struct dapt_html *html, const struct dapt_plot *plot) {
    struct drawing d = {
        .html = html,
        .x = {.from = LEFT, .to = WIDTH - RIGHT},
        .y = {.from = HEIGHT - BOTTOM, .to = TOP, .logarithmic = plot->logarithmic}};
    dapt_scale_take(&d.x, 0);
    dapt_scale_take(&d.x, plot->last);
    if (plot->zero) dapt_scale_take(&d.y, 0);
    for (size_t s = 0; s < plot->count; s++) {
        for (size_t i = 0; i < plot->series[s].count; i++) {
            const struct dapt_plot_point *p = &plot->series[s].points[i];
            const double values[] = {p->y, p->low, p->high};
            for (size_t v = 0; v < 3; v++) dapt_scale_take(&d.y, values[v]);
            dapt_scale_take(&d.x, p->x);
        }
    }
    dapt_scale_settle(&d.x, 5, false);
    dapt_scale_settle(&d.y, 5, true);
    dapt_scale_each(&d.y, draw_y, &d);
    dapt_html_put(html, "<path class=\"t\" d=\"M%.0f,%.0fH%.0f\"/>\n", LEFT, HEIGHT - BOTTOM,
                  WIDTH - RIGHT);
    dapt_scale_each(&d.x, draw_x, &d);
    dapt_html_put(html, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">", WIDTH - RIGHT, HEIGHT - 3);
    dapt_html_text(html, axis_of(plot));
    dapt_html_put(html, "</text>\n");
    for (size_t s = 0; s < plot->count; s++)
        if (plot->series[s].count) draw_series(&d, &plot->series[s]);
}

// ---------------------------------------------------------------------------------------- in words

static bool is_told(const struct dapt_plot_series *s) {
    return s->look != DAPT_PLOT_FAINT && s->count > 0;
}

static void say_point(struct dapt_html *html, const struct dapt_plot *plot,
                      const struct dapt_plot_point *p) {
    plot->say(html, p->y);
    if (isfinite(p->low) && isfinite(p->high)) {
        dapt_html_put(html, " (95 %% interval ");
        plot->say(html, p->low);
        dapt_html_put(html, " to ");
        plot->say(html, p->high);
        dapt_html_put(html, ")");
    }
    dapt_html_format(html, " at %s %.10g", axis_of(plot), p->x);
}

static void say_series(struct dapt_html *html, const struct dapt_plot *plot,
                       const struct dapt_plot_series *s) {
    const struct dapt_plot_point *first = NULL, *last = NULL, *least = NULL, *most = NULL;
    for (size_t i = 0; i < s->count; i++) {
        const struct dapt_plot_point *p = &s->points[i];
        if (!isfinite(p->y)) continue;
        if (!first) first = least = most = p;
        last = p;
        if (p->y < least->y) least = p;
        if (p->y > most->y) most = p;
    }
    dapt_html_text(html, s->label);
    if (!first) {
        dapt_html_put(html, ": no finite value. ");
        return;
    }
    dapt_html_put(html, ": from ");
    say_point(html, plot, first);
    dapt_html_put(html, " to ");
    say_point(html, plot, last);
    dapt_html_put(html, "; least ");
    say_point(html, plot, least);
    dapt_html_put(html, ", most ");
    say_point(html, plot, most);
    dapt_html_put(html, ". ");
}

static void add_legend(struct dapt_html *html, const struct dapt_plot *plot) {
    dapt_html_put(html, "<ul class=\"legend\">");
    for (size_t s = 0; s < plot->count; s++) {
        if (!is_told(&plot->series[s])) continue;
        dapt_html_put(html, "<li>");
        dapt_plot_swatch(html, plot->series[s].style, plot->series[s].look);
        dapt_html_element(html, "span", plot->series[s].label);
        dapt_html_put(html, "</li>");
    }
    dapt_html_put(html, "</ul>\n");
}

void dapt_plot_curves(struct dapt_html *html, const struct dapt_plot *plot) {
    size_t told = 0;
    for (size_t s = 0; s < plot->count; s++) told += is_told(&plot->series[s]);
    if (!told) return;
    dapt_figure_begin(html, plot->title, plot->unit);
    // One curve is named by the title, unless it is a mean.
    if (plot->count > 1) add_legend(html, plot);
    dapt_figure_canvas(html, plot->title, WIDTH, HEIGHT);
    dapt_html_format(html, "%s over %s. ", plot->unit, plot->axis ? plot->axis : "steps");
    for (size_t s = 0; s < plot->count; s++)
        if (is_told(&plot->series[s])) say_series(html, plot, &plot->series[s]);
    dapt_figure_drawing(html);
    draw(html, plot);
    dapt_figure_end(html);
}
