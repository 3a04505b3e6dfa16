#include "lowers.h"

#include <stdlib.h>
#include <string.h>

struct dapt_device device;

// ------------------------------------------------ what lower_*.c ask of files that need a device

struct vk_unit vk_matrix_unit(struct vk_lowering *l, enum dapt_dtype operands) {
    (void)l, (void)operands;
    return (struct vk_unit){0};
}

bool vk_attention_is_right(struct vk_lowering *l, enum dapt_dtype operands, int64_t head_size,
                           const struct vk_unit *unit) {
    (void)l, (void)operands, (void)head_size, (void)unit;
    return false;
}

// ------------------------------------------------------------------------------------- the backend

static enum dapt_status device_count(const struct dapt_host *host, uint32_t *count) {
    (void)host;
    *count = 1;
    return DAPT_OK;
}
static enum dapt_status device_info(const struct dapt_host *host, uint32_t index,
                                    struct dapt_device_info *info) {
    (void)host, (void)index;
    *info = device.adapter->info;
    return DAPT_OK;
}
static enum dapt_status device_open(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device **opened) {
    (void)index, (void)options;
    device.host = host;
    *opened = &device;
    return DAPT_OK;
}
static void device_close(struct dapt_device *d) {
    (void)d;
}
static enum dapt_status buffer_create(struct dapt_device *d, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer **buffer) {
    static struct dapt_buffer any;
    (void)d, (void)role, (void)size;
    *buffer = &any;
    return DAPT_OK;
}
static void buffer_destroy(struct dapt_device *d, struct dapt_buffer *buffer) {
    (void)d, (void)buffer;
}
static enum dapt_status buffer_write(struct dapt_device *d, struct dapt_buffer *buffer,
                                     uint64_t offset, const void *data, uint64_t size) {
    (void)d, (void)buffer, (void)offset, (void)data, (void)size;
    return DAPT_OK;
}
static enum dapt_status buffer_read(struct dapt_device *d, struct dapt_buffer *buffer,
                                    uint64_t offset, void *data, uint64_t size) {
    (void)d, (void)buffer, (void)offset;
    memset(data, 0, size);
    return DAPT_OK;
}
static bool supports(struct dapt_device *d, const struct dapt_program *program,
                     const struct dapt_op *op) {
    (void)d;
    return op->opcode != DAPT_OP_MATMUL || !dtype_blocks(program->tensors[op->inputs[1]].dtype);
}
static enum dapt_status program_compile(struct dapt_device *d, const struct dapt_program *program,
                                        struct dapt_buffer *const *buffers,
                                        struct dapt_executable **executable) {
    struct vk_passes passes = {0};
    uint64_t scratch;
    (void)buffers;
    enum dapt_status status = vk_lower_program(d, program, NULL, &passes, &scratch);
    if (status == DAPT_OK) lowered(program, &passes);
    free(passes.at);
    *executable = (struct dapt_executable *)(void *)&device;  // not NULL
    return status;
}
static void program_destroy(struct dapt_device *d, struct dapt_executable *executable) {
    (void)d, (void)executable;
}
static enum dapt_status program_run(struct dapt_device *d, struct dapt_executable *executable) {
    (void)d, (void)executable;
    return DAPT_OK;
}
static enum dapt_status device_wait(struct dapt_device *d, double timeout) {
    (void)d, (void)timeout;
    return DAPT_OK;
}

const struct dapt_backend lowers = {
    .struct_size = sizeof lowers,
    .name = "lowers",
    .summary = "only lowers",
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .supports = supports,
    .program_compile = program_compile,
    .program_destroy = program_destroy,
    .program_run = program_run,
    .device_wait = device_wait,
};
