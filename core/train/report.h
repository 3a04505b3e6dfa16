// Telling what training does: events for the embedding program, or lines on the console.
#ifndef DAPT_TRAIN_REPORT_H
#define DAPT_TRAIN_REPORT_H
#include "base/memory.h"
#include "dapt/dapt.h"

struct dapt_reporter {
    dapt_train_callback callback;
    void *user;
};
void dapt_report(const struct dapt_reporter *reporter, const struct dapt_train_event *event);
void dapt_report_note(const struct dapt_reporter *reporter, const char *format, ...)
    DAPT_PRINTF(2, 3);

// The default callback: stdout, `user` is a struct dapt_console. On a terminal the current step is
// one line that is rewritten; elsewhere lines come at the first steps and then about every 10
// seconds, and at every tenth of the run.
struct dapt_console {
    bool terminal;
    double last_line, last_status;
    uint64_t last_tenth;
};
void dapt_console_start(struct dapt_console *console);
void dapt_console_event(void *user, const struct dapt_train_event *event);

// Text helpers. Each fills `text` and returns it.
struct dapt_small_text {
    char text[48];
};
const char *dapt_count_text(uint64_t count, struct dapt_small_text *small);  // "7,904"
const char *dapt_counted_text(uint64_t count, const char *noun,
                              struct dapt_small_text *small);  // "1 step", "7,904 steps"
const char *dapt_bytes_text(uint64_t bytes, struct dapt_small_text *small);     // "12.3 MiB"
const char *dapt_duration_text(double seconds, struct dapt_small_text *small);  // "3 m 20 s"
#endif
