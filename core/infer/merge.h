// A plain model of a base and its adapters.
#ifndef DAPT_INFER_MERGE_H
#define DAPT_INFER_MERGE_H
#include "dapt/dapt.h"

enum dapt_status dapt_merge_folder(const struct dapt_merge_options *options);
#endif
