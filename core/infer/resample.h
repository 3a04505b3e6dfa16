// The bootstrap: a figure over many draws of `count` things with replacement.
#ifndef DAPT_INFER_RESAMPLE_H
#define DAPT_INFER_RESAMPLE_H
#include "base/error.h"

// The figure of a draw: the numbers of `count` things, each from 0 to count - 1.
typedef double (*dapt_resample_figure)(void *user, const uint32_t *draw, size_t count);
// figures [rounds], a pure function of the seed. DAPT_ERROR_CANCELLED when dapt_cancelled() turns
// true.
enum dapt_status dapt_resample(uint64_t seed, size_t count, size_t rounds,
                               dapt_resample_figure figure, void *user, double *figures);
#endif
