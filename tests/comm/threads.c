#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// What a rank offers to the others while a call is under way.
struct offer {
    const char *out;
    const uint64_t *bounds;
};

struct world {
    uint32_t size, per_machine;
    void (*body)(void *context);
    void *context;
    struct offer *offers;  // [size]
    pthread_mutex_t lock;  // over the rest
    pthread_cond_t moved;
    uint64_t *arrived;  // [size] barriers that each rank has come to
    bool aborted;
};

struct member {
    struct world *world;
    uint32_t rank;
    const struct dapt_host *host;
    double timeout;
    pthread_t thread;
};

static _Thread_local struct member *self;

static enum dapt_status fail(const struct member *m, enum dapt_status status, const char *line) {
    return m->host->fail(m->host, status, line);
}

static uint32_t first_missing(const struct member *m) {
    const struct world *w = m->world;
    uint32_t r = 0;
    while (r < w->size && w->arrived[r] >= w->arrived[m->rank]) r++;
    return r;
}

static struct timespec deadline(double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
    return at;
}

static enum dapt_status barrier(void *handle) {
    struct member *m = handle;
    struct world *w = m->world;
    struct timespec end = deadline(m->timeout);
    enum dapt_status status = DAPT_OK;
    char line[128];
    pthread_mutex_lock(&w->lock);
    w->arrived[m->rank]++;
    pthread_cond_broadcast(&w->moved);
    uint32_t missing;
    while (!status && (missing = first_missing(m)) < w->size) {
        if (w->aborted) {
            status = fail(m, DAPT_ERROR_IO, "another rank ended the run");
        } else if (pthread_cond_timedwait(&w->moved, &w->lock, &end) == ETIMEDOUT) {
            snprintf(line, sizeof line, "rank %u has not come within %.3g s", missing, m->timeout);
            status = fail(m, DAPT_ERROR_IO, line);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

static enum dapt_status exchange(void *handle, const void *out, const uint64_t *out_bounds,
                                 void *in, const uint64_t *in_bounds) {
    struct member *m = handle;
    m->world->offers[m->rank] = (struct offer){out, out_bounds};
    enum dapt_status status = barrier(m);
    for (uint32_t r = 0; !status && r < m->world->size; r++) {
        const struct offer *offer = &m->world->offers[r];
        uint64_t size = offer->bounds[m->rank + 1] - offer->bounds[m->rank];
        if (size != in_bounds[r + 1] - in_bounds[r])
            return fail(m, DAPT_ERROR_INTERNAL, "ranges that do not fit together");
        if (size) memcpy((char *)in + in_bounds[r], offer->out + offer->bounds[m->rank], size);
    }
    return status ? status : barrier(m);  // nobody's memory changes before all have read it
}

static enum dapt_status gather(void *handle, void *all, const uint64_t *bounds) {
    struct member *m = handle;
    m->world->offers[m->rank] = (struct offer){all, bounds};
    enum dapt_status status = barrier(m);
    for (uint32_t r = 0; !status && r < m->world->size; r++) {
        const struct offer *offer = &m->world->offers[r];
        uint64_t at = bounds[r], size = bounds[r + 1] - at;
        if (r != m->rank && size) memcpy((char *)all + at, offer->out + offer->bounds[r], size);
    }
    return status ? status : barrier(m);
}

static enum dapt_status broadcast(void *handle, void *data, uint64_t size, uint32_t root) {
    struct member *m = handle;
    m->world->offers[m->rank] = (struct offer){.out = data};
    enum dapt_status status = barrier(m);
    if (!status && m->rank != root && size) memcpy(data, m->world->offers[root].out, size);
    return status ? status : barrier(m);
}

static void abort_all(void *handle, int exit_code) {
    (void)exit_code;
    struct world *w = ((struct member *)handle)->world;
    pthread_mutex_lock(&w->lock);
    w->aborted = true;
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->lock);
}

static enum dapt_status open_rank(const struct dapt_host *host,
                                  const struct dapt_comm_options *options,
                                  struct dapt_comm_world *world, void **handle) {
    struct member *m = self;
    *handle = NULL;
    if (!m) return host->fail(host, DAPT_ERROR_INVALID, "this thread is no rank");
    m->host = host;
    m->timeout = options->timeout > 0 ? options->timeout : 60;
    uint32_t size = m->world->size, per_machine = m->world->per_machine;
    *world = (struct dapt_comm_world){.rank = m->rank, .size = size};
    uint32_t machine = m->rank / per_machine, first = machine * per_machine;
    world->local_rank = m->rank - first;
    world->local_size = size - first < per_machine ? size - first : per_machine;
    snprintf(world->host, sizeof world->host, "machine-%u", machine);
    *handle = m;
    return barrier(m);
}

static void close_rank(void *handle) {
    (void)handle;
}

const struct dapt_comm threads_comm = {
    .struct_size = sizeof(struct dapt_comm),
    .id = "threads",
    .version = "1",
    .summary = "ranks that are threads of one process",
    .open = open_rank,
    .exchange = exchange,
    .gather = gather,
    .broadcast = broadcast,
    .barrier = barrier,
    .abort = abort_all,
    .close = close_rank,
};

static void *run_member(void *argument) {
    self = argument;
    self->world->body(self->world->context);
    return NULL;
}

void threads_run(uint32_t size, uint32_t per_machine, void (*body)(void *context), void *context) {
    struct world w = {.size = size,
                      .per_machine = per_machine ? per_machine : size,
                      .body = body,
                      .context = context,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .moved = PTHREAD_COND_INITIALIZER};
    struct member *members = calloc(size, sizeof *members);
    w.offers = calloc(size, sizeof *w.offers);
    w.arrived = calloc(size, sizeof *w.arrived);
    if (!members || !w.offers || !w.arrived) abort();
    for (uint32_t r = 0; r < size; r++) {
        members[r] = (struct member){.world = &w, .rank = r};
        if (pthread_create(&members[r].thread, NULL, run_member, &members[r])) abort();
    }
    for (uint32_t r = 0; r < size; r++) pthread_join(members[r].thread, NULL);
    free(members);
    free(w.offers);
    free(w.arrived);
}
