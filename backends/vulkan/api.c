#include "api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

struct entry {
    const char *name;
    size_t offset;
    bool optional;
};

#define ROW(function) {"vk" #function, offsetof(TABLE, function), OPTIONAL},
#define TABLE struct vk_instance_api
#define OPTIONAL false
static const struct entry instance_entries[] = {VK_INSTANCE_FUNCTIONS(ROW)
#undef OPTIONAL
#define OPTIONAL true
                                                    VK_OPTIONAL_FUNCTIONS(ROW)};
#undef TABLE
#undef OPTIONAL
#define TABLE struct vk_device_api
#define OPTIONAL false
static const struct entry device_entries[] = {VK_DEVICE_FUNCTIONS(ROW)};

// Function pointers all have one size; a table is an array of them under names.
static const char *store(const struct entry *entry, PFN_vkVoidFunction function, void *table) {
    memcpy((char *)table + entry->offset, &function, sizeof function);
    return function == NULL && !entry->optional ? entry->name : NULL;
}

PFN_vkGetInstanceProcAddr vk_library_open(void **library, const char **reason) {
#if defined(__APPLE__)
    static const char *const names[] = {"libvulkan.dylib", "libvulkan.1.dylib",
                                        "libMoltenVK.dylib"};
#else
    static const char *const names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif
    PFN_vkGetInstanceProcAddr get = NULL;
    *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && *library == NULL; i++)
        *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    // Once more, so that the error told is of the name that should be there.
    if (*library == NULL) *library = dlopen(names[0], RTLD_NOW | RTLD_LOCAL);
    if (*library != NULL) {
        void *symbol = dlsym(*library, "vkGetInstanceProcAddr");
        memcpy(&get, &symbol, sizeof get);
    }
    if (get == NULL) *reason = dlerror();
    return get;
}

const char *vk_load_instance(PFN_vkGetInstanceProcAddr get, VkInstance instance,
                             struct vk_instance_api *api) {
    for (size_t i = 0; i < sizeof instance_entries / sizeof *instance_entries; i++) {
        const char *missing = store(&instance_entries[i], get(instance, instance_entries[i].name),
                                    api);
        if (missing != NULL) return missing;
    }
    return NULL;
}

const char *vk_load_device(PFN_vkGetDeviceProcAddr get, VkDevice device,
                           struct vk_device_api *api) {
    for (size_t i = 0; i < sizeof device_entries / sizeof *device_entries; i++) {
        const char *missing = store(&device_entries[i], get(device, device_entries[i].name), api);
        if (missing != NULL) return missing;
    }
    return NULL;
}
