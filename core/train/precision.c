#include "train/precision.h"

#include <math.h>

#include "host/config_fields.h"

// ------------------------------------------------------------------------------------------- auto

static bool keeps(const struct dapt_device_info *info, enum dapt_dtype dtype) {
    return info->dtypes >> dtype & 1;
}

// Whether a matrix unit multiplies it and adds in float32.
static bool multiplies(const struct dapt_device_info *info, enum dapt_dtype dtype) {
    bool found = false;
    for (uint32_t i = 0; i < info->matrix_count; i++)
        found |= info->matrix[i].ab == dtype && info->matrix[i].c == DAPT_F32;
    return found || (info->kind == DAPT_DEVICE_CPU && dtype == DAPT_BF16 &&
                     (info->features & DAPT_FEATURE_BF16));
}

// bfloat16 first: it has float32's range, and nothing has to be scaled.
enum dapt_precision dapt_precision_of(const struct dapt_device_info *info, const char **why) {
    bool arithmetic = info->kind != DAPT_DEVICE_CPU && (info->features & DAPT_FEATURE_F16);
    if (info->kind == DAPT_DEVICE_SOFTWARE) {
        *why = "as a device in software is no faster in 16 bits";
        return DAPT_PRECISION_FLOAT32;
    }
    if (!keeps(info, DAPT_BF16) && !keeps(info, DAPT_F16)) {
        *why = "as nothing is faster in 16 bits on this device";
        return DAPT_PRECISION_FLOAT32;
    }
    if (keeps(info, DAPT_BF16) && multiplies(info, DAPT_BF16)) {
        *why = "as the device has matrix units for it";
        return DAPT_PRECISION_BFLOAT16;
    }
    if (keeps(info, DAPT_F16) && (multiplies(info, DAPT_F16) || arithmetic)) {
        *why = "as the device has units for it, and no matrix units for bfloat16";
        return DAPT_PRECISION_FLOAT16;
    }
    *why = "as the device has no units for 16 bits";
    return DAPT_PRECISION_FLOAT32;
}

const char *dapt_precision_name(enum dapt_precision precision) {
    return dapt_field_find("backend.precision")->choices[precision];
}

void dapt_precision_choose(struct dapt_config *config, const struct dapt_device_info *info,
                           const struct dapt_reporter *reporter) {
    static const enum dapt_dtype dtypes[] = {[DAPT_PRECISION_FLOAT32] = DAPT_F32,
                                             [DAPT_PRECISION_BFLOAT16] = DAPT_BF16,
                                             [DAPT_PRECISION_FLOAT16] = DAPT_F16};
    enum dapt_precision *precision = &config->backend.precision;
    const char *why = NULL;
    if (*precision == DAPT_PRECISION_AUTO)
        *precision = dapt_precision_of(info, &why);
    else if (!keeps(info, dtypes[*precision]))
        why =
            "between casts around float32 kernels, as the device has no others: slower than "
            "float32";
    dapt_report_note(reporter, "precision       %s%s%s", dapt_precision_name(*precision),
                     why ? ", " : "", why ? why : "");
}

// ------------------------------------------------------------------------------------ loss scaling

// Of what a single token's loss is multiplied by at first: float16 holds from 2^-24 to 2^16.
#define START 64

struct dapt_loss_scale dapt_loss_scale_start(enum dapt_precision precision, uint64_t tokens) {
    struct dapt_loss_scale scale = {0};
    if (precision != DAPT_PRECISION_FLOAT16) return scale;
    scale.value = START;
    while (scale.value < START * (double)tokens && scale.value < DAPT_LOSS_SCALE_MOST)
        scale.value *= 2;
    return scale;
}

bool dapt_loss_scale_adapt(struct dapt_loss_scale *scale, double loss, bool finite) {
    if (scale->value == 0) return false;
    if (finite) {
        if (++scale->good < DAPT_LOSS_SCALE_GROWTH) return false;
        scale->good = 0;
        if (scale->value < DAPT_LOSS_SCALE_MOST) scale->value *= 2;
        return false;
    }
    if (!isfinite(loss) || scale->value <= 1) return false;
    scale->value /= 2;
    scale->good = 0;
    scale->overflows++;
    return true;
}
