// Telling what training does: events for the embedding program, or lines on the console.
#ifndef DAPT_TRAIN_REPORT_H
#define DAPT_TRAIN_REPORT_H
#include "base/memory.h"
#include "base/small_text.h"
#include "dapt/dapt.h"

struct dapt_reporter {
    dapt_train_callback callback;
    void *user;
};
void dapt_report(const struct dapt_reporter *reporter, const struct dapt_train_event *event);
void dapt_report_note(const struct dapt_reporter *reporter, const char *format, ...)
    DAPT_PRINTF(2, 3);

// A callback that tells nobody.
void dapt_report_nothing(void *user, const struct dapt_train_event *event);
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
#endif
