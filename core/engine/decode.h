// Generation over an engine's programs: one sequence, its keys and values in a cache.
#ifndef DAPT_ENGINE_DECODE_H
#define DAPT_ENGINE_DECODE_H
#include "engine/programs.h"

// Whether the model takes a text of so many tokens.
enum dapt_status dapt_decode_check(const struct dapt_model *model, uint32_t capacity);
// Feeds `count` ids, at least one, at places `position` .. of a cache of `capacity` and gives the
// logits [vocab] after the last.
enum dapt_status dapt_decode(struct dapt_programs *programs, const struct dapt_model *model,
                             uint32_t capacity, const uint32_t *ids, uint32_t count,
                             uint32_t position, float *logits);
#endif
