#include "common/fail.h"

#include <stdarg.h>
#include <stdio.h>

enum dapt_status backend_fail(const struct dapt_host *host, enum dapt_status status,
                              const char *format, ...) {
    char line[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return host->fail(host, status, line);
}
