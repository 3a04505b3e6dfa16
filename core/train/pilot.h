// Short runs over the share of replay and the learning rate, and what follows from them for the full one.
//
//   RUN-pilot/plan.json    what was decided at the start: shares, rates, steps; with a checksum
//   RUN-pilot/share-0.08-rate-0.001-steps-160/   an ordinary run, one a pilot; diverged.json in it: the
//                          rate was too high for it, at which step and how that showed
//   RUN-pilot/pilot.json   the table, the fits, the recommendation; no times, so that it is the same
//                          however often the pilots were stopped
//
// pilot.c: what happens in which order. pilot_plan.c: which runs. pilot_runs.c: making them, and reading
// what they came to. pilot_choice.c: fits and recommendation. pilot_tell.c: lines and pilot.json.
#ifndef DAPT_TRAIN_PILOT_H
#define DAPT_TRAIN_PILOT_H
#include <cjson/cJSON.h>

#include "dapt/dapt.h"
#include "infer/interval.h"
#include "train/law.h"
#include "train/setup.h"

#define DAPT_PILOT_SHARES 12  // at most
#define DAPT_PILOT_RATES 8
#define DAPT_PILOT_LENGTHS 4  // 1, 2, 4 and 8 units of steps
#define DAPT_PILOT_RUNS \
    (DAPT_PILOT_SHARES * DAPT_PILOT_RATES + DAPT_PILOT_SHARES * (DAPT_PILOT_LENGTHS - 1))
#define DAPT_PILOT_ROUNDS 400  // of the bootstrap
#define DAPT_PILOT_SETS 16     // of those that are decided by
#define DAPT_PILOT_REACH 32.0
#define DAPT_PILOT_SECONDS 1800.0  // that pilots may take where nothing is said

// An evaluation set that is decided by: the domain, general ones, those with a budget.
struct dapt_pilot_set {
    const char *name, *role;
    double budget;       // bits/byte that it may lose; infinite: as many as it likes
    double nats_before;  // nats/token of the base
    double bits;         // bits/byte a nat/token is
    enum dapt_law_form form;
    struct dapt_law law;
    double error, left_out, spread;  // log loss; nats/token: root mean square, and most - least
};

// What a run came to on a set.
struct dapt_pilot_figure {
    double nats, change, low, high;  // nats/token; bits/byte since the base
    struct dapt_paired *units;       // [count]
    size_t count;
};

struct dapt_pilot_run {
    double share, rate;
    uint64_t steps;
    char name[96];
    struct dapt_pilot_figure *figures;  // [set_count]; NULL: not made yet
    // The step at which its numbers were no numbers any more; 0: it went well. Figures are infinite then,
    // with no documents.
    uint64_t diverged;
};

// A number with its 95 % interval.
struct dapt_pilot_estimate {
    double value, low, high;
};

struct dapt_pilot {
    const struct dapt_pilot_options *options;
    struct dapt_arena arena;
    struct dapt_config *config;
    char *folder;                 // RUN-pilot
    char config_hash[33];         // of the configuration with what --set makes of it
    struct dapt_pilot_set *sets;  // the domain first
    size_t set_count;
    bool budgeted;  // a set has a budget

    // the plan
    double shares[DAPT_PILOT_SHARES], rates[DAPT_PILOT_RATES];
    size_t share_count, rate_count;
    uint64_t unit;                          // steps
    uint64_t full_steps, tokens_per_step;   // of the run that is planned
    double step_seconds, overhead_seconds;  // measured; NaN: not
    // The first share_count * rate_count runs are two units long, share by share of each rate; the others
    // have the rate that won among them.
    struct dapt_pilot_run *runs;
    size_t run_count;

    // what came of it
    size_t rate;                     // the one that won; not one of which a run diverged
    double votes[DAPT_PILOT_RATES];  // share of the draws that each rate wins
    struct dapt_pilot_estimate share, tokens;
    struct dapt_pilot_estimate *changes;  // [set_count] predicted there, bits/byte
    uint64_t steps;                       // recommended
    struct dapt_string reason;  // why nothing can be said beyond the pilots; empty: it can
};

// pilot_plan.c: reads RUN-pilot/plan.json, or decides and writes it. Another plan that is there, of other
// arguments or another configuration, is an error that says what differs.
enum dapt_status dapt_pilot_plan(struct dapt_pilot *pilot);
size_t dapt_pilot_first_runs(const struct dapt_pilot *pilot);  // that the rate is chosen by
size_t dapt_pilot_all_runs(const struct dapt_pilot *pilot);    // of both stages
uint64_t dapt_pilot_units(const struct dapt_pilot *pilot);     // of steps that they take together
// Lists the runs of the first stage, or with the rate chosen those of the second.
enum dapt_status dapt_pilot_list(struct dapt_pilot *pilot, bool second);

// pilot_runs.c: makes those of the runs listed that are not done, and reads what all came to.
enum dapt_status dapt_pilot_make(struct dapt_pilot *pilot);
size_t dapt_pilot_made(const struct dapt_pilot *pilot);  // how many are
void dapt_pilot_free_runs(struct dapt_pilot *pilot);
// The arguments of a run as --set has them, NULL-terminated, in the arena; NULL: no memory.
const char **dapt_pilot_sets(struct dapt_pilot *pilot, const struct dapt_pilot_run *run, bool full);

// pilot_choice.c
enum dapt_status dapt_pilot_choose_rate(struct dapt_pilot *pilot);
enum dapt_status dapt_pilot_fit(struct dapt_pilot *pilot);
// Whether a run counts for the fits: of the rate that won, and not diverged.
bool dapt_pilot_counts(const struct dapt_pilot *pilot, const struct dapt_pilot_run *run);
// What decides, the less the better: the domain's change, infinite outside the budgets; without budgets its
// change and the mean of the general sets' together. changes [set_count].
double dapt_pilot_value(const struct dapt_pilot *pilot, const double *changes);
// The run that is the best by that; NULL: none is inside the budgets.
const struct dapt_pilot_run *dapt_pilot_best(const struct dapt_pilot *pilot);

// pilot_tell.c
void dapt_pilot_tell(const struct dapt_pilot *pilot, const char *format, ...) DAPT_PRINTF(2, 3);
void dapt_pilot_tell_plan(const struct dapt_pilot *pilot);
void dapt_pilot_tell_run(const struct dapt_pilot *pilot, size_t run, bool made, double seconds);
void dapt_pilot_tell_results(const struct dapt_pilot *pilot);
enum dapt_status dapt_pilot_write(const struct dapt_pilot *pilot);

enum dapt_status dapt_pilot_start(const struct dapt_pilot_options *options);
#endif
