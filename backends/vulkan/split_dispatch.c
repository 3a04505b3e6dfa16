// Splits dispatches that would run longer than drivers allow: each part has some of the workgroups.
// The shaders of such passes ask only which workgroup they are, not how many there are.
#include <stdlib.h>

#include "lower.h"

// The operations of a pass, or its bytes in operations: in the time of one operation, slow devices
// move half a byte.
static double work_of(const struct vk_pass *p) {
    double bytes = 0;
    for (uint32_t i = 0; i < p->access_count; i++) {
        const struct vk_access *a = &p->access[i];
        uint64_t all = a->end - a->begin;
        bytes += (double)(a->stride > 0 ? (all / a->stride + 1) * a->width : all);
    }
    return p->work > 2 * bytes ? p->work : 2 * bytes;
}

struct split {
    int dimension;           // the one with the most workgroups
    uint32_t parts, groups;  // workgroups of each part, except the last
};

static struct split split_of(const struct dapt_device *d, const struct vk_pass *p) {
    struct split s = {0, 1, 0};
    for (int i = 1; i < 3; i++)
        if (p->groups[i] > p->groups[s.dimension]) s.dimension = i;
    uint32_t all = s.groups = p->groups[s.dimension];
    if (!p->splittable || d->limits.work <= 0 || p->work <= d->limits.work) return s;
    double parts = p->work / d->limits.work + 1;
    s.groups = parts >= all ? 1 : (uint32_t)ceil_div(all, (int64_t)parts);
    s.parts = (uint32_t)ceil_div(all, s.groups);
    return s;
}

enum dapt_status vk_split_dispatches(struct dapt_device *d, struct vk_passes *passes) {
    struct vk_passes list = {NULL, 0, 0};
    for (uint32_t i = 0; i < passes->count; i++) {
        passes->at[i].work = work_of(&passes->at[i]);
        list.room += split_of(d, &passes->at[i]).parts;
    }
    if (list.room == passes->count) return DAPT_OK;
    list.at = malloc(list.room * sizeof *list.at);
    if (list.at == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a program's passes");
    for (uint32_t i = 0; i < passes->count; i++) {
        const struct vk_pass *whole = &passes->at[i];
        struct split s = split_of(d, whole);
        for (uint32_t k = 0; k < s.parts; k++) {
            struct vk_pass *p = &list.at[list.count++];
            uint32_t left = whole->groups[s.dimension] - k * s.groups;
            *p = *whole;
            p->dispatch_base = s.parts > 1;
            p->barrier = whole->barrier && k == 0;
            p->base[s.dimension] = k * s.groups;
            p->groups[s.dimension] = left < s.groups ? left : s.groups;
            p->work = whole->work / s.parts;
        }
    }
    free(passes->at);
    *passes = list;
    return DAPT_OK;
}
