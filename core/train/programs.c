#include "train/programs.h"

#include <inttypes.h>
#include <stdlib.h>

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
};

// ----------------------------------------------------------------------------------------- buffers

// Bytes of a buffer whose size the model decides; 0: the programs do.
static uint64_t model_bytes(const struct dapt_model *m, enum dapt_buffer_role role) {
    uint64_t element = dapt_dtype_size(DAPT_F32);
    switch (role) {
    case DAPT_BUFFER_PARAM:
    case DAPT_BUFFER_GRAD:
    case DAPT_BUFFER_MOMENT1:
    case DAPT_BUFFER_MOMENT2: return m->trained_count * element;
    case DAPT_BUFFER_FROZEN: return (m->flat_count - m->trained_count) * element;
    default: return 0;
    }
}

static enum dapt_status ensure_buffer(struct dapt_programs *p, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer_handle **buffer) {
    *buffer = NULL;
    if (!size) return DAPT_OK;
    // Constants are laid out by the longest sequence of the program: buffers of another size hold others.
    uint64_t held = dapt_buffer_size(p->current[role]);
    if (role == DAPT_BUFFER_CONSTANT ? held != size : held < size) {
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

static void norm_graph(const struct dapt_model *m, struct dapt_graph *g) {
    g->label = "gradient norm";
    dapt_value norm2 = scalar(g, DAPT_BUFFER_RESULT, DAPT_NORM_OFFSET, 1);
    dapt_graph_op(g, &(struct dapt_op){.opcode = DAPT_OP_SUM_SQUARES,
                                       .inputs = {flat(g, DAPT_BUFFER_GRAD, 0, m->trained_count)},
                                       .outputs = {norm2}});
}

static void update_graph(const struct dapt_model *m, const struct dapt_engine_options *options,
                         struct dapt_graph *g) {
    g->label = "optimizer";
    dapt_value norm2 = scalar(g, DAPT_BUFFER_RESULT, DAPT_NORM_OFFSET, 1),
               step = scalar(g, DAPT_BUFFER_STEP, 0, DAPT_STEP_COUNT);
    for (size_t i = 0; i < m->group_count; i++) {
        const struct dapt_parameter_group *group = &m->groups[i];
        uint64_t begin = group->begin, count = group->end - begin;
        if (!group->trained) continue;
        struct dapt_op op = {.opcode = DAPT_OP_ADAMW,
                             .inputs = {flat(g, DAPT_BUFFER_GRAD, begin, count), step, norm2},
                             .outputs = {flat(g, DAPT_BUFFER_PARAM, begin, count),
                                         flat(g, DAPT_BUFFER_MOMENT1, begin, count),
                                         flat(g, DAPT_BUFFER_MOMENT2, begin, count)}};
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
    enum dapt_status status = dapt_model_graph(p->model, &build, program->graph, &program->io);
    if (!status && build.mode == DAPT_MODEL_TRAIN)
        status = dapt_graph_recompute(program->graph, p->options->recompute);
    return status;
}

static bool supports(void *context, const struct dapt_program *program) {
    return dapt_device_supports(context, program, program->ops);
}

static enum dapt_status fill_rope(const struct dapt_programs *p, const struct program *program) {
    if (program->io.rope == DAPT_NONE) return DAPT_OK;
    const struct dapt_tensor *t = dapt_graph_tensor(program->graph, program->io.rope);
    const struct dapt_storage *storage = &program->graph->storages[t->buffer];
    float *table = dapt_alloc_aligned(storage->size / sizeof *table, sizeof *table);
    if (!table) return DAPT_ERROR_MEMORY;
    dapt_rope_table(&p->model->rope, (uint32_t)t->shape[0], table);
    enum dapt_status status = dapt_buffer_write(program->buffers[DAPT_BUFFER_CONSTANT],
                                                storage->offset, table, storage->size);
    free(table);
    return status;
}

static enum dapt_status compile(struct dapt_programs *p, struct program *program) {
    struct dapt_graph *g = program->graph;
    struct dapt_program made;
    enum dapt_status status = dapt_graph_fuse(g, supports, p->device);
    if (!status) status = dapt_graph_prune(g);
    if (!status) status = dapt_graph_bridge(g, supports, p->device);
    if (!status) status = dapt_graph_plan(g);
    if (!status) status = dapt_graph_program(g, &made);
    for (int r = 0; r < DAPT_BUFFER_ROLE_COUNT && !status; r++) {
        enum dapt_buffer_role role = (enum dapt_buffer_role)r;
        uint64_t all = g->role_size[r] ? model_bytes(p->model, role) : 0;
        status = ensure_buffer(p, role, all ? all : g->role_size[r], &program->buffers[r]);
    }
    if (!status) status = fill_rope(p, program);
    return status ? status
                  : dapt_program_compile(p->device, &made, program->buffers, &program->executable);
}

enum dapt_status dapt_programs_need(struct dapt_programs *programs, enum dapt_program_kind kind) {
    struct program *program = &programs->at[kind];
    if (program->executable) return DAPT_OK;
    dapt_graph_destroy(&program->graph);
    program->io = (struct dapt_model_io){.rope = DAPT_NONE};
    if (!(program->graph = dapt_graph_create())) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    if (kind == DAPT_PROGRAM_NORM)
        norm_graph(programs->model, program->graph);
    else if (kind == DAPT_PROGRAM_UPDATE)
        update_graph(programs->model, programs->options, program->graph);
    else
        status = model_graph(programs, kind, program);
    return status ? status : compile(programs, program);
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

enum dapt_status dapt_programs_create(const struct dapt_model *model,
                                      struct dapt_device_handle *device,
                                      const struct dapt_engine_options *options,
                                      struct dapt_programs **programs) {
    *programs = NULL;
    struct dapt_programs *p = dapt_alloc(1, sizeof *p);
    if (!p) return DAPT_ERROR_MEMORY;
    *p = (struct dapt_programs){.model = model, .device = device, .options = options};
    struct dapt_buffer_handle *ignored;
    enum dapt_status status = ensure_buffer(p, DAPT_BUFFER_PARAM,
                                            model_bytes(model, DAPT_BUFFER_PARAM), &ignored);
    if (!status)
        status = ensure_buffer(p, DAPT_BUFFER_FROZEN, model_bytes(model, DAPT_BUFFER_FROZEN),
                               &ignored);
    // All programs of a step share their step and result buffers: as large as any needs from the start.
    if (!status && options->train)
        status = ensure_buffer(p, DAPT_BUFFER_RESULT, 2 * DAPT_NORM_OFFSET, &ignored);
    if (!status && options->train)
        status = ensure_buffer(p, DAPT_BUFFER_STEP, DAPT_STEP_COUNT * sizeof(float), &ignored);
    for (int kind = 0; options->train && kind <= DAPT_PROGRAM_UPDATE && !status; kind++)
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
                                     dapt_value input, const int32_t *rows, uint64_t count) {
    return dapt_buffer_write(programs->at[kind].buffers[DAPT_BUFFER_BATCH],
                             dapt_programs_offset(programs, kind, input), rows,
                             count * sizeof *rows);
}

enum dapt_status dapt_programs_run(struct dapt_programs *programs, enum dapt_program_kind kind) {
    return dapt_program_run(programs->at[kind].executable);
}

enum dapt_status dapt_programs_result(struct dapt_programs *programs, enum dapt_program_kind kind,
                                      uint64_t offset, void *data, uint64_t size) {
    return dapt_buffer_read(programs->at[kind].buffers[DAPT_BUFFER_RESULT], offset, data, size);
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
