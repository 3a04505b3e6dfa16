// A backend for tests: the cpu backend under another name, with devices, faults and failures as the
// environment asks for them.
//
//   DAPT_FAKE_DEVICES  "discrete:Alpha Card;software:Beta"; "none:REASON" for a backend without any
//   DAPT_FAKE_VARIANT  of the devices; "1"
//   DAPT_FAKE_SPOIL    name of an operation that is computed wrongly
//   DAPT_FAKE_FAIL     the device is lost at this run of a program, counted from 1
//   DAPT_FAKE_LATE     a file: runs and writes are done when something waits for them, not before; at the
//                      end it holds how often a program's result was waited for, and how often the
//                      device had at most one program more to do then
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dapt/backend.h"

static const struct dapt_backend *cpu;
static const struct dapt_host *the_host;
static unsigned long runs;
static bool lost;
static const char *device_name = "?";
static struct {
    const struct dapt_executable *executable;
    const char *label;
} compiled[64];

static const char *setting(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

static const char *devices(void) {
    return setting("DAPT_FAKE_DEVICES", "discrete:Fake Card");
}

static enum dapt_status device_count(const struct dapt_host *host, uint32_t *count) {
    char line[200];
    the_host = host;
    *count = 0;
    if (strncmp(devices(), "none:", 5) == 0) {
        snprintf(line, sizeof line, "fake: no device: %s", devices() + 5);
        return host->fail(host, DAPT_ERROR_UNSUPPORTED, line);
    }
    for (const char *at = devices(); at; at = strchr(at + 1, ';')) ++*count;
    return DAPT_OK;
}

static enum dapt_status device_info(const struct dapt_host *host, uint32_t index,
                                    struct dapt_device_info *info) {
    static const char *const kinds[] = {
        [DAPT_DEVICE_CPU] = "cpu",           [DAPT_DEVICE_INTEGRATED] = "integrated",
        [DAPT_DEVICE_DISCRETE] = "discrete", [DAPT_DEVICE_VIRTUAL] = "virtual",
        [DAPT_DEVICE_SOFTWARE] = "software",
    };
    static char names[16][64];
    enum dapt_status status = cpu->device_info(host, 0, info);
    const char *at = devices();
    for (uint32_t i = 0; i < index && at; i++) at = (at = strchr(at, ';')) ? at + 1 : NULL;
    if (status || !at || index >= 16)
        return host->fail(host, DAPT_ERROR_INVALID, "fake: no such device");
    size_t kind = strcspn(at, ":"), length = strcspn(at + kind, ";");
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        if (strlen(kinds[k]) == kind && strncmp(kinds[k], at, kind) == 0)
            info->kind = (enum dapt_device_kind)k;
    snprintf(info->name, sizeof info->name, "%.*s", (int)length - 1, at + kind + 1);
    snprintf(info->uuid, sizeof info->uuid, "fa5e0000-0000-0000-0000-%012u", index);
    snprintf(info->variant, sizeof info->variant, "%s", setting("DAPT_FAKE_VARIANT", "1"));
    snprintf(info->driver, sizeof info->driver, "fake");
    snprintf(names[index], sizeof names[index], "%.63s", info->name);
    device_name = names[index];
    return DAPT_OK;
}

static enum dapt_status device_open(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device **device) {
    struct dapt_device_info info;
    *device = NULL;
    enum dapt_status status = device_info(host, index, &info);
    return status ? status : cpu->device_open(host, 0, options, device);
}

static void spoil(struct dapt_op *op, const char *name) {
    switch (op->opcode) {
    case DAPT_OP_ATTENTION:
        if (strcmp(name, "attention") == 0) op->u.attention.scale *= 1.01f;
        break;
    case DAPT_OP_RMS_NORM:
        if (strcmp(name, "rms_norm") == 0) op->u.norm.eps = 0.01f;
        break;
    case DAPT_OP_GATE:
        if (strcmp(name, "gate") == 0) op->u.activation.kind = DAPT_ACT_RELU;
        break;
    case DAPT_OP_ADAMW:
        if (strcmp(name, "adamw") == 0) op->u.adamw.beta1 += 0.001f;
        break;
    case DAPT_OP_FILL:
        if (strcmp(name, "fill") == 0) op->u.fill.value = NAN;
        break;
    default: break;
    }
}

static enum dapt_status program_compile(struct dapt_device *device,
                                        const struct dapt_program *program,
                                        struct dapt_buffer *const *buffers,
                                        struct dapt_executable **executable) {
    struct dapt_program copy = *program;
    struct dapt_op *ops = calloc(program->op_count + 1u, sizeof *ops);
    if (!ops) return the_host->fail(the_host, DAPT_ERROR_MEMORY, "fake: no memory");
    memcpy(ops, program->ops, program->op_count * sizeof *ops);
    for (uint32_t i = 0; i < program->op_count; i++) spoil(&ops[i], setting("DAPT_FAKE_SPOIL", ""));
    copy.ops = ops;
    enum dapt_status status = cpu->program_compile(device, &copy, buffers, executable);
    for (size_t i = 0; !status && i < sizeof compiled / sizeof compiled[0]; i++) {
        if (compiled[i].executable) continue;
        compiled[i].executable = *executable;
        compiled[i].label = program->ops[0].label;
        break;
    }
    free(ops);
    return status;
}

// ------------------------------------------------------------------------------------------- late
//
// What was started, in order: runs, and writes with a copy of their data.

static struct started {
    struct dapt_executable *executable;  // NULL: a write
    struct dapt_buffer *buffer;
    uint64_t offset, size;
    void *data;
} queue[4096];
static size_t queued;
static unsigned reads, idle;

static const char *late(void) {
    return getenv("DAPT_FAKE_LATE");
}

static enum dapt_status start(struct started one) {
    if (queued == sizeof queue / sizeof queue[0])
        return the_host->fail(the_host, DAPT_ERROR_INTERNAL, "fake: nothing is ever waited for");
    queue[queued++] = one;
    return DAPT_OK;
}

// Does the first `count`.
static enum dapt_status work(struct dapt_device *device, size_t count) {
    enum dapt_status status = DAPT_OK;
    for (size_t i = 0; i < count; i++) {
        struct started *one = &queue[i];
        if (status == DAPT_OK)
            status = one->executable ? cpu->program_run(device, one->executable)
                                     : cpu->buffer_write(device, one->buffer, one->offset,
                                                         one->data, one->size);
        free(one->data);
    }
    memmove(queue, queue + count, (queued - count) * sizeof *queue);
    queued -= count;
    return status;
}

static enum dapt_status program_read(struct dapt_device *device, struct dapt_executable *executable,
                                     struct dapt_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t size) {
    size_t last = queued;
    while (last > 0 && queue[last - 1].executable != executable) last--;
    enum dapt_status status = work(device, last);
    reads += last > 0;
    idle += last > 0 && queued <= 1;  // the optimizer of the same step
    return status ? status : cpu->buffer_read(device, buffer, offset, data, size);
}

static enum dapt_status buffer_write(struct dapt_device *device, struct dapt_buffer *buffer,
                                     uint64_t offset, const void *data, uint64_t size) {
    if (!late()) return cpu->buffer_write(device, buffer, offset, data, size);
    void *copy = malloc(size + 1);
    if (!copy) return the_host->fail(the_host, DAPT_ERROR_MEMORY, "fake: no memory");
    memcpy(copy, data, size);
    return start((struct started){.buffer = buffer, .offset = offset, .size = size, .data = copy});
}

static void buffer_destroy(struct dapt_device *device, struct dapt_buffer *buffer) {
    work(device, queued);
    cpu->buffer_destroy(device, buffer);
}

static void device_close(struct dapt_device *device) {
    FILE *file = late() ? fopen(late(), "w") : NULL;
    if (device) work(device, queued);
    if (file) fprintf(file, "%u %u\n", reads, idle), fclose(file);
    cpu->device_close(device);
}

static void program_destroy(struct dapt_device *device, struct dapt_executable *executable) {
    for (size_t i = 0; i < sizeof compiled / sizeof compiled[0]; i++)
        if (compiled[i].executable == executable) compiled[i].executable = NULL;
    work(device, queued);
    cpu->program_destroy(device, executable);
}

// -------------------------------------------------------------------------------------------- lost

static enum dapt_status fail_lost(const char *label) {
    char line[300];
    lost = true;
    snprintf(line, sizeof line, "fake: device %s: device lost, running: operation 0 (%s)",
             device_name, label ? label : "no label");
    return the_host->fail(the_host, DAPT_ERROR_DEVICE, line);
}

static enum dapt_status program_run(struct dapt_device *device,
                                    struct dapt_executable *executable) {
    const char *label = NULL;
    for (size_t i = 0; i < sizeof compiled / sizeof compiled[0]; i++)
        if (compiled[i].executable == executable) label = compiled[i].label;
    if (lost || ++runs == strtoul(setting("DAPT_FAKE_FAIL", "0"), NULL, 10))
        return fail_lost(label);
    return late() ? start((struct started){.executable = executable})
                  : cpu->program_run(device, executable);
}

static enum dapt_status buffer_read(struct dapt_device *device, struct dapt_buffer *buffer,
                                    uint64_t offset, void *data, uint64_t size) {
    enum dapt_status status = lost ? fail_lost(NULL) : work(device, queued);
    return status ? status : cpu->buffer_read(device, buffer, offset, data, size);
}

static enum dapt_status device_wait(struct dapt_device *device, double timeout) {
    enum dapt_status status = lost ? fail_lost(NULL) : work(device, queued);
    return status ? status : cpu->device_wait(device, timeout);
}

static struct dapt_backend fake;

__attribute__((constructor)) static void wrap(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/backends/cpu/cpu.so", setting("DAPT_TEST_BUILD", "."));
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) return;
    cpu = ((const struct dapt_backend_entry *)dlsym(module, "dapt_backend_entry"))->backend;
    fake = *cpu;
    fake.name = "fake";
    fake.summary = "the cpu backend with faults, for tests";
    fake.device_count = device_count;
    fake.device_info = device_info;
    fake.device_open = device_open;
    fake.program_compile = program_compile;
    fake.program_destroy = program_destroy;
    fake.program_run = program_run;
    fake.program_read = program_read;
    fake.buffer_read = buffer_read;
    fake.buffer_write = buffer_write;
    fake.buffer_destroy = buffer_destroy;
    fake.device_close = device_close;
    fake.device_wait = device_wait;
}

const struct dapt_backend_entry dapt_backend_entry = {.abi = DAPT_BACKEND_ABI, .backend = &fake};
