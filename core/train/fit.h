// What of a step is in memory at a time, where a configuration leaves it to dapt ("auto").
#ifndef DAPT_TRAIN_FIT_H
#define DAPT_TRAIN_FIT_H
#include "train/setup.h"

// Whether the configuration leaves anything to dapt_fit_choose().
bool dapt_fit_asked(const struct dapt_config *config);
// Sets setup->micro, which is the largest to try, and setup->recompute: as the configuration says; where
// it says "auto", the largest micro-batch that the memory takes (backend.memory, or what the device has
// free), first without recomputing, and with it where that leaves too few tokens at a time. `engine` has
// the other options. Tells what was chosen, on all ranks the least that any chose. Collective.
// DAPT_ERROR_MEMORY where nothing fits: says what the least would take.
enum dapt_status dapt_fit_choose(struct dapt_setup *setup, struct dapt_engine_options engine,
                                 const struct dapt_reporter *reporter);
// Of bytes by role (dapt_engine_estimate, dapt_engine_memory) those that are in the host's memory, where
// the device's is another; and what the engine takes of the device's, `*host` beside it.
uint64_t dapt_fit_host_bytes(const struct dapt_setup *setup,
                             const uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]);
uint64_t dapt_fit_memory(const struct dapt_setup *setup, uint64_t *host);
#endif
