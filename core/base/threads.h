// Threads for host work (reading, tokenising): a loop over independent items.
#ifndef DAPT_BASE_THREADS_H
#define DAPT_BASE_THREADS_H
#include <stddef.h>

#include "base/error.h"

// Seconds on a clock that only goes forward.
double dapt_seconds(void);
// Processors that this process may use, at least 1.
unsigned dapt_processors(void);
// Of these the part of one of `processes` alike on this machine, at least 1. A launcher may have dealt
// them out already.
unsigned dapt_processors_shared(unsigned processes);

// Calls work(context, item, worker) for items 0 .. count-1 on up to `threads` threads (0:
// dapt_processors()), in no order; `worker` < threads names the thread. The first failure stops
// handing out items; its status and reason reach the caller.
enum dapt_status dapt_parallel(unsigned threads, size_t count,
                               enum dapt_status (*work)(void *context, size_t item,
                                                        unsigned worker),
                               void *context);

// Set once by a signal handler; long loops look at it and return DAPT_ERROR_CANCELLED. [any thread,
// signal-safe]
void dapt_cancel(void);
bool dapt_cancelled(void);
void dapt_cancel_reset(void);

// Which step of training is under way, from 1; 0: none. Both are safe in signal handlers.
void dapt_step_note(uint64_t step);
uint64_t dapt_step_noted(void);
#endif
