// The programs of one model on one device, and the buffers that they share: what an engine runs. Each
// is built and compiled when it is first asked for; all work on the same parameters, and a buffer
// serves every program that needs no more. One thread at a time.
#ifndef DAPT_ENGINE_PROGRAMS_H
#define DAPT_ENGINE_PROGRAMS_H
#include "engine/engine.h"

enum dapt_program_kind {
    DAPT_PROGRAM_TRAIN_FIRST,  // a micro-batch: gradients are replaced
    DAPT_PROGRAM_TRAIN_NEXT,   // ... or added to
    DAPT_PROGRAM_NORM,         // squared norm of the gradients, and whether the step counts
    DAPT_PROGRAM_UPDATE,       // the optimizer
    DAPT_PROGRAM_LOSS,
    DAPT_PROGRAM_LOGITS,
    DAPT_PROGRAM_HIDDEN,
    DAPT_PROGRAM_DECODE_ONE,    // one token
    DAPT_PROGRAM_DECODE_CHUNK,  // DAPT_DECODE_CHUNK tokens
    DAPT_PROGRAM_COUNT
};
#define DAPT_DECODE_CHUNK 32u

// Scalars of a step in the result buffer, behind the sum of losses that micro-batches add up.
enum dapt_result_slot {
    DAPT_RESULT_NORM2 = 1,  // squared norm of the gradients
    DAPT_RESULT_LOSS,       // that sum, kept while the next step's micro-batches begin
    DAPT_RESULT_DECIDES,  // norm2; not finite where the loss is not: the optimizer does nothing then
    DAPT_RESULT_COUNT
};
#define DAPT_RESULT_STRIDE 64u  // bytes from one to the next
#define DAPT_RESULT_BYTES (DAPT_RESULT_DECIDES * DAPT_RESULT_STRIDE + sizeof(float))

struct dapt_programs;
// `model`, `device` and *options outlive it. For training its programs are compiled at once, so that
// nothing later needs more memory.
enum dapt_status dapt_programs_create(const struct dapt_model *model,
                                      struct dapt_device_handle *device,
                                      const struct dapt_engine_options *options,
                                      struct dapt_programs **programs);
void dapt_programs_destroy(struct dapt_programs **programs);

// Compiles it, unless it is there.
enum dapt_status dapt_programs_need(struct dapt_programs *programs, enum dapt_program_kind kind);
// Drops those whose batches have the options' sequences and length, after these have changed. Not for
// training.
void dapt_programs_reshape(struct dapt_programs *programs);
// Drops the programs of decoding: others, for a cache of `capacity` places, are made when needed.
void dapt_programs_set_capacity(struct dapt_programs *programs, uint32_t capacity);

const struct dapt_model_io *dapt_programs_io(const struct dapt_programs *programs,
                                             enum dapt_program_kind kind);
// The inputs of a batch, written in one piece; what of the batch buffer lies between them is 0.
struct dapt_program_input {
    dapt_value input;
    const int32_t *rows;
    uint64_t count;
};
enum dapt_status dapt_programs_write(struct dapt_programs *programs, enum dapt_program_kind kind,
                                     const struct dapt_program_input *inputs, size_t count);
enum dapt_status dapt_programs_run(struct dapt_programs *programs, enum dapt_program_kind kind);
// Bytes from `offset` of its result buffer; waits for what runs.
enum dapt_status dapt_programs_result(struct dapt_programs *programs, enum dapt_program_kind kind,
                                      uint64_t offset, void *data, uint64_t size);
// The slots of the norm's program behind the sum of losses, after its last run, while others that write
// elsewhere run on.
enum dapt_status dapt_programs_scalars(struct dapt_programs *programs,
                                       float scalars[DAPT_RESULT_COUNT]);
// Replaces what that program decided, after all that was started.
enum dapt_status dapt_programs_decide(struct dapt_programs *programs, float decides);
// Where a value lies in the buffer of its role, in bytes.
uint64_t dapt_programs_offset(const struct dapt_programs *programs, enum dapt_program_kind kind,
                              dapt_value value);
// The buffer of a role that all programs share: parameters, gradients, moments, the step's scalars.
// NULL: none was needed.
struct dapt_buffer_handle *dapt_programs_buffer(const struct dapt_programs *programs,
                                                enum dapt_buffer_role role);
// As dapt_engine_profile().
enum dapt_status dapt_programs_profile(struct dapt_programs *programs, dapt_engine_op each,
                                       void *user);
#endif
