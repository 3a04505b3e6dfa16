// The test bed: one op in a program of its own, on every device, against the reference.
//
// Devices: each device of each backend named in DAPT_TEST_BACKENDS (commas between; "cpu" by
// default), loaded from the build folder. A CPU device runs with several numbers of threads, which
// must all give the same bits; every device runs each program twice, which must too. Around every
// operand and between its rows lie guard words (NaNs, so that reading one shows) that must come
// back untouched.
#ifndef DAPT_TESTS_BED_H
#define DAPT_TESTS_BED_H
#include "graph/cases.h"
#include "reference.h"

// An operand of a case. Absent where rank is 0.
struct operand {
    enum dapt_dtype dtype;
    uint32_t rank;
    int64_t shape[DAPT_MAX_RANK];
    float *f;  // dense contents; outputs: before the run
    int32_t *i;
};

struct op_case {
    const char *what;  // for people
    struct dapt_op op;
    struct operand in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    // Elements between rows of what may be strided, of operand i 1 + i times as many: no two alike.
    int64_t gap;   // 0: none; else it is checked dense, too
    int in_place;  // the input that outputs[0] is, or -1
    // Of |device - reference|, relative to |reference| + the root mean square of the output (at
    // least 0.01).
    double tolerance;
    // Only: what is not a number in the reference is none on the device, and nothing else is ...
    bool poisoned;
    bool spreads;         // ... or other elements may be none either ...
    bool spreads_in_row;  // ... or, of an attention, others of the same row of a head, and its lse
};

void bed_open(void);
void bed_close(void);

// A case of the table, or made like one: dense, not in place. Contents follow from op and shape
// alone, and are there to be changed.
void case_open(struct op_case *c, const struct dapt_case *from, const char *what);
void case_close(struct op_case *c);
// Runs the reference: dense outputs in double, the caller's to free.
void case_reference(const struct op_case *c, double *outputs[DAPT_OP_OUTPUTS]);
// Runs the reference and every device, compares, and fails the test (cmocka) where they differ.
void case_check(const struct op_case *c);
// Runs a program on every device over buffers that begin as `initial`, twice; all bits of all
// buffers must be the same each time, and for every number of threads of one device.
void bed_check_bits(const struct dapt_program *program, const void *const *initial);
int64_t operand_count(const struct operand *operand);
void operand_round(struct operand *operand);  // its contents to its dtype

// Cases that have a file of their own.
void test_attention_poisoned(void **state);
void test_attention_large(void **state);
void test_chain(void **state);
// y and lse of an attention_grad as its forward op makes them.
void attention_results(struct op_case *grad);
#endif
