// What weights.c and the files of adapters share.
#ifndef DAPT_MODEL_WEIGHTS_H
#define DAPT_MODEL_WEIGHTS_H
#include "model/model.h"

// The parameter, among the first `count`, that a file's tensor of this name belongs to, or NULL. Files
// may leave the family's prefix out; a tied head may stand under its own name.
const struct dapt_parameter *dapt_weights_find(const struct dapt_model *model, const char *name,
                                               size_t count);
#define DAPT_WEIGHTS_PIECE ((uint64_t)1 << 20)  // elements converted at a time
// Puts a tensor's numbers at the parameter's place, checking shape and numbers; `put` NULL: only the
// shape. `piece`: room for DAPT_WEIGHTS_PIECE.
enum dapt_status dapt_weights_take(const struct dapt_parameter *parameter,
                                   const struct dapt_file_tensor *tensor, float *piece,
                                   dapt_weights_put put, void *context);
bool dapt_weights_ends(const char *name, const char *ending);
// Whether dapt_model_save() writes a parameter.
bool dapt_weights_written(const struct dapt_model *model, const struct dapt_parameter *parameter);
// The name of the head's tensor, also of a tied one. In `arena`.
const char *dapt_weights_head(const struct dapt_model *model, struct dapt_arena *arena);

// ----------------------------------------------------------------------------- adapters' own files
#define DAPT_ADAPTER_CONFIG "adapter_config.json"
#define DAPT_ADAPTER_PREFIX "base_model.model."  // of all names in them
enum dapt_status dapt_model_open_whole(const char *folder, struct dapt_model **model);
bool dapt_adapters_in(const char *folder);  // whether it holds an adapter_config.json
// Puts the tensors of FOLDER's adapter_model.safetensors at their places.
enum dapt_status dapt_adapters_load(const struct dapt_model *model, const char *folder,
                                    dapt_weights_put put, void *context);
enum dapt_status dapt_adapters_write_config(const struct dapt_model *model, const char *path);
// Freezes the model and lists new parameters; `targets` as dapt_slots_adapt() has them.
enum dapt_status dapt_adapters_add(struct dapt_model *model, const struct dapt_lora *lora,
                                   const bool *targets);
// Makes embedding and head the adapters' own; `rate` 0: they stay frozen.
void dapt_adapters_own_embeddings(struct dapt_model *model, double rate);
#endif
