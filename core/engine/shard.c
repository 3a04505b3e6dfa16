#include "engine/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/helper.h"
#include "base/threads.h"
#include "engine/moments.h"

#define REASON 1024u  // bytes of a line that followers get

// What each rank adds to the sums: the norm of its shard, the loss of its micro-batches, whether it was
// asked to stop, and, in a place of its own, how long it worked.
enum { TOLD_NORM2, TOLD_LOSS, TOLD_CANCELLED, TOLD };

struct dapt_shard {
    struct dapt_ranks *ranks;
    struct dapt_programs *programs;
    uint32_t rank, size;
    enum dapt_dtype wire;  // what gradients travel in
    uint64_t *bounds;      // [size + 1] elements: whose parameters which are
    uint64_t *bytes;       // [size + 1] of the moments, likewise
    uint64_t *part;        // [size + 1] of moments that are collected
    uint64_t bucket;       // elements of one rank in a bucket
    struct bucket {
        const struct dapt_shard *shard;
        uint64_t at, *part;  // where it begins in each shard; [size + 1] bounds of its pieces
        float *values;       // [size * bucket]
    } buckets[2];
    struct dapt_helper *helper;
    double *told;  // [TOLD + size], of the last step
    double begun,
        waited;  // when this step began, and seconds of it in which others were waited for
    bool leads;
    bool apart;      // an order was left unfinished: the ranks are not at the same call
    void *received;  // by a follower
    size_t capacity;
};

// -------------------------------------------------------------------------------------------- making

static uint64_t longest(const struct dapt_shard *s) {
    uint64_t most = 0;
    for (uint32_t r = 0; r < s->size; r++)
        if (s->bounds[r + 1] - s->bounds[r] > most) most = s->bounds[r + 1] - s->bounds[r];
    return most;
}

static enum dapt_status make_bucket(const struct dapt_shard *s, struct bucket *b) {
    b->shard = s;
    b->part = dapt_alloc(s->size + 1, sizeof *b->part);
    b->values = dapt_alloc_aligned(s->size * s->bucket, sizeof *b->values);
    return b->part && b->values ? DAPT_OK : DAPT_ERROR_MEMORY;
}

enum dapt_status dapt_shard_create(const struct dapt_model *model,
                                   const struct dapt_engine_options *options,
                                   struct dapt_programs *programs, struct dapt_shard **shard) {
    *shard = NULL;
    if (!options->ranks || !options->train) return DAPT_OK;
    struct dapt_shard *s = *shard = dapt_alloc(1, sizeof *s);
    if (!s) return DAPT_ERROR_MEMORY;
    // float16 would not hold sums of scaled gradients; bfloat16 has the range of float32.
    *s = (struct dapt_shard){
        .ranks = options->ranks,
        .programs = programs,
        .rank = dapt_ranks_index(options->ranks),
        .size = dapt_ranks_count(options->ranks),
        .wire = options->precision == DAPT_PRECISION_FLOAT32 ? DAPT_F32 : DAPT_BF16,
        .begun = dapt_seconds()};
    s->bounds = dapt_alloc(s->size + 1, sizeof *s->bounds);
    s->bytes = dapt_alloc(s->size + 1, sizeof *s->bytes);
    s->part = dapt_alloc(s->size + 1, sizeof *s->part);
    s->told = dapt_alloc(TOLD + s->size, sizeof *s->told);
    enum dapt_status status = s->bounds && s->bytes && s->part && s->told ? DAPT_OK
                                                                          : DAPT_ERROR_MEMORY;
    for (uint32_t r = 0; !status && r <= s->size; r++) {
        s->bounds[r] = dapt_moment_bound(model, s->size, r);
        s->bytes[r] = dapt_moment_byte(model, options->moments, s->bounds[r]);
    }
    uint64_t bucket = (options->bucket ? options->bucket : DAPT_SHARD_BUCKET) / s->size;
    if (!status && bucket > longest(s)) bucket = longest(s);
    s->bucket = bucket ? bucket : 1;
    for (int i = 0; i < 2 && !status; i++) status = make_bucket(s, &s->buckets[i]);
    if (!status) status = dapt_helper_create(&s->helper);
    if (status) dapt_shard_destroy(shard);
    return status;
}

void dapt_shard_destroy(struct dapt_shard **shard) {
    struct dapt_shard *s = *shard;
    *shard = NULL;
    if (!s) return;
    dapt_helper_destroy(&s->helper);
    for (int i = 0; i < 2; i++) {
        free(s->buckets[i].part);
        free(s->buckets[i].values);
    }
    free(s->bounds);
    free(s->bytes);
    free(s->part);
    free(s->told);
    free(s->received);
    free(s);
}

// ------------------------------------------------------------------------------------------ a step

static struct dapt_buffer_handle *buffer(const struct dapt_shard *s, enum dapt_buffer_role role) {
    return dapt_programs_buffer(s->programs, role);
}

// The bucket that begins `at` elements behind the beginning of each shard: where in its values each rank's
// piece of it lies.
static void lay_out(const struct dapt_shard *s, struct bucket *b, uint64_t at) {
    b->at = at;
    b->part[0] = 0;
    for (uint32_t r = 0; r < s->size; r++) {
        uint64_t count = s->bounds[r + 1] - s->bounds[r], rest = count > at ? count - at : 0;
        b->part[r + 1] = b->part[r] + (rest < s->bucket ? rest : s->bucket);
    }
}

// Moves rank r's piece of the bucket between the device and its values.
static enum dapt_status move(const struct dapt_shard *s, const struct bucket *b,
                             enum dapt_buffer_role role, uint32_t r, bool read) {
    uint64_t count = b->part[r + 1] - b->part[r], one = sizeof *b->values;
    float *values = b->values + b->part[r];
    if (!count) return DAPT_OK;
    uint64_t offset = (s->bounds[r] + b->at) * one;
    return read ? dapt_buffer_read(buffer(s, role), offset, values, count * one)
                : dapt_buffer_write(buffer(s, role), offset, values, count * one);
}

// What travels: a bucket is read from the device, exchanged, and what came of it written. The exchange is a
// helper's, during which the bucket before is written and the next one read.
struct travel {
    enum dapt_status (*read)(const struct dapt_shard *s, const struct bucket *b);
    enum dapt_status (*exchange)(void *bucket);
    enum dapt_status (*write)(const struct dapt_shard *s, const struct bucket *b);
};

static enum dapt_status read_gradients(const struct dapt_shard *s, const struct bucket *b) {
    enum dapt_status status = DAPT_OK;
    for (uint32_t r = 0; r < s->size && !status; r++)
        status = move(s, b, DAPT_BUFFER_GRAD, r, true);
    return status;
}

static enum dapt_status sum_gradients(void *bucket) {
    const struct bucket *b = bucket;
    return dapt_ranks_reduce(b->shard->ranks, b->values, DAPT_F32, b->shard->wire, b->part,
                             b->values + b->part[b->shard->rank]);
}

static enum dapt_status write_gradients(const struct dapt_shard *s, const struct bucket *b) {
    return move(s, b, DAPT_BUFFER_GRAD, s->rank, false);
}

static enum dapt_status read_parameters(const struct dapt_shard *s, const struct bucket *b) {
    return move(s, b, DAPT_BUFFER_PARAM, s->rank, true);
}

static enum dapt_status spread_parameters(void *bucket) {
    const struct bucket *b = bucket;
    return dapt_ranks_gather(b->shard->ranks, b->values, DAPT_F32, b->part);
}

static enum dapt_status write_parameters(const struct dapt_shard *s, const struct bucket *b) {
    enum dapt_status status = DAPT_OK;
    for (uint32_t r = 0; r < s->size && !status; r++)
        if (r != s->rank) status = move(s, b, DAPT_BUFFER_PARAM, r, false);
    return status;
}

static const struct travel gradients = {read_gradients, sum_gradients, write_gradients},
                           parameters = {read_parameters, spread_parameters, write_parameters};

// In which others are waited for.
static enum dapt_status wait_for_exchange(struct dapt_shard *s) {
    double begin = dapt_seconds();
    enum dapt_status status = dapt_helper_wait(s->helper);
    s->waited += dapt_seconds() - begin;
    return status;
}

static enum dapt_status carry(struct dapt_shard *s, const struct travel *travel) {
    enum dapt_status status = DAPT_OK;
    struct bucket *before = NULL;
    for (uint64_t at = 0, end = longest(s), k = 0; !status && at < end; at += s->bucket, k++) {
        struct bucket *b = &s->buckets[k % 2];
        lay_out(s, b, at);
        status = travel->read(s, b);
        if (!status) status = wait_for_exchange(s);
        if (status) break;
        dapt_helper_start(s->helper, travel->exchange, b);
        if (before) status = travel->write(s, before);
        before = b;
    }
    if (!status) status = wait_for_exchange(s);
    return status || !before ? status : travel->write(s, before);
}

static enum dapt_status share_scalars(struct dapt_shard *s, struct dapt_shard_result *result) {
    float scalars[DAPT_RESULT_COUNT];
    enum dapt_status status = dapt_programs_scalars(s->programs, scalars);
    if (status) return status;
    memset(s->told, 0, (TOLD + s->size) * sizeof *s->told);
    s->told[TOLD_NORM2] = (double)scalars[DAPT_RESULT_NORM2];
    s->told[TOLD_LOSS] = (double)scalars[DAPT_RESULT_LOSS];
    s->told[TOLD_CANCELLED] = dapt_cancelled();
    s->told[TOLD + s->rank] = dapt_seconds() - s->begun - s->waited;
    status = dapt_ranks_sum(s->ranks, s->told, TOLD + s->size);
    if (status) return status;
    *result = (struct dapt_shard_result){
        .norm2 = s->told[TOLD_NORM2],
        .loss = s->told[TOLD_LOSS],
        .decides = (float)(s->told[TOLD_NORM2] + 0 * s->told[TOLD_LOSS]),
        .cancelled = s->told[TOLD_CANCELLED] > 0};
    return dapt_programs_decide(s->programs, result->decides);
}

enum dapt_status dapt_shard_update(struct dapt_shard *shard, bool update,
                                   struct dapt_shard_result *result) {
    enum dapt_status status = carry(shard, &gradients);
    if (!status) status = dapt_programs_run(shard->programs, DAPT_PROGRAM_NORM);
    if (!status) status = share_scalars(shard, result);
    // A rank whose shard is empty has no program for it.
    bool owns = shard->bounds[shard->rank] < shard->bounds[shard->rank + 1];
    if (!status && update && owns) status = dapt_programs_run(shard->programs, DAPT_PROGRAM_UPDATE);
    if (!status && update) status = carry(shard, &parameters);
    shard->begun = dapt_seconds();
    shard->waited = 0;
    return status;
}

const double *dapt_shard_busy(const struct dapt_shard *shard) {
    return shard->told + TOLD;
}

// ------------------------------------------------------------------------------ leading, following

enum order_kind { ORDER_END, ORDER_WRITE, ORDER_READ_MOMENTS, ORDER_WRITE_MOMENTS };
struct order {
    uint32_t kind, role;
    uint64_t offset, size;
};

static enum dapt_status tell(struct dapt_shard *s, enum order_kind kind, enum dapt_buffer_role role,
                             uint64_t offset, uint64_t size) {
    struct order order = {.kind = kind, .role = role, .offset = offset, .size = size};
    return dapt_ranks_broadcast(s->ranks, &order, sizeof order, 0);
}

void dapt_shard_lead(struct dapt_shard *shard) {
    shard->leads = true;
}

bool dapt_shard_leads(const struct dapt_shard *shard) {
    return shard && shard->leads;
}

static enum dapt_status noted(struct dapt_shard *s, enum dapt_status status) {
    if (status) s->apart = true;
    return status;
}

bool dapt_shard_apart(const struct dapt_shard *shard) {
    return shard && shard->apart;
}

enum dapt_status dapt_shard_write(struct dapt_shard *s, enum dapt_buffer_role role, uint64_t offset,
                                  const void *bytes, uint64_t size) {
    enum dapt_status status = tell(s, ORDER_WRITE, role, offset, size);
    // Broadcasts of a root leave its data as they are.
    if (!status) status = dapt_ranks_broadcast(s->ranks, (void *)bytes, size, 0);
    noted(s, status);
    return status ? status : dapt_buffer_write(buffer(s, role), offset, bytes, size);
}

// What of [offset, offset + size) is rank r's: from *begin to *end, in the same count.
static void part_of(const struct dapt_shard *s, uint64_t offset, uint64_t size, uint32_t r,
                    uint64_t *begin, uint64_t *end) {
    uint64_t from = s->bytes[r], to = s->bytes[r + 1];
    *begin = offset > from ? offset : from;
    *end = offset + size < to ? offset + size : to;
    if (*begin >= *end) *begin = *end = offset;
}

static enum dapt_status read_own(struct dapt_shard *s, enum dapt_buffer_role role, uint64_t offset,
                                 uint64_t size, uint8_t *bytes) {
    uint64_t begin, end;
    part_of(s, offset, size, s->rank, &begin, &end);
    if (begin == end) return DAPT_OK;
    return dapt_buffer_read(buffer(s, role), begin - s->bytes[s->rank], bytes + (begin - offset),
                            end - begin);
}

static enum dapt_status write_own(struct dapt_shard *s, enum dapt_buffer_role role, uint64_t offset,
                                  uint64_t size, const uint8_t *bytes) {
    uint64_t begin, end;
    part_of(s, offset, size, s->rank, &begin, &end);
    if (begin == end) return DAPT_OK;
    return dapt_buffer_write(buffer(s, role), begin - s->bytes[s->rank], bytes + (begin - offset),
                             end - begin);
}

// `bytes` of all ranks, each of which has read its own.
static enum dapt_status collect(struct dapt_shard *s, uint64_t offset, uint64_t size,
                                uint8_t *bytes) {
    s->part[0] = 0;
    for (uint32_t r = 0; r < s->size; r++) {
        uint64_t begin, end;
        part_of(s, offset, size, r, &begin, &end);
        s->part[r + 1] = s->part[r] + (end - begin);
    }
    return dapt_ranks_gather_bytes(s->ranks, bytes, s->part);
}

enum dapt_status dapt_shard_read_moments(struct dapt_shard *s, enum dapt_buffer_role role,
                                         uint64_t offset, uint64_t size, void *bytes) {
    if (!s->leads) {
        if (offset < s->bytes[s->rank] || offset + size > s->bytes[s->rank + 1])
            return dapt_fail(DAPT_ERROR_INTERNAL, "engine: moments of another rank");
        return read_own(s, role, offset, size, bytes);
    }
    enum dapt_status status = tell(s, ORDER_READ_MOMENTS, role, offset, size);
    if (!status) status = read_own(s, role, offset, size, bytes);
    if (!status) status = collect(s, offset, size, bytes);
    return noted(s, status);
}

enum dapt_status dapt_shard_write_moments(struct dapt_shard *s, enum dapt_buffer_role role,
                                          uint64_t offset, uint64_t size, const void *bytes) {
    enum dapt_status status = DAPT_OK;
    if (s->leads) {
        status = tell(s, ORDER_WRITE_MOMENTS, role, offset, size);
        if (!status) status = dapt_ranks_broadcast(s->ranks, (void *)bytes, size, 0);
        noted(s, status);
    }
    return status ? status : write_own(s, role, offset, size, bytes);
}

static enum dapt_status obey(struct dapt_shard *s, const struct order *order) {
    enum dapt_buffer_role role = (enum dapt_buffer_role)order->role;
    enum dapt_status status = dapt_grow(&s->received, &s->capacity, order->size, 1);
    if (status) return status;
    if (order->kind == ORDER_READ_MOMENTS) {
        status = read_own(s, role, order->offset, order->size, s->received);
        return status ? status : collect(s, order->offset, order->size, s->received);
    }
    status = dapt_ranks_broadcast(s->ranks, s->received, order->size, 0);
    if (status) return status;
    return order->kind == ORDER_WRITE
               ? dapt_buffer_write(buffer(s, role), order->offset, s->received, order->size)
               : write_own(s, role, order->offset, order->size, s->received);
}

struct ending {
    int32_t status;
    char reason[REASON];
};

enum dapt_status dapt_shard_follow(struct dapt_shard *s, enum dapt_status *outcome) {
    struct order order;
    struct ending ending = {0};
    enum dapt_status status;
    for (;;) {
        status = dapt_ranks_broadcast(s->ranks, &order, sizeof order, 0);
        if (status || order.kind == ORDER_END) break;
        if ((status = obey(s, &order))) break;
    }
    if (!status) status = dapt_ranks_broadcast(s->ranks, &ending, sizeof ending, 0);
    if (status) return noted(s, status);
    *outcome = (enum dapt_status)ending.status;
    if (*outcome) dapt_fail(*outcome, "%.*s", (int)sizeof ending.reason - 1, ending.reason);
    return DAPT_OK;
}

enum dapt_status dapt_shard_end(struct dapt_shard *s, enum dapt_status outcome) {
    struct ending ending = {.status = outcome};
    if (outcome) snprintf(ending.reason, sizeof ending.reason, "%s", dapt_error());
    s->leads = false;
    if (s->apart) return outcome;
    enum dapt_status status = tell(s, ORDER_END, DAPT_BUFFER_PARAM, 0, 0);
    return noted(s, status ? status : dapt_ranks_broadcast(s->ranks, &ending, sizeof ending, 0));
}
