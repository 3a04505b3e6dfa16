// The block types, in the layouts that GGUF files have. Scales are float16; sums are float32, in
// the order in which the reference reader (gguf-py) makes them.
#include "format/quantize.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "format/safetensors.h"

static float half_at(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return dapt_float_of_half(half);
}

static void put_half(float value, uint8_t *at) {
    uint16_t half = dapt_half_of_float(value);
    memcpy(at, &half, sizeof half);
}

// ----------------------------------------------------------------------------------- plain numbers

static void decode_f32(const uint8_t *in, uint64_t count, float *out) {
    dapt_floats_from_file(in, count, DAPT_FILE_F32, out);
}

static void decode_f16(const uint8_t *in, uint64_t count, float *out) {
    dapt_floats_from_file(in, count, DAPT_FILE_F16, out);
}

static void decode_bf16(const uint8_t *in, uint64_t count, float *out) {
    dapt_floats_from_file(in, count, DAPT_FILE_BF16, out);
}

static void encode_f32(const float *in, uint64_t count, uint8_t *out) {
    dapt_floats_to_file(in, count, DAPT_FILE_F32, out);
}

static void encode_f16(const float *in, uint64_t count, uint8_t *out) {
    dapt_floats_to_file(in, count, DAPT_FILE_F16, out);
}

static void encode_bf16(const float *in, uint64_t count, uint8_t *out) {
    dapt_floats_to_file(in, count, DAPT_FILE_BF16, out);
}

// ----------------------------------------------------------------------------------- 32 to a block
//
// Nibbles: the low ones are elements 0..15, the high ones 16..31.

static void decode_q8_0(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 34, out += 32) {
        float scale = half_at(in);
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)in[2 + i] * scale;
    }
}

static void encode_q8_0(const float *in, uint64_t count, uint8_t *out) {
    for (; count; count--, in += 32, out += 34) {
        float most = 0;
        for (int i = 0; i < 32; i++) most = fmaxf(most, fabsf(in[i]));
        float scale = most / 127, inverse = 1 / scale;
        if (!isfinite(inverse))
            inverse = 0;  // nothing there, or nothing that float16 has a scale for
        put_half(scale, out);
        for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(in[i] * inverse);
    }
}

static void decode_q4_0(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 18, out += 32) {
        float scale = half_at(in);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)((in[2 + i] & 15) - 8) * scale;
            out[16 + i] = (float)((in[2 + i] >> 4) - 8) * scale;
        }
    }
}

static void decode_q4_1(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 20, out += 32) {
        float scale = half_at(in), least = half_at(in + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)(in[4 + i] & 15) * scale + least;
            out[16 + i] = (float)(in[4 + i] >> 4) * scale + least;
        }
    }
}

// The fifth bits of all 32 stand together, element i's in bit i.
static void five_bits(const uint8_t *high, const uint8_t *low, int values[32]) {
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    for (int i = 0; i < 16; i++) {
        values[i] = (low[i] & 15) | (int)(bits >> i & 1) << 4;
        values[16 + i] = (low[i] >> 4) | (int)(bits >> (16 + i) & 1) << 4;
    }
}

static void decode_q5_0(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 22, out += 32) {
        float scale = half_at(in);
        int values[32];
        five_bits(in + 2, in + 6, values);
        for (int i = 0; i < 32; i++) out[i] = (float)(values[i] - 16) * scale;
    }
}

static void decode_q5_1(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 24, out += 32) {
        float scale = half_at(in), least = half_at(in + 2);
        int values[32];
        five_bits(in + 4, in + 8, values);
        for (int i = 0; i < 32; i++) out[i] = (float)values[i] * scale + least;
    }
}

static void decode_iq4_nl(const uint8_t *in, uint64_t count, float *out) {
    static const int8_t levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    for (; count; count--, in += 18, out += 32) {
        float scale = half_at(in);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)levels[in[2 + i] & 15] * scale;
            out[16 + i] = (float)levels[in[2 + i] >> 4] * scale;
        }
    }
}

// ---------------------------------------------------------------------------------- 256 to a block

// Scale and least value of run j of eight, six bits each, packed in twelve bytes: of the first four
// runs whole, of the others the low bits behind them and the high bits above those of the first.
static void six_bits(const uint8_t *packed, int j, int *scale, int *least) {
    if (j < 4) {
        *scale = packed[j] & 63;
        *least = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
        *least = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
    }
}

// Runs of 32; `high`: their fifth bits, run j's in bit j of each byte; NULL: there are none.
static void decode_k45(const uint8_t *in, const uint8_t *high, const uint8_t *low, float *out) {
    float scale = half_at(in), least = half_at(in + 2);
    for (int j = 0; j < 8; j++, out += 32) {
        int s, m;
        six_bits(in + 4, j, &s, &m);
        float run_scale = scale * (float)s, run_least = least * (float)m;
        for (int i = 0; i < 32; i++) {
            int value = low[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
            if (high) value |= (high[i] >> j & 1) << 4;
            out[i] = run_scale * (float)value - run_least;
        }
    }
}

static void decode_q4_k(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 144, out += 256) decode_k45(in, NULL, in + 16, out);
}

static void decode_q5_k(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 176, out += 256) decode_k45(in, in + 16, in + 48, out);
}

// Runs of 16. A half of 128 elements is four times 32: of byte i and of byte 32 + i the low
// nibbles, then the high ones; two more bits of each of the four stand in one byte.
static void decode_q6_k(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 210, out += 256) {
        const int8_t *scales = (const int8_t *)in + 192;
        float scale = half_at(in + 208);
        for (int e = 0; e < 256; e++) {
            int half = e / 128, quarter = e % 128 / 32, i = e % 32;
            int low = in[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
            int high = in[128 + half * 32 + i] >> (quarter * 2) & 3;
            out[e] = scale * (float)scales[e / 16] * (float)((low | high << 4) - 32);
        }
    }
}

// Two bits each: a half of 128 elements is four times 32, in the same 32 bytes.
static int two_bits(const uint8_t *packed, int e) {
    return packed[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
}

static void decode_q2_k(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 84, out += 256) {
        float scale = half_at(in + 80), least = half_at(in + 82);
        for (int e = 0; e < 256; e++) {
            int run = in[e / 16];
            out[e] = scale * (float)(run & 15) * (float)two_bits(in + 16, e) -
                     least * (float)(run >> 4);
        }
    }
}

// Scales of six bits: low nibbles in eight bytes, the two high bits of run j in byte j % 4 behind
// them. A third bit of each element says that 4 is not taken away.
static void decode_q3_k(const uint8_t *in, uint64_t count, float *out) {
    for (; count; count--, in += 110, out += 256) {
        const uint8_t *packed = in + 96;
        float scale = half_at(in + 108);
        for (int e = 0; e < 256; e++) {
            int j = e / 16;
            int low = packed[j % 8] >> (j / 8 * 4) & 15,
                high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
            int value = two_bits(in + 32, e) - (in[e % 32] >> (e / 32) & 1 ? 0 : 4);
            out[e] = scale * (float)((low | high << 4) - 32) * (float)value;
        }
    }
}

// --------------------------------------------------------------------------------------- the table

static const struct dapt_block_type types[] = {
    {"F32", 0, 1, 4, decode_f32, encode_f32},
    {"F16", 1, 1, 2, decode_f16, encode_f16},
    {"BF16", 30, 1, 2, decode_bf16, encode_bf16},
    {"Q8_0", 8, 32, 34, decode_q8_0, encode_q8_0},
    {"Q4_0", 2, 32, 18, decode_q4_0, NULL},
    {"Q4_1", 3, 32, 20, decode_q4_1, NULL},
    {"Q5_0", 6, 32, 22, decode_q5_0, NULL},
    {"Q5_1", 7, 32, 24, decode_q5_1, NULL},
    {"Q2_K", 10, 256, 84, decode_q2_k, NULL},
    {"Q3_K", 11, 256, 110, decode_q3_k, NULL},
    {"Q4_K", 12, 256, 144, decode_q4_k, NULL},
    {"Q5_K", 13, 256, 176, decode_q5_k, NULL},
    {"Q6_K", 14, 256, 210, decode_q6_k, NULL},
    {"IQ4_NL", 20, 32, 18, decode_iq4_nl, NULL},
    // Known by name, so that a message can say it.
    {"Q8_1", 9, 0, 0, NULL, NULL},
    {"Q8_K", 15, 0, 0, NULL, NULL},
    {"IQ2_XXS", 16, 0, 0, NULL, NULL},
    {"IQ2_XS", 17, 0, 0, NULL, NULL},
    {"IQ3_XXS", 18, 0, 0, NULL, NULL},
    {"IQ1_S", 19, 0, 0, NULL, NULL},
    {"IQ3_S", 21, 0, 0, NULL, NULL},
    {"IQ2_S", 22, 0, 0, NULL, NULL},
    {"IQ4_XS", 23, 0, 0, NULL, NULL},
    {"I8", 24, 0, 0, NULL, NULL},
    {"I16", 25, 0, 0, NULL, NULL},
    {"I32", 26, 0, 0, NULL, NULL},
    {"I64", 27, 0, 0, NULL, NULL},
    {"F64", 28, 0, 0, NULL, NULL},
    {"IQ1_M", 29, 0, 0, NULL, NULL},
    {"TQ1_0", 34, 0, 0, NULL, NULL},
    {"TQ2_0", 35, 0, 0, NULL, NULL},
    {"MXFP4", 39, 0, 0, NULL, NULL},
};
#define TYPES (sizeof types / sizeof *types)

const struct dapt_block_type *dapt_block_type_find(uint32_t id) {
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const struct dapt_block_type *dapt_block_type_named(const char *name) {
    for (size_t i = 0; i < TYPES; i++)
        if (strcasecmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

uint64_t dapt_blocks_size(const struct dapt_block_type *type, uint64_t count) {
    return count / type->length * type->size;
}

// A part of one block.
static void decode_part(const struct dapt_block_type *type, const uint8_t *block, uint32_t begin,
                        uint32_t count, float *out) {
    float whole[DAPT_BLOCK_LENGTH];
    type->decode(block, 1, whole);
    memcpy(out, whole + begin, count * sizeof *out);
}

void dapt_blocks_decode(const struct dapt_block_type *type, const void *data, uint64_t begin,
                        uint64_t count, float *out) {
    uint32_t length = type->length, inside = (uint32_t)(begin % length);
    const uint8_t *block = (const uint8_t *)data + begin / length * type->size;
    if (inside && count) {
        uint32_t n = length - inside < count ? length - inside : (uint32_t)count;
        decode_part(type, block, inside, n, out);
        block += type->size;
        out += n;
        count -= n;
    }
    uint64_t blocks = count / length;
    type->decode(block, blocks, out);
    if (count % length)
        decode_part(type, block + blocks * type->size, 0, (uint32_t)(count % length),
                    out + blocks * length);
}
