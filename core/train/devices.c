// Which device a run computes on; of several ranks each on which.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/select.h"
#include "train/setup.h"

// Which device each rank computes on, those alike together: of what one rank tells, it knows its own.
static enum dapt_status tell_ranks(const struct dapt_setup *setup,
                                   const struct dapt_reporter *reporter) {
    typedef char line[DAPT_COMM_HOST + 320];
    uint32_t size = dapt_ranks_count(setup->ranks), rank = dapt_ranks_index(setup->ranks);
    if (!setup->ranks) return DAPT_OK;
    const struct dapt_device_info *info = dapt_device_info(setup->device);
    line *all = dapt_alloc(size, sizeof *all);
    if (!all) return DAPT_ERROR_MEMORY;
    snprintf(all[rank], sizeof *all, "on %s: %s: %s", dapt_ranks_world(setup->ranks)->host,
             dapt_device_backend(setup->device)->name, info->name);
    enum dapt_status status = dapt_ranks_gather_each(setup->ranks, all, sizeof *all);
    for (uint32_t r = 0, next; !status && r < size; r = next) {
        char until[16] = "";
        for (next = r + 1; next < size && strcmp(all[r], all[next]) == 0;) next++;
        if (next > r + 1) snprintf(until, sizeof until, " to %" PRIu32, next - 1);
        dapt_report_note(reporter, "%-15s %" PRIu32 "%s %s", r ? "" : "ranks", r, until, all[r]);
    }
    free(all);
    return status;
}

enum dapt_status dapt_setup_device(struct dapt_setup *setup, const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    const struct dapt_comm_world *world = dapt_ranks_world(setup->ranks);
    const char *const *devices = config->backend.devices;
    uint32_t named = 0;
    while (devices && devices[named]) named++;
    struct dapt_device_wish wish = {
        .backend = config->backend.name,
        .device = named ? devices[world->local_rank % named] : NULL,
        .threads = config->backend.threads,
        .local_rank = world->local_rank,
        .local_size = world->local_size,
        .host_moments = config->backend.optimizer_memory == DAPT_OPTIMIZER_ON_HOST};
    enum dapt_status status = dapt_select_device(setup->modules, &wish, &setup->device);
    if (status) return status;
    const struct dapt_device_info *info = dapt_device_info(setup->device);
    char threads[48] = "";
    if (info->threads) snprintf(threads, sizeof threads, ", %" PRIu32 " threads", info->threads);
    dapt_report_note(reporter, "device          %s: %s%s", dapt_device_backend(setup->device)->name,
                     info->name, threads);
    if (wish.host_moments && info->host_memory)
        dapt_report_note(reporter,
                         "optimizer       backend.optimizer_memory \"host\" changes nothing: this "
                         "device computes in the host's memory");
    return tell_ranks(setup, reporter);
}
