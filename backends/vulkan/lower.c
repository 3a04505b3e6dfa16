// The builder of passes, and which function lowers which op.
#include "lower.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void (*const vk_lower[DAPT_OP_COUNT])(struct vk_lowering *l) = {
    [DAPT_OP_EMBED] = vk_op_embed,
    [DAPT_OP_EMBED_GRAD] = vk_op_embed_grad,
    [DAPT_OP_SCATTER_ROWS] = vk_op_scatter_rows,
    [DAPT_OP_MATMUL] = vk_op_matmul,
    [DAPT_OP_ADD_BIAS] = vk_op_element,
    [DAPT_OP_COLUMN_SUM] = vk_op_column_sum,
    [DAPT_OP_RMS_NORM] = vk_op_norm,
    [DAPT_OP_RMS_NORM_GRAD] = vk_op_norm_grad,
    [DAPT_OP_LAYER_NORM] = vk_op_norm,
    [DAPT_OP_LAYER_NORM_GRAD] = vk_op_norm_grad,
    [DAPT_OP_ROPE] = vk_op_rope,
    [DAPT_OP_ATTENTION] = vk_op_attention,
    [DAPT_OP_ATTENTION_GRAD] = vk_op_attention_grad,
    [DAPT_OP_ACTIVATE] = vk_op_element,
    [DAPT_OP_ACTIVATE_GRAD] = vk_op_element,
    [DAPT_OP_GATE] = vk_op_element,
    [DAPT_OP_GATE_GRAD] = vk_op_element,
    [DAPT_OP_ADD] = vk_op_element,
    [DAPT_OP_SCALE] = vk_op_element,
    [DAPT_OP_COPY] = vk_op_element,
    [DAPT_OP_CAST] = vk_op_element,
    [DAPT_OP_FILL] = vk_op_element,
    [DAPT_OP_LM_LOSS] = vk_op_lm_loss,
    [DAPT_OP_LM_LOSS_GRAD] = vk_op_lm_loss,
    [DAPT_OP_SUM] = vk_op_sum,
    [DAPT_OP_SUM_SQUARES] = vk_op_sum,
    [DAPT_OP_ADAMW] = vk_op_adamw,
    [DAPT_OP_ADAMW_8BIT] = vk_op_adamw_8bit,
    [DAPT_OP_DROPOUT] = vk_op_dropout,
    [DAPT_OP_DEQUANTIZE] = vk_op_dequantize,
};

// ------------------------------------------------------------------------------------------ passes

struct vk_pass *vk_pass(struct vk_lowering *l, enum vk_shader shader) {
    static struct vk_pass spare;  // where passes go after an error
    struct vk_passes *list = l->passes;
    if (list->count == list->room) {
        uint32_t room = 2 * list->room + 16;
        struct vk_pass *larger = realloc(list->at, room * sizeof *larger);
        if (larger == NULL) {
            l->status = backend_fail(l->device->host, DAPT_ERROR_MEMORY,
                                     "vulkan: no memory for a program's passes");
            memset(&spare, 0, sizeof spare);
            return &spare;
        }
        list->at = larger;
        list->room = room;
    }
    struct vk_pass *p = &list->at[list->count++];
    *p = (struct vk_pass){.shader = shader, .op = l->index, .groups = {1, 1, 1}, .work = 1e8};
    return p;
}

bool vk_dense(const struct vk_view *v) {
    return v->rows == 1 || v->stride == v->inner * v->cols;
}

bool vk_aligned(const struct vk_view *v, int64_t rows, int64_t elements) {
    int64_t bytes = min_i64(elements * dtype_size(v->dtype), 16);
    return v->address % (uint64_t)bytes == 0 && (rows == 1 || v->stride % elements == 0);
}
bool vk_vec4(const struct vk_view *v, int64_t rows) {
    return vk_aligned(v, rows, 4);
}

bool vk_paired(const struct vk_view *v) {
    return dtype_size(v->dtype) == 2 && v->cols % 2 == 0 && vk_aligned(v, v->rows, 2);
}

uint64_t vk_pass_bytes(const struct vk_pass *p) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->access_count; i++) {
        const struct vk_access *a = &p->access[i];
        uint64_t size = a->end - a->begin;
        if (a->stride > 0) size = (size + a->stride - a->width) / a->stride * a->width;
        bytes += size * ((unsigned)a->read + (unsigned)a->write);
    }
    return bytes;
}

static void touch(struct vk_pass *p, const struct vk_view *v, bool read, bool write) {
    vk_again(p, v);
    if (v->address == 0) return;
    assert(p->access_count < VK_PASS_ACCESSES);
    uint64_t size = dtype_size(v->dtype), width = (uint64_t)(v->inner * v->cols) * size,
             step = (uint64_t)v->stride * size;
    struct vk_access *a = &p->access[p->access_count++];
    *a = (struct vk_access){.begin = v->address,
                            .end = v->address + (uint64_t)(v->rows - 1) * step + width,
                            .stride = vk_dense(v) ? 0 : step,
                            .width = width,
                            .write = write,
                            .read = read};
}

void vk_reads(struct vk_pass *p, const struct vk_view *v) {
    touch(p, v, true, false);
}
void vk_writes(struct vk_pass *p, const struct vk_view *v) {
    touch(p, v, false, true);
}
void vk_updates(struct vk_pass *p, const struct vk_view *v, bool read) {
    touch(p, v, read, true);
}

void vk_again(struct vk_pass *p, const struct vk_view *v) {
    assert(2 * (p->address_count + 1) + p->word_count <= VK_PUSH_WORDS);
    p->addresses[p->address_count++] = v->address;
}

void vk_word(struct vk_pass *p, int64_t value) {
    assert(2 * p->address_count + p->word_count < VK_PUSH_WORDS);
    p->words[p->word_count++] = (uint32_t)value;
}
void vk_float(struct vk_pass *p, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    vk_word(p, bits);
}
void vk_constant(struct vk_pass *p, int64_t value) {
    assert(p->constant_count < VK_MAX_CONSTANTS);
    p->constants[p->constant_count++] = (uint32_t)value;
}
void vk_constants(struct vk_pass *p, const void *values, size_t size) {
    assert(p->constant_count == 0 && size % 4 == 0 && size / 4 <= VK_MAX_CONSTANTS);
    memcpy(p->constants, values, size);
    p->constant_count = (uint32_t)(size / 4);
}

void vk_groups(struct vk_pass *p, int64_t x, int64_t y, int64_t z) {
    p->groups[0] = (uint32_t)x;
    p->groups[1] = (uint32_t)y;
    p->groups[2] = (uint32_t)z;
}

// ----------------------------------------------------------------------------------- views, shapes

struct vk_view vk_scratch(struct vk_lowering *l, int64_t rows, int64_t cols) {
    return vk_scratch_of(l, DAPT_F32, rows, cols);
}

struct vk_view vk_scratch_of(struct vk_lowering *l, enum dapt_dtype dtype, int64_t rows,
                             int64_t cols) {
    struct vk_view v = {.address = VK_SCRATCH + l->scratch,
                        .rows = rows,
                        .inner = 1,
                        .cols = cols,
                        .stride = cols,
                        .dtype = dtype};
    l->scratch += ((uint64_t)(rows * cols) * dtype_size(v.dtype) + 255) & ~UINT64_C(255);
    if (l->scratch > l->peak) l->peak = l->scratch;
    return v;
}

struct vk_view vk_rows(const struct vk_view *v, int64_t from, int64_t count) {
    struct vk_view part = *v;
    part.address += (uint64_t)(from * v->stride) * dtype_size(v->dtype);
    part.rows = count;
    return part;
}

bool vk_accumulates(const struct vk_lowering *l, int output) {
    return (l->op->accumulate >> output & 1) != 0;
}

int64_t vk_next_power_of_two(int64_t value) {
    int64_t power = 1;
    while (power < value) power *= 2;
    return power;
}

int64_t vk_workgroup(const struct vk_lowering *l) {
    return l->device->limits.invocations >= 256 ? 256 : 128;
}

// A software device is a CPU: each workgroup costs something, and invocations run a few at a time,
// as lanes of vectors, masked where they have nothing to do. One vector goes through all that is
// its workgroup's before the next one does: so that memory is read in order, where rows are long a
// workgroup is one vector, and where there are many rows it has whole ones.
#define SOFTWARE_INVOCATIONS 64
#define SOFTWARE_WIDTH 8
#define SOFTWARE_LONG 4096  // columns of a long row
#define SOFTWARE_GROUPS 32  // in each direction

struct vk_shape vk_element_shape(const struct vk_lowering *l, int64_t cols) {
    int64_t all = vk_workgroup(l), most = all;
    if (l->device->limits.software) {
        most = SOFTWARE_WIDTH;
        all = cols < SOFTWARE_LONG ? SOFTWARE_INVOCATIONS : SOFTWARE_WIDTH;
    }
    int64_t width = min_i64(vk_next_power_of_two(cols), most);
    return (struct vk_shape){width, all / width};
}

void vk_shape_constants(struct vk_pass *p, struct vk_shape shape) {
    vk_constant(p, shape.width);
    vk_constant(p, shape.height);
}

static int64_t element_groups(const struct vk_lowering *l, int64_t wanted, int64_t most) {
    if (!l->device->limits.software) most = l->device->limits.groups;
    return min_i64(
        wanted, min_i64(l->device->limits.groups, max_i64(most, ceil_div(wanted, VK_LOOP_LIMIT))));
}

void vk_element_groups(struct vk_lowering *l, struct vk_pass *p, struct vk_shape shape,
                       int64_t rows, int64_t cols) {
    int64_t across = ceil_div(cols, shape.width), down = ceil_div(rows, shape.height);
    vk_groups(p, element_groups(l, across, down < SOFTWARE_GROUPS ? SOFTWARE_GROUPS : 1),
              element_groups(l, down, SOFTWARE_GROUPS), 1);
}

// ---------------------------------------------------------------------------------------- programs

static struct vk_view resolve(const struct dapt_program *program,
                              struct dapt_buffer *const *buffers, uint32_t index) {
    if (index >= program->tensor_count) return (struct vk_view){0};
    const struct dapt_tensor *t = &program->tensors[index];
    struct vk_view view = {
        .address = (buffers != NULL ? buffers[t->buffer]->address : 256) + t->offset,
        .rows = t->shape[0],
        .inner = 1,
        .cols = 1,
        .stride = t->stride,
        .dtype = t->dtype};
    if (t->rank > 1) view.cols = t->shape[t->rank - 1];
    for (uint32_t d = 1; d + 1 < t->rank; d++) view.inner *= t->shape[d];
    return view;
}

enum dapt_status vk_lower_program(struct dapt_device *device, const struct dapt_program *program,
                                  struct dapt_buffer *const *buffers, struct vk_passes *passes,
                                  uint64_t *scratch) {
    *scratch = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        struct vk_lowering l = {
            .device = device, .op = &program->ops[i], .index = i, .passes = passes};
        for (int k = 0; k < DAPT_OP_INPUTS; k++)
            l.in[k] = resolve(program, buffers, l.op->inputs[k]);
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++)
            l.out[k] = resolve(program, buffers, l.op->outputs[k]);
        vk_lower[l.op->opcode](&l);
        if (l.status < 0) return l.status;
        if (l.peak > *scratch) *scratch = l.peak;
    }
    return DAPT_OK;
}
