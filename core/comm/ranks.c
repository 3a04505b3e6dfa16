#include "comm/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/blocks.h"
#include "host/loader.h"

uint32_t dapt_ranks_index(const struct dapt_ranks *ranks) {
    return ranks ? ranks->world.rank : 0;
}

uint32_t dapt_ranks_count(const struct dapt_ranks *ranks) {
    return ranks ? ranks->world.size : 1;
}

static struct dapt_comm_world this_machine;
static pthread_once_t this_machine_once = PTHREAD_ONCE_INIT;

static void name_machine(void) {
    this_machine = (struct dapt_comm_world){.size = 1, .local_size = 1};
    if (gethostname(this_machine.host, sizeof this_machine.host - 1))
        snprintf(this_machine.host, sizeof this_machine.host, "localhost");
}

const struct dapt_comm_world *dapt_ranks_world(const struct dapt_ranks *ranks) {
    if (ranks) return &ranks->world;
    pthread_once(&this_machine_once, name_machine);
    return &this_machine;
}

const char *dapt_ranks_host(const struct dapt_ranks *ranks, uint32_t rank) {
    return ranks ? ranks->worlds[rank].host : dapt_ranks_world(NULL)->host;
}

// What a module says of the world is checked as what plugins say is.
static enum dapt_status check_world(const struct dapt_comm *comm,
                                    const struct dapt_comm_world *world) {
    bool whole = world->size > 0 && world->rank < world->size && world->local_size > 0 &&
                 world->local_size <= world->size && world->local_rank < world->local_size &&
                 memchr(world->host, 0, sizeof world->host);
    return whole ? DAPT_OK
                 : dapt_fail(DAPT_ERROR_INTERNAL,
                             "%s: rank %u of %u, %u of %u on its machine: this cannot be", comm->id,
                             world->rank, world->size, world->local_rank, world->local_size);
}

// A grid of machines and ranks, if they lie so.
static void find_grid(struct dapt_ranks *ranks) {
    uint32_t size = ranks->world.size, each = ranks->world.local_size;
    bool grid = each > 1 && each < size && size % each == 0;
    for (uint32_t r = 0; r < size; r++)
        if (ranks->worlds[r].local_size != each || ranks->worlds[r].local_rank != r % each)
            grid = false;
    ranks->each = grid ? each : 0;
    ranks->machines = grid ? size / each : 0;
}

static enum dapt_status learn_worlds(struct dapt_ranks *ranks) {
    const struct dapt_comm_world *w = &ranks->world;
    ranks->worlds = dapt_alloc(w->size, sizeof *w);
    ranks->bounds = dapt_alloc(3 * ((size_t)w->size + 1), sizeof *ranks->bounds);
    if (!ranks->worlds || !ranks->bounds) return DAPT_ERROR_MEMORY;
    ranks->out_bounds = ranks->bounds + w->size + 1;
    ranks->in_bounds = ranks->out_bounds + w->size + 1;
    ranks->worlds[w->rank] = *w;
    enum dapt_status status = dapt_ranks_gather_each(ranks, ranks->worlds, sizeof *w);
    if (!status) find_grid(ranks);
    return status;
}

enum dapt_status dapt_ranks_open(const struct dapt_comm *comm,
                                 const struct dapt_comm_options *options,
                                 struct dapt_ranks **ranks) {
    static const struct dapt_comm_options none = {0};
    struct dapt_ranks *r = *ranks = dapt_alloc(1, sizeof **ranks);
    if (!r) return DAPT_ERROR_MEMORY;
    r->comm = comm;
    enum dapt_status status = comm->open(dapt_host(), options ? options : &none, &r->world,
                                         &r->handle);
    if (!status) status = check_world(comm, &r->world);
    if (!status && r->world.size > 1) status = learn_worlds(r);
    if (status) r->handle = NULL;  // it waits for the others, who may be gone
    if (status || r->world.size == 1) dapt_ranks_close(ranks);
    return status;
}

void dapt_ranks_close(struct dapt_ranks **ranks) {
    struct dapt_ranks *r = *ranks;
    *ranks = NULL;
    if (!r) return;
    if (r->handle) r->comm->close(r->handle);
    free(r->worlds);
    free(r->bounds);
    free(r->packed.data);
    free(r->received.data);
    free(r->column.data);
    free(r->arrived.data);
    free(r);
}

void dapt_ranks_abort(struct dapt_ranks *ranks, int exit_code) {
    if (!ranks) return;
    ranks->comm->abort(ranks->handle, atomic_load(&ranks->lost) ? DAPT_COMM_LOST : exit_code);
}

// The ways to the module.

static enum dapt_status noted(struct dapt_ranks *ranks, enum dapt_status status) {
    if (status == DAPT_ERROR_IO) atomic_store(&ranks->lost, true);
    return status;
}

static enum dapt_status exchange(struct dapt_ranks *ranks, const void *out,
                                 const uint64_t *out_bounds, void *in, const uint64_t *in_bounds) {
    return noted(ranks, ranks->comm->exchange(ranks->handle, out, out_bounds, in, in_bounds));
}

static enum dapt_status gather(struct dapt_ranks *ranks, void *all, const uint64_t *bounds) {
    return noted(ranks, ranks->comm->gather(ranks->handle, all, bounds));
}

// For much: where there is a grid, each byte goes to each machine once.
static enum dapt_status spread(struct dapt_ranks *ranks, void *all, const uint64_t *bounds) {
    return ranks->machines ? dapt_grid_gather(ranks, all, bounds) : gather(ranks, all, bounds);
}

enum dapt_status dapt_ranks_room(struct dapt_ranks_memory *memory, uint64_t size) {
    return size <= memory->capacity ? DAPT_OK
                                    : dapt_grow(&memory->data, &memory->capacity, size, 1);
}

void dapt_ranks_add(const void *bytes, uint64_t count, enum dapt_dtype dtype, bool first,
                    float *sums) {
    float values[2048];
    enum { MOST = sizeof values / sizeof *values };
    size_t size = dapt_dtype_bytes(dtype, 1);
    for (uint64_t at = 0; at < count; at += MOST) {
        uint64_t n = count - at < MOST ? count - at : MOST;
        dapt_floats_unpack((const char *)bytes + at * size, n, dtype, first ? sums + at : values);
        for (uint64_t i = 0; !first && i < n; i++) sums[at + i] += values[i];
    }
}

enum dapt_status dapt_ranks_to_wire(const void *values, uint64_t count, enum dapt_dtype from,
                                    enum dapt_dtype wire, void *bytes) {
    if (from != wire) return dapt_floats_pack(values, count, wire, bytes);
    if (count) memcpy(bytes, values, dapt_dtype_bytes(wire, count));
    return DAPT_OK;
}

enum dapt_status dapt_ranks_reduce(struct dapt_ranks *ranks, const void *values,
                                   enum dapt_dtype from, enum dapt_dtype wire,
                                   const uint64_t *bounds, float *sums) {
    if (!ranks)
        return values == sums ? DAPT_OK
                              : dapt_floats_unpack(values, bounds[1] - bounds[0], from, sums);
    if (ranks->machines) return dapt_grid_reduce(ranks, values, from, wire, bounds, sums);
    uint32_t size = ranks->world.size, rank = ranks->world.rank;
    uint64_t one = dapt_dtype_bytes(wire, 1), mine = bounds[rank + 1] - bounds[rank];
    enum dapt_status status = dapt_ranks_room(&ranks->received, size * mine * one);
    const void *sent = values;
    if (!status && from != wire) {
        status = dapt_ranks_room(&ranks->packed, bounds[size] * one);
        if (!status) status = dapt_floats_pack(values, bounds[size], wire, ranks->packed.data);
        sent = ranks->packed.data;
    }
    for (uint32_t r = 0; r <= size; r++) {
        ranks->out_bounds[r] = bounds[r] * one;
        ranks->in_bounds[r] = r * mine * one;
    }
    if (!status)
        status = exchange(ranks, sent, ranks->out_bounds, ranks->received.data, ranks->in_bounds);
    for (uint32_t r = 0; !status && r < size; r++)
        dapt_ranks_add((char *)ranks->received.data + r * mine * one, mine, wire, r == 0, sums);
    return status;
}

enum dapt_status dapt_ranks_gather(struct dapt_ranks *ranks, float *values, enum dapt_dtype wire,
                                   const uint64_t *bounds) {
    if (!ranks) return DAPT_OK;
    uint32_t size = ranks->world.size, rank = ranks->world.rank;
    uint64_t one = dapt_dtype_bytes(wire, 1), first = bounds[rank];
    for (uint32_t r = 0; r <= size; r++) ranks->bounds[r] = bounds[r] * one;
    if (wire == DAPT_F32) return spread(ranks, values, ranks->bounds);
    enum dapt_status status = dapt_ranks_room(&ranks->received, bounds[size] * one);
    if (!status)
        status = dapt_floats_pack(values + first, bounds[rank + 1] - first, wire,
                                  (char *)ranks->received.data + first * one);
    if (!status) status = spread(ranks, ranks->received.data, ranks->bounds);
    return status ? status : dapt_floats_unpack(ranks->received.data, bounds[size], wire, values);
}

enum dapt_status dapt_ranks_gather_bytes(struct dapt_ranks *ranks, void *bytes,
                                         const uint64_t *bounds) {
    return ranks ? spread(ranks, bytes, bounds) : DAPT_OK;
}

static void bound_alike(struct dapt_ranks *ranks, uint64_t size) {
    for (uint32_t r = 0; r <= ranks->world.size; r++) ranks->bounds[r] = r * size;
}

enum dapt_status dapt_ranks_gather_each(struct dapt_ranks *ranks, void *all, uint64_t size) {
    if (!ranks) return DAPT_OK;
    bound_alike(ranks, size);
    return spread(ranks, all, ranks->bounds);
}

// As many bytes of each rank, which are put into `received` in the order of ranks. Few, so at once.
static enum dapt_status gather_alike(struct dapt_ranks *ranks, const void *mine, size_t size) {
    enum dapt_status status = dapt_ranks_room(&ranks->received, ranks->world.size * size);
    if (status) return status;
    bound_alike(ranks, size);
    if (size) memcpy((char *)ranks->received.data + ranks->world.rank * size, mine, size);
    return gather(ranks, ranks->received.data, ranks->bounds);
}

enum dapt_status dapt_ranks_sum(struct dapt_ranks *ranks, double *values, size_t count) {
    if (!ranks) return DAPT_OK;
    enum dapt_status status = gather_alike(ranks, values, count * sizeof *values);
    const double *all = ranks->received.data;
    for (size_t i = 0; !status && i < count; i++) {
        values[i] = all[i];
        for (uint32_t r = 1; r < ranks->world.size; r++) values[i] += all[r * count + i];
    }
    return status;
}

enum dapt_status dapt_ranks_broadcast(struct dapt_ranks *ranks, void *data, uint64_t size,
                                      uint32_t root) {
    return ranks ? noted(ranks, ranks->comm->broadcast(ranks->handle, data, size, root)) : DAPT_OK;
}

enum dapt_status dapt_ranks_barrier(struct dapt_ranks *ranks) {
    return ranks ? noted(ranks, ranks->comm->barrier(ranks->handle)) : DAPT_OK;
}

enum dapt_status dapt_ranks_exchange(struct dapt_ranks *ranks, const void *out,
                                     const uint64_t *out_bounds, void *in,
                                     const uint64_t *in_bounds) {
    if (ranks) return exchange(ranks, out, out_bounds, in, in_bounds);
    uint64_t size = out_bounds[1] - out_bounds[0];
    if (size != in_bounds[1] - in_bounds[0])
        return dapt_fail(DAPT_ERROR_INTERNAL, "ranges of an exchange do not fit together");
    if (size) memcpy((char *)in + in_bounds[0], (const char *)out + out_bounds[0], size);
    return DAPT_OK;
}

enum dapt_status dapt_ranks_agree(struct dapt_ranks *ranks, const struct dapt_ranks_item *items,
                                  size_t count) {
    if (!ranks) return DAPT_OK;
    struct dapt_hash *mine = dapt_alloc(count, sizeof *mine);
    if (!mine) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) mine[i] = items[i].hash;
    enum dapt_status status = gather_alike(ranks, mine, count * sizeof *mine);
    free(mine);
    const struct dapt_hash *all = ranks->received.data;
    for (size_t i = 0; !status && i < count; i++)
        for (uint32_t r = 1; !status && r < ranks->world.size; r++)
            if (memcmp(&all[i], &all[r * count + i], sizeof *all) != 0)
                status = dapt_fail(DAPT_ERROR_INVALID,
                                   "rank %u (on %s) has another %s than rank 0 (on %s); "
                                   "all ranks of a run need the same",
                                   r, ranks->worlds[r].host, items[i].what, ranks->worlds[0].host);
    return status;
}
