// What the files of this room share.
#ifndef DAPT_COMM_INTERNAL_H
#define DAPT_COMM_INTERNAL_H
#include <stdatomic.h>

#include "base/memory.h"
#include "comm/ranks.h"

struct dapt_ranks_memory {
    void *data;
    size_t capacity;
};

struct dapt_ranks {
    const struct dapt_comm *comm;
    void *handle;
    struct dapt_comm_world world, *worlds;  // of this rank; [size] of each
    // Where several machines have as many ranks each, several of them, one machine's after
    // another's: so many machines, with so many each. Else 0.
    uint32_t machines, each;
    atomic_bool lost;                           // a call failed because a rank is gone
    uint64_t *bounds, *out_bounds, *in_bounds;  // [size + 1] each: of the call that is under way
    struct dapt_ranks_memory packed, received, column, arrived;
};

enum dapt_status dapt_ranks_room(struct dapt_ranks_memory *memory, uint64_t size);
// Adds `count` numbers of `dtype` to `sums`, or, where `first` is set, puts them there.
void dapt_ranks_add(const void *bytes, uint64_t count, enum dapt_dtype dtype, bool first,
                    float *sums);
enum dapt_status dapt_ranks_to_wire(const void *values, uint64_t count, enum dapt_dtype from,
                                    enum dapt_dtype wire, void *bytes);

// grid.c: dapt_ranks_reduce() and dapt_ranks_gather_bytes() where `machines` is not 0.
enum dapt_status dapt_grid_reduce(struct dapt_ranks *ranks, const void *values,
                                  enum dapt_dtype from, enum dapt_dtype wire,
                                  const uint64_t *bounds, float *sums);
enum dapt_status dapt_grid_gather(struct dapt_ranks *ranks, void *bytes, const uint64_t *bounds);
#endif
