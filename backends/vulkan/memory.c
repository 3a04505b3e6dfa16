// Device memory in blocks, each with one VkBuffer over all of it; buffers are ranges of blocks.
// Large buffers have a block of their own; where one allocation can't be that large, a block is
// bound sparsely from several.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk.h"

#define ALIGNMENT UINT64_C(256)
#define SMALL (UINT64_C(8) << 20)   // larger buffers have a block of their own
#define BLOCK (UINT64_C(32) << 20)  // for small ones
// Added to blocks of software devices: Mesa's rasteriser may load a little beyond the end in loops.
#define SLACK (UINT64_C(64) << 10)
#define MAX_HOLES 256  // beyond that a block takes no further buffers

struct hole {
    uint64_t offset, size;
};

struct vk_block {
    struct vk_block *next;
    enum vk_memory_kind kind;
    VkBuffer buffer;
    VkDeviceMemory *memory;
    uint32_t memory_count;
    uint64_t size;
    VkDeviceAddress address;
    uint8_t *mapped;
    bool cached;
    uint32_t live;  // buffers in it
    uint32_t hole_count;
    struct hole holes[MAX_HOLES];  // by offset; no two touch
};

VkBuffer vk_buffer_handle(const struct dapt_buffer *buffer) {
    return buffer->block->buffer;
}

static uint64_t align_up(uint64_t value, uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// ------------------------------------------------------------------------------------ memory types

#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT

// Memory types not to use: lazily allocated, protected, AMD's device-coherent and uncached,
// NVIDIA's for remote access. Some need features that are not enabled.
#define SPECIAL                                                                                \
    (VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |              \
     VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD | \
     VK_MEMORY_PROPERTY_RDMA_CAPABLE_BIT_NV)

// The properties that each kind wants, best first; 0 ends the list. Memory that the host caches may
// be slow for the device, so results are copied to it. A device-local heap that the host sees may
// be small and full. So may any heap of a GPU that shares the host's memory, where the others are
// as good.
#define WISHES 4
static const VkMemoryPropertyFlags wishes[][WISHES] = {
    [VK_MEMORY_DEVICE] = {LOCAL},
    [VK_MEMORY_UPLOAD] = {LOCAL | VISIBLE, VISIBLE},
    [VK_MEMORY_STAGING] = {VISIBLE | CACHED, VISIBLE},
    [VK_MEMORY_HOST] = {VISIBLE | CACHED, VISIBLE},
};
static const VkMemoryPropertyFlags shared_wishes[WISHES] = {LOCAL | VISIBLE, LOCAL, VISIBLE};

// Of the types with these properties, and none of those to `avoid`, the first of the largest heap:
// drivers list faster types first. False: there is none.
static bool find_type(const struct dapt_device *d, VkMemoryPropertyFlags wish,
                      VkMemoryPropertyFlags avoid, uint32_t allowed, uint32_t *type) {
    uint64_t best = 0;
    for (uint32_t i = 0; i < d->memory.memoryTypeCount; i++) {
        const VkMemoryType *t = &d->memory.memoryTypes[i];
        uint64_t heap = d->memory.memoryHeaps[t->heapIndex].size;
        if (!(allowed >> i & 1) || (t->propertyFlags & wish) != wish || heap <= best) continue;
        if (t->propertyFlags & (SPECIAL | avoid)) continue;
        best = heap;
        *type = i;
    }
    return best > 0;
}

// ------------------------------------------------------------------------------------------ blocks

static VkResult allocate(struct dapt_device *d, uint64_t size, uint32_t type,
                         VkDeviceMemory *memory) {
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = size,
                                 .memoryTypeIndex = type};
    return d->api.AllocateMemory(d->handle, &info, NULL, memory);
}

static VkResult bind_sparsely(struct dapt_device *d, struct vk_block *b, uint64_t size,
                              uint64_t chunk) {
    VkSparseMemoryBind *binds = calloc(b->memory_count, sizeof *binds);
    if (binds == NULL) return VK_ERROR_OUT_OF_HOST_MEMORY;
    for (uint32_t i = 0; i < b->memory_count; i++)
        binds[i] = (VkSparseMemoryBind){.resourceOffset = i * chunk,
                                        .size = smaller(chunk, size - i * chunk),
                                        .memory = b->memory[i]};
    VkSparseBufferMemoryBindInfo buffer = {b->buffer, b->memory_count, binds};
    if (vk_flush(d) < 0) return VK_ERROR_DEVICE_LOST;
    // Only the timeline orders the binding and what runs; its values must not go back.
    uint64_t value = d->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = 1,
        .pWaitSemaphoreValues = &d->submitted,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value};
    VkBindSparseInfo info = {.sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
                             .pNext = &timeline,
                             .waitSemaphoreCount = 1,
                             .pWaitSemaphores = &d->timeline,
                             .bufferBindCount = 1,
                             .pBufferBinds = &buffer,
                             .signalSemaphoreCount = 1,
                             .pSignalSemaphores = &d->timeline};
    d->running[value % VK_IN_FLIGHT] = "binding of memory";
    VkResult result = d->api.QueueBindSparse(d->sparse_queue, 1, &info, VK_NULL_HANDLE);
    free(binds);
    if (result != VK_SUCCESS) return result;
    d->submitted = value;
    return vk_wait(d, value, 0) < 0 ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
}

// Memory of one type for the buffer of a block: one allocation or, bound sparsely, several, none
// larger than one allocation may be.
static VkResult block_fill(struct dapt_device *d, struct vk_block *b,
                           const VkMemoryRequirements *needs, uint32_t type, bool sparse) {
    VkResult result = VK_SUCCESS;
    uint64_t size = needs->size, unit = needs->alignment, chunk = size, count = 1;
    if (sparse) {
        uint64_t most = d->limits.allocation / unit * unit;
        if (most == 0) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
        count = (size + most - 1) / most;
        chunk = align_up((size + count - 1) / count, unit);
    } else if (d->adapter->info.kind == DAPT_DEVICE_SOFTWARE) {
        chunk += SLACK;
    }
    b->memory = calloc(count, sizeof *b->memory);
    if (b->memory == NULL) return VK_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t at = 0; at < size && result == VK_SUCCESS; at += chunk) {
        uint64_t length = sparse ? smaller(chunk, size - at) : chunk;
        result = allocate(d, length, type, &b->memory[b->memory_count]);
        if (result == VK_SUCCESS) b->memory_count++;
    }
    if (result == VK_SUCCESS)
        result = sparse ? bind_sparsely(d, b, size, chunk)
                        : d->api.BindBufferMemory(d->handle, b->buffer, b->memory[0], 0);
    VkMemoryPropertyFlags flags = d->memory.memoryTypes[type].propertyFlags;
    bool visible = (flags & VISIBLE) == VISIBLE && !sparse &&
                   !(b->kind == VK_MEMORY_DEVICE && d->limits.hidden);
    if (result == VK_SUCCESS && visible) {
        void *mapped = NULL;
        result = d->api.MapMemory(d->handle, b->memory[0], 0, VK_WHOLE_SIZE, 0, &mapped);
        b->mapped = mapped;
        b->cached = (flags & CACHED) != 0;
    }
    return result;
}

static void free_memory(struct dapt_device *d, struct vk_block *b) {
    for (uint32_t i = 0; i < b->memory_count; i++) d->api.FreeMemory(d->handle, b->memory[i], NULL);
    free(b->memory);
    b->memory = NULL;
    b->memory_count = 0;
}

static void block_destroy(struct dapt_device *d, struct vk_block *b) {
    if (b == NULL) return;
    for (struct vk_block **at = &d->blocks; *at != NULL; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            if (b->kind != VK_MEMORY_HOST) d->used -= b->size;
            break;
        }
    if (b->buffer != VK_NULL_HANDLE) d->api.DestroyBuffer(d->handle, b->buffer, NULL);
    free_memory(d, b);
    free(b);
}

static VkResult block_create(struct dapt_device *d, enum vk_memory_kind kind, uint64_t size,
                             struct vk_block **block) {
    struct vk_block *b = calloc(1, sizeof *b);
    *block = NULL;
    if (b == NULL) return VK_ERROR_OUT_OF_HOST_MEMORY;
    bool sparse = size > d->limits.allocation && d->adapter->sparse;
    b->size = size;
    b->kind = kind;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .flags = sparse ? VK_BUFFER_CREATE_SPARSE_BINDING_BIT : 0,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
    };
    VkMemoryRequirements needs;
    bool shared = d->unified || d->adapter->info.kind == DAPT_DEVICE_INTEGRATED;
    const VkMemoryPropertyFlags *wish = shared && kind == VK_MEMORY_DEVICE ? shared_wishes
                                                                           : wishes[kind];
    VkResult result = size > d->limits.allocation && !sparse
                          ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                          : d->api.CreateBuffer(d->handle, &info, NULL, &b->buffer);
    if (result != VK_SUCCESS) goto done;
    d->api.GetBufferMemoryRequirements(d->handle, b->buffer, &needs);
    result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (uint32_t type = 0; *wish != 0 && result == VK_ERROR_OUT_OF_DEVICE_MEMORY; wish++) {
        // The device's memory may be visible, too: it is taken for the host's only where there is no other.
        VkMemoryPropertyFlags avoid = kind == VK_MEMORY_HOST ? LOCAL : 0;
        if (!find_type(d, *wish, avoid, needs.memoryTypeBits, &type) &&
            !find_type(d, *wish, 0, needs.memoryTypeBits, &type))
            continue;
        free_memory(d, b);
        result = block_fill(d, b, &needs, type, sparse);
    }
    if (result != VK_SUCCESS) goto done;
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = b->buffer};
    b->address = d->api.GetBufferDeviceAddress(d->handle, &address);
    b->holes[0] = (struct hole){0, size};
    b->hole_count = 1;
done:
    if (result != VK_SUCCESS) {
        block_destroy(d, b);
        return result;
    }
    b->next = d->blocks;
    d->blocks = b;
    if (kind != VK_MEMORY_HOST) d->used += b->size;
    *block = b;
    return VK_SUCCESS;
}

// ------------------------------------------------------------------------------------------ ranges

static bool block_take(struct vk_block *b, uint64_t size, uint64_t *offset) {
    for (uint32_t i = 0; i < b->hole_count; i++) {
        struct hole *hole = &b->holes[i];
        if (hole->size < size) continue;
        *offset = hole->offset;
        hole->offset += size;
        hole->size -= size;
        if (hole->size == 0) memmove(hole, hole + 1, (--b->hole_count - i) * sizeof *hole);
        b->live++;
        return true;
    }
    return false;
}

static void block_give(struct vk_block *b, uint64_t offset, uint64_t size) {
    uint32_t i = 0;
    b->live--;
    while (i < b->hole_count && b->holes[i].offset < offset) i++;
    bool before = i > 0 && b->holes[i - 1].offset + b->holes[i - 1].size == offset;
    bool after = i < b->hole_count && offset + size == b->holes[i].offset;
    if (before && after) {
        b->holes[i - 1].size += size + b->holes[i].size;
        memmove(&b->holes[i], &b->holes[i + 1], (--b->hole_count - i) * sizeof *b->holes);
    } else if (before) {
        b->holes[i - 1].size += size;
    } else if (after) {
        b->holes[i] = (struct hole){offset, size + b->holes[i].size};
    } else if (b->hole_count < MAX_HOLES) {  // else the range is lost until the block is empty
        memmove(&b->holes[i + 1], &b->holes[i], (b->hole_count++ - i) * sizeof *b->holes);
        b->holes[i] = (struct hole){offset, size};
    }
}

static enum dapt_status fail_memory(struct dapt_device *d, VkResult result,
                                    enum vk_memory_kind kind, uint64_t size, const char *name) {
    uint64_t total, available;
    if (kind == VK_MEMORY_HOST)
        return backend_fail(d->host, DAPT_ERROR_DEVICE,
                            "vulkan: device %s: %s: %.1f MiB of the host's memory asked for (%s); "
                            "train.optimizer.moments \"8-bit\" takes a quarter, "
                            "backend.optimizer_memory \"device\" "
                            "none of it",
                            d->adapter->info.name, vk_result_name(result), (double)size / 1048576.0,
                            name);
    vk_memory_budget(d->adapter, &total, &available);
    if (d->limits.memory > 0 && d->limits.memory < total) total = d->limits.memory;
    const char *advice = size > d->limits.allocation && !d->adapter->sparse
                             ? "one allocation can't be larger on this driver"
                             : "use a smaller micro_batch or sequence, or more recomputation";
    char left[64] = "";
    if (available > 0)
        snprintf(left, sizeof left, ", %llu MiB are free", (unsigned long long)(available >> 20));
    return backend_fail(
        d->host, DAPT_ERROR_DEVICE,
        "vulkan: device %s: %s: %.1f MiB asked for (%s); it has %llu MiB, %llu MiB are "
        "taken by this program%s; %s",
        d->adapter->info.name, vk_result_name(result), (double)size / 1048576.0, name,
        (unsigned long long)(total >> 20), (unsigned long long)(d->used >> 20), left, advice);
}

// Larger buffers fail at once: sparse binding would allocate all memory before it fails.
static uint64_t largest_heap(const struct dapt_device *d) {
    uint64_t size = 0;
    for (uint32_t i = 0; i < d->memory.memoryHeapCount; i++)
        if (d->memory.memoryHeaps[i].size > size) size = d->memory.memoryHeaps[i].size;
    return size;
}

// Some drivers allocate more than the device has, and move it over the bus when it is used.
static void warn_of_oversubscription(struct dapt_device *d, uint64_t size, uint64_t available) {
    if (d->oversubscribed || available == 0 || size <= available) return;
    char line[480];
    snprintf(line, sizeof line,
             "vulkan: device %s: %llu MiB are taken where %llu MiB were free: the driver may keep "
             "part in the host's memory, which is slow; a smaller micro_batch or sequence helps",
             d->adapter->info.name, (unsigned long long)(size >> 20),
             (unsigned long long)(available >> 20));
    d->host->log(d->host, DAPT_LOG_WARNING, line);
    d->oversubscribed = true;
}

enum dapt_status vk_memory_create(struct dapt_device *d, enum vk_memory_kind kind, uint64_t size,
                                  const char *name, struct dapt_buffer **buffer) {
    *buffer = NULL;
    struct dapt_buffer *b = calloc(1, sizeof *b);
    if (b == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY,
                            "vulkan: no memory for a buffer's description");
    uint64_t taken = align_up(size, ALIGNMENT);
    VkResult result = VK_SUCCESS;
    struct vk_block *block = NULL;
    if (taken < size || taken > largest_heap(d) ||
        (d->limits.memory > 0 && kind != VK_MEMORY_HOST &&
         (taken > d->limits.memory || d->used > d->limits.memory - taken))) {
        result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    } else if (taken <= SMALL) {
        for (block = d->blocks; block != NULL; block = block->next)
            if (block->kind == kind && block->size == BLOCK && block_take(block, taken, &b->offset))
                break;
    }
    if (block == NULL && result == VK_SUCCESS) {
        uint64_t room = taken <= SMALL && BLOCK <= d->limits.allocation ? BLOCK : taken;
        uint64_t total, available;
        vk_memory_budget(d->adapter, &total, &available);
        result = block_create(d, kind, room, &block);
        if (result == VK_SUCCESS) block_take(block, taken, &b->offset);
        if (result == VK_SUCCESS && kind == VK_MEMORY_DEVICE)
            warn_of_oversubscription(d, room, available);
    }
    if (result != VK_SUCCESS) {
        free(b);
        return fail_memory(d, result, kind, size, name);
    }
    b->block = block;
    b->size = align_up(size, 4);
    b->address = block->address + b->offset;
    b->mapped = block->mapped != NULL ? block->mapped + b->offset : NULL;
    b->cached = block->cached;
    if (block->size != BLOCK)
        vk_name(d, VK_OBJECT_TYPE_BUFFER, (uint64_t)(uintptr_t)block->buffer, name);
    *buffer = b;
    return DAPT_OK;
}

void vk_memory_destroy(struct dapt_device *d, struct dapt_buffer *b) {
    if (b == NULL) return;
    struct vk_block *block = b->block;
    block_give(block, b->offset, align_up(b->size, ALIGNMENT));
    if (block->live == 0 && !d->hung) block_destroy(d, block);
    free(b);
}

void vk_memory_close(struct dapt_device *d) {
    while (d->blocks != NULL) block_destroy(d, d->blocks);
}
