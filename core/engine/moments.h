// Where an optimizer's moments lie, and what those of 8 bits hold. Each of the two is a buffer with a range
// for each group of trained parameters.
#ifndef DAPT_ENGINE_MOMENTS_H
#define DAPT_ENGINE_MOMENTS_H
#include "engine/engine.h"

struct dapt_moment_range {
    const struct dapt_parameter_group *group;
    bool packed;            // in 8 bits, as dapt/backend.h has them; otherwise float32
    uint64_t offset, size;  // bytes of the buffer
};
// The ranges in the order of the groups, at most DAPT_GROUPS; returns how many. *bytes: of one buffer.
size_t dapt_moment_ranges(const struct dapt_model *model, enum dapt_moments kind,
                          struct dapt_moment_range ranges[DAPT_GROUPS], uint64_t *bytes);
// Numbers [begin, begin + count) of those that blocks hold, DAPT_MOMENT_WORDS * 4 bytes each.
// `second`: they are second moments, and given as such, not as their roots.
void dapt_moments_decode(const uint8_t *blocks, bool second, uint64_t begin, uint64_t count,
                         float *values);
#endif
