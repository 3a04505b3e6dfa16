// A checkpoint: RUN/checkpoints/step-000500/
//
//   model.safetensors (or shards), config.json, tokenizer files   loads in transformers as it is
//   state.safetensors    moment1, moment2: F32 [trained_count], in the layout of the engine's flat
//                        buffers, or, in 8 bits, U8: all bytes of those (engine/moments.h);
//                        and, where the model's own files hold rounded weights,
//                        parameters: F32 [trained_count], so that a resume has the same bits
//   adapter_model.safetensors, adapter_config.json   of a run that trains adapters: instead of weights
//                        and config.json; peft loads them. The base is known by its hash
//   run.json             the record: where the run stands, a checksum of every other file, and the
//                        hash of the previous checkpoint's run.json (a chain from the first one on)
//
// It is written under another name, synced, and renamed: under its name it is whole or not there.
#ifndef DAPT_CHECKPOINT_CHECKPOINT_H
#define DAPT_CHECKPOINT_CHECKPOINT_H
#include <cjson/cJSON.h>

#include "engine/engine.h"
#include "checkpoint/runfolder.h"

// Writes the checkpoint of `step`. A number that is not finite is an error, DAPT_ERROR_INVALID, that names
// its tensor. `record` (the trainer's part of
// run.json) is taken over, also on failure; files, chain and checksum are added here. A failure
// leaves earlier checkpoints as they were.
enum dapt_status dapt_checkpoint_write(struct dapt_run_folder *run, uint64_t step,
                                       struct dapt_engine *engine, const struct dapt_model *model,
                                       cJSON *record);
// Removes the oldest ones, leaving `keep` and the one that RUN/best names.
enum dapt_status dapt_checkpoint_prune(struct dapt_run_folder *run, uint32_t keep);

// Reads and checks `folder`: run.json against its own checksum, every file against the record, and
// the chain where the previous checkpoint is still there. DAPT_ERROR_INVALID: it is not whole;
// another error says nothing about that. The record is the caller's to cJSON_Delete.
enum dapt_status dapt_checkpoint_check(const char *folder, cJSON **record);
// Reads run.json alone, with its own checksum. DAPT_END: the folder has none.
enum dapt_status dapt_checkpoint_record(const char *folder, cJSON **record);
// A record's "checksum": the hash of its text without it. The first adds it, the second takes it
// out again and compares; its errors name `path`.
enum dapt_status dapt_record_seal(cJSON *record);
enum dapt_status dapt_record_check(cJSON *record, const char *path);
// Seals it, and writes it to `path`.
enum dapt_status dapt_record_write(cJSON *record, const char *path);
// Whether the files that a model is used with are those that the record tells of: its weights, or
// all others (the optimizer's state is neither).
enum dapt_status dapt_checkpoint_files(const char *folder, const cJSON *record, bool weights);
// Whether the base of a model's adapters is the one that the record tells of ("base"); a record or a
// model without one is fine.
enum dapt_status dapt_checkpoint_base(const cJSON *record, const struct dapt_model *model);
// Loads parameters and optimizer state.
enum dapt_status dapt_checkpoint_restore(const char *folder, struct dapt_engine *engine,
                                         const struct dapt_model *model);
#endif
