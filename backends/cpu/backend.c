// The backend's entry: devices and buffers. There is one device: the processors this process may
// use.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(DAPT_CPU_X86)
#include <cpuid.h>
#endif

#include "cpu.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

// A hint; nothing depends on it.
static void advise_huge(void *data, uint64_t size) {
#if defined(MADV_HUGEPAGE)
    madvise(data, size, MADV_HUGEPAGE);
#else
    (void)data, (void)size;
#endif
}

// For what kernels pack and tile: 64-byte aligned, in huge pages where it fills most of one, as
// each miss of the TLB costs a packed row. NULL: no memory; free() it.
static void *scratch_alloc(size_t size) {
    if (size < HUGE_PAGE / 2 || size > PTRDIFF_MAX) return aligned_alloc(64, size);
    size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *data = aligned_alloc(HUGE_PAGE, size);
    if (data != NULL) advise_huge(data, size);
    return data;
}

// -------------------------------------------------------------------------------------- the device

static enum dapt_status device_count(const struct dapt_host *host, uint32_t *count) {
    (void)host;
    *count = 1;
    return DAPT_OK;
}

static enum dapt_status check_index(const struct dapt_host *host, uint32_t index) {
    if (index == 0) return DAPT_OK;
    return backend_fail(host, DAPT_ERROR_INVALID, "cpu: device %u asked for, the only one is 0",
                        index);
}

static uint64_t machine_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

// Bytes that this process may take (ulimit -v); UINT64_MAX: no limit.
static uint64_t memory_limit(void) {
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited ? limit.rlim_cur : UINT64_MAX;
}

// The first value of a key of a file of /proc; `text` is unchanged where there is none.
static void read_proc(const char *path, const char *key, char *text, size_t size) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    char line[256];
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL) continue;
        char *value = colon + 1 + strspn(colon + 1, " \t");
        value[strcspn(value, "\n")] = '\0';
        if (*value != '\0') snprintf(text, size, "%s", value);
        break;
    }
    fclose(file);
}

// What Linux could give without swapping, within the limit of this process.
static uint64_t free_memory(void) {
    char text[32] = "0";
    read_proc("/proc/meminfo", "MemAvailable", text, sizeof text);
    unsigned long long kib = strtoull(text, NULL, 10);
    uint64_t bytes = kib > 0 ? (uint64_t)kib * 1024 : machine_memory(), limit = memory_limit();
    return limit < bytes ? limit : bytes;
}

// From the keys that /proc/cpuinfo has on x86.
static void name_processor(struct dapt_device_info *info) {
    static const char *const vendors[][2] = {{"GenuineIntel", "Intel"}, {"AuthenticAMD", "AMD"}};
    snprintf(info->name, sizeof info->name, "CPU");
    read_proc("/proc/cpuinfo", "model name", info->name, sizeof info->name);
    read_proc("/proc/cpuinfo", "vendor_id", info->vendor, sizeof info->vendor);
    for (int i = 0; i < 2; i++)
        if (strcmp(info->vendor, vendors[i][0]) == 0)
            snprintf(info->vendor, sizeof info->vendor, "%s", vendors[i][1]);
}

struct isa {
    const char *name;
    const op_table *const *ops;
    enum unit unit;
};
#define TABLES(name, isa)                                                                     \
    static const op_table *const name[DAPT_DTYPE_COUNT] = {[DAPT_F32] = &cpu_ops_##isa,       \
                                                           [DAPT_F16] = &cpu_ops_##isa##_f16, \
                                                           [DAPT_BF16] = &cpu_ops_##isa##_bf16}
TABLES(base_tables, base);
#if defined(DAPT_CPU_X86)
TABLES(avx2_tables, avx2);
TABLES(avx512_tables, avx512);

// Conversion of float16 (F16C), in every processor with AVX2 so far.
static bool has_f16c(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

// The best set of kernels for this processor. DAPT_CPU_ISA (base, avx2, avx512, avx512bf16, amx)
// asks for a lesser one.
static struct isa choose_isa(void) {
#if defined(DAPT_CPU_X86)
    static const char *const names[] = {"base", "avx2", "avx512", "avx512bf16", "amx"};
    const char *wish = getenv("DAPT_CPU_ISA");
    int limit = 4;
    for (int i = 0; wish != NULL && i < 4; i++)
        if (strcmp(wish, names[i]) == 0) limit = i;
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#if defined(DAPT_CPU_UNIT)
    enum unit unit = avx512 && limit >= 3 ? unit_available() : UNIT_NONE;
    if (unit == UNIT_AMX && limit >= 4) return (struct isa){names[4], avx512_tables, unit};
    if (unit) return (struct isa){names[3], avx512_tables, UNIT_AVX512_BF16};
#endif
    if (avx512 && limit >= 2) return (struct isa){names[2], avx512_tables, UNIT_NONE};
    if (avx2 && limit >= 1) return (struct isa){names[1], avx2_tables, UNIT_NONE};
#endif
    return (struct isa){"base", base_tables, UNIT_NONE};
}

static enum dapt_status device_info(const struct dapt_host *host, uint32_t index,
                                    struct dapt_device_info *info) {
    enum dapt_status status = check_index(host, index);
    if (status < 0) return status;
    *info = (struct dapt_device_info){.kind = DAPT_DEVICE_CPU,
                                      .memory = machine_memory(),
                                      .free = free_memory(),
                                      .host_memory = true,
                                      .max_buffer = machine_memory(),
                                      .dtypes = 1u << DAPT_F32 | 1u << DAPT_F16 | 1u << DAPT_BF16,
                                      .threads = pool_processors()};
    name_processor(info);
    struct isa isa = choose_isa();
    snprintf(info->driver, sizeof info->driver, "dapt cpu, %s kernels", isa.name);
    if (isa.unit) info->features = DAPT_FEATURE_BF16;
    if (isa.unit == UNIT_AMX) info->features |= DAPT_FEATURE_I8 | DAPT_FEATURE_I8_DOT;
    return DAPT_OK;
}

static void device_close(struct dapt_device *device) {
    if (device == NULL) return;
    pool_destroy(&device->pool);
    free(device->scratch);
    free(device->unit_workspace);
    free(device);
}

// OpenBLAS allocates a workspace for each thread when it first computes, and retries for ever if it
// gets none: where the memory of this process is limited, this is checked before.
#define BLAS_WORKSPACE ((size_t)160 << 20)
static enum dapt_status check_workspaces(const struct dapt_device *device) {
    uint64_t limit = memory_limit();
    if (limit == UINT64_MAX) return DAPT_OK;
    void *all = mmap(NULL, BLAS_WORKSPACE * device->threads, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return backend_fail(
            device->host, DAPT_ERROR_MEMORY,
            "cpu: the BLAS needs up to %u MiB for %u threads; this process may take "
            "%llu MiB in all (ulimit -v)",
            (unsigned)(BLAS_WORKSPACE >> 20) * device->threads, device->threads,
            (unsigned long long)(limit >> 20));
    munmap(all, BLAS_WORKSPACE * device->threads);
    return DAPT_OK;
}

static enum dapt_status device_open(const struct dapt_host *host, uint32_t index,
                                    const struct dapt_device_options *options,
                                    struct dapt_device **result) {
    *result = NULL;
    enum dapt_status status = check_index(host, index);
    if (status < 0) return status;
    unsigned threads = options != NULL ? options->threads : 0;
    if (threads > 4096)
        return backend_fail(host, DAPT_ERROR_INVALID, "cpu: %u threads asked for, at most 4096",
                            threads);
    struct dapt_device *device = calloc(1, sizeof *device);
    if (device == NULL) return backend_fail(host, DAPT_ERROR_MEMORY, "cpu: no memory for a device");
    device->host = host;
    device->threads = threads > 0 ? threads : pool_processors();
    device->memory = machine_memory();
    struct isa isa = choose_isa();
    device->ops = isa.ops;
    blas_single_thread();
    status = check_workspaces(device);
    if (status >= 0) status = pool_create(host, device->threads, &device->pool);
    device->unit = isa.unit;
#if defined(DAPT_CPU_UNIT)
    if (status >= 0 && isa.unit) {
        device->unit_workspace = scratch_alloc(unit_workspace() * device->threads);
        if (device->unit_workspace == NULL)
            status = backend_fail(host, DAPT_ERROR_MEMORY,
                                  "cpu: no memory for the workspaces of %u threads",
                                  device->threads);
        for (unsigned i = 0; status >= 0 && i < device->threads; i++)
            unit_workspace_open(device->unit_workspace + i * unit_workspace());
    }
#endif
    if (status < 0) {
        device_close(device);
        return status;
    }
    *result = device;
    return DAPT_OK;
}

static enum dapt_status device_wait(struct dapt_device *device, double timeout) {
    (void)device, (void)timeout;  // runs end before program_run returns
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------ memory

void *cpu_map(uint64_t size, uint64_t *mapped) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t unit = size >= 4 * HUGE_PAGE ? HUGE_PAGE : page;
    *mapped = (size + unit - 1) / unit * unit;
    void *data = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return NULL;
    if (unit == HUGE_PAGE) advise_huge(data, *mapped);
    return data;
}

void cpu_unmap(void *data, uint64_t mapped) {
    if (data != NULL) munmap(data, mapped);
}

enum dapt_status cpu_scratch(struct dapt_device *device, size_t shared, size_t private) {
    if (shared <= device->shared && private <= device->private) return DAPT_OK;
    shared = shared > device->shared ? shared : device->shared;
    private = private > device->private ? private : device->private;
    // Contents are undefined between runs, so there is nothing to copy. If the allocation fails,
    // the programs that were compiled before keep the old scratch.
    size_t size;
    uint8_t *scratch = NULL;
    if (!__builtin_mul_overflow(private, (size_t)device->threads, &size) &&
        !__builtin_add_overflow(size, shared, &size))
        scratch = scratch_alloc(size);
    if (scratch == NULL)
        return backend_fail(
            device->host, DAPT_ERROR_MEMORY,
            "cpu: no memory for scratch of %zu bytes and %zu for each of %u threads", shared,
            private, device->threads);
    free(device->scratch);
    device->scratch = scratch;
    device->shared = shared;
    device->private = private;
    return DAPT_OK;
}

// The message tells the memory of the machine or, where it is limited, of this process.
static enum dapt_status no_memory(const struct dapt_device *device, uint64_t size) {
    uint64_t limit = memory_limit();
    bool limited = limit != UINT64_MAX;
    return backend_fail(
        device->host, DAPT_ERROR_MEMORY,
        "cpu: no memory for a buffer of %llu bytes; %s %llu MiB, %llu MiB are in other buffers",
        (unsigned long long)size, limited ? "this process may take (ulimit -v)" : "the machine has",
        (unsigned long long)((limited ? limit : device->memory) >> 20),
        (unsigned long long)(device->used >> 20));
}

static enum dapt_status buffer_create(struct dapt_device *device, enum dapt_buffer_role role,
                                      uint64_t size, struct dapt_buffer **result) {
    (void)role;
    *result = NULL;
    struct dapt_buffer *buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL)
        return backend_fail(device->host, DAPT_ERROR_MEMORY,
                            "cpu: no memory for a buffer's description");
    bool fits = size <= PTRDIFF_MAX / 2 &&
                (device->memory == 0 || size <= device->memory - device->used);
    if (fits) buffer->data = cpu_map(size > 0 ? size : 1, &buffer->mapped);
    if (buffer->data == NULL) {
        free(buffer);
        return no_memory(device, size);
    }
    buffer->size = size;
    device->used += size;
    *result = buffer;
    return DAPT_OK;
}

static void buffer_destroy(struct dapt_device *device, struct dapt_buffer *buffer) {
    if (buffer == NULL) return;
    device->used -= buffer->size;
    cpu_unmap(buffer->data, buffer->mapped);
    free(buffer);
}

static enum dapt_status buffer_write(struct dapt_device *device, struct dapt_buffer *buffer,
                                     uint64_t offset, const void *data, uint64_t size) {
    (void)device;
    if (size > 0) memcpy(buffer->data + offset, data, size);
    return DAPT_OK;
}

static enum dapt_status buffer_read(struct dapt_device *device, struct dapt_buffer *buffer,
                                    uint64_t offset, void *data, uint64_t size) {
    (void)device;
    if (size > 0) memcpy(data, buffer->data + offset, size);
    return DAPT_OK;
}

static bool supports(struct dapt_device *device, const struct dapt_program *program,
                     const struct dapt_op *op) {
    return cpu_op_row(device, program, op) != NULL;
}

static const struct dapt_backend backend = {
    .struct_size = sizeof(struct dapt_backend),
    .name = "cpu",
    .summary = "processors of this machine, CBLAS and own kernels",
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .supports = supports,
    .program_compile = cpu_program_compile,
    .program_destroy = cpu_program_destroy,
    .program_run = cpu_program_run,
    .device_wait = device_wait,
    .timings = cpu_timings,
};

const struct dapt_backend_entry dapt_backend_entry = {.abi = DAPT_BACKEND_ABI, .backend = &backend};
