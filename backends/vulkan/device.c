// One open device: a queue, a timeline semaphore that counts submissions, and messages about
// failures.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk.h"

#define CLOSE_SECONDS 60.0
// Seconds without progress after which the device is taken to hang (at most twice that pass).
// Submissions take about a quarter of a second once they were measured; only the first runs of
// large operations on software devices take long. DAPT_VK_TIMEOUT sets another number.
#define PATIENCE 60.0
#define SOFTWARE_PATIENCE 600.0

const char *vk_result_name(VkResult result) {
    static const struct {
        VkResult result;
        const char *name;
    } names[] = {
        {VK_ERROR_OUT_OF_HOST_MEMORY, "out of host memory"},
        {VK_ERROR_OUT_OF_DEVICE_MEMORY, "out of device memory"},
        {VK_ERROR_INITIALIZATION_FAILED, "initialization failed"},
        {VK_ERROR_DEVICE_LOST, "device lost"},
        {VK_ERROR_MEMORY_MAP_FAILED, "memory map failed"},
        {VK_ERROR_LAYER_NOT_PRESENT, "layer not present"},
        {VK_ERROR_EXTENSION_NOT_PRESENT, "extension not present"},
        {VK_ERROR_FEATURE_NOT_PRESENT, "feature not present"},
        {VK_ERROR_INCOMPATIBLE_DRIVER, "no driver with Vulkan 1.2"},
        {VK_ERROR_TOO_MANY_OBJECTS, "too many objects"},
        {VK_TIMEOUT, "timeout"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].result == result) return names[i].name;
    static _Thread_local char other[32];
    snprintf(other, sizeof other, "VkResult %d", (int)result);
    return other;
}

// ", running: ..." of the first submission that is not known to be done; "" where nothing is.
static void describe_running(struct dapt_device *d, char *text, size_t size) {
    uint64_t done = 0;
    *text = '\0';
    if (d->timeline == VK_NULL_HANDLE || d->submitted == 0) return;
    bool known = d->api.GetSemaphoreCounterValue(d->handle, d->timeline, &done) == VK_SUCCESS &&
                 done <= d->submitted && d->submitted - done <= VK_IN_FLIGHT;
    uint64_t at = known && done < d->submitted ? done + 1 : d->submitted;
    const char *what = d->running[at % VK_IN_FLIGHT];
    if (what != NULL) snprintf(text, size, ", running: %s", what);
}

enum dapt_status vk_fail_call(struct dapt_device *device, VkResult result, const char *what) {
    char running[256] = "";
    if (result == VK_ERROR_DEVICE_LOST) {
        device->lost = DAPT_ERROR_DEVICE;
        describe_running(device, running, sizeof running);
    }
    return backend_fail(
        device->host, result == VK_ERROR_OUT_OF_HOST_MEMORY ? DAPT_ERROR_MEMORY : DAPT_ERROR_DEVICE,
        "vulkan: device %s: %s: %s%s", device->adapter->info.name, what, vk_result_name(result),
        running);
}

void vk_forget(struct dapt_device *d, const void *begin, size_t size) {
    for (size_t i = 0; i < VK_IN_FLIGHT; i++)
        if (d->running[i] != NULL && (uintptr_t)d->running[i] - (uintptr_t)begin < size)
            d->running[i] = NULL;
}

void vk_name(struct dapt_device *device, VkObjectType type, uint64_t handle, const char *name) {
    if (!device->instance->labels) return;
    VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = handle,
        .pObjectName = name};
    device->instance->api.SetDebugUtilsObjectNameEXT(device->handle, &info);
}

// ---------------------------------------------------------------------------------- open and close

static VkResult create_device(struct dapt_device *d) {
    const struct vk_adapter *a = d->adapter;
    struct vk_features features;
    vk_features_of(a, &features);
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queues[2];
    queues[0] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueFamilyIndex = a->queue_family,
                                          .queueCount = 1,
                                          .pQueuePriorities = &priority};
    queues[1] = queues[0];
    queues[1].queueFamilyIndex = a->sparse_family;
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features.all,
        .queueCreateInfoCount = a->sparse && a->sparse_family != a->queue_family ? 2 : 1,
        .pQueueCreateInfos = queues,
        .enabledExtensionCount = features.extension_count,
        .ppEnabledExtensionNames = features.extensions};
    return d->instance->api.CreateDevice(a->handle, &info, NULL, &d->handle);
}

static VkResult create_queue(struct dapt_device *d) {
    d->api.GetDeviceQueue(d->handle, d->adapter->queue_family, 0, &d->queue);
    if (d->adapter->sparse)
        d->api.GetDeviceQueue(d->handle, d->adapter->sparse_family, 0, &d->sparse_queue);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = d->adapter->queue_family};
    VkResult result = d->api.CreateCommandPool(d->handle, &pool, NULL, &d->pool);
    if (result != VK_SUCCESS) return result;
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                       .pNext = &type};
    return d->api.CreateSemaphore(d->handle, &semaphore, NULL, &d->timeline);
}

// The host sees all device memory where the largest device-local heap has a type that it can map.
static bool is_unified(const struct dapt_device *d) {
    const VkMemoryPropertyFlags all = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                      VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (d->adapter->info.kind == DAPT_DEVICE_DISCRETE || d->limits.hidden)
        return false;  // host reads over the bus are slow: stage
    for (uint32_t i = 0; i < d->memory.memoryTypeCount; i++) {
        const VkMemoryType *type = &d->memory.memoryTypes[i];
        if ((type->propertyFlags & all) == all &&
            d->memory.memoryHeaps[type->heapIndex].size == d->adapter->heap)
            return true;
    }
    return false;
}

static double choose_patience(const struct vk_adapter *a) {
    const char *text = getenv("DAPT_VK_TIMEOUT");
    double seconds = text != NULL ? strtod(text, NULL) : 0;
    if (seconds > 0 && seconds < 1e9) return seconds;
    return a->info.kind == DAPT_DEVICE_SOFTWARE ? SOFTWARE_PATIENCE : PATIENCE;
}

enum dapt_status vk_device_open(const struct dapt_host *host, uint32_t index,
                                const struct dapt_device_options *options,
                                struct dapt_device **device) {
    struct dapt_device_info info;
    *device = NULL;
    enum dapt_status status = vk_device_info(host, index, &info);
    if (status < 0) return status;
    struct dapt_device *d = calloc(1, sizeof *d);
    if (d == NULL) return backend_fail(host, DAPT_ERROR_MEMORY, "vulkan: no memory for a device");
    d->host = host;
    d->instance = vk_instance_acquire(host);
    if (index >= d->instance->count) {  // gone since it was listed
        status = backend_fail(host, DAPT_ERROR_DEVICE, "vulkan: device %s is gone", info.name);
        goto done;
    }
    d->adapter = &d->instance->adapters[index];
    d->limits = d->adapter->limits;
    d->host_moments = options != NULL && options->host_moments;
    d->patience = choose_patience(d->adapter);
    VkResult result = create_device(d);
    if (result != VK_SUCCESS) {
        status = vk_fail_call(d, result, "cannot be opened");
        goto done;
    }
    const char *missing = vk_load_device(d->instance->api.GetDeviceProcAddr, d->handle, &d->api);
    if (missing != NULL) {
        status = backend_fail(host, DAPT_ERROR_UNSUPPORTED, "vulkan: device %s lacks %s", info.name,
                              missing);
        d->api.DestroyDevice = NULL;
        goto done;
    }
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    d->instance->api.GetPhysicalDeviceMemoryProperties2(d->adapter->handle, &memory);
    d->memory = memory.memoryProperties;
    d->unified = is_unified(d);
    if ((result = create_queue(d)) != VK_SUCCESS) {
        status = vk_fail_call(d, result, "no queue");
        goto done;
    }
    vk_name(d, VK_OBJECT_TYPE_SEMAPHORE, (uint64_t)(uintptr_t)d->timeline, "timeline");
    status = vk_pipeline_open(d);
done:
    if (status < 0) {
        vk_device_close(d);
        return status;
    }
    *device = d;
    return DAPT_OK;
}

// Devices that hang: they and all they use stay until the end of the process.
static struct dapt_device *abandoned;

void vk_device_close(struct dapt_device *d) {
    if (d == NULL) return;
    if (d->timeline != VK_NULL_HANDLE && d->lost == DAPT_OK && vk_wait_all(d, CLOSE_SECONDS) < 0 &&
        d->lost == DAPT_OK)
        d->hung = true;
    if (d->hung) {
        d->next = abandoned;
        abandoned = d;
        return;
    }
    if (d->handle != VK_NULL_HANDLE && d->api.DestroyDevice != NULL) {
        d->api.DeviceWaitIdle(d->handle);
        vk_tuner_close(d);
        free(d->attention_units);
        vk_pipeline_close(d);
        vk_transfer_close(d);
        vk_memory_destroy(d, d->scratch);
        vk_memory_close(d);
        if (d->timeline != VK_NULL_HANDLE) d->api.DestroySemaphore(d->handle, d->timeline, NULL);
        if (d->pool != VK_NULL_HANDLE) d->api.DestroyCommandPool(d->handle, d->pool, NULL);
        d->api.DestroyDevice(d->handle, NULL);
    }
    vk_instance_release();
    free(d);
}

// ----------------------------------------------------------------------------- submitting, waiting

enum dapt_status vk_commands_begin(struct dapt_device *d, bool reusable,
                                   VkCommandBuffer *commands) {
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = d->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = reusable
                                                   ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT
                                                   : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkResult result = VK_SUCCESS;
    if (*commands == VK_NULL_HANDLE)
        result = d->api.AllocateCommandBuffers(d->handle, &allocate, commands);
    if (result == VK_SUCCESS) result = d->api.BeginCommandBuffer(*commands, &begin);
    return result == VK_SUCCESS ? DAPT_OK : vk_fail_call(d, result, "no command buffer");
}

enum dapt_status vk_commands_end(struct dapt_device *d, VkCommandBuffer commands) {
    VkResult result = d->api.EndCommandBuffer(commands);
    return result == VK_SUCCESS ? DAPT_OK : vk_fail_call(d, result, "recording failed");
}

void vk_full_barrier(struct dapt_device *d, VkCommandBuffer commands) {
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                        VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT,
    };
    d->api.CmdPipelineBarrier(commands, stages & ~(VkPipelineStageFlags)VK_PIPELINE_STAGE_HOST_BIT,
                              stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

enum dapt_status vk_submit(struct dapt_device *d, VkCommandBuffer commands, const char *what) {
    if (d->lost < 0)
        return backend_fail(d->host, d->lost, "vulkan: device %s was lost before",
                            d->adapter->info.name);
    if (commands != VK_NULL_HANDLE) d->waiting[d->waiting_count++] = commands;
    uint64_t value = d->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value};
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .pNext = &timeline,
                           .commandBufferCount = d->waiting_count,
                           .pCommandBuffers = d->waiting,
                           .signalSemaphoreCount = 1,
                           .pSignalSemaphores = &d->timeline};
    d->running[value % VK_IN_FLIGHT] = what;
    VkResult result = d->api.QueueSubmit(d->queue, 1, &submit, VK_NULL_HANDLE);
    d->waiting_count = 0;
    if (result != VK_SUCCESS) return vk_fail_call(d, result, "submission refused");
    d->submitted = value;
    return DAPT_OK;
}

enum dapt_status vk_submit_later(struct dapt_device *d, VkCommandBuffer commands) {
    if (d->waiting_count + 1 == VK_WAITING) return vk_submit(d, commands, "uploads");
    d->waiting[d->waiting_count++] = commands;
    return DAPT_OK;
}

enum dapt_status vk_flush(struct dapt_device *d) {
    return d->waiting_count > 0 ? vk_submit(d, VK_NULL_HANDLE, "uploads") : DAPT_OK;
}

uint64_t vk_latest(const struct dapt_device *d) {
    return d->submitted + (d->waiting_count > 0);
}

enum dapt_status vk_commands_finish(struct dapt_device *d, VkCommandBuffer commands,
                                    const char *what) {
    enum dapt_status status = vk_commands_end(d, commands);
    if (status == DAPT_OK) status = vk_submit(d, commands, what);
    if (status == DAPT_OK) status = vk_wait_all(d, 0);
    if (status == DAPT_OK) d->api.FreeCommandBuffers(d->handle, d->pool, 1, &commands);
    return status;
}

bool vk_idle(struct dapt_device *d) {
    uint64_t value = 0;
    return d->api.GetSemaphoreCounterValue(d->handle, d->timeline, &value) == VK_SUCCESS &&
           value >= vk_latest(d);
}

// Waits as long as the timeline moves; VK_TIMEOUT when it stood still.
static VkResult wait_patiently(struct dapt_device *d, const VkSemaphoreWaitInfo *info) {
    uint64_t before = UINT64_MAX, now = 0;
    for (;;) {
        VkResult result = d->api.WaitSemaphores(d->handle, info, (uint64_t)(d->patience * 1e9));
        if (result == VK_TIMEOUT)
            result = d->api.GetSemaphoreCounterValue(d->handle, d->timeline, &now);
        else
            return result;
        if (result != VK_SUCCESS) return result;
        if (now == before) return VK_TIMEOUT;
        before = now;
    }
}

enum dapt_status vk_wait(struct dapt_device *d, uint64_t value, double timeout) {
    if (d->lost < 0)
        return backend_fail(d->host, d->lost, "vulkan: device %s was lost before",
                            d->adapter->info.name);
    enum dapt_status status = value > d->submitted ? vk_flush(d) : DAPT_OK;
    if (status < 0) return status;
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &d->timeline,
                                .pValues = &value};
    bool patient = !(timeout > 0 && timeout < 1e9);
    VkResult result = patient ? wait_patiently(d, &info)
                              : d->api.WaitSemaphores(d->handle, &info, (uint64_t)(timeout * 1e9));
    if (result == VK_SUCCESS) return DAPT_OK;
    if (result != VK_TIMEOUT) return vk_fail_call(d, result, "waiting failed");
    char running[256];
    describe_running(d, running, sizeof running);
    if (!patient)
        return backend_fail(d->host, DAPT_ERROR_DEVICE,
                            "vulkan: device %s did not finish within %g s%s", d->adapter->info.name,
                            timeout, running);
    d->lost = DAPT_ERROR_DEVICE;
    d->hung = true;
    return backend_fail(d->host, DAPT_ERROR_DEVICE,
                        "vulkan: device %s hangs: no progress for %g s%s", d->adapter->info.name,
                        d->patience, running);
}

enum dapt_status vk_wait_all(struct dapt_device *d, double timeout) {
    return vk_wait(d, vk_latest(d), timeout);
}
