// Pipelines: a shader with its specialization constants, made on first use; and the driver's
// pipeline cache on disk.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk.h"

#define PUSH_BYTES 128

struct vk_pipeline {
    struct vk_pipeline *next;
    enum vk_shader shader;
    bool dispatch_base;
    uint32_t subgroup, count, constants[VK_MAX_CONSTANTS];
    VkPipeline handle;
};

// It is no error if the cache can't be written: the next start compiles again.
static void write_cache(struct dapt_device *d) {
    size_t size = 0;
    if (!d->cache_dirty) return;
    if (d->api.GetPipelineCacheData(d->handle, d->cache, &size, NULL) != VK_SUCCESS || size == 0)
        return;
    void *data = malloc(size);
    if (data != NULL && d->api.GetPipelineCacheData(d->handle, d->cache, &size, data) == VK_SUCCESS)
        vk_cache_write(d, "pipelines", 0, data, size);
    free(data);
}

// ------------------------------------------------------------------------------------- open, close

enum dapt_status vk_pipeline_open(struct dapt_device *d) {
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, PUSH_BYTES};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    VkResult result = d->api.CreatePipelineLayout(d->handle, &layout, NULL, &d->layout);
    if (result != VK_SUCCESS) return vk_fail_call(d, result, "no pipeline layout");
    size_t size = 0;
    void *data = vk_cache_read(d, "pipelines", 0, &size);
    VkPipelineCacheCreateInfo cache = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                       .initialDataSize = size,
                                       .pInitialData = data};
    result = d->api.CreatePipelineCache(d->handle, &cache, NULL, &d->cache);
    free(data);
    return result == VK_SUCCESS ? DAPT_OK : vk_fail_call(d, result, "no pipeline cache");
}

void vk_pipeline_close(struct dapt_device *d) {
    while (d->pipelines != NULL) {
        struct vk_pipeline *p = d->pipelines;
        d->pipelines = p->next;
        d->api.DestroyPipeline(d->handle, p->handle, NULL);
        free(p);
    }
    for (int i = 0; i < SHADER_COUNT; i++)
        if (d->modules[i] != VK_NULL_HANDLE)
            d->api.DestroyShaderModule(d->handle, d->modules[i], NULL);
    if (d->cache != VK_NULL_HANDLE) {
        if (d->lost == DAPT_OK) write_cache(d);
        d->api.DestroyPipelineCache(d->handle, d->cache, NULL);
    }
    if (d->layout != VK_NULL_HANDLE) d->api.DestroyPipelineLayout(d->handle, d->layout, NULL);
}

// --------------------------------------------------------------------------------------- pipelines

// What a compiler may not do with floats of some bits. By default it may assume that no float is
// infinite or NaN (Metal's does): then comparisons with infinity and masks that keep NaN out fail. And
// it may round conversions to float16 as it likes. This adds an execution mode to a module; its
// version of SPIR-V needs no extension for it. `code` has room for ADDED_WORDS more; *words is how
// many it has.
#define ADDED_WORDS 6
enum { SPV_OP_ENTRY_POINT = 15, SPV_OP_EXECUTION_MODE = 16, SPV_OP_CAPABILITY = 17 };
enum { SPV_PRESERVE_MODE = 4461, SPV_PRESERVE_CAPABILITY = 4466, SPV_HEADER = 5 };
enum { SPV_ROUND_TO_EVEN_MODE = 4462, SPV_ROUND_TO_EVEN_CAPABILITY = 4467 };

static void add_mode(uint32_t *code, size_t *words, uint32_t name, uint32_t needs, uint32_t bits) {
    size_t at = SPV_HEADER;
    while (at < *words && (code[at] & 0xffff) != SPV_OP_ENTRY_POINT && code[at] >> 16 > 0)
        at += code[at] >> 16;
    if (at + 2 >= *words || (code[at] & 0xffff) != SPV_OP_ENTRY_POINT) return;
    const uint32_t mode[] = {4u << 16 | SPV_OP_EXECUTION_MODE, code[at + 2], name, bits};
    const uint32_t capability[] = {2u << 16 | SPV_OP_CAPABILITY, needs};
    at += code[at] >> 16;
    memmove(code + at + ADDED_WORDS, code + at, (*words - at) * 4);
    memmove(code + SPV_HEADER + 2, code + SPV_HEADER, (at - SPV_HEADER) * 4);
    memcpy(code + SPV_HEADER, capability, sizeof capability);
    memcpy(code + at + 2, mode, sizeof mode);
    *words += ADDED_WORDS;
}

static bool rounds_to_f16(enum vk_shader shader) {
    return shader == SHADER_MATMUL_CM_F16 || shader == SHADER_ATTENTION_CM_F16 ||
           shader == SHADER_ATTENTION_CM_GRAD_Q_F16 || shader == SHADER_ATTENTION_CM_GRAD_KV_F16;
}

static enum dapt_status get_module(struct dapt_device *d, enum vk_shader shader) {
    const struct vk_shader_row *row = &vk_shader_rows[shader];
    if (d->modules[shader] != VK_NULL_HANDLE) return DAPT_OK;
    uint32_t *source;
    size_t size;
    enum dapt_status status = vk_shader_source(d, shader, &source, &size);
    if (status < 0) return status;
    size_t words = (source != NULL ? size : row->size) / 4;
    uint32_t *code = malloc((words + 2 * ADDED_WORDS) * 4);
    if (code != NULL) memcpy(code, source != NULL ? source : row->code, words * 4);
    free(source);
    if (code == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a shader");
    if (d->adapter->properties12.shaderSignedZeroInfNanPreserveFloat32)
        add_mode(code, &words, SPV_PRESERVE_MODE, SPV_PRESERVE_CAPABILITY, 32);
    if (rounds_to_f16(shader) && d->adapter->properties12.shaderRoundingModeRTEFloat16)
        add_mode(code, &words, SPV_ROUND_TO_EVEN_MODE, SPV_ROUND_TO_EVEN_CAPABILITY, 16);
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = words * 4, .pCode = code};
    VkResult result = d->api.CreateShaderModule(d->handle, &info, NULL, &d->modules[shader]);
    free(code);
    return result == VK_SUCCESS ? DAPT_OK : vk_fail_call(d, result, row->name);
}

static VkResult create(struct dapt_device *d, struct vk_pipeline *p) {
    VkSpecializationMapEntry entries[VK_MAX_CONSTANTS];
    for (uint32_t i = 0; i < p->count; i++) entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
    VkSpecializationInfo constants = {p->count, entries, p->count * 4, p->constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = p->subgroup > 0 ? p->subgroup : d->limits.subgroup};
    bool sized = d->adapter->subgroup_control &&
                 subgroup.requiredSubgroupSize >= d->adapter->subgroup_min &&
                 subgroup.requiredSubgroupSize <= d->adapter->subgroup_max;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = p->dispatch_base ? VK_PIPELINE_CREATE_DISPATCH_BASE_BIT : 0,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = sized ? &subgroup : NULL,
                  .flags = p->subgroup > 0
                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                               : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = d->modules[p->shader],
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = d->layout,
    };
    return d->api.CreateComputePipelines(d->handle, d->cache, 1, &info, NULL, &p->handle);
}

enum dapt_status vk_pipeline_get(struct dapt_device *d, enum vk_shader shader,
                                 const uint32_t *constants, uint32_t count, uint32_t subgroup,
                                 bool dispatch_base, VkPipeline *pipeline) {
    for (struct vk_pipeline *p = d->pipelines; p != NULL; p = p->next)
        if (p->shader == shader && p->dispatch_base == dispatch_base && p->count == count &&
            p->subgroup == subgroup && memcmp(p->constants, constants, count * 4) == 0) {
            *pipeline = p->handle;
            return DAPT_OK;
        }
    enum dapt_status status = get_module(d, shader);
    if (status < 0) return status;
    struct vk_pipeline *p = calloc(1, sizeof *p);
    if (p == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a pipeline");
    p->shader = shader;
    p->dispatch_base = dispatch_base;
    p->subgroup = subgroup;
    p->count = count;
    memcpy(p->constants, constants, count * 4);
    VkResult result = create(d, p);
    if (result != VK_SUCCESS) {
        free(p);
        char what[80];
        snprintf(what, sizeof what, "shader %s", vk_shader_rows[shader].name);
        return vk_fail_call(d, result, what);
    }
    vk_name(d, VK_OBJECT_TYPE_PIPELINE, (uint64_t)(uintptr_t)p->handle,
            vk_shader_rows[shader].name);
    p->next = d->pipelines;
    d->pipelines = p;
    d->cache_dirty = true;
    *pipeline = p->handle;
    return DAPT_OK;
}
