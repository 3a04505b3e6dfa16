// A backend that only lowers programs to passes: nothing runs, and no driver is needed. Without matrix units.
#ifndef TESTS_VULKAN_LOWERS_H
#define TESTS_VULKAN_LOWERS_H
#include "lower.h"

extern const struct dapt_backend lowers;
extern struct dapt_device device;  // for the test to fill: adapter, limits

// Of the test: gets the passes of each program that is compiled.
void lowered(const struct dapt_program *program, const struct vk_passes *passes);
#endif
