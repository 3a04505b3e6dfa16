// What the tests of training share: a scratch folder with a tiny model and a learnable corpus, and
// the `dapt` command run as a child.
#ifndef TRAIN_COMMAND_H
#define TRAIN_COMMAND_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "base/files.h"

#define assert_ok(call)                                                          \
    do {                                                                         \
        enum dapt_status assert_ok_status_ = (call);                             \
        if (assert_ok_status_)                                                   \
            fail_msg("%s: %d: %s", #call, (int)assert_ok_status_, dapt_error()); \
    } while (0)

struct scratch {
    struct dapt_arena arena;
    char *folder, *data, *held, *config;
    uint64_t file_limit;  // of the next child; 0: none
};
// A group's setup and teardown; *state is the struct scratch.
int scratch_setup(void **state);
int scratch_teardown(void **state);

// Writes scratch->config: a random Llama of two layers over bytes, 24 steps of 4 x 32, a checkpoint
// every 4 steps into RUN. `more` replaces members of it: a JSON object that is merged in, by RFC
// 7386; NULL: nothing.
void write_config(struct scratch *scratch, const char *run, const char *more);
char *in_scratch(struct scratch *scratch, const char *name);

struct outcome {
    int code;         // exit code, or 128 + signal
    char *out, *err;  // what it wrote
};
// Runs `dapt` with arguments that end in NULL and waits.
void run_dapt(struct scratch *scratch, struct outcome *outcome, ...);
// Starts it without waiting; its output goes to scratch files. Then waits, killing it with `signal`
// after `delay` seconds if it still runs (signal 0: never).
pid_t start_dapt(struct scratch *scratch, ...);
void finish_dapt(struct scratch *scratch, pid_t child, double delay, int signal,
                 struct outcome *outcome);

// The next child may write no file larger than `bytes`, as if the disk were full then.
void limit_files(struct scratch *scratch, uint64_t bytes);

// It must have ended so, with `part` in what it wrote to standard error (NULL: anything).
void expect(const struct outcome *outcome, int code, const char *part);

// Each configuration, as write_config() has it, must end a run at once, with the line on standard error.
struct refusal {
    const char *more, *line;
};
void expect_refusals(struct scratch *scratch, const struct refusal *cases, size_t count);

bool same_file(const char *a, const char *b);
// The checkpoint that RUN/latest names.
char *latest_checkpoint(struct scratch *scratch, const char *run);
// Reads metrics.jsonl: every line must be an object with "event" and "time". An array.
cJSON *read_metrics(struct scratch *scratch, const char *run);
size_t count_events(const cJSON *metrics, const char *event);
// The number that an object must have under `key`.
double figure(const cJSON *object, const char *key);
// The latest checkpoints of both runs have the same weights, optimizer's state and record.
void check_same_end(struct scratch *s, const char *a, const char *b);
// A whole run, NAME; then the same in a folder, NAME-stopped, where it stops after step 12 and goes on:
// its end is the same to the bit. `more`: as in write_config().
void check_resume(struct scratch *s, const char *name, const char *more);
#endif
