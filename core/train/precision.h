// In which precision a run computes, and what float16 needs for it.
#ifndef DAPT_TRAIN_PRECISION_H
#define DAPT_TRAIN_PRECISION_H
#include "dapt/backend.h"
#include "host/config.h"
#include "train/report.h"

// What "auto" means on a device, with the reason in *why.
enum dapt_precision dapt_precision_of(const struct dapt_device_info *info, const char **why);
const char *dapt_precision_name(enum dapt_precision precision);  // "bfloat16"
// Puts what "auto" means into the configuration, and tells what the run computes in.
void dapt_precision_choose(struct dapt_config *config, const struct dapt_device_info *info,
                           const struct dapt_reporter *reporter);

// Loss scaling (Micikevicius et al. 2018): the gradients of activations are smaller than float16 can
// hold, so the loss is multiplied by a power of two, which the optimizer divides out again. Both are
// exact. A step whose gradient overflows changes nothing, and the scale is halved; after many steps
// without one it is doubled.
struct dapt_loss_scale {
    double value;        // 0: nothing is scaled
    uint64_t good;       // updates since it was changed last
    uint64_t overflows;  // steps that were skipped since it was too large
};
#define DAPT_LOSS_SCALE_GROWTH 2000u  // good updates until it is doubled
#define DAPT_LOSS_SCALE_MOST 0x1p40   // gradients of norm 2^24 still have a finite sum of squares

// Of a run whose steps have so many tokens.
struct dapt_loss_scale dapt_loss_scale_start(enum dapt_precision precision, uint64_t tokens);
// After a step. True: it was not finite since the scale was too large, and that is halved; that is no
// fault of the model's. A loss that is not finite, and what overflows unscaled, is.
bool dapt_loss_scale_adapt(struct dapt_loss_scale *scale, double loss, bool finite);
#endif
