// Dispatches that would take longer than drivers allow, cut into several of some of the workgroups.
// Shaders of such passes ask only which workgroup they are, not how many there are.
#include <stdlib.h>

#include "lower.h"

// Operations, or what takes as long: slow devices move half a byte while they do one.
static double work_of(const struct vk_pass *p) {
    double bytes = 0;
    for (uint32_t i = 0; i < p->access_count; i++) {
        const struct vk_access *a = &p->access[i];
        uint64_t all = a->end - a->begin;
        bytes += (double)(a->stride > 0 ? (all / a->stride + 1) * a->width : all);
    }
    return p->work > 2 * bytes ? p->work : 2 * bytes;
}

struct cut {
    int along;             // the dimension: that with the most workgroups
    uint32_t parts, step;  // workgroups of a part, but for the last
};

static struct cut cut_of(const struct dapt_device *d, const struct vk_pass *p) {
    struct cut c = {0, 1, 0};
    for (int i = 1; i < 3; i++)
        if (p->groups[i] > p->groups[c.along]) c.along = i;
    uint32_t all = c.step = p->groups[c.along];
    if (!p->cuttable || d->limits.work <= 0 || p->work <= d->limits.work) return c;
    double parts = p->work / d->limits.work + 1;
    c.step = parts >= all ? 1 : (uint32_t)ceil_div(all, (int64_t)parts);
    c.parts = (uint32_t)ceil_div(all, c.step);
    return c;
}

enum dapt_status vk_cut_passes(struct dapt_device *d, struct vk_passes *passes) {
    struct vk_passes list = {NULL, 0, 0};
    for (uint32_t i = 0; i < passes->count; i++) {
        passes->at[i].work = work_of(&passes->at[i]);
        list.room += cut_of(d, &passes->at[i]).parts;
    }
    if (list.room == passes->count) return DAPT_OK;
    list.at = malloc(list.room * sizeof *list.at);
    if (list.at == NULL)
        return backend_fail(d->host, DAPT_ERROR_MEMORY, "vulkan: no memory for a program's passes");
    for (uint32_t i = 0; i < passes->count; i++) {
        const struct vk_pass *whole = &passes->at[i];
        struct cut c = cut_of(d, whole);
        for (uint32_t k = 0; k < c.parts; k++) {
            struct vk_pass *p = &list.at[list.count++];
            uint32_t left = whole->groups[c.along] - k * c.step;
            *p = *whole;
            p->part = c.parts > 1;
            p->barrier = whole->barrier && k == 0;
            p->base[c.along] = k * c.step;
            p->groups[c.along] = left < c.step ? left : c.step;
            p->work = whole->work / c.parts;
        }
    }
    free(passes->at);
    *passes = list;
    return DAPT_OK;
}
