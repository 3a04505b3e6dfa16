// Inside of plots: an axis, marks, and the frame of a figure.
#ifndef DAPT_REPORT_SCALE_H
#define DAPT_REPORT_SCALE_H
#include "report/plot.h"

struct dapt_scale {
    double low, high;  // of the values, their logarithms where it is logarithmic
    double from, to;   // where those lie in the drawing
    double tick;
    bool logarithmic, any;
};
// A value that must be on it; what is not finite (or has no logarithm) is passed over.
void dapt_scale_take(struct dapt_scale *scale, double value);
// Chooses about `ticks` ticks; `round`: the scale ends at ticks.
void dapt_scale_settle(struct dapt_scale *scale, unsigned ticks, bool round);
double dapt_scale_place(const struct dapt_scale *scale, double value);
// Calls `draw` for each tick: its value and its text.
typedef void (*dapt_scale_draw)(void *user, double value, const char *text);
void dapt_scale_each(const struct dapt_scale *scale, dapt_scale_draw draw, void *user);

#define DAPT_PLOT_STYLES 8  // classes s0 to s7 of the page
// A mark of the style's shape.
void dapt_plot_mark(struct dapt_html *html, unsigned style, double x, double y);

// A figure with its heading; then the legend; the canvas, whose description is open; the drawing.
void dapt_figure_begin(struct dapt_html *html, const char *title, const char *unit);
void dapt_figure_canvas(struct dapt_html *html, const char *title, double width, double height);
void dapt_figure_drawing(struct dapt_html *html);
void dapt_figure_end(struct dapt_html *html);
#endif
