// Tiles of products: every one gives the same bits, on whatever driver the environment names; and
// what was measured is remembered in a file that may be missing, cut or spoilt.
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

#include "module.h"
#include "part.h"

#define MUST(call) assert_int_equal(call, DAPT_OK)
#define TILES 10  // one more than the longest list: its first comes twice

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line) {
    (void)host;
    fprintf(stderr, "%s\n", line);
    return status;
}
static uint32_t measured;  // products that were measured since it was set to 0
static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line) {
    (void)host, (void)level;
    if (strstr(line, "matmuls like") != NULL) measured++;
}
static const struct dapt_host host = {
    .struct_size = sizeof host, .log = host_log, .fail = host_fail};
static const struct dapt_backend *be;

static int setup(void **unused) {
    (void)unused;
    be = open_module();
    return 0;
}

// A product whose rows begin `gap` numbers apart, and what comes of it on a device opened anew. a, c and,
// where `both` holds, b are of `memory`. Where a is transposed, the sums of a factor are made too: of b, or
// if that is transposed of a.
struct product {
    int64_t m, n, k, gap;
    bool transpose_a, transpose_b;
    enum dapt_dtype operands, memory;
    bool both;
};

static struct dapt_tensor matrix(enum dapt_dtype dtype, int64_t rows, int64_t cols, int64_t gap,
                                 uint32_t buffer) {
    return (struct dapt_tensor){dtype, 2, {rows, cols, 1, 1}, cols + gap, buffer, 0};
}

static uint64_t size_of(const struct dapt_tensor *t) {
    uint64_t size = (uint64_t)(t->shape[0] * t->stride) * (t->dtype == DAPT_F32 ? 4 : 2);
    return (size + 3) / 4 * 4;
}

// Numbers of either sign below 2; of float32 a few so small that products of them round to zero from
// below.
static void fill(struct dapt_device *device, struct dapt_buffer *buffer,
                 const struct dapt_tensor *t, uint32_t state) {
    uint64_t count = size_of(t) / 4;
    uint32_t *words = malloc(count * sizeof *words);
    assert_non_null(words);
    for (uint64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        float value = (float)(int32_t)state / 2147483648.0f;
        if (state >> 20 & 1) value *= 1e-30f;
        words[i] = state & 0xbfffbfff;
        if (t->dtype == DAPT_F32) memcpy(&words[i], &value, sizeof value);
    }
    MUST(be->buffer_write(device, buffer, 0, words, count * sizeof *words));
    free(words);
}

static uint32_t *multiply(const struct product *p, uint64_t *bytes) {
    struct dapt_tensor tensors[4] = {
        matrix(p->memory, p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k, p->gap, 0),
        matrix(p->both ? p->memory : DAPT_F32, p->transpose_b ? p->n : p->k,
               p->transpose_b ? p->k : p->n, p->gap, 1),
        matrix(p->memory, p->m, p->n, p->gap, 2)};
    struct dapt_op op = {.opcode = DAPT_OP_MATMUL, .accumulate = 1, .label = "product"};
    struct dapt_buffer_info infos[3];
    struct dapt_buffer *buffers[3];
    struct dapt_device *device;
    struct dapt_executable *run;
    MUST(be->device_open(&host, 0, &(struct dapt_device_options){0}, &device));
    for (int i = 0; i < DAPT_OP_INPUTS; i++) op.inputs[i] = i < 2 ? (uint32_t)i : DAPT_NONE;
    for (int i = 0; i < DAPT_OP_OUTPUTS; i++) op.outputs[i] = i == 0 ? 2 : DAPT_NONE;
    int64_t summed = p->transpose_b ? p->m : p->n;
    tensors[3] = (struct dapt_tensor){DAPT_F32, 1, {summed, 1, 1, 1}, 1, 2, size_of(&tensors[2])};
    if (p->transpose_a) op.outputs[p->transpose_b ? 1 : 2] = 3;
    op.u.matmul.transpose_a = p->transpose_a;
    op.u.matmul.transpose_b = p->transpose_b;
    op.u.matmul.operands = p->operands;
    for (uint32_t i = 0; i < 3; i++) {
        infos[i] = (struct dapt_buffer_info){DAPT_BUFFER_WORK, size_of(&tensors[i])};
        if (i == 2 && p->transpose_a) infos[i].size += size_of(&tensors[3]);
        MUST(be->buffer_create(device, infos[i].role, infos[i].size, &buffers[i]));
        fill(device, buffers[i], &tensors[i], 7 + i);
    }
    struct dapt_program program = {3, 4, 1, infos, tensors, &op};
    MUST(be->program_compile(device, &program, buffers, &run));
    MUST(be->program_run(device, run));
    MUST(be->device_wait(device, 0));
    uint32_t *result = malloc(infos[2].size);
    assert_non_null(result);
    *bytes = infos[2].size;
    MUST(be->buffer_read(device, buffers[2], 0, result, infos[2].size));
    be->program_destroy(device, run);
    for (int i = 0; i < 3; i++) be->buffer_destroy(device, buffers[i]);
    be->device_close(device);
    return result;
}

static void expect_bits(const char *limits, uint64_t bytes, const uint32_t *result,
                        const char *where, const uint32_t *expected) {
    for (uint64_t i = 0; i < bytes / 4; i++)
        if (result[i] != expected[i])
            fail_msg("%s: word %llu is %#x, %s %#x", limits, (unsigned long long)i, result[i],
                     where, expected[i]);
}

static void check_bits(const struct product *p, const char *kernels) {
    uint32_t *first = NULL;
    uint64_t bytes;
    for (int tile = 1; tile <= TILES; tile++) {
        char limits[64];
        snprintf(limits, sizeof limits, "%s,tile=%d", kernels, tile);
        setenv("DAPT_VK_LIMITS", limits, 1);
        uint32_t *result = multiply(p, &bytes);
        if (first == NULL) {
            first = result;
            continue;
        }
        expect_bits(limits, bytes, result, "with the first tile", first);
        free(result);
    }
    free(first);
}

// Tiles that lie whole inside give the bits of tiles at edges: a row more changes no other row.
static void check_whole(const struct product *p) {
    struct product less = *p;
    uint64_t bytes;
    less.m--;
    for (int tile = 1; tile < TILES; tile++) {
        char limits[64];
        snprintf(limits, sizeof limits, "software=0,tile=%d", tile);
        setenv("DAPT_VK_LIMITS", limits, 1);
        uint32_t *whole = multiply(p, &bytes), *edges = multiply(&less, &bytes);
        expect_bits(limits, bytes, whole, "at an edge", edges);
        free(whole);
        free(edges);
    }
}

static void test_bits(void **unused) {
    (void)unused;
    static const struct product products[] = {
        {256, 128, 80, 0, false, true, DAPT_F32, DAPT_F32, false},  // whole tiles
        {128, 128, 512, 1, false, false, DAPT_F32, DAPT_F32,
         false},  // the same by ones, terms in parts
        {136, 132, 72, 0, false, false, DAPT_F32, DAPT_F32, false},   // by fours
        {129, 131, 333, 1, true, true, DAPT_F32, DAPT_F32, false},    // by ones
        {140, 130, 1030, 2, false, true, DAPT_F32, DAPT_F32, false},  // terms in parts
        {136, 132, 72, 0, true, true, DAPT_F32, DAPT_BF16, false},    // by fours, in 16 bits
        {129, 131, 333, 1, true, false, DAPT_F32, DAPT_F16, true},    // by ones, in 16 bits
    };
    const size_t count = sizeof products / sizeof *products;
    for (size_t i = 0; i < count; i++) {
        if (!is_in_part(i, count)) continue;
        check_bits(&products[i], "software=0");
        check_bits(&products[i], "software=1");
        if (i < 2) check_whole(&products[i]);
    }
    unsetenv("DAPT_VK_LIMITS");
}

// By matrix units where there are any.
static void test_half_bits(void **unused) {
    (void)unused;
    static const struct product products[] = {
        {130, 70, 600, 1, true, false, DAPT_F16, DAPT_F32, false},
        {128, 128, 64, 0, false, true, DAPT_BF16, DAPT_F32, false},
        {132, 72, 600, 0, true, false, DAPT_F16, DAPT_F16, true},
        {128, 128, 64, 0, true, false, DAPT_BF16, DAPT_BF16, true},
    };
    // The choice of a unit takes longest: the first device makes it, the others find it in the cache.
    char folder[] = "/tmp/dapt-units-XXXXXX", command[64];
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    setenv("DAPT_VK_CACHE", "1", 1);
    const size_t count = sizeof products / sizeof *products;
    for (size_t i = 0; i < count; i++)
        if (is_in_part(i, count)) check_bits(&products[i], "software=0");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    setenv("DAPT_VK_CACHE", "0", 1);
    unsetenv("DAPT_VK_LIMITS");
}

// -------------------------------------------------------------------------------------- the memory

static bool find_file(const char *folder, char path[512]) {
    char inside[300];
    snprintf(inside, sizeof inside, "%s/dapt", folder);
    DIR *list = opendir(inside);
    bool found = false;
    for (struct dirent *e; list != NULL && !found && (e = readdir(list)) != NULL;) {
        size_t length = strlen(e->d_name);
        found = length > 6 && strcmp(e->d_name + length - 6, ".tiles") == 0;
        if (found) snprintf(path, 512, "%s/%.200s", inside, e->d_name);
    }
    if (list != NULL) closedir(list);
    return found;
}

static void spoil(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    MUST(fseek(file, at, SEEK_SET));
    int byte = fgetc(file);
    MUST(fseek(file, at, SEEK_SET));
    fputc(byte ^ 0x55, file);
    MUST(fclose(file));
}

static void test_memory(void **unused) {
    (void)unused;
    static const struct product product = {256,   256,      256,      0,    false,
                                           false, DAPT_F32, DAPT_F32, false};
    char folder[] = "/tmp/dapt-tiles-XXXXXX", path[512], command[64];
    uint64_t bytes;
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    setenv("DAPT_VK_CACHE", "1", 1);
    setenv("DAPT_VK_LIMITS", "software=0,tuning=120", 1);
    measured = 0;
    uint32_t *first = multiply(&product, &bytes);
    assert_int_equal(measured, 1);
    assert_true(find_file(folder, path));
    char dead[560], held[560],
        other[560];  // of a killed process, of a living one, of who knows whom
    snprintf(dead, sizeof dead, "%s.99", path);
    snprintf(held, sizeof held, "%s.98", path);
    snprintf(other, sizeof other, "%s.old", path);
    MUST(close(open(dead, O_WRONLY | O_CREAT, 0600)));
    MUST(close(open(other, O_WRONLY | O_CREAT, 0600)));
    int writer = open(held, O_WRONLY | O_CREAT, 0600);
    MUST(flock(writer, LOCK_EX));
    for (int i = 0; i < 4; i++) {
        // As it is; cut; spoilt at its end; spoilt in its head.
        if (i == 1) MUST(truncate(path, 100));
        if (i == 2) spoil(path, 80);
        if (i == 3) spoil(path, 20);
        measured = 0;
        uint32_t *again = multiply(&product, &bytes);
        assert_int_equal(measured, i > 0);
        assert_memory_equal(first, again, bytes);
        free(again);
    }
    assert_int_not_equal(access(dead, F_OK), 0);
    MUST(access(held, F_OK));
    MUST(access(other, F_OK));
    MUST(close(writer));
    // No time: nothing is measured, nothing remembered.
    MUST(unlink(path));
    setenv("DAPT_VK_LIMITS", "software=0,tuning=0", 1);
    measured = 0;
    uint32_t *again = multiply(&product, &bytes);
    assert_int_equal(measured, 0);
    assert_memory_equal(first, again, bytes);
    assert_false(find_file(folder, path));
    free(again);
    free(first);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    setenv("DAPT_VK_CACHE", "0", 1);
    unsetenv("DAPT_VK_LIMITS");
}

int main(int argc, char **argv) {
    setenv("DAPT_VK_CACHE", "0", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_half_bits),
                                       cmocka_unit_test(test_memory)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("tiles", tests, setup, NULL);
}
