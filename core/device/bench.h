// dapt bench: how fast a device trains a model, and where the time goes.
#ifndef DAPT_DEVICE_BENCH_H
#define DAPT_DEVICE_BENCH_H
#include "dapt/dapt.h"
#include "host/loader.h"

enum dapt_status dapt_bench_model(const struct dapt_modules *modules,
                                  const struct dapt_bench_options *options,
                                  struct dapt_bench_result *result);
#endif
