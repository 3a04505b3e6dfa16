// Lowering: operations become passes, each one dispatch of one shader. A pass holds the constants
// of its pipeline, its push constants (addresses first, then words), and the memory that it
// touches, from which barriers follow.
#ifndef DAPT_VK_LOWER_H
#define DAPT_VK_LOWER_H
#include "vk.h"

// An operand on the device: [rows, inner, cols], dense but for the rows, which are `stride`
// elements apart. Rank 1: [rows, 1, 1]; rank 2: [rows, 1, cols]. address 0: absent.
struct vk_view {
    uint64_t address;
    int64_t rows, inner, cols, stride;
    enum dapt_dtype dtype;
    bool padded;  // rows have room for a multiple of 4 columns; what is beyond cols is undefined
};

// Placeholder addresses: scratch begins here until a program is recorded, which puts in the address
// of the scratch buffer. No device has addresses here: where the upper bit is set (as by AMD's
// drivers), so are all the bits below it.
#define VK_SCRATCH (UINT64_C(0x8000) << 48)
static inline bool vk_is_scratch(uint64_t address) {
    return address >> 48 == 0x8000;
}

// Mesa's software rasteriser silently leaves a loop after 65535 rounds: shaders stay below.
#define VK_LOOP_LIMIT 32768

// The largest head size of attention.
#define VK_MAX_HEAD 256

struct vk_access {
    uint64_t begin, end;     // bytes [begin, end)
    uint64_t stride, width;  // stride 0: all of them; else the first `width` of each `stride` bytes
    bool write, read;
};

#define VK_PUSH_WORDS 32  // an address counts as two
#define VK_PASS_ACCESSES 14

struct vk_pass {
    enum vk_shader shader;
    uint32_t op;                  // of the program
    uint32_t base[3], groups[3];  // workgroups [base, base + groups)
    uint32_t subgroup;            // size of its subgroups; 0: any
    uint32_t constant_count, constants[VK_MAX_CONSTANTS];
    uint32_t address_count, word_count;
    uint64_t addresses[VK_PUSH_WORDS / 2];
    uint32_t words[VK_PUSH_WORDS];
    uint32_t access_count;
    struct vk_access access[VK_PASS_ACCESSES];
    double work;         // a rough count of its operations
    bool splittable;     // its workgroups ask only which one they are, not how many there are
    bool dispatch_base;  // it is a part of a split dispatch
    bool barrier;        // before it
    VkPipeline pipeline;
};

struct vk_passes {
    struct vk_pass *at;
    uint32_t count, room;
};

// One op while it is lowered.
struct vk_lowering {
    struct dapt_device *device;
    const struct dapt_op *op;
    uint32_t index;
    struct vk_view in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    struct vk_passes *passes;
    uint64_t scratch, peak;   // bytes of scratch taken by this op, now and at most
    enum dapt_status status;  // the first error
};

// Rows by opcode.
extern void (*const vk_lower[DAPT_OP_COUNT])(struct vk_lowering *l);

// Adds all passes of a program to `passes`; *scratch receives the bytes of scratch that they need.
// `buffers`: NULL where addresses don't matter.
enum dapt_status vk_lower_program(struct dapt_device *device, const struct dapt_program *program,
                                  struct dapt_buffer *const *buffers, struct vk_passes *passes,
                                  uint64_t *scratch);

// A new pass, never NULL; valid until the next one.
struct vk_pass *vk_pass(struct vk_lowering *l, enum vk_shader shader);
// Each adds the next address, which is 0 for an absent operand. vk_writes: what was there is not
// read; vk_updates: it is, where `read` says so. vk_again: an operand that an earlier call has told
// already, so that no access is added.
void vk_reads(struct vk_pass *p, const struct vk_view *v);
void vk_writes(struct vk_pass *p, const struct vk_view *v);
void vk_updates(struct vk_pass *p, const struct vk_view *v, bool read);
void vk_again(struct vk_pass *p, const struct vk_view *v);
void vk_word(struct vk_pass *p, int64_t value);
void vk_float(struct vk_pass *p, float value);
void vk_constant(struct vk_pass *p, int64_t value);
// All of a shader's constants at once: `size` bytes of uint32_t in the order of their ids.
void vk_constants(struct vk_pass *p, const void *values, size_t size);
void vk_groups(struct vk_pass *p, int64_t x, int64_t y, int64_t z);
// A dense matrix of float32 in scratch, its contents undefined; of another type.
struct vk_view vk_scratch(struct vk_lowering *l, int64_t rows, int64_t cols);
struct vk_view vk_scratch_of(struct vk_lowering *l, enum dapt_dtype dtype, int64_t rows,
                             int64_t cols);
// Rows [from, from + count) of a view.
struct vk_view vk_rows(const struct vk_view *v, int64_t from, int64_t count);
bool vk_dense(const struct vk_view *v);
// Whether the first `rows` rows begin where so many neighbouring elements can be loaded at once, in
// pieces of at most 16 bytes; vk_vec4: four.
bool vk_aligned(const struct vk_view *v, int64_t rows, int64_t elements);
bool vk_vec4(const struct vk_view *v, int64_t rows);
// Whether rows (of `cols` elements each where a norm or a rope takes parts of them) begin and end with
// a word, as two elements of it are read or written at once (shaders/lib/pairs.glsl).
bool vk_paired(const struct vk_view *v);
// The bytes that a pass reads and writes, each operand once.
uint64_t vk_pass_bytes(const struct vk_pass *p);
bool vk_accumulates(const struct vk_lowering *l, int output);

// Workgroups of element-wise shaders: `width` x `height` invocations, over cols and rows; as many
// workgroups as cover rows x cols, or as the device allows: the shaders loop over the rest.
struct vk_shape {
    int64_t width, height;
};
// Invocations of a workgroup: 256, or 128 where the limit is below 256.
int64_t vk_workgroup(const struct vk_lowering *l);
struct vk_shape vk_element_shape(const struct vk_lowering *l, int64_t cols);
void vk_shape_constants(struct vk_pass *p, struct vk_shape shape);  // constants 0 and 1
void vk_element_groups(struct vk_lowering *l, struct vk_pass *p, struct vk_shape shape,
                       int64_t rows, int64_t cols);
int64_t vk_next_power_of_two(int64_t value);  // the smallest that is not below value

// Sums over rows, in two stages where there are many: y [C] (+)= sum of x [N,C].
void vk_lower_column_sum(struct vk_lowering *l, const struct vk_view *x, const struct vk_view *y,
                         bool accumulate);

// Of which factor of a matmul the sums over K are made.
enum vk_sums { VK_SUMS_NONE, VK_SUMS_A, VK_SUMS_B };

// c = act(op(a) op(b) + bias) + residual, or with the activation's derivative at the residual; c += where
// accumulate; sums += where add_sums.
struct vk_matmul {
    struct vk_view a, b, bias, residual, c;  // bias, residual: address 0 where absent
    bool transpose_a, transpose_b, accumulate;
    enum dapt_activation activation;
    bool derivative;
    enum dapt_dtype operands;  // a and b are rounded to it
    enum vk_sums of;           // a transposed, or b not: of their rows in memory
    struct vk_view sums;
    bool add_sums;
};
void vk_lower_matmul(struct vk_lowering *l, const struct vk_matmul *m);

// The tile of a matmul: bm x bn of c for a workgroup, tm x tn of it for an invocation, or for a
// subgroup where a matrix unit multiplies, in steps of bk along K.
struct vk_tile {
    enum vk_shader shader;
    uint32_t bm, bn, bk, tm, tn;
    struct vk_unit unit;
};
#define VK_MAX_TILES 16
// One pass. With k_chunk < k it is split-K: c is [splits * M, N], and the epilogue is left out.
void vk_matmul_pass(struct vk_lowering *l, const struct vk_matmul *m, const struct vk_tile *t,
                    int64_t k, int64_t k_chunk, const struct vk_view *c);

// The float32 tile that every device has; the tiles for a matrix unit that fit the device.
struct vk_tile vk_plain_tile(const struct vk_lowering *l);
uint32_t vk_unit_tiles(const struct vk_lowering *l, enum dapt_dtype operands,
                       const struct vk_unit *unit, struct vk_tile list[VK_MAX_TILES]);
// matrix.c: the unit that multiplies 16-bit operands; chosen once a device.
struct vk_unit vk_matrix_unit(struct vk_lowering *l, enum dapt_dtype operands);
// A line about a unit: what becomes of it, and why.
void vk_tell_unit(struct dapt_device *device, enum dapt_dtype operands, const struct vk_unit *unit,
                  enum dapt_log_level level, const char *verdict);

// Attention, l->op, and its gradient, with `delta` [N,H] as memory of its own: by a matrix unit that
// vk_attention_fits() says yes to, or, m 0, by the float32 kernels.
void vk_lower_attention(struct vk_lowering *l, const struct vk_unit *unit);
void vk_lower_attention_grad(struct vk_lowering *l, const struct vk_unit *unit,
                             const struct vk_view *delta);
bool vk_attention_fits(const struct vk_lowering *l, const struct vk_unit *unit);
// attention_unit.c: whether attention in 16 bits whose heads have this size is right with the unit of
// matmuls. Found out once a device.
bool vk_attention_is_right(struct vk_lowering *l, enum dapt_dtype operands, int64_t head_size,
                           const struct vk_unit *unit);
// Numbers below 2^31 for what is compared: the same ones on every device. `state`: any to begin with.
static inline uint32_t vk_next_number(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

// What a tile is chosen for: `splits` times [m, k] by [k, n].
struct vk_matmul_size {
    int64_t m, n, k, splits;
    bool transpose_a, transpose_b, aligned_a, aligned_b;
    enum dapt_dtype operands, dtype_a, dtype_b, dtype_c;  // dtype: in memory
};
// tune.c: runs a pass `times` times, one after another; *seconds is the mean. `what` is named in
// messages.
enum dapt_status vk_time_pass(struct dapt_device *device, const struct vk_pass *pass,
                              uint32_t times, const char *what, double *seconds);
// The index of the fastest tile of a list; 0 where it can't be measured.
uint32_t vk_fastest_tile(struct vk_lowering *l, const struct vk_matmul_size *size,
                         const struct vk_tile *list, uint32_t count);

enum dapt_status vk_pass_pipeline(struct dapt_device *device, struct vk_pass *pass);
// program.c: record a pass, and a barrier between passes, as commands.
void vk_record_pass(struct dapt_device *device, VkCommandBuffer commands, const struct vk_pass *p);
void vk_record_barrier(struct dapt_device *device, VkCommandBuffer commands);

void vk_op_embed(struct vk_lowering *l);
void vk_op_embed_grad(struct vk_lowering *l);
void vk_op_scatter_rows(struct vk_lowering *l);
void vk_op_matmul(struct vk_lowering *l);
void vk_op_column_sum(struct vk_lowering *l);
void vk_op_norm(struct vk_lowering *l);
void vk_op_norm_grad(struct vk_lowering *l);
void vk_op_rope(struct vk_lowering *l);
void vk_op_attention(struct vk_lowering *l);
void vk_op_attention_grad(struct vk_lowering *l);
void vk_op_element(struct vk_lowering *l);
void vk_op_lm_loss(struct vk_lowering *l);
void vk_op_sum(struct vk_lowering *l);
void vk_op_adamw(struct vk_lowering *l);
void vk_op_adamw_8bit(struct vk_lowering *l);
void vk_op_dropout(struct vk_lowering *l);
void vk_op_dequantize(struct vk_lowering *l);

// hazard.c: marks the passes that need a barrier before them.
enum dapt_status vk_mark_barriers(struct dapt_device *device, struct vk_passes *passes);
// split_dispatch.c: splits passes with more work than a dispatch may have. To be called once
// barriers are marked: parts write different memory, so none is needed between them.
enum dapt_status vk_split_dispatches(struct dapt_device *device, struct vk_passes *passes);
#endif
