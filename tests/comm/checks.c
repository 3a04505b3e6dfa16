#include "checks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

#define EXPECT(holds)                                                                          \
    ((holds) ? (void)0                                                                         \
             : (fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__, __LINE__, #holds, \
                        dapt_error()),                                                         \
                exit(1)))

enum { RANKS = 64 };  // at most, here

static uint32_t rank_of(struct dapt_ranks *ranks) {
    return dapt_ranks_index(ranks);
}

// Byte i of what rank `from` sends to rank `to`: any other place has another.
static unsigned char byte_of(uint32_t from, uint32_t to, uint64_t i) {
    return (unsigned char)(from * 31 + to * 7 + i * 13 + (i >> 8));
}

static uint64_t length_of(uint32_t from, uint32_t to) {
    return (from + to) % 3 == 0 ? 0 : 1000 * from + 77 * to + 1;
}

static void check_exchange(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    uint64_t out_bounds[RANKS + 1] = {0}, in_bounds[RANKS + 1] = {0};
    for (uint32_t r = 0; r < size; r++) {
        out_bounds[r + 1] = out_bounds[r] + length_of(me, r);
        in_bounds[r + 1] = in_bounds[r] + length_of(r, me);
    }
    unsigned char *out = malloc(out_bounds[size] + 1), *in = malloc(in_bounds[size] + 1);
    for (uint32_t r = 0; r < size; r++)
        for (uint64_t i = 0; i < length_of(me, r); i++) out[out_bounds[r] + i] = byte_of(me, r, i);
    in[in_bounds[size]] = 123;
    EXPECT(!dapt_ranks_exchange(ranks, out, out_bounds, in, in_bounds));
    for (uint32_t r = 0; r < size; r++)
        for (uint64_t i = 0; i < length_of(r, me); i++)
            EXPECT(in[in_bounds[r] + i] == byte_of(r, me, i));
    EXPECT(in[in_bounds[size]] == 123);
    free(out);
    free(in);
}

static void check_gather(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    uint64_t bounds[RANKS + 1] = {0};
    for (uint32_t r = 0; r < size; r++) bounds[r + 1] = bounds[r] + length_of(r, 5);
    unsigned char *all = calloc(bounds[size] + 1, 1);
    for (uint64_t i = 0; i < length_of(me, 5); i++) all[bounds[me] + i] = byte_of(me, 5, i);
    EXPECT(!dapt_ranks_gather_bytes(ranks, all, bounds));
    for (uint32_t r = 0; r < size; r++)
        for (uint64_t i = 0; i < length_of(r, 5); i++)
            EXPECT(all[bounds[r] + i] == (size == 1 ? all[i] : byte_of(r, 5, i)));
    EXPECT(all[bounds[size]] == 0);
    free(all);
}

static void check_broadcast(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    for (uint32_t root = 0; root < size; root++) {
        unsigned char data[5000] = {0};
        for (uint64_t i = 0; me == root && i < sizeof data; i++) data[i] = byte_of(root, 1, i);
        EXPECT(!dapt_ranks_broadcast(ranks, data, sizeof data, root));
        EXPECT(!dapt_ranks_broadcast(ranks, NULL, 0, root));
        for (uint64_t i = 0; i < sizeof data; i++) EXPECT(data[i] == byte_of(root, 1, i));
        EXPECT(!dapt_ranks_barrier(ranks));
    }
}

static float value_of(uint32_t rank, uint64_t i) {
    return ldexpf((float)((rank * 7919 + i * 104729) % 2003) - 1001.0f, (int)(i % 24) - 12) / 3;
}

static float rounded(float value, enum dapt_dtype dtype) {
    dapt_floats_round(&value, 1,
                      dtype == DAPT_F16    ? DAPT_FILE_F16
                      : dtype == DAPT_BF16 ? DAPT_FILE_BF16
                                           : DAPT_FILE_F32);
    return value;
}

// The sum of element i over all ranks, by hand: in the order of ranks, or, where `each` ranks are
// on each of several machines, first within these.
static float sum_of(uint32_t size, uint32_t each, uint64_t i, enum dapt_dtype wire) {
    float sum = 0;
    for (uint32_t first = 0; first < size; first += each) {
        float here = rounded(value_of(first, i), wire);
        for (uint32_t r = first + 1; r < first + each; r++) here += rounded(value_of(r, i), wire);
        if (each < size) here = rounded(here, wire);
        sum = first ? sum + here : here;
    }
    return sum;
}

void comm_shares(uint32_t ranks, uint64_t count, uint64_t unit, uint64_t *bounds) {
    uint64_t units = count / unit + (count % unit != 0), each = units / ranks, more = units % ranks;
    bounds[0] = 0;
    for (uint32_t r = 0; r < ranks; r++) {
        uint64_t share = (each + (r < more)) * unit, rest = count - bounds[r];
        bounds[r + 1] = bounds[r] + (share < rest ? share : rest);
    }
}

static uint32_t machine_size(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), each = dapt_ranks_world(ranks)->local_size;
    bool grid = each > 1 && each < size && size % each == 0;
    return grid ? each : size;
}

// Bit for bit the sums that one makes by hand, for shares of many kinds.
static void check_reduce(struct dapt_ranks *ranks) {
    static const enum dapt_dtype wires[] = {DAPT_F32, DAPT_F16, DAPT_BF16};
    static const uint64_t counts[] = {0, 1, 3, 4999, 20000};
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks), each = machine_size(ranks);
    for (size_t c = 0; c < 5 * 3; c++) {
        uint64_t count = counts[c % 5], bounds[RANKS + 1];
        enum dapt_dtype wire = wires[c / 5];
        comm_shares(size, count, c % 2 ? 1 : 256, bounds);
        float *values = malloc((count + 1) * sizeof *values), *sums = values + bounds[me];
        for (uint64_t i = 0; i < count; i++) values[i] = value_of(me, i);
        if (size == 1) wire = DAPT_F32;  // nothing travels
        EXPECT(!dapt_ranks_reduce(ranks, values, DAPT_F32, wire, bounds, sums));
        for (uint64_t i = bounds[me]; i < bounds[me + 1]; i++) {
            float sum = sum_of(size, each, i, wire);
            EXPECT(memcmp(&sum, &sums[i - bounds[me]], sizeof sum) == 0);
        }
        EXPECT(!dapt_ranks_gather(ranks, values, wire, bounds));
        for (uint64_t i = 0; i < count; i++) {
            float sum = rounded(sum_of(size, each, i, wire), wire);
            EXPECT(memcmp(&sum, &values[i], sizeof sum) == 0);
        }
        free(values);
    }
}

// Numbers that are in 16 bits already; infinities and NaNs reach the sums.
static void check_reduce_16(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    uint64_t bounds[RANKS + 1];
    uint16_t values[4] = {0x3c00, 0x7c00, (uint16_t)(me == 0 ? 0x7c00 : 0xfc00), 0x3800};
    float sums[4];
    comm_shares(size, 4, 4, bounds);
    EXPECT(!dapt_ranks_reduce(ranks, values, DAPT_F16, DAPT_F16, bounds, sums));
    if (me > 0) return;
    EXPECT(sums[0] == (float)size && sums[3] == 0.5f * (float)size);
    EXPECT(isinf(sums[1]) && (size == 1 ? isinf(sums[2]) : isnan(sums[2])));
}

static void check_sum(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    double values[3] = {1.0 / (me + 3), me == size - 1 ? 1 : 0, -1e300}, sum = 1.0 / 3;
    for (uint32_t r = 1; r < size; r++) sum += 1.0 / (r + 3);
    EXPECT(!dapt_ranks_sum(ranks, values, 3));
    EXPECT(memcmp(&values[0], &sum, sizeof sum) == 0);
    EXPECT(values[1] == 1 && !(fabs(values[2] / (-1e300 * size) - 1) > 1e-12));
    EXPECT(!dapt_ranks_sum(ranks, NULL, 0));
}

static void check_agree(struct dapt_ranks *ranks) {
    uint32_t size = dapt_ranks_count(ranks), me = rank_of(ranks);
    struct dapt_ranks_item items[] = {{"version", {1, 2}}, {"configuration", {3, 4}}};
    EXPECT(!dapt_ranks_agree(ranks, items, 2));
    if (size == 1) return;
    items[1].hash.high += me == size - 1;
    char expected[256];
    snprintf(expected, sizeof expected,
             "rank %u (on %s) has another configuration than rank 0 (on %s); "
             "all ranks of a run need the same",
             size - 1, dapt_ranks_host(ranks, size - 1), dapt_ranks_host(ranks, 0));
    EXPECT(dapt_ranks_agree(ranks, items, 2) == DAPT_ERROR_INVALID);
    EXPECT(strcmp(dapt_error(), expected) == 0);
}

static void check_world(struct dapt_ranks *ranks) {
    const struct dapt_comm_world *world = dapt_ranks_world(ranks);
    EXPECT(world->size == dapt_ranks_count(ranks) && world->rank == dapt_ranks_index(ranks));
    EXPECT(world->local_rank < world->local_size && world->local_size <= world->size);
    EXPECT(world->host[0] && strcmp(world->host, dapt_ranks_host(ranks, world->rank)) == 0);
}

const struct comm_check comm_checks[] = {
    {"world", check_world},   {"exchange", check_exchange},   {"gather", check_gather},
    {"reduce", check_reduce}, {"reduce_16", check_reduce_16}, {"broadcast", check_broadcast},
    {"sum", check_sum},       {"agree", check_agree},
};
const size_t comm_check_count = sizeof comm_checks / sizeof *comm_checks;
