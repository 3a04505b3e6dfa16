// dapt verify: a model's golden values (see dapt.h) against ours.
#ifndef DAPT_INFER_VERIFY_H
#define DAPT_INFER_VERIFY_H
#include "dapt/dapt.h"
#include "host/loader.h"

enum dapt_status dapt_verify_folder(const struct dapt_modules *modules,
                                    const struct dapt_verify_options *options,
                                    dapt_verify_callback callback, void *user);
#endif
