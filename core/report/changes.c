// What became of each set: a point with its interval a row, left of zero what became better.
#include <math.h>

#include "report/scale.h"

#define WIDTH 400.0
#define SIDE 18.0  // room for the outer ticks' texts
#define ROW 40.0   // a label, below it the interval
#define HEADING 24.0
#define FOOT 48.0

struct drawing {
    struct dapt_html *html;
    struct dapt_scale x;
    double bottom;
};

static void draw_tick(void *user, double value, const char *text) {
    const struct drawing *d = user;
    double x = dapt_scale_place(&d->x, value);
    dapt_html_put(
        d->html,
        "<path class=\"%s\" d=\"M%.1f,4V%.1f\"/><text class=\"mid\" x=\"%.1f\" y=\"%.1f\">",
        value == 0 ? "z" : "g", x, d->bottom, x, d->bottom + 16);
    dapt_html_put(d->html, value < 0 ? "−" : value > 0 ? "+" : "");
    dapt_html_text(d->html, text + (*text == '-'));
    dapt_html_put(d->html, "</text>\n");
}

static void say_change(struct dapt_html *html, const struct dapt_plot_change *c) {
    dapt_html_number(html, "%+.4f", c->change);
    if (!isfinite(c->low) || !isfinite(c->high)) return;
    dapt_html_put(html, " (");
    dapt_html_number(html, "%+.4f", c->low);
    dapt_html_put(html, " to ");
    dapt_html_number(html, "%+.4f", c->high);
    dapt_html_put(html, ")");
}

// So much of a name as leaves room for the figures; the whole stands in the description.
static void put_name(struct dapt_html *html, const char *name, size_t most) {
    char cut[256];
    size_t length = 0, characters = 0;
    for (; name[length] && length < sizeof cut - 1; length++) {
        bool begins = ((unsigned char)name[length] & 0xc0) != 0x80;
        if (begins && characters++ == most) break;
        cut[length] = name[length];
    }
    cut[length] = '\0';
    dapt_html_text(html, cut);
    if (name[length]) dapt_html_put(html, "…");
}

static void draw_row(const struct drawing *d, const struct dapt_plot_change *c, double y) {
    double x = dapt_scale_place(&d->x, c->change), line = y + 27;
    // No line of the scale runs through the words.
    dapt_html_put(d->html,
                  "<rect class=\"p\" x=\"0\" y=\"%.0f\" width=\"%.0f\" height=\"18\"/>"
                  "<text x=\"0\" y=\"%.0f\">",
                  y, WIDTH, y + 14);
    put_name(d->html, c->label, isfinite(c->low) ? 24 : 40);
    dapt_html_put(d->html, "</text><text class=\"end figure\" x=\"%.0f\" y=\"%.0f\">", WIDTH,
                  y + 14);
    say_change(d->html, c);
    dapt_html_put(d->html, "</text>\n<g class=\"s%u\">", c->style % DAPT_PLOT_STYLES);
    if (isfinite(c->budget)) {
        double budget = dapt_scale_place(&d->x, c->budget);
        dapt_html_put(d->html, "<path class=\"limit\" d=\"M%.1f,%.0fv16\"/>", budget, line - 8);
    }
    if (isfinite(c->change) && isfinite(c->low) && isfinite(c->high)) {
        double low = dapt_scale_place(&d->x, c->low), high = dapt_scale_place(&d->x, c->high);
        dapt_html_put(d->html,
                      "<path class=\"i wide\" d=\"M%.1f,%.0fH%.1fM%.1f,%.0fv8M%.1f,%.0fv8\"/>", low,
                      line, high, low, line - 4, high, line - 4);
    }
    if (isfinite(c->change)) dapt_plot_mark(d->html, c->style, x, line);
    dapt_html_put(d->html, "</g>\n");
}

static void describe(struct dapt_html *html, const struct dapt_plot_change *changes, size_t count) {
    const char *group = "";
    dapt_html_put(html, "Change in bits/byte since step 0, below zero is better. ");
    for (size_t i = 0; i < count; i++) {
        if (changes[i].group) group = changes[i].group;
        dapt_html_text(html, group);
        if (*group) dapt_html_put(html, ", ");
        dapt_html_text(html, changes[i].label);
        dapt_html_put(html, ": ");
        say_change(html, &changes[i]);
        if (isfinite(changes[i].budget)) {
            dapt_html_put(html, ", budget ");
            dapt_html_number(html, "%+.4f", changes[i].budget);
        }
        dapt_html_put(html, ". ");
    }
}

void dapt_plot_changes(struct dapt_html *html, const char *title,
                       const struct dapt_plot_change *changes, size_t count) {
    struct drawing d = {.html = html, .x = {.from = SIDE, .to = WIDTH - SIDE}, .bottom = 4};
    bool limits = false, intervals = false;
    dapt_scale_take(&d.x, 0);
    for (size_t i = 0; i < count; i++) {
        const double values[] = {changes[i].change, changes[i].low, changes[i].high,
                                 changes[i].budget};
        for (size_t v = 0; v < 4; v++) dapt_scale_take(&d.x, values[v]);
        d.bottom += ROW + (changes[i].group ? HEADING : 0);
        limits = limits || isfinite(changes[i].budget);
        intervals = intervals || isfinite(changes[i].low);
    }
    dapt_scale_settle(&d.x, 5, true);
    dapt_figure_begin(html, title,
                      !intervals ? "bits/byte since step 0"
                      : limits ? "bits/byte since step 0, 95 % intervals; a dotted line is a budget"
                               : "bits/byte since step 0, 95 % intervals");
    dapt_figure_canvas(html, title, WIDTH, d.bottom + FOOT);
    describe(html, changes, count);
    dapt_figure_drawing(html);
    dapt_scale_each(&d.x, draw_tick, &d);
    dapt_html_put(html,
                  "<text class=\"soft\" x=\"%.0f\" y=\"%.0f\">← better</text>"
                  "<text class=\"end soft\" x=\"%.0f\" y=\"%.0f\">worse →</text>\n",
                  0.0, d.bottom + 38, WIDTH, d.bottom + 38);
    double y = 4;
    for (size_t i = 0; i < count; i++) {
        if (changes[i].group) {
            dapt_html_put(html,
                          "<rect class=\"p\" x=\"0\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\"/>"
                          "<text class=\"strong\" x=\"%.0f\" y=\"%.0f\">",
                          y, WIDTH, HEADING, 0.0, y + 18);
            put_name(html, changes[i].group, 50);
            dapt_html_put(html, "</text>\n");
            y += HEADING;
        }
        draw_row(&d, &changes[i], y);
        y += ROW;
    }
    dapt_figure_end(html);
}
