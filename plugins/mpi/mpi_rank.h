// What the files of this module share: this process as a rank of MPI's world.
#ifndef DAPT_PLUGINS_MPI_RANK_H
#define DAPT_PLUGINS_MPI_RANK_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <mpi.h>

#include "dapt/comm.h"

struct mpi_rank {
    const struct dapt_host *host;
    int rank, size;
    char (*names)[DAPT_COMM_HOST];  // [size] of the ranks' machines
    uint64_t piece;
    double timeout, alive;  // seconds
    // Around every call of MPI: they come from the caller's threads and from the watch.
    pthread_mutex_t lock;
    MPI_Comm data, beats;
    uint32_t calls;  // collective ones so far

    struct {  // watch.c
        pthread_t thread;
        bool running;
        atomic_bool stop;
    } watch;
};

// The host's word for a failure, with a formatted line.
enum dapt_status mpi_fail(const struct mpi_rank *self, enum dapt_status status, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));
// The same for what MPI says; `what` failed.
enum dapt_status mpi_fail_code(const struct mpi_rank *self, int code, const char *what);
void mpi_end_all(struct mpi_rank *self, int exit_code);
double mpi_seconds(void);  // on a clock that only goes forward

// One message to or from a rank, of any size.
struct mpi_message {
    int peer;
    char *data;
    uint64_t size;
    bool sent;
};
// Moves all messages of one call, each of which is sent even if it is empty; `what` is for people.
enum dapt_status mpi_transfer(struct mpi_rank *self, const char *what,
                              const struct mpi_message *messages, int count);

// Ends all ranks with DAPT_COMM_LOST when the process of one of them no longer runs.
enum dapt_status mpi_watch_start(struct mpi_rank *self);
void mpi_watch_stop(struct mpi_rank *self);
#endif
