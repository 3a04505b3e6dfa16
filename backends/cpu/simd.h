// Vectors as wide as the instruction set that this file is compiled for allows, by the vector
// extensions of the compilers: one source serves every processor. Included only by files of kernels
// (see cpu.h).
//
// `element` is the type of activations in memory that the file is compiled for: float, f16 or bf16.
// load() and store() convert, so that all arithmetic is in float32; a store rounds to the nearest,
// ties to even.
#ifndef DAPT_CPU_SIMD_H
#define DAPT_CPU_SIMD_H
#include <string.h>

#include "common/half.h"
#include "cpu.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

// DAPT_ISA and DAPT_ELEMENT are defined by the build: ISA(name) is `name` with the instruction set
// (and the type of elements, if not float) as suffix.
#define ISA_JOIN(name, isa) name##_##isa
#define ISA_EXPAND(name, isa) ISA_JOIN(name, isa)
#define ISA(name) ISA_EXPAND(name, DAPT_ISA)

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES (VECTOR_BYTES / 4)
#define MAX_LANES 16  // of any instruction set: what grids and paddings are multiples of

typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES)));
typedef float vf_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t vi_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

typedef uint16_t vh __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint16_t vh_unaligned __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

typedef struct {
    uint16_t bits;
} f16;
typedef struct {
    uint16_t bits;
} bf16;
typedef DAPT_ELEMENT element;
#define ELEMENT_IS_FLOAT _Generic((element *)NULL, float * : 1, default : 0)

static inline element *elements(const struct view *v) {
    return (element *)v->data.p;
}

static inline vi load_i(const int32_t *p) {
    return *(const vi_unaligned *)p;
}
static inline vf splat(float x) {
    return x - (vf){0};
}
static inline vi splat_i(int32_t x) {
    return x - (vi){0};
}

// Masks are vi lanes of 0 or -1, as comparisons give them.
static inline vf vselect(vi mask, vf a, vf b) {
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

// ------------------------------------------------------------------------------- loads and stores

static inline vf widen_bf16(vh half) {
    return (vf)(__builtin_convertvector(half, vi) << 16);
}
static inline vh narrow_bf16(vf v) {
    vu bits = (vu)v, rounded = bits + 0x7fff + (bits >> 16 & 1);  // of a NaN it may wrap
    vf result = vselect(v == v, (vf)rounded, (vf)(bits | 0x400000));
    return __builtin_convertvector((vu)result >> 16, vh);
}

// As half.h does.
static inline vf widen_f16(vh half) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps((__m256i)half);
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps((__m128i)half);
#else
    vi bits = __builtin_convertvector(half, vi), size = bits & 0x7fff;
    vf normal = (vf)((size << 13) + 0x38000000), special = (vf)(0x7f800000 | size << 13);
    vf small = __builtin_convertvector(size, vf) * 0x1p-24f;
    vf result = vselect(size < 0x400, small, vselect(size < 0x7c00, normal, special));
    return (vf)((vi)result | (bits & 0x8000) << 16);
#endif
}
static inline vh narrow_f16(vf v) {
#if defined(__AVX512F__)
    return (vh)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
    return (vh)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    vi bits = (vi)v, size = bits & INT32_MAX, rebased = size - 0x38000000;
    vf normal = (vf)((rebased + 0xfff + (rebased >> 13 & 1)) >> 13);
    vf small = (vf)((vi)((vf)size + 0.5f) - 0x3f000000);
    vf result = vselect(size < (vi)splat_i((int32_t)F16_INFINITE), normal, (vf)splat_i(0x7c00));
    result = vselect(size < splat_i((int32_t)F16_NORMAL), small, result);
    result = vselect(v == v, result, (vf)(0x7e00 | (size >> 13 & 0x1ff)));
    return __builtin_convertvector((vi)result | (bits >> 16 & 0x8000), vh);
#endif
}

static inline vf load_float(const float *p) {
    return *(const vf_unaligned *)p;
}
static inline void store_float(float *p, vf v) {
    *(vf_unaligned *)p = v;
}
static inline vf load_bf16(const bf16 *p) {
    return widen_bf16(*(const vh_unaligned *)p);
}
static inline void store_bf16(bf16 *p, vf v) {
    *(vh_unaligned *)p = narrow_bf16(v);
}
static inline vf load_f16(const f16 *p) {
    return widen_f16(*(const vh_unaligned *)p);
}
static inline void store_f16(f16 *p, vf v) {
    *(vh_unaligned *)p = narrow_f16(v);
}

// The first n elements (0 < n < LANES); the other lanes are 0.
static inline vf load_part_float(const float *p, int64_t n) {
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
#endif
}
static inline void store_part_float(float *p, vf v, int64_t n) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * sizeof *p);
#endif
}
static inline vh load_part_half(const void *p, int64_t n) {
#if defined(__AVX512F__)
    return (vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
#else
    vh half = {0};
    memcpy(&half, p, (size_t)n * sizeof(uint16_t));
    return half;
#endif
}
static inline void store_part_half(void *p, vh half, int64_t n) {
#if defined(__AVX512F__)
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)half);
#else
    memcpy(p, &half, (size_t)n * sizeof(uint16_t));
#endif
}
static inline vf load_part_bf16(const bf16 *p, int64_t n) {
    return widen_bf16(load_part_half(p, n));
}
static inline void store_part_bf16(bf16 *p, vf v, int64_t n) {
    store_part_half(p, narrow_bf16(v), n);
}
static inline vf load_part_f16(const f16 *p, int64_t n) {
    return widen_f16(load_part_half(p, n));
}
static inline void store_part_f16(f16 *p, vf v, int64_t n) {
    store_part_half(p, narrow_f16(v), n);
}

static inline float get_float(const float *p) {
    return *p;
}
static inline void put_float(float *p, float x) {
    *p = x;
}
static inline float get_bf16(const bf16 *p) {
    return bf16_to_float(p->bits);
}
static inline void put_bf16(bf16 *p, float x) {
    p->bits = float_to_bf16(x);
}
static inline float get_f16(const f16 *p) {
    return f16_to_float(p->bits);
}
static inline void put_f16(f16 *p, float x) {
    p->bits = float_to_f16(x);
}

// By the type of the pointer.
#define BY_TYPE(name, p) \
    _Generic((p), float *: name##_float, const float *: name##_float, f16 *: name##_f16, \
             const f16 *: name##_f16, bf16 *: name##_bf16, const bf16 *: name##_bf16)
#define load(p) BY_TYPE(load, p)(p)
#define store(p, v) BY_TYPE(store, p)(p, v)
#define load_part(p, n) BY_TYPE(load_part, p)(p, n)
#define store_part(p, v, n) BY_TYPE(store_part, p)(p, v, n)
#define get(p) BY_TYPE(get, p)(p)  // one number
#define put(p, x) BY_TYPE(put, p)(p, x)
// `count` numbers of one float type as another.
#define convert(to, from, count)                                                         \
    do {                                                                                 \
        int64_t at_ = 0, rest_ = (count) % LANES;                                        \
        for (; at_ < (count)-rest_; at_ += LANES) store((to) + at_, load((from) + at_)); \
        if (rest_ > 0) store_part((to) + at_, load_part((from) + at_, rest_), rest_);    \
    } while (0)

static inline vf mask_zero(vi mask, vf a) {
    return (vf)(mask & (vi)a);
}
// The larger; b where either is not a number.
static inline vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vselect(a > b, a, b);
#endif
}
static inline vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vselect(a < b, a, b);
#endif
}

static inline float hsum(vf v) {
    float lane[LANES];
    memcpy(lane, &v, sizeof v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}
static inline float hmax(vf v) {
    float lane[LANES];
    memcpy(lane, &v, sizeof v);
    for (int i = 1; i < LANES; i++)
        lane[0] = lane[i] > lane[0] || lane[i] != lane[i] ? lane[i] : lane[0];
    return lane[0];
}

// --------------------------------------------------------------------------------------- functions
//
// Polynomials fitted at Chebyshev nodes. NaN stays NaN, and the limits at both ends are exact.

static inline vf round_even(vf x) {
#if defined(__AVX512F__)
    return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
    return (vf)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    // Half away from zero does as well here. |x| is far below 2^31.
    vf half = (vf)((vi)splat(0.5f) | ((vi)x & splat_i(INT32_MIN)));
    return __builtin_convertvector(__builtin_convertvector(x + half, vi), vf);
#endif
}

// a * 2^n, n whole, in -252 .. 254.
static inline vf scale_power(vf a, vf n) {
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)a, (__m512)n);
#else
    vi whole = __builtin_convertvector(n, vi);
    vi first = whole >> 1,
       second = whole - first;  // in two steps, so that denormal results come out right
    return a * (vf)((first + 127) << 23) * (vf)((second + 127) << 23);
#endif
}

// Error below 1.5 units in the last place.
static inline vf vexp(vf x) {
    vf t = vmin(splat(89.0f), vmax(splat(-105.0f), x));  // second operand: NaN passes
    vf n = round_even(t * 1.44269504f);
    vf r = t -
           // ln 2 in two parts; the first has so few bits that n times it is exact
           n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    vf p = r * 1.392618359e-3f + 8.363179053e-3f;
    p = p * r + 4.166655462e-2f;
    p = p * r + 1.666657699e-1f;
    p = p * r + 0.5f;
    p = (r * r) * p + r + 1.0f;
    p = scale_power(p, n);
#if !defined(__AVX512F__)
    p = vselect(x == x, p, x);  // conversion to whole numbers loses NaN
#endif
    return p;
}

static inline vf vtanh(vf x) {
    vf magnitude = (vf)((vi)x & splat_i(INT32_MAX));
    vf y = x * x;
    vf small = y * -6.096119172e-3f + 2.099665387e-2f;
    small = small * y - 5.385075487e-2f;
    small = small * y + 1.333276804e-1f;
    small = small * y - 3.333332889e-1f;
    small = x + x * y * small;
    vf large = 1.0f - 2.0f / (vexp(2.0f * magnitude) + 1.0f);
    large = (vf)((vi)large | ((vi)x & splat_i(INT32_MIN)));
    return vselect(magnitude < 0.625f, small, large);
}

// The normal distribution: its cdf P(X <= x), and its density. One exponential for both.
static inline vf vnormal(vf x, vf *density) {
    vf magnitude = (vf)((vi)x & splat_i(INT32_MAX));
    vf e = vexp(-0.5f * x * x);
    vf t = 1.0f / (1.0f + magnitude * 0.353553391f);  // 1 / (1 + z / 2), z = |x| / sqrt 2
    vf q = t * -5.933812589e-2f + 2.859796717e-1f;    // erfc(z) exp(z^2) / t
    q = q * t - 4.902760466e-1f;
    q = q * t + 2.817421931e-1f;
    q = q * t - 2.923109803e-2f;
    q = q * t + 2.038022608e-1f;
    q = q * t + 2.428240908e-1f;
    q = q * t + 2.824126132e-1f;
    q = q * t + 2.820844014e-1f;
    vf tail = 0.5f * e * t * q;
    *density = 0.398942280f * e;
    return vselect(x > 0.0f, 1.0f - tail, tail);
}

static inline vf vsigmoid(vf x) {
    return 1.0f / (1.0f + vexp(-x));
}

// The same and its derivative, both without cancellation at either end.
static inline vf vsigmoid_grad(vf x, vf *derivative) {
    vf e = vexp((vf)((vi)x | splat_i(INT32_MIN)));  // exp(-|x|)
    vf near = 1.0f / (1.0f + e), far = e * near;
    *derivative = near * far;
    return vselect(x < 0.0f, far, near);
}

// act(x), and its derivative. `kind` is a constant wherever these are called in a loop.
static inline vf activate(enum dapt_activation kind, vf x) {
    vf unused;
    switch (kind) {
    case DAPT_ACT_GELU: return x * vnormal(x, &unused);
    case DAPT_ACT_GELU_TANH: return x * vsigmoid(1.59576912f * (x + 0.044715f * x * x * x));
    case DAPT_ACT_SILU: return x * vsigmoid(x);
    case DAPT_ACT_RELU: return vmax(splat(0.0f), x);
    default: return x;
    }
}
static inline vf activate_grad(enum dapt_activation kind, vf x) {
    vf density, s;
    switch (kind) {
    case DAPT_ACT_GELU: s = vnormal(x, &density); return s + x * density;
    case DAPT_ACT_GELU_TANH:
        s = vsigmoid_grad(1.59576912f * (x + 0.044715f * x * x * x), &density);
        return s + x * density * (1.59576912f + 0.214064448f * x * x);
    case DAPT_ACT_SILU: s = vsigmoid_grad(x, &density); return s + x * density;
    case DAPT_ACT_RELU: return vselect(x > 0.0f, splat(1.0f), vselect(x == x, (vf){0}, x));
    default: return splat(1.0f);
    }
}

// ------------------------------------------------------------------------------------------- grids

// Divides rows x columns into blocks of about `size` elements; columns are divided only where one
// row is longer than that. step and count: [0] rows, [1] columns.
static inline void grid_rows(struct job *job, int64_t rows, int64_t cols, int64_t size) {
    job->step[1] = cols > size ? size : max_i64(cols, 1);
    job->count[1] = ceil_div(max_i64(cols, 1), job->step[1]);
    job->step[0] = max_i64(1, min_i64(size / job->step[1], max_i64(rows, 1)));
    job->count[0] = ceil_div(rows, job->step[0]);
    job->tasks = job->count[0] * job->count[1];
}

// Flattens operands of equal shape, to one row if all are dense, else to rows of one length, and
// divides them as above.
static inline void flatten(struct job *job, int inputs, int outputs, int64_t size) {
    bool dense = true;
    for (int i = 0; i < inputs + outputs; i++) {
        struct view *v = i < inputs ? &job->in[i] : &job->out[i - inputs];
        v->cols *= v->inner;
        v->inner = 1;
        dense = dense && v->stride == v->cols;
    }
    for (int i = 0; dense && i < inputs + outputs; i++) {
        struct view *v = i < inputs ? &job->in[i] : &job->out[i - inputs];
        v->cols *= v->rows;
        v->rows = 1;
        v->stride = v->cols;
    }
    grid_rows(job, job->out[0].rows, job->out[0].cols, size);
}

struct block {
    int64_t row, row_end, col, col_end;
};

static inline struct block grid_block(const struct job *job, int64_t task, int64_t rows,
                                      int64_t cols) {
    int64_t r = task / job->count[1], c = task % job->count[1];
    return (struct block){r * job->step[0], min_i64(rows, (r + 1) * job->step[0]), c * job->step[1],
                          min_i64(cols, (c + 1) * job->step[1])};
}

// The ops: one row of the table each.
#define OP_ROW(name) extern const struct op_row ISA(name)
OP_ROW(op_embed);
OP_ROW(op_embed_grad);
OP_ROW(op_scatter_rows);
OP_ROW(op_matmul);
OP_ROW(op_add_bias);
OP_ROW(op_column_sum);
OP_ROW(op_rms_norm);
OP_ROW(op_rms_norm_grad);
OP_ROW(op_layer_norm);
OP_ROW(op_layer_norm_grad);
OP_ROW(op_rope);
OP_ROW(op_attention);
OP_ROW(op_attention_grad);
OP_ROW(op_activate);
OP_ROW(op_activate_grad);
OP_ROW(op_gate);
OP_ROW(op_gate_grad);
OP_ROW(op_add);
OP_ROW(op_scale);
OP_ROW(op_copy);
OP_ROW(op_cast);
OP_ROW(op_fill);
OP_ROW(op_lm_loss);
OP_ROW(op_lm_loss_grad);
OP_ROW(op_sum);
OP_ROW(op_sum_squares);
OP_ROW(op_adamw);
OP_ROW(op_adamw_8bit);
OP_ROW(op_dropout);
OP_ROW(op_dequantize);
#undef OP_ROW

// Adds `count` partial sums, each `length` floats and `stride` apart, in order, to y (or overwrites
// it): the second stage of every sum over rows.
void ISA(reduce_parts)(struct job *job, const float *parts, int64_t count, int64_t stride, float *y,
                       int64_t length, bool accumulate);
// y [C] (+)= the sum over the rows of x [N,C], of elements, with so many bytes of scratch.
size_t ISA(sum_rows_scratch)(const struct view *x);
void ISA(sum_rows)(struct job *job, const struct view *x, float *parts, float *y, bool accumulate);
#endif
