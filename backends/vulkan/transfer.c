// Transfers between host and device, in order with the runs. Memory that the host can map is
// accessed directly while the device is idle; otherwise data goes through a ring of staging
// buffers, so that copies by the host and by the device overlap.
#include <stdlib.h>
#include <string.h>

#include "vk.h"

#define SLOTS 4
#define SLOT_BYTES (UINT64_C(4) << 20)
#define SMALL_RESULT (UINT64_C(1) << 20)
#define SMALL_UPLOAD (UINT64_C(1) << 20)

struct slot {
    struct dapt_buffer *memory;
    VkCommandBuffer commands;
    uint64_t value;  // of the timeline when the slot is free again
};

struct vk_ring {
    struct slot slots[SLOTS];
    uint32_t next;
};

static const char *const role_names[DAPT_BUFFER_ROLE_COUNT] = {
    [DAPT_BUFFER_PARAM] = "parameters",
    [DAPT_BUFFER_FROZEN] = "frozen parameters",
    [DAPT_BUFFER_GRAD] = "gradients",
    [DAPT_BUFFER_MOMENT1] = "first moments",
    [DAPT_BUFFER_MOMENT2] = "second moments",
    [DAPT_BUFFER_CONSTANT] = "constants",
    [DAPT_BUFFER_BATCH] = "batch",
    [DAPT_BUFFER_STEP] = "step",
    [DAPT_BUFFER_RESULT] = "results",
    [DAPT_BUFFER_CACHE] = "key/value cache",
    [DAPT_BUFFER_WORK] = "activations",
};

// The next slot, free and recording. `staging`: with memory that the host sees.
static enum dapt_status slot_begin(struct dapt_device *d, bool staging, struct slot **slot) {
    if (d->ring == NULL) d->ring = calloc(1, sizeof *d->ring);
    if (d->ring == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for staging");
    struct slot *s = &d->ring->slots[d->ring->next++ % SLOTS];
    enum dapt_status status = vk_wait(d, s->value, 0);
    if (status == DAPT_OK && staging && s->memory == NULL)
        status = vk_memory_create(d, VK_MEMORY_STAGING, SLOT_BYTES, "staging", &s->memory);
    if (status == DAPT_OK) status = vk_commands_begin(d, false, &s->commands);
    if (status == DAPT_OK) vk_full_barrier(d, s->commands);
    *slot = s;
    return status;
}

// `what` NULL: with the run that reads it, one submission for both.
static enum dapt_status slot_submit(struct dapt_device *d, struct slot *s, const char *what) {
    vk_full_barrier(d, s->commands);
    enum dapt_status status = vk_commands_end(d, s->commands);
    if (status == DAPT_OK)
        status = what ? vk_submit(d, s->commands, what) : vk_submit_later(d, s->commands);
    s->value = vk_latest(d);
    return status;
}

void vk_transfer_close(struct dapt_device *d) {
    if (d->ring == NULL) return;
    for (uint32_t i = 0; i < SLOTS; i++) vk_memory_destroy(d, d->ring->slots[i].memory);
    free(d->ring);  // command buffers go with their pool
    d->ring = NULL;
}

enum dapt_status vk_buffer_create(struct dapt_device *d, enum dapt_buffer_role role, uint64_t size,
                                  struct dapt_buffer **buffer) {
    bool small = role == DAPT_BUFFER_BATCH || role == DAPT_BUFFER_STEP;
    enum vk_memory_kind kind = small ? VK_MEMORY_UPLOAD : VK_MEMORY_DEVICE;
    // Small results are mapped, so that the host reads them in place; they stay in device memory if
    // it can be mapped, as the optimizer reads the norm.
    if (role == DAPT_BUFFER_RESULT && size <= SMALL_RESULT) kind = VK_MEMORY_UPLOAD;
    if (d->host_moments && (role == DAPT_BUFFER_MOMENT1 || role == DAPT_BUFFER_MOMENT2))
        kind = VK_MEMORY_HOST;
    enum dapt_status status = vk_memory_create(d, kind, size, role_names[role], buffer);
    if (status < 0) return status;
    struct slot *slot;
    status = slot_begin(d, false, &slot);
    if (status == DAPT_OK) {
        d->api.CmdFillBuffer(slot->commands, vk_buffer_handle(*buffer), (*buffer)->offset,
                             (*buffer)->size, 0);
        status = slot_submit(d, slot, "fill");
    }
    if (status < 0) {
        vk_memory_destroy(d, *buffer);
        *buffer = NULL;
    }
    return status;
}

void vk_buffer_destroy(struct dapt_device *d, struct dapt_buffer *buffer) {
    if (buffer == NULL) return;
    if (d->lost == DAPT_OK) vk_wait_all(d, 0);
    vk_memory_destroy(d, buffer);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

enum dapt_status vk_buffer_write(struct dapt_device *d, struct dapt_buffer *buffer, uint64_t offset,
                                 const void *data, uint64_t size) {
    if (buffer->mapped != NULL && vk_idle(d)) {
        memcpy((uint8_t *)buffer->mapped + offset, data, size);
        return DAPT_OK;
    }
    enum dapt_status status = DAPT_OK;
    for (uint64_t at = 0; at < size && status == DAPT_OK; at += SLOT_BYTES) {
        struct slot *slot;
        status = slot_begin(d, true, &slot);
        if (status < 0) break;
        uint64_t length = smaller(SLOT_BYTES, size - at);
        memcpy(slot->memory->mapped, (const uint8_t *)data + at, length);
        VkBufferCopy copy = {slot->memory->offset, buffer->offset + offset + at, length};
        d->api.CmdCopyBuffer(slot->commands, vk_buffer_handle(slot->memory),
                             vk_buffer_handle(buffer), 1, &copy);
        status = slot_submit(d, slot, size > SMALL_UPLOAD ? "upload" : NULL);
    }
    return status;
}

static enum dapt_status read_staged(struct dapt_device *d, struct dapt_buffer *buffer,
                                    uint64_t offset, uint8_t *data, uint64_t size) {
    enum dapt_status status = DAPT_OK;
    struct slot *in_flight[SLOTS];
    uint64_t chunks = (size + SLOT_BYTES - 1) / SLOT_BYTES;
    // At most SLOTS - 1 chunks are in flight, so that slot_begin() never reuses a slot before its
    // data was copied out.
    for (uint64_t i = 0; i < chunks + SLOTS - 1 && status == DAPT_OK; i++) {
        if (i >= SLOTS - 1 && i - (SLOTS - 1) < chunks) {
            uint64_t done = i - (SLOTS - 1);
            struct slot *slot = in_flight[done % SLOTS];
            status = vk_wait(d, slot->value, 0);
            if (status == DAPT_OK)
                memcpy(data + done * SLOT_BYTES, slot->memory->mapped,
                       smaller(SLOT_BYTES, size - done * SLOT_BYTES));
        }
        if (i >= chunks || status < 0) continue;
        struct slot *slot;
        if ((status = slot_begin(d, true, &slot)) < 0) break;
        VkBufferCopy copy = {buffer->offset + offset + i * SLOT_BYTES, slot->memory->offset,
                             smaller(SLOT_BYTES, size - i * SLOT_BYTES)};
        d->api.CmdCopyBuffer(slot->commands, vk_buffer_handle(buffer),
                             vk_buffer_handle(slot->memory), 1, &copy);
        status = slot_submit(d, slot, "readback");
        in_flight[i % SLOTS] = slot;
    }
    return status;
}

enum dapt_status vk_buffer_read(struct dapt_device *d, struct dapt_buffer *buffer, uint64_t offset,
                                void *data, uint64_t size) {
    return vk_buffer_read_at(d, buffer, vk_latest(d), offset, data, size);
}

enum dapt_status vk_buffer_read_at(struct dapt_device *d, struct dapt_buffer *buffer,
                                   uint64_t value, uint64_t offset, void *data, uint64_t size) {
    // Reads of memory that is not cached are slow: there only small ones go directly.
    bool direct = buffer->mapped != NULL && (buffer->cached || size <= 4096);
    if (!direct) return read_staged(d, buffer, offset, data, size);
    enum dapt_status status = vk_wait(d, value, 0);
    if (status == DAPT_OK) memcpy(data, (const uint8_t *)buffer->mapped + offset, size);
    return status;
}
