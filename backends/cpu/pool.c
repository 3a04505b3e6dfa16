// A thread pool for short loops: tasks are taken one by one from a shared counter.
//
// `ticket` holds the loop's number (high half) and its next task (low half). A thread reads the
// ticket, then the fields of the loop, then claims a task by compare-and-swap. If the loop has
// changed meanwhile, the swap fails and the fields are not used. Before they change, the ticket is
// closed under a new number.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu.h"

#define TASK_BITS 32
#define TASK_MASK ((UINT64_C(1) << TASK_BITS) - 1)
#define CLOSED TASK_MASK
// Spins before a thread sleeps. The gaps between the loops of a program are a few microseconds; to
// spin longer only takes time from others.
#define SPINS_IDLE 400
#define SPINS_FINISH 2000

struct pool {
    _Alignas(64) _Atomic uint64_t ticket;
    _Atomic(pool_work) work;
    _Atomic(void *) context;
    _Atomic int64_t tasks;
    _Alignas(64) _Atomic int64_t done;
    _Alignas(64) _Atomic int sleepers;
    _Atomic bool stop, waiting;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    unsigned threads, started;  // the caller is thread 0
    struct worker {
        struct pool *pool;
        unsigned index;
        pthread_t thread;
    } * workers;
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

unsigned pool_flush_denormals(unsigned mode) {
    // Denormals, below 1.2e-38, cost a hundred times as much as other numbers and mean nothing
    // here: they count as 0.
#if defined(__x86_64__)
    unsigned old = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode == POOL_FLUSH ? old | 0x8040u
                                              : mode);  // flush to zero, denormals are zero
    return old;
#elif defined(__aarch64__)
    uint64_t old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    uint64_t next = mode == POOL_FLUSH ? old | UINT64_C(1) << 24 : mode;
    __asm__ volatile("msr fpcr, %0" : : "r"(next));
    return (unsigned)old;
#else
    return mode;
#endif
}

unsigned pool_processors(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
#endif
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

// Takes and does tasks until none is left.
static void take_tasks(struct pool *pool, unsigned thread) {
    for (;;) {
        uint64_t ticket = atomic_load(&pool->ticket);
        uint64_t task = ticket & TASK_MASK;
        if (task == CLOSED) return;
        pool_work work = atomic_load(&pool->work);
        void *context = atomic_load(&pool->context);
        int64_t tasks = atomic_load(&pool->tasks);
        if ((int64_t)task >= tasks) return;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1)) continue;
        work(context, (int64_t)task, thread);
        if (atomic_fetch_add(&pool->done, 1) + 1 == tasks && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static bool has_task(struct pool *pool) {
    uint64_t task = atomic_load(&pool->ticket) & TASK_MASK;
    return task != CLOSED && (int64_t)task < atomic_load(&pool->tasks);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    pool_flush_denormals(POOL_FLUSH);
    while (!atomic_load(&pool->stop)) {
        take_tasks(pool, worker->index);
        int spins = 0;
        while (spins < SPINS_IDLE && !has_task(pool) && !atomic_load(&pool->stop)) relax(), spins++;
        if (spins < SPINS_IDLE) continue;
        pthread_mutex_lock(&pool->mutex);
        atomic_fetch_add(&pool->sleepers, 1);
        while (!has_task(pool) && !atomic_load(&pool->stop))
            pthread_cond_wait(&pool->wake, &pool->mutex);
        atomic_fetch_sub(&pool->sleepers, 1);
        pthread_mutex_unlock(&pool->mutex);
    }
    return NULL;
}

static void wait_finished(struct pool *pool, int64_t tasks) {
    for (int spins = 0; spins < SPINS_FINISH; spins++) {
        if (atomic_load(&pool->done) == tasks) return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->waiting, true);
    while (atomic_load(&pool->done) != tasks) pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_run(struct pool *pool, int64_t tasks, pool_work work, void *context) {
    if (tasks == 1 || pool->started <= 1) {
        for (int64_t task = 0; task < tasks; task++) work(context, task, 0);
        return;
    }
    if (tasks <= 0) return;
    uint64_t loop = (atomic_load(&pool->ticket) >> TASK_BITS) + 1;
    atomic_store(&pool->ticket, loop << TASK_BITS | CLOSED);
    atomic_store(&pool->work, work);
    atomic_store(&pool->context, context);
    atomic_store(&pool->tasks, tasks);
    atomic_store(&pool->done, 0);
    atomic_store(&pool->ticket, (loop + 1) << TASK_BITS);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    take_tasks(pool, 0);
    wait_finished(pool, tasks);
}

enum dapt_status pool_create(const struct dapt_host *host, unsigned threads, struct pool **result) {
    *result = NULL;
    struct pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool == NULL)
        return backend_fail(host, DAPT_ERROR_MEMORY, "no memory for a team of %u threads", threads);
    *pool = (struct pool){.ticket = CLOSED, .threads = threads, .started = 1};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pool->workers = calloc(threads, sizeof *pool->workers);
    bool ok = pool->workers != NULL;
    for (unsigned i = 1; ok && i < threads; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
        ok = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) == 0;
        pool->started += ok;
    }
    if (!ok) {
        unsigned started = pool->started;
        pool_destroy(&pool);
        return backend_fail(host, DAPT_ERROR_MEMORY, "%u threads asked for, the system gave %u",
                            threads, started);
    }
    *result = pool;
    return DAPT_OK;
}

void pool_destroy(struct pool **pool_pointer) {
    struct pool *pool = *pool_pointer;
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 1; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finished);
    free(pool->workers);
    free(pool);
    *pool_pointer = NULL;
}
