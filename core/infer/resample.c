#include "infer/resample.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"

// "resample": apart from the streams of data and weights.
#define STREAM_RESAMPLE 0x726573616d706c65ull

enum dapt_status dapt_resample(uint64_t seed, size_t count, size_t rounds,
                               dapt_resample_figure figure, void *user, double *figures) {
    uint32_t *draw = dapt_alloc(count, sizeof *draw);
    if (!draw) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    for (size_t round = 0; !status && round < rounds; round++) {
        for (size_t i = 0; i < count; i++)
            draw[i] = (uint32_t)(dapt_random_bits(seed, STREAM_RESAMPLE, round * count + i) %
                                 count);
        figures[round] = figure(user, draw, count);
        if (dapt_cancelled()) status = dapt_fail(DAPT_ERROR_CANCELLED, "resampling was stopped");
    }
    free(draw);
    return status;
}
