// The op cases: one table of operations at shapes, with what each is for. The tests compare them
// with a reference, the certificate compares devices by them, the gradient tests differentiate
// them, and the bench measures them. What operands are like follows from the letters of the op
// table: an op has its cases in all of these once it has rows here.
#ifndef DAPT_GRAPH_CASES_H
#define DAPT_GRAPH_CASES_H
#include "graph/ops.h"

enum dapt_case_use {
    // Compared with the reference in every layout that the op table allows: dense and with gaps,
    // in place, accumulated to.
    DAPT_CASE_TEST = 1,
    DAPT_CASE_CERTIFY = 2,  // part of a device's certificate, laid out as the row says
    DAPT_CASE_GRADIENT = 4  // its gradient, by the rule of autodiff, is that of its values
};

// What each query row of an attention sees.
enum dapt_case_sight {
    DAPT_SIGHT_DOCUMENTS,  // causal in documents of 7; row 3 of a sequence sees nothing
    DAPT_SIGHT_CAUSAL,
    DAPT_SIGHT_WHOLE,           // every key
    DAPT_SIGHT_LONG_DOCUMENTS,  // causal in documents of 23
    DAPT_SIGHT_HOLES,           // the same; every fifth row sees nothing
    DAPT_SIGHT_SHORT_HOLES,     // in documents of 4; every fifth row sees nothing
    DAPT_SIGHT_CACHE            // a cache of keys that is half full
};

// What the letters of the op table stand for; 'Q': sequences of an attention. "~" has rank 3 where
// 'H' is set; "=" is what is set of N, C, H and D.
struct dapt_case_shape {
    uint32_t size['Z' + 1];
    uint32_t uses;  // enum dapt_case_use: a row is for what its `uses` and its shape's both say
    enum dapt_case_sight sight;
};

// How the bench takes a row: at the sizes of models, which it knows by letters too.
struct dapt_case_bench {
    const char *name;   // NULL: not measured
    const char *sizes;  // "N C=F": the op's N is the model's N, the op's C the model's F
    uint32_t families;  // enum dapt_case_family: of which models; 0: of all
    // How often a step runs it: for each layer, and besides. Neither: it is measured all the same.
    uint8_t per_layer, besides;
    uint8_t in_place;  // outputs[0] is inputs[in_place - 1]; 0: a tensor of its own
    bool flops;        // its speed is told in FLOP/s, else in bytes/s
    bool token;        // no part of a training step but of making one token
};
enum dapt_case_family { DAPT_CASE_LLAMA = 1, DAPT_CASE_GPT2 = 2 };

#define DAPT_CASE_OPERANDS DAPT_OP_SLOTS
#define DAPT_CASE_NO_INPUT(i) (1u << (i))
#define DAPT_CASE_NO_OUTPUT(i) (1u << (DAPT_OP_INPUTS + (i)))

struct dapt_case_row {
    // Opcode, accumulate and attributes. An attention's sequences come from the shape; its scale,
    // where 0, is 1 / sqrt(head size).
    struct dapt_op op;
    const struct dapt_case_shape *shapes;  // ends with one of zeros; NULL: none, as of bench rows
    uint32_t uses;                         // enum dapt_case_use
    uint32_t absent;                       // DAPT_CASE_NO_INPUT, DAPT_CASE_NO_OUTPUT: not there
    // Of activations; of those flagged DAPT_OPERAND_MIXED or _BLOCKS. A certificate's
    // activations are of float32.
    enum dapt_dtype dtype, mixed;
    bool gaps;    // certified with gaps in what may be strided
    float shift;  // added to inputs[0] and outputs[0]: numbers that are not near 0
    // How far a device may be off the reference, relative to the value plus the root mean square of
    // the output; 0: 2e-5.
    double tolerance;
    struct dapt_case_bench bench;
};

const struct dapt_case_row *dapt_case_rows(size_t *count);

// A row at a shape. Any row will do, not those of the table alone.
struct dapt_case {
    const struct dapt_case_row *row;
    const struct dapt_case_shape *shape;
};
// The next case for `use` in the order of the table, from a zeroed one on; false: no more.
bool dapt_case_next(struct dapt_case *c, enum dapt_case_use use);

// The op and the dense tensors of its operands. inputs[i] is tensors[i], outputs[i] is
// tensors[DAPT_OP_INPUTS + i], each in a buffer of that number; those of absent operands have rank 0.
void dapt_case_make(const struct dapt_case *c, struct dapt_op *op,
                    struct dapt_tensor tensors[DAPT_CASE_OPERANDS]);
// What the operand of tensors[slot] holds before the op runs: `count` values, int32 of index
// operands and float of others. A pure function of the arguments, `stream` chooses the numbers.
void dapt_case_fill(const struct dapt_case *c, int slot, uint64_t stream, int64_t count,
                    void *values);
#endif
