// Where an optimizer's moments lie, and what those of 8 bits hold. Each of the two is a buffer with a range
// for each group of trained parameters.
#ifndef DAPT_ENGINE_MOMENTS_H
#define DAPT_ENGINE_MOMENTS_H
#include "engine/engine.h"

struct dapt_moment_range {
    const struct dapt_parameter_group *group;
    uint64_t begin, end;    // of it, elements of the flat parameters
    bool packed;            // in 8 bits, as dapt/backend.h has them; otherwise float32
    uint64_t offset, size;  // bytes of the buffer
};
// The ranges of trained parameters [begin, end) in the order of the groups, at most DAPT_GROUPS; returns
// how many. *bytes: of one buffer of these. `begin` and `end`: 0, the number of trained parameters, or
// bounds of shards.
size_t dapt_moment_ranges(const struct dapt_model *model, enum dapt_moments kind, uint64_t begin,
                          uint64_t end, struct dapt_moment_range ranges[DAPT_GROUPS],
                          uint64_t *bytes);

// Ranks that train together keep a shard each (ZeRO stage 1, Rajbhandari et al. 2020): of the trained
// parameters rank r updates those from bound r to bound r + 1, in elements; a shard may be empty. Bounds
// lie where blocks do, and at multiples of 64 bytes of the moments, so that a shard's buffer is a piece of
// the one that all ranks together would have.
uint64_t dapt_moment_bound(const struct dapt_model *model, uint32_t shards, uint32_t index);
// The bytes in front of such a bound in that buffer.
uint64_t dapt_moment_byte(const struct dapt_model *model, enum dapt_moments kind, uint64_t bound);
// What an engine with these options updates.
void dapt_moment_own(const struct dapt_model *model, const struct dapt_engine_options *options,
                     uint64_t *begin, uint64_t *end);

// Numbers [begin, begin + count) of those that blocks hold, DAPT_MOMENT_WORDS * 4 bytes each.
// `second`: they are second moments, and given as such, not as their roots.
void dapt_moments_decode(const uint8_t *blocks, bool second, uint64_t begin, uint64_t count,
                         float *values);
#endif
