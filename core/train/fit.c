#include "train/fit.h"

#include <inttypes.h>
#include <stdlib.h>

// What backends take for their own scratch, drivers for pipelines, and the estimate leaves out.
#define MARGIN 0.92
// Of a micro-batch without recomputing: from so many on, devices are busy enough for more not to
// be worth computing blocks twice.
#define TOKENS_ENOUGH 2048u

bool dapt_fit_asked(const struct dapt_config *config) {
    return config->train.micro_batch == DAPT_AUTO || config->train.recompute == DAPT_RECOMPUTE_AUTO;
}

uint64_t dapt_fit_host_bytes(const struct dapt_setup *setup,
                             const uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]) {
    bool host = setup->config->backend.optimizer_memory == DAPT_OPTIMIZER_ON_HOST &&
                !dapt_device_info(setup->device)->host_memory;
    return host ? bytes[DAPT_BUFFER_MOMENT1] + bytes[DAPT_BUFFER_MOMENT2] : 0;
}

uint64_t dapt_fit_memory(const struct dapt_setup *setup, uint64_t *host) {
    uint64_t bytes[DAPT_BUFFER_ROLE_COUNT], total = dapt_engine_memory(setup->engine, bytes);
    *host = dapt_fit_host_bytes(setup, bytes);
    return total - *host;
}

static enum dapt_status bytes_of(const struct dapt_setup *setup,
                                 const struct dapt_engine_options *options, uint64_t *bytes) {
    uint64_t roles[DAPT_BUFFER_ROLE_COUNT];
    enum dapt_status status = dapt_engine_estimate(setup->model, setup->device, options, roles);
    *bytes = 0;
    for (int r = 0; !status && r < DAPT_BUFFER_ROLE_COUNT; r++) *bytes += roles[r];
    if (!status) *bytes -= dapt_fit_host_bytes(setup, roles);
    return status;
}

// The largest divisor of the batch, from the configured size down, that fits; 0: none. *least: bytes of
// the smallest that was tried.
static enum dapt_status largest(const struct dapt_setup *setup, struct dapt_engine_options *options,
                                uint64_t memory, uint32_t *micro, uint64_t *least) {
    const struct dapt_config *config = setup->config;
    bool free = config->train.micro_batch == DAPT_AUTO;
    uint32_t batch = config->train.batch, most = setup->micro;
    enum dapt_status status = DAPT_OK;
    *micro = 0;
    for (uint32_t n = most; n >= (free ? 1 : most) && !*micro && !status; n--) {
        if (batch % n) continue;
        options->sequences = n;
        status = bytes_of(setup, options, least);
        if (!status && (double)*least <= MARGIN * (double)memory) *micro = n;
    }
    return status;
}

// Devices differ, and micro-batches are the same on all ranks: what fits everywhere. Of two divisors of the
// batch the smaller one is one.
static enum dapt_status take_least(struct dapt_setup *setup) {
    uint32_t size = dapt_ranks_count(setup->ranks), rank = dapt_ranks_index(setup->ranks);
    uint32_t *micros = dapt_alloc(size, sizeof *micros);
    if (!micros) return DAPT_ERROR_MEMORY;
    micros[rank] = setup->micro;
    enum dapt_status status = dapt_ranks_gather_each(setup->ranks, micros, sizeof *micros);
    for (uint32_t r = 0; !status && r < size; r++)
        if (micros[r] < setup->micro) setup->micro = micros[r];
    free(micros);
    return status;
}

static enum dapt_status too_large(const struct dapt_setup *setup, uint64_t memory, uint64_t least) {
    struct dapt_small_text need, have;
    bool given = setup->config->backend.memory;
    return dapt_fail(DAPT_ERROR_MEMORY,
                     "training needs %s and a margin at least, one micro-batch of %" PRIu32
                     " tokens with everything recomputed; %s %s: %s",
                     dapt_bytes_text(least, &need), setup->config->data.sequence,
                     given ? "backend.memory is" : "the device has free",
                     dapt_bytes_text(memory, &have),
                     given ? "raise it, or take shorter sequences (data.sequence)"
                           : "shorter sequences (data.sequence), train.freeze or a smaller model "
                             "take less");
}

enum dapt_status dapt_fit_choose(struct dapt_setup *setup, struct dapt_engine_options engine,
                                 const struct dapt_reporter *reporter) {
    const struct dapt_config *config = setup->config;
    const struct dapt_device_info *info = dapt_device_info(setup->device);
    uint64_t memory = config->backend.memory ? config->backend.memory
                      : info->free           ? info->free
                                             : info->memory;
    uint32_t micro[2] = {0};
    uint64_t bytes[2] = {0};
    enum dapt_recompute wanted = config->train.recompute, last = DAPT_RECOMPUTE_BLOCK;
    enum dapt_status status = DAPT_OK;
    for (int r = DAPT_RECOMPUTE_NONE; r <= (int)last && !status; r++) {
        if (wanted != DAPT_RECOMPUTE_AUTO && (int)wanted != r) continue;
        engine.recompute = (enum dapt_recompute)r;
        status = largest(setup, &engine, memory, &micro[r], &bytes[r]);
        uint64_t tokens = (uint64_t)micro[r] * config->data.sequence;
        if (micro[r] == setup->micro || tokens >= TOKENS_ENOUGH) last = engine.recompute;
    }
    if (status) return status;
    bool block = micro[DAPT_RECOMPUTE_BLOCK] > micro[DAPT_RECOMPUTE_NONE];
    setup->recompute = block ? DAPT_RECOMPUTE_BLOCK : DAPT_RECOMPUTE_NONE;
    setup->micro = micro[setup->recompute];
    if (!setup->micro) return too_large(setup, memory, bytes[last]);
    status = take_least(setup);
    if (status) return status;
    struct dapt_small_text a, b;
    dapt_report_note(reporter, "fits            micro-batches of %" PRIu32 "%s: about %s of %s%s",
                     setup->micro, block ? ", blocks recomputed" : "",
                     dapt_bytes_text(bytes[setup->recompute], &a), dapt_bytes_text(memory, &b),
                     config->backend.memory ? " (backend.memory)" : " that are free");
    return DAPT_OK;
}
