#include "engine/programs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/moments.h"
#include "graph/ops.h"

struct program {
    struct dapt_graph *graph;  // kept for labels and profiles
    struct dapt_model_io io;
    struct dapt_executable_handle *executable;
    struct dapt_buffer_handle *buffers[DAPT_BUFFER_ROLE_COUNT];  // owned by dapt_programs
};

struct dapt_programs {
    const struct dapt_model *model;
    struct dapt_device_handle *device;
    const struct dapt_engine_options *options;
    struct program at[DAPT_PROGRAM_COUNT];
    struct dapt_buffer_handle *current[DAPT_BUFFER_ROLE_COUNT];  // the largest so far of each role
    struct dapt_buffer_handle **owned;
    size_t owned_count, owned_capacity;
    uint32_t capacity;  // of the key/value cache
    uint8_t *batch;     // the next batch as its buffer will hold it
    size_t batch_capacity;
};

// ----------------------------------------------------------------------------------------- buffers

// Bytes of a buffer whose size the model decides; 0: the programs do.
static uint64_t model_bytes(const struct dapt_programs *p, enum dapt_buffer_role role) {
    const struct dapt_model *m = p->model;
    struct dapt_moment_range ranges[DAPT_GROUPS];
    uint64_t element = dapt_dtype_size(DAPT_F32), moments, begin, end;
    switch (role) {
    case DAPT_BUFFER_PARAM:
    case DAPT_BUFFER_GRAD: return m->trained_count * element;
    case DAPT_BUFFER_MOMENT1:
    case DAPT_BUFFER_MOMENT2:
        dapt_moment_own(m, p->options, &begin, &end);
        dapt_moment_ranges(m, p->options->moments, begin, end, ranges, &moments);
        return moments;
    case DAPT_BUFFER_FROZEN:
        return m->flat_count > m->trained_count ? dapt_model_byte(m, m->flat_count) : 0;
    default: return 0;
    }
}

static enum dapt_status ensure_buffer(struct dapt_programs *p, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer_handle **buffer) {
    *buffer = NULL;
    if (!size) return DAPT_OK;
    if (dapt_buffer_size(p->current[role]) < size) {
        struct dapt_buffer_handle *fresh;
        enum dapt_status status = dapt_grow(&p->owned, &p->owned_capacity, p->owned_count + 1,
                                            sizeof *p->owned);
        if (!status) status = dapt_buffer_create(p->device, role, size, &fresh);
        if (status)
            return dapt_fail_in(
                status, "%.1f MiB of device memory for %" PRIu64 " parameters, %u x %u tokens",
                (double)size / 1048576.0, p->model->weight_count, p->options->sequences,
                p->options->length);
        p->owned[p->owned_count++] = p->current[role] = fresh;
    }
    *buffer = p->current[role];
    return DAPT_OK;
}

struct dapt_buffer_handle *dapt_programs_buffer(const struct dapt_programs *programs,
                                                enum dapt_buffer_role role) {
    return programs->current[role];
}

// ---------------------------------------------------------------------------------------- building

static dapt_value flat(struct dapt_graph *g, enum dapt_buffer_role role, uint64_t begin,
                       uint64_t count) {
    return dapt_graph_input(g, role, begin * dapt_dtype_size(DAPT_F32), DAPT_F32, 2,
                            (int64_t[]){(int64_t)(count / 16), 16}, "flat");
}

static dapt_value scalar(struct dapt_graph *g, enum dapt_buffer_role role, uint64_t offset,
                         int64_t count) {
    return dapt_graph_input(g, role, offset, DAPT_F32, 1, &count, "scalar");
}

static dapt_value result(struct dapt_graph *g, enum dapt_result_slot slot) {
    return scalar(g, DAPT_BUFFER_RESULT, slot * DAPT_RESULT_STRIDE, 1);
}

// The optimizer looks at one scalar, and the gradient may be finite where the loss is not (a logit of
// -infinity has none): 0 times the loss is added, which is NaN then and nothing otherwise.
static void norm_graph(const struct dapt_model *m, const struct dapt_engine_options *options,
                       uint64_t loss_offset, struct dapt_graph *g) {
    uint64_t begin, end;
    dapt_moment_own(m, options, &begin, &end);
    g->label = "gradient norm";
    dapt_value norm2 = result(g, DAPT_RESULT_NORM2), decides = result(g, DAPT_RESULT_DECIDES),
               sum = scalar(g, DAPT_BUFFER_RESULT, loss_offset, 1),
               loss = result(g, DAPT_RESULT_LOSS);
    struct dapt_op squares = {.opcode = DAPT_OP_FILL, .outputs = {norm2}};  // of nothing: 0
    if (begin < end)
        squares = (struct dapt_op){.opcode = DAPT_OP_SUM_SQUARES,
                                   .inputs = {flat(g, DAPT_BUFFER_GRAD, begin, end - begin)},
                                   .outputs = {norm2}};
    dapt_graph_op(g, &squares);
    dapt_graph_op(g, &(struct dapt_op){.opcode = DAPT_OP_COPY, .inputs = {sum}, .outputs = {loss}});
    struct dapt_op nothing = {.opcode = DAPT_OP_SCALE, .inputs = {sum}, .outputs = {decides}};
    dapt_graph_op(g, &nothing);  // by a factor of 0
    dapt_graph_op(
        g, &(struct dapt_op){
               .opcode = DAPT_OP_SUM, .inputs = {norm2}, .outputs = {decides}, .accumulate = 1});
}

// The moments of a range, as the optimizer takes them.
static dapt_value moments(struct dapt_graph *g, enum dapt_buffer_role role,
                          const struct dapt_moment_range *range) {
    uint64_t count = range->end - range->begin;
    int64_t blocks[] = {(int64_t)dapt_moment_blocks(count), DAPT_MOMENT_WORDS};
    return range->packed ? dapt_graph_input(g, role, range->offset, DAPT_I32, 2, blocks, "blocks")
                         : flat(g, role, range->offset / dapt_dtype_size(DAPT_F32), count);
}

static void update_graph(const struct dapt_model *m, const struct dapt_engine_options *options,
                         struct dapt_graph *g) {
    g->label = "optimizer";
    dapt_value norm2 = result(g, DAPT_RESULT_DECIDES),
               step = scalar(g, DAPT_BUFFER_STEP, 0, DAPT_STEP_COUNT);
    struct dapt_moment_range ranges[DAPT_GROUPS];
    uint64_t bytes, from, to;
    dapt_moment_own(m, options, &from, &to);
    size_t range_count = dapt_moment_ranges(m, options->moments, from, to, ranges, &bytes);
    for (size_t i = 0; i < range_count; i++) {
        const struct dapt_parameter_group *group = ranges[i].group;
        uint64_t begin = ranges[i].begin, count = ranges[i].end - begin;
        struct dapt_op op = {.opcode = ranges[i].packed ? DAPT_OP_ADAMW_8BIT : DAPT_OP_ADAMW,
                             .inputs = {flat(g, DAPT_BUFFER_GRAD, begin, count), step, norm2},
                             .outputs = {flat(g, DAPT_BUFFER_PARAM, begin, count),
                                         moments(g, DAPT_BUFFER_MOMENT1, &ranges[i]),
                                         moments(g, DAPT_BUFFER_MOMENT2, &ranges[i])}};
        op.u.adamw.beta1 = options->beta1;
        op.u.adamw.beta2 = options->beta2;
        op.u.adamw.eps = options->eps;
        op.u.adamw.rate = group->rate;
        op.u.adamw.decay = group->decay || options->decay_all;
        dapt_graph_op(g, &op);
    }
}

static enum dapt_status model_graph(struct dapt_programs *p, enum dapt_program_kind kind,
                                    struct program *program) {
    static const enum dapt_model_mode modes[DAPT_PROGRAM_COUNT] = {
        [DAPT_PROGRAM_TRAIN_FIRST] = DAPT_MODEL_TRAIN,
        [DAPT_PROGRAM_TRAIN_NEXT] = DAPT_MODEL_TRAIN,
        [DAPT_PROGRAM_LOSS] = DAPT_MODEL_LOSS,
        [DAPT_PROGRAM_LOGITS] = DAPT_MODEL_LOGITS,
        [DAPT_PROGRAM_HIDDEN] = DAPT_MODEL_HIDDEN,
        [DAPT_PROGRAM_DECODE_ONE] = DAPT_MODEL_DECODE,
        [DAPT_PROGRAM_DECODE_CHUNK] = DAPT_MODEL_DECODE};
    struct dapt_model_build build = {.mode = modes[kind],
                                     .precision = p->options->precision,
                                     .accumulate = kind == DAPT_PROGRAM_TRAIN_NEXT,
                                     .sequences = p->options->sequences,
                                     .length = p->options->length};
    // Both programs of decoding see a cache of capacity + DAPT_DECODE_CHUNK places, the last ones for
    // a chunk's padding.
    if (build.mode == DAPT_MODEL_DECODE) {
        build.sequences = 1;
        build.length = kind == DAPT_PROGRAM_DECODE_ONE ? 1 : DAPT_DECODE_CHUNK;
        build.capacity = p->capacity + DAPT_DECODE_CHUNK - build.length;
    }
    return dapt_model_graph(p->model, &build, program->graph, &program->io);
}

static bool supports(void *context, const struct dapt_program *program) {
    return dapt_device_supports(context, program, program->ops);
}

// The tables of all types of layers lie side by side in one.
static enum dapt_status fill_ropes(const struct dapt_programs *p, const struct program *program) {
    uint64_t size = program->graph->role_size[DAPT_BUFFER_CONSTANT];
    if (!size) return DAPT_OK;
    const struct dapt_storage *storages = program->graph->storages;
    float *tables = dapt_alloc_aligned(size / sizeof *tables, sizeof *tables);
    if (!tables) return DAPT_ERROR_MEMORY;
    for (int i = 0; i < DAPT_ROPES; i++) {
        if (program->io.ropes[i] == DAPT_NONE) continue;
        const struct dapt_tensor *t = dapt_graph_tensor(program->graph, program->io.ropes[i]);
        dapt_rope_table(&p->model->ropes[i], (uint32_t)t->shape[0], (uint32_t)t->stride,
                        tables + (storages[t->buffer].offset + t->offset) / sizeof *tables);
    }
    enum dapt_status status = dapt_buffer_write(program->buffers[DAPT_BUFFER_CONSTANT], 0, tables,
                                                size);
    free(tables);
    return status;
}

// Bytes of a role's buffer that a graph needs.
static uint64_t bytes_of(const struct dapt_programs *p, const struct dapt_graph *g, int role) {
    uint64_t all = g->role_size[role] ? model_bytes(p, (enum dapt_buffer_role)role) : 0;
    return all ? all : g->role_size[role];
}

static enum dapt_status compile(struct dapt_programs *p, struct program *program) {
    struct dapt_graph *g = program->graph;
    struct dapt_program made;
    enum dapt_status status = dapt_graph_program(g, &made);
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT && !status; r++)
        status = ensure_buffer(p, (enum dapt_buffer_role)r, bytes_of(p, g, r),
                               &program->buffers[r]);
    if (!status) status = fill_ropes(p, program);
    return status ? status
                  : dapt_program_compile(p->device, &made, program->buffers, &program->executable);
}

// The graph of a program, as it will be compiled.
static enum dapt_status build(struct dapt_programs *p, enum dapt_program_kind kind,
                              struct program *program) {
    dapt_graph_destroy(&program->graph);
    program->io = (struct dapt_model_io){0};
    if (!(program->graph = dapt_graph_create())) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    if (kind == DAPT_PROGRAM_NORM)
        norm_graph(p->model, p->options,
                   dapt_programs_offset(p, DAPT_PROGRAM_TRAIN_FIRST,
                                        p->at[DAPT_PROGRAM_TRAIN_FIRST].io.loss_sum),
                   program->graph);
    else if (kind == DAPT_PROGRAM_UPDATE)
        update_graph(p->model, p->options, program->graph);
    else
        status = model_graph(p, kind, program);
    bool trains = kind == DAPT_PROGRAM_TRAIN_FIRST || kind == DAPT_PROGRAM_TRAIN_NEXT;
    // Blocks that are recomputed merge what they would otherwise: what lies between merged ops is not
    // rounded, so that the same bits come out.
    if (!status) status = dapt_graph_fuse(program->graph, supports, p->device);
    if (!status && trains) status = dapt_graph_recompute(program->graph, p->options->recompute);
    if (!status) status = dapt_graph_prune(program->graph);
    if (!status) status = dapt_graph_bridge(program->graph, supports, p->device);
    return status ? status : dapt_graph_plan(program->graph);
}

enum dapt_status dapt_programs_need(struct dapt_programs *programs, enum dapt_program_kind kind) {
    struct program *program = &programs->at[kind];
    if (program->executable) return DAPT_OK;
    enum dapt_status status = build(programs, kind, program);
    return status ? status : compile(programs, program);
}

enum dapt_status dapt_engine_estimate(const struct dapt_model *model,
                                      struct dapt_device_handle *device,
                                      const struct dapt_engine_options *options,
                                      uint64_t bytes[DAPT_BUFFER_ROLE_COUNT]) {
    struct dapt_programs p = {.model = model, .device = device, .options = options};
    enum dapt_status status = DAPT_OK;
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT; r++)
        bytes[r] = model_bytes(&p, (enum dapt_buffer_role)r);
    // Further micro-batches and the evaluation need no more than the first micro-batch, but for the
    // losses that an evaluation reads.
    static const enum dapt_program_kind kinds[] = {DAPT_PROGRAM_TRAIN_FIRST, DAPT_PROGRAM_UPDATE,
                                                   DAPT_PROGRAM_LOSS};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !status; i++) {
        struct program program = {0};
        status = build(&p, kinds[i], &program);
        for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT && !status; r++) {
            uint64_t size = bytes_of(&p, program.graph, r);
            if (size > bytes[r]) bytes[r] = size;
        }
        dapt_graph_destroy(&program.graph);
    }
    return status;
}

static void drop(struct program *program) {
    dapt_program_destroy(&program->executable);
    dapt_graph_destroy(&program->graph);
    *program = (struct program){0};
}

void dapt_programs_reshape(struct dapt_programs *programs) {
    for (int kind = DAPT_PROGRAM_LOSS; kind <= DAPT_PROGRAM_HIDDEN; kind++)
        drop(&programs->at[kind]);
}

void dapt_programs_set_capacity(struct dapt_programs *programs, uint32_t capacity) {
    drop(&programs->at[DAPT_PROGRAM_DECODE_ONE]);
    drop(&programs->at[DAPT_PROGRAM_DECODE_CHUNK]);
    programs->capacity = capacity;
}

// Of a small model some ranks have no parameters to update.
static bool has_shard(const struct dapt_programs *p) {
    uint64_t begin, end;
    dapt_moment_own(p->model, p->options, &begin, &end);
    return begin < end;
}

enum dapt_status dapt_programs_create(const struct dapt_model *model,
                                      struct dapt_device_handle *device,
                                      const struct dapt_engine_options *options,
                                      struct dapt_programs **programs) {
    *programs = NULL;
    struct dapt_programs *p = dapt_alloc(1, sizeof *p);
    if (!p) return DAPT_ERROR_MEMORY;
    *p = (struct dapt_programs){.model = model, .device = device, .options = options};
    struct dapt_buffer_handle *ignored;
    enum dapt_status status = ensure_buffer(p, DAPT_BUFFER_PARAM, model_bytes(p, DAPT_BUFFER_PARAM),
                                            &ignored);
    if (!status)
        status = ensure_buffer(p, DAPT_BUFFER_FROZEN, model_bytes(p, DAPT_BUFFER_FROZEN), &ignored);
    // All programs of a step share their step and result buffers: as large as any needs from the start.
    if (!status && options->train)
        status = ensure_buffer(p, DAPT_BUFFER_RESULT, DAPT_RESULT_BYTES, &ignored);
    if (!status && options->train)
        status = ensure_buffer(p, DAPT_BUFFER_STEP, DAPT_STEP_COUNT * sizeof(float), &ignored);
    for (int kind = 0; options->train && kind <= DAPT_PROGRAM_UPDATE && !status; kind++)
        if (kind != DAPT_PROGRAM_UPDATE || has_shard(p))
            status = dapt_programs_need(p, (enum dapt_program_kind)kind);
    if (status) dapt_programs_destroy(&p);
    *programs = p;
    return status;
}

void dapt_programs_destroy(struct dapt_programs **programs) {
    if (!programs || !*programs) return;
    struct dapt_programs *p = *programs;
    for (int i = 0; i < DAPT_PROGRAM_COUNT; i++) drop(&p->at[i]);
    for (size_t i = 0; i < p->owned_count; i++) dapt_buffer_destroy(&p->owned[i]);
    free(p->owned);
    free(p->batch);
    free(p);
    *programs = NULL;
}

// ----------------------------------------------------------------------------------------- running

const struct dapt_model_io *dapt_programs_io(const struct dapt_programs *programs,
                                             enum dapt_program_kind kind) {
    return &programs->at[kind].io;
}

uint64_t dapt_programs_offset(const struct dapt_programs *programs, enum dapt_program_kind kind,
                              dapt_value value) {
    const struct dapt_graph *g = programs->at[kind].graph;
    const struct dapt_tensor *t = dapt_graph_tensor(g, value);
    return g->storages[t->buffer].offset + t->offset;
}

enum dapt_status dapt_programs_write(struct dapt_programs *programs, enum dapt_program_kind kind,
                                     const struct dapt_program_input *inputs, size_t count) {
    uint64_t begin = UINT64_MAX, end = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t offset = dapt_programs_offset(programs, kind, inputs[i].input),
                 behind = offset + inputs[i].count * sizeof *inputs[i].rows;
        begin = offset < begin ? offset : begin;
        end = behind > end ? behind : end;
    }
    enum dapt_status status = dapt_grow(&programs->batch, &programs->batch_capacity, end, 1);
    if (status) return status;
    memset(programs->batch + begin, 0, end - begin);
    for (size_t i = 0; i < count; i++)
        memcpy(programs->batch + dapt_programs_offset(programs, kind, inputs[i].input),
               inputs[i].rows, inputs[i].count * sizeof *inputs[i].rows);
    return dapt_buffer_write(programs->at[kind].buffers[DAPT_BUFFER_BATCH], begin,
                             programs->batch + begin, end - begin);
}

enum dapt_status dapt_programs_run(struct dapt_programs *programs, enum dapt_program_kind kind) {
    return dapt_program_run(programs->at[kind].executable);
}

enum dapt_status dapt_programs_result(struct dapt_programs *programs, enum dapt_program_kind kind,
                                      uint64_t offset, void *data, uint64_t size) {
    return dapt_buffer_read(programs->at[kind].buffers[DAPT_BUFFER_RESULT], offset, data, size);
}

enum dapt_status dapt_programs_scalars(struct dapt_programs *programs,
                                       float scalars[DAPT_RESULT_COUNT]) {
    enum { FIRST = DAPT_RESULT_NORM2 * DAPT_RESULT_STRIDE, SIZE = DAPT_RESULT_BYTES - FIRST };
    const struct program *program = &programs->at[DAPT_PROGRAM_NORM];
    float slots[SIZE / sizeof(float)];
    enum dapt_status status = dapt_program_read(
        program->executable, program->buffers[DAPT_BUFFER_RESULT], FIRST, slots, SIZE);
    for (int i = DAPT_RESULT_NORM2; i < DAPT_RESULT_COUNT && !status; i++)
        scalars[i] = slots[(i - DAPT_RESULT_NORM2) * (DAPT_RESULT_STRIDE / sizeof(float))];
    return status;
}

enum dapt_status dapt_programs_decide(struct dapt_programs *programs, float decides) {
    return dapt_buffer_write(programs->at[DAPT_PROGRAM_NORM].buffers[DAPT_BUFFER_RESULT],
                             DAPT_RESULT_DECIDES * DAPT_RESULT_STRIDE, &decides, sizeof decides);
}

enum dapt_status dapt_programs_profile(struct dapt_programs *programs, dapt_engine_op each,
                                       void *user) {
    static const enum dapt_program_kind kinds[] = {DAPT_PROGRAM_TRAIN_FIRST, DAPT_PROGRAM_NORM,
                                                   DAPT_PROGRAM_UPDATE};
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !status; i++) {
        const struct program *program = &programs->at[kinds[i]];
        struct dapt_program made;
        uint64_t *ns = dapt_alloc(program->graph->op_count, sizeof *ns);
        status = ns ? dapt_graph_program(program->graph, &made) : DAPT_ERROR_MEMORY;
        if (!status) status = dapt_program_timings(program->executable, ns, made.op_count);
        for (uint32_t k = 0; !status && k < made.op_count; k++)
            each(user, &made.ops[k], made.tensors, ns[k]);
        free(ns);
    }
    return status;
}
