// The operations that a device is compared by, as one program over two buffers.
#ifndef DAPT_TRAIN_PARITY_CASES_H
#define DAPT_TRAIN_PARITY_CASES_H
#include "base/memory.h"
#include "dapt/backend.h"

enum { DAPT_PARITY_INPUTS, DAPT_PARITY_OUTPUTS };  // buffers

struct dapt_parity_bench {
    struct dapt_op *ops;  // labelled: "matmul of 33 x 65"
    size_t count;
    struct dapt_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    uint8_t *image[2];  // what the buffers hold before the run
    uint64_t size[2];   // bytes
    struct dapt_arena arena;
};
// Every opcode has a case. Contents are a pure function of the table.
enum dapt_status dapt_parity_bench_open(struct dapt_parity_bench *bench);
void dapt_parity_bench_close(struct dapt_parity_bench *bench);  // a zeroed struct is fine
#endif
