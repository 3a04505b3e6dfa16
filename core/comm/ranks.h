// The ranks of a run: what they do together, over whatever module moves their bytes (dapt/comm.h).
//
// NULL is a run of one process: every function here takes it, moves nothing and needs no module; a
// sum over one rank is the value itself.
//
// Collective unless said otherwise: all ranks make the same calls in the same order. One call at a
// time, from any thread. Same ranks, same values: same bits, on every rank, as sums are made in the
// order of ranks; where several machines have as many ranks each, several of them, reductions first
// within each machine. After an error ranks can't go on together: whoever has one ends all by
// dapt_ranks_abort().
#ifndef DAPT_COMM_RANKS_H
#define DAPT_COMM_RANKS_H
#include "base/hash.h"
#include "dapt/backend.h"
#include "dapt/comm.h"

struct dapt_ranks;

// Joins the others through `comm`; NULL options: the module's own. A world of one rank is NULL
// again, so that `mpirun -n 1` is a run of one process.
enum dapt_status dapt_ranks_open(const struct dapt_comm *comm,
                                 const struct dapt_comm_options *options,
                                 struct dapt_ranks **ranks);
void dapt_ranks_close(struct dapt_ranks **ranks);

// Not collective, any thread. Of NULL: rank 0 of 1.
uint32_t dapt_ranks_index(const struct dapt_ranks *ranks);
uint32_t dapt_ranks_count(const struct dapt_ranks *ranks);
const struct dapt_comm_world *dapt_ranks_world(const struct dapt_ranks *ranks);  // never NULL
// The name of a rank's machine; of NULL this one's. Lives as long as the ranks.
const char *dapt_ranks_host(const struct dapt_ranks *ranks, uint32_t rank);

// Ends all ranks with `exit_code`, or with DAPT_COMM_LOST where a call failed because a rank is
// gone, whatever they are doing; of processes it does not return. With NULL nothing. Not
// collective, any thread.
void dapt_ranks_abort(struct dapt_ranks *ranks, int exit_code);

// Bounds of shares: count of ranks + 1 ascending elements; what is rank r's lies from bounds[r] to
// bounds[r + 1], and may be empty.

// Sums of elements over all ranks: each gets those of its own share. `values` has all elements, of
// dtype `from`, unchanged; they travel as `wire` (float32, float16, bfloat16; `from` is float32, to
// be rounded to the nearest, or the same), and are added in float32 in the order of ranks, one's
// own as rounded as the others' (a machine's sums once more, where they go on to others). `sums`:
// as many as this rank's share has; may be that very place in float32 `values`. The memory in
// between (the values' size, once more if they are rounded) is kept for the next call.
enum dapt_status dapt_ranks_reduce(struct dapt_ranks *ranks, const void *values,
                                   enum dapt_dtype from, enum dapt_dtype wire,
                                   const uint64_t *bounds, float *sums);
// Everybody's share of `values` to everybody: this rank's own is in its place before. They travel
// as `wire`; the own share, too, is what it is rounded to afterwards, so that all ranks hold the
// same numbers.
enum dapt_status dapt_ranks_gather(struct dapt_ranks *ranks, float *values, enum dapt_dtype wire,
                                   const uint64_t *bounds);
// The same with bytes, which travel as they are.
enum dapt_status dapt_ranks_gather_bytes(struct dapt_ranks *ranks, void *bytes,
                                         const uint64_t *bounds);

// As much of each rank, `size` bytes: rank r's lie at r * size of `all`, this rank's own before.
enum dapt_status dapt_ranks_gather_each(struct dapt_ranks *ranks, void *all, uint64_t size);

// `values` become their sums over all ranks, the same bits everywhere: for losses, norms, flags.
enum dapt_status dapt_ranks_sum(struct dapt_ranks *ranks, double *values, size_t count);
// `data` of rank `root` to everybody.
enum dapt_status dapt_ranks_broadcast(struct dapt_ranks *ranks, void *data, uint64_t size,
                                      uint32_t root);
enum dapt_status dapt_ranks_barrier(struct dapt_ranks *ranks);

// Range r of `out` goes to rank r, range r of `in` comes from rank r; bounds in bytes.
enum dapt_status dapt_ranks_exchange(struct dapt_ranks *ranks, const void *out,
                                     const uint64_t *out_bounds, void *in,
                                     const uint64_t *in_bounds);

// What must be the same on all ranks, as a hash each: "configuration", "version of dapt".
struct dapt_ranks_item {
    const char *what;
    struct dapt_hash hash;
};
// If any is not, an error on every rank, the same one: it names the first item that differs, the
// first rank that has another than rank 0 has, and their machines.
enum dapt_status dapt_ranks_agree(struct dapt_ranks *ranks, const struct dapt_ranks_item *items,
                                  size_t count);
#endif
