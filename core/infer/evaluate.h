// How well a model predicts a corpus: a forward pass over all its sequences in file order.
#ifndef DAPT_INFER_EVALUATE_H
#define DAPT_INFER_EVALUATE_H
#include "dapt/dapt.h"
#include "engine/engine.h"

// What one document cost: nats of those of its tokens that are scored. A token counts for the document of
// the place that predicts it: with "concatenate", a document's first one for the document before.
struct dapt_document_loss {
    double nats;
    uint64_t scored;
};

// `batch` has the engine's shape and is overwritten. What a run adds (figures before, intervals, role)
// becomes NaN and NULL. Sums run in double in file order, so the figures don't depend on the size of the
// batch beyond the rounding of the device. `losses`: [documents of the corpus], filled; NULL: not wanted.
// Among the ranks of an engine batches are dealt out; collective, and all get the same figures.
// DAPT_ERROR_CANCELLED when dapt_cancelled() turns true, on any rank.
enum dapt_status dapt_evaluate_corpus(struct dapt_engine *engine, const struct dapt_corpus *corpus,
                                      struct dapt_batch *batch, const char *name,
                                      struct dapt_evaluation *result,
                                      struct dapt_document_loss *losses);
#endif
