// A sweep over the line between a model and what became of it: domain against general text.
#ifndef DAPT_INFER_BLEND_H
#define DAPT_INFER_BLEND_H
#include "dapt/dapt.h"
#include "host/loader.h"

enum dapt_status dapt_blend_models(const struct dapt_modules *modules,
                                   const struct dapt_blend_options *options,
                                   struct dapt_blended *result);
#endif
