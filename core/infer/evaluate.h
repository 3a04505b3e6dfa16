// How well a model predicts a corpus: a forward pass over all its sequences in file order.
#ifndef DAPT_INFER_EVALUATE_H
#define DAPT_INFER_EVALUATE_H
#include "dapt/dapt.h"
#include "engine/engine.h"

// `batch` has the engine's shape and is overwritten. before-fields become NaN. Sums run in double
// in file order, so the figures don't depend on the size of the batch beyond the rounding of the
// device. DAPT_ERROR_CANCELLED when dapt_cancelled() turns true.
enum dapt_status dapt_evaluate_corpus(struct dapt_engine *engine, const struct dapt_corpus *corpus,
                                      struct dapt_batch *batch, const char *name,
                                      struct dapt_evaluation *result);
#endif
