// Weights in blocks (dapt/backend.h) become float32: x [n], y [n].
#include "simd.h"

#define BLOCKS 128  // of a task

static const float nf4[16] = DAPT_NF4_VALUES;

// The codes of 16 elements at a time, so that the loops are of whole vectors.
static void dequantize_nf4(const uint8_t *codes, float factor, float *y) {
    for (int half = 0; half < DAPT_BLOCK; half += 16) {
        uint8_t code[16];
        for (int i = 0; i < 8; i++) {
            code[2 * i] = codes[half / 2 + i] & 15;
            code[2 * i + 1] = codes[half / 2 + i] >> 4;
        }
#if defined(__AVX512F__)
        __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)code));
        __m512 value = _mm512_permutexvar_ps(index, _mm512_loadu_ps(nf4));
        _mm512_storeu_ps(y + half, value * _mm512_set1_ps(factor));
#else
        for (int i = 0; i < 16; i++) y[half + i] = factor * nf4[code[i]];
#endif
    }
}

static void dequantize_int8(const uint8_t *codes, float factor, float *y) {
    for (int i = 0; i < DAPT_BLOCK; i++) y[i] = factor * (float)(int8_t)codes[i];
}

static int64_t block_count(const struct job *job) {
    const struct view *y = &job->out[0];
    return y->rows * y->inner * y->cols / DAPT_BLOCK;
}

static void dequantize_prepare(struct job *job) {
    job->tasks = ceil_div(block_count(job), BLOCKS);
}

static void dequantize_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    bool is_nf4 = job->in[0].dtype == DAPT_NF4;
    int64_t size = (int64_t)sizeof(float) + (is_nf4 ? DAPT_BLOCK / 2 : DAPT_BLOCK),
            end = min_i64(block_count(job), (task + 1) * BLOCKS);
    for (int64_t i = task * BLOCKS; i < end; i++) {
        const uint8_t *block = (const uint8_t *)job->in[0].data.f + i * size;
        float factor, *y = job->out[0].data.f + i * DAPT_BLOCK;
        memcpy(&factor, block, sizeof factor);
        if (is_nf4)
            dequantize_nf4(block + sizeof factor, factor, y);
        else
            dequantize_int8(block + sizeof factor, factor, y);
    }
}
static void dequantize_run(struct job *job) {
    job_loop(job, job->tasks, dequantize_task);
}
const struct op_row ISA(op_dequantize) = {dequantize_prepare, dequantize_run};
