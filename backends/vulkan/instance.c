// libvulkan, the instance, and the list of the devices that have what is needed (adapter.c).
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>

#include "vk.h"

static struct vk_instance instance;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

// -------------------------------------------------------------------------------------- validation

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *context) {
    (void)context;
    // The loader reports drivers that it could not load as "general": not an error of this program.
    if (types == VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT) return VK_FALSE;
    char line[2048];
    snprintf(line, sizeof line, "vulkan: validation: %s", data->pMessage);
    instance.host->log(instance.host, DAPT_LOG_ERROR, line);
    if (severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT) abort();
    return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT |
                   VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                   VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
    .pfnUserCallback = on_message,
};

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' && strcmp(value, "0") != 0;
}

static bool instance_offers(const char *extension) {
    PFN_vkEnumerateInstanceExtensionProperties list =
        (PFN_vkEnumerateInstanceExtensionProperties)instance.get(
            NULL, "vkEnumerateInstanceExtensionProperties");
    VkExtensionProperties found[128];
    uint32_t count = 128;
    if (list == NULL || list(NULL, &count, found) < 0) return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(found[i].extensionName, extension) == 0) return true;
    return false;
}

static VkResult create(void) {
    PFN_vkCreateInstance create_instance = (PFN_vkCreateInstance)instance.get(NULL,
                                                                              "vkCreateInstance");
    PFN_vkEnumerateInstanceVersion version = (PFN_vkEnumerateInstanceVersion)instance.get(
        NULL, "vkEnumerateInstanceVersion");
    uint32_t offered = 0;
    if (create_instance == NULL || version == NULL || version(&offered) != VK_SUCCESS ||
        offered < VK_API_VERSION_1_2)
        return VK_ERROR_INCOMPATIBLE_DRIVER;
    static const char *const layers[] = {"VK_LAYER_KHRONOS_validation"};
    const char *extensions[2];
    uint32_t count = 0;
    static const VkValidationFeatureEnableEXT features[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT validation = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                          .pNext = &messenger_info,
                                          .enabledValidationFeatureCount = 1,
                                          .pEnabledValidationFeatures = features};
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "dapt",
                                     .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &application};
    if (instance.labels) extensions[count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    // Vulkan on Metal: loaders hide such drivers from those who do not ask for them.
    if (instance_offers(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        extensions[count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        info.flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    info.enabledExtensionCount = count;
    info.ppEnabledExtensionNames = extensions;
    if (instance.validating) {
        info.pNext = &validation;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = layers;
    }
    return create_instance(&info, NULL, &instance.handle);
}

// ------------------------------------------------------------------------------------- the devices

static int rank(const struct vk_adapter *a) {
    static const int ranks[] = {[DAPT_DEVICE_DISCRETE] = 0,
                                [DAPT_DEVICE_INTEGRATED] = 1,
                                [DAPT_DEVICE_VIRTUAL] = 2,
                                [DAPT_DEVICE_CPU] = 3,
                                [DAPT_DEVICE_SOFTWARE] = 3};
    return ranks[a->info.kind];
}

#if defined(__APPLE__)
#define LIBRARY_REMEDY "; MoltenVK, or the Vulkan SDK of LunarG, has it"
#define DRIVER_REMEDY ""
#else
#define LIBRARY_REMEDY "; Debian and Ubuntu: apt-get install libvulkan1 mesa-vulkan-drivers"
#define DRIVER_REMEDY                                                                         \
    "; Debian and Ubuntu: apt-get install mesa-vulkan-drivers (AMD, Intel), or NVIDIA's own " \
    "driver"
#endif

static void list_adapters(void) {
    VkPhysicalDevice handles[VK_MAX_ADAPTERS];
    uint32_t count = VK_MAX_ADAPTERS;
    if (instance.api.EnumeratePhysicalDevices(instance.handle, &count, handles) < 0) count = 0;
    for (int wanted = 0; wanted <= 3; wanted++)
        for (uint32_t i = 0; i < count && instance.count < VK_MAX_ADAPTERS; i++) {
            struct vk_adapter *a = &instance.adapters[instance.count];
            if (vk_adapter_examine(&instance.api, handles[i], a) && rank(a) == wanted)
                instance.count++;
        }
    if (count == 0)
        snprintf(instance.reason, sizeof instance.reason,
                 "the drivers find no device" DRIVER_REMEDY);
    else if (instance.count == 0)
        snprintf(instance.reason, sizeof instance.reason,
                 "none of %u devices has Vulkan 1.2 with timeline semaphores and buffer device "
                 "addresses",
                 count);
}

// What to do about it, where that is known.
static const char *remedy(VkResult result) {
    switch ((int)result) {
    case VK_ERROR_LAYER_NOT_PRESENT:
        return " (DAPT_VK_VALIDATE needs the Khronos validation layer)";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return DRIVER_REMEDY;
    default: return "";
    }
}

static void open_instance(void) {
    const char *reason = NULL;
    instance.get = vk_library_open(&instance.library, &reason);
    if (instance.get == NULL) {
        snprintf(instance.reason, sizeof instance.reason, "no Vulkan library: %s" LIBRARY_REMEDY,
                 reason);
        return;
    }
    instance.validating = is_set("DAPT_VK_VALIDATE");
    instance.labels = instance.validating || (is_set("DAPT_VK_LABELS") &&
                                              instance_offers(VK_EXT_DEBUG_UTILS_EXTENSION_NAME));
    VkResult result = create();
    if (result != VK_SUCCESS) {
        snprintf(instance.reason, sizeof instance.reason, "vkCreateInstance: %s%s",
                 vk_result_name(result), remedy(result));
        return;
    }
    const char *missing = vk_load_instance(instance.get, instance.handle, &instance.api);
    if (missing != NULL) {
        snprintf(instance.reason, sizeof instance.reason, "the Vulkan library lacks %s", missing);
        return;
    }
    if (instance.validating)
        instance.api.CreateDebugUtilsMessengerEXT(instance.handle, &messenger_info, NULL,
                                                  &instance.messenger);
    list_adapters();
}

static void close_instance(void) {
    if (instance.messenger != VK_NULL_HANDLE)
        instance.api.DestroyDebugUtilsMessengerEXT(instance.handle, instance.messenger, NULL);
    if (instance.handle != VK_NULL_HANDLE && instance.api.DestroyInstance != NULL)
        instance.api.DestroyInstance(instance.handle, NULL);
    if (instance.library != NULL) dlclose(instance.library);
    memset(&instance, 0, sizeof instance);
}

struct vk_instance *vk_instance_acquire(const struct dapt_host *host) {
    pthread_mutex_lock(&opening);
    instance.host = host;
    if (instance.users++ == 0) open_instance();
    pthread_mutex_unlock(&opening);
    return &instance;
}

void vk_instance_release(void) {
    pthread_mutex_lock(&opening);
    if (--instance.users == 0) close_instance();
    pthread_mutex_unlock(&opening);
}

// ---------------------------------------------------------------------------------------- the list

// Devices do not come and go: what was found once is kept for those who only ask.
static struct {
    bool known;
    uint32_t count;
    struct dapt_device_info info[VK_MAX_ADAPTERS];
    char reason[sizeof instance.reason];
} listed;

static void list_devices(const struct dapt_host *host) {
    if (listed.known) return;
    const struct vk_instance *i = vk_instance_acquire(host);
    listed.count = i->count;
    for (uint32_t k = 0; k < i->count; k++) {
        uint64_t total;
        listed.info[k] = i->adapters[k].info;
        vk_memory_budget(&i->adapters[k], &total, &listed.info[k].free);
    }
    snprintf(listed.reason, sizeof listed.reason, "%s", i->reason);
    listed.known = true;
    vk_instance_release();
}

enum dapt_status vk_device_count(const struct dapt_host *host, uint32_t *count) {
    list_devices(host);
    *count = listed.count;
    return listed.count > 0
               ? DAPT_OK
               : backend_fail(host, DAPT_ERROR_UNSUPPORTED, "vulkan: no device: %s", listed.reason);
}

enum dapt_status vk_device_info(const struct dapt_host *host, uint32_t index,
                                struct dapt_device_info *info) {
    list_devices(host);
    if (index >= listed.count)
        return backend_fail(host, DAPT_ERROR_INVALID,
                            "vulkan: device %u asked for, there are %u%s%s", index, listed.count,
                            listed.count > 0 ? "" : ": ", listed.reason);
    *info = listed.info[index];
    return DAPT_OK;
}
