// Text from a model: one token after another, through the engine's key/value cache.
#ifndef DAPT_INFER_GENERATE_H
#define DAPT_INFER_GENERATE_H
#include "dapt/dapt.h"
#include "host/loader.h"

enum dapt_status dapt_generate_text(const struct dapt_modules *modules,
                                    const struct dapt_generate_options *options,
                                    dapt_emit_text emit, void *user,
                                    struct dapt_generated *generated);

// How the next token is drawn. Pure: same logits, options and index, same token; ties go to the
// lower id.
//   temperature 0: argmax. Otherwise p = softmax(logits / temperature), of the top_k (0: all) most
//   likely those whose
//   cumulative p first reaches top_p (0 or 1: all), drawn with Philox(seed, index).
struct dapt_sampler {
    double temperature, top_p;
    uint32_t top_k;
    uint64_t seed;
    struct dapt_candidate *candidates;  // [vocab], scratch
};
struct dapt_candidate {
    double weight;
    uint32_t id;
};
uint32_t dapt_sample(const struct dapt_sampler *sampler, const float *logits, uint32_t vocab,
                     uint64_t index);
// Bytes at the front of `text` that form whole UTF-8 characters; what is no UTF-8 counts as whole.
size_t dapt_whole_characters(const char *text, size_t length);
#endif
