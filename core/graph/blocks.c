#include "graph/blocks.h"

#include <math.h>
#include <string.h>

#include "format/safetensors.h"

const float dapt_nf4_values[16] = DAPT_NF4_VALUES;

// The code of the value nearest to x.
static unsigned nf4_code(float x) {
    unsigned code = 0;
    while (code < 15 && x > (dapt_nf4_values[code] + dapt_nf4_values[code + 1]) / 2) code++;
    return code;
}

static float largest(const float *values) {
    float most = 0;
    for (int i = 0; i < DAPT_BLOCK; i++) most = fmaxf(most, fabsf(values[i]));
    return most;
}

static void pack_nf4(const float *values, uint8_t *block) {
    float factor = largest(values), unit = factor > 0 ? factor : 1;
    memcpy(block, &factor, sizeof factor);
    for (int i = 0; i < DAPT_BLOCK; i += 2)
        block[sizeof factor + (size_t)i / 2] = (uint8_t)(nf4_code(values[i] / unit) |
                                                         nf4_code(values[i + 1] / unit) << 4);
}

static void unpack_nf4(const uint8_t *block, float *values) {
    float factor;
    memcpy(&factor, block, sizeof factor);
    for (int i = 0; i < DAPT_BLOCK; i++)
        values[i] = factor *
                    dapt_nf4_values[block[sizeof factor + (size_t)i / 2] >> i % 2 * 4 & 15];
}

static void pack_int8(const float *values, uint8_t *block) {
    float factor = largest(values) / 127, unit = factor > 0 ? factor : 1;
    memcpy(block, &factor, sizeof factor);
    for (int i = 0; i < DAPT_BLOCK; i++) {
        long code = lrintf(values[i] / unit);  // a factor below the normal numbers is not exact
        code = code > 127 ? 127 : code < -127 ? -127 : code;
        block[sizeof factor + (size_t)i] = (uint8_t)(int8_t)code;
    }
}

static void unpack_int8(const uint8_t *block, float *values) {
    float factor;
    memcpy(&factor, block, sizeof factor);
    for (int i = 0; i < DAPT_BLOCK; i++)
        values[i] = factor * (float)(int8_t)block[sizeof factor + (size_t)i];
}

static enum dapt_file_dtype file_dtype(enum dapt_dtype dtype) {
    return dtype == DAPT_F16 ? DAPT_FILE_F16 : dtype == DAPT_BF16 ? DAPT_FILE_BF16 : DAPT_FILE_F32;
}

enum dapt_status dapt_floats_pack(const float *values, uint64_t count, enum dapt_dtype dtype,
                                  void *bytes) {
    if (!dapt_dtype_blocks(dtype))
        return dapt_floats_to_file(values, count, file_dtype(dtype), bytes);
    size_t size = dapt_dtype_bytes(dtype, DAPT_BLOCK);
    for (uint64_t i = 0; i < count / DAPT_BLOCK; i++)
        (dtype == DAPT_NF4 ? pack_nf4 : pack_int8)(values + i * DAPT_BLOCK,
                                                   (uint8_t *)bytes + i * size);
    return DAPT_OK;
}

enum dapt_status dapt_floats_unpack(const void *bytes, uint64_t count, enum dapt_dtype dtype,
                                    float *values) {
    const struct dapt_file_tensor whole = {
        .dtype = file_dtype(dtype), .count = count, .data = bytes};
    if (!dapt_dtype_blocks(dtype)) return dapt_file_tensor_floats(&whole, 0, count, values);
    size_t size = dapt_dtype_bytes(dtype, DAPT_BLOCK);
    for (uint64_t i = 0; i < count / DAPT_BLOCK; i++)
        (dtype == DAPT_NF4 ? unpack_nf4 : unpack_int8)((const uint8_t *)bytes + i * size,
                                                       values + i * DAPT_BLOCK);
    return DAPT_OK;
}
