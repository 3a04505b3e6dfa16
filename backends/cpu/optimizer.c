// AdamW (Loshchilov and Hutter 2019, algorithm 2) over one flat range: grad, param, m, v [n]; and
// the sums that gradient clipping and reports need.
#include <math.h>

#include "simd.h"

#define CHUNK 65536

// -------------------------------------------------------------------------------------------- sums
//
// Chunks are summed in double, with 16 partial sums each; then the sums of the chunks, in order.

static void sum_prepare(struct job *job) {
    const struct view *x = &job->in[0];
    job->length = x->rows * x->inner * x->cols;
    job->tasks = ceil_div(job->length, CHUNK);
    job->shared = (size_t)job->tasks * sizeof(double);
}

static inline __attribute__((always_inline)) double sum_chunk(const float *x, int64_t count,
                                                              bool squares) {
    double sum[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int u = 0; u < 16; u++) {
            double v = x[i + u];
            sum[u] += squares ? v * v : v;
        }
    for (; i < count; i++) sum[0] += squares ? (double)x[i] * (double)x[i] : (double)x[i];
    for (int width = 8; width > 0; width /= 2)
        for (int u = 0; u < width; u++) sum[u] += sum[u + width];
    return sum[0];
}

static void sum_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const float *x = job->in[0].data.f + task * CHUNK;
    int64_t count = min_i64(CHUNK, job->length - task * CHUNK);
    double *sums = job_shared(job);
    sums[task] = job->op.opcode == DAPT_OP_SUM ? sum_chunk(x, count, false)
                                               : sum_chunk(x, count, true);
}

static void sum_run(struct job *job) {
    job_loop(job, job->tasks, sum_task);
    const double *sums = job_shared(job);
    float *y = job->out[0].data.f;
    double sum = (job->op.accumulate & 1) != 0 ? (double)*y : 0.0;
    for (int64_t i = 0; i < job->tasks; i++) sum += sums[i];
    *y = (float)sum;
}
const struct op_row ISA(op_sum) = {sum_prepare, sum_run};
const struct op_row ISA(op_sum_squares) = {sum_prepare, sum_run};

// ------------------------------------------------------------------------------------------- adamw

struct adamw {
    float grad_scale, beta1, beta2, shrink, rate, correction2, eps;
};

static inline __attribute__((always_inline)) void adamw_vector(const struct adamw *s, vf g, vf *p,
                                                               vf *m, vf *v) {
    g *= s->grad_scale;
    *m = s->beta1 * *m + (1.0f - s->beta1) * g;
    *v = s->beta2 * *v + (1.0f - s->beta2) * g * g;
    vf root;
#if defined(__AVX512F__)
    root = (vf)_mm512_sqrt_ps((__m512)(*v * s->correction2));
#else
    root = *v * s->correction2;
    for (int i = 0; i < LANES; i++) root[i] = __builtin_sqrtf(root[i]);
#endif
    *p = *p - s->shrink * *p - s->rate * *m / (root + s->eps);
}

static void adamw_prepare(struct job *job) {
    const struct view *grad = &job->in[0];
    job->length = grad->rows * grad->inner * grad->cols;
    job->tasks = ceil_div(job->length, CHUNK);
}

static void adamw_task(struct job *job, int64_t task, unsigned thread) {
    (void)thread;
    const struct adamw *s = job->extra;
    int64_t i = task * CHUNK, end = min_i64(job->length, i + CHUNK);
    const float *grad = job->in[0].data.f;
    float *param = job->out[0].data.f, *m = job->out[1].data.f, *v = job->out[2].data.f;
    for (; i + LANES <= end; i += LANES) {
        vf p = load(param + i), a = load(m + i), b = load(v + i);
        adamw_vector(s, load(grad + i), &p, &a, &b);
        store(param + i, p);
        store(m + i, a);
        store(v + i, b);
    }
    if (i == end) return;
    int64_t rest = end - i;
    vf p = load_part(param + i, rest), a = load_part(m + i, rest), b = load_part(v + i, rest);
    adamw_vector(s, load_part(grad + i, rest), &p, &a, &b);
    store_part(param + i, p, rest);
    store_part(m + i, a, rest);
    store_part(v + i, b, rest);
}

static void adamw_run(struct job *job) {
    const float *step = job->in[1].data.f;
    double norm2 = *job->in[2].data.f, clip = step[DAPT_STEP_CLIP],
           unscale = step[DAPT_STEP_UNSCALE];
    if (!isfinite(norm2)) return;
    float rate = job->op.u.adamw.rate * step[DAPT_STEP_LEARNING_RATE];
    double factor = clip > 0 ? clip / (unscale * sqrt(norm2) + 1e-6) : 1.0;
    struct adamw s = {
        .grad_scale = (float)(unscale * (factor < 1.0 ? factor : 1.0)),
        .beta1 = job->op.u.adamw.beta1,
        .beta2 = job->op.u.adamw.beta2,
        .shrink = job->op.u.adamw.decay ? rate * step[DAPT_STEP_WEIGHT_DECAY] : 0.0f,
        .rate = rate / step[DAPT_STEP_CORRECTION1],
        .correction2 = 1.0f / step[DAPT_STEP_CORRECTION2],
        .eps = job->op.u.adamw.eps,
    };
    job->extra = &s;
    job_loop(job, job->tasks, adamw_task);
    job->extra = NULL;
}
const struct op_row ISA(op_adamw) = {adamw_prepare, adamw_run};
