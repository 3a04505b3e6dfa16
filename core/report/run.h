// What a run's folder says of the run: metrics.jsonl, and beside it config.json, ledger.json,
// device.json and the marks of checkpoints. All of it may be damaged, of another version, or
// another person's: what cannot be used is left out, and counted or named.
#ifndef DAPT_REPORT_RUN_H
#define DAPT_REPORT_RUN_H
#include "base/memory.h"
#include "host/json.h"

// Numbers that are not known are NaN, texts NULL, in everything below.
// time: seconds since 1970.
struct dapt_run_step {
    double time, step, loss, norm, rate, seconds;
};
// A set at one step. change, low, high: bits/byte over step 0, with the ends of the 95 % interval.
struct dapt_run_entry {
    double time, step, nats, perplexity, bits, change, low, high;
};
struct dapt_run_set {
    const char *name, *role;  // role: the name where the run tells none
    double documents, tokens, bytes, scored, budget;
    bool masked;
    struct dapt_run_entry *entries;  // steps ascending, never none
    size_t count, capacity;
};
struct dapt_run_checkpoint {
    const char *name;
    double step, seconds;
    bool best, kept;  // the best when it was written; still in the folder
};
// What happened: a line of metrics.jsonl that is neither step nor evaluation nor checkpoint.
struct dapt_run_happening {
    const char *event, *time, *text;
    double step;
};
struct dapt_run_share {
    double time, step, share;
};
struct dapt_run_pass {
    const char *source;
    double passes;
};
// A file of the folder: its root, or why there is none (NULL: it is not there).
struct dapt_run_file {
    struct dapt_json *root;
    const char *problem;
};

enum dapt_run_state {
    DAPT_RUN_EMPTY,
    DAPT_RUN_GOING,
    DAPT_RUN_STOPPED,
    DAPT_RUN_FAILED,
    DAPT_RUN_DONE
};

struct dapt_run {
    struct dapt_arena arena;
    const char *path, *name;  // as it was given; its last part
    struct dapt_run_file config, ledger, device;
    enum dapt_run_state state;
    struct dapt_json *start, *end;  // the last lines of their kind; NULL: none
    const char *began, *ended;      // times of the first and the last line
    const char *latest, *best;      // names of checkpoints

    // The course: what a resume has done again is here once.
    struct dapt_run_step *steps;
    struct dapt_run_set *sets;  // in the order in which they were told
    struct dapt_run_checkpoint *checkpoints;
    struct dapt_run_share *shares;  // of replay, each from the step after `step` on
    struct dapt_run_pass *passes;
    size_t step_count, set_count, checkpoint_count, share_count, pass_count;

    struct dapt_run_happening *happenings;  // of lost attempts too
    size_t happening_count;
    size_t lost, damaged, damaged_line;  // lines of lost attempts; unreadable ones, and the first
    size_t capacities[6];
};

// Fails where `path` has no metrics.jsonl that can be read; all else that is wrong is in `run`.
enum dapt_status dapt_run_read(const char *path, struct dapt_run *run);
void dapt_run_free(struct dapt_run *run);  // a zeroed struct is fine

// The first and the last figures of a set. `first` is of step 0, else unknown.
struct dapt_run_entry dapt_run_first(const struct dapt_run_set *set);
struct dapt_run_entry dapt_run_last(const struct dapt_run_set *set);
const struct dapt_run_set *dapt_run_find_set(const struct dapt_run *run, const char *name);
// The part of its folder's path that has `above` parts after it, 0: the last one; NULL: there is none.
const char *dapt_run_part(struct dapt_run *run, size_t above);
// The set that the run was for: of role or name "domain", else the one that train.best names, else
// the first. NULL: there is none.
const struct dapt_run_set *dapt_run_domain(const struct dapt_run *run);
// The last step that was told, of `dapt_run_planned` (0: not known).
double dapt_run_done(const struct dapt_run *run);
double dapt_run_planned(const struct dapt_run *run);
// A member of a line or file that is a number, text or truth; else NaN, NULL, false.
double dapt_run_number(const struct dapt_json *object, const char *name);
const char *dapt_run_text(const struct dapt_json *object, const char *name);
bool dapt_run_flag(const struct dapt_json *object, const char *name);
#endif
