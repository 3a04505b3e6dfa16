#include "bed.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/safetensors.h"
#include "graph/blocks.h"

#define GUARD 160                              // bytes around every operand
#define ALIGN 16                               // of the first byte: what kernels load at once
#define GUARD_BYTE(i) ((i) % 2 ? 0x7f : 0xc5)  // a NaN in every float type
#define MAX_BEDS 32
#define BUFFERS 3  // float inputs, whole numbers, outputs
#define TOLERANCE 2e-5

struct bed {
    const struct dapt_backend *backend;
    struct dapt_device *device;
    uint32_t threads;
    char name[300];
};

static struct bed beds[MAX_BEDS];
static int bed_count;

// ------------------------------------------------------------------------------------- the devices

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line) {
    (void)host;
    fprintf(stderr, "backend: %s\n", line);
    return status;
}
static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line) {
    (void)host, (void)level;
    fprintf(stderr, "%s\n", line);
}
static const struct dapt_host bed_host = {
    .struct_size = sizeof(struct dapt_host), .log = host_log, .fail = host_fail};

static void open_device(const struct dapt_backend *backend, uint32_t index) {
    static const uint32_t threads[] = {1, 2, 3, 5};
    struct dapt_device_info info;
    assert_int_equal(backend->device_info(&bed_host, index, &info), DAPT_OK);
    int variants = info.kind == DAPT_DEVICE_CPU ? 4 : 1;
    for (int i = 0; i < variants; i++) {
        assert_true(bed_count < MAX_BEDS);
        struct bed *bed = &beds[bed_count++];
        struct dapt_device_options options = {.threads = variants > 1 ? threads[i] : 0};
        bed->backend = backend;
        bed->threads = options.threads;
        snprintf(bed->name, sizeof bed->name, "%s %u (%s), %u threads", backend->name, index,
                 info.name, options.threads);
        assert_int_equal(backend->device_open(&bed_host, index, &options, &bed->device), DAPT_OK);
    }
}

void bed_open(void) {
    const char *folder = getenv("DAPT_TEST_BUILD"), *names = getenv("DAPT_TEST_BACKENDS");
    if (folder == NULL) fail_msg("DAPT_TEST_BUILD must name the build folder");
    char list[256], *rest;  // strtok: drivers use it too
    snprintf(list, sizeof list, "%s", names != NULL && *names != '\0' ? names : "cpu");
    for (char *name = strtok_r(list, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/backends/%s/%s.so", folder, name, name);
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module == NULL) fail_msg("%s", dlerror());
        const struct dapt_backend_entry *entry = dlsym(module, "dapt_backend_entry");
        assert_non_null(entry);
        assert_int_equal(entry->abi, DAPT_BACKEND_ABI);
        uint32_t count = 0;
        assert_int_equal(entry->backend->device_count(&bed_host, &count), DAPT_OK);
        if (count == 0) fail_msg("%s lists no device", name);
        for (uint32_t i = 0; i < count; i++) open_device(entry->backend, i);
    }
}

void bed_close(void) {
    for (int i = 0; i < bed_count; i++) beds[i].backend->device_close(beds[i].device);
    bed_count = 0;
}

// --------------------------------------------------------------------------------------- the cases

int64_t operand_count(const struct operand *o) {
    return o->rank == 0 ? 0 : o->shape[0] * o->shape[1] * o->shape[2] * o->shape[3];
}
static int64_t row_length(const struct operand *o) {
    return o->shape[1] * o->shape[2] * o->shape[3];
}

static enum dapt_file_dtype file_dtype(enum dapt_dtype dtype) {
    return dtype == DAPT_BF16 ? DAPT_FILE_BF16 : dtype == DAPT_F16 ? DAPT_FILE_F16 : DAPT_FILE_F32;
}

void operand_round(struct operand *o) {
    uint64_t count = (uint64_t)operand_count(o);
    if (o->f == NULL) return;
    void *bytes = malloc(dapt_dtype_bytes(o->dtype, count));
    assert_non_null(bytes);
    assert_int_equal(dapt_floats_pack(o->f, count, o->dtype, bytes), DAPT_OK);
    assert_int_equal(dapt_floats_unpack(bytes, count, o->dtype, o->f), DAPT_OK);
    free(bytes);
}

// How far a number of a dtype may be off by rounding, relative: twice the unit roundoff.
static const double rounding[DAPT_DTYPE_COUNT] = {[DAPT_F16] = 0x1p-11, [DAPT_BF16] = 0x1p-8};

// The numbers of an operand are those of its op and shape: rows that come or go change no others.
static uint64_t stream_of(const struct dapt_case *from, int slot) {
    uint64_t stream = from->row->op.opcode;
    for (size_t i = 0; i < sizeof from->shape->size / sizeof *from->shape->size; i++)
        stream = stream * 31 + from->shape->size[i];
    return stream * DAPT_CASE_OPERANDS + (uint64_t)slot;
}

static bool is_packed(const struct dapt_case *from, int slot) {
    const struct dapt_op_info *info = dapt_op_info(from->row->op.opcode);
    return dapt_op_operand(info, slot)->class == DAPT_CLASS_PACKED;
}

void case_open(struct op_case *c, const struct dapt_case *from, const char *what) {
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS];
    double tolerance = from->row->tolerance;
    *c = (struct op_case){
        .what = what, .in_place = -1, .tolerance = tolerance > 0 ? tolerance : TOLERANCE};
    dapt_case_make(from, &c->op, tensors);
    for (int slot = 0; slot < DAPT_CASE_OPERANDS; slot++) {
        struct operand *o = slot < DAPT_OP_INPUTS ? &c->in[slot] : &c->out[slot - DAPT_OP_INPUTS];
        const struct dapt_tensor *t = &tensors[slot];
        if (t->rank == 0) continue;
        *o = (struct operand){.dtype = t->dtype, .rank = t->rank, .packed = is_packed(from, slot)};
        memcpy(o->shape, t->shape, sizeof o->shape);
        void *values = malloc((size_t)operand_count(o) * sizeof(float));
        assert_non_null(values);
        dapt_case_fill(from, slot, stream_of(from, slot), operand_count(o), values);
        if (o->dtype == DAPT_I32)
            o->i = values;
        else
            o->f = values;
        operand_round(o);
    }
    // A loss may round what it multiplies, and keep its logits in float16. The weights are given rounded;
    // logits of about 10 and their gradients are not, and move by some units of themselves. So may attention: of many such errors
    // the largest is more than one.
    double unit = rounding[c->in[0].dtype];
    if (c->op.opcode == DAPT_OP_LM_LOSS || c->op.opcode == DAPT_OP_LM_LOSS_GRAD) {
        struct operand *w = &c->in[1];
        dapt_floats_round(w->f, (uint64_t)operand_count(w), file_dtype(c->in[0].dtype));
        bool half = c->in[0].dtype == DAPT_F16;
        c->tolerance += (c->op.opcode == DAPT_OP_LM_LOSS ? 4 : half ? 48 : 32) * unit;
    }
    // A product may round what it adds up of a factor.
    for (int i = 0; c->op.opcode == DAPT_OP_MATMUL && i < 2; i++)
        if (c->out[1 + i].rank > 0)
            dapt_floats_round(c->in[i].f, (uint64_t)operand_count(&c->in[i]),
                              file_dtype(c->op.u.matmul.operands));
    if (c->op.opcode == DAPT_OP_ATTENTION || c->op.opcode == DAPT_OP_ATTENTION_GRAD)
        c->tolerance += 3 * unit;
}

void case_close(struct op_case *c) {
    for (int i = 0; i < DAPT_OP_INPUTS; i++) free(c->in[i].f), free(c->in[i].i);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) free(c->out[i].f), free(c->out[i].i);
}

static struct reference_tensor to_reference(const struct operand *o) {
    struct reference_tensor t = {.rank = o->rank, .i = o->i};
    memcpy(t.shape, o->shape, sizeof t.shape);
    int64_t count = operand_count(o);
    if (o->packed) count = o->shape[0] * DAPT_MOMENT_BLOCK;
    if (o->f == NULL && !o->packed) return t;
    t.v = calloc((size_t)count, sizeof *t.v);
    assert_non_null(t.v);
    for (int64_t i = 0; i < count && o->f != NULL; i++) t.v[i] = (double)o->f[i];
    return t;
}

// What an output is before the run: where it is an input, that.
static const struct operand *before(const struct op_case *c, int i) {
    return i == 0 && c->in_place >= 0 ? &c->in[c->in_place] : &c->out[i];
}

void case_reference(const struct op_case *c, double *outputs[DAPT_OP_OUTPUTS]) {
    struct reference_tensor in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    for (int i = 0; i < DAPT_OP_INPUTS; i++) in[i] = to_reference(&c->in[i]);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) out[i] = to_reference(before(c, i));
    reference_run(&c->op, in, out);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) free(in[i].v);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) outputs[i] = out[i].v;
}

// ------------------------------------------------------------------------------------- the program

// The case laid out in memory.
struct layout {
    struct dapt_tensor tensors[DAPT_CASE_OPERANDS + BUFFERS];
    uint32_t tensor_count;
    char name[256];
    struct dapt_op op;
    uint8_t *bytes[BUFFERS];  // before the run
    bool *written[BUFFERS];   // whether the op may change the byte
    int64_t size[BUFFERS];
};

// SwiftShader takes more memory than there is to compile attention's gradient for aligned rows.
static int64_t alignment(void) {
    const char *driver = getenv("VK_DRIVER_FILES");
    return driver && strstr(driver, "swiftshader") ? 4 : ALIGN;
}

// Adds the rows of an operand, guards around and between them. `filled`: with its contents.
static void place(struct layout *l, const struct operand *o, int64_t gap, uint32_t buffer,
                  uint32_t *index, bool output, bool filled) {
    int64_t element = (int64_t)dapt_dtype_size(o->dtype), length = row_length(o),
            stride = length + gap, span = ((o->shape[0] - 1) * stride + length) * element,
            old = l->size[buffer],
            from = (old + GUARD + alignment() - 1) / alignment() * alignment();
    bool blocks = dapt_dtype_blocks(o->dtype);
    if (blocks) span = (int64_t)dapt_dtype_bytes(o->dtype, (uint64_t)operand_count(o));
    l->size[buffer] = from + (span + 3) / 4 * 4 + GUARD;
    l->bytes[buffer] = realloc(l->bytes[buffer], (size_t)l->size[buffer]);
    l->written[buffer] = realloc(l->written[buffer], (size_t)l->size[buffer] * sizeof(bool));
    assert_non_null(l->bytes[buffer]);
    assert_non_null(l->written[buffer]);
    for (int64_t i = old; i < l->size[buffer]; i++)
        l->bytes[buffer][i] = GUARD_BYTE(i), l->written[buffer][i] = false;
    if (blocks)
        assert_int_equal(
            dapt_floats_pack(o->f, (uint64_t)operand_count(o), o->dtype, l->bytes[buffer] + from),
            DAPT_OK);
    for (int64_t row = 0; row < o->shape[0] && !blocks; row++) {
        uint8_t *at = l->bytes[buffer] + from + row * stride * element;
        if (filled && o->i != NULL)
            memcpy(at, o->i + row * length, (size_t)(length * element));
        else if (filled)
            dapt_floats_to_file(o->f + row * length, (uint64_t)length, file_dtype(o->dtype), at);
        memset(l->written[buffer] + (at - l->bytes[buffer]), output, (size_t)(length * element));
    }
    *index = l->tensor_count;
    struct dapt_tensor *t = &l->tensors[l->tensor_count++];
    *t = (struct dapt_tensor){.dtype = o->dtype,
                              .rank = o->rank,
                              .stride = stride,
                              .buffer = buffer,
                              .offset = (uint64_t)from};
    memcpy(t->shape, o->shape, sizeof t->shape);
}

static int64_t gap_of(const struct op_case *c, const struct operand *o, uint32_t flags, int slot) {
    return (flags & DAPT_OPERAND_STRIDED) && o->rank > 1 ? c->gap * (1 + slot) : 0;
}

// "matmul of 5 x 7, row 12, gaps of 4, in place of 3, += 1"
static void set_name(const struct op_case *c, struct layout *l) {
    const int64_t *s = c->out[0].shape;
    char place_text[32] = "";
    if (c->in_place >= 0) snprintf(place_text, sizeof place_text, ", in place of %d", c->in_place);
    snprintf(l->name, sizeof l->name, "%s of %lld x %lld x %lld, %s, gaps of %lld%s, += %x",
             dapt_op_info(c->op.opcode)->name, (long long)s[0], (long long)s[1],
             (long long)(s[2] * s[3]), c->what, (long long)c->gap, place_text, c->op.accumulate);
    l->op.label = l->name;
}

static void lay_out(const struct op_case *c, struct layout *l) {
    const struct dapt_op_info *info = dapt_op_info(c->op.opcode);
    *l = (struct layout){.op = c->op};
    set_name(c, l);
    // No buffer is empty: an op may have no input of a kind.
    int32_t zero = 0;
    const struct operand spare = {.rank = 1, .shape = {1, 1, 1, 1}, .i = &zero, .dtype = DAPT_I32};
    uint32_t unused;
    for (uint32_t b = 0; b < BUFFERS; b++) place(l, &spare, 0, b, &unused, false, true);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        const struct operand *o = &c->in[i];
        if (o->rank > 0)
            place(l, o, gap_of(c, o, info->in[i].flags, i), o->dtype == DAPT_I32 ? 1 : 0,
                  &l->op.inputs[i], c->in_place == i, true);
    }
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) {
        const struct operand *o = &c->out[k];
        // What was there before reaches the op where it adds or changes a part.
        bool filled = (c->op.accumulate >> k & 1) || (info->out[k].flags & DAPT_OPERAND_UPDATE);
        if (k == 0 && c->in_place >= 0)
            l->op.outputs[0] = l->op.inputs[c->in_place];
        else if (o->rank > 0)
            place(l, o, gap_of(c, o, info->out[k].flags, DAPT_OP_INPUTS + k), 2, &l->op.outputs[k],
                  true, filled);
    }
}

static void layout_free(struct layout *l) {
    for (int b = 0; b < BUFFERS; b++) free(l->bytes[b]), free(l->written[b]);
}

static bool is_float32(const struct layout *l) {
    for (uint32_t i = 0; i < l->tensor_count; i++)
        if (dapt_dtype_size(l->tensors[i].dtype) != sizeof(float)) return false;
    return true;
}

static struct dapt_program program_of(const struct layout *l,
                                      struct dapt_buffer_info infos[BUFFERS]) {
    for (int b = 0; b < BUFFERS; b++)
        infos[b] = (struct dapt_buffer_info){b == 1 ? DAPT_BUFFER_BATCH : DAPT_BUFFER_WORK,
                                             (uint64_t)l->size[b]};
    return (struct dapt_program){.buffer_count = BUFFERS,
                                 .tensor_count = l->tensor_count,
                                 .op_count = 1,
                                 .buffers = infos,
                                 .tensors = l->tensors,
                                 .ops = &l->op};
}

// Whether any bed runs the case in any layout: where none does, there is nothing to refer to.
static bool is_run(const struct op_case *c) {
    bool found = false;
    struct op_case laid = *c;
    for (int gaps = 0; gaps < (c->gap ? 2 : 1); gaps++) {
        struct layout l;
        struct dapt_buffer_info infos[BUFFERS];
        laid.gap = gaps ? c->gap : 0;
        lay_out(&laid, &l);
        const struct dapt_program program = program_of(&l, infos);
        for (int i = 0; i < bed_count; i++)
            found |= is_float32(&l) || beds[i].backend->supports(beds[i].device, &program, &l.op);
        layout_free(&l);
    }
    return found;
}

// Whether the backend must run it as it stands. Ops of 16-bit types need not be run: the core runs them
// in float32 between casts.
static bool is_due(const struct bed *bed, const struct layout *l) {
    bool attention = l->op.opcode == DAPT_OP_ATTENTION || l->op.opcode == DAPT_OP_ATTENTION_GRAD;
    return is_float32(l) || (strcmp(bed->backend->name, "vulkan") == 0 && !attention);
}

// Runs the layout on one bed twice; `after` receives the buffers' bytes. False: not supported, and
// need not be.
static bool run_on(const struct bed *bed, const struct layout *l, uint8_t *after[BUFFERS]) {
    const struct dapt_backend *be = bed->backend;
    struct dapt_buffer *buffers[BUFFERS];
    struct dapt_buffer_info infos[BUFFERS];
    const struct dapt_program program = program_of(l, infos);
    if (!be->supports(bed->device, &program, &l->op)) {
        if (is_due(bed, l)) fail_msg("%s: %s is not supported", bed->name, l->op.label);
        return false;
    }
    for (int b = 0; b < BUFFERS; b++)
        assert_int_equal(be->buffer_create(bed->device, infos[b].role, infos[b].size, &buffers[b]),
                         DAPT_OK);
    struct dapt_executable *executable;
    assert_int_equal(be->program_compile(bed->device, &program, buffers, &executable), DAPT_OK);
    uint8_t *first = NULL;
    for (int run = 0; run < 2; run++) {
        for (int b = 0; b < BUFFERS; b++)
            assert_int_equal(
                be->buffer_write(bed->device, buffers[b], 0, l->bytes[b], infos[b].size), DAPT_OK);
        assert_int_equal(be->program_run(bed->device, executable), DAPT_OK);
        assert_int_equal(be->device_wait(bed->device, 0), DAPT_OK);
        for (int b = 0; b < BUFFERS; b++) {
            if (run == 1) {
                first = malloc(infos[b].size);
                assert_non_null(first);
                memcpy(first, after[b], infos[b].size);
            }
            assert_int_equal(be->buffer_read(bed->device, buffers[b], 0, after[b], infos[b].size),
                             DAPT_OK);
            if (run == 1 && memcmp(first, after[b], infos[b].size) != 0)
                fail_msg("%s: %s: two runs differ", bed->name, l->op.label);
            free(first);
            first = NULL;
        }
    }
    be->program_destroy(bed->device, executable);
    for (int b = 0; b < BUFFERS; b++) be->buffer_destroy(bed->device, buffers[b]);
    return true;
}

static void check_guards(const struct bed *bed, const struct layout *l,
                         uint8_t *const after[BUFFERS]) {
    for (int b = 0; b < BUFFERS; b++)
        for (int64_t i = 0; i < l->size[b]; i++)
            if (!l->written[b][i] && after[b][i] != l->bytes[b][i])
                fail_msg("%s: %s: byte %lld of buffer %d is not the op's and was written",
                         bed->name, l->op.label, (long long)i, b);
}

// The floats of an output, dense; the caller's to free.
static float *read_output(const struct dapt_tensor *t, const uint8_t *buffer) {
    int64_t length = dapt_tensor_row(t), element = (int64_t)dapt_dtype_size(t->dtype);
    float *values = malloc((size_t)(t->shape[0] * length) * sizeof *values);
    assert_non_null(values);
    for (int64_t row = 0; row < t->shape[0]; row++) {
        const struct dapt_file_tensor from = {
            .dtype = file_dtype(t->dtype),
            .count = (uint64_t)length,
            .data = buffer + t->offset + row * t->stride * element};
        assert_int_equal(dapt_file_tensor_floats(&from, 0, from.count, values + row * length),
                         DAPT_OK);
    }
    return values;
}

static bool is_near(const struct op_case *c, double got, double want, double tolerance,
                    double rms) {
    if (c->poisoned) return isnan(want) == isnan(got) || (c->spreads && isnan(got));
    if (isfinite(want)) return fabs(got - want) <= tolerance * (fabs(want) + rms);
    return isnan(want) ? isnan(got) : got == want;
}

// Moments in 8 bits against the exact ones: each code is that of the nearest value, the unit that of the
// largest number, and behind the last one nothing is.
static void compare_moments(const struct bed *bed, const struct layout *l, int k, int64_t count,
                            const struct dapt_tensor *t, const uint8_t *after,
                            const double *expected) {
    const int32_t *words = (const int32_t *)(const void *)(after + t->offset);
    const uint8_t *bytes = after + t->offset;
    for (int64_t b = 0; b < t->shape[0]; b++) {
        double most = 0, largest = k == 1 ? 61440 : 63488, step = k == 1 ? 0x1p-4 : 0x1p-5;
        float unit;
        for (int64_t i = b * 256; i < count && i < (b + 1) * 256; i++)
            most = fmax(most, fabs(expected[i]));
        memcpy(&unit, bytes + b * 260 + 256, sizeof unit);
        if (fabs((double)unit * largest - most) > 1e-5 * most)
            fail_msg("%s: %s: output %d, block %lld: unit %g, expected %g", bed->name, l->name, k,
                     (long long)b, (double)unit, most / largest);
        for (int64_t i = b * 256; i < (b + 1) * 256; i++) {
            double got = reference_moment(words, i, k == 2), want = i < count ? expected[i] : 0;
            // Half of the distance of two values, those of exponent 0 being as far apart as the next.
            double near = fmax(fabs(want), 2 * (double)unit) * step + 1e-5 * fabs(want);
            bool lost = k == 2 && want > 0 && unit > 0 && got <= 0;
            if (k == 2 && want > 0) near = fmax(near, (double)unit * 0.125);
            if (fabs(got - want) > near || lost || (i >= count && bytes[b * 260 + i % 256] != 0))
                fail_msg("%s: %s: output %d, number %lld of %lld: %.9g, expected %.9g", bed->name,
                         l->name, k, (long long)i, (long long)count, got, want);
        }
    }
}

// Whether in the row of a head that element i of output k is of, y is not a number somewhere.
static bool is_reached(const struct op_case *c, const double *y, int k, int64_t i) {
    int64_t size = c->out[0].shape[2], row = k == 0 ? i / size : i;
    bool found = false;
    for (int64_t d = 0; c->spreads_in_row && d < size; d++) found |= isnan(y[row * size + d]);
    return found;
}

static void compare(const struct bed *bed, const struct op_case *c, const struct layout *l,
                    uint8_t *const after[BUFFERS], double *const expected[DAPT_OP_OUTPUTS]) {
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) {
        const struct operand *o = &c->out[k];
        if (o->rank == 0) continue;
        const struct dapt_tensor *t = &l->tensors[l->op.outputs[k]];
        if (o->packed && !isfinite(c->in[2].f[0])) {  // nothing changes
            if (memcmp(after[t->buffer] + t->offset, o->i, dapt_tensor_span(t)) != 0)
                fail_msg("%s: %s: output %d has changed", bed->name, l->name, k);
            continue;
        }
        if (o->packed) {
            compare_moments(bed, l, k, operand_count(&c->in[0]), t, after[t->buffer], expected[k]);
            continue;
        }
        float *got = read_output(t, after[t->buffer]);
        int64_t count = operand_count(o), finite = 0;
        double rms = 0;
        for (int64_t i = 0; i < count; i++)
            if (isfinite(expected[k][i])) rms += expected[k][i] * expected[k][i], finite++;
        rms = fmax(0.01, finite > 0 ? sqrt(rms / (double)finite) : 0);
        for (int64_t i = 0; i < count; i++)
            if (!is_near(c, (double)got[i], expected[k][i], c->tolerance + rounding[t->dtype],
                         rms) &&
                !(isnan(got[i]) && is_reached(c, expected[0], k, i)))
                fail_msg("%s: %s: output %d, element %lld of %lld: %.9g, expected %.9g", bed->name,
                         l->name, k, (long long)i, (long long)count, (double)got[i],
                         expected[k][i]);
        free(got);
    }
}

static void check_layout(const struct op_case *c, double *const expected[DAPT_OP_OUTPUTS]) {
    struct layout l;
    uint8_t *after[BUFFERS], *base[BUFFERS] = {NULL};
    lay_out(c, &l);
    for (int i = 0; i < bed_count; i++) {
        for (int b = 0; b < BUFFERS; b++) {
            after[b] = malloc((size_t)l.size[b]);
            assert_non_null(after[b]);
        }
        if (!run_on(&beds[i], &l, after)) {
            for (int b = 0; b < BUFFERS; b++) free(after[b]);
            continue;
        }
        check_guards(&beds[i], &l, after);
        compare(&beds[i], c, &l, after, expected);
        // The same device with another number of threads: the same bits.
        bool same = i > 0 && beds[i].backend == beds[i - 1].backend && beds[i].threads > 1;
        for (int b = 0; b < BUFFERS; b++) {
            if (same && memcmp(base[b], after[b], (size_t)l.size[b]) != 0)
                fail_msg("%s: %s: bits differ from those with %u threads", beds[i].name, l.name,
                         beds[i - 1].threads);
            free(base[b]);
            base[b] = after[b];
        }
    }
    for (int b = 0; b < BUFFERS; b++) free(base[b]);
    layout_free(&l);
}

void case_check(const struct op_case *c) {
    double *expected[DAPT_OP_OUTPUTS];
    assert_true(bed_count > 0);
    if (!is_run(c)) return;
    case_reference(c, expected);
    struct op_case laid = *c;
    for (int gaps = 0; gaps < (c->gap ? 2 : 1); gaps++) {
        laid.gap = gaps ? c->gap : 0;
        check_layout(&laid, expected);
    }
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) free(expected[k]);
}

void bed_check_bits(const struct dapt_program *program, const void *const *initial) {
    struct dapt_buffer *buffers[BUFFERS];
    uint8_t *first[BUFFERS] = {NULL};
    assert_true(program->buffer_count <= BUFFERS);
    for (int i = 0; i < bed_count; i++) {
        const struct dapt_backend *be = beds[i].backend;
        struct dapt_executable *executable;
        bool fresh = i == 0 || be != beds[i - 1].backend || beds[i].threads <= 1;
        for (uint32_t b = 0; b < program->buffer_count; b++)
            assert_int_equal(be->buffer_create(beds[i].device, program->buffers[b].role,
                                               program->buffers[b].size, &buffers[b]),
                             DAPT_OK);
        assert_int_equal(be->program_compile(beds[i].device, program, buffers, &executable),
                         DAPT_OK);
        for (int run = 0; run < 2; run++) {
            for (uint32_t b = 0; b < program->buffer_count; b++)
                assert_int_equal(be->buffer_write(beds[i].device, buffers[b], 0, initial[b],
                                                  program->buffers[b].size),
                                 DAPT_OK);
            assert_int_equal(be->program_run(beds[i].device, executable), DAPT_OK);
            assert_int_equal(be->device_wait(beds[i].device, 0), DAPT_OK);
            for (uint32_t b = 0; b < program->buffer_count; b++) {
                size_t size = program->buffers[b].size;
                uint8_t *data = malloc(size);
                assert_non_null(data);
                assert_int_equal(be->buffer_read(beds[i].device, buffers[b], 0, data, size),
                                 DAPT_OK);
                if (!(fresh && run == 0) && memcmp(first[b], data, size) != 0)
                    fail_msg("%s: run %d: buffer %u has other bits", beds[i].name, run, b);
                free(first[b]);
                first[b] = data;
            }
        }
        be->program_destroy(beds[i].device, executable);
        for (uint32_t b = 0; b < program->buffer_count; b++)
            be->buffer_destroy(beds[i].device, buffers[b]);
    }
    for (int b = 0; b < BUFFERS; b++) free(first[b]);
}
