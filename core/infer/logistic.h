// Multinomial logistic regression in double: p(k | x) = softmax(W^T [x, 1])_k.
#ifndef DAPT_INFER_LOGISTIC_H
#define DAPT_INFER_LOGISTIC_H
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct dapt_logistic {
    const double *features;  // [texts, width]
    const uint32_t *labels;  // [texts] below `classes`
    size_t width, classes;
    unsigned threads;  // 0: all processors; the result does not depend on it
};

// Minimises mean(-log p) over rows [count] of the features + |W|^2 / (2 strength count), the
// intercepts not penalised, by L-BFGS from where weights [(width + 1), classes] stand; the
// intercepts are its last row. Ends when no component of the gradient is above 1e-5, after 500
// steps, or where no step goes further down. DAPT_ERROR_CANCELLED when dapt_cancelled() turns true.
enum dapt_status dapt_logistic_fit(const struct dapt_logistic *problem, const uint32_t *rows,
                                   size_t count, double strength, double *weights);
// The likeliest class of a text's features [width]; the first of equals.
uint32_t dapt_logistic_predict(const struct dapt_logistic *problem, const double *weights,
                               const double *features);
#endif
