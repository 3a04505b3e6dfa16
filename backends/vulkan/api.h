// Vulkan's functions, found at run time, and what older headers lack.
#ifndef DAPT_VK_API_H
#define DAPT_VK_API_H
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "dapt/backend.h"

// clang-format off
#define VK_INSTANCE_FUNCTIONS(X)                                                                     \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties)                    \
    X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2)                                    \
    X(GetPhysicalDeviceMemoryProperties2) X(GetPhysicalDeviceQueueFamilyProperties)                  \
    X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(GetDeviceProcAddr)

// Of extensions: NULL where the instance lacks them.
#define VK_OPTIONAL_FUNCTIONS(X)                                                                     \
    X(CreateDebugUtilsMessengerEXT) X(DestroyDebugUtilsMessengerEXT) X(SetDebugUtilsObjectNameEXT)   \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)

#define VK_DEVICE_FUNCTIONS(X)                                                                       \
    X(DestroyDevice) X(GetDeviceQueue) X(QueueSubmit) X(QueueBindSparse) X(DeviceWaitIdle)           \
    X(CreateBuffer) X(DestroyBuffer) X(GetBufferMemoryRequirements) X(BindBufferMemory)              \
    X(GetBufferDeviceAddress) X(AllocateMemory) X(FreeMemory) X(MapMemory)                           \
    X(CreateSemaphore) X(DestroySemaphore) X(GetSemaphoreCounterValue) X(WaitSemaphores)             \
    X(CreateCommandPool) X(DestroyCommandPool) X(AllocateCommandBuffers) X(FreeCommandBuffers)       \
    X(BeginCommandBuffer) X(EndCommandBuffer) X(CmdBindPipeline) X(CmdPushConstants) X(CmdDispatch)  \
    X(CmdDispatchBase)                                                                               \
    X(CmdPipelineBarrier) X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdResetQueryPool)                     \
    X(CmdWriteTimestamp) X(CreateQueryPool) X(DestroyQueryPool) X(GetQueryPoolResults)               \
    X(CreateShaderModule) X(DestroyShaderModule) X(CreatePipelineLayout) X(DestroyPipelineLayout)    \
    X(CreateComputePipelines) X(DestroyPipeline) X(CreatePipelineCache) X(DestroyPipelineCache)      \
    X(GetPipelineCacheData)
// clang-format on

// Drivers that are Vulkan on top of something else, such as Metal, are listed only on request.
#ifndef VK_KHR_portability_enumeration
#define VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME "VK_KHR_portability_enumeration"
#define VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR 1
#endif

// Cooperative matrices are younger than some headers.
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
#define VK_SCOPE_SUBGROUP_KHR 3
#define VK_COMPONENT_TYPE_FLOAT16_KHR 0
#define VK_COMPONENT_TYPE_FLOAT32_KHR 1
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    uint32_t AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    uint32_t scope;
} VkCooperativeMatrixPropertiesKHR;
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR \
    ((VkStructureType)1000506000)
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice device, uint32_t *count, VkCooperativeMatrixPropertiesKHR *properties);
#endif

// So is bfloat16.
#ifndef VK_KHR_shader_bfloat16
#define VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME "VK_KHR_shader_bfloat16"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR ((VkStructureType)1000141000)
typedef struct VkPhysicalDeviceShaderBfloat16FeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 shaderBFloat16Type, shaderBFloat16DotProduct, shaderBFloat16CooperativeMatrix;
} VkPhysicalDeviceShaderBfloat16FeaturesKHR;
#endif
#define VK_DAPT_COMPONENT_BFLOAT16 1000141000

#define MEMBER(name) PFN_vk##name name;
struct vk_instance_api {
    VK_INSTANCE_FUNCTIONS(MEMBER)
    VK_OPTIONAL_FUNCTIONS(MEMBER)
};
struct vk_device_api {
    VK_DEVICE_FUNCTIONS(MEMBER)
};
#undef MEMBER

// libvulkan's door. NULL: there is no library, and *reason says why (valid until the next dlopen).
PFN_vkGetInstanceProcAddr vk_library_open(void **library, const char **reason);
// Fill the tables. The name of the first function that is missing, or NULL.
const char *vk_load_instance(PFN_vkGetInstanceProcAddr get, VkInstance instance,
                             struct vk_instance_api *api);
const char *vk_load_device(PFN_vkGetDeviceProcAddr get, VkDevice device, struct vk_device_api *api);
#endif
