// Barriers against brute force: random passes over a small memory; every byte's last writer and
// readers since decide whether a pass may start.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lower.h"

#define MEMORY 512
#define PASSES 40

static uint64_t state = 88172645463325252u;
static uint32_t pick(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % limit;
}

static struct vk_access random_access(void) {
    struct vk_access a = {.write = pick(3) == 0};
    uint64_t rows = 1 + pick(6), width = 4 * (1 + pick(8)), gap = 4 * pick(8);
    a.begin = 4 * pick((MEMORY - (uint32_t)(rows * (width + gap))) / 4);
    a.width = width;
    a.end = a.begin + (rows - 1) * (width + gap) + width;
    a.stride = rows == 1 || gap == 0 ? 0 : width + gap;
    return a;
}

static bool touches(const struct vk_access *a, uint64_t byte) {
    if (byte < a->begin || byte >= a->end) return false;
    return a->stride == 0 || (byte - a->begin) % a->stride < a->width;
}

// Whether the pass meets, byte by byte, what passes [from, at) touched.
static bool truly_conflicts(const struct vk_passes *passes, uint32_t from, uint32_t at) {
    for (uint32_t k = from; k < at; k++)
        for (uint32_t i = 0; i < passes->at[k].access_count; i++)
            for (uint32_t j = 0; j < passes->at[at].access_count; j++) {
                const struct vk_access *a = &passes->at[k].access[i],
                                       *b = &passes->at[at].access[j];
                if (!a->write && !b->write) continue;
                for (uint64_t byte = 0; byte < MEMORY; byte++)
                    if (touches(a, byte) && touches(b, byte)) return true;
            }
    return false;
}

static void test_never_too_few(void **unused) {
    (void)unused;
    uint32_t needed = 0, placed = 0;
    for (int round = 0; round < 300; round++) {
        struct vk_pass passes[PASSES];
        struct vk_passes list = {passes, PASSES, PASSES};
        memset(passes, 0, sizeof passes);
        for (int i = 0; i < PASSES; i++) {
            passes[i].access_count = 1 + pick(3);
            for (uint32_t k = 0; k < passes[i].access_count; k++)
                passes[i].access[k] = random_access();
        }
        assert_int_equal(vk_mark_barriers(NULL, &list), DAPT_OK);
        uint32_t since = 0;
        for (uint32_t i = 0; i < PASSES; i++) {
            bool conflict = truly_conflicts(&list, since, i);
            if (conflict && !passes[i].barrier)
                fail_msg("round %d: pass %u needs a barrier and has none", round, i);
            needed += conflict;
            placed += passes[i].barrier;
            if (passes[i].barrier) since = i;
        }
    }
    // Slices of different widths count as touching where they do not: rarely, in a random memory.
    assert_true(placed >= needed && placed < needed + needed / 4);
}

// Columns of one matrix do not meet; that much is exact.
static void test_slices(void **unused) {
    (void)unused;
    struct vk_pass passes[3];
    struct vk_passes list = {passes, 3, 3};
    memset(passes, 0, sizeof passes);
    for (int i = 0; i < 3; i++) {
        passes[i].access_count = 1;
        passes[i].access[0] = (struct vk_access){.begin = 16u * (unsigned)i,
                                                 .end = 16u * (unsigned)i + 7 * 48 + 16,
                                                 .stride = 48,
                                                 .width = 16,
                                                 .write = true};
    }
    assert_int_equal(vk_mark_barriers(NULL, &list), DAPT_OK);
    assert_false(passes[1].barrier || passes[2].barrier);
    passes[2].access[0].begin -= 4;
    assert_int_equal(vk_mark_barriers(NULL, &list), DAPT_OK);
    assert_true(passes[2].barrier);
}

// Passes with too much work: their workgroups run once each, in parts that stay below what is allowed
// as far as workgroups can; the others stay as they were; no barrier between parts.
static void check_parts(const struct vk_passes *list, const uint32_t groups[3], double work,
                        double limit) {
    enum { SIDE = 9 };
    uint8_t ran[SIDE][SIDE][SIDE] = {0};
    uint32_t parts = list->count - 2, most = 0;
    double sum = 0;
    for (uint32_t i = 1; i <= parts; i++) {
        const struct vk_pass *p = &list->at[i];
        assert_true(p->op == 1 && p->barrier == (i == 1) && p->dispatch_base == (parts > 1));
        sum += p->work;
        for (uint32_t z = p->base[2]; z < p->base[2] + p->groups[2]; z++)
            for (uint32_t y = p->base[1]; y < p->base[1] + p->groups[1]; y++)
                for (uint32_t x = p->base[0]; x < p->base[0] + p->groups[0]; x++) {
                    assert_true(x < SIDE && y < SIDE && z < SIDE);
                    ran[z][y][x]++;
                }
    }
    for (uint32_t z = 0; z < SIDE; z++)
        for (uint32_t y = 0; y < SIDE; y++)
            for (uint32_t x = 0; x < SIDE; x++)
                assert_int_equal(ran[z][y][x], x < groups[0] && y < groups[1] && z < groups[2]);
    for (int i = 0; i < 3; i++) most = groups[i] > most ? groups[i] : most;
    assert_true(sum > work - 1 && sum < work + 1);
    assert_true(work <= limit ? parts == 1 : parts == most || work / parts <= 2 * limit);
}

static void test_splits(void **unused) {
    (void)unused;
    static struct dapt_device device;
    device.limits.work = 1000;
    for (int round = 0; round < 500; round++) {
        struct vk_passes list = {calloc(3, sizeof *list.at), 3, 3};
        uint32_t groups[3] = {1 + pick(9), 1 + pick(9), 1 + pick(9)};
        double work = pick(9000);
        for (uint32_t i = 0; i < 3; i++) {
            memcpy(list.at[i].groups, groups, sizeof groups);
            list.at[i].op = i;
            list.at[i].work = work;
            list.at[i].splittable = i == 1;
            list.at[i].barrier = true;
        }
        assert_int_equal(vk_split_dispatches(&device, &list), DAPT_OK);
        assert_true(list.count >= 3 && list.at[0].op == 0 && list.at[list.count - 1].op == 2);
        assert_false(list.at[0].dispatch_base || list.at[list.count - 1].dispatch_base);
        check_parts(&list, groups, work, device.limits.work);
        free(list.at);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_never_too_few),
                                       cmocka_unit_test(test_slices),
                                       cmocka_unit_test(test_splits)};
    return cmocka_run_group_tests_name("barriers", tests, NULL, NULL);
}
