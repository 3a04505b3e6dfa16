#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

typedef const struct reference_tensor tensor;

static int64_t count_of(tensor *t) {
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}
static int64_t last_of(tensor *t) {
    return t->shape[t->rank - 1];
}
// Writes or adds, as the op asks for output `index`.
static void put(const struct dapt_op *op, int index, double *place, double value) {
    *place = (op->accumulate >> index & 1) != 0 ? *place + value : value;
}

// --------------------------------------------------------------------------------------- functions

static double normal(double x) {
    return 0.5 * erfc(-x / sqrt(2.0));
}
static double cap(double x, double limit) {
    return limit > 0 ? limit * tanh(x / limit) : x;
}
static double gelu_tanh_inner(double x) {
    return sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
}

static double activate(enum dapt_activation kind, double x) {
    switch (kind) {
    case DAPT_ACT_GELU: return x * normal(x);
    case DAPT_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(gelu_tanh_inner(x)));
    case DAPT_ACT_SILU: return x / (1 + exp(-x));
    case DAPT_ACT_RELU: return x > 0 || x != x ? x : 0;
    default: return x;
    }
}

static double activate_slope(enum dapt_activation kind, double x) {
    double t, s;
    switch (kind) {
    case DAPT_ACT_GELU: return normal(x) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case DAPT_ACT_GELU_TANH:
        t = tanh(gelu_tanh_inner(x));
        return 0.5 * (1 + t) +
               0.5 * x * (1 - t * t) * sqrt(2.0 / M_PI) * (1 + 3 * 0.044715 * x * x);
    case DAPT_ACT_SILU: s = 1 / (1 + exp(-x)); return s * (1 + x * (1 - s));
    case DAPT_ACT_RELU: return x != x ? x : x > 0 ? 1 : 0;
    default: return 1;
    }
}

// ------------------------------------------------------------------------------- rows and matrices

static void embed(const struct dapt_op *op, tensor *in, tensor *out) {
    (void)op;
    int64_t c = in[0].shape[1];
    for (int64_t n = 0; n < in[1].shape[0]; n++)
        memcpy(out[0].v + n * c, in[0].v + in[1].i[n] * c, (size_t)c * sizeof(double));
}

static void embed_grad(const struct dapt_op *op, tensor *in, tensor *out) {
    int64_t c = in[0].shape[1];
    if ((op->accumulate & 1) == 0) memset(out[0].v, 0, (size_t)count_of(&out[0]) * sizeof(double));
    for (int64_t n = 0; n < in[1].shape[0]; n++)
        for (int64_t k = 0; k < c; k++) out[0].v[in[1].i[n] * c + k] += in[0].v[n * c + k];
}

static void scatter_rows(const struct dapt_op *op, tensor *in, tensor *out) {
    (void)op;
    int64_t c = in[0].shape[1];
    for (int64_t n = 0; n < in[1].shape[0]; n++)
        memcpy(out[0].v + in[1].i[n] * c, in[0].v + n * c, (size_t)c * sizeof(double));
}

// To the nearest number of a float type, ties to even.
static double round_to(double x, enum dapt_dtype dtype) {
    bool half = dtype == DAPT_F16;
    int exponent, digits = half ? 11 : 8, least = half ? -24 : -133;
    if (dtype == DAPT_F32 || !isfinite(x)) return x;
    frexp(x, &exponent);
    int unit = exponent - digits > least ? exponent - digits : least;
    double rounded = ldexp(nearbyint(ldexp(x, -unit)), unit);
    return fabs(rounded) < (half ? 65536 : 0x1p128) ? rounded : copysign((double)INFINITY, x);
}

// y [C], output `index`, is the sum over the rows of x [N,C], or that is added to it.
static void sum_rows(const struct dapt_op *op, const tensor *x, int index, tensor *y) {
    for (int64_t c = 0; c < x->shape[1]; c++) {
        double sum = 0;
        for (int64_t n = 0; n < x->shape[0]; n++) sum += x->v[n * x->shape[1] + c];
        put(op, index, &y->v[c], sum);
    }
}

static void matmul(const struct dapt_op *op, tensor *in, tensor *out) {
    enum dapt_dtype operands = op->u.matmul.operands;
    bool ta = op->u.matmul.transpose_a, tb = op->u.matmul.transpose_b;
    int64_t m = out[0].shape[0], n = out[0].shape[1], k = ta ? in[0].shape[0] : in[0].shape[1];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = in[2].v != NULL ? in[2].v[j] : 0;
            for (int64_t r = 0; r < k; r++)
                sum += round_to(in[0].v[ta ? r * m + i : i * k + r], operands) *
                       round_to(in[1].v[tb ? j * k + r : r * n + j], operands);
            if (op->u.matmul.derivative) {
                sum *= activate_slope(op->u.matmul.activation, in[3].v[i * n + j]);
            } else {
                sum = activate(op->u.matmul.activation, sum);
                if (in[3].v != NULL) sum += in[3].v[i * n + j];
            }
            put(op, 0, &out[0].v[i * n + j], sum);
        }
    for (int o = 1; o < 3; o++)  // a is [K,M] here, b [K,N]
        if (out[o].v != NULL) sum_rows(op, &in[o - 1], o, &out[o]);
}

static void add_bias(const struct dapt_op *op, tensor *in, tensor *out) {
    (void)op;
    for (int64_t i = 0; i < count_of(&in[0]); i++)
        out[0].v[i] = in[0].v[i] + in[1].v[i % in[0].shape[1]];
}

static void column_sum(const struct dapt_op *op, tensor *in, tensor *out) {
    sum_rows(op, &in[0], 0, &out[0]);
}

// ------------------------------------------------------------------------------------------- norms

static void norm(const struct dapt_op *op, tensor *in, tensor *out) {
    bool centred = op->opcode == DAPT_OP_LAYER_NORM;
    const double *bias = centred ? in[2].v : NULL, offset = (double)op->u.norm.weight_offset;
    int64_t c = last_of(&in[0]);
    for (int64_t n = 0; n < count_of(&in[0]) / c; n++) {
        const double *x = in[0].v + n * c;
        double mean = 0, square = 0;
        for (int64_t i = 0; centred && i < c; i++) mean += x[i] / (double)c;
        for (int64_t i = 0; i < c; i++) square += (x[i] - mean) * (x[i] - mean) / (double)c;
        double rstd = 1 / sqrt(square + (double)op->u.norm.eps);
        for (int64_t i = 0; i < c; i++)
            out[0].v[n * c + i] = (x[i] - mean) * rstd * (offset + in[1].v[i]) +
                                  (bias != NULL ? bias[i] : 0);
        if (centred) out[1].v[n] = mean;
        out[centred ? 2 : 1].v[n] = rstd;
    }
}

static void norm_grad(const struct dapt_op *op, tensor *in, tensor *out) {
    bool centred = op->opcode == DAPT_OP_LAYER_NORM_GRAD;
    double offset = (double)op->u.norm.weight_offset;
    int64_t c = last_of(&in[1]);
    double *dw = calloc((size_t)c, sizeof *dw), *db = calloc((size_t)c, sizeof *db);
    for (int64_t n = 0; n < count_of(&in[1]) / c; n++) {
        double mean = centred ? in[3].v[n] : 0, rstd = in[centred ? 4 : 3].v[n], mean_g = 0,
               mean_gx = 0;
        for (int64_t i = 0; i < c; i++) {
            double g = in[0].v[n * c + i] * (offset + in[2].v[i]),
                   xh = (in[1].v[n * c + i] - mean) * rstd;
            mean_g += centred ? g / (double)c : 0;
            mean_gx += g * xh / (double)c;
            dw[i] += in[0].v[n * c + i] * xh;
            db[i] += in[0].v[n * c + i];
        }
        for (int64_t i = 0; i < c; i++) {
            double g = in[0].v[n * c + i] * (offset + in[2].v[i]),
                   xh = (in[1].v[n * c + i] - mean) * rstd;
            put(op, 0, &out[0].v[n * c + i], rstd * (g - mean_g - xh * mean_gx));
        }
    }
    for (int64_t i = 0; i < c; i++) {
        if (out[1].v != NULL) put(op, 1, &out[1].v[i], dw[i]);
        if (centred && out[2].v != NULL) put(op, 2, &out[2].v[i], db[i]);
    }
    free(dw);
    free(db);
}

static void rope(const struct dapt_op *op, tensor *in, tensor *out) {
    int64_t heads = in[0].shape[1], size = in[0].shape[2], rotated = in[1].shape[1];
    for (int64_t r = 0; r < in[0].shape[0] * heads; r++) {
        const double *x = in[0].v + r * size, *table = in[1].v + in[2].i[r / heads] * rotated;
        double *y = out[0].v + r * size;
        for (int64_t i = rotated; i < size; i++) y[i] = x[i];
        for (int64_t i = 0; i < rotated / 2; i++) {
            int64_t first = op->u.rope.interleaved ? 2 * i : i;
            int64_t second = op->u.rope.interleaved ? 2 * i + 1 : i + rotated / 2;
            double a = x[first], b = x[second], cosine = table[i];
            double sine = op->u.rope.inverse ? -table[rotated / 2 + i] : table[rotated / 2 + i];
            y[first] = a * cosine - b * sine;
            y[second] = a * sine + b * cosine;
        }
    }
}

// --------------------------------------------------------------------------------------- attention

struct attention {
    int64_t query_rows, key_rows, heads, groups, size;
    double scale, cap;
};

static struct attention attention_of(const struct dapt_op *op, tensor *q, tensor *k) {
    int64_t s = op->u.attention.sequences;
    return (struct attention){q->shape[0] / s,
                              k->shape[0] / s,
                              q->shape[1],
                              k->shape[1],
                              q->shape[2],
                              (double)op->u.attention.scale,
                              (double)op->u.attention.softcap};
}

static bool sees(const struct dapt_op *op, const int32_t *first, const int32_t *last, int64_t n,
                 int64_t j) {
    if (j < first[n] || j > last[n]) return false;
    return op->u.attention.window <= 0 || j > last[n] - op->u.attention.window;
}

// The score of query row n, head h with key j of its sequence; *slope: d score / d (scale q.k).
static double score(const struct attention *at, tensor *q, tensor *k, int64_t n, int64_t h,
                    int64_t j, double *slope) {
    int64_t group = h / (at->heads / at->groups), row = n / at->query_rows * at->key_rows + j;
    double sum = 0;
    for (int64_t d = 0; d < at->size; d++)
        sum += q->v[(n * at->heads + h) * at->size + d] *
               k->v[(row * at->groups + group) * at->size + d];
    sum *= at->scale;
    *slope = 1;
    if (at->cap > 0) {
        double t = tanh(sum / at->cap);
        *slope = 1 - t * t;
        sum = at->cap * t;
    }
    return sum;
}

static void attention(const struct dapt_op *op, tensor *in, tensor *out) {
    struct attention at = attention_of(op, &in[0], &in[1]);
    double slope;
    for (int64_t n = 0; n < in[0].shape[0]; n++)
        for (int64_t h = 0; h < at.heads; h++) {
            double *y = out[0].v + (n * at.heads + h) * at.size, top = -INFINITY, sum = 0;
            int64_t group = h / (at.heads / at.groups), row = n / at.query_rows * at.key_rows;
            for (int64_t d = 0; d < at.size; d++) y[d] = 0;
            for (int64_t j = 0; j < at.key_rows; j++)
                if (sees(op, in[3].i, in[4].i, n, j))
                    top = fmax(top, score(&at, &in[0], &in[1], n, h, j, &slope));
            for (int64_t j = 0; j < at.key_rows; j++) {
                if (!sees(op, in[3].i, in[4].i, n, j)) continue;
                double p = exp(score(&at, &in[0], &in[1], n, h, j, &slope) - top);
                sum += p;
                for (int64_t d = 0; d < at.size; d++)
                    y[d] += p * in[2].v[((row + j) * at.groups + group) * at.size + d];
            }
            out[1].v[n * at.heads + h] = sum == 0 ? -INFINITY : top + log(sum);
            for (int64_t d = 0; sum != 0 && d < at.size; d++) y[d] /= sum;
        }
}

static void attention_grad(const struct dapt_op *op, tensor *in, tensor *out) {
    tensor *dy = &in[0], *q = &in[1], *k = &in[2], *v = &in[3], *y = &in[4], *lse = &in[5];
    struct attention at = attention_of(op, q, k);
    for (int i = 0; i < 3; i++) memset(out[i].v, 0, (size_t)count_of(&out[i]) * sizeof(double));
    for (int64_t n = 0; n < q->shape[0]; n++)
        for (int64_t h = 0; h < at.heads; h++) {
            int64_t query = (n * at.heads + h) * at.size, group = h / (at.heads / at.groups);
            double delta = 0;
            for (int64_t d = 0; d < at.size; d++) delta += dy->v[query + d] * y->v[query + d];
            for (int64_t j = 0; j < at.key_rows; j++) {
                if (!sees(op, in[6].i, in[7].i, n, j)) continue;
                int64_t key = ((n / at.query_rows * at.key_rows + j) * at.groups + group) * at.size;
                double slope, dp = 0,
                              p = exp(score(&at, q, k, n, h, j, &slope) - lse->v[n * at.heads + h]);
                for (int64_t d = 0; d < at.size; d++) dp += dy->v[query + d] * v->v[key + d];
                double ds = p * (dp - delta) * slope * at.scale;
                for (int64_t d = 0; d < at.size; d++) {
                    out[0].v[query + d] += ds * k->v[key + d];
                    out[1].v[key + d] += ds * q->v[query + d];
                    out[2].v[key + d] += p * dy->v[query + d];
                }
            }
        }
}

// ------------------------------------------------------------------------------------- one element

static void element(const struct dapt_op *op, tensor *in, tensor *out) {
    enum dapt_activation kind = op->u.activation.kind;
    for (int64_t i = 0; i < count_of(&out[0]); i++) {
        double a = in[0].v != NULL ? in[0].v[i] : 0, b = in[1].v != NULL ? in[1].v[i] : 0,
               *y = &out[0].v[i];
        switch (op->opcode) {
        case DAPT_OP_ACTIVATE: *y = activate(kind, a); break;
        case DAPT_OP_ACTIVATE_GRAD: *y = a * activate_slope(kind, b); break;
        case DAPT_OP_GATE: *y = activate(kind, a) * b; break;
        case DAPT_OP_GATE_GRAD:
            *y = a * in[2].v[i] * activate_slope(kind, b);
            out[1].v[i] = a * activate(kind, b);
            break;
        case DAPT_OP_ADD: *y = a + b; break;
        case DAPT_OP_SCALE:
            *y = cap((double)op->u.scale.factor * a, (double)op->u.scale.softcap);
            break;
        case DAPT_OP_COPY:
        case DAPT_OP_CAST:
        case DAPT_OP_DEQUANTIZE: *y = a; break;
        default: *y = (double)op->u.fill.value; break;
        }
    }
}

// -------------------------------------------------------------------------------------- loss, sums

static void lm_loss(const struct dapt_op *op, tensor *in, tensor *out) {
    bool grad = op->opcode == DAPT_OP_LM_LOSS_GRAD;
    int64_t rows = in[0].shape[0], c = in[0].shape[1], vocabulary = in[1].shape[0];
    double scale = (double)op->u.lm.scale, cap = (double)op->u.lm.softcap;
    double *z = calloc((size_t)vocabulary, sizeof *z),
           *slope = calloc((size_t)vocabulary, sizeof *slope);
    bool dx = grad && out[1].v != NULL, dw = grad && out[2].v != NULL;
    if (dw && (op->accumulate & 4) == 0)
        memset(out[2].v, 0, (size_t)(vocabulary * c) * sizeof(double));
    if (grad && out[3].v != NULL && (op->accumulate & 8) == 0)
        memset(out[3].v, 0, (size_t)vocabulary * sizeof(double));
    for (int64_t n = 0; n < rows; n++) {
        const double *x = in[0].v + n * c;
        int32_t target = in[3].i[n];
        out[0].v[n] = 0;
        for (int64_t i = 0; dx && i < c; i++) out[1].v[n * c + i] = 0;
        if (target < 0) continue;
        double top = -INFINITY, sum = 0;
        for (int64_t v = 0; v < vocabulary; v++) {
            z[v] = in[2].v != NULL ? in[2].v[v] : 0;
            for (int64_t i = 0; i < c; i++) z[v] += x[i] * in[1].v[v * c + i];
            z[v] *= scale;
            slope[v] = scale;
            if (cap > 0) {
                z[v] = cap * tanh(z[v] / cap);
                slope[v] *= 1 - z[v] / cap * (z[v] / cap);
            }
            top = fmax(top, z[v]);
        }
        for (int64_t v = 0; v < vocabulary; v++) sum += exp(z[v] - top);
        out[0].v[n] = top + log(sum) - z[target];
        for (int64_t v = 0; grad && v < vocabulary; v++) {
            double d = in[4].v[0] * slope[v] * (exp(z[v] - top) / sum - (v == target ? 1 : 0));
            for (int64_t i = 0; i < c; i++) {
                if (dx) out[1].v[n * c + i] += d * in[1].v[v * c + i];
                if (dw) out[2].v[v * c + i] += d * x[i];
            }
            if (out[3].v != NULL) out[3].v[v] += d;
        }
    }
    free(z);
    free(slope);
}

static void sum(const struct dapt_op *op, tensor *in, tensor *out) {
    double total = 0;
    for (int64_t i = 0; i < count_of(&in[0]); i++)
        total += op->opcode == DAPT_OP_SUM ? in[0].v[i] : in[0].v[i] * in[0].v[i];
    put(op, 0, &out[0].v[0], total);
}

static void adamw(const struct dapt_op *op, tensor *in, tensor *out) {
    const double *step = in[1].v;
    double norm2 = in[2].v[0], clip = step[DAPT_STEP_CLIP], factor = step[DAPT_STEP_UNSCALE],
           norm = factor * sqrt(norm2),
           rate = (double)op->u.adamw.rate * step[DAPT_STEP_LEARNING_RATE];
    if (!isfinite(norm2)) return;
    if (clip > 0) factor *= fmin(1, clip / (norm + 1e-6));
    double b1 = (double)op->u.adamw.beta1, b2 = (double)op->u.adamw.beta2;
    for (int64_t i = 0; i < count_of(&in[0]); i++) {
        double g = in[0].v[i] * factor, *param = &out[0].v[i], *m = &out[1].v[i], *v = &out[2].v[i];
        *m = b1 * *m + (1 - b1) * g;
        *v = b2 * *v + (1 - b2) * g * g;
        if (op->u.adamw.decay) *param -= rate * step[DAPT_STEP_WEIGHT_DECAY] * *param;
        *param -= rate * (*m / step[DAPT_STEP_CORRECTION1]) /
                  (sqrt(*v / step[DAPT_STEP_CORRECTION2]) + (double)op->u.adamw.eps);
    }
}

static double code_value(unsigned code, int fraction_bits) {
    double fraction = (double)(code % (1u << fraction_bits)) / (1 << fraction_bits);
    unsigned exponent = code >> fraction_bits;
    return exponent > 0 ? ldexp(1 + fraction, (int)exponent) : 2 * fraction;
}

double reference_moment(const int32_t *words, int64_t i, bool root) {
    const int32_t *block = words + i / DAPT_MOMENT_BLOCK * DAPT_MOMENT_WORDS;
    int64_t at = i % DAPT_MOMENT_BLOCK;
    unsigned code = (uint32_t)block[at / 4] >> 8 * (at % 4) & 255;
    float unit;
    memcpy(&unit, &block[DAPT_MOMENT_WORDS - 1], sizeof unit);
    if (root) return (double)unit * code_value(code, 4);
    return (code & 128 ? -1 : 1) * (double)unit * code_value(code & 127, 3);
}

// The new moments as they are before they are coded: m, and the root of v.
static void adamw_8bit(const struct dapt_op *op, tensor *in, tensor *out) {
    int64_t count = count_of(&in[0]);
    for (int64_t i = 0; i < count; i++) {
        double root = reference_moment(out[2].i, i, true);
        out[1].v[i] = reference_moment(out[1].i, i, false);
        out[2].v[i] = root * root;
    }
    adamw(op, in, out);
    for (int64_t i = 0; i < count; i++) out[2].v[i] = sqrt(out[2].v[i]);
}

static void dropout(const struct dapt_op *op, tensor *in, tensor *out) {
    double rate = (double)op->u.dropout.rate;
    uint32_t least = (uint32_t)floor(rate * 0x1p32);
    int64_t columns = in[0].shape[1];
    for (int64_t i = 0; i < count_of(&in[0]); i++) {
        uint64_t key = (uint64_t)op->u.dropout.stream << 32 | (uint32_t)in[1].i[i / columns];
        uint32_t words[4];
        dapt_philox(key, 0, (uint64_t)(i % columns / 4), words);
        put(op, 0, &out[0].v[i], words[i % columns % 4] >= least ? in[0].v[i] / (1 - rate) : 0);
    }
}

void reference_run(const struct dapt_op *op, tensor *in, tensor *out) {
    static void (*const table[DAPT_OP_COUNT])(const struct dapt_op *op, tensor *in, tensor *out) = {
        [DAPT_OP_EMBED] = embed,
        [DAPT_OP_EMBED_GRAD] = embed_grad,
        [DAPT_OP_SCATTER_ROWS] = scatter_rows,
        [DAPT_OP_MATMUL] = matmul,
        [DAPT_OP_ADD_BIAS] = add_bias,
        [DAPT_OP_COLUMN_SUM] = column_sum,
        [DAPT_OP_RMS_NORM] = norm,
        [DAPT_OP_RMS_NORM_GRAD] = norm_grad,
        [DAPT_OP_LAYER_NORM] = norm,
        [DAPT_OP_LAYER_NORM_GRAD] = norm_grad,
        [DAPT_OP_ROPE] = rope,
        [DAPT_OP_ATTENTION] = attention,
        [DAPT_OP_ATTENTION_GRAD] = attention_grad,
        [DAPT_OP_ACTIVATE] = element,
        [DAPT_OP_ACTIVATE_GRAD] = element,
        [DAPT_OP_GATE] = element,
        [DAPT_OP_GATE_GRAD] = element,
        [DAPT_OP_ADD] = element,
        [DAPT_OP_SCALE] = element,
        [DAPT_OP_COPY] = element,
        [DAPT_OP_CAST] = element,
        [DAPT_OP_FILL] = element,
        [DAPT_OP_LM_LOSS] = lm_loss,
        [DAPT_OP_LM_LOSS_GRAD] = lm_loss,
        [DAPT_OP_SUM] = sum,
        [DAPT_OP_SUM_SQUARES] = sum,
        [DAPT_OP_ADAMW] = adamw,
        [DAPT_OP_ADAMW_8BIT] = adamw_8bit,
        [DAPT_OP_DROPOUT] = dropout,
        [DAPT_OP_DEQUANTIZE] = element,
    };
    table[op->opcode](op, in, out);
}
