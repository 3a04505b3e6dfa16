// Plots of curves over steps or another axis, and of changes with their intervals: inline SVG, a figure each, with
// a legend and with what it shows in words.
#ifndef DAPT_REPORT_PLOT_H
#define DAPT_REPORT_PLOT_H
#include "report/html.h"

struct dapt_plot_point {
    double x, y, low, high;  // low, high: NaN: no interval
};
enum dapt_plot_look {
    DAPT_PLOT_LINE,
    DAPT_PLOT_MARKED,  // with a mark at each point, and intervals
    DAPT_PLOT_FAINT,   // thin and pale, in neither legend nor words
    DAPT_PLOT_STAIRS   // each value holds up to the next point
};
struct dapt_plot_series {
    const char *label;
    enum dapt_plot_look look;
    unsigned style;                  // colour, dashes and mark, which go together
    struct dapt_plot_point *points;  // x ascending; a y that is not finite is a gap
    size_t count;
};
// How a value of the plot is told in words: as the terminal does.
typedef void (*dapt_plot_say)(struct dapt_html *html, double value);

struct dapt_plot {
    const char *title, *unit;
    struct dapt_plot_series *series;
    size_t count;
    dapt_plot_say say;
    double last;       // step where the axis ends
    const char *axis;  // what x is; NULL: "step"
    bool zero;         // 0 is on the axis, with a line of its own
    bool logarithmic;
};
// Nothing where no series has a point.
void dapt_plot_curves(struct dapt_html *html, const struct dapt_plot *plot);

// A row of the plot of changes: a value with its interval. `group`: a heading before it; NULL:
// none.
struct dapt_plot_change {
    const char *group, *label;
    unsigned style;
    double change, low, high, budget;  // not known: NaN
};
void dapt_plot_changes(struct dapt_html *html, const char *title,
                       const struct dapt_plot_change *changes, size_t count);

// Leaves of a curve with many points what its drawing shows: in each of `columns` equal stretches
// of x the least and the greatest y, and the ends. Returns how many are left, in place.
size_t dapt_plot_thin(struct dapt_plot_point *points, size_t count, size_t columns);
// Round ticks, 1, 2 or 5 times a power of ten apart: about `wanted` of them from `low` to `high`.
// Returns their distance.
double dapt_plot_ticks(double low, double high, unsigned wanted);
// The sign of a series: a line with its dashes and mark, of the text's height.
void dapt_plot_swatch(struct dapt_html *html, unsigned style, enum dapt_plot_look look);
#endif
