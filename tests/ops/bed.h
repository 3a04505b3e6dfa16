// The test bed: one op in a program of its own, on every device, against the reference.
//
// Devices: each device of each backend named in DAPT_TEST_BACKENDS (commas between; "cpu" by
// default), loaded from the build folder. A CPU device runs with several numbers of threads, which
// must all give the same bits; every device runs each program twice, which must too. Around every
// operand and between its rows lie guard words (NaNs, so that reading one shows) that must come
// back untouched.
#ifndef DAPT_TESTS_BED_H
#define DAPT_TESTS_BED_H
#include "reference.h"

// An operand of a case. Absent where rank is 0.
struct operand {
    enum dapt_dtype dtype;
    uint32_t rank;
    int64_t shape[DAPT_MAX_RANK];
    int64_t gap;   // elements between the end of a row (of dimension 0) and the next row
    int in_place;  // outputs: the input that this is, or -1
    float *f;      // dense contents; outputs: before the run
    int32_t *i;
};

struct op_case {
    const char *name;
    struct dapt_op op;
    struct operand in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    // Of |device - reference|, relative to |reference| + the root mean square of the output (at
    // least 0.01); 2e-5.
    double tolerance;
    // Only: what is not a number in the reference is none on the device, and nothing else is ...
    bool poisoned;
    bool spreads;  // ... or other elements may be none either
};

void bed_open(void);
void bed_close(void);

// Each begins from a zeroed case. Random contents follow from the order of calls alone.
void case_begin(struct op_case *c, enum dapt_opcode opcode, const char *name);
float *case_input(struct op_case *c, int slot, int64_t gap, uint32_t rank,
                  const int64_t *shape);  // normal, deviation 1
int32_t *case_indices(struct op_case *c, int slot, int64_t count, int64_t limit);  // 0 .. limit-1
float *case_output(struct op_case *c, int slot, int64_t gap, uint32_t rank, const int64_t *shape);
void case_in_place(struct op_case *c, int slot, int input);  // output is that input
void case_free(struct op_case *c);

// Runs the reference: dense outputs in double, the caller's to free.
void case_reference(const struct op_case *c, double *outputs[DAPT_OP_OUTPUTS]);
// Runs the reference and every device, compares, and fails the test (cmocka) where they differ.
// Frees the case.
void case_check(struct op_case *c);
// Runs a program on every device over buffers that begin as `initial`, twice; all bits of all
// buffers must be the same each time, and for every number of threads of one device.
void bed_check_bits(const struct dapt_program *program, const void *const *initial);
bool bed_covered(enum dapt_opcode opcode);  // whether a case of it was checked on a device
int64_t operand_count(const struct operand *operand);
double bed_random(void);  // uniform, -1 .. 1

// Cases that have a file of their own.
void test_attention(void **state);
void test_attention_large(void **state);
void test_chain(void **state);
#endif
