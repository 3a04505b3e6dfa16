#include "train/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/terminal.h"
#include "base/threads.h"

void dapt_report_nothing(void *user, const struct dapt_train_event *event) {
    (void)user, (void)event;
}

void dapt_report(const struct dapt_reporter *reporter, const struct dapt_train_event *event) {
    reporter->callback(reporter->user, event);
}

void dapt_report_note(const struct dapt_reporter *reporter, const char *format, ...) {
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    dapt_report(reporter, &(struct dapt_train_event){.kind = DAPT_TRAIN_NOTE, .text = line});
}

// ---------------------------------------------------------------------------------------- console

void dapt_console_start(struct dapt_console *console) {
    *console = (struct dapt_console){.terminal = isatty(STDOUT_FILENO) &&
                                                 dapt_terminal_escapes(STDERR_FILENO)};
}

// On a terminal broken between words.
static void print_line(const struct dapt_console *console, const char *line) {
    struct dapt_string wrapped = {0};
    if (console->terminal) dapt_log_status(NULL);
    bool good = !ferror(stdout);
    if (dapt_wrap(line, dapt_terminal_columns(STDOUT_FILENO), 2, &wrapped) == DAPT_OK)
        fputs(wrapped.data, stdout);
    else
        puts(line);
    dapt_string_free(&wrapped);
    if (fflush(stdout) == 0 || !good) return;
    // Whoever read it is gone: nobody would see how training goes on.
    dapt_log(DAPT_LOG_ERROR, "standard output cannot be written (%s): training stops here",
             strerror(errno));
    dapt_cancel();
}

static bool line_is_due(struct dapt_console *console, const struct dapt_train_event *event,
                        double now) {
    uint64_t tenth = event->steps ? event->step * 10 / event->steps : 0;
    bool early = event->step <= 3 || event->step == 10;
    bool due = early || event->step == event->steps || tenth != console->last_tenth ||
               now - console->last_line >= 10;
    if (due) {
        console->last_line = now;
        console->last_tenth = tenth;
    }
    return due;
}

static void show_step(struct dapt_console *console, const struct dapt_train_event *event) {
    double now = dapt_seconds();
    struct dapt_small_text rate, duration;
    char line[256], left[64] = "";
    if (event->step < event->steps)
        snprintf(left, sizeof left, "  %s left",
                 dapt_duration_text(event->seconds_left, &duration));
    snprintf(line, sizeof line, "step %llu/%llu  loss %.4f  lr %.2e  norm %.2g  %s tokens/s%s",
             (unsigned long long)event->step, (unsigned long long)event->steps, event->loss,
             event->learning_rate, event->norm,
             dapt_count_text((uint64_t)event->tokens_per_second, &rate), left);
    if (!console->terminal) {
        if (line_is_due(console, event, now)) print_line(console, line);
    } else if (now - console->last_status >= 0.1 || event->step == event->steps) {
        console->last_status = now;
        dapt_log_status(line);
    }
}

// A figure: a dash for what is not known (a set that was not there at step 0).
static const char *figure(const char *format, double value, struct dapt_small_text *small) {
    if (isfinite(value))
        snprintf(small->text, sizeof small->text, format, value);
    else
        snprintf(small->text, sizeof small->text, "-");
    return small->text;
}

static void show_evaluation(const struct dapt_console *console,
                            const struct dapt_train_event *event) {
    for (size_t i = 0; i < event->evaluation_count; i++) {
        const struct dapt_evaluation *e = &event->evaluations[i];
        char line[512], change[96] = "", perplexity[16];
        struct dapt_small_text nats, bits;
        if (event->step > 0 && isfinite(e->bits_per_byte - e->bits_before)) {
            int used = snprintf(change, sizeof change, "  (%+.4f since step 0",
                                e->bits_per_byte - e->bits_before);
            if (isfinite(e->change_low))
                used += snprintf(change + used, sizeof change - (size_t)used,
                                 ", 95 %% %+.4f to %+.4f", e->change_low, e->change_high);
            snprintf(change + used, sizeof change - (size_t)used, ")");
        }
        snprintf(line, sizeof line,
                 "step %llu  evaluation of %-12s %s nats/token  perplexity %s  %s bits/byte%s%s",
                 (unsigned long long)event->step, e->name, figure("%.4f", e->nats_per_token, &nats),
                 dapt_text_perplexity(e->perplexity, perplexity),
                 figure("%.4f", e->bits_per_byte, &bits), e->masked ? " of hidden tokens" : "",
                 change);
        print_line(console, line);
    }
}

static int longest_name(const struct dapt_train_event *event) {
    size_t width = 8;
    for (size_t i = 0; i < event->evaluation_count; i++) {
        size_t length = strlen(event->evaluations[i].name);
        if (length > width) width = length;
    }
    return width < 60 ? (int)width : 60;
}

#define GROUPS 4  // bits/byte, its interval, nats/token, perplexity

// How many of the table's groups a line has room for: the first always, none is cut.
static size_t groups_that_fit(int name_width) {
    static const size_t widths[GROUPS] = {27, 21, 19, 23};
    size_t columns = dapt_terminal_columns(STDOUT_FILENO), used = (size_t)name_width, count = 0;
    while (count < GROUPS && (!columns || count == 0 || used + widths[count] <= columns))
        used += widths[count++];
    return count;
}

static void print_row(const struct dapt_console *console, int width, const char *name,
                      const char *const groups[GROUPS]) {
    char line[640];
    int used = snprintf(line, sizeof line, "%-*.60s", width, name);
    for (size_t g = 0, count = groups_that_fit(width); g < count; g++)
        used += snprintf(line + used, sizeof line - (size_t)used, "%s", groups[g]);
    print_line(console, line);
}

static void show_row(const struct dapt_console *console, int width,
                     const struct dapt_evaluation *e) {
    struct dapt_small_text t[9];
    char bits[160], nats[112], perplexity[112], both[104], interval[112];
    snprintf(bits, sizeof bits, "  %7s  %7s  %7s", figure("%.4f", e->bits_before, &t[2]),
             figure("%.4f", e->bits_per_byte, &t[3]),
             figure("%+.4f", e->bits_per_byte - e->bits_before, &t[4]));
    snprintf(both, sizeof both, "%s to %s", figure("%+.4f", e->change_low, &t[7]),
             figure("%+.4f", e->change_high, &t[8]));
    snprintf(interval, sizeof interval, "  %19s", isfinite(e->change_low) ? both : "-");
    snprintf(nats, sizeof nats, "   %7s  %7s", figure("%.4f", e->nats_before, &t[0]),
             figure("%.4f", e->nats_per_token, &t[1]));
    snprintf(perplexity, sizeof perplexity, "   %9s  %9s",
             dapt_text_perplexity(exp(e->nats_before), t[5].text),
             dapt_text_perplexity(e->perplexity, t[6].text));
    print_row(console, width, e->name, (const char *const[]){bits, interval, nats, perplexity});
}

static void show_end(const struct dapt_console *console, const struct dapt_train_event *event) {
    int width = longest_name(event);
    if (event->evaluation_count > 0) {
        print_line(console, "");
        print_row(console, width, "",
                  (const char *const[]){"                  bits/byte", "                     ",
                                        "         nats/token", "             perplexity"});
        print_row(console, width, "",
                  (const char *const[]){"   before    after   change", "        95 % interval",
                                        "    before    after", "      before      after"});
    }
    for (size_t i = 0; i < event->evaluation_count; i++)
        show_row(console, width, &event->evaluations[i]);
    for (size_t i = 0; i < event->evaluation_count; i++) {
        char line[128];
        if (event->evaluations[i].documents != 1) continue;
        snprintf(line, sizeof line, "%s is a single document: no interval",
                 event->evaluations[i].name);
        print_line(console, line);
    }
    if (event->evaluation_count > 0 && event->evaluations[0].masked)
        print_line(console, DAPT_MASKED_FIGURES);
    for (const char *text = event->text; text && *text;) {
        char line[1024];
        int length = (int)strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", length, text);
        print_line(console, line);
        text += length + (text[length] == '\n');
    }
}

void dapt_console_event(void *user, const struct dapt_train_event *event) {
    struct dapt_console *console = user;
    char line[2304];
    switch (event->kind) {
    case DAPT_TRAIN_NOTE:
    case DAPT_TRAIN_STOP: print_line(console, event->text); break;
    case DAPT_TRAIN_STEP: show_step(console, event); break;
    case DAPT_TRAIN_SKIP:
        snprintf(
            line, sizeof line,
            event->bad_in_row ? "step %llu  skipped: %s (%llu in a row)" : "step %llu  skipped: %s",
            (unsigned long long)event->step, event->text, (unsigned long long)event->bad_in_row);
        print_line(console, line);
        break;
    case DAPT_TRAIN_EVALUATION: show_evaluation(console, event); break;
    case DAPT_TRAIN_CHECKPOINT:
        snprintf(line, sizeof line, "step %llu  checkpoint %s", (unsigned long long)event->step,
                 event->text);
        print_line(console, line);
        break;
    case DAPT_TRAIN_TROUBLE:
        dapt_log(DAPT_LOG_ERROR, "step %llu: %s", (unsigned long long)event->step, event->text);
        break;
    case DAPT_TRAIN_END: show_end(console, event); break;
    }
}
