// Several machines with several ranks each. What goes between machines shares one link, so that
// each byte should go there once: ranks are a grid, a row a machine, and first those of a row talk,
// then those of a column (of gradients; of parameters the other way round). A column's share is
// that of all its ranks.
#include <stdlib.h>
#include <string.h>

#include "comm/internal.h"
#include "graph/ops.h"

// An exchange among some ranks: the others' ranges are empty.
static enum dapt_status exchange_some(struct dapt_ranks *ranks, bool row, const void *out, void *in,
                                      const uint64_t *out_sizes, const uint64_t *in_sizes) {
    uint32_t each = ranks->each, rank = ranks->world.rank;
    ranks->out_bounds[0] = ranks->in_bounds[0] = 0;
    for (uint32_t r = 0; r < ranks->world.size; r++) {
        bool member = row ? r / each == rank / each : r % each == rank % each;
        uint32_t i = row ? r % each : r / each;
        ranks->out_bounds[r + 1] = ranks->out_bounds[r] + (member ? out_sizes[i] : 0);
        ranks->in_bounds[r + 1] = ranks->in_bounds[r] + (member ? in_sizes[i] : 0);
    }
    return dapt_ranks_exchange(ranks, out, ranks->out_bounds, in, ranks->in_bounds);
}

static uint64_t share(const uint64_t *bounds, uint32_t rank) {
    return bounds[rank + 1] - bounds[rank];
}

// The length of column c: the shares of its ranks.
static uint64_t column(const struct dapt_ranks *ranks, const uint64_t *bounds, uint32_t c) {
    uint64_t length = 0;
    for (uint32_t m = 0; m < ranks->machines; m++) length += share(bounds, m * ranks->each + c);
    return length;
}

// Row: each rank gets its column of all ranks of its machine, and adds them up.
static enum dapt_status reduce_row(struct dapt_ranks *ranks, const void *values,
                                   enum dapt_dtype from, enum dapt_dtype wire,
                                   const uint64_t *bounds, uint64_t *sizes) {
    uint32_t each = ranks->each, mine = ranks->world.rank % each;
    uint64_t one = dapt_dtype_bytes(wire, 1), length = column(ranks, bounds, mine);
    uint64_t *out_sizes = sizes, *in_sizes = sizes + each;
    char *to = ranks->packed.data;
    enum dapt_status status = DAPT_OK;
    for (uint32_t c = 0; c < each; c++) {
        for (uint32_t m = 0; m < ranks->machines && !status; m++) {
            uint32_t r = m * each + c;
            const char *at = (const char *)values + bounds[r] * dapt_dtype_bytes(from, 1);
            status = dapt_ranks_to_wire(at, share(bounds, r), from, wire, to);
            to += share(bounds, r) * one;
        }
        out_sizes[c] = column(ranks, bounds, c) * one;
        in_sizes[c] = length * one;
    }
    if (!status)
        status = exchange_some(ranks, true, ranks->packed.data, ranks->received.data, out_sizes,
                               in_sizes);
    for (uint32_t c = 0; c < each && !status; c++)
        dapt_ranks_add((char *)ranks->received.data + c * length * one, length, wire, c == 0,
                       ranks->column.data);
    return status;
}

// Column: the sums of each machine go to whose shares they are, who adds them up.
static enum dapt_status reduce_column(struct dapt_ranks *ranks, enum dapt_dtype wire,
                                      const uint64_t *bounds, float *sums, uint64_t *sizes) {
    uint32_t each = ranks->each, mine = ranks->world.rank % each;
    uint64_t one = dapt_dtype_bytes(wire, 1), count = share(bounds, ranks->world.rank);
    uint64_t *out_sizes = sizes, *in_sizes = sizes + ranks->machines;
    for (uint32_t m = 0; m < ranks->machines; m++) {
        out_sizes[m] = share(bounds, m * each + mine) * one;
        in_sizes[m] = count * one;
    }
    enum dapt_status status = dapt_ranks_to_wire(ranks->column.data, column(ranks, bounds, mine),
                                                 DAPT_F32, wire, ranks->packed.data);
    if (!status)
        status = exchange_some(ranks, false, ranks->packed.data, ranks->received.data, out_sizes,
                               in_sizes);
    for (uint32_t m = 0; m < ranks->machines && !status; m++)
        dapt_ranks_add((char *)ranks->received.data + m * count * one, count, wire, m == 0, sums);
    return status;
}

static uint64_t *new_sizes(const struct dapt_ranks *ranks) {
    uint32_t most = ranks->machines > ranks->each ? ranks->machines : ranks->each;
    return dapt_alloc(2 * (size_t)most, sizeof(uint64_t));
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

enum dapt_status dapt_grid_reduce(struct dapt_ranks *ranks, const void *values,
                                  enum dapt_dtype from, enum dapt_dtype wire,
                                  const uint64_t *bounds, float *sums) {
    uint32_t rank = ranks->world.rank;
    uint64_t one = dapt_dtype_bytes(wire, 1), length = column(ranks, bounds, rank % ranks->each);
    uint64_t row = length * ranks->each, mine = share(bounds, rank) * ranks->machines;
    uint64_t *sizes = new_sizes(ranks);
    enum dapt_status status = sizes ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_ranks_room(&ranks->packed, bounds[ranks->world.size] * one);
    if (!status) status = dapt_ranks_room(&ranks->received, larger(row, mine) * one);
    if (!status) status = dapt_ranks_room(&ranks->column, length * sizeof(float));
    if (!status) status = reduce_row(ranks, values, from, wire, bounds, sizes);
    if (!status) status = reduce_column(ranks, wire, bounds, sums, sizes);
    free(sizes);
    return status;
}

// Copies of `size` bytes, one behind the other.
static void repeat(const void *bytes, uint64_t size, uint32_t times, void *to) {
    for (uint32_t i = 0; size && i < times; i++) memcpy((char *)to + i * size, bytes, size);
}

// Column: this rank's share to those of its column, so that each machine has each share once.
static enum dapt_status gather_column(struct dapt_ranks *ranks, const char *bytes,
                                      const uint64_t *bounds, uint64_t *sizes) {
    uint32_t each = ranks->each, rank = ranks->world.rank;
    uint64_t size = share(bounds, rank), *out_sizes = sizes, *in_sizes = sizes + ranks->machines;
    for (uint32_t m = 0; m < ranks->machines; m++) {
        out_sizes[m] = size;
        in_sizes[m] = share(bounds, m * each + rank % each);
    }
    repeat(bytes + bounds[rank], size, ranks->machines, ranks->packed.data);
    return exchange_some(ranks, false, ranks->packed.data, ranks->column.data, out_sizes, in_sizes);
}

// Row: this rank's column to those of its machine, each of which puts the shares into their places.
static enum dapt_status gather_row(struct dapt_ranks *ranks, char *bytes, char *arrived,
                                   const uint64_t *bounds, uint64_t *sizes) {
    uint32_t each = ranks->each, mine = ranks->world.rank % each;
    uint64_t *out_sizes = sizes, *in_sizes = sizes + each, length = column(ranks, bounds, mine);
    for (uint32_t c = 0; c < each; c++) {
        out_sizes[c] = length;
        in_sizes[c] = column(ranks, bounds, c);
    }
    repeat(ranks->column.data, length, each, ranks->packed.data);
    enum dapt_status status = exchange_some(ranks, true, ranks->packed.data, arrived, out_sizes,
                                            in_sizes);
    for (uint32_t c = 0; c < each && !status; c++) {
        for (uint32_t m = 0; m < ranks->machines; m++) {
            uint32_t r = m * each + c;
            if (share(bounds, r)) memcpy(bytes + bounds[r], arrived, share(bounds, r));
            arrived += share(bounds, r);
        }
    }
    return status;
}

enum dapt_status dapt_grid_gather(struct dapt_ranks *ranks, void *bytes, const uint64_t *bounds) {
    uint32_t rank = ranks->world.rank;
    uint64_t length = column(ranks, bounds, rank % ranks->each), all = bounds[ranks->world.size];
    uint64_t sent = larger(length * ranks->each, share(bounds, rank) * ranks->machines);
    uint64_t *sizes = new_sizes(ranks);
    enum dapt_status status = sizes ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_ranks_room(&ranks->packed, sent);
    if (!status) status = dapt_ranks_room(&ranks->column, length);
    if (!status) status = dapt_ranks_room(&ranks->arrived, all);
    if (!status) status = gather_column(ranks, bytes, bounds, sizes);
    if (!status) status = gather_row(ranks, bytes, ranks->arrived.data, bounds, sizes);
    free(sizes);
    return status;
}
