// A plain model of a base and its adapters.
#ifndef DAPT_INFER_MERGE_H
#define DAPT_INFER_MERGE_H
#include "dapt/dapt.h"
#include "model/model.h"

enum dapt_status dapt_merge_folder(const struct dapt_merge_options *options);
// Which dtype a plain model is written in, by its name; NULL: as the model's own files are.
enum dapt_status dapt_merge_dtype(const char *name, enum dapt_save_dtype *dtype);
// Writes a plain model's folder whole, or not at all: dapt_model_save() under another name, and
// renamed.
enum dapt_status dapt_merge_write(const struct dapt_model *model, const char *folder,
                                  dapt_weights_get get, void *context);
#endif
