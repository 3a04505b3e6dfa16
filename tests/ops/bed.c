#include "bed.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 40  // words around every operand
#define GUARD_WORD 0x7fc5a5a5u
#define MAX_BEDS 32
#define BUFFERS 3  // float inputs, whole numbers, outputs

struct bed {
    const struct dapt_backend *backend;
    struct dapt_device *device;
    uint32_t threads;
    char name[300];
};

static struct bed beds[MAX_BEDS];
static int bed_count;
static bool covered[DAPT_OP_COUNT];
static uint64_t random_state = 0x9e3779b97f4a7c15u;

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

bool bed_covered(enum dapt_opcode opcode) {
    return covered[opcode];
}

// --------------------------------------------------------------------------------------- the cases

double bed_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 4503599627370496.0 - 1.0;
}

static float random_normal(void) {
    double sum = 0;
    for (int i = 0; i < 6; i++) sum += bed_random();
    return (float)(sum / sqrt(2.0));
}

int64_t operand_count(const struct operand *o) {
    return o->rank == 0 ? 0 : o->shape[0] * o->shape[1] * o->shape[2] * o->shape[3];
}
static int64_t row_length(const struct operand *o) {
    return o->shape[1] * o->shape[2] * o->shape[3];
}
static int64_t words_of(const struct operand *o) {
    return (o->shape[0] - 1) * (row_length(o) + o->gap) + row_length(o);
}

static void set_shape(struct operand *o, int64_t gap, uint32_t rank, const int64_t *shape) {
    *o = (struct operand){.rank = rank, .gap = gap, .in_place = -1, .shape = {1, 1, 1, 1}};
    for (uint32_t d = 0; d < rank; d++) o->shape[d] = shape[d];
}

void case_begin(struct op_case *c, enum dapt_opcode opcode, const char *name) {
    *c = (struct op_case){.name = name, .op.opcode = opcode, .op.label = name, .tolerance = 2e-5};
    for (int i = 0; i < DAPT_OP_INPUTS; i++) c->op.inputs[i] = DAPT_NONE;
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) c->op.outputs[i] = DAPT_NONE;
}

static float *random_floats(int64_t count) {
    float *f = malloc((size_t)count * sizeof *f);
    assert_non_null(f);
    for (int64_t i = 0; i < count; i++) f[i] = random_normal();
    return f;
}

float *case_input(struct op_case *c, int slot, int64_t gap, uint32_t rank, const int64_t *shape) {
    struct operand *o = &c->in[slot];
    set_shape(o, gap, rank, shape);
    o->f = random_floats(operand_count(o));
    return o->f;
}

int32_t *case_indices(struct op_case *c, int slot, int64_t count, int64_t limit) {
    struct operand *o = &c->in[slot];
    set_shape(o, 0, 1, &count);
    o->dtype = DAPT_I32;
    o->i = malloc((size_t)count * sizeof *o->i);
    assert_non_null(o->i);
    for (int64_t i = 0; i < count; i++)
        o->i[i] = (int32_t)((bed_random() * 0.5 + 0.5) * (double)limit) % (int32_t)limit;
    return o->i;
}

float *case_output(struct op_case *c, int slot, int64_t gap, uint32_t rank, const int64_t *shape) {
    struct operand *o = &c->out[slot];
    set_shape(o, gap, rank, shape);
    o->f = random_floats(operand_count(o));
    return o->f;
}

void case_in_place(struct op_case *c, int slot, int input) {
    struct operand *o = &c->out[slot];
    *o = c->in[input];
    o->in_place = input;
    o->f = malloc((size_t)operand_count(o) * sizeof *o->f);
    assert_non_null(o->f);
    memcpy(o->f, c->in[input].f, (size_t)operand_count(o) * sizeof *o->f);
}

void case_free(struct op_case *c) {
    for (int i = 0; i < DAPT_OP_INPUTS; i++) free(c->in[i].f), free(c->in[i].i);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) free(c->out[i].f);
}

static struct reference_tensor to_reference(const struct operand *o) {
    struct reference_tensor t = {.rank = o->rank, .i = o->i};
    memcpy(t.shape, o->shape, sizeof t.shape);
    if (o->f == NULL) return t;
    int64_t count = operand_count(o);
    t.v = malloc((size_t)count * sizeof *t.v);
    assert_non_null(t.v);
    for (int64_t i = 0; i < count; i++) t.v[i] = (double)o->f[i];
    return t;
}

void case_reference(const struct op_case *c, double *outputs[DAPT_OP_OUTPUTS]) {
    struct reference_tensor in[DAPT_OP_INPUTS], out[DAPT_OP_OUTPUTS];
    for (int i = 0; i < DAPT_OP_INPUTS; i++) in[i] = to_reference(&c->in[i]);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) out[i] = to_reference(&c->out[i]);
    reference_run(&c->op, in, out);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) free(in[i].v);
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) outputs[i] = out[i].v;
}

// ------------------------------------------------------------------------------------- the program

// The case laid out in memory.
struct layout {
    struct dapt_tensor tensors[DAPT_OP_INPUTS + DAPT_OP_OUTPUTS + BUFFERS];
    uint32_t tensor_count;
    struct dapt_op op;
    uint32_t *words[BUFFERS];  // before the run
    bool *written[BUFFERS];    // whether the op may change the word
    int64_t size[BUFFERS];
};

// Whether the op sees what an output held before: sums, and ops that change a part.
static bool keeps_contents(const struct op_case *c, int slot) {
    return (c->op.accumulate >> slot & 1) != 0 || c->op.opcode == DAPT_OP_SCATTER_ROWS ||
           c->op.opcode == DAPT_OP_ADAMW || c->out[slot].in_place >= 0;
}

static void place(struct layout *l, const struct operand *o, uint32_t buffer, uint32_t *index,
                  bool output, bool filled) {
    int64_t words = words_of(o), old = l->size[buffer], from = old + GUARD, length = row_length(o);
    l->size[buffer] = from + words + GUARD;
    l->words[buffer] = realloc(l->words[buffer], (size_t)l->size[buffer] * sizeof(uint32_t));
    l->written[buffer] = realloc(l->written[buffer], (size_t)l->size[buffer] * sizeof(bool));
    assert_non_null(l->words[buffer]);
    assert_non_null(l->written[buffer]);
    for (int64_t i = old; i < l->size[buffer]; i++)
        l->words[buffer][i] = GUARD_WORD, l->written[buffer][i] = false;
    for (int64_t row = 0; row < o->shape[0]; row++) {
        int64_t at = from + row * (length + o->gap);
        const void *data = o->f != NULL ? (const void *)(o->f + row * length)
                                        : (const void *)(o->i + row * length);
        if (filled) memcpy(l->words[buffer] + at, data, (size_t)length * sizeof(uint32_t));
        for (int64_t k = 0; output && k < length; k++) l->written[buffer][at + k] = true;
    }
    *index = l->tensor_count;
    struct dapt_tensor *t = &l->tensors[l->tensor_count++];
    *t = (struct dapt_tensor){.dtype = o->dtype,
                              .rank = o->rank,
                              .stride = length + o->gap,
                              .buffer = buffer,
                              .offset = (uint64_t)from * sizeof(uint32_t)};
    memcpy(t->shape, o->shape, sizeof t->shape);
}

static void lay_out(const struct op_case *c, struct layout *l) {
    *l = (struct layout){.op = c->op};
    // No buffer is empty: an op may have no input of a kind.
    int32_t zero = 0;
    const struct operand spare = {.rank = 1, .shape = {1, 1, 1, 1}, .i = &zero, .dtype = DAPT_I32};
    uint32_t unused;
    for (uint32_t b = 0; b < BUFFERS; b++) place(l, &spare, b, &unused, false, true);
    for (int i = 0; i < DAPT_OP_INPUTS; i++) {
        if (c->in[i].rank == 0) continue;
        bool output = false;
        for (int k = 0; k < DAPT_OP_OUTPUTS; k++)
            output |= c->out[k].rank > 0 && c->out[k].in_place == i;
        place(l, &c->in[i], c->in[i].dtype == DAPT_I32 ? 1 : 0, &l->op.inputs[i], output, true);
    }
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) {
        if (c->out[k].rank == 0) continue;
        if (c->out[k].in_place >= 0)
            l->op.outputs[k] = l->op.inputs[c->out[k].in_place];
        else
            place(l, &c->out[k], 2, &l->op.outputs[k], true, keeps_contents(c, k));
    }
}

static void layout_free(struct layout *l) {
    for (int b = 0; b < BUFFERS; b++) free(l->words[b]), free(l->written[b]);
}

// Runs the layout on one bed twice; `after` receives the buffers' words.
static void run_on(const struct bed *bed, const struct layout *l, uint32_t *after[BUFFERS]) {
    const struct dapt_backend *be = bed->backend;
    struct dapt_buffer *buffers[BUFFERS];
    struct dapt_buffer_info infos[BUFFERS];
    for (int b = 0; b < BUFFERS; b++) {
        infos[b] = (struct dapt_buffer_info){b == 1 ? DAPT_BUFFER_BATCH : DAPT_BUFFER_WORK,
                                             (uint64_t)l->size[b] * sizeof(uint32_t)};
        assert_int_equal(be->buffer_create(bed->device, infos[b].role, infos[b].size, &buffers[b]),
                         DAPT_OK);
    }
    struct dapt_program program = {.buffer_count = BUFFERS,
                                   .tensor_count = l->tensor_count,
                                   .op_count = 1,
                                   .buffers = infos,
                                   .tensors = l->tensors,
                                   .ops = &l->op};
    if (!be->supports(bed->device, &program, &l->op))
        fail_msg("%s: %s is not supported", bed->name, l->op.label);
    struct dapt_executable *executable;
    assert_int_equal(be->program_compile(bed->device, &program, buffers, &executable), DAPT_OK);
    uint32_t *first = NULL;
    for (int run = 0; run < 2; run++) {
        for (int b = 0; b < BUFFERS; b++)
            assert_int_equal(
                be->buffer_write(bed->device, buffers[b], 0, l->words[b], infos[b].size), DAPT_OK);
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
}

static void check_guards(const struct bed *bed, const struct layout *l,
                         uint32_t *const after[BUFFERS]) {
    for (int b = 0; b < BUFFERS; b++)
        for (int64_t i = 0; i < l->size[b]; i++)
            if (!l->written[b][i] && after[b][i] != l->words[b][i])
                fail_msg("%s: %s: word %lld of buffer %d is not the op's and was written",
                         bed->name, l->op.label, (long long)i, b);
}

static void compare(const struct bed *bed, const struct op_case *c, const struct layout *l,
                    uint32_t *const after[BUFFERS], double *const expected[DAPT_OP_OUTPUTS]) {
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) {
        const struct operand *o = &c->out[k];
        if (o->rank == 0) continue;
        const struct dapt_tensor *t = &l->tensors[l->op.outputs[k]];
        int64_t count = operand_count(o), length = row_length(o), finite = 0;
        double rms = 0;
        for (int64_t i = 0; i < count; i++)
            if (isfinite(expected[k][i])) rms += expected[k][i] * expected[k][i], finite++;
        rms = fmax(0.01, finite > 0 ? sqrt(rms / (double)finite) : 0);
        for (int64_t i = 0; i < count; i++) {
            float got;
            memcpy(&got, after[t->buffer] + t->offset / 4 + i / length * t->stride + i % length,
                   sizeof got);
            double want = expected[k][i];
            bool ok;
            if (c->poisoned)
                ok = isnan(want) == isnan(got) || (c->spreads && isnan(got));
            else if (isfinite(want))
                ok = fabs((double)got - want) <= c->tolerance * (fabs(want) + rms);
            else
                ok = isnan(want) ? isnan(got) : (double)got == want;
            if (!ok)
                fail_msg("%s: %s: output %d, element %lld of %lld: %.9g, expected %.9g", bed->name,
                         c->name, k, (long long)i, (long long)count, (double)got, want);
        }
    }
}

void case_check(struct op_case *c) {
    double *expected[DAPT_OP_OUTPUTS];
    struct layout l;
    uint32_t *after[BUFFERS], *base[BUFFERS] = {NULL};
    case_reference(c, expected);
    lay_out(c, &l);
    assert_true(bed_count > 0);
    for (int i = 0; i < bed_count; i++) {
        for (int b = 0; b < BUFFERS; b++) {
            after[b] = malloc((size_t)l.size[b] * sizeof(uint32_t));
            assert_non_null(after[b]);
        }
        run_on(&beds[i], &l, after);
        check_guards(&beds[i], &l, after);
        compare(&beds[i], c, &l, after, expected);
        // The same device with another number of threads: the same bits.
        bool same = i > 0 && beds[i].backend == beds[i - 1].backend && beds[i].threads > 1;
        for (int b = 0; b < BUFFERS; b++) {
            if (same && memcmp(base[b], after[b], (size_t)l.size[b] * sizeof(uint32_t)) != 0)
                fail_msg("%s: %s: bits differ from those with %u threads", beds[i].name, c->name,
                         beds[i - 1].threads);
            free(base[b]);
            base[b] = after[b];
        }
    }
    for (int b = 0; b < BUFFERS; b++) free(base[b]);
    for (int k = 0; k < DAPT_OP_OUTPUTS; k++) free(expected[k]);
    covered[c->op.opcode] = true;
    layout_free(&l);
    case_free(c);
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
