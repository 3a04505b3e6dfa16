// dapt/backend.h: what a compute backend includes: programs, operations, and the table of functions
// it offers.
//
// A step of training is a program: a list of operations over tensors in a handful of buffers. It is
// compiled once and run again and again; what changes from run to run lies in buffers (the batch,
// and the few scalars of `dapt_step`). A backend sees operations, never a model. It is built with
// the core: ABI versions must be equal.
//
// Arguments are checked once, in core/graph/device.c, against the op table: a backend may rely on
// valid programs (shapes, types, ranges, overlaps), and checks only what the op table can't know
// (its own limits).
//
// Threads: one thread at a time for one device. Errors: a status below zero after host->fail() said
// why. DAPT_ERROR_DEVICE is for a device that failed (lost, hung, out of its memory): the line names
// the device and what it was doing, and every later call on it fails too.
#ifndef DAPT_BACKEND_H
#define DAPT_BACKEND_H

#include "dapt/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DAPT_BACKEND_ABI 4u

// ----------------------------------------------------------------------------------------- tensors

enum dapt_dtype {
    DAPT_F32,
    DAPT_F16,
    DAPT_BF16,
    DAPT_I32,
    // Weights in blocks of DAPT_BLOCK elements, in the order of the tensor: a factor, which is a
    // float32, then the codes of the elements, each of which is the factor times
    DAPT_INT8,  // its code, a signed byte (68 bytes a block)
    DAPT_NF4,   // one of 16 values that its code chooses, 4 bits, the lower ones of a byte first
                // (36 bytes a block; Dettmers et al. 2023, appendix E)
    DAPT_DTYPE_COUNT
};
#define DAPT_BLOCK 64
// The 16 values of NF4 by code: quantiles of a normal distribution, scaled to [-1, 1], with an exact 0
// (Dettmers et al. 2023, "QLoRA", appendix E).
#define DAPT_NF4_VALUES                                                                           \
    {                                                                                             \
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,                 \
            -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,            \
            0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f,                     \
            0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, \
            1.0f                                                                                  \
    }

#define DAPT_MAX_RANK 4
#define DAPT_NONE UINT32_MAX  // an operand that is not there

// Row-major and dense, except that neighbours in dimension 0 may lie further apart: a slice of the
// columns of a wider matrix. Element (i, j, k, l) is at offset + size * (i * stride + (j * shape[2]
// + k) * shape[3] + l). Of blocks: dense, whole blocks, at a multiple of 4 bytes.
struct dapt_tensor {
    enum dapt_dtype dtype;
    uint32_t rank;  // 1..4; shape[rank..3] is 1
    int64_t shape[DAPT_MAX_RANK];
    // elements between neighbours in dimension 0; dense: shape[1] * shape[2] * shape[3]
    int64_t stride;
    uint32_t buffer;  // index into the program's buffers
    uint64_t offset;  // bytes, from the start of the buffer; a multiple of an element's size
};

// -------------------------------------------------------------------------------------- operations
//
// Shapes below: N rows (batch x time), C channels, V vocabulary, H heads, D head size, P positions.
// [x] marks an operand that may be DAPT_NONE. (strided) marks one whose stride may exceed the dense
// one; all others are dense. (+=) marks an output that op.accumulate may ask to be added to (bit i
// for outputs[i]); otherwise outputs are overwritten whole. (in place: a) says that the output may
// be the very same tensor as input a; apart from that, outputs overlap neither inputs nor each
// other. Dtypes: activations (x, y, q, dy, ... and their gradients) are f32, f16 or bf16, one and the
// same in an op; weights, biases and tables may have another float type; the gradients of those,
// statistics, losses and an optimizer's state are f32. Which of these a backend runs is what
// supports() says. Accumulation is in float32 or wider. Row indices out of range never occur: the host
// checked them. Sums run in an order that depends on shapes alone: same program, same bits.

enum dapt_opcode {
    // in: table [V,C], rows i32 [N]
    // out: y [N,C] = table[rows[n]]
    DAPT_OP_EMBED,
    // in: dy [N,C], rows i32 [N]
    // out: dtable [V,C] (+=): dtable[v] = sum of dy[n] with rows[n] == v, in ascending n
    DAPT_OP_EMBED_GRAD,
    // in: x [N,C] (strided), rows i32 [N], all different
    // out: table [P,C]: table[rows[n]] = x[n], other rows untouched
    DAPT_OP_SCATTER_ROWS,

    // in: a [M,K] or, transpose_a, [K,M] (strided), b [K,N] or, transpose_b, [N,K] (strided),
    //     bias [N] [x], residual [M,N] (strided) [x]
    // out: c [M,N] (strided, +=, in place: residual) = act(op(a) op(b) + bias) + residual
    //      or, derivative, (op(a) op(b) + bias) * act'(residual),
    //      sum_a [M] (+=) [x] = sum over k of op(a)[m,k], where a is transposed, or
    //      sum_b [N] (+=) [x] = sum over k of op(b)[k,n], where b is not
    // With 16-bit operands a and b are rounded first, as DAPT_OP_CAST does, so that matrix units can
    // multiply them; sums stay in float32 (what sum_a and sum_b add may be rounded so, too). b may be
    // of blocks: as DAPT_OP_DEQUANTIZE reads them.
    DAPT_OP_MATMUL,
    // in: x [N,C] (strided), bias [C]
    // out: y [N,C] (strided, in place: x) = x + bias
    DAPT_OP_ADD_BIAS,
    // in: x [N,C] (strided)
    // out: y [C] (+=) = sum over n of x[n]
    DAPT_OP_COLUMN_SUM,

    // Root mean square norm (Zhang and Sennrich 2019).
    // in: x (strided; rank 2 or 3, each last dimension of C is one row), weight [C]
    // out: y like x (strided), rstd [rows]
    // rstd = 1 / sqrt(mean(x^2) + eps); y = x * rstd * (weight_offset + weight)
    DAPT_OP_RMS_NORM,
    // in: dy (strided), x (strided), weight [C], rstd
    // out: dx (strided, +=), dweight [C] (+=) [x]
    // g = dy * (weight_offset + weight); dx = rstd * (g - x * rstd^2 * mean(g * x));
    // dweight = sum of dy * x * rstd
    DAPT_OP_RMS_NORM_GRAD,
    // Layer norm (Ba et al. 2016).
    // in: x [N,C] (strided), weight [C], bias [C] [x]
    // out: y [N,C] (strided), mean [N], rstd [N]
    // y = (x - mean) * rstd * weight + bias; rstd = 1 / sqrt(var + eps), var with 1/C
    DAPT_OP_LAYER_NORM,
    // in: dy (strided), x (strided), weight, mean, rstd
    // out: dx (strided, +=), dweight [C] (+=) [x], dbias [C] (+=) [x]
    // xh = (x - mean) * rstd; g = dy * weight; dx = rstd * (g - mean(g) - xh * mean(g * xh));
    // dweight = sum of dy * xh; dbias = sum of dy
    DAPT_OP_LAYER_NORM_GRAD,

    // Rotary positions (Su et al. 2021).
    // in: x [N,H,D] (strided), table [P,R] (strided; R even, R <= D: the cosines of R/2 pairs, then
    //     their sines), positions i32 [N] in 0..P-1
    // out: y [N,H,D] (strided, in place: x)
    // Pair i is (x[i], x[i + R/2]), interleaved: (x[2i], x[2i+1]); (a, b) becomes
    // (a cos - b sin, a sin + b cos), inverse: with sin negated. Elements from R on are copied.
    DAPT_OP_ROPE,

    // Attention, never with a matrix of N1 x M1 in memory (Dao et al. 2022, 2023). Sequences lie
    // one after another: query rows N = sequences * N1, key rows M = sequences * M1.
    // in: q [N,H,D] (strided), k [M,G,D] (strided), v [M,G,D] (strided), first i32 [N], last i32 [N]
    // out: y [N,H,D] (strided), lse [N,H]
    // H is a multiple of G; head h reads key head h / (H / G). Query row n of sequence s sees the
    // key rows j of s, 0-based in it, with first[n] <= j <= last[n] and, if window > 0,
    // j > last[n] - window: one rule for causal, document-bounded, bidirectional and cached.
    // score = scale * q.k; if softcap > 0: score = softcap * tanh(score / softcap);
    // y = softmax(score) v; lse = log sum exp. A row that sees nothing: y = 0, lse = -inf. What a row
    // does not see does not reach it, whatever that holds: NaNs and infinities too. In 16 bits what is
    // multiplied (probabilities, and in the gradient those of scores) may be rounded to that type.
    DAPT_OP_ATTENTION,
    // in: dy (strided), q, k, v (strided), y (strided), lse, first, last
    // out: dq, dk, dv (each strided)
    DAPT_OP_ATTENTION_GRAD,

    // in: x [N,C] (strided)
    // out: y [N,C] (strided, in place: x) = act(x)
    DAPT_OP_ACTIVATE,
    // in: dy (strided), x (strided)
    // out: dx (strided, in place: dy) = dy * act'(x)
    DAPT_OP_ACTIVATE_GRAD,
    // Gated linear unit (Shazeer 2020).
    // in: gate [N,C] (strided), up [N,C] (strided)
    // out: y [N,C] (strided) = act(gate) * up
    DAPT_OP_GATE,
    // in: dy (strided), gate (strided), up (strided)
    // out: dgate (strided), dup (strided)
    DAPT_OP_GATE_GRAD,

    // in: a, b (same shape, both strided)
    // out: y (strided, in place: a, or b) = a + b
    DAPT_OP_ADD,
    // in: x (strided)
    // out: y (strided, in place: x) = factor * x, then, if softcap > 0, softcap * tanh(y / softcap)
    DAPT_OP_SCALE,
    // in: x (strided)
    // out: y (strided) = x
    DAPT_OP_COPY,
    // in: x (strided)
    // out: y (strided) = x in y's float type: rounded to the nearest, ties to even; what is too large
    //     becomes infinite, NaN stays NaN
    DAPT_OP_CAST,
    // in: none
    // out: y (strided) = value
    DAPT_OP_FILL,

    // Output projection and cross-entropy together, in chunks of rows: never all logits in memory.
    // in: x [N,C], w [V,C], bias [V] [x], targets i32 [N] (below 0: not scored)
    // out: loss [N] = logsumexp(z) - z[target] in nats, 0 where not scored
    // z = scale * (x w^T + bias), then, if softcap > 0, softcap * tanh(z / softcap)
    // With 16-bit x what is multiplied (w, the gradient of z) may be rounded to its type, and z, where
    // there is a gradient, to float16.
    DAPT_OP_LM_LOSS,
    // The same, with the gradient of sum(seed * loss), in one pass.
    // in: x, w, bias [x], targets, seed [1]
    // out: loss [N], dx [N,C] [x], dw [V,C] (+=) [x], dbias [V] (+=) [x]
    DAPT_OP_LM_LOSS_GRAD,

    // in: x [n] (any shape, dense)
    // out: y [1] (+=): the sum, of squares; accumulated in double or pairwise
    DAPT_OP_SUM,
    DAPT_OP_SUM_SQUARES,

    // One AdamW step over one range (Loshchilov and Hutter 2019, algorithm 2).
    // in: grad [n], step f32 [DAPT_STEP_COUNT], norm2 [1] (squared norm of the whole gradient)
    // in and out: param [n], m [n], v [n]
    // If norm2 is not finite nothing is changed. Otherwise
    // norm = unscale * sqrt(norm2); g = unscale * grad * min(1, clip / (norm + 1e-6)) (clip 0:
    // g = unscale * grad);
    // lr = rate * learning rate;
    // m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; param -= lr * decay * param, if decay is set;
    // param -= lr * (m / correction1) / (sqrt(v / correction2) + eps)
    DAPT_OP_ADAMW,
    // The same with moments of 8 bits (see "moments in 8 bits" below).
    // in: grad [n], step, norm2
    // in and out: param [n], m i32 [B,W], v i32 [B,W]: the blocks of n numbers, of W words
    // The param is updated by the new moments as they are before they are rounded.
    DAPT_OP_ADAMW_8BIT,

    // Dropout (Srivastava et al. 2014).
    // in: x [N,C] (strided), keys i32 [N]
    // out: y [N,C] (strided, +=) = x / (1 - rate) where it is kept, else 0
    // Column c of row n is kept where word c % 4 of Philox4x32-10 (Salmon et al. 2011) with the key
    // (keys[n], stream) and the counter (c / 4, 0, 0, 0) is at least rate * 2^32, rounded down.
    DAPT_OP_DROPOUT,
    // in: x, of blocks
    // out: y f32 (dense) = the numbers of x
    DAPT_OP_DEQUANTIZE,

    DAPT_OP_COUNT
};

enum dapt_activation {
    DAPT_ACT_NONE,
    DAPT_ACT_GELU,
    DAPT_ACT_GELU_TANH,
    DAPT_ACT_SILU,
    DAPT_ACT_RELU,
    DAPT_ACT_COUNT
};

// The scalars of a step: one f32 tensor in the step buffer, written by the host before each update.
enum dapt_step_slot {
    DAPT_STEP_LEARNING_RATE,
    DAPT_STEP_WEIGHT_DECAY,
    DAPT_STEP_CORRECTION1,  // 1 - beta1^t
    DAPT_STEP_CORRECTION2,  // 1 - beta2^t
    DAPT_STEP_CLIP,         // largest gradient norm; 0: no clipping
    DAPT_STEP_SEED,  // d(objective) / d(loss of one token): loss scale / scored tokens of the batch
    DAPT_STEP_UNSCALE,  // 1 / loss scale, a power of two: what gradients are multiplied by; 1: none
    DAPT_STEP_COUNT = 16  // the rest is reserved and 0
};

// Moments in 8 bits: blocks of DAPT_MOMENT_BLOCK numbers with one float32 unit each (Dettmers et al.
// 2022, "8-bit Optimizers via Block-wise Quantization"), but with codes that are small floats (as
// Micikevicius et al. 2022, "FP8 Formats for Deep Learning") instead of a table. A block is
// DAPT_MOMENT_WORDS words: the codes, one byte each in ascending order (the first in the lowest bits),
// then the bits of the unit. A number is unit * value(code):
//   m: sign in bit 7, exponent e in bits 3 to 6, fraction f of 8 in bits 0 to 2
//   v: holds the root of v: exponent e in bits 4 to 7, fraction f of 16 in bits 0 to 3
//   value = 2^e (1 + f); for e = 0: 2 f
// The unit is the block's largest magnitude over the largest value, so that this one has the largest
// code; 0 where the largest magnitude is below 1e-30. Codes are those of the nearest value, ties away
// from 0. The code of a root above 0 is never 0, so that no update divides by a root that was lost.
// Codes behind the last number are 0.
#define DAPT_MOMENT_BLOCK 256
#define DAPT_MOMENT_WORDS (DAPT_MOMENT_BLOCK / 4 + 1)
#define DAPT_MOMENT_LARGEST_M 61440.0f  // of the values of codes
#define DAPT_MOMENT_LARGEST_V 63488.0f
#define DAPT_MOMENT_LEAST 1e-30f

#define DAPT_OP_INPUTS 8
#define DAPT_OP_OUTPUTS 4

struct dapt_op {
    enum dapt_opcode opcode;
    uint32_t accumulate;  // bit i: outputs[i] += instead of =
    // indices of tensors, in the order above; DAPT_NONE where absent
    uint32_t inputs[DAPT_OP_INPUTS];
    uint32_t outputs[DAPT_OP_OUTPUTS];
    union {
        struct {
            bool transpose_a, transpose_b;
            enum dapt_activation activation;
            enum dapt_dtype operands;  // DAPT_F32, or the 16-bit float type of both factors
            bool derivative;           // multiplied by that of the activation, at the residual
        } matmul;
        // the four norm ops; weight_offset is 0 in layer norms
        struct {
            float eps, weight_offset;
        } norm;
        struct {
            bool interleaved, inverse;
        } rope;
        // attention, attention_grad
        struct {
            int32_t sequences, window;
            float scale, softcap;
        } attention;
        struct {
            enum dapt_activation kind;
        } activation;  // activate, gate and their gradients
        struct {
            float factor, softcap;
        } scale;
        struct {
            float value;
        } fill;
        struct {
            float scale, softcap;
        } lm;  // lm_loss, lm_loss_grad
        struct {
            float beta1, beta2, eps, rate;  // rate: factor of the learning rate
            bool decay;
        } adamw;
        struct {
            float rate;  // in [0, 1)
            uint32_t stream;
        } dropout;
    } u;
    const char *label;  // where it comes from, for people ("layers.3.mlp"); may be NULL
};

// What a buffer is for; a backend may place it accordingly.
enum dapt_buffer_role {
    DAPT_BUFFER_PARAM,    // parameters that are trained, flat
    DAPT_BUFFER_FROZEN,   // parameters that are not
    DAPT_BUFFER_GRAD,     // gradients of the trained ones, same layout
    DAPT_BUFFER_MOMENT1,  // optimizer state, same layout
    DAPT_BUFFER_MOMENT2,
    DAPT_BUFFER_CONSTANT,  // written once: rotary tables
    DAPT_BUFFER_BATCH,     // ids, targets, positions, ranges: written before each run
    DAPT_BUFFER_STEP,      // dapt_step_slot
    DAPT_BUFFER_RESULT,    // read after a run: losses, norms, logits
    DAPT_BUFFER_CACHE,     // keys and values during generation
    DAPT_BUFFER_WORK,      // activations and their gradients; contents undefined between runs
    DAPT_BUFFER_ROLE_COUNT
};

struct dapt_buffer_info {
    enum dapt_buffer_role role;
    uint64_t size;
};  // bytes

struct dapt_program {
    uint32_t buffer_count, tensor_count, op_count;
    const struct dapt_buffer_info *buffers;
    const struct dapt_tensor *tensors;
    const struct dapt_op *ops;  // in execution order
};

// ------------------------------------------------------------------------------------- the backend

enum dapt_device_kind {
    DAPT_DEVICE_CPU,
    DAPT_DEVICE_INTEGRATED,
    DAPT_DEVICE_DISCRETE,
    DAPT_DEVICE_VIRTUAL,
    DAPT_DEVICE_SOFTWARE
};

// of a cooperative matrix unit
struct dapt_matrix_shape {
    uint32_t m, n, k;
    enum dapt_dtype ab, c;
};

// What hardware computes in by itself, beside float32: apart from what is trained in.
enum dapt_device_feature {
    DAPT_FEATURE_F16 = 1,    // arithmetic of float16
    DAPT_FEATURE_BF16 = 2,   // products of bfloat16, sums in float32
    DAPT_FEATURE_I8 = 4,     // arithmetic of int8
    DAPT_FEATURE_I8_DOT = 8  // products of four int8 at a time, sums in int32
};

struct dapt_device_info {
    char name[256], vendor[64], driver[128], uuid[40];
    char api[32];  // "Vulkan 1.3.280"; "": none
    // Changes whenever what the device computes may: driver, settings. With the module's content it
    // is what figures about the device are kept under; "": none may be kept.
    char variant[64];
    enum dapt_device_kind kind;
    uint64_t memory;      // bytes; 0: unknown
    uint64_t free;        // bytes of it that could be had when this was asked; 0: unknown
    bool host_memory;     // which is the host's own
    uint64_t max_buffer;  // bytes of one buffer
    // bytes of one allocation, of which buffers are made; 0: no limit of its own
    uint64_t max_allocation;
    uint32_t dtypes;                      // bit d: activations of enum dapt_dtype d are supported
    uint32_t features;                    // enum dapt_device_feature
    uint32_t threads;                     // cpu: threads that will be used; else 0
    uint32_t subgroup_min, subgroup_max;  // 0: none
    uint32_t shared_memory;               // bytes a workgroup may share; 0: none
    uint32_t workgroup;                   // invocations of a workgroup, at most; 0: none
    uint32_t matrix_count;
    struct dapt_matrix_shape matrix[32];
    // How products with 16-bit operands are computed, and why not by a matrix unit; "": as all others
    char products[128];
};

struct dapt_device_options {
    uint32_t threads;  // cpu: 0 means one for each processor this process may use
    // The buffers of moments lie in the host's memory, where the device's is another; the device reads
    // and writes them there.
    bool host_moments;
};

struct dapt_device;
struct dapt_buffer;
struct dapt_executable;

struct dapt_backend {
    uint32_t struct_size;
    const char *name;     // "cpu", "vulkan"
    const char *summary;  // one line

    enum dapt_status (*device_count)(const struct dapt_host *host, uint32_t *count);
    enum dapt_status (*device_info)(const struct dapt_host *host, uint32_t index,
                                    struct dapt_device_info *info);
    enum dapt_status (*device_open)(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device **device);
    // NULL is fine; everything made on it is gone before
    void (*device_close)(struct dapt_device *device);

    // A buffer of `size` bytes, filled with zeros.
    enum dapt_status (*buffer_create)(struct dapt_device *device, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer **buffer);
    // NULL is fine
    void (*buffer_destroy)(struct dapt_device *device, struct dapt_buffer *buffer);
    // In order with the runs: after those submitted before, before those submitted after. `data` is
    // free on return.
    enum dapt_status (*buffer_write)(struct dapt_device *device, struct dapt_buffer *buffer,
                                     uint64_t offset, const void *data, uint64_t size);
    enum dapt_status (*buffer_read)(struct dapt_device *device, struct dapt_buffer *buffer,
                                    uint64_t offset, void *data,
                                    uint64_t size);  // waits for the runs before

    // Whether this device runs this op of this program as it stands. Pure. Fusion asks it.
    bool (*supports)(struct dapt_device *device, const struct dapt_program *program,
                     const struct dapt_op *op);

    // Makes `program` ready to run over `buffers` (one for each of program->buffers, at least as
    // large; they outlive the executable). The program's memory may go after the call; labels may
    // not.
    enum dapt_status (*program_compile)(struct dapt_device *device,
                                        const struct dapt_program *program,
                                        struct dapt_buffer *const *buffers,
                                        struct dapt_executable **executable);
    // NULL is fine
    void (*program_destroy)(struct dapt_device *device, struct dapt_executable *executable);

    // Starts one run; may return before it is done. Runs of one device happen in order.
    enum dapt_status (*program_run)(struct dapt_device *device, struct dapt_executable *executable);
    // Waits until everything started is done, `timeout` in seconds (0: as long as the device makes
    // progress; one that makes none for some minutes has failed). The first error of all that ran.
    enum dapt_status (*device_wait)(struct dapt_device *device, double timeout);

    // From here on a function may be NULL: it is not offered.

    // As buffer_read, but waits for the last run of `executable` only: what was started after it does
    // not write there, and may go on. Otherwise buffer_read is used.
    enum dapt_status (*program_read)(struct dapt_device *device, struct dapt_executable *executable,
                                     struct dapt_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t size);
    // Nanoseconds of each op in the last run, op_count of them.
    enum dapt_status (*timings)(struct dapt_device *device, struct dapt_executable *executable,
                                uint64_t *nanoseconds);
};

struct dapt_backend_entry {
    uint32_t abi;  // DAPT_BACKEND_ABI; read before anything else
    const struct dapt_backend *backend;
};

extern DAPT_EXPORT const struct dapt_backend_entry dapt_backend_entry;

#ifdef __cplusplus
}
#endif
#endif
