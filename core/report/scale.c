#include "report/scale.h"

#include <math.h>
#include <stdio.h>
#include <stdint.h>

#include "base/small_text.h"

// ----------------------------------------------------------------------------------------- an axis

double dapt_plot_ticks(double low, double high, unsigned wanted) {
    double rough = (high - low) / wanted;
    if (!(rough > 0)) return 1;
    double power = pow(10, floor(log10(rough))), digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

void dapt_scale_take(struct dapt_scale *scale, double value) {
    if (scale->logarithmic) value = value > 0 ? log10(value) : NAN;
    if (!isfinite(value)) return;
    scale->low = scale->any ? fmin(scale->low, value) : value;
    scale->high = scale->any ? fmax(scale->high, value) : value;
    scale->any = true;
}

void dapt_scale_settle(struct dapt_scale *scale, unsigned ticks, bool round) {
    double least = fmax(fabs(scale->low), fabs(scale->high)) * 1e-6;
    if (!(scale->high - scale->low > least)) {  // one value: some room on both sides
        double room = scale->low != 0 ? fabs(scale->low) * 0.1 : 1;
        scale->low -= round ? room : 0;
        scale->high += room;
    }
    scale->tick = dapt_plot_ticks(scale->low, scale->high, ticks);
    if (scale->logarithmic) scale->tick = fmax(1, round ? rint(scale->tick) : scale->tick);
    if (!round) return;
    scale->low = floor(scale->low / scale->tick + 1e-9) * scale->tick;
    scale->high = ceil(scale->high / scale->tick - 1e-9) * scale->tick;
}

double dapt_scale_place(const struct dapt_scale *scale, double value) {
    if (scale->logarithmic) value = log10(value);
    return scale->from +
           (value - scale->low) / (scale->high - scale->low) * (scale->to - scale->from);
}

// With as many decimals as tell the ticks apart; counts with a comma at thousands; where digits
// would be lost among zeros with a power of ten, that of the `largest` tick.
static void tick_text(double value, double tick, double largest, char text[48]) {
    double size = fabs(value);
    if (size != 0 && (tick < 1e-3 || tick >= 1e6)) {
        int exponent = (int)floor(log10(largest) + 1e-9), digit = (int)floor(log10(tick) + 1e-9);
        snprintf(text, 48, "%.*fe%d", exponent > digit ? exponent - digit : 0,
                 value / pow(10, exponent), exponent);
    } else if (tick >= 1) {
        struct dapt_small_text count;
        snprintf(text, 48, "%s%s", value < 0 ? "-" : "",
                 dapt_count_text((uint64_t)rint(size), &count));
    } else {
        snprintf(text, 48, "%.*f", size == 0 ? 0 : (int)ceil(-log10(tick) - 1e-9), value);
    }
}

void dapt_scale_each(const struct dapt_scale *scale, dapt_scale_draw draw, void *user) {
    char text[48];
    double first = ceil(scale->low / scale->tick - 1e-9);
    for (int i = 0; i < 40; i++) {
        double value = (first + i) * scale->tick;
        if (value > scale->high + scale->tick * 1e-6) break;
        if (fabs(value) < scale->tick * 1e-6) value = 0;
        double told = scale->logarithmic ? pow(10, value) : value;
        if (scale->logarithmic)
            tick_text(told, told, told, text);
        else
            tick_text(told, scale->tick, fmax(fabs(scale->low), fabs(scale->high)), text);
        draw(user, told, text);
    }
}

// ------------------------------------------------------------------------------------------- marks

void dapt_plot_mark(struct dapt_html *html, unsigned style, double x, double y) {
    static const char *const shapes[] = {
        "M%.1f,%.1fm-3.5,0a3.5,3.5 0 1 0 7,0a3.5,3.5 0 1 0 -7,0z",  // a disc
        "M%.1f,%.1fm-3.2,-3.2h6.4v6.4h-6.4z",                       // a square
        "M%.1f,%.1fm0,-4.4l4.2,7.4h-8.4z",                          // a triangle
        "M%.1f,%.1fm0,-4.6l4.6,4.6l-4.6,4.6l-4.6,-4.6z",            // a diamond
        "M%.1f,%.1fm0,4.4l4.2,-7.4h-8.4z",                          // a triangle on its point
        "M%.1f,%.1fm-1.2,-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z",  // a cross
    };
    char path[128];
    snprintf(path, sizeof path, shapes[style % (sizeof shapes / sizeof *shapes)], x, y);
    dapt_html_put(html, "<path class=\"m\" d=\"%s\"/>", path);
}

void dapt_plot_swatch(struct dapt_html *html, unsigned style, enum dapt_plot_look look) {
    dapt_html_put(html,
                  "<svg class=\"swatch s%u\" viewBox=\"0 0 34 12\" aria-hidden=\"true\">"
                  "<path class=\"l\" d=\"M1,6H33\"/>",
                  style % DAPT_PLOT_STYLES);
    if (look == DAPT_PLOT_MARKED) dapt_plot_mark(html, style, 17, 6);
    dapt_html_put(html, "</svg>");
}

// ---------------------------------------------------------------------------------------- a figure

void dapt_figure_begin(struct dapt_html *html, const char *title, const char *unit) {
    dapt_html_put(html, "<figure class=\"plot\">\n<figcaption><h3>");
    dapt_html_text(html, title);
    dapt_html_put(html, "</h3><p class=\"unit\">");
    dapt_html_text(html, unit);
    dapt_html_put(html, "</p></figcaption>\n");
}

void dapt_figure_canvas(struct dapt_html *html, const char *title, double width, double height) {
    unsigned id = ++html->ids;
    dapt_html_put(html,
                  "<svg class=\"canvas\" viewBox=\"0 0 %g %g\" role=\"img\" "
                  "aria-labelledby=\"t%u d%u\">\n<title id=\"t%u\">",
                  width, height, id, id, id);
    dapt_html_text(html, title);
    dapt_html_put(html, "</title>\n<desc id=\"d%u\">", id);
}

void dapt_figure_drawing(struct dapt_html *html) {
    dapt_html_put(html, "</desc>\n");
}

void dapt_figure_end(struct dapt_html *html) {
    dapt_html_put(html, "</svg>\n</figure>\n");
}
