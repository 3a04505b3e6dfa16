// What a device has, and whether that is what is needed: Vulkan 1.2, timeline semaphores, buffer device
// addresses, and a queue that computes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk.h"

static bool has_extension(const VkExtensionProperties *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].extensionName, name) == 0) return true;
    return false;
}

// Finds a compute queue. One without graphics is preferred: it has longer time-outs and shares no
// time with a desktop. Sparse memory is bound on it or, where another queue family does that
// (RADV), there.
static bool find_queues(struct vk_adapter *a) {
    VkQueueFamilyProperties families[16];
    uint32_t count = 16;
    int best = 0;
    a->api->GetPhysicalDeviceQueueFamilyProperties(a->handle, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        VkQueueFlags flags = families[i].queueFlags;
        if (!(flags & VK_QUEUE_COMPUTE_BIT)) continue;
        int score = 1 + (families[i].timestampValidBits > 0) * 2 + !(flags & VK_QUEUE_GRAPHICS_BIT);
        if (score <= best) continue;
        best = score;
        a->queue_family = i;
        a->timestamp_bits = families[i].timestampValidBits;
    }
    if (best == 0) return false;
    a->sparse_family = a->queue_family;
    if (!(families[a->queue_family].queueFlags & VK_QUEUE_SPARSE_BINDING_BIT))
        for (a->sparse_family = 0; a->sparse_family < count; a->sparse_family++)
            if (families[a->sparse_family].queueFlags & VK_QUEUE_SPARSE_BINDING_BIT) break;
    a->sparse &= a->sparse_family < count;
    return true;
}

static const char *vendor_name(uint32_t id) {
    static const struct {
        uint32_t id;
        const char *name;
    } vendors[] = {
        {0x1002, "AMD"},   {0x1010, "Imagination"}, {0x106b, "Apple"},  {0x10de, "NVIDIA"},
        {0x13b5, "Arm"},   {0x14e4, "Broadcom"},    {0x1ae0, "Google"}, {0x5143, "Qualcomm"},
        {0x8086, "Intel"}, {0x10005, "Mesa"},
    };
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
        if (vendors[i].id == id) return vendors[i].name;
    return "unknown vendor";
}

static bool float_type(uint32_t component, enum dapt_dtype *dtype) {
    static const struct {
        uint32_t component;
        enum dapt_dtype dtype;
    } types[] = {
        {VK_COMPONENT_TYPE_FLOAT16_KHR, DAPT_F16},
        {VK_COMPONENT_TYPE_FLOAT32_KHR, DAPT_F32},
        {VK_DAPT_COMPONENT_BFLOAT16, DAPT_BF16},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].component == component) return *dtype = types[i].dtype, true;
    return false;
}

static void find_matrices(struct vk_adapter *a) {
    VkCooperativeMatrixPropertiesKHR found[64];
    uint32_t count = 64;
    for (uint32_t i = 0; i < count; i++)
        found[i] = (VkCooperativeMatrixPropertiesKHR){
            .sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (a->api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(a->handle, &count, found) < 0)
        return;
    const uint32_t room = sizeof a->info.matrix / sizeof *a->info.matrix;
    for (uint32_t i = 0; i < count && a->info.matrix_count < room; i++) {
        struct dapt_matrix_shape shape = {
            .m = found[i].MSize, .n = found[i].NSize, .k = found[i].KSize};
        bool floats = float_type((uint32_t)found[i].AType, &shape.ab) &&
                      float_type((uint32_t)found[i].CType, &shape.c);
        bool known = false;  // drivers list variants that differ only in what is not used here
        for (uint32_t k = 0; k < a->info.matrix_count; k++)
            known = known || memcmp(&a->info.matrix[k], &shape, sizeof shape) == 0;
        if (floats && !known && (uint32_t)found[i].AType == (uint32_t)found[i].BType &&
            (uint32_t)found[i].scope == (uint32_t)VK_SCOPE_SUBGROUP_KHR)
            a->info.matrix[a->info.matrix_count++] = shape;
    }
}

// Keeps the types for which a shape is listed, and says what becomes of products of 16-bit operands.
static void fill_products(struct vk_adapter *a) {
    char *text = a->info.products;
    size_t room = sizeof a->info.products;
    uint32_t listed = 0;
    for (uint32_t i = 0; i < a->info.matrix_count; i++)
        if (a->info.matrix[i].c == DAPT_F32) listed |= 1u << a->info.matrix[i].ab;
    a->matrix_types &= listed;
    bool f16 = a->matrix_types >> DAPT_F16 & 1, bf16 = a->matrix_types >> DAPT_BF16 & 1;
    if (a->limits.software || a->limits.matrix == VK_MATRIX_NONE)
        snprintf(text, room, "in float32%s", a->limits.software ? ": a software device" : "");
    else if (f16 || bf16)
        snprintf(text, room, "by matrix units that are right, attention too: %s; else in float32",
                 f16 && bf16 ? "float16, bfloat16"
                 : f16       ? "float16"
                             : "bfloat16");
    else
        snprintf(text, room, "in float32: %s",
                 a->no_matrices != NULL ? a->no_matrices : "no matrix unit adds in float32");
}

// DAPT_VK_LIMITS lowers what kernels may rely on, to test on one device what another would do.
static void clamp(struct vk_limits *limits) {
    const char *text = getenv("DAPT_VK_LIMITS");
    for (; text != NULL && *text != '\0'; text += *text == ',') {
        char name[32];
        unsigned long long value;
        if (sscanf(text, "%31[a-z_]=%llu", name, &value) == 2) {
            if (strcmp(name, "shared") == 0 && value < limits->shared_memory)
                limits->shared_memory = (uint32_t)value;
            if (strcmp(name, "invocations") == 0 && value < limits->invocations)
                limits->invocations = (uint32_t)value;
            if (strcmp(name, "groups") == 0 && value < limits->groups)
                limits->groups = (uint32_t)value;
            if (strcmp(name, "subgroup") == 0) limits->subgroup = (uint32_t)value;
            if (strcmp(name, "allocation") == 0 && value < limits->allocation)
                limits->allocation = value;
            if (strcmp(name, "memory") == 0) limits->memory = value;
            if (strcmp(name, "tile") == 0) limits->tile = (uint32_t)value;
            if (strcmp(name, "work") == 0) limits->work = (double)value;
            if (strcmp(name, "tuning") == 0) limits->tuning = (uint32_t)value;
            if (strcmp(name, "matrix") == 0)
                limits->matrix = value != 0 ? VK_MATRIX_USED : VK_MATRIX_NONE;
            if (strcmp(name, "software") == 0) limits->software = value != 0;
            if (strcmp(name, "visible") == 0) limits->hidden = value == 0;
        }
        text += strcspn(text, ",");
    }
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

// A hash of driver and settings; none with DAPT_SHADER_DIR, whose shaders may change at any time.
static void fill_variant(struct vk_adapter *a) {
    const struct vk_limits *l = &a->limits;
    char text[320];
    int length = snprintf(text, sizeof text, "%x %u %u %u %u %llu %d %u %s",
                          a->properties.driverVersion, l->shared_memory, l->invocations, l->groups,
                          l->subgroup, (unsigned long long)l->allocation, l->software, l->matrix,
                          a->info.driver);
    uint64_t hash = vk_hash(text, (size_t)length);
    hash ^= vk_hash(a->properties11.driverUUID, VK_UUID_SIZE) * 3;
    hash ^= vk_hash(a->properties.pipelineCacheUUID, VK_UUID_SIZE) * 5;
    if (vk_shader_folder() == NULL)
        snprintf(a->info.variant, sizeof a->info.variant, "%016llx", (unsigned long long)hash);
}

static void fill_info(struct vk_adapter *a) {
    struct dapt_device_info *info = &a->info;
    static const enum dapt_device_kind kinds[] = {
        [VK_PHYSICAL_DEVICE_TYPE_OTHER] = DAPT_DEVICE_VIRTUAL,
        [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = DAPT_DEVICE_INTEGRATED,
        [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = DAPT_DEVICE_DISCRETE,
        [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = DAPT_DEVICE_VIRTUAL,
        [VK_PHYSICAL_DEVICE_TYPE_CPU] = DAPT_DEVICE_SOFTWARE,
    };
    const VkPhysicalDeviceProperties *p = &a->properties;
    info->kind = (size_t)p->deviceType < sizeof kinds / sizeof *kinds ? kinds[p->deviceType]
                                                                      : DAPT_DEVICE_VIRTUAL;
    snprintf(info->name, sizeof info->name, "%s", p->deviceName);
    snprintf(info->vendor, sizeof info->vendor, "%s", vendor_name(p->vendorID));
    snprintf(info->driver, sizeof info->driver, "%.48s%s%.64s", a->properties12.driverName,
             a->properties12.driverInfo[0] != '\0' ? " " : "", a->properties12.driverInfo);
    char *at = info->uuid;
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        at += snprintf(at, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                       a->properties11.deviceUUID[i]);
    snprintf(info->api, sizeof info->api, "Vulkan %u.%u.%u", VK_API_VERSION_MAJOR(p->apiVersion),
             VK_API_VERSION_MINOR(p->apiVersion), VK_API_VERSION_PATCH(p->apiVersion));
    fill_variant(a);
    info->memory = a->heap;
    info->host_memory = (info->kind == DAPT_DEVICE_INTEGRATED ||
                         info->kind == DAPT_DEVICE_SOFTWARE) &&
                        !a->limits.hidden;
    info->max_allocation = a->limits.allocation;
    info->max_buffer = a->sparse ? p->limits.sparseAddressSpaceSize : a->limits.allocation;
    if (info->max_buffer > a->heap) info->max_buffer = a->heap;
    info->dtypes = 1u << DAPT_F32 | 1u << DAPT_F16 | 1u << DAPT_BF16;
    info->subgroup_min = a->subgroup_min;
    info->subgroup_max = a->subgroup_max;
    info->shared_memory = a->limits.shared_memory;
    info->workgroup = a->limits.invocations;
}

// Dot products of four int8 in one instruction; with the feature alone it may take many.
static bool has_fast_dot(const struct vk_adapter *a) {
    VkPhysicalDeviceShaderIntegerDotProductProperties dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &dot};
    a->api->GetPhysicalDeviceProperties2(a->handle, &properties);
    return dot.integerDotProduct4x8BitPackedSignedAccelerated;
}

// All structures, with those of extensions in the chain where asked for.
static void chain_features(struct vk_features *f, bool sizes, bool matrix, bool bf16) {
    *f = (struct vk_features){
        .all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f->vulkan12},
        .vulkan12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES},
        .sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES},
        .matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR},
        .bf16 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR}};
    void **next = &f->vulkan12.pNext;
    if (sizes) *next = &f->sizes, next = &f->sizes.pNext;
    if (matrix) *next = &f->matrix, next = &f->matrix.pNext;
    if (bf16) *next = &f->bf16;
}

// Features of extensions are queried only where the driver has the extension.
static bool fill_features(struct vk_adapter *a, const VkExtensionProperties *list, uint32_t count) {
    struct vk_features f;
    chain_features(&f, has_extension(list, count, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME),
                   has_extension(list, count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME),
                   has_extension(list, count, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME));
    a->api->GetPhysicalDeviceFeatures2(a->handle, &f.all);
    bool shaders = f.vulkan12.vulkanMemoryModel && f.vulkan12.vulkanMemoryModelDeviceScope &&
                   f.vulkan12.shaderFloat16 && f.all.features.shaderInt64 &&
                   f.all.features.shaderInt16,
         sized = f.sizes.subgroupSizeControl && f.sizes.computeFullSubgroups;
    a->no_matrices = !f.matrix.cooperativeMatrix ? "the driver has no cooperative matrices"
                     : !shaders ? "the driver lacks a feature that its shaders need"
                     : !sized   ? "the driver has no full subgroups of a given size"
                                : NULL;
    if (a->no_matrices == NULL) a->matrix_types |= 1u << DAPT_F16;
    if (a->no_matrices == NULL && f.bf16.shaderBFloat16Type &&
        f.bf16.shaderBFloat16CooperativeMatrix)
        a->matrix_types |= 1u << DAPT_BF16;
    a->sparse = f.all.features.sparseBinding;
    a->subgroup_control = f.sizes.subgroupSizeControl;
    if (f.vulkan12.shaderFloat16) a->info.features |= DAPT_FEATURE_F16;
    if (f.vulkan12.shaderInt8) a->info.features |= DAPT_FEATURE_I8;
    if (f.bf16.shaderBFloat16DotProduct || f.bf16.shaderBFloat16CooperativeMatrix)
        a->info.features |= DAPT_FEATURE_BF16;
    if (has_extension(list, count, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME) &&
        has_fast_dot(a))
        a->info.features |= DAPT_FEATURE_I8_DOT;
    return f.vulkan12.timelineSemaphore && f.vulkan12.bufferDeviceAddress;
}

void vk_features_of(const struct vk_adapter *a, struct vk_features *f) {
    bool units = a->matrix_types != 0, bf16 = a->matrix_types >> DAPT_BF16 & 1,
         sizes = a->subgroup_control || units;
    chain_features(f, sizes, units, bf16);
    f->all.features.sparseBinding = a->sparse;
    f->all.features.shaderInt64 = f->all.features.shaderInt16 = units;
    f->vulkan12.timelineSemaphore = f->vulkan12.bufferDeviceAddress = VK_TRUE;
    f->vulkan12.shaderFloat16 = f->vulkan12.vulkanMemoryModel = units;
    f->vulkan12.vulkanMemoryModelDeviceScope = units;
    f->sizes.subgroupSizeControl = VK_TRUE;
    f->sizes.computeFullSubgroups = units;
    f->matrix.cooperativeMatrix = VK_TRUE;
    f->bf16.shaderBFloat16Type = f->bf16.shaderBFloat16CooperativeMatrix = VK_TRUE;
    const char **extensions = f->extensions;
    uint32_t count = 0;
    if (a->memory_budget) extensions[count++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (a->portability)
        extensions[count++] = "VK_KHR_portability_subset";  // required where it is offered
    if (sizes) extensions[count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (units) extensions[count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (bf16) extensions[count++] = VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME;
    f->extension_count = count;
}

// Operations of one dispatch, and of one submission before any was measured. With these the slowest
// devices of a kind, at a tenth of their peak, stay well below the two seconds after which some
// drivers reset them.
#define DISCRETE_WORK 5e10
#define OTHER_WORK 5e9

static void fill_properties(struct vk_adapter *a) {
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    a->properties12 = (VkPhysicalDeviceVulkan12Properties){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
        .pNext = a->subgroup_control ? &sizes : NULL};
    a->properties11 = (VkPhysicalDeviceVulkan11Properties){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
        .pNext = &a->properties12};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &a->properties11};
    a->api->GetPhysicalDeviceProperties2(a->handle, &properties);
    a->properties = properties.properties;
    a->subgroup_min = a->subgroup_control ? sizes.minSubgroupSize : a->properties11.subgroupSize;
    a->subgroup_max = a->subgroup_control ? sizes.maxSubgroupSize : a->properties11.subgroupSize;
    a->subgroup_control &= (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
    // Where there is one size, none need be required.
    if (!a->subgroup_control && a->subgroup_min != a->subgroup_max && a->matrix_types != 0) {
        a->matrix_types = 0;
        a->no_matrices = "the driver has no full subgroups of a given size";
    }
    const VkPhysicalDeviceLimits *l = &a->properties.limits;
    a->limits = (struct vk_limits){.shared_memory = l->maxComputeSharedMemorySize,
                                   .invocations = min_u32(l->maxComputeWorkGroupInvocations,
                                                          min_u32(l->maxComputeWorkGroupSize[0],
                                                                  l->maxComputeWorkGroupSize[1])),
                                   .allocation = a->properties11.maxMemoryAllocationSize};
    a->limits.groups = min_u32(
        l->maxComputeWorkGroupCount[0],
        min_u32(l->maxComputeWorkGroupCount[1], l->maxComputeWorkGroupCount[2]));
    a->limits.tuning = 1;
    a->limits.software = a->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (!a->limits.software)
        a->limits.work = a->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
                             ? DISCRETE_WORK
                             : OTHER_WORK;
    clamp(&a->limits);
}

static void fill_memory(struct vk_adapter *a) {
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    a->api->GetPhysicalDeviceMemoryProperties2(a->handle, &memory);
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > a->heap)
            a->heap = heap->size;
    }
}

// Everything about one physical device; false where it lacks what is needed.
bool vk_adapter_examine(const struct vk_instance_api *api, VkPhysicalDevice handle,
                        struct vk_adapter *a) {
    *a = (struct vk_adapter){.api = api, .handle = handle};
    a->api->GetPhysicalDeviceProperties(handle, &a->properties);
    uint32_t count = 0;
    if (a->properties.apiVersion < VK_API_VERSION_1_2 ||
        a->api->EnumerateDeviceExtensionProperties(handle, NULL, &count, NULL) < 0)
        return false;
    VkExtensionProperties *list = calloc(count + 1u, sizeof *list);
    if (list == NULL || a->api->EnumerateDeviceExtensionProperties(handle, NULL, &count, list) < 0)
        count = 0;
    bool usable = fill_features(a, list, count) && find_queues(a);
    if (usable) {
        a->memory_budget = has_extension(list, count, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
        a->portability = has_extension(list, count, "VK_KHR_portability_subset");
        fill_properties(a);
        fill_memory(a);
        fill_info(a);
        if (a->api->GetPhysicalDeviceCooperativeMatrixPropertiesKHR != NULL &&
            has_extension(list, count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
            find_matrices(a);
        fill_products(a);
    }
    free(list);
    return usable;
}

void vk_memory_budget(const struct vk_adapter *a, uint64_t *total, uint64_t *available) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = a->memory_budget ? &budget : NULL};
    a->api->GetPhysicalDeviceMemoryProperties2(a->handle, &memory);
    *total = *available = 0;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || heap->size <= *total) continue;
        *total = heap->size;
        uint64_t left = a->memory_budget ? budget.heapBudget[i] : 0,
                 taken = a->memory_budget ? budget.heapUsage[i] : 0;
        *available = left > taken ? left - taken : 0;
    }
}
