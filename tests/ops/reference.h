// Every op in double precision, written as its comment in dapt/backend.h reads and in no other way:
// what backends are tested against.
#ifndef DAPT_TESTS_REFERENCE_H
#define DAPT_TESTS_REFERENCE_H
#include "dapt/backend.h"

// A dense operand. Exactly one of v (f32 operands) and i (i32) is set; both NULL: absent.
struct reference_tensor {
    uint32_t rank;
    int64_t shape[DAPT_MAX_RANK];
    double *v;
    int32_t *i;
};

// Outputs hold what was there before: op->accumulate adds to it, scatter_rows and adamw change
// parts of it.
void reference_run(const struct dapt_op *op, const struct reference_tensor *in,
                   const struct reference_tensor *out);
#endif
