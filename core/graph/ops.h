// The op table: for each operation its operands, what their shapes must be, and what it costs.
// Autodiff, the memory plan, the checks, the op tests and the bench read it.
#ifndef DAPT_GRAPH_OPS_H
#define DAPT_GRAPH_OPS_H
#include "base/error.h"
#include "dapt/backend.h"
#include "host/choices.h"

enum dapt_operand_flags {
    DAPT_OPERAND_OPTIONAL = 1,
    DAPT_OPERAND_STRIDED = 2,  // dimension 0 may have gaps
    DAPT_OPERAND_MIXED = 4,    // an activation whose dtype may differ from that of the op's others
    DAPT_OPERAND_ADD = 8,      // an output that may be accumulated to
    DAPT_OPERAND_UPDATE = 16,  // an output that is also read: it holds state
    DAPT_OPERAND_BLOCKS = 32   // a weight that may be of blocks
};

// What an operand is to training. Its dtype follows from it: by the precision for values that a graph
// makes (dapt_precision_dtype), and by what an op may be given at all.
enum dapt_operand_class {
    DAPT_CLASS_ACTIVATION,  // and its gradient: any float type, the same for all of an op
    DAPT_CLASS_WEIGHT,      // any float type, where flagged so one of blocks
    DAPT_CLASS_GRADIENT,    // of a weight: f32
    DAPT_CLASS_STATISTIC,   // norms, losses, scalars, rotary tables: f32
    DAPT_CLASS_STATE,       // what an optimizer updates: f32
    DAPT_CLASS_PACKED,      // state in fewer bits, in words: i32
    DAPT_CLASS_INDEX        // i32
};

// The dtype of a class's values in a precision.
enum dapt_dtype dapt_precision_dtype(enum dapt_precision precision, enum dapt_operand_class class);

// `shape`: a letter a dimension. A letter stands for the same number wherever it occurs in the op.
// '1': one element. "~C": rank 2 or more, the last dimension is C, the others together are R rows.
// "=": any shape, the same for all marked so. "#": any shape of n elements in all.
struct dapt_operand {
    const char *name;
    const char *shape;
    uint32_t flags;
    enum dapt_operand_class class;
};

struct dapt_op_info {
    const char *name;
    struct dapt_operand in[DAPT_OP_INPUTS];  // ends with a row without a name
    struct dapt_operand out[DAPT_OP_OUTPUTS];
    uint32_t in_place;        // bit i: outputs[0] may be the same tensor as inputs[i]
    double flops_per_output;  // of ops whose cost is so many FLOPs an element of outputs[0]
};

const struct dapt_op_info *dapt_op_info(enum dapt_opcode opcode);
uint32_t dapt_op_input_count(const struct dapt_op_info *info);
uint32_t dapt_op_output_count(const struct dapt_op_info *info);
// Operands by slot: the inputs, then the outputs.
#define DAPT_OP_SLOTS (DAPT_OP_INPUTS + DAPT_OP_OUTPUTS)
uint32_t *dapt_op_slot(struct dapt_op *op, int slot);  // where the op names its tensor
// The operand's row; without a name where the op has none in that slot.
const struct dapt_operand *dapt_op_operand(const struct dapt_op_info *info, int slot);
// The letters of inputs[i], as the op's transposes turn them.
const char *dapt_op_input_shape(const struct dapt_op *op, uint32_t i);

int64_t dapt_tensor_count(const struct dapt_tensor *tensor);  // elements
int64_t dapt_tensor_row(const struct dapt_tensor *tensor);    // of one index of dimension 0
// Bytes from its first to behind its last element.
uint64_t dapt_tensor_span(const struct dapt_tensor *tensor);
bool dapt_tensor_dense(const struct dapt_tensor *tensor);
bool dapt_tensor_same(const struct dapt_tensor *a,
                      const struct dapt_tensor *b);  // same elements of the same memory
bool dapt_tensor_overlap(const struct dapt_tensor *a, const struct dapt_tensor *b);
// Bytes of an element; of a type of blocks, whose elements have none of their own, what tensors are
// aligned to.
size_t dapt_dtype_size(enum dapt_dtype dtype);
bool dapt_dtype_blocks(enum dapt_dtype dtype);                     // whether it is a type of blocks
uint64_t dapt_dtype_bytes(enum dapt_dtype dtype, uint64_t count);  // of so many elements
uint64_t dapt_moment_blocks(uint64_t count);                       // of moments in 8 bits
const char *dapt_dtype_name(enum dapt_dtype dtype);                // "f32"

// Checks one op against the table. `tensors` are what its operands index. Errors name op, label and
// operand.
enum dapt_status dapt_op_check(const struct dapt_op *op, const struct dapt_tensor *tensors,
                               size_t tensor_count);
// Fills the rank and shape of an output that does not exist yet: what the letters stand for is known
// from the inputs. DAPT_ERROR_INTERNAL where they do not say it (fill, embed_grad, ...).
enum dapt_status dapt_op_output_shape(const struct dapt_op *op, const struct dapt_tensor *tensors,
                                      uint32_t output, struct dapt_tensor *made);
double dapt_op_flops(const struct dapt_op *op, const struct dapt_tensor *tensors);
double dapt_op_bytes(const struct dapt_op *op,
                     const struct dapt_tensor *tensors);  // read and written once
#endif
