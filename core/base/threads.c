#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/memory.h"

#define MAX_THREADS 1024

double dapt_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// A container's share of processors, rounded up; 0: no limit.
static unsigned quota(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    unsigned long long share, period;
    bool limited = fscanf(file, "%llu %llu", &share, &period) == 2 && period > 0 &&
                   share < period * MAX_THREADS;
    fclose(file);
    return limited ? (unsigned)((share + period - 1) / period) : 0;
}

static unsigned online(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

unsigned dapt_processors(void) {
    unsigned count = 0;
    size_t size = CPU_ALLOC_SIZE(8192);
    cpu_set_t *set = CPU_ALLOC(8192);
    if (set && sched_getaffinity(0, size, set) == 0) count = (unsigned)CPU_COUNT_S(size, set);
    if (set) CPU_FREE(set);
    if (count == 0) count = online();
    unsigned limit = quota();
    if (limit > 0 && limit < count) count = limit;
    return count < MAX_THREADS ? count : MAX_THREADS;
}

unsigned dapt_processors_shared(unsigned processes) {
    unsigned limit = quota(), all = online(), usable = dapt_processors();
    if (limit > 0 && limit < all) all = limit;
    unsigned share = all / (processes ? processes : 1);
    if (share == 0) share = 1;
    return share < usable ? share : usable;
}

struct loop {
    enum dapt_status (*work)(void *context, size_t item, unsigned worker);
    void *context;
    size_t count;
    atomic_size_t next;
    atomic_bool stop;
    pthread_mutex_t lock;  // over the three below
    enum dapt_status status;
    size_t failed;  // the first item, in order, of those that failed
    struct dapt_string reason;
};

struct worker {
    struct loop *loop;
    unsigned number;
    pthread_t thread;
};

static void record_failure(struct loop *loop, size_t item, enum dapt_status status) {
    pthread_mutex_lock(&loop->lock);
    if (loop->status == DAPT_OK || item < loop->failed) {
        const char *reason = dapt_error();
        loop->status = status;
        loop->failed = item;
        loop->reason.length = 0;
        dapt_string_format(&loop->reason, "%s", reason);
    }
    pthread_mutex_unlock(&loop->lock);
    atomic_store(&loop->stop, true);
}

static void run_worker(struct worker *worker) {
    struct loop *loop = worker->loop;
    while (!atomic_load(&loop->stop)) {
        size_t item = atomic_fetch_add(&loop->next, 1);
        if (item >= loop->count) break;
        enum dapt_status status = loop->work(loop->context, item, worker->number);
        if (status < 0) record_failure(loop, item, status);
    }
}

static void *worker_main(void *pointer) {
    struct dapt_crash_stack stack;
    dapt_crash_stack_begin(&stack);
    run_worker(pointer);
    dapt_crash_stack_end(&stack);
    return NULL;
}

enum dapt_status dapt_parallel(unsigned threads, size_t count,
                               enum dapt_status (*work)(void *context, size_t item,
                                                        unsigned worker),
                               void *context) {
    if (threads == 0) threads = dapt_processors();
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads > count) threads = count ? (unsigned)count : 1;
    struct worker *workers = dapt_alloc(threads, sizeof *workers);
    if (!workers) return DAPT_ERROR_MEMORY;

    struct loop loop = {.work = work, .context = context, .count = count};
    pthread_mutex_init(&loop.lock, NULL);
    unsigned started = 1;
    for (; started < threads; started++) {
        workers[started] = (struct worker){.loop = &loop, .number = started};
        if (pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]))
            break;  // fewer will do
    }
    workers[0] = (struct worker){.loop = &loop};
    run_worker(&workers[0]);
    for (unsigned i = 1; i < started; i++) pthread_join(workers[i].thread, NULL);

    pthread_mutex_destroy(&loop.lock);
    free(workers);
    if (loop.status && loop.reason.data) dapt_fail(loop.status, "%s", loop.reason.data);
    dapt_string_free(&loop.reason);
    return loop.status;
}

static atomic_bool cancelled;

void dapt_cancel(void) {
    atomic_store(&cancelled, true);
}

bool dapt_cancelled(void) {
    return atomic_load(&cancelled);
}

void dapt_cancel_reset(void) {
    atomic_store(&cancelled, false);
}

static atomic_uint_fast64_t step_under_way;

void dapt_step_note(uint64_t step) {
    atomic_store(&step_under_way, step);
}

uint64_t dapt_step_noted(void) {
    return atomic_load(&step_under_way);
}
