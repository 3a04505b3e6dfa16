#include "report/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/files.h"

#define LIMIT (256u << 20)  // bytes of a file beside metrics.jsonl

// ------------------------------------------------------------------------------------------ values

static double number_of(const struct dapt_json *value) {
    double number = NAN;
    if (dapt_json_kind(value) == DAPT_JSON_NUMBER && dapt_json_number(value, &number)) return NAN;
    return number;
}

double dapt_run_number(const struct dapt_json *object, const char *name) {
    return number_of(dapt_json_member(object, name));
}

const char *dapt_run_text(const struct dapt_json *object, const char *name) {
    const struct dapt_json *member = dapt_json_member(object, name);
    const char *text = NULL;
    if (dapt_json_kind(member) == DAPT_JSON_STRING) dapt_json_string(member, &text);
    return text;
}

bool dapt_run_flag(const struct dapt_json *object, const char *name) {
    const struct dapt_json *member = dapt_json_member(object, name);
    bool truth = false;
    if (dapt_json_kind(member) == DAPT_JSON_BOOL) dapt_json_bool(member, &truth);
    return truth;
}

// "2026-11-25T10:00:00.000Z"
static double time_of(const struct dapt_json *line) {
    struct tm utc = {0};
    double seconds;
    const char *time = dapt_run_text(line, "time");
    if (!time || sscanf(time, "%4d-%2d-%2dT%2d:%2d:%lf", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
                        &utc.tm_hour, &utc.tm_min, &seconds) != 6)
        return NAN;
    utc.tm_year -= 1900;
    utc.tm_mon -= 1;
    return (double)timegm(&utc) + seconds;
}

// A line dies before the run does.
static const char *copy(struct dapt_run *run, const char *text) {
    return text ? dapt_arena_copy(&run->arena, text, strlen(text)) : NULL;
}

// ------------------------------------------------------------------------------------------- lists

enum list { STEPS, SETS, CHECKPOINTS, SHARES, PASSES, HAPPENINGS };

// Room for one more at the end of a list, zeroed; NULL: no memory.
static void *add(struct dapt_run *run, enum list list, void *array, size_t *count, size_t size) {
    void *begin;
    if (dapt_grow(array, &run->capacities[list], *count + 1, size)) return NULL;
    memcpy(&begin, array, sizeof begin);
    return memset((char *)begin + (*count)++ * size, 0, size);
}
#define ADD(run, list, array) \
    add(run, list, &(run)->array##s, &(run)->array##_count, sizeof *(run)->array##s)

static struct dapt_run_set *find_set(const struct dapt_run *run, const char *name) {
    for (size_t i = 0; i < run->set_count; i++)
        if (strcmp(run->sets[i].name, name) == 0) return &run->sets[i];
    return NULL;
}

const struct dapt_run_set *dapt_run_find_set(const struct dapt_run *run, const char *name) {
    return find_set(run, name);
}

static struct dapt_run_set *need_set(struct dapt_run *run, const char *name) {
    struct dapt_run_set *set = find_set(run, name);
    if (set) return set;
    set = ADD(run, SETS, set);
    if (!set) return NULL;
    set->name = set->role = copy(run, name);
    set->documents = set->tokens = set->bytes = set->scored = set->budget = NAN;
    return set;
}

// What is known of a set, of a line or of the ledger.
static void describe_set(struct dapt_run *run, struct dapt_run_set *set,
                         const struct dapt_json *from) {
    const struct {
        const char *key;
        double *value;
    } numbers[] = {{"documents", &set->documents},
                   {"tokens", &set->tokens},
                   {"bytes", &set->bytes},
                   {"scored", &set->scored},
                   {"budget", &set->budget}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double number = dapt_run_number(from, numbers[i].key);
        if (isfinite(number)) *numbers[i].value = number;
    }
    const char *role = dapt_run_text(from, "role");
    if (role) set->role = copy(run, role);
    set->masked = set->masked || dapt_run_flag(from, "masked");
}

// Steps ascend: one that is made again stands in the place of what was there.
static void add_entry(struct dapt_run_set *set, const struct dapt_run_entry *entry) {
    while (set->count && set->entries[set->count - 1].step >= entry->step) set->count--;
    if (!dapt_grow(&set->entries, &set->capacity, set->count + 1, sizeof *entry))
        set->entries[set->count++] = *entry;
}

// A resume at `step`, or a new start: what stands above it of later steps was lost.
static void drop_after(struct dapt_run *run, double step) {
    size_t before = run->step_count;
    while (run->step_count && run->steps[run->step_count - 1].step > step) run->step_count--;
    run->lost += before - run->step_count;
    while (run->checkpoint_count && run->checkpoints[run->checkpoint_count - 1].step > step)
        run->checkpoint_count--;
    while (run->share_count && run->shares[run->share_count - 1].step > step) run->share_count--;
    for (size_t i = 0; i < run->set_count; i++) {
        struct dapt_run_set *set = &run->sets[i];
        before = set->count;
        while (set->count && set->entries[set->count - 1].step > step) set->count--;
        run->lost += before - set->count;
    }
}

// ------------------------------------------------------------------------------------------- lines

// A line, for the reader of its event: freed after it, unless it became the run's start or end.
typedef void (*read_line)(struct dapt_run *run, struct dapt_json *line, double step);

static void read_step(struct dapt_run *run, struct dapt_json *line, double step) {
    while (run->step_count && run->steps[run->step_count - 1].step >= step) run->step_count--;
    struct dapt_run_step *s = ADD(run, STEPS, step);
    if (!s) return;
    *s = (struct dapt_run_step){.time = time_of(line),
                                .step = step,
                                .loss = dapt_run_number(line, "loss"),
                                .norm = dapt_run_number(line, "norm"),
                                .rate = dapt_run_number(line, "learning_rate"),
                                .seconds = dapt_run_number(line, "seconds")};
}

static void read_evaluation(struct dapt_run *run, struct dapt_json *line, double step) {
    const char *name = dapt_run_text(line, "set");
    struct dapt_run_set *set = name ? need_set(run, name) : NULL;
    if (!set) return;
    describe_set(run, set, line);
    add_entry(set, &(struct dapt_run_entry){.time = time_of(line),
                                            .step = step,
                                            .nats = dapt_run_number(line, "nats_per_token"),
                                            .perplexity = dapt_run_number(line, "perplexity"),
                                            .bits = dapt_run_number(line, "bits_per_byte"),
                                            .change = dapt_run_number(line, "bits_per_byte_change"),
                                            .low = dapt_run_number(line, "change_low"),
                                            .high = dapt_run_number(line, "change_high")});
}

static void read_checkpoint(struct dapt_run *run, struct dapt_json *line, double step) {
    const char *name = dapt_run_text(line, "name");
    struct dapt_run_checkpoint *last = run->checkpoint_count
                                           ? &run->checkpoints[run->checkpoint_count - 1]
                                           : NULL;
    if (!name) return;
    // One whose figures came after it is told again, as the best.
    if (!last || last->step != step) last = ADD(run, CHECKPOINTS, checkpoint);
    if (!last) return;
    *last = (struct dapt_run_checkpoint){.name = copy(run, name),
                                         .step = step,
                                         .seconds = dapt_run_number(line, "seconds"),
                                         .best = dapt_run_flag(line, "best")};
}

static void happened(struct dapt_run *run, const struct dapt_json *line, double step,
                     const char *text) {
    struct dapt_run_happening *h = ADD(run, HAPPENINGS, happening);
    if (!h) return;
    *h = (struct dapt_run_happening){.event = copy(run, dapt_run_text(line, "event")),
                                     .time = copy(run, dapt_run_text(line, "time")),
                                     .text = text ? text : copy(run, dapt_run_text(line, "text")),
                                     .step = step};
}

static void read_start(struct dapt_run *run, struct dapt_json *line, double step) {
    bool resumed = strcmp(dapt_run_text(line, "event"), "resume") == 0;
    drop_after(run, resumed ? step : -1);
    const char *version = dapt_run_text(line, "version"), *device = dapt_run_text(line, "device");
    happened(run, line, step,
             version && device ? dapt_arena_format(&run->arena, "dapt %s on %s", version, device)
                               : NULL);
    dapt_json_free(&run->start);
    run->start = line;
    run->state = DAPT_RUN_GOING;
}

static void read_replay(struct dapt_run *run, struct dapt_json *line, double step) {
    const char *set = dapt_run_text(line, "set");
    double share = dapt_run_number(line, "share");
    if (!isfinite(share)) return;
    happened(run, line, step,
             dapt_arena_format(&run->arena, "%s is over its budget: share of replay %.3g from here",
                               set ? set : "a set", share));
    struct dapt_run_share *s = ADD(run, SHARES, share);
    if (s) *s = (struct dapt_run_share){time_of(line), step, share};
}

static void read_rounding(struct dapt_run *run, struct dapt_json *line, double step) {
    const char *set = dapt_run_text(line, "set"), *dtype = dapt_run_text(line, "dtype");
    happened(run, line, step,
             dapt_arena_format(&run->arena, "%s: %.4f bits/byte as %s, %.4f as float32",
                               set ? set : "a set", dapt_run_number(line, "bits_per_byte"),
                               dtype ? dtype : "written",
                               dapt_run_number(line, "bits_per_byte_float32")));
}

static void read_other(struct dapt_run *run, struct dapt_json *line, double step) {
    happened(run, line, step, NULL);
}

static void read_stop(struct dapt_run *run, struct dapt_json *line, double step) {
    read_other(run, line, step);
    run->state = DAPT_RUN_STOPPED;
}

static void read_failure(struct dapt_run *run, struct dapt_json *line, double step) {
    read_other(run, line, step);
    run->state = DAPT_RUN_FAILED;
}

static void read_end(struct dapt_run *run, struct dapt_json *line, double step) {
    const char *ended = dapt_run_text(line, "ended");
    happened(run, line, step,
             ended ? dapt_arena_format(&run->arena, "before its last step, by %s", ended) : NULL);
    dapt_json_free(&run->end);
    run->end = line;
    run->state = DAPT_RUN_DONE;
}

// Lines of another event are of a later version: left out.
static const struct {
    const char *event;
    read_line read;
} readers[] = {
    {"step", read_step},     {"evaluation", read_evaluation},
    {"start", read_start},   {"checkpoint", read_checkpoint},
    {"resume", read_start},  {"rounding", read_rounding},
    {"replay", read_replay}, {"failure", read_failure},
    {"stop", read_stop},     {"end", read_end},
    {"skip", read_other},    {"trouble", read_other},
};

static bool read_text(struct dapt_run *run, const char *text, size_t length) {
    struct dapt_json *line = NULL;
    if (dapt_json_parse(run->path, text, length, &line)) return false;
    const char *event = dapt_run_text(line, "event"), *time = dapt_run_text(line, "time");
    double step = dapt_run_number(line, "step");
    bool good = event && step >= 0 && step < 1e15;
    if (good && time && !run->began) run->began = copy(run, time);
    if (good && time) run->ended = copy(run, time);
    for (size_t i = 0; good && i < sizeof readers / sizeof *readers; i++) {
        if (strcmp(readers[i].event, event) != 0) continue;
        readers[i].read(run, line, step);
        break;
    }
    if (line != run->start && line != run->end) dapt_json_free(&line);
    return good;
}

static enum dapt_status read_metrics(struct dapt_run *run) {
    struct dapt_map map = {0};
    const char *path = dapt_path_join(&run->arena, run->path, "metrics.jsonl");
    if (!path) return DAPT_ERROR_MEMORY;
    if (!dapt_is_file(path))
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: has no metrics.jsonl, expected the folder of a run", run->path);
    enum dapt_status status = dapt_map_open(path, &map);
    const char *text = (const char *)map.data, *end = text + map.size;
    for (size_t line = 1; !status && text < end; line++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline ? newline : end) - text);
        // The last line of a run that goes on may be half there.
        if (!read_text(run, text, length) && newline && !run->damaged++) run->damaged_line = line;
        text = newline ? newline + 1 : end;
    }
    dapt_map_close(&map);
    return status;
}

// -------------------------------------------------------------------------------- files besides it

static void read_file(struct dapt_run *run, const char *name, struct dapt_run_file *file) {
    const char *path = dapt_path_join(&run->arena, run->path, name);
    if (!path || !dapt_is_file(path)) return;
    if (dapt_json_read(path, LIMIT, &file->root)) file->problem = copy(run, dapt_error());
}

static double at(const struct dapt_json *columns, const char *name, size_t row) {
    return number_of(dapt_json_at(dapt_json_member(columns, name), row));
}

// The ledger adds what lines of metrics.jsonl lack. Steps that those do not have are of a lost
// attempt.
static void take_course(struct dapt_run_set *set, const struct dapt_json *course) {
    size_t rows = dapt_json_count(dapt_json_member(course, "step"));
    for (size_t row = 0, k = 0; row < rows && k < set->count; row++) {
        double step = at(course, "step", row);
        while (k < set->count && set->entries[k].step < step) k++;
        if (k == set->count || set->entries[k].step != step) continue;
        struct dapt_run_entry *e = &set->entries[k];
        if (!isfinite(e->change)) e->change = at(course, "change", row);
        if (isfinite(e->low) && isfinite(e->high)) continue;
        e->low = at(course, "low", row);
        e->high = at(course, "high", row);
    }
}

static void take_ledger(struct dapt_run *run) {
    const struct dapt_json *sets = dapt_json_member(run->ledger.root, "sets");
    for (size_t i = 0; i < dapt_json_count(sets); i++) {
        const struct dapt_json *item = dapt_json_at(sets, i);
        const char *name = dapt_run_text(item, "name");
        struct dapt_run_set *set = name ? find_set(run, name) : NULL;
        if (!set) continue;
        describe_set(run, set, item);
        take_course(set, dapt_json_member(item, "course"));
    }
}

static void take_passes(struct dapt_run *run) {
    const struct dapt_json *list = dapt_json_member(run->end, "passes");
    for (size_t i = 0; i < dapt_json_count(list); i++) {
        const char *source = dapt_run_text(dapt_json_at(list, i), "source");
        struct dapt_run_pass *pass =
            source ? add(run, PASSES, &run->passes, &run->pass_count, sizeof *run->passes) : NULL;
        if (!pass) continue;
        pass->source = source;
        pass->passes = dapt_run_number(dapt_json_at(list, i), "passes");
    }
}

// A mark is one line: the name of a checkpoint.
static const char *read_mark(struct dapt_run *run, const char *name) {
    struct dapt_string text = {0};
    const char *path = dapt_path_join(&run->arena, run->path, name), *mark = NULL;
    if (path && dapt_is_file(path) && !dapt_file_read(path, 256, &text) && text.data)
        mark = dapt_arena_copy(&run->arena, text.data, strcspn(text.data, "\n"));
    dapt_string_free(&text);
    return mark;
}

static void look_at_checkpoints(struct dapt_run *run) {
    run->latest = read_mark(run, "latest");
    run->best = read_mark(run, "best");
    for (size_t i = 0; i < run->checkpoint_count; i++) {
        struct dapt_run_checkpoint *c = &run->checkpoints[i];
        const char *path = dapt_arena_format(&run->arena, "%s/checkpoints/%s", run->path, c->name);
        c->kept = path && !strchr(c->name, '/') && dapt_is_dir(path);
    }
}

// ----------------------------------------------------------------------------------------- the run

// Of where it leads: of "." and "..", and behind links.
const char *dapt_run_part(struct dapt_run *run, size_t above) {
    char *real = realpath(run->path, NULL);
    const char *path = real ? real : run->path;
    size_t end = strlen(path), begin;
    for (;; above--) {
        while (end > 1 && path[end - 1] == '/') end--;
        for (begin = end; begin > 0 && path[begin - 1] != '/';) begin--;
        if (!above || !begin) break;
        end = begin;
    }
    const char *part = above ? NULL : dapt_arena_copy(&run->arena, path + begin, end - begin);
    free(real);
    return part;
}

// Sets whose evaluations were all lost.
static void drop_empty_sets(struct dapt_run *run) {
    size_t kept = 0;
    for (size_t i = 0; i < run->set_count; i++) {
        if (run->sets[i].count)
            run->sets[kept++] = run->sets[i];
        else
            free(run->sets[i].entries);
    }
    run->set_count = kept;
}

enum dapt_status dapt_run_read(const char *path, struct dapt_run *run) {
    *run = (struct dapt_run){.path = path};
    run->name = dapt_run_part(run, 0);
    if (!run->name) return DAPT_ERROR_MEMORY;
    enum dapt_status status = read_metrics(run);
    if (status) {
        dapt_run_free(run);
        return status;
    }
    drop_empty_sets(run);
    read_file(run, "config.json", &run->config);
    read_file(run, "ledger.json", &run->ledger);
    read_file(run, "device.json", &run->device);
    take_ledger(run);
    take_passes(run);
    look_at_checkpoints(run);
    return DAPT_OK;
}

void dapt_run_free(struct dapt_run *run) {
    struct dapt_json **roots[] = {&run->start, &run->end, &run->config.root, &run->ledger.root,
                                  &run->device.root};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) dapt_json_free(roots[i]);
    for (size_t i = 0; i < run->set_count; i++) free(run->sets[i].entries);
    free(run->steps);
    free(run->sets);
    free(run->checkpoints);
    free(run->shares);
    free(run->passes);
    free(run->happenings);
    dapt_arena_free(&run->arena);
    *run = (struct dapt_run){0};
}

struct dapt_run_entry dapt_run_first(const struct dapt_run_set *set) {
    const struct dapt_run_entry unknown = {NAN, 0, NAN, NAN, NAN, NAN, NAN, NAN};
    return set->count && set->entries[0].step == 0 ? set->entries[0] : unknown;
}

struct dapt_run_entry dapt_run_last(const struct dapt_run_set *set) {
    return set->entries[set->count - 1];
}

const struct dapt_run_set *dapt_run_domain(const struct dapt_run *run) {
    const char *best = dapt_run_text(dapt_json_member(run->config.root, "train"), "best");
    for (size_t i = 0; i < run->set_count; i++)
        if (strcmp(run->sets[i].role, "domain") == 0) return &run->sets[i];
    const struct dapt_run_set *named = best ? find_set(run, best) : NULL;
    return named ? named : run->set_count ? &run->sets[0] : NULL;
}

double dapt_run_done(const struct dapt_run *run) {
    double done = run->step_count ? run->steps[run->step_count - 1].step : 0;
    for (size_t i = 0; i < run->set_count; i++)
        done = fmax(done, dapt_run_last(&run->sets[i]).step);
    if (run->happening_count) done = fmax(done, run->happenings[run->happening_count - 1].step);
    return done;
}

double dapt_run_planned(const struct dapt_run *run) {
    double steps = dapt_run_number(run->start, "steps");
    return steps > 0 ? steps : 0;
}
