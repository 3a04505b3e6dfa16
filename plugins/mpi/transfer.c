// Messages of any size in pieces that MPI can count, and how this module waits.
//
// The first piece of a message is small, so that MPI sends it at once, and it is sent even where
// the message is empty: it shows that its sender has come. Until all have, waiting may take long
// (they compute), and sleeps; from then on bytes move, and it only yields.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpi_rank.h"

enum { FIRST = 1024 };  // bytes of a first piece
#define APART \
    0.5  // seconds between ranks that give up: the first one ends all, and its line is the only one

struct transfer {
    struct mpi_rank *self;
    const char *what;
    MPI_Request *requests;
    int *peers;      // of each request that receives a first piece; else -1
    int *sizes;      // bytes that a request receives; -1: it sends
    int *completed;  // what MPI_Testsome tells
    MPI_Status *statuses;
    int count, pending;
    int absent;  // ranks of which nothing came yet
    struct {     // a message of another size than was due: the ranks are not at the same call
        int peer, size, due;
    } odd;
};

static uint64_t first_piece(const struct mpi_rank *self, uint64_t size) {
    uint64_t most = self->piece < FIRST ? self->piece : FIRST;
    return size < most ? size : most;
}

static int piece_count(const struct mpi_rank *self, uint64_t size) {
    uint64_t rest = size - first_piece(self, size);
    return (int)(1 + rest / self->piece + (rest % self->piece != 0));
}

static int post_piece(struct transfer *t, const struct mpi_message *m, uint64_t at, uint64_t size) {
    int tag = (int)(t->self->calls & 0x7fff), index = t->count++;
    t->peers[index] = m->sent || at > 0 ? -1 : m->peer;
    t->sizes[index] = m->sent ? -1 : (int)size;
    if (m->sent)
        return MPI_Isend(m->data + at, (int)size, MPI_BYTE, m->peer, tag, t->self->data,
                         &t->requests[index]);
    if (at == 0) t->absent++;
    return MPI_Irecv(m->data + at, (int)size, MPI_BYTE, m->peer, tag, t->self->data,
                     &t->requests[index]);
}

static int post(struct transfer *t, const struct mpi_message *m) {
    uint64_t at = 0, size = first_piece(t->self, m->size);
    int code;
    do {
        code = post_piece(t, m, at, size);
        at += size;
        size = m->size - at < t->self->piece ? m->size - at : t->self->piece;
    } while (!code && at < m->size);
    return code;
}

// Receives first: what arrives has its place then.
static int post_all(struct transfer *t, const struct mpi_message *messages, int count) {
    int code = MPI_SUCCESS;
    pthread_mutex_lock(&t->self->lock);
    for (int sent = 0; sent < 2; sent++)
        for (int i = 0; !code && i < count; i++)
            if (messages[i].sent == (sent == 1)) code = post(t, &messages[i]);
    pthread_mutex_unlock(&t->self->lock);
    t->pending = t->count;
    return code;
}

static int test_some(struct transfer *t) {
    int done = 0;
    pthread_mutex_lock(&t->self->lock);
    int code = MPI_Testsome(t->count, t->requests, &done, t->completed, t->statuses);
    pthread_mutex_unlock(&t->self->lock);
    if (code || done == MPI_UNDEFINED || done == 0) return code;
    for (int i = 0; i < done; i++) {
        int *peer = &t->peers[t->completed[i]], due = t->sizes[t->completed[i]], size = due;
        if (*peer >= 0) t->absent--;
        *peer = -1;
        if (due >= 0) MPI_Get_count(&t->statuses[i], MPI_BYTE, &size);
        if (size != due)
            t->odd.peer = t->statuses[i].MPI_SOURCE, t->odd.size = size, t->odd.due = due;
    }
    t->pending -= done;
    return MPI_SUCCESS;
}

// Short waits only yield: sleeps are coarse. Longer ones sleep for a sixteenth of the time that was
// waited, at most a millisecond.
static void pause_for(const struct transfer *t, double waited) {
    if (waited < (t->absent ? 1e-3 : 5e-3)) {
        sched_yield();
        return;
    }
    double seconds = waited / 16 < 1e-3 ? waited / 16 : 1e-3;
    struct timespec span = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&span, NULL);
}

static enum dapt_status fail_late(const struct transfer *t) {
    const struct mpi_rank *self = t->self;
    char names[512] = "";
    size_t length = 0;
    for (int i = 0, told = 0; i < t->count && length < sizeof names; i++)
        if (t->peers[i] >= 0 && told++ < 8)
            length += (size_t)snprintf(names + length, sizeof names - length, "%srank %d (on %s)",
                                       length ? ", " : "", t->peers[i], self->names[t->peers[i]]);
    if (length)
        return mpi_fail(
            self, DAPT_ERROR_IO,
            "%s: nothing came for %.0f s from %s; its process runs, but does not get on", t->what,
            self->timeout, names);
    return mpi_fail(self, DAPT_ERROR_IO,
                    "%s: all ranks have come, but no byte moved for %.0f s: does the network work?",
                    t->what, self->timeout);
}

// A process that was stopped for a while has not waited all that time: a turn counts for little.
static enum dapt_status wait_all(struct transfer *t) {
    double waited = 0, last = mpi_seconds();
    while (t->pending > 0) {
        int before = t->pending, code = test_some(t);
        if (code) return mpi_fail_code(t->self, code, t->what);
        if (t->odd.size != t->odd.due)
            return mpi_fail(
                t->self, DAPT_ERROR_INTERNAL,
                "%s: rank %d (on %s) sent %d bytes where %d were due: the ranks are not at "
                "the same call",
                t->what, t->odd.peer, t->self->names[t->odd.peer], t->odd.size, t->odd.due);
        double now = mpi_seconds(), turn = now - last < 0.1 ? now - last : 0.1;
        waited = t->pending < before ? 0 : waited + turn;
        last = now;
        if (waited > t->self->timeout + APART * t->self->rank) return fail_late(t);
        if (t->pending == before) pause_for(t, waited);
    }
    return DAPT_OK;
}

static void free_transfer(struct transfer *t) {
    free(t->requests);
    free(t->peers);
    free(t->statuses);
}

enum dapt_status mpi_transfer(struct mpi_rank *self, const char *what,
                              const struct mpi_message *messages, int count) {
    struct transfer t = {.self = self, .what = what};
    size_t pieces = 1;
    for (int i = 0; i < count; i++) pieces += (size_t)piece_count(self, messages[i].size);
    t.requests = malloc(pieces * sizeof *t.requests);
    t.peers = malloc(3 * pieces * sizeof *t.peers);
    t.statuses = malloc(pieces * sizeof *t.statuses);
    if (!t.requests || !t.peers || !t.statuses) {
        free_transfer(&t);
        return mpi_fail(self, DAPT_ERROR_MEMORY, "%s: no memory for %zu requests", what, pieces);
    }
    t.completed = t.peers + pieces;
    t.sizes = t.completed + pieces;
    self->calls++;
    int code = post_all(&t, messages, count);
    enum dapt_status status = code ? mpi_fail_code(self, code, what) : wait_all(&t);
    free_transfer(&t);
    return status;
}
