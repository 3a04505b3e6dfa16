// Numbers of a tensor as its dtype stores them: floats, or blocks of codes with a factor each
// (dapt/backend.h has their layout). For weights that are not trained.
#ifndef DAPT_GRAPH_BLOCKS_H
#define DAPT_GRAPH_BLOCKS_H
#include "graph/ops.h"

// float32 to `dtype`, a float type or one of blocks: each number becomes the nearest there is, for
// blocks with the block's largest magnitude as the unit; `count` is then a multiple of DAPT_BLOCK.
// `bytes` has room for dapt_dtype_bytes(). Numbers are finite.
enum dapt_status dapt_floats_pack(const float *values, uint64_t count, enum dapt_dtype dtype,
                                  void *bytes);
// And back: what kernels compute with.
enum dapt_status dapt_floats_unpack(const void *bytes, uint64_t count, enum dapt_dtype dtype,
                                    float *values);
// The 16 values of NF4, ascending from -1 to 1.
extern const float dapt_nf4_values[16];
#endif
