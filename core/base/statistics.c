#include "base/statistics.h"

#include <math.h>
#include <stdlib.h>

double dapt_mean(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

double dapt_deviation(const double *values, size_t count) {
    double mean = dapt_mean(values, count), squares = 0;
    if (count < 2) return NAN;
    for (size_t i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
    return sqrt(squares / (double)(count - 1));
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void dapt_sort_numbers(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
}

double dapt_quantile(const double *sorted, size_t count, double share) {
    double place = share * (double)(count - 1);
    size_t below = (size_t)place;
    double rest = place - (double)below;
    return below + 1 < count ? sorted[below] + rest * (sorted[below + 1] - sorted[below])
                             : sorted[count - 1];
}
