#include "module.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

const struct dapt_backend *open_module(void) {
    const char *folder = getenv("DAPT_TEST_BUILD");
    char path[4096];
    assert_non_null(folder);
    snprintf(path, sizeof path, "%s/backends/vulkan/vulkan.so", folder);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) fail_msg("%s", dlerror());
    return ((const struct dapt_backend_entry *)dlsym(module, "dapt_backend_entry"))->backend;
}
