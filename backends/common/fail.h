// How a backend says why a call fails.
#ifndef DAPT_BACKENDS_FAIL_H
#define DAPT_BACKENDS_FAIL_H
#include "dapt/backend.h"

// Records a formatted line with the host and returns `status`; a longer line is truncated. [any
// thread]
enum dapt_status backend_fail(const struct dapt_host *host, enum dapt_status status,
                              const char *format, ...) __attribute__((format(printf, 3, 4)));
#endif
