#include "base/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static _Thread_local const struct dapt_call *calling;

const struct dapt_call *dapt_call_note(const struct dapt_call *call) {
    const struct dapt_call *before = calling;
    calling = call;
    return before;
}

// ------------------------------------------------------------------------------------ mapped files

#define MAPS 256
#define PATH_BYTES 512  // of a path that are told; the end, where it is longer

// A slot is taken by setting `base` from 0 to 1, and can be read once `base` is an address.
static struct {
    atomic_uintptr_t base;
    size_t size;
    char path[PATH_BYTES];
} maps[MAPS];

void dapt_crash_map(const void *base, size_t size, const char *path) {
    for (size_t i = 0; i < MAPS; i++) {
        uintptr_t empty = 0;
        if (!atomic_compare_exchange_strong(&maps[i].base, &empty, 1)) continue;
        size_t length = strlen(path), skip = length < PATH_BYTES ? 0 : length - PATH_BYTES + 1;
        memcpy(maps[i].path, path + skip, length - skip + 1);
        maps[i].size = size;
        atomic_store(&maps[i].base, (uintptr_t)base);
        return;
    }
}

void dapt_crash_unmap(const void *base) {
    for (size_t i = 0; i < MAPS; i++) {
        uintptr_t expected = (uintptr_t)base;
        if (atomic_compare_exchange_strong(&maps[i].base, &expected, 0)) return;
    }
}

static const char *mapped_file(const void *address) {
    for (size_t i = 0; i < MAPS; i++) {
        uintptr_t base = atomic_load(&maps[i].base);
        if (base > 1 && (uintptr_t)address - base < maps[i].size) return maps[i].path;
    }
    return NULL;
}

// ----------------------------------------------------------------------------------------- the line
//
// From here on nothing but what a signal handler may do: no stdio, no memory, no locks.

struct line {
    char text[2048];
    size_t length;
};

static void add(struct line *line, const char *text) {
    for (; *text && line->length + 1 < sizeof line->text; text++) {
        char c = *text;
        line->text[line->length++] = (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
    }
}

static void add_number(struct line *line, uint64_t number) {
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    add(line, digits + at);
}

static void add_call(struct line *line, const struct dapt_call *call) {
    add(line, " in ");
    add(line, call->module ? call->module : "a module");
    add(line, ": ");
    add(line, call->kind);
    add(line, " \"");
    add(line, call->id ? call->id : "?");
    add(line, "\", ");
    add(line, call->function);
    if (call->file) {
        add(line, ", file ");
        add(line, call->file);
    }
    if (call->record) {
        add(line, call->after ? ", after record " : ", record ");
        add_number(line, call->record);
    }
}

static void put(struct line *line) {
    line->text[line->length++] = '\n';
    for (size_t at = 0; at < line->length;) {
        ssize_t n = write(STDERR_FILENO, line->text + at, line->length - at);
        if (n <= 0) return;
        at += (size_t)n;
    }
}

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGSEGV, "SIGSEGV"},
               {SIGBUS, "SIGBUS"},
               {SIGILL, "SIGILL"},
               {SIGFPE, "SIGFPE"},
               {SIGABRT, "SIGABRT"}};
#define SIGNALS (sizeof signals / sizeof signals[0])

static void on_crash(int number, siginfo_t *info, void *context) {
    struct line line = {.length = 0};
    const char *file = number == SIGBUS ? mapped_file(info->si_addr) : NULL;
    (void)context;
    add(&line, "dapt: ");
    if (file) {
        add(&line, file);
        add(&line,
            ": cannot be read any more: it was cut short while it was in use, or its disk failed; "
            "put the file right and run again (training goes on with --resume)");
        put(&line);
        _exit(1);
    }
    add(&line, "crashed (");
    for (size_t i = 0; i < SIGNALS; i++)
        if (signals[i].number == number) add(&line, signals[i].name);
    add(&line, ")");
    if (calling) add_call(&line, calling);
    put(&line);
    // The handler is gone (SA_RESETHAND): the instruction or abort() raises the signal once more.
    if (info->si_code <= 0) raise(number);
}

// A stack that ran over is no place for a handler.
void dapt_crash_stack_begin(struct dapt_crash_stack *stack) {
    stack_t alternate = {.ss_sp = stack->memory, .ss_size = sizeof stack->memory};
    if (sigaltstack(&alternate, &stack->before) != 0)
        stack->before = (stack_t){.ss_flags = SS_DISABLE};
}

void dapt_crash_stack_end(struct dapt_crash_stack *stack) {
    sigaltstack(&stack->before, NULL);
}

void dapt_crash_handle(void) {
    static struct dapt_crash_stack stack;
    dapt_crash_stack_begin(&stack);
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction old,
            action = {.sa_sigaction = on_crash,
                      .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
        sigemptyset(&action.sa_mask);
        bool free_to_take = sigaction(signals[i].number, NULL, &old) == 0 &&
                            !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL;
        if (free_to_take) sigaction(signals[i].number, &action, NULL);
    }
}
