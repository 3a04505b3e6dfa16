// The kernels for GPUs through GPU makers' compilers, without a GPU: drivers of Mesa that compile
// for a chip that is not there, and run nothing. A backend that only lowers and compiles takes the
// programs of whole models at sizes that people train; what the compiler says of each kernel must
// stay within bounds: no registers spilled to memory, room in shared memory for two workgroups.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lowers.h"
#include "engine/engine.h"

#define SHARED_LIMIT 32768  // of the largest tiles, which only devices get that have as much
#define MAX_KERNELS 512

static const struct vk_instance *instance;
static PFN_vkCreateShaderModule create_module;
static PFN_vkCreateComputePipelines create_pipelines;
static PFN_vkGetPipelineExecutableStatisticsKHR get_statistics;
static VkShaderModule modules[SHADER_COUNT];
static VkPipelineLayout layout;
static struct vk_pass kernels[MAX_KERNELS];
static uint32_t kernel_count, worst_registers;
static uint64_t figure;  // of the last kernel: AMD's inverse throughput, NVIDIA's static cycles

// -------------------------------------------------------------------- what lower*.c and instance.c
// ask of files that need a working device

uint32_t vk_fastest_tile(struct vk_lowering *l, const struct vk_matmul_size *size,
                         const struct vk_tile *list, uint32_t count) {
    static uint32_t turn;  // each has its turn
    (void)l, (void)size, (void)list;
    return turn++ % count;
}

const char *vk_result_name(VkResult result) {
    (void)result;
    return "failed";
}

// ----------------------------------------------------------------------------------------- kernels

static void describe(const struct vk_pass *p, char text[256]) {
    int at = snprintf(text, 256, "%s", vk_shader_rows[p->shader].name);
    for (uint32_t i = 0; i < p->constant_count; i++)
        at += snprintf(text + at, 256 - (size_t)at, " %u", p->constants[i]);
}

// By the names that drivers give them: AMD's, NVIDIA's.
static const struct {
    const char *name;
    uint64_t most;
} figures[] = {
    {"Spilled VGPRs", 0},    {"Scratch size", 0}, {"LDS size", SHARED_LIMIT},
    {"Spills to memory", 0}, {"SLM size", 0},
};

static void check_statistics(const char *what, VkPipeline pipeline) {
    VkPipelineExecutableInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                        .pipeline = pipeline};
    VkPipelineExecutableStatisticKHR found[48];
    uint32_t count = 48, known = 0;
    for (uint32_t i = 0; i < count; i++)
        found[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    assert_true(get_statistics(device.handle, &info, &count, found) >= 0);
    for (uint32_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++) {
            if (strcmp(found[i].name, figures[k].name) != 0) continue;
            known++;
            if (found[i].value.u64 > figures[k].most)
                fail_msg("%s: %s is %llu", what, found[i].name,
                         (unsigned long long)found[i].value.u64);
        }
        if (strcmp(found[i].name, "Inverse Throughput") == 0 ||
            strcmp(found[i].name, "Static cycle count") == 0)
            figure = found[i].value.u64;
        bool registers = strcmp(found[i].name, "VGPRs") == 0 ||
                         strcmp(found[i].name, "Number of GPRs") == 0;
        if (registers && found[i].value.u64 > worst_registers)
            worst_registers = (uint32_t)found[i].value.u64;
    }
    if (known < 2) fail_msg("the driver gives %u of the figures that are looked at", known);
}

static void compile(const struct vk_pass *p) {
    for (uint32_t i = 0; i < kernel_count; i++)
        if (kernels[i].shader == p->shader && kernels[i].constant_count == p->constant_count &&
            memcmp(kernels[i].constants, p->constants, p->constant_count * 4) == 0)
            return;
    assert_true(kernel_count < MAX_KERNELS);
    kernels[kernel_count++] = *p;
    const struct vk_shader_row *row = &vk_shader_rows[p->shader];
    VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                     .codeSize = row->size,
                                     .pCode = row->code};
    if (modules[p->shader] == VK_NULL_HANDLE)
        assert_int_equal(create_module(device.handle, &code, NULL, &modules[p->shader]), 0);
    VkSpecializationMapEntry entries[VK_MAX_CONSTANTS];
    for (uint32_t i = 0; i < p->constant_count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
    VkSpecializationInfo constants = {p->constant_count, entries, p->constant_count * 4,
                                      p->constants};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = p->subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = p->subgroup > 0 && device.adapter->subgroup_control ? &subgroup : NULL,
                  .flags = p->subgroup > 0
                               ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT
                               : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = modules[p->shader],
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = layout};
    VkPipeline pipeline;
    char what[256];
    describe(p, what);
    if (create_pipelines(device.handle, VK_NULL_HANDLE, 1, &info, NULL, &pipeline) != VK_SUCCESS)
        fail_msg("%s does not compile", what);
    check_statistics(what, pipeline);
}

void lowered(const struct dapt_program *program, const struct vk_passes *passes) {
    (void)program;
    for (uint32_t i = 0; i < passes->count; i++) compile(&passes->at[i]);
}

// -------------------------------------------------------------------------------------- the device

static void find(PFN_vkGetDeviceProcAddr get, const char *name, void *function) {
    PFN_vkVoidFunction found = get(device.handle, name);
    if (found == NULL) fail_msg("the driver lacks %s", name);
    memcpy(function, &found, sizeof found);
}

static int setup(void **unused) {
    (void)unused;
    instance = vk_instance_acquire(dapt_host());
    if (instance->count == 0) {
        printf("skipped: no device without hardware: %s\n", instance->reason);
        exit(77);
    }
    device.host = dapt_host();
    device.instance = instance;
    device.adapter = &instance->adapters[0];
    device.limits = device.adapter->limits;
    struct vk_features features;
    vk_features_of(device.adapter, &features);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = features.all.pNext,
        .pipelineExecutableInfo = VK_TRUE};
    features.all.pNext = &statistics;
    features.extensions[features.extension_count++] =
        VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = device.adapter->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features.all,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = features.extension_count,
                               .ppEnabledExtensionNames = features.extensions};
    assert_int_equal(
        instance->api.CreateDevice(device.adapter->handle, &info, NULL, &device.handle), 0);
    PFN_vkGetDeviceProcAddr get = instance->api.GetDeviceProcAddr;
    PFN_vkCreatePipelineLayout create_layout;
    find(get, "vkCreatePipelineLayout", &create_layout);
    find(get, "vkCreateShaderModule", &create_module);
    find(get, "vkCreateComputePipelines", &create_pipelines);
    find(get, "vkGetPipelineExecutableStatisticsKHR", &get_statistics);
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 128};
    VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push};
    assert_int_equal(create_layout(device.handle, &layout_info, NULL, &layout), 0);
    return 0;
}

// --------------------------------------------------------------------------------------- the tests

#define LLAMA                                                                                \
    "\"hidden_size\":2048,\"intermediate_size\":5632,\"num_hidden_layers\":1,\"vocab_size\"" \
    ":32000,\"max_position_embeddings\":2048,"

#define MUST(call)                                         \
    do {                                                   \
        if (call) fail_msg("%s: %s", #call, dapt_error()); \
    } while (0)

// `lora`: what adapts it; NULL: nothing.
static void compile_model(const char *config, const struct dapt_lora *lora, uint32_t sequences,
                          uint32_t length) {
    struct dapt_json *json;
    struct dapt_model *model = NULL;
    struct dapt_device_handle *handle = NULL;
    struct dapt_engine *engine = NULL;
    struct dapt_batch *batch = NULL;
    struct dapt_engine_options options = {.train = true,
                                          .sequences = sequences,
                                          .length = length,
                                          .beta1 = 0.9f,
                                          .beta2 = 0.95f,
                                          .eps = 1e-8f};
    MUST(dapt_json_parse("test", config, strlen(config), &json));
    MUST(dapt_model_from_json(json, &model));
    if (lora != NULL) MUST(dapt_model_adapt(model, lora, "test"));
    MUST(dapt_device_open(dapt_host(), &lowers, 0, NULL, &handle));
    MUST(dapt_engine_create(model, handle, &options, &engine));
    MUST(dapt_batch_create(sequences, length, &batch));
    for (uint32_t i = 0; i < sequences * length; i++) {
        batch->ids[i] = batch->targets[i] = batch->first[i] = 0;
        batch->positions[i] = batch->last[i] = (int32_t)(i % length);
    }
    batch->scored = sequences * length;
    float *losses = calloc((size_t)sequences * length, sizeof *losses),
          *logits = calloc(model->vocab, sizeof *logits);
    assert_true(losses != NULL && logits != NULL);
    MUST(dapt_engine_losses(engine, batch, losses));
    MUST(dapt_engine_decode_start(engine, 64));
    MUST(dapt_engine_decode(engine, &(uint32_t){1}, 1, 0, logits));
    free(losses);
    free(logits);
    dapt_batch_destroy(&batch);
    dapt_engine_destroy(&engine);
    dapt_device_close(&handle);
    dapt_model_close(&model);
}

static void test_models(void **unused) {
    (void)unused;
    static const struct dapt_lora loras[] = {
        {.rank = 16, .alpha = 16, .dropout = 0.1, .base = DAPT_BASE_NF4},
        {.rank = 16, .alpha = 16, .dropout = 0.1, .base = DAPT_BASE_INT8}};
    static const struct {
        const char *config;
        uint32_t sequences, length;
    } models[] = {
        {"{\"model_type\":\"gpt2\",\"n_embd\":768,\"n_layer\":1,\"n_head\":12,\"n_positions\":1024,"
         "\"vocab_size\":50257}",
         8, 1024},
        {"{\"model_type\":\"llama\"," LLAMA "\"num_attention_heads\":32,\"num_key_value_heads\":4}",
         4, 512},
        {"{\"model_type\":\"mistral\"," LLAMA
         "\"num_attention_heads\":16,\"num_key_value_heads\":4,\"sliding_window\":256}",
         1, 512},
        {"{\"model_type\":\"qwen3\"," LLAMA
         "\"num_attention_heads\":16,\"num_key_value_heads\":8,\"head_dim\":128}",
         1, 128},
        {"{\"model_type\":\"qwen2\",\"hidden_size\":64,\"intermediate_size\":172,"
         "\"num_hidden_layers\":1,\"num_attention_heads\":8,\"num_key_value_heads\":4,"
         "\"vocab_size\":512,\"max_position_embeddings\":512}",
         8, 256},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        compile_model(models[i].config, NULL, models[i].sequences, models[i].length);
    for (size_t i = 0; i < sizeof loras / sizeof *loras; i++)
        compile_model(models[1].config, &loras[i], models[1].sequences, models[1].length);
    assert_true(kernel_count > 40);
    printf("%s: %u kernels, at most %u registers, none spilled\n", device.adapter->info.name,
           kernel_count, worst_registers);
}

// ------------------------------------------------------------------------------------- the figures

// What the compiler thinks of a product's kernel may get worse by so much.
#define GROWTH 1.03

// The figure of a kernel for this device and driver, in the file that DAPT_TEST_FIGURES names; 0:
// none.
static uint64_t known_figure(const char *kernel) {
    const char *path = getenv("DAPT_TEST_FIGURES");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    char line[700], wanted[600];
    uint64_t known = 0;
    snprintf(wanted, sizeof wanted, "%s\t%s\t%s\t", device.adapter->info.name,
             device.adapter->info.driver, kernel);
    while (file != NULL && known == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, wanted, strlen(wanted)) == 0)
            known = strtoull(line + strlen(wanted), NULL, 10);
    if (file != NULL) fclose(file);
    return known;
}

static void check_figure(const struct vk_pass *pass, const char *kernel) {
    figure = 0;
    kernel_count = 0;  // compiled even if it was before
    compile(pass);
    uint64_t known = known_figure(kernel);
    printf("%s\t%s\t%s\t%llu%s\n", device.adapter->info.name, device.adapter->info.driver, kernel,
           (unsigned long long)figure, known == 0 ? "\t(not known: skipped)" : "");
    if (known > 0 && (double)figure > GROWTH * (double)known)
        fail_msg("%s: %llu, was %llu", kernel, (unsigned long long)figure,
                 (unsigned long long)known);
}

static void check_product(const struct vk_tile *tile, const struct vk_matmul *m) {
    struct vk_passes passes = {0};
    struct vk_lowering l = {.device = &device, .passes = &passes};
    char kernel[100];
    vk_matmul_pass(&l, m, tile, m->c.rows, m->c.rows, &m->c);
    snprintf(kernel, sizeof kernel, "%s %ux%ux%u by %ux%u%s%s%s%s",
             vk_shader_rows[tile->shader].name, tile->bm, tile->bn, tile->bk, tile->tm, tile->tn,
             m->transpose_a ? " ta" : "", m->transpose_b ? " tb" : "", m->of ? " sums" : "",
             m->derivative ? " derivative" : "");
    check_figure(passes.at, kernel);
    free(passes.at);
}

// What stands in front of a product whose weights are in blocks.
static void check_blocks(enum dapt_dtype dtype, const struct vk_view *y, const char *kernel) {
    struct vk_passes passes = {0};
    struct vk_lowering l = {.device = &device, .passes = &passes, .in = {*y}, .out = {*y}};
    l.in[0].dtype = dtype;
    vk_op_dequantize(&l);
    check_figure(passes.at, kernel);
    free(passes.at);
}

// Whether the backend makes the tile for this device.
static bool is_made(const struct vk_tile *tile, enum dapt_dtype operands) {
    struct vk_lowering l = {.device = &device};
    struct vk_tile list[VK_MAX_TILES];
    if (tile->unit.m == 0) return true;
    if (!(device.adapter->matrix_types >> operands & 1)) return false;
    for (uint32_t i = vk_unit_tiles(&l, operands, &tile->unit, list); i-- > 0;)
        if (memcmp(&list[i], tile, sizeof *tile) == 0) return true;
    return false;
}

// Products of whole tiles, in all transposes: float32, and by a matrix unit where there is one.
static void test_figures(void **unused) {
    (void)unused;
    const struct vk_view square = {
        .address = 4096, .rows = 1024, .inner = 1, .cols = 1024, .stride = 1024};
    const struct vk_view row = {.address = 4096, .rows = 1024, .inner = 1, .cols = 1, .stride = 1};
    const struct vk_unit unit = {16, 16, 16, device.adapter->subgroup_max};
    const struct vk_tile tiles[] = {
        {SHADER_MATMUL, 128, 128, 8, 8, 8, {0}},
        {SHADER_MATMUL_CM_F16, 128, 128, 32, 64, 64, unit},
        {SHADER_MATMUL_CM_F16, 128, 128, 32, 64, 32, unit},
        {SHADER_MATMUL_CM_BF16, 128, 128, 32, 64, 64, unit},
    };
    const enum dapt_dtype operands[] = {DAPT_F32, DAPT_F16, DAPT_F16, DAPT_BF16};
    for (int t = 0; t < 4; t++)
        for (int transposes = 0; transposes < 4; transposes++) {
            struct vk_matmul m = {.a = square,
                                  .b = square,
                                  .c = square,
                                  .transpose_a = transposes & 1,
                                  .transpose_b = transposes & 2,
                                  .operands = operands[t]};
            if (!is_made(&tiles[t], operands[t])) continue;
            check_product(&tiles[t], &m);
            // As backward passes have them: with the gradient of a bias, or of an activation.
            if (transposes == 1) m.of = VK_SUMS_B, m.sums = row;
            if (transposes == 2)
                m.derivative = true, m.residual = square, m.activation = DAPT_ACT_GELU_TANH;
            if (transposes == 1 || transposes == 2) check_product(&tiles[t], &m);
        }
    check_blocks(DAPT_NF4, &square, "dequantize nf4");
    check_blocks(DAPT_INT8, &square, "dequantize int8");
}

// Attention by a matrix unit, and its gradient.
static void check_attention(enum dapt_dtype dtype, int64_t head_size, bool grad) {
    const struct vk_unit unit = {16, 16, 16, device.adapter->subgroup_max};
    const struct vk_view heads = {.address = 4096,
                                  .rows = 1024,
                                  .inner = 12,
                                  .cols = head_size,
                                  .stride = 12 * head_size,
                                  .dtype = dtype},
                         others = {
                             .address = 4096, .rows = 1024, .inner = 1, .cols = 12, .stride = 12};
    const struct dapt_op op = {.opcode = grad ? DAPT_OP_ATTENTION_GRAD : DAPT_OP_ATTENTION,
                               .u.attention = {.sequences = 1, .scale = 0.125f}};
    struct vk_passes passes = {0};
    struct vk_lowering l = {.device = &device, .op = &op, .passes = &passes};
    char kernel[100];
    for (int i = 0; i < (grad ? 8 : 5); i++) l.in[i] = i < (grad ? 5 : 3) ? heads : others;
    for (int i = 0; i < (grad ? 3 : 2); i++) l.out[i] = grad || i == 0 ? heads : others;
    if (!(device.adapter->matrix_types >> dtype & 1) || !vk_attention_fits(&l, &unit)) return;
    if (grad)
        vk_lower_attention_grad(&l, &unit, &others);
    else
        vk_lower_attention(&l, &unit);
    for (uint32_t i = 0; i < passes.count; i++) {
        const struct vk_pass *p = &passes.at[i];
        snprintf(kernel, sizeof kernel, "%s of %d", vk_shader_rows[p->shader].name, (int)head_size);
        if (p->subgroup > 0) check_figure(p, kernel);
    }
    free(passes.at);
}

static void test_attention_figures(void **unused) {
    (void)unused;
    for (int64_t head_size = 64; head_size <= 128; head_size += 64)
        for (int grad = 0; grad < 2; grad++) {
            check_attention(DAPT_F16, head_size, grad);
            check_attention(DAPT_BF16, head_size, grad);
        }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_figures),
                                       cmocka_unit_test(test_attention_figures)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("compile", tests, setup, NULL);
}
