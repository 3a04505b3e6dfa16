// Every op in double precision, written as its comment in dapt/backend.h reads and in no other way:
// what backends are tested against.
#ifndef DAPT_TESTS_REFERENCE_H
#define DAPT_TESTS_REFERENCE_H
#include <stdbool.h>

#include "dapt/backend.h"

// A dense operand. Exactly one of v (f32 operands) and i (i32) is set; both NULL: absent. Packed outputs
// have both: i holds what was there before, v receives a number for each that is packed.
struct reference_tensor {
    uint32_t rank;
    int64_t shape[DAPT_MAX_RANK];
    double *v;
    int32_t *i;
};

// Outputs hold what was there before: op->accumulate adds to it, scatter_rows and adamw change
// parts of it.
// Number i of moments in 8 bits; `root`: second moments, whose roots they are.
double reference_moment(const int32_t *words, int64_t i, bool root);
void reference_run(const struct dapt_op *op, const struct reference_tensor *in,
                   const struct reference_tensor *out);
#endif
