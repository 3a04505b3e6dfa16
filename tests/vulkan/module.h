// The Vulkan backend's module, for tests that call its table themselves.
#ifndef DAPT_TESTS_VULKAN_MODULE_H
#define DAPT_TESTS_VULKAN_MODULE_H
#include "dapt/backend.h"

// The backend of the build folder that DAPT_TEST_BUILD names; a failed test where there is none.
const struct dapt_backend *open_module(void);
#endif
