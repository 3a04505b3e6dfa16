// Dropout: x, y [N,C], keys [N].
#include "common/dropout.h"
#include "simd.h"

#define BLOCK 4096  // elements of a task
#define CHUNK 64    // counters at a time: their loops are made of whole vectors

// Word w of Philox4x32-10 for the counters [from, from + CHUNK): words[w].
static inline void philox(uint32_t key, uint32_t stream, uint32_t from, uint32_t words[4][CHUNK]) {
    for (uint32_t i = 0; i < CHUNK; i++) {
        uint32_t c0 = from + i, c1 = 0, c2 = 0, c3 = 0, k0 = key, k1 = stream;
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)0xD2511F53 * c0, p1 = (uint64_t)0xCD9E8D57 * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint32_t)p0;
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }
        words[0][i] = c0, words[1][i] = c1, words[2][i] = c2, words[3][i] = c3;
    }
}

static void dropout_prepare(struct job *job) {
    grid_rows(job, job->out[0].rows, job->out[0].cols, BLOCK);
}

static void dropout_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct view *x = &job->in[0], *y = &job->out[0];
    uint32_t least = dropout_least(job->op.u.dropout.rate), words[4][CHUNK];
    float factor = dropout_factor(job->op.u.dropout.rate), kept[4 * CHUNK];
    bool add = (job->op.accumulate & 1) != 0;
    struct block b = grid_block(job, task, y->rows, y->cols);
    for (int64_t row = b.row; row < b.row_end; row++) {
        const float *from = x->data.f + row * x->stride;
        float *to = y->data.f + row * y->stride;
        for (int64_t begin = b.col; begin < b.col_end; begin += 4 * CHUNK) {
            int64_t count = min_i64(4 * CHUNK, b.col_end - begin);
            philox((uint32_t)job->in[1].data.i[row], job->op.u.dropout.stream,
                   (uint32_t)(begin / 4), words);
            for (int i = 0; i < CHUNK; i++)
                for (int w = 0; w < 4; w++) kept[4 * i + w] = words[w][i] >= least ? factor : 0.0f;
            // What is dropped is 0 whatever it was.
            for (int64_t i = 0; i < count; i++) {
                float value = kept[i] > 0 ? from[begin + i] * kept[i] : 0.0f;
                to[begin + i] = add ? to[begin + i] + value : value;
            }
        }
    }
}
static void dropout_run(struct job *job) {
    job_loop(job, job->tasks, dropout_task);
}
const struct op_row ISA(op_dropout) = {dropout_prepare, dropout_run};
