// The backend's entry.
#include "vk.h"

static const struct dapt_backend backend = {
    .struct_size = sizeof(struct dapt_backend),
    .name = "vulkan",
    .summary = "GPUs through Vulkan 1.2, float32",
    .device_count = vk_device_count,
    .device_info = vk_device_info,
    .device_open = vk_device_open,
    .device_close = vk_device_close,
    .buffer_create = vk_buffer_create,
    .buffer_destroy = vk_buffer_destroy,
    .buffer_write = vk_buffer_write,
    .buffer_read = vk_buffer_read,
    .supports = vk_supports,
    .program_compile = vk_program_compile,
    .program_destroy = vk_program_destroy,
    .program_run = vk_program_run,
    .program_read = vk_program_read,
    .device_wait = vk_wait_all,
    .timings = vk_timings,
};

const struct dapt_backend_entry dapt_backend_entry = {.abi = DAPT_BACKEND_ABI, .backend = &backend};
