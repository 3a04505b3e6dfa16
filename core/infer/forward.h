// Texts of all lengths through an engine, for what is asked of each alone: scores, features.
#ifndef DAPT_INFER_FORWARD_H
#define DAPT_INFER_FORWARD_H
#include "engine/engine.h"

enum dapt_forward_kind {
    DAPT_FORWARD_LOSSES,  // a place: nats of the id behind it, 0 where it is not scored
    DAPT_FORWARD_LOGITS,  // a place: [V]
    DAPT_FORWARD_HIDDEN,  // a place: [C], the stream after the final norm
    DAPT_FORWARD_COUNT
};

struct dapt_sequence {
    const uint32_t *ids;  // [count], and one more where places are scored
    uint32_t count;       // at least 1, and no more than the model's positions
    uint32_t scored;      // the last so many places predict the id behind them
};
// The rows [sequence's count, width] of sequence `index`. Valid during the call. A failure ends the
// run.
typedef enum dapt_status (*dapt_forward_each)(void *user, size_t index, const float *rows);

// The tokens that a text may have: `wanted`, which must not be more than the model's positions; 0:
// as many as those, or 2048 where the model says nothing.
enum dapt_status dapt_forward_length(const struct dapt_model *model, uint32_t wanted,
                                     uint32_t *length);
// Runs sequences [count] through an engine that does not train, longest first, those of about the
// same length together, and tells the rows of each. The shape of the batch that a sequence goes
// into follows from its own length, so that its rows are the same bits whatever else is run. `what`
// ("scoring") is for the progress line. DAPT_ERROR_CANCELLED when dapt_cancelled() turns true.
enum dapt_status dapt_forward(struct dapt_engine *engine, const struct dapt_model *model,
                              enum dapt_forward_kind kind, const struct dapt_sequence *sequences,
                              size_t count, const char *what, dapt_forward_each each, void *user);
#endif
