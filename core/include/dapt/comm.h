// dapt/comm.h: what a module includes that moves bytes between the ranks of a run: processes that
// compute one training step together, on one machine or on several.
//
// A module moves bytes and does no arithmetic: sums are the core's, in the order of ranks, so that
// the same ranks give the same bits whatever carries them, and numbers may travel in 16 bits. All
// that a run needs is made of one exchange in which every rank sends a range of bytes to every
// other. The core knows launchers (core/comm/launch.h), and opens a module where one has started
// several ranks. It is built with the core: ABI versions must be equal.
//
// Arguments are checked once, in core/comm/ranks.c; a module may rely on valid ones.
//
// Collective calls (all but `abort`) are made by all ranks, in the same order, with
// sizes that fit together; each returns when this rank's part is done: everything that it receives
// is there, and what it sends may be overwritten. Threads: one call at a time for one handle, from
// any thread. A process holds at most one open handle, except where ranks are threads.
//
// Errors: a status below zero after host->fail() said why. Ranks cannot go on together after it:
// the caller ends them all with `abort`. DAPT_ERROR_IO is for a rank that is gone or does not
// answer: the line names it and its machine. A module that finds this out while no call is under
// way may log the line and end all ranks with DAPT_COMM_LOST itself; it waits for nobody for ever.
#ifndef DAPT_COMM_H
#define DAPT_COMM_H

#include "dapt/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DAPT_COMM_ABI 1u

#define DAPT_COMM_HOST 64  // bytes of a machine's name, with its NUL
#define DAPT_COMM_LOST 4   // exit code of ranks that end because one of them is gone

// Where this rank stands.
struct dapt_comm_world {
    uint32_t rank, size;              // of all: 0 .. size-1
    uint32_t local_rank, local_size;  // of those on this machine, in the order of ranks
    char host[DAPT_COMM_HOST];        // this machine's name
};

// 0 everywhere: what the module thinks best.
struct dapt_comm_options {
    uint64_t piece;  // bytes, at most, of one message
    double alive;    // seconds in which a rank must show that its process lives, computing or not
    double timeout;  // seconds in which a call must make progress, all ranks being alive
};

struct dapt_comm {
    uint32_t struct_size;
    const char *id;  // "mpi"
    const char *version;
    const char *summary;  // one line

    // Joins the others. `host` is valid until close().
    enum dapt_status (*open)(const struct dapt_host *host, const struct dapt_comm_options *options,
                             struct dapt_comm_world *world, void **handle);

    // Bounds of ranges: size + 1 ascending offsets in bytes; what is rank r's lies from bounds[r]
    // to bounds[r + 1]. Ranges may be empty. Memory that is sent and memory that is received do not
    // overlap, if not said otherwise.

    // Range r of `out` goes to rank r; range r of `in` comes from rank r, one's own too. What r
    // sends to q must be as long as what q expects of r.
    enum dapt_status (*exchange)(void *handle, const void *out, const uint64_t *out_bounds,
                                 void *in, const uint64_t *in_bounds);
    // Everybody's range of `all`, which are the same bounds on all ranks, to everybody: this rank's
    // own is in its place when the call is made.
    enum dapt_status (*gather)(void *handle, void *all, const uint64_t *bounds);
    // `data` of rank `root` to everybody.
    enum dapt_status (*broadcast)(void *handle, void *data, uint64_t size, uint32_t root);
    // Returns when all ranks have called it.
    enum dapt_status (*barrier)(void *handle);

    // Ends all ranks, wherever they are, with this exit code: processes end before it returns.
    // Where ranks are threads it returns, and every call of theirs fails from then on. [any]
    void (*abort)(void *handle, int exit_code);
    // Takes leave of the others, all of whom close; after an error only abort may be called.
    // NULL is fine.
    void (*close)(void *handle);
};

struct dapt_comm_entry {
    uint32_t abi;  // DAPT_COMM_ABI; read before anything else
    const struct dapt_comm *comm;
};

extern DAPT_EXPORT const struct dapt_comm_entry dapt_comm_entry;

#ifdef __cplusplus
}
#endif
#endif
