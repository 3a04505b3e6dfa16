// Figures of a list of numbers.
#ifndef DAPT_BASE_STATISTICS_H
#define DAPT_BASE_STATISTICS_H
#include <stddef.h>

double dapt_mean(const double *values, size_t count);
double dapt_deviation(const double *values, size_t count);  // of a sample; NaN for fewer than 2
void dapt_sort_numbers(double *values, size_t count);       // ascending
// Of sorted values, at least one; `share` from 0 to 1, between two values on the line between them.
double dapt_quantile(const double *sorted, size_t count, double share);
#endif
