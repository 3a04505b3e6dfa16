// A schedule for tests: a constant rate, and a share of replay that grows from 0 to 0.5. With
// RAMP_REBUILT set it gives other rates, as one that was built anew may.
#include <stdlib.h>

#include "dapt/plugin.h"

static enum dapt_status ramp_open(const struct dapt_host *host, const struct dapt_options *options,
                                  void **handle) {
    (void)options;
    *handle = malloc(1);
    return *handle ? DAPT_OK : host->fail(host, DAPT_ERROR_MEMORY, "no memory");
}

static void ramp_at(void *handle, uint64_t step, uint64_t total,
                    struct dapt_schedule_point *point) {
    (void)handle;
    point->learning_rate = getenv("RAMP_REBUILT") ? 0.02 : 0.01;
    point->replay_share = 0.5 * (double)step / (double)total;
}

static const struct dapt_schedule_1 ramp = {ramp_open, ramp_at, free};
static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_SCHEDULE_1,
    .id = "ramp",
    .version = "1",
    .summary = "a growing share of replay, for tests",
    .implementation = &ramp,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
