// Whether the processes of all ranks run: a thread of each sends a beat to the next rank every half
// second, whatever the others of its threads do, and hears that of the one before. A launcher ends
// all when a process ends; one that is stopped, or whose machine is cut off, only its neighbour
// notices. Time is counted in own turns of the loop: where all were stopped together, nobody is
// missed.
#include <stdio.h>
#include <time.h>

#include "mpi_rank.h"

enum { PERIOD_MS = 500 };

struct beats {
    struct mpi_rank *self;
    int before, after;
    MPI_Request sent, received;
    char out, in;
    int silent;  // turns
};

// Takes all that came, and sends once more when the last one has gone.
static int beat(struct beats *b) {
    int done = 0, code = MPI_SUCCESS;
    b->silent++;
    for (;;) {
        code = MPI_Test(&b->received, &done, MPI_STATUS_IGNORE);
        if (code || !done) break;
        b->silent = 0;
        code = MPI_Irecv(&b->in, 1, MPI_BYTE, b->before, 0, b->self->beats, &b->received);
        if (code) return code;
    }
    if (!code) code = MPI_Test(&b->sent, &done, MPI_STATUS_IGNORE);
    if (!code && done)
        code = MPI_Isend(&b->out, 1, MPI_BYTE, b->after, 0, b->self->beats, &b->sent);
    return code;
}

static void end_lost(struct mpi_rank *self, int rank) {
    char line[256];
    snprintf(line, sizeof line,
             "rank %d (on %s) has not shown for %.0f s that its process runs: stopped, or its "
             "machine is "
             "cut off; all ranks end",
             rank, self->names[rank], self->alive);
    self->host->log(self->host, DAPT_LOG_ERROR, line);
    mpi_end_all(self, DAPT_COMM_LOST);
}

static void *watch(void *argument) {
    struct mpi_rank *self = argument;
    struct beats b = {.self = self,
                      .before = (self->rank + self->size - 1) % self->size,
                      .after = (self->rank + 1) % self->size,
                      .sent = MPI_REQUEST_NULL,
                      .received = MPI_REQUEST_NULL};
    const struct timespec period = {.tv_nsec = PERIOD_MS * 1000000L};
    int code = MPI_SUCCESS;
    while (!code && !atomic_load(&self->watch.stop)) {
        pthread_mutex_lock(&self->lock);
        code = beat(&b);
        pthread_mutex_unlock(&self->lock);
        if (b.silent * (PERIOD_MS * 1e-3) > self->alive) end_lost(self, b.before);
        nanosleep(&period, NULL);
    }
    pthread_mutex_lock(&self->lock);
    if (b.received != MPI_REQUEST_NULL) {
        MPI_Cancel(&b.received);
        MPI_Request_free(&b.received);
    }
    if (b.sent != MPI_REQUEST_NULL) MPI_Request_free(&b.sent);
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

enum dapt_status mpi_watch_start(struct mpi_rank *self) {
    if (pthread_create(&self->watch.thread, NULL, watch, self))
        return mpi_fail(self, DAPT_ERROR_MEMORY, "no thread can be started");
    self->watch.running = true;
    return DAPT_OK;
}

void mpi_watch_stop(struct mpi_rank *self) {
    if (!self->watch.running) return;
    atomic_store(&self->watch.stop, true);
    pthread_join(self->watch.thread, NULL);
    self->watch.running = false;
}
