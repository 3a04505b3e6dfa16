// Learning-rate schedules: constant, linear, cosine, wsd, inverse-sqrt.
//
// With s the step (0-based), T the total, P the peak, w = max(1, floor(warmup * T)) steps of warm-up (or `warmup` itself when it
// is 1 or more): during warm-up the rate climbs in a straight line from start * P, reaching P in its last step:
//     P * (start + (1 - start) * (s + 1) / w)                                  for s < w
// After it, x = (s - w) / max(1, T - w) runs from 0 towards 1 and each schedule gives a factor f:
//     P * (floor + (1 - floor) * f)
// Warming up again from a low rate to a peak is what continued pretraining does with a model whose own schedule has
// ended (Gupta et al. 2023, Ibrahim et al. 2024).
#include <math.h>
#include <stdlib.h>

#include "dapt/plugin.h"

struct schedule {
    double peak, warmup, start, floor;
    double shape;  // wsd: share of the decay; inverse-sqrt: its time scale in steps
};

// f of the schedule at step s; w: warm-up steps, total: all steps, both s >= w.
typedef double (*factor)(const struct schedule *schedule, double s, double w, double total);

static double progress(double s, double w, double total) {
    double span = total - w > 1 ? total - w : 1, x = (s - w) / span;
    return x < 1 ? x : 1;
}

static double constant_factor(const struct schedule *schedule, double s, double w, double total) {
    (void)schedule, (void)s, (void)w, (void)total;
    return 1;
}

static double linear_factor(const struct schedule *schedule, double s, double w, double total) {
    (void)schedule;
    return 1 - progress(s, w, total);
}

// Half a cosine (Loshchilov and Hutter 2017, without restarts).
static double cosine_factor(const struct schedule *schedule, double s, double w, double total) {
    (void)schedule;
    return 0.5 * (1 + cos(3.14159265358979323846 * progress(s, w, total)));
}

// Warm-up, stable, decay (Hu et al. 2024); the decay over the last share of all steps is 1 - sqrt (Haegele et al. 2024).
static double wsd_factor(const struct schedule *schedule, double s, double w, double total) {
    double begin = total - floor(schedule->shape * total);
    if (begin < w) begin = w;
    return s < begin ? 1 : 1 - sqrt(progress(s, begin, total));
}

// sqrt(t / (t + steps since the warm-up)) (Vaswani et al. 2017 with t the warm-up; Zhai et al. 2022 with a t of its own): it
// does not look at the total, so a run can be made longer without changing what was.
static double inverse_sqrt_factor(const struct schedule *schedule, double s, double w,
                                  double total) {
    (void)total;
    double t = schedule->shape > 0 ? schedule->shape : w;
    return sqrt(t / (t + s - w));
}

static void set_rate(const struct schedule *schedule, factor f, uint64_t step, uint64_t total_steps,
                     struct dapt_schedule_point *point) {
    double s = (double)step, total = (double)total_steps;
    double w = schedule->warmup < 1 ? floor(schedule->warmup * total) : floor(schedule->warmup);
    if (w < 1) w = 1;
    double share = s < w ? schedule->start + (1 - schedule->start) * (s + 1) / w
                         : schedule->floor + (1 - schedule->floor) * f(schedule, s, w, total);
    point->learning_rate = schedule->peak * share;
}

static enum dapt_status open_schedule(const struct dapt_host *host,
                                      const struct dapt_options *options, const char *shape,
                                      void **handle) {
    struct schedule *schedule = malloc(sizeof *schedule);
    if (!schedule) return host->fail(host, DAPT_ERROR_MEMORY, "out of memory for a schedule");
    schedule->peak = host->option_number(options, "peak");
    schedule->warmup = host->option_number(options, "warmup");
    schedule->start = host->option_number(options, "start");
    schedule->floor = host->option_number(options, "floor");
    schedule->shape = shape ? host->option_number(options, shape) : 0;
    *handle = schedule;
    return DAPT_OK;
}

static enum dapt_status open_plain(const struct dapt_host *host, const struct dapt_options *options,
                                   void **handle) {
    return open_schedule(host, options, NULL, handle);
}

static enum dapt_status open_wsd(const struct dapt_host *host, const struct dapt_options *options,
                                 void **handle) {
    return open_schedule(host, options, "decay", handle);
}

static enum dapt_status open_inverse_sqrt(const struct dapt_host *host,
                                          const struct dapt_options *options, void **handle) {
    return open_schedule(host, options, "timescale", handle);
}

static void constant_at(void *handle, uint64_t step, uint64_t total,
                        struct dapt_schedule_point *point) {
    set_rate(handle, constant_factor, step, total, point);
}

static void linear_at(void *handle, uint64_t step, uint64_t total,
                      struct dapt_schedule_point *point) {
    set_rate(handle, linear_factor, step, total, point);
}

static void cosine_at(void *handle, uint64_t step, uint64_t total,
                      struct dapt_schedule_point *point) {
    set_rate(handle, cosine_factor, step, total, point);
}

static void wsd_at(void *handle, uint64_t step, uint64_t total, struct dapt_schedule_point *point) {
    set_rate(handle, wsd_factor, step, total, point);
}

static void inverse_sqrt_at(void *handle, uint64_t step, uint64_t total,
                            struct dapt_schedule_point *point) {
    set_rate(handle, inverse_sqrt_factor, step, total, point);
}

static const struct dapt_schedule_1 constant = {open_plain, constant_at, free};
static const struct dapt_schedule_1 linear = {open_plain, linear_at, free};
static const struct dapt_schedule_1 cosine = {open_plain, cosine_at, free};
static const struct dapt_schedule_1 wsd = {open_wsd, wsd_at, free};
static const struct dapt_schedule_1 inverse_sqrt = {open_inverse_sqrt, inverse_sqrt_at, free};

#define PEAK                                                                          \
    {                                                                                 \
        "peak", DAPT_OPTION_NUMBER, "0",                                              \
            "largest learning rate; not given: by the number of trained parameters, " \
            "told at the start",                                                      \
            0, 1                                                                      \
    }
#define WARMUP                                                                      \
    {                                                                               \
        "warmup", DAPT_OPTION_NUMBER, "0.01",                                       \
            "share of all steps to warm up over; 1 or more: so many steps", 0, 1e12 \
    }
#define START \
    { "start", DAPT_OPTION_NUMBER, "0", "where the warm-up begins, as a share of peak", 0, 1 }
#define FLOOR(share) \
    { "floor", DAPT_OPTION_NUMBER, share, "where the decay ends, as a share of peak", 0, 1 }
#define END \
    { .name = NULL }

static const struct dapt_option plain_options[] = {PEAK, WARMUP, START, FLOOR("0.1"), END};
static const struct dapt_option wsd_options[] = {
    PEAK,
    WARMUP,
    START,
    FLOOR("0.1"),
    {"decay", DAPT_OPTION_NUMBER, "0.2", "share of all steps, at the end, that the decay takes", 0,
     1},
    END,
};
static const struct dapt_option inverse_sqrt_options[] = {
    PEAK,
    WARMUP,
    START,
    FLOOR("0"),
    {"timescale", DAPT_OPTION_NUMBER, "0",
     "steps after the warm-up until the rate has fallen to 0.71; 0: as the warm-up", 0, 1e12},
    END,
};

static const struct dapt_plugin_descriptor descriptors[] = {
    {DAPT_SCHEDULE_1, "constant", "1.0", "warm-up, then the peak (floor is not used)",
     plain_options, &constant},
    {DAPT_SCHEDULE_1, "linear", "1.0", "warm-up, then a straight line down to the floor",
     plain_options, &linear},
    {DAPT_SCHEDULE_1, "cosine", "1.0", "warm-up, then half a cosine down to the floor",
     plain_options, &cosine},
    {DAPT_SCHEDULE_1, "wsd", "1.0", "warm-up, stable, then a 1-sqrt decay to the floor",
     wsd_options, &wsd},
    {DAPT_SCHEDULE_1, "inverse-sqrt", "1.0",
     "warm-up, then 1/sqrt of the step; independent of the total", inverse_sqrt_options,
     &inverse_sqrt},
};

const struct dapt_plugin_entry dapt_plugin_entry = {
    DAPT_PLUGIN_ABI,
    sizeof descriptors / sizeof *descriptors,
    descriptors,
};
