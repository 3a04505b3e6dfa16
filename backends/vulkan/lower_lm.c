// Output projection and cross-entropy. For each chunk of rows, whose logits lie in scratch:
//   1. logits = x w^T + bias
//   2. loss; with gradients, logits become their gradient in place (lm_softmax.comp)
//   3. dx = dlogits w; dw += dlogits^T x; dbias += sum of dlogits
// Where x is of 16-bit floats, products round to its type. Training then keeps logits in 16 bits, too:
// as float16, whatever x is, as they may be large beside the differences that count; dlogits in x's type.
#include "lower.h"

enum { X, W, BIAS, TARGETS, SEED };
enum { LOSS, DX, DW, DBIAS };

// Bytes of logits of a chunk: the larger they are, the less often w is read and dw added to.
#define MIN_CHUNK_BYTES (INT64_C(64) << 20)
#define MAX_CHUNK_BYTES (INT64_C(512) << 20)
#define CHUNK_SHARE 48  // of the device's memory
#define MIN_ROWS 16

static int64_t chunk_bytes(const struct vk_lowering *l) {
    int64_t share = (int64_t)(l->device->adapter->heap / CHUNK_SHARE);
    if (l->device->limits.software) return MIN_CHUNK_BYTES;
    return min_i64(max_i64(share, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES);
}

// Rows are aligned for loads of vec4, and not a multiple of a page apart: elements of a column
// would share one set of a cache.
static int64_t logits_stride(int64_t vocabulary) {
    int64_t stride = ceil_div(vocabulary, 4) * 4;
    return stride % 256 == 0 ? stride + 16 : stride;
}

static void softmax(struct vk_lowering *l, const struct vk_view *logits,
                    const struct vk_view *dlogits, int64_t row, bool gradient) {
    struct vk_view targets = vk_rows(&l->in[TARGETS], row, logits->rows),
                   loss = vk_rows(&l->out[LOSS], row, logits->rows);
    struct vk_pass *p = vk_pass(l, SHADER_LM_SOFTMAX);
    int64_t width = l->device->limits.software
                        ? 8
                        : min_i64(vk_next_power_of_two(ceil_div(logits->cols, 4)), vk_workgroup(l));
    vk_shape_constants(p, (struct vk_shape){width, 1});
    vk_constant(p, gradient);
    vk_constant(p, logits->dtype);
    vk_constant(p, dlogits->dtype);
    if (gradient)
        vk_updates(p, logits, true);
    else
        vk_reads(p, logits);
    vk_again(p, logits);
    vk_reads(p, &targets);
    vk_reads(p, gradient ? &l->in[SEED] : &(struct vk_view){0});
    vk_writes(p, &loss);
    vk_word(p, logits->rows);
    vk_word(p, logits->cols);
    vk_word(p, logits->stride);
    vk_float(p, l->op->u.lm.scale);
    vk_float(p, l->op->u.lm.softcap);
    vk_groups(p, min_i64(logits->rows, l->device->limits.groups), 1, 1);
}

static void chunk_gradients(struct vk_lowering *l, const struct vk_view *dlogits,
                            const struct vk_view *x, int64_t row) {
    bool first = row == 0;
    struct vk_matmul dx = {.a = *dlogits,
                           .b = l->in[W],
                           .c = vk_rows(&l->out[DX], row, dlogits->rows),
                           .operands = x->dtype};
    struct vk_matmul dw = {.a = *dlogits,
                           .b = *x,
                           .c = l->out[DW],
                           .transpose_a = true,
                           .accumulate = !first || vk_accumulates(l, DW),
                           .operands = x->dtype};
    if (l->out[DX].address != 0) vk_lower_matmul(l, &dx);
    if (l->out[DW].address != 0) vk_lower_matmul(l, &dw);
    if (l->out[DBIAS].address != 0)
        vk_lower_column_sum(l, dlogits, &l->out[DBIAS], !first || vk_accumulates(l, DBIAS));
}

void vk_op_lm_loss(struct vk_lowering *l) {
    bool gradient = l->op->opcode == DAPT_OP_LM_LOSS_GRAD;
    int64_t rows = l->in[X].rows, vocabulary = l->in[W].rows;
    bool half = dtype_size(l->in[X].dtype) == 2;
    enum dapt_dtype stored = half && gradient ? DAPT_F16 : DAPT_F32;
    int64_t chunk = max_i64(MIN_ROWS, chunk_bytes(l) / dtype_size(stored) / vocabulary);
    chunk = ceil_div(rows, ceil_div(rows, chunk));
    if (half) chunk += chunk % 2;  // a later chunk begins with a word, too
    for (int64_t row = 0; row < rows; row += chunk) {
        l->scratch = 0;  // chunks share the same scratch
        struct vk_view x = vk_rows(&l->in[X], row, min_i64(chunk, rows - row));
        struct vk_view logits = vk_scratch_of(l, stored, x.rows, logits_stride(vocabulary));
        logits.cols = vocabulary;
        logits.padded = true;
        struct vk_view dlogits = logits;
        dlogits.dtype = x.dtype;
        struct vk_matmul z = {.a = x,
                              .b = l->in[W],
                              .bias = l->in[BIAS],
                              .c = logits,
                              .transpose_b = true,
                              .operands = x.dtype};
        vk_lower_matmul(l, &z);
        softmax(l, &logits, &dlogits, row, gradient);
        if (gradient) chunk_gradients(l, &dlogits, &x, row);
    }
}
