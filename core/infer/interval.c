#include "infer/interval.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/statistics.h"

static const uint64_t resamples_stream = UINT64_C(5) << 60;

static double change_of(const struct dapt_paired *sum) {
    return (sum->after - sum->before) / sum->scored * sum->tokens / sum->bytes / M_LN2;
}

static void add(struct dapt_paired *sum, const struct dapt_paired *document) {
    sum->before += document->before;
    sum->after += document->after;
    sum->scored += document->scored;
    sum->tokens += document->tokens;
    sum->bytes += document->bytes;
}

// The change in one resample. Four documents a random number: 32 bits each, scaled, are even to within
// count / 2^32.
static double resample(const struct dapt_paired *documents, size_t count, uint64_t seed,
                       uint64_t number) {
    struct dapt_paired sum = {0};
    uint32_t bits[4];
    for (size_t i = 0; i < count; i++) {
        if (i % 4 == 0) dapt_philox(seed, resamples_stream | number, i / 4, bits);
        add(&sum, &documents[(uint64_t)bits[i % 4] * count >> 32]);
    }
    return change_of(&sum);
}

// The share that is cut off at each end. With few documents the middle 95 % of the resamples are too
// narrow: their variance is that of n, not of n - 1, and a normal's tails are not Student's. Hesterberg
// 2015 (section 4.3) widens them by both; t by its expansion in 1 / (n - 1), Abramowitz and Stegun 26.7.5.
static double tail_of(size_t documents) {
    const double z = 1.959963984540054, n = (double)documents, v = n - 1;
    double t = z + (pow(z, 3) + z) / (4 * v) +
               (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96 * v * v);
    return 0.5 * erfc(sqrt(n / v) * t * M_SQRT1_2);
}

enum dapt_status dapt_interval_change(const struct dapt_paired *documents, size_t count,
                                      uint64_t seed, struct dapt_interval *interval) {
    *interval = (struct dapt_interval){NAN, NAN, NAN};
    struct dapt_paired *scored = dapt_alloc(count + 1, sizeof *scored), all = {0};
    double *changes = dapt_alloc(DAPT_INTERVAL_RESAMPLES, sizeof *changes);
    size_t n = 0;
    enum dapt_status status = scored && changes ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (size_t i = 0; !status && i < count; i++) {
        if (!(documents[i].scored > 0)) continue;
        add(&all, &documents[i]);
        scored[n++] = documents[i];
    }
    if (!status && n > 0) interval->change = change_of(&all);
    if (!status && n > 1 && isfinite(interval->change)) {
        for (size_t i = 0; i < DAPT_INTERVAL_RESAMPLES; i++)
            changes[i] = resample(scored, n, seed, i);
        dapt_sort_numbers(changes, DAPT_INTERVAL_RESAMPLES);
        interval->low = dapt_quantile(changes, DAPT_INTERVAL_RESAMPLES, tail_of(n));
        interval->high = dapt_quantile(changes, DAPT_INTERVAL_RESAMPLES, 1 - tail_of(n));
    }
    free(scored);
    free(changes);
    return status;
}
