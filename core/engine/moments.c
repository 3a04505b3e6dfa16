#include "engine/moments.h"

#include <math.h>
#include <string.h>

#include "graph/ops.h"

#define ALIGN 64u                            // bytes of a range's offset
#define BLOCK_BYTES (DAPT_MOMENT_WORDS * 4)  // of one block

// Biases and norms are few, and their gradients differ the most within a block.
static bool is_packed(const struct dapt_parameter_group *group, enum dapt_moments kind) {
    return kind == DAPT_MOMENTS_8BIT && group->decay;
}

// Of the whole: where each range lies in a buffer of all.
static size_t all_ranges(const struct dapt_model *model, enum dapt_moments kind,
                         struct dapt_moment_range ranges[DAPT_GROUPS], uint64_t *bytes) {
    size_t used = 0;
    *bytes = 0;
    for (size_t i = 0; i < model->group_count; i++) {
        const struct dapt_parameter_group *group = &model->groups[i];
        uint64_t count = group->end - group->begin;
        if (!group->trained) continue;
        struct dapt_moment_range *range = &ranges[used++];
        *range = (struct dapt_moment_range){.group = group,
                                            .begin = group->begin,
                                            .end = group->end,
                                            .packed = is_packed(group, kind),
                                            .offset = (*bytes + ALIGN - 1) / ALIGN * ALIGN};
        range->size = range->packed ? dapt_moment_blocks(count) * BLOCK_BYTES
                                    : count * dapt_dtype_size(DAPT_F32);
        *bytes = range->offset + range->size;
    }
    return used;
}

// Bytes in front of an element of a range that is a bound.
static uint64_t byte_in(const struct dapt_moment_range *range, uint64_t element) {
    if (element == range->end) return range->size;
    uint64_t count = element - range->begin;
    return range->packed ? count / DAPT_MOMENT_BLOCK * BLOCK_BYTES
                         : count * dapt_dtype_size(DAPT_F32);
}

uint64_t dapt_moment_byte(const struct dapt_model *model, enum dapt_moments kind, uint64_t bound) {
    struct dapt_moment_range ranges[DAPT_GROUPS];
    uint64_t bytes;
    size_t count = all_ranges(model, kind, ranges, &bytes);
    for (size_t i = 0; i < count; i++)
        if (bound < ranges[i].end) return ranges[i].offset + byte_in(&ranges[i], bound);
    return bytes;
}

size_t dapt_moment_ranges(const struct dapt_model *model, enum dapt_moments kind, uint64_t begin,
                          uint64_t end, struct dapt_moment_range ranges[DAPT_GROUPS],
                          uint64_t *bytes) {
    struct dapt_moment_range all[DAPT_GROUPS];
    uint64_t total, first = dapt_moment_byte(model, kind, begin);
    size_t count = all_ranges(model, kind, all, &total), used = 0;
    for (size_t i = 0; i < count; i++) {
        struct dapt_moment_range range = all[i];
        if (begin > range.begin) range.begin = begin;
        if (end < range.end) range.end = end;
        if (range.begin >= range.end) continue;
        uint64_t offset = byte_in(&all[i], range.begin);
        range.size = byte_in(&all[i], range.end) - offset;
        range.offset += offset - first;
        ranges[used++] = range;
    }
    *bytes = begin < end ? dapt_moment_byte(model, kind, end) - first : 0;
    return used;
}

// ------------------------------------------------------------------------------------------ shards

// Elements of a group: 16 blocks of 8 bits are 65 times 64 bytes.
#define UNIT (16u * DAPT_MOMENT_BLOCK)

uint64_t dapt_moment_bound(const struct dapt_model *model, uint32_t shards, uint32_t index) {
    uint64_t units = (model->trained_count + UNIT - 1) / UNIT,
             bound = units * index / shards * UNIT;
    if (index >= shards || bound >= model->trained_count) return model->trained_count;
    for (size_t i = 0; i < model->group_count; i++) {
        const struct dapt_parameter_group *group = &model->groups[i];
        if (bound >= group->begin && bound < group->end)
            return bound - (bound - group->begin) % UNIT;
    }
    return bound;
}

void dapt_moment_own(const struct dapt_model *model, const struct dapt_engine_options *options,
                     uint64_t *begin, uint64_t *end) {
    uint32_t index = dapt_ranks_index(options->ranks), count = dapt_ranks_count(options->ranks);
    if (!options->ranks && options->shards) count = options->shards;
    *begin = dapt_moment_bound(model, count, index);
    *end = dapt_moment_bound(model, count, index + 1);
}

// ------------------------------------------------------------------------------------------ 8 bits

static float value_of(unsigned code, int fraction) {
    unsigned exponent = code >> fraction, rest = code & ((1u << fraction) - 1);
    float part = (float)rest / (float)(1u << fraction);
    return exponent ? ldexpf(1 + part, (int)exponent) : 2 * part;
}

void dapt_moments_decode(const uint8_t *blocks, bool second, uint64_t begin, uint64_t count,
                         float *values) {
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *block = blocks + (begin + i) / DAPT_MOMENT_BLOCK * BLOCK_BYTES;
        unsigned code = block[(begin + i) % DAPT_MOMENT_BLOCK];
        float unit;
        memcpy(&unit, block + DAPT_MOMENT_BLOCK, sizeof unit);
        float value = unit * (second ? value_of(code, 4) : value_of(code & 127, 3));
        values[i] = second ? value * value : code & 128 ? -value : value;
    }
}
