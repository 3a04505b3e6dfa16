// The engine: one model on one device. Owns the device buffers and the programs; everything that
// trains, evaluates, verifies or generates goes through it. One thread at a time.
#ifndef DAPT_ENGINE_ENGINE_H
#define DAPT_ENGINE_ENGINE_H
#include "comm/ranks.h"
#include "corpus/corpus.h"
#include "graph/device.h"
#include "model/model.h"

struct dapt_engine_options {
    bool train;                     // keep gradients and optimizer state
    uint32_t sequences, length;     // of one micro-batch
    enum dapt_recompute recompute;  // train
    enum dapt_precision precision;  // of activations
    float beta1, beta2, eps;        // AdamW
    enum dapt_moments moments;      // how they are kept
    bool decay_all;                 // weight decay on every parameter; otherwise on matrices only
    // Those that train together, each its part of a step's micro-batches: each keeps a shard of the
    // optimizer's state, and updates those parameters. They outlive the engine. NULL: it trains alone.
    struct dapt_ranks *ranks;
    uint64_t bucket;  // elements that travel at a time, of all ranks; 0: as many as serve well
    uint32_t shards;  // of estimates without ranks: as many are meant; 0: one
};

// The precision that a program was asked for by name, as backend.precision has it; NULL: float32. Not
// "auto": an error that says what there is.
enum dapt_status dapt_engine_precision(const char *name, enum dapt_precision *precision);

struct dapt_engine;
// `model` and `device` outlive the engine. Programs of training are compiled here, others on first
// use.
enum dapt_status dapt_engine_create(const struct dapt_model *model,
                                    struct dapt_device_handle *device,
                                    const struct dapt_engine_options *options,
                                    struct dapt_engine **engine);
void dapt_engine_destroy(struct dapt_engine **engine);

enum dapt_status dapt_engine_load(struct dapt_engine *engine,
                                  const char *folder);  // weights of a Hugging Face folder
enum dapt_status dapt_engine_init(struct dapt_engine *engine, uint64_t seed);  // new weights
enum dapt_status dapt_engine_save(struct dapt_engine *engine,
                                  const char *folder);  // dapt_model_save

// Flat state, in elements, in the layout of the model's parameters: for checkpoints and tests.
// [begin, begin + count) of flat_count parameters; of trained_count gradients or moments.
enum dapt_engine_state {
    DAPT_STATE_PARAM,
    DAPT_STATE_GRAD,
    DAPT_STATE_MOMENT1,
    DAPT_STATE_MOMENT2
};
enum dapt_status dapt_engine_read(struct dapt_engine *engine, enum dapt_engine_state state,
                                  uint64_t begin, uint64_t count, float *values);
// Moments of 8 bits are not written so.
enum dapt_status dapt_engine_write(struct dapt_engine *engine, enum dapt_engine_state state,
                                   uint64_t begin, uint64_t count, const float *values);

// The moments as they lie in memory, without any conversion: bytes of each of the two, and some of
// them.
uint64_t dapt_engine_moment_bytes(const struct dapt_engine *engine);
enum dapt_moments dapt_engine_moments(const struct dapt_engine *engine);
enum dapt_status dapt_engine_read_moments(struct dapt_engine *engine, enum dapt_engine_state state,
                                          uint64_t offset, uint64_t size, void *bytes);
enum dapt_status dapt_engine_write_moments(struct dapt_engine *engine, enum dapt_engine_state state,
                                           uint64_t offset, uint64_t size, const void *bytes);

// Among ranks. All of these do nothing, or give nothing, where the engine is alone.
struct dapt_ranks *dapt_engine_ranks(const struct dapt_engine *engine);
// The trained parameters [*begin, *end) that this rank updates: what it has moments of.
void dapt_engine_own(const struct dapt_engine *engine, uint64_t *begin, uint64_t *end);
// Seconds that each rank was at its own work in the last step, waiting for others aside; NULL: alone.
const double *dapt_engine_busy(const struct dapt_engine *engine);
// Loading, saving and whatever else moves weights and moments is done by rank 0, while all others are in
// dapt_engine_follow(): from dapt_engine_lead() to dapt_engine_lead_end() what it writes is written on
// all, and moments are read from the ranks that have them. `outcome` is how it went, its reason being the
// last one recorded: what the followers get too, and what dapt_engine_lead_end() returns, unless they could
// not be told. Without a leader moments are only read and written where they are this rank's own.
void dapt_engine_lead(struct dapt_engine *engine);
enum dapt_status dapt_engine_lead_end(struct dapt_engine *engine, enum dapt_status outcome);
enum dapt_status dapt_engine_follow(struct dapt_engine *engine, enum dapt_status *outcome);
// Whether such a call failed on this rank alone: the ranks are not at the same one any more, and can only end.
bool dapt_engine_apart(const struct dapt_engine *engine);

// Rounds the trained parameters to what dapt_engine_save() writes of them, so that what is then measured is
// what the files hold; and puts the exact ones back, bit for bit, which lie in the place of the
// gradients meanwhile: no step may be under way. Without anything to round both do nothing. Frozen
// parameters were rounded as they were loaded.
enum dapt_status dapt_engine_round(struct dapt_engine *engine);
enum dapt_status dapt_engine_unround(struct dapt_engine *engine);

// One optimizer step: begin, one or more micro-batches, update, result. Devices may still be at it when
// update returns; the next step's micro-batches can be given before its result is asked for.
struct dapt_engine_step {
    double learning_rate, weight_decay, clip;  // clip 0: none
    uint64_t scored;                           // targets of all micro-batches of all ranks
    // The loss is multiplied by it where gradients begin, so that float16 holds them: a power of two, 0
    // for none. Nothing that is told or updated depends on it, but that gradients and their sum of
    // squares may overflow.
    double scale;
    // What dropout draws from, beside the place in the step's batch: no two steps of a run draw alike.
    uint64_t seed, draw;
    uint64_t rows;  // of the step's batch that lie before this rank's: sequences * length
};
struct dapt_engine_result {
    double loss;     // nats a token, mean over the step's scored tokens
    double norm;     // of the whole gradient, before clipping
    bool finite;     // false: the step changed nothing
    bool cancelled;  // dapt_cancel() was called, on any rank
};
enum dapt_status dapt_engine_begin(struct dapt_engine *engine, const struct dapt_engine_step *step);
enum dapt_status dapt_engine_micro(struct dapt_engine *engine, const struct dapt_batch *batch);
// Clips and updates. `number`: of this update, from 1, for AdamW's bias correction; non-finite ones don't
// count. 0: only the norm is computed, and the gradients stay (dapt_engine_read). The step before must
// have given its result. Among ranks collective: sums, and waits for all of them.
enum dapt_status dapt_engine_update(struct dapt_engine *engine, uint64_t number);
// Of the last update; waits for it, not for micro-batches since then.
enum dapt_status dapt_engine_result(struct dapt_engine *engine, struct dapt_engine_result *result);
// Both, and all is done then.
enum dapt_status dapt_engine_finish(struct dapt_engine *engine, uint64_t number,
                                    struct dapt_engine_result *result);

// Forward only: nats of each place of the batch (0 where not scored) into losses [sequences *
// length].
enum dapt_status dapt_engine_losses(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *losses);
// Forward only: logits of every place into logits [sequences * length, vocab].
enum dapt_status dapt_engine_logits(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *logits);

// Forward only: the stream after the final norm, of every place, into hidden [sequences * length,
// C].
enum dapt_status dapt_engine_hidden(struct dapt_engine *engine, const struct dapt_batch *batch,
                                    float *hidden);
// Batches have this shape from now on. Not of an engine that trains.
enum dapt_status dapt_engine_reshape(struct dapt_engine *engine, uint32_t sequences,
                                     uint32_t length);

// Generation: one sequence with a key/value cache of `capacity` places.
enum dapt_status dapt_engine_decode_start(struct dapt_engine *engine, uint32_t capacity);
// Feeds `count` ids at places `position` .. (any count; run in chunks) and gives the logits [vocab]
// after the last.
enum dapt_status dapt_engine_decode(struct dapt_engine *engine, const uint32_t *ids, uint32_t count,
                                    uint32_t position, float *logits);

// What training with these options would take, before anything is allocated: bytes by role, as
// dapt_engine_memory() tells them afterwards. What backends take besides for their own scratch is not
// in it.
enum dapt_status dapt_engine_estimate(const struct dapt_model *model,
                                      struct dapt_device_handle *device,
                                      const struct dapt_engine_options *options,
                                      uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]);
// Bytes of device memory by role (enum dapt_buffer_role), for estimates and reports; returns their sum.
uint64_t dapt_engine_memory(const struct dapt_engine *engine,
                            uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]);
// Tells each op of the last training micro-batch and update with its nanoseconds. Backends may keep
// no clocks until they are asked the first time: ask, run a step, ask again.
// DAPT_ERROR_UNSUPPORTED where the backend has none.
typedef void (*dapt_engine_op)(void *user, const struct dapt_op *op,
                               const struct dapt_tensor *tensors, uint64_t nanoseconds);
enum dapt_status dapt_engine_profile(struct dapt_engine *engine, dapt_engine_op each, void *user);
#endif
