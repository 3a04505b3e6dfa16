// Element types of GGUF files: plain numbers, and blocks of quantised ones that share a scale. A
// type is a row.
#ifndef DAPT_FORMAT_QUANTIZE_H
#define DAPT_FORMAT_QUANTIZE_H
#include <stdint.h>

struct dapt_block_type {
    const char *name;       // "Q4_K"
    uint32_t id;            // in files
    uint32_t length, size;  // of a block: elements, bytes
    // `count` blocks; `out` and `in` hold count * length floats. decode NULL: known by name only.
    void (*decode)(const uint8_t *blocks, uint64_t count, float *out);
    void (*encode)(const float *in, uint64_t count, uint8_t *blocks);  // NULL: is not written
};
#define DAPT_BLOCK_LENGTH 256  // elements: the longest block; each length divides it

const struct dapt_block_type *dapt_block_type_find(uint32_t id);        // NULL: not known
const struct dapt_block_type *dapt_block_type_named(const char *name);  // any case; NULL: likewise
// Bytes of `count` elements, a multiple of the type's length.
uint64_t dapt_blocks_size(const struct dapt_block_type *type, uint64_t count);
// Elements [begin, begin + count) of `data`, which begins with a block; they may begin and end
// inside of one. The type has `decode`.
void dapt_blocks_decode(const struct dapt_block_type *type, const void *data, uint64_t begin,
                        uint64_t count, float *out);
#endif
