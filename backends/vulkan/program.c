// Programs: lowered to passes once, recorded into a few command buffers once, submitted at every
// run.
//
// The first run of a program is timed pass by pass. With these times it is recorded again, without
// timestamps, as submissions that each stay far below the time-outs of drivers. A program whose
// timings were asked for keeps its timestamps.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lower.h"

#define SUBMISSION_SECONDS 0.25
#define SUBMISSION_WORK 2e10  // before anything was measured, where dispatches have no limit
#define MAX_QUERIES 16384

struct submission {
    VkCommandBuffer commands;
    uint32_t begin, end;  // passes
    char what[224];       // for messages
};

struct dapt_executable {
    struct vk_passes passes;
    uint32_t op_count;
    struct submission *submissions;
    uint32_t submission_count, submission_room;
    uint64_t scratch;          // bytes
    uint32_t scratch_version;  // of the recording
    uint64_t value;            // of the timeline after the last run
    VkQueryPool queries;
    bool recorded, timed, keep_timestamps, measured, ran;
    uint64_t *nanoseconds;  // by pass, of the last run that was timed
    const char **labels;    // by op
};

// ---------------------------------------------------------------------------------------- lowering

static enum dapt_status lower_all(struct dapt_device *device, const struct dapt_program *program,
                                  struct dapt_buffer *const *buffers, struct dapt_executable *e) {
    for (uint32_t i = 0; i < program->op_count; i++) e->labels[i] = program->ops[i].label;
    enum dapt_status status = vk_lower_program(device, program, buffers, &e->passes, &e->scratch);
    if (status == DAPT_OK) status = vk_mark_barriers(device, &e->passes);
    if (status == DAPT_OK) status = vk_split_dispatches(device, &e->passes);
    for (uint32_t i = 0; i < e->passes.count && status == DAPT_OK; i++)
        status = vk_pass_pipeline(device, &e->passes.at[i]);
    return status;
}

enum dapt_status vk_pass_pipeline(struct dapt_device *device, struct vk_pass *p) {
    return vk_pipeline_get(device, p->shader, p->constants, p->constant_count, p->subgroup,
                           p->dispatch_base, &p->pipeline);
}

// All programs of a device share one scratch buffer, as their runs happen one after another.
static enum dapt_status grow_scratch(struct dapt_device *d, uint64_t size) {
    if (size == 0 || (d->scratch != NULL && d->scratch->size >= size)) return DAPT_OK;
    vk_buffer_destroy(d, d->scratch);
    d->scratch = NULL;
    d->scratch_version++;
    return vk_memory_create(d, VK_MEMORY_DEVICE, size, "scratch", &d->scratch);
}

// --------------------------------------------------------------------------------------- recording

void vk_record_pass(struct dapt_device *d, VkCommandBuffer commands, const struct vk_pass *p) {
    uint32_t push[VK_PUSH_WORDS], count = 0;
    for (uint32_t i = 0; i < p->address_count; i++) {
        uint64_t address = p->addresses[i];
        if (vk_is_scratch(address)) address = d->scratch->address + (address - VK_SCRATCH);
        push[count++] = (uint32_t)address;
        push[count++] = (uint32_t)(address >> 32);
    }
    for (uint32_t i = 0; i < p->word_count; i++) push[count++] = p->words[i];
    d->api.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, p->pipeline);
    d->api.CmdPushConstants(commands, d->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, count * 4, push);
    if (p->dispatch_base)
        d->api.CmdDispatchBase(commands, p->base[0], p->base[1], p->base[2], p->groups[0],
                               p->groups[1], p->groups[2]);
    else
        d->api.CmdDispatch(commands, p->groups[0], p->groups[1], p->groups[2]);
}

void vk_record_barrier(struct dapt_device *d, VkCommandBuffer commands) {
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    d->api.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, NULL, 0,
                              NULL);
}

// The end of the next submission: it has passes [begin, end).
static uint32_t submission_end(const struct dapt_device *d, const struct dapt_executable *e,
                               uint32_t begin) {
    double sum = 0, limit = d->limits.work > 0 ? d->limits.work : SUBMISSION_WORK;
    if (e->measured) limit = SUBMISSION_SECONDS * 1e9;
    uint32_t i = begin;
    for (; i < e->passes.count; i++) {
        sum += e->measured ? (double)e->nanoseconds[i] : e->passes.at[i].work;
        if (sum > limit && i > begin) break;
    }
    return i;
}

// "operation 3 (layers.0.mlp, gate)" for messages.
static void describe(const struct dapt_executable *e, struct submission *submission) {
    const struct vk_pass *first = &e->passes.at[submission->begin],
                         *last = &e->passes.at[submission->end - 1];
    const char *labels[] = {e->labels[first->op], e->labels[last->op]};
    for (int i = 0; i < 2; i++)
        if (labels[i] == NULL) labels[i] = "no label";
    int length = snprintf(submission->what, sizeof submission->what, "operation %u (%.50s, %s)",
                          first->op, labels[0], vk_shader_rows[first->shader].name);
    if (last != first)
        snprintf(submission->what + length, sizeof submission->what - (size_t)length,
                 " to operation %u (%.50s, %s)", last->op, labels[1],
                 vk_shader_rows[last->shader].name);
}

static enum dapt_status record_submission(struct dapt_device *d, struct dapt_executable *e,
                                          struct submission *submission) {
    enum dapt_status status = vk_commands_begin(d, true, &submission->commands);
    if (status < 0) return status;
    vk_full_barrier(d, submission->commands);
    if (e->timed) {
        uint32_t from = submission->begin == 0 ? 0 : submission->begin + 1;
        d->api.CmdResetQueryPool(submission->commands, e->queries, from,
                                 submission->end + 1 - from);
        if (submission->begin == 0)
            d->api.CmdWriteTimestamp(submission->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                     e->queries, 0);
    }
    for (uint32_t i = submission->begin; i < submission->end; i++) {
        const struct vk_pass *p = &e->passes.at[i];
        if (i > submission->begin && (p->barrier || e->timed))
            vk_record_barrier(d, submission->commands);
        vk_record_pass(d, submission->commands, p);
        if (e->timed)
            d->api.CmdWriteTimestamp(submission->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                     e->queries, i + 1);
    }
    vk_full_barrier(d, submission->commands);
    return vk_commands_end(d, submission->commands);
}

static enum dapt_status add_submission(struct dapt_device *d, struct dapt_executable *e,
                                       struct submission **submission) {
    if (e->submission_count == e->submission_room) {
        uint32_t room = 2 * e->submission_room + 4;
        vk_forget(d, e->submissions, e->submission_room * sizeof *e->submissions);
        struct submission *larger = realloc(e->submissions, room * sizeof *larger);
        if (larger == NULL)
            return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a program");
        memset(larger + e->submission_room, 0, (room - e->submission_room) * sizeof *larger);
        e->submissions = larger;
        e->submission_room = room;
    }
    *submission = &e->submissions[e->submission_count++];
    return DAPT_OK;
}

static enum dapt_status record(struct dapt_device *d, struct dapt_executable *e) {
    enum dapt_status status = vk_wait(d, e->value, 0);
    if (status < 0) return status;
    if (e->timed && e->queries == VK_NULL_HANDLE) {
        VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                      .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                      .queryCount = e->passes.count + 1};
        VkResult result = d->api.CreateQueryPool(d->handle, &info, NULL, &e->queries);
        if (result != VK_SUCCESS) return vk_fail_call(d, result, "no query pool");
    }
    e->submission_count = 0;
    for (uint32_t begin = 0; begin < e->passes.count && status == DAPT_OK;) {
        struct submission *submission = NULL;
        status = add_submission(d, e, &submission);
        if (status < 0) break;
        submission->begin = begin;
        begin = submission->end = submission_end(d, e, begin);
        describe(e, submission);
        status = record_submission(d, e, submission);
    }
    e->recorded = status == DAPT_OK;
    e->scratch_version = d->scratch_version;
    return status;
}

// -------------------------------------------------------------------------------- compile, destroy

// Matmul and attention need a workgroup for each tile: their shaders do not loop over tiles.
static bool dispatchable(const struct dapt_device *d, const struct dapt_program *program,
                         const struct dapt_op *op) {
    const uint32_t *most = d->adapter->properties.limits.maxComputeWorkGroupCount;
    const struct dapt_tensor *of = program->tensors;
    const int64_t least = 16;  // rows and columns of a tile
    const int64_t *shape;
    switch (op->opcode) {
    case DAPT_OP_MATMUL:
        shape = of[op->outputs[0]].shape;
        return shape[0] / least < most[1] && shape[1] / least < most[0];
    case DAPT_OP_LM_LOSS:
    case DAPT_OP_LM_LOSS_GRAD:
        shape = of[op->inputs[1]].shape;
        return shape[0] / least < most[0] && shape[0] / least < most[1];
    case DAPT_OP_ATTENTION:
    case DAPT_OP_ATTENTION_GRAD:
        shape = of[op->inputs[0]].shape;
        return shape[0] / least < most[0] && shape[1] <= most[1] &&
               op->u.attention.sequences <= (int64_t)most[2];
    default: return true;
    }
}

// Whether each row of each head is words of two 16-bit elements.
static bool heads_in_words(const struct dapt_tensor *t) {
    return t->shape[2] % 2 == 0 && (t->shape[0] == 1 || t->stride % 2 == 0);
}

// Whether the shaders of an op take an operand of 16-bit floats. Of an op's weights few may be.
static bool takes_half(const struct dapt_op *op, int slot, const struct dapt_tensor *t) {
    switch (op->opcode) {
    case DAPT_OP_ATTENTION:
    case DAPT_OP_ATTENTION_GRAD: return heads_in_words(t);
    case DAPT_OP_SUM:
    case DAPT_OP_SUM_SQUARES:
    case DAPT_OP_ADAMW:
    case DAPT_OP_ADAMW_8BIT:
    case DAPT_OP_DROPOUT: return false;
    case DAPT_OP_RMS_NORM:
    case DAPT_OP_LAYER_NORM: return slot != 1 && slot != 2;  // weight, bias
    case DAPT_OP_RMS_NORM_GRAD:
    case DAPT_OP_LAYER_NORM_GRAD:
    case DAPT_OP_MATMUL:
    case DAPT_OP_LM_LOSS:
    case DAPT_OP_LM_LOSS_GRAD: return slot != 2;  // weight, or bias
    default: return true;
    }
}

// Shaders read words of 32 bits, which hold two elements of 16.
static bool is_readable(const struct dapt_op *op, int slot, const struct dapt_tensor *t) {
    if (dtype_blocks(t->dtype) || op->opcode == DAPT_OP_DEQUANTIZE)
        return dtype_blocks(t->dtype) == (op->opcode == DAPT_OP_DEQUANTIZE && slot == 0);
    return dtype_size(t->dtype) == 4 || (t->offset % 4 == 0 && takes_half(op, slot, t));
}

bool vk_supports(struct dapt_device *device, const struct dapt_program *program,
                 const struct dapt_op *op) {
    if ((uint32_t)op->opcode >= DAPT_OP_COUNT || vk_lower[op->opcode] == NULL) return false;
    bool flat = op->opcode == DAPT_OP_ADAMW || op->opcode == DAPT_OP_ADAMW_8BIT ||
                op->opcode == DAPT_OP_SUM || op->opcode == DAPT_OP_SUM_SQUARES,
         attention = op->opcode == DAPT_OP_ATTENTION || op->opcode == DAPT_OP_ATTENTION_GRAD;
    for (int i = 0; i < DAPT_OP_INPUTS + DAPT_OP_OUTPUTS; i++) {
        uint32_t index = i < DAPT_OP_INPUTS ? op->inputs[i] : op->outputs[i - DAPT_OP_INPUTS];
        if (index >= program->tensor_count) continue;
        const struct dapt_tensor *t = &program->tensors[index];
        if (!is_readable(op, i, t)) return false;
        // Shaders count elements of one tensor in 31 bits; flat ranges are split.
        if (!flat && t->shape[0] * t->stride > INT32_MAX) return false;
    }
    if (!dispatchable(device, program, op)) return false;
    // Loops over tokens can't be split; only software devices limit their rounds.
    bool tokens = attention || op->opcode == DAPT_OP_EMBED_GRAD;
    if (tokens && device->adapter->info.kind == DAPT_DEVICE_SOFTWARE &&
        program->tensors[op->inputs[1]].shape[0] > 2 * VK_LOOP_LIMIT - 1)
        return false;
    return !attention || program->tensors[op->inputs[0]].shape[2] <= VK_MAX_HEAD;
}

enum dapt_status vk_program_compile(struct dapt_device *device, const struct dapt_program *program,
                                    struct dapt_buffer *const *buffers,
                                    struct dapt_executable **executable) {
    *executable = NULL;
    struct dapt_executable *e = calloc(1, sizeof *e);
    enum dapt_status status = DAPT_OK;
    if (e != NULL) e->labels = calloc(program->op_count + 1u, sizeof *e->labels);
    if (e == NULL || e->labels == NULL) {
        status = backend_fail(device->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a program");
        goto done;
    }
    e->op_count = program->op_count;
    if ((status = lower_all(device, program, buffers, e)) < 0) goto done;
    if ((status = grow_scratch(device, e->scratch)) < 0) goto done;
    e->nanoseconds = calloc(e->passes.count + 1u, sizeof *e->nanoseconds);
    if (e->nanoseconds == NULL) {
        status = backend_fail(device->host, DAPT_ERROR_MEMORY,
                              "vulkan: no memory for a program's timestamps");
        goto done;
    }
    e->timed = device->adapter->timestamp_bits > 0 && e->passes.count < MAX_QUERIES;
    status = record(device, e);
done:
    vk_tuner_free_memory(device);
    if (status < 0) {
        vk_program_destroy(device, e);
        return status;
    }
    *executable = e;
    return DAPT_OK;
}

void vk_program_destroy(struct dapt_device *device, struct dapt_executable *e) {
    if (e == NULL) return;
    if (device->lost == DAPT_OK && e->ran) vk_wait(device, e->value, 0);
    for (uint32_t i = 0; i < e->submission_room && !device->hung; i++)
        if (e->submissions[i].commands != VK_NULL_HANDLE)
            device->api.FreeCommandBuffers(device->handle, device->pool, 1,
                                           &e->submissions[i].commands);
    if (e->queries != VK_NULL_HANDLE && !device->hung)
        device->api.DestroyQueryPool(device->handle, e->queries, NULL);
    vk_forget(device, e->submissions, e->submission_room * sizeof *e->submissions);
    free(e->submissions);
    free(e->passes.at);
    free(e->nanoseconds);
    free(e->labels);
    free(e);
}

// ----------------------------------------------------------------------------------- runs, timings

static enum dapt_status read_timestamps(struct dapt_device *d, struct dapt_executable *e) {
    uint32_t count = e->passes.count + 1;
    uint64_t *ticks = calloc(count, sizeof *ticks);
    if (ticks == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for timings");
    VkResult result = d->api.GetQueryPoolResults(d->handle, e->queries, 0, count,
                                                 count * sizeof *ticks, ticks, sizeof *ticks,
                                                 VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    uint32_t bits = d->adapter->timestamp_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    double period = (double)d->adapter->properties.limits.timestampPeriod;
    for (uint32_t i = 0; i + 1 < count && result == VK_SUCCESS; i++)
        e->nanoseconds[i] = (uint64_t)((double)((ticks[i + 1] - ticks[i]) & mask) * period);
    free(ticks);
    if (result != VK_SUCCESS) return vk_fail_call(d, result, "no timestamps");
    e->measured = true;
    return DAPT_OK;
}

// After the first run that is known to be done: the timestamps are read, and no longer written.
static enum dapt_status settle(struct dapt_device *d, struct dapt_executable *e) {
    uint64_t now = 0;
    if (!e->timed || !e->ran || (e->keep_timestamps && e->measured)) return DAPT_OK;
    if (d->api.GetSemaphoreCounterValue(d->handle, d->timeline, &now) != VK_SUCCESS ||
        now < e->value)
        return DAPT_OK;
    enum dapt_status status = read_timestamps(d, e);
    e->timed = e->keep_timestamps;
    e->recorded = false;
    return status;
}

enum dapt_status vk_program_run(struct dapt_device *device, struct dapt_executable *e) {
    enum dapt_status status = settle(device, e);
    if (status == DAPT_OK) status = grow_scratch(device, e->scratch);
    if (status == DAPT_OK && (!e->recorded || e->scratch_version != device->scratch_version))
        status = record(device, e);
    for (uint32_t i = 0; i < e->submission_count && status == DAPT_OK; i++)
        status = vk_submit(device, e->submissions[i].commands, e->submissions[i].what);
    e->value = device->submitted;
    e->ran = true;
    return status;
}

enum dapt_status vk_program_read(struct dapt_device *device, struct dapt_executable *e,
                                 struct dapt_buffer *buffer, uint64_t offset, void *data,
                                 uint64_t size) {
    return vk_buffer_read_at(device, buffer, e->value, offset, data, size);
}

enum dapt_status vk_timings(struct dapt_device *device, struct dapt_executable *e,
                            uint64_t *nanoseconds) {
    enum dapt_status status = DAPT_OK;
    if (device->adapter->timestamp_bits == 0 || e->passes.count >= MAX_QUERIES)
        return backend_fail(device->host, DAPT_ERROR_UNSUPPORTED, "vulkan: device %s has no clocks",
                            device->adapter->info.name);
    if (!e->ran)
        return backend_fail(device->host, DAPT_ERROR_INVALID,
                            "vulkan: timings of a program that did not run");
    if (e->timed) {
        status = vk_wait(device, e->value, 0);
        if (status == DAPT_OK) status = read_timestamps(device, e);
    }
    if (status < 0) return status;
    if (!e->timed) e->timed = true, e->recorded = false;  // from the next run on
    e->keep_timestamps = true;
    memset(nanoseconds, 0, e->op_count * sizeof *nanoseconds);
    for (uint32_t i = 0; i < e->passes.count; i++)
        nanoseconds[e->passes.at[i].op] += e->nanoseconds[i];
    return DAPT_OK;
}
