// Errors: a status, and one line of text kept per thread.
#ifndef DAPT_BASE_ERROR_H
#define DAPT_BASE_ERROR_H
#include "dapt/plugin.h"

#define DAPT_PRINTF(text, first) __attribute__((format(printf, text, first)))

// Records the reason on this thread, replacing an earlier one, and returns `status`: `return
// dapt_fail(...)`. One line: what, where (file, line or record, key), what was expected.
enum dapt_status dapt_fail(enum dapt_status status, const char *format, ...) DAPT_PRINTF(2, 3);
// Puts "<prefix>: " before the reason and returns `status`.
enum dapt_status dapt_fail_in(enum dapt_status status, const char *format, ...) DAPT_PRINTF(2, 3);
// dapt_fail(DAPT_ERROR_IO, ...) with ": " and strerror(errno) behind it.
enum dapt_status dapt_fail_errno(const char *format, ...) DAPT_PRINTF(1, 2);
// The reason of this thread's last failure; never NULL. Valid until the next failure on this
// thread.
const char *dapt_error(void);

// Logging: stderr, one line each, levels above the set one dropped. Any thread. Lines of a progress
// display are kept apart from these by dapt_log_status.
void dapt_log_level(enum dapt_log_level most_verbose);
void dapt_log(enum dapt_log_level level, const char *format, ...) DAPT_PRINTF(2, 3);
// A line that is rewritten in place on a terminal (NULL: take it away); does nothing elsewhere.
void dapt_log_status(const char *line);
#endif
