// Element types of files, to and from what the host computes with. The loops have no branches, so
// that they vectorise.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/safetensors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are little-endian; so must the host be");

static const struct {
    const char *name;
    size_t size;
} dtypes[DAPT_FILE_DTYPE_COUNT] = {
    [DAPT_FILE_F64] = {"F64", 8},   [DAPT_FILE_F32] = {"F32", 4}, [DAPT_FILE_F16] = {"F16", 2},
    [DAPT_FILE_BF16] = {"BF16", 2}, [DAPT_FILE_I64] = {"I64", 8}, [DAPT_FILE_I32] = {"I32", 4},
    [DAPT_FILE_I16] = {"I16", 2},   [DAPT_FILE_I8] = {"I8", 1},   [DAPT_FILE_U8] = {"U8", 1},
    [DAPT_FILE_BOOL] = {"BOOL", 1}, [DAPT_FILE_U64] = {"U64", 8}, [DAPT_FILE_U32] = {"U32", 4},
    [DAPT_FILE_U16] = {"U16", 2},
};

const char *dapt_file_dtype_name(enum dapt_file_dtype dtype) {
    return (unsigned)dtype < DAPT_FILE_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t dapt_file_dtype_size(enum dapt_file_dtype dtype) {
    return (unsigned)dtype < DAPT_FILE_DTYPE_COUNT ? dtypes[dtype].size : 0;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// The exponent is moved by a multiplication, which makes subnormal halves normal on the way.
float dapt_float_of_half(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
    return float_of(bits_of(float_of(magnitude) * 0x1p112f) | special |
                    (uint32_t)(half & 0x8000) << 16);
}

uint16_t dapt_half_of_float(float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff;
    // 0.5 has the unit of a subnormal half in its last place: the addition rounds.
    uint32_t small = bits_of(float_of(magnitude < 0x38800000 ? magnitude : 0) + 0.5f) - 0x3f000000;
    uint32_t normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
    uint32_t half = magnitude < 0x38800000 ? small : normal;
    half = magnitude >= 0x477ff000 ? 0x7c00 : half;
    half = magnitude > 0x7f800000 ? 0x7e00 | (magnitude >> 13 & 0x3ff) : half;
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

static uint16_t float_to_bfloat(float value) {
    uint32_t bits = bits_of(value);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

static uint16_t load_16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static enum dapt_status check_range(const struct dapt_file_tensor *tensor, uint64_t begin,
                                    uint64_t count) {
    if (begin > tensor->count || count > tensor->count - begin)
        return dapt_fail(DAPT_ERROR_INTERNAL,
                         "%s: tensor '%s': elements from %llu on, %llu of them, asked of %llu",
                         tensor->file, tensor->name, (unsigned long long)begin,
                         (unsigned long long)count, (unsigned long long)tensor->count);
    return DAPT_OK;
}

enum dapt_status dapt_floats_from_file(const void *in, uint64_t count, enum dapt_file_dtype dtype,
                                       float *out) {
    const uint8_t *from = in;
    switch (dtype) {
    case DAPT_FILE_F32:
        if (count) memcpy(out, from, count * sizeof *out);
        return DAPT_OK;
    case DAPT_FILE_BF16:
        for (uint64_t i = 0; i < count; i++)
            out[i] = float_of((uint32_t)load_16(from + 2 * i) << 16);
        return DAPT_OK;
    case DAPT_FILE_F16:
        for (uint64_t i = 0; i < count; i++) out[i] = dapt_float_of_half(load_16(from + 2 * i));
        return DAPT_OK;
    case DAPT_FILE_F64:
        for (uint64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, from + 8 * i, sizeof value);
            out[i] = (float)value;
        }
        return DAPT_OK;
    default: return DAPT_END;
    }
}

enum dapt_status dapt_file_tensor_floats(const struct dapt_file_tensor *tensor, uint64_t begin,
                                         uint64_t count, float *out) {
    if (check_range(tensor, begin, count)) return DAPT_ERROR_INTERNAL;
    if (count == 0) return DAPT_OK;
    const uint8_t *from = (const uint8_t *)tensor->data +
                          begin * dapt_file_dtype_size(tensor->dtype);
    if (dapt_floats_from_file(from, count, tensor->dtype, out) == DAPT_OK) return DAPT_OK;
    return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                     "%s: tensor '%s' is %s; F32, F16, BF16 or F64 was expected", tensor->file,
                     tensor->name, dapt_file_dtype_name(tensor->dtype));
}

enum dapt_status dapt_file_tensor_ints(const struct dapt_file_tensor *tensor, uint64_t begin,
                                       uint64_t count, int64_t *out) {
    if (check_range(tensor, begin, count)) return DAPT_ERROR_INTERNAL;
    if (count == 0) return DAPT_OK;
    const uint8_t *from = (const uint8_t *)tensor->data +
                          begin * dapt_file_dtype_size(tensor->dtype);
    switch (tensor->dtype) {
    case DAPT_FILE_I64: memcpy(out, from, count * sizeof *out); return DAPT_OK;
    case DAPT_FILE_I32:
        for (uint64_t i = 0; i < count; i++) {
            int32_t value;
            memcpy(&value, from + 4 * i, sizeof value);
            out[i] = value;
        }
        return DAPT_OK;
    default:
        return dapt_fail(DAPT_ERROR_UNSUPPORTED, "%s: tensor '%s' is %s; I64 or I32 was expected",
                         tensor->file, tensor->name, dapt_file_dtype_name(tensor->dtype));
    }
}

enum dapt_status dapt_floats_to_file(const float *in, uint64_t count, enum dapt_file_dtype dtype,
                                     void *out) {
    uint8_t *to = out;
    switch (dtype) {
    case DAPT_FILE_F32:
        if (count) memcpy(to, in, count * sizeof *in);
        return DAPT_OK;
    case DAPT_FILE_F16:
        for (uint64_t i = 0; i < count; i++) {
            uint16_t half = dapt_half_of_float(in[i]);
            memcpy(to + 2 * i, &half, sizeof half);
        }
        return DAPT_OK;
    case DAPT_FILE_BF16:
        for (uint64_t i = 0; i < count; i++) {
            uint16_t bfloat = float_to_bfloat(in[i]);
            memcpy(to + 2 * i, &bfloat, sizeof bfloat);
        }
        return DAPT_OK;
    default:
        return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                         "writing floats as %s; F32, F16 or BF16 was expected",
                         dapt_file_dtype_name(dtype));
    }
}

enum dapt_status dapt_floats_round(float *values, uint64_t count, enum dapt_file_dtype dtype) {
    switch (dtype) {
    case DAPT_FILE_F32: return DAPT_OK;
    case DAPT_FILE_F16:
        for (uint64_t i = 0; i < count; i++)
            values[i] = dapt_float_of_half(dapt_half_of_float(values[i]));
        return DAPT_OK;
    case DAPT_FILE_BF16:
        for (uint64_t i = 0; i < count; i++)
            values[i] = float_of((uint32_t)float_to_bfloat(values[i]) << 16);
        return DAPT_OK;
    default:
        return dapt_fail(DAPT_ERROR_UNSUPPORTED,
                         "rounding floats to %s; F32, F16 or BF16 was expected",
                         dapt_file_dtype_name(dtype));
    }
}

enum dapt_status dapt_check_finite(const char *tensor, uint64_t first, const float *values,
                                   uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return dapt_fail(DAPT_ERROR_INVALID, "%s: element %" PRIu64 " is %g", tensor, first + i,
                             (double)values[i]);
    return DAPT_OK;
}

enum dapt_status dapt_check_half(const char *tensor, uint64_t first, const float *values,
                                 uint64_t count, const char *advice) {
    for (uint64_t i = 0; i < count; i++)
        if (!(fabsf(values[i]) < 65520))  // rounds to what is beyond the largest, 65504
            return dapt_fail(DAPT_ERROR_INVALID,
                             "%s: element %" PRIu64 " is %g, which float16 cannot hold; %s", tensor,
                             first + i, (double)values[i], advice);
    return DAPT_OK;
}
