// What a crash leaves behind: one line that names what was under way. Notes are kept by every thread
// that calls into a module; a handler, where the program asked for one, prints them.
#ifndef DAPT_BASE_CRASH_H
#define DAPT_BASE_CRASH_H
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A call into somebody else's code. What it points to stays while the call is noted.
struct dapt_call {
    const char *module;    // path of the module's file; NULL: not known
    const char *kind;      // "source", "tokenizer", "schedule", "backend"
    const char *id;        // what a configuration calls it
    const char *function;  // of its interface
    const char *file;      // that is being read; NULL: none
    uint64_t
        record;  // of `file`, that is worked on, or, with `after`, that was given last; 0: none
    bool after;
};
// Notes that this thread is in `call` (NULL: in none) and returns what it was in before, to be noted
// again afterwards. [any thread]
const struct dapt_call *dapt_call_note(const struct dapt_call *call);

// Mapped files, so that one that is cut short under us can be named. Where there is no room any more
// a file stays nameless. [any thread]
void dapt_crash_map(const void *base, size_t size, const char *path);
void dapt_crash_unmap(const void *base);

// A stack for the handler, for a thread of ours whose own ran over; the main thread has one from
// dapt_crash_handle. It lies in the frame that the thread begins with, is taken first and given back
// last. [the thread itself]
struct dapt_crash_stack {
    stack_t before;
    _Alignas(64) char memory[64 * 1024];
};
void dapt_crash_stack_begin(struct dapt_crash_stack *stack);
void dapt_crash_stack_end(struct dapt_crash_stack *stack);

// Installs handlers of SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, where the program has none of its
// own. They print one line and let the signal end the process, as it would have; a mapped file that
// cannot be read any more ends it with exit code 1. [main]
void dapt_crash_handle(void);
#endif
