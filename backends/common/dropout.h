// What dropout compares random words with, and what it keeps is multiplied by: the same on every
// backend.
#ifndef DAPT_BACKENDS_DROPOUT_H
#define DAPT_BACKENDS_DROPOUT_H
#include <stdint.h>

static inline uint32_t dropout_least(float rate) {  // a word that is kept is at least this
    return (uint32_t)((double)rate * 4294967296.0);
}
static inline float dropout_factor(float rate) {
    return (float)(1.0 / (1.0 - (double)rate));
}
#endif
