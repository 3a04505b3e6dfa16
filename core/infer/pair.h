// A model and what became of it by training, and any model on the line between them. In memory are two
// models' weights: those on the device, and the adapted ones; the base's are read from its files.
#ifndef DAPT_INFER_PAIR_H
#define DAPT_INFER_PAIR_H
#include "infer/session.h"

struct dapt_pair {
    struct dapt_session base, adapted;  // base has the engine
    struct dapt_model *written;  // the one of both whose folder gives names, types and shards
    float *weights;              // of the adapted model, [flat_count] of the base
    float *piece;
    double alpha;  // of the weights on the device
};
// Opens both. `adapted` may hold adapters: they are merged into `options->model`, which must be what
// they were trained on. Two models that are not of one shape, or whose tokenizers differ, are an
// error that names both. `dtype`: of what is written, as checkpoint.dtype has it; NULL: as the adapted model
// has it, float32 where the base has another one. dapt_pair_close() closes half-open ones too.
enum dapt_status dapt_pair_open(const struct dapt_modules *modules,
                                const struct dapt_model_options *options, const char *adapted,
                                const char *dtype, struct dapt_pair *pair);
void dapt_pair_close(struct dapt_pair *pair);  // a zeroed struct is fine
// The device, for batches of this shape, with the base's weights.
enum dapt_status dapt_pair_engine(struct dapt_pair *pair, const struct dapt_model_options *options,
                                  uint32_t sequences, uint32_t length);
// Puts base + alpha (adapted - base) on the device, each weight rounded once, as it would be written; at 0
// and 1 the very bits of the ends.
enum dapt_status dapt_pair_set(struct dapt_pair *pair, double alpha);
// Writes what is on the device as a folder that transformers loads, with the files of the adapted
// model beside the weights. `folder` is not there yet.
enum dapt_status dapt_pair_save(struct dapt_pair *pair, const char *folder);
#endif
