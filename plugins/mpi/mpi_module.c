// Ranks over MPI: whichever the system has. Only its point-to-point messages are used: so whoever
// waits knows for whom.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mpi_rank.h"

#define PIECE (UINT64_C(16) << 20)
#define PIECE_MOST (UINT64_C(1) << 30)  // MPI counts in int
#define ALIVE 20.0
#define TIMEOUT 1800.0  // long enough for a checkpoint of one rank, the others waiting

double mpi_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum dapt_status mpi_fail(const struct mpi_rank *self, enum dapt_status status, const char *format,
                          ...) {
    char line[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return self->host->fail(self->host, status, line);
}

enum dapt_status mpi_fail_code(const struct mpi_rank *self, int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    for (char *at = text; *at; at++)
        if (*at == '\n') *at = ' ';
    return mpi_fail(self, DAPT_ERROR_IO, "%s: MPI says: %.600s", what, text);
}

void mpi_end_all(struct mpi_rank *self, int exit_code) {
    pthread_mutex_lock(&self->lock);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

// ------------------------------------------------------------------------------------- collectives

// Two messages for each other rank at most.
static struct mpi_message *new_messages(const struct mpi_rank *self, const char *what) {
    struct mpi_message *messages = calloc(2 * (size_t)self->size, sizeof *messages);
    if (!messages) mpi_fail(self, DAPT_ERROR_MEMORY, "%s: no memory", what);
    return messages;
}

// Rank r is sent range r of `out`, and sends range r of `in`. Each begins with the rank after it,
// so that not all send to the same one at once.
static enum dapt_status move(struct mpi_rank *self, const char *what, const char *out,
                             const uint64_t *out_bounds, bool same, char *in,
                             const uint64_t *in_bounds) {
    struct mpi_message *messages = new_messages(self, what);
    if (!messages) return DAPT_ERROR_MEMORY;
    int count = 0;
    for (int i = 1; i < self->size; i++) {
        int to = (self->rank + i) % self->size, from = (self->rank + self->size - i) % self->size;
        int range = same ? self->rank : to;
        messages[count++] = (struct mpi_message){
            .peer = from,
            .data = in + in_bounds[from],
            .size = in_bounds[from + 1] - in_bounds[from],
        };
        messages[count++] = (struct mpi_message){
            .peer = to,
            .data = (char *)out + out_bounds[range],
            .size = out_bounds[range + 1] - out_bounds[range],
            .sent = true,
        };
    }
    enum dapt_status status = mpi_transfer(self, what, messages, count);
    free(messages);
    return status;
}

static enum dapt_status exchange(void *handle, const void *out, const uint64_t *out_bounds,
                                 void *in, const uint64_t *in_bounds) {
    struct mpi_rank *self = handle;
    uint64_t size = out_bounds[self->rank + 1] - out_bounds[self->rank];
    if (size)
        memcpy((char *)in + in_bounds[self->rank], (const char *)out + out_bounds[self->rank],
               size);
    return move(self, "an exchange among ranks", out, out_bounds, false, in, in_bounds);
}

static enum dapt_status gather(void *handle, void *all, const uint64_t *bounds) {
    return move(handle, "gathering from all ranks", all, bounds, true, all, bounds);
}

static enum dapt_status barrier(void *handle) {
    struct mpi_rank *self = handle;
    uint64_t *bounds = calloc((size_t)self->size + 1, sizeof *bounds);
    char nothing = 0;
    if (!bounds) return mpi_fail(self, DAPT_ERROR_MEMORY, "waiting for all ranks: no memory");
    enum dapt_status status = move(self, "waiting for all ranks", &nothing, bounds, true, &nothing,
                                   bounds);
    free(bounds);
    return status;
}

static enum dapt_status broadcast(void *handle, void *data, uint64_t size, uint32_t root) {
    struct mpi_rank *self = handle;
    char what[64];
    snprintf(what, sizeof what, "rank %u's data for all", root);
    struct mpi_message *messages = new_messages(self, what);
    if (!messages) return DAPT_ERROR_MEMORY;
    int count = 0;
    bool sends = self->rank == (int)root;
    for (int r = 0; r < self->size; r++)
        if (r != self->rank && (sends || r == (int)root))
            messages[count++] = (struct mpi_message){r, data, size, sends};
    enum dapt_status status = mpi_transfer(self, what, messages, count);
    free(messages);
    return status;
}

// --------------------------------------------------------------------------------- begin and end

static void abort_all(void *handle, int exit_code) {
    mpi_end_all(handle, exit_code);
}

static enum dapt_status learn_names(struct mpi_rank *self, struct dapt_comm_world *world) {
    char name[MPI_MAX_PROCESSOR_NAME + 1] = "";
    int length = 0, code = MPI_Get_processor_name(name, &length);
    snprintf(world->host, sizeof world->host, "%.*s", DAPT_COMM_HOST - 1, name);
    self->names = calloc((size_t)self->size, sizeof *self->names);
    if (!self->names) return mpi_fail(self, DAPT_ERROR_MEMORY, "no memory");
    if (!code)
        code = MPI_Allgather(world->host, DAPT_COMM_HOST, MPI_BYTE, self->names, DAPT_COMM_HOST,
                             MPI_BYTE, self->data);
    return code ? mpi_fail_code(self, code, "the names of machines") : DAPT_OK;
}

static enum dapt_status learn_world(struct mpi_rank *self, struct dapt_comm_world *world) {
    MPI_Comm machine = MPI_COMM_NULL;
    int local_rank = 0, local_size = 1, code = MPI_Comm_dup(MPI_COMM_WORLD, &self->data);
    if (!code) code = MPI_Comm_dup(MPI_COMM_WORLD, &self->beats);
    if (!code) code = MPI_Comm_set_errhandler(self->data, MPI_ERRORS_RETURN);
    if (!code) code = MPI_Comm_set_errhandler(self->beats, MPI_ERRORS_RETURN);
    if (!code) code = MPI_Comm_rank(self->data, &self->rank);
    if (!code) code = MPI_Comm_size(self->data, &self->size);
    if (!code)
        code = MPI_Comm_split_type(self->data, MPI_COMM_TYPE_SHARED, self->rank, MPI_INFO_NULL,
                                   &machine);
    if (!code) code = MPI_Comm_rank(machine, &local_rank);
    if (!code) code = MPI_Comm_size(machine, &local_size);
    if (!code) code = MPI_Comm_free(&machine);
    *world = (struct dapt_comm_world){.rank = (uint32_t)self->rank,
                                      .size = (uint32_t)self->size,
                                      .local_rank = (uint32_t)local_rank,
                                      .local_size = (uint32_t)local_size};
    return code ? mpi_fail_code(self, code, "the world of ranks") : DAPT_OK;
}

static enum dapt_status initialise(const struct mpi_rank *self) {
    int before = 0, provided = 0, code = MPI_Initialized(&before);
    if (before) return mpi_fail(self, DAPT_ERROR_INTERNAL, "MPI is opened once a process");
    if (!code) code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code) return mpi_fail_code(self, code, "MPI does not start");
    if (provided < MPI_THREAD_SERIALIZED) {
        MPI_Finalize();
        return mpi_fail(
            self, DAPT_ERROR_UNSUPPORTED,
            "this MPI takes calls of one thread only; one built with threads is needed");
    }
    return DAPT_OK;
}

static void finish(struct mpi_rank *self) {
    free(self->names);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static enum dapt_status open_rank(const struct dapt_host *host,
                                  const struct dapt_comm_options *options,
                                  struct dapt_comm_world *world, void **handle) {
    struct mpi_rank *self = calloc(1, sizeof *self);
    *handle = NULL;
    if (!self) return host->fail(host, DAPT_ERROR_MEMORY, "no memory for ranks");
    self->host = host;
    self->piece = options->piece && options->piece < PIECE_MOST ? options->piece : PIECE;
    self->alive = options->alive > 0 ? options->alive : ALIVE;
    self->timeout = options->timeout > 0 ? options->timeout : TIMEOUT;
    pthread_mutex_init(&self->lock, NULL);
    enum dapt_status status = initialise(self);
    if (!status) status = learn_world(self, world);
    if (!status) status = learn_names(self, world);
    if (!status && self->size > 1) status = mpi_watch_start(self);
    if (status)
        finish(self);
    else
        *handle = self;
    return status;
}

static void close_rank(void *handle) {
    struct mpi_rank *self = handle;
    if (!self) return;
    if (self->size > 1 && barrier(self)) mpi_end_all(self, DAPT_COMM_LOST);
    mpi_watch_stop(self);
    MPI_Comm_free(&self->beats);
    MPI_Comm_free(&self->data);
    MPI_Finalize();
    finish(self);
}

static const struct dapt_comm comm = {
    .struct_size = sizeof(struct dapt_comm),
    .id = "mpi",
    .version = "1",
    .summary = "the ranks of a run over " DAPT_MPI_NAME,
    .open = open_rank,
    .exchange = exchange,
    .gather = gather,
    .broadcast = broadcast,
    .barrier = barrier,
    .abort = abort_all,
    .close = close_rank,
};

const struct dapt_comm_entry dapt_comm_entry = {.abi = DAPT_COMM_ABI, .comm = &comm};
