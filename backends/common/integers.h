// Small functions of integers that the backends share.
#ifndef DAPT_BACKENDS_INTEGERS_H
#define DAPT_BACKENDS_INTEGERS_H
#include <stdint.h>

#include "dapt/backend.h"

static inline unsigned dtype_size(enum dapt_dtype dtype) {  // bytes
    return dtype == DAPT_F16 || dtype == DAPT_BF16 ? 2 : 4;
}

static inline bool dtype_blocks(enum dapt_dtype dtype) {
    return dtype == DAPT_INT8 || dtype == DAPT_NF4;
}

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static inline int64_t min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}
#endif
