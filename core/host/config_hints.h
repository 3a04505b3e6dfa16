// What somebody may have meant whose configuration is not one: names of other tools, other formats.
#ifndef DAPT_HOST_CONFIG_HINTS_H
#define DAPT_HOST_CONFIG_HINTS_H
#include "base/error.h"

// The key that does here what `name` does in other trainers, or the one that is called so at
// another place of the configuration: "train.schedule.peak" for "lr". NULL: none.
const char *dapt_config_hint(const char *name);
// Adds to the reason why `path` is not JSON how to make JSON of it, where it looks like YAML or
// TOML. Returns `status`.
enum dapt_status dapt_config_hint_format(enum dapt_status status, const char *path);
#endif
