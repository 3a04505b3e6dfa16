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

size_t dapt_moment_ranges(const struct dapt_model *model, enum dapt_moments kind,
                          struct dapt_moment_range ranges[DAPT_GROUPS], uint64_t *bytes) {
    size_t used = 0;
    *bytes = 0;
    for (size_t i = 0; i < model->group_count; i++) {
        const struct dapt_parameter_group *group = &model->groups[i];
        uint64_t count = group->end - group->begin;
        if (!group->trained) continue;
        struct dapt_moment_range *range = &ranges[used++];
        *range = (struct dapt_moment_range){.group = group,
                                            .packed = is_packed(group, kind),
                                            .offset = (*bytes + ALIGN - 1) / ALIGN * ALIGN};
        range->size = range->packed ? dapt_moment_blocks(count) * BLOCK_BYTES
                                    : count * dapt_dtype_size(DAPT_F32);
        *bytes = range->offset + range->size;
    }
    return used;
}

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
