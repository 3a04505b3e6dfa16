#include "graph/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/memory.h"
#include "graph/ops.h"

struct dapt_device_handle {
    const struct dapt_backend *backend;
    struct dapt_device *device;
    struct dapt_device_info info;
};

struct dapt_buffer_handle {
    struct dapt_device_handle *device;
    struct dapt_buffer *buffer;
    uint64_t size;
};

struct dapt_executable_handle {
    struct dapt_device_handle *device;
    struct dapt_executable *executable;
    uint32_t op_count;
};

static struct dapt_call call_of(const struct dapt_backend *backend, const char *function) {
    return (struct dapt_call){.kind = "backend", .id = backend->name, .function = function};
}

static enum dapt_status open_device(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device_handle *d) {
    const struct dapt_call call = call_of(d->backend, "device_open"),
                           *before = dapt_call_note(&call);
    enum dapt_status status = d->backend->device_open(
        host, index, options ? options : &(struct dapt_device_options){0}, &d->device);
    if (!status) status = d->backend->device_info(host, index, &d->info);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_device_open(const struct dapt_host *host, const struct dapt_backend *backend,
                                  uint32_t index, const struct dapt_device_options *options,
                                  struct dapt_device_handle **device) {
    *device = NULL;
    uint32_t count = 0;
    enum dapt_status status = backend->device_count(host, &count);
    if (status) return status;
    if (index >= count)
        return dapt_fail(DAPT_ERROR_INVALID, "backend %s: device %u: there %s %u, counted from 0",
                         backend->name, index, count == 1 ? "is" : "are", count);
    struct dapt_device_handle *d = dapt_alloc(1, sizeof *d);
    if (!d) return DAPT_ERROR_MEMORY;
    d->backend = backend;
    if ((status = open_device(host, index, options, d))) {
        dapt_device_close(&d);
        return status;
    }
    if (options && options->threads && d->info.threads) d->info.threads = options->threads;
    *device = d;
    return DAPT_OK;
}

void dapt_device_close(struct dapt_device_handle **device) {
    if (!device || !*device) return;
    (*device)->backend->device_close((*device)->device);
    free(*device);
    *device = NULL;
}

const struct dapt_device_info *dapt_device_info(const struct dapt_device_handle *device) {
    return &device->info;
}

const struct dapt_backend *dapt_device_backend(const struct dapt_device_handle *device) {
    return device->backend;
}

enum dapt_status dapt_buffer_create(struct dapt_device_handle *device, enum dapt_buffer_role role,
                                    uint64_t size, struct dapt_buffer_handle **buffer) {
    *buffer = NULL;
    if (!size || (unsigned)role >= DAPT_BUFFER_ROLE_COUNT)
        return dapt_fail(DAPT_ERROR_INTERNAL, "buffer of %llu bytes", (unsigned long long)size);
    struct dapt_buffer_handle *b = dapt_alloc(1, sizeof *b);
    if (!b) return DAPT_ERROR_MEMORY;
    b->device = device;
    b->size = size;
    enum dapt_status status = device->backend->buffer_create(device->device, role, size,
                                                             &b->buffer);
    if (status) {
        free(b);
        return status;
    }
    *buffer = b;
    return DAPT_OK;
}

void dapt_buffer_destroy(struct dapt_buffer_handle **buffer) {
    if (!buffer || !*buffer) return;
    (*buffer)->device->backend->buffer_destroy((*buffer)->device->device, (*buffer)->buffer);
    free(*buffer);
    *buffer = NULL;
}

static enum dapt_status check_range(const struct dapt_buffer_handle *b, uint64_t offset,
                                    uint64_t size) {
    if (offset <= b->size && size <= b->size - offset) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INTERNAL, "buffer of %llu bytes: [%llu, +%llu) is outside",
                     (unsigned long long)b->size, (unsigned long long)offset,
                     (unsigned long long)size);
}

enum dapt_status dapt_buffer_write(struct dapt_buffer_handle *buffer, uint64_t offset,
                                   const void *data, uint64_t size) {
    enum dapt_status status = check_range(buffer, offset, size);
    if (status || !size) return status;
    const struct dapt_backend *backend = buffer->device->backend;
    const struct dapt_call call = call_of(backend, "buffer_write"), *before = dapt_call_note(&call);
    status = backend->buffer_write(buffer->device->device, buffer->buffer, offset, data, size);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_buffer_read(struct dapt_buffer_handle *buffer, uint64_t offset, void *data,
                                  uint64_t size) {
    enum dapt_status status = check_range(buffer, offset, size);
    if (status || !size) return status;
    const struct dapt_backend *backend = buffer->device->backend;
    const struct dapt_call call = call_of(backend, "buffer_read"), *before = dapt_call_note(&call);
    status = backend->buffer_read(buffer->device->device, buffer->buffer, offset, data, size);
    dapt_call_note(before);
    return status;
}

uint64_t dapt_buffer_size(const struct dapt_buffer_handle *buffer) {
    return buffer ? buffer->size : 0;
}

bool dapt_device_supports(struct dapt_device_handle *device, const struct dapt_program *program,
                          const struct dapt_op *op) {
    return device->backend->supports(device->device, program, op);
}

static enum dapt_status check_program(const struct dapt_program *program) {
    for (uint32_t k = 0; k < program->op_count; k++) {
        const struct dapt_op *op = &program->ops[k];
        enum dapt_status status = dapt_op_check(op, program->tensors, program->tensor_count);
        if (status) return dapt_fail_in(status, "program op %u", k);
        for (int i = 0; i < DAPT_OP_SLOTS; i++) {
            uint32_t index = i < DAPT_OP_INPUTS ? op->inputs[i] : op->outputs[i - DAPT_OP_INPUTS];
            const struct dapt_op_info *info = dapt_op_info(op->opcode);
            if (!dapt_op_operand(info, i)->name || index == DAPT_NONE) continue;
            const struct dapt_tensor *t = &program->tensors[index];
            uint64_t size = t->buffer < program->buffer_count ? program->buffers[t->buffer].size
                                                              : 0;
            if (t->offset % dapt_dtype_size(t->dtype) || t->offset > size ||
                dapt_tensor_span(t) > size - t->offset)
                return dapt_fail(
                    DAPT_ERROR_INVALID,
                    "program op %u (%s): operand %d lies outside of its buffer of %llu bytes", k,
                    info->name, i, (unsigned long long)size);
        }
    }
    return DAPT_OK;
}

enum dapt_status dapt_program_compile(struct dapt_device_handle *device,
                                      const struct dapt_program *program,
                                      struct dapt_buffer_handle *const *buffers,
                                      struct dapt_executable_handle **executable) {
    *executable = NULL;
    enum dapt_status status = check_program(program);
    if (status) return status;
    struct dapt_buffer **raw = dapt_alloc(program->buffer_count, sizeof *raw);
    struct dapt_executable_handle *e = dapt_alloc(1, sizeof *e);
    if (!raw || !e) status = DAPT_ERROR_MEMORY;
    for (uint32_t i = 0; i < program->buffer_count && !status; i++) {
        if (program->buffers[i].size > dapt_buffer_size(buffers[i]))
            status = dapt_fail(DAPT_ERROR_INTERNAL,
                               "program needs %llu bytes of buffer %u, which has %llu",
                               (unsigned long long)program->buffers[i].size, i,
                               (unsigned long long)dapt_buffer_size(buffers[i]));
        else if (buffers[i])
            raw[i] = buffers[i]->buffer;
    }
    for (uint32_t k = 0; k < program->op_count && !status; k++)
        if (!device->backend->supports(device->device, program, &program->ops[k]))
            status = dapt_fail(
                DAPT_ERROR_UNSUPPORTED, "backend %s, device %s: op %s%s%s is not supported",
                device->backend->name, device->info.name,
                dapt_op_info(program->ops[k].opcode)->name, program->ops[k].label ? " of " : "",
                program->ops[k].label ? program->ops[k].label : "");
    if (!status) {
        e->device = device;
        e->op_count = program->op_count;
        const struct dapt_call call = call_of(device->backend, "program_compile"),
                               *before = dapt_call_note(&call);
        status = device->backend->program_compile(device->device, program, raw, &e->executable);
        dapt_call_note(before);
    }
    free(raw);
    if (status) {
        free(e);
        return status;
    }
    *executable = e;
    return DAPT_OK;
}

void dapt_program_destroy(struct dapt_executable_handle **executable) {
    if (!executable || !*executable) return;
    (*executable)
        ->device->backend->program_destroy((*executable)->device->device,
                                           (*executable)->executable);
    free(*executable);
    *executable = NULL;
}

enum dapt_status dapt_program_run(struct dapt_executable_handle *executable) {
    const struct dapt_backend *backend = executable->device->backend;
    const struct dapt_call call = call_of(backend, "program_run"), *before = dapt_call_note(&call);
    enum dapt_status status = backend->program_run(executable->device->device,
                                                   executable->executable);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_program_read(struct dapt_executable_handle *executable,
                                   struct dapt_buffer_handle *buffer, uint64_t offset, void *data,
                                   uint64_t size) {
    const struct dapt_backend *backend = executable->device->backend;
    if (!backend->program_read) return dapt_buffer_read(buffer, offset, data, size);
    enum dapt_status status = check_range(buffer, offset, size);
    if (status || !size) return status;
    const struct dapt_call call = call_of(backend, "program_read"), *before = dapt_call_note(&call);
    status = backend->program_read(executable->device->device, executable->executable,
                                   buffer->buffer, offset, data, size);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_device_wait(struct dapt_device_handle *device, double timeout) {
    const struct dapt_call call = call_of(device->backend, "device_wait"),
                           *before = dapt_call_note(&call);
    enum dapt_status status = device->backend->device_wait(device->device, timeout);
    dapt_call_note(before);
    return status;
}

enum dapt_status dapt_program_timings(struct dapt_executable_handle *executable,
                                      uint64_t *nanoseconds, uint32_t count) {
    const struct dapt_backend *backend = executable->device->backend;
    if (!backend->timings)
        return dapt_fail(DAPT_ERROR_UNSUPPORTED, "backend %s has no clocks", backend->name);
    if (count < executable->op_count)
        return dapt_fail(DAPT_ERROR_INTERNAL, "timings: room for %u of %u ops", count,
                         executable->op_count);
    return backend->timings(executable->device->device, executable->executable, nanoseconds);
}
