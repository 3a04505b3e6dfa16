#include "base/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/terminal.h"

#define LINE_SIZE 1200

static _Thread_local char reason[LINE_SIZE] = "no reason was recorded";

// Names and values in messages come from other people's files: nothing in them may end the line or drive the terminal.
static void clean_line(char *line) {
    unsigned char *p = (unsigned char *)line;
    for (; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) *p = *p == '\n' || *p == '\t' ? ' ' : '?';
        if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) p[0] = p[1] = '?';
    }
}

// Cuts a text that did not fit at a whole UTF-8 character and marks the cut.
static void mark_cut(char *line, size_t size) {
    size_t end = size - 4;
    while (end > 0 && ((unsigned char)line[end] & 0xc0) == 0x80) end--;
    memcpy(line + end, "...", 4);
}

static void format_line(char line[LINE_SIZE], const char *format, va_list arguments) {
    int length = vsnprintf(line, LINE_SIZE, format, arguments);
    if (length < 0) snprintf(line, LINE_SIZE, "a message could not be formatted: %s", format);
    if (length >= LINE_SIZE) mark_cut(line, LINE_SIZE);
    clean_line(line);
}

enum dapt_status dapt_fail(enum dapt_status status, const char *format, ...) {
    char line[LINE_SIZE];  // apart, since the arguments may point into the old reason
    va_list arguments;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    memcpy(reason, line, sizeof reason);
    return status;
}

enum dapt_status dapt_fail_in(enum dapt_status status, const char *format, ...) {
    char prefix[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    format_line(prefix, format, arguments);
    va_end(arguments);
    return dapt_fail(status, "%s: %s", prefix, reason);
}

enum dapt_status dapt_fail_errno(const char *format, ...) {
    int error = errno;
    char line[LINE_SIZE], text[128];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    return dapt_fail(error == ENOMEM ? DAPT_ERROR_MEMORY : DAPT_ERROR_IO, "%s: %s", line,
                     strerror_r(error, text, sizeof text));
}

const char *dapt_error(void) {
    return reason;
}

// ------------------------------------------------------------------------------------------------------ logging

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static enum dapt_log_level shown = DAPT_LOG_INFO;
static char
    status_line[LINE_SIZE];  // what stands on the terminal's last line; "" when nothing does

void dapt_log_level(enum dapt_log_level most_verbose) {
    pthread_mutex_lock(&output);
    shown = most_verbose;
    pthread_mutex_unlock(&output);
}

static void put(const char *text, size_t length) {
    while (length > 0) {
        ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;  // nowhere left to complain
        text += n;
        length -= (size_t)n;
    }
}

// One write, so that lines of several processes on one terminal stay whole.
static void put_format(const char *format, ...) DAPT_PRINTF(1, 2);
static void put_format(const char *format, ...) {
    char text[2 * LINE_SIZE + 64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) put(text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

// A line, broken between words on a terminal, above the one that is rewritten in place.
static void put_line(const char *prefix, const char *line) {
    size_t columns = dapt_terminal_columns(STDERR_FILENO);
    struct dapt_string text = {0}, wrapped = {0};
    if (columns && !dapt_string_format(&text, "%s%s", prefix, line) &&
        (!status_line[0] || !dapt_string_format(&wrapped, "\r\033[K")) &&
        !dapt_wrap(text.data, columns, 2, &wrapped) &&
        !dapt_string_format(&wrapped, "%s", status_line))
        put(wrapped.data, wrapped.length);
    else
        put_format("%s%s\n", prefix, line);
    dapt_string_free(&wrapped);
    dapt_string_free(&text);
}

void dapt_log(enum dapt_log_level level, const char *format, ...) {
    static const char *const prefix[] = {
        [DAPT_LOG_ERROR] = "error: ",
        [DAPT_LOG_WARNING] = "warning: ",
        [DAPT_LOG_INFO] = "",
        [DAPT_LOG_DEBUG] = "debug: ",
    };
    int error = errno;
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);

    pthread_mutex_lock(&output);
    if (level <= shown) put_line((unsigned)level <= DAPT_LOG_DEBUG ? prefix[level] : "", line);
    pthread_mutex_unlock(&output);
    errno = error;
}

// A line that reaches the last column would wrap, and \r would no longer find its start.
static void cut_to_width(char *line, size_t columns) {
    size_t seen = 0;
    for (char *p = line; *p; p++) {
        bool starts = ((unsigned char)*p & 0xc0) != 0x80;
        if (starts && seen++ == columns) {
            *p = '\0';
            return;
        }
    }
}

void dapt_log_status(const char *line) {
    if (!dapt_terminal_escapes(STDERR_FILENO)) return;
    pthread_mutex_lock(&output);
    if (line && *line) {
        snprintf(status_line, sizeof status_line, "%s", line);
        clean_line(status_line);
        cut_to_width(status_line, dapt_terminal_columns(STDERR_FILENO) - 1);
        put_format("\r%s\033[K", status_line);  // the rest is cleared after, not before: no flicker
    } else if (status_line[0]) {
        status_line[0] = '\0';
        put_format("\r\033[K");
    }
    pthread_mutex_unlock(&output);
}
