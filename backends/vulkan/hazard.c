// Where barriers are needed: a pass needs one if its memory overlaps with what an earlier pass
// since the last barrier touched, and one of the two writes (read after write, write after read,
// write after write). A barrier empties the list of pending accesses.
#include <stdlib.h>

#include "lower.h"

static bool overlap(const struct vk_access *a, const struct vk_access *b) {
    if (a->end <= b->begin || b->end <= a->begin) return false;
    // Two slices of columns of one matrix interleave without overlap.
    if (a->stride != b->stride || a->stride == 0) return true;
    uint64_t low = a->begin < b->begin ? a->begin : b->begin, step = a->stride;
    uint64_t at_a = (a->begin - low) % step, at_b = (b->begin - low) % step;
    bool wraps = at_a + a->width > step || at_b + b->width > step;
    return wraps || !(at_a + a->width <= at_b || at_b + b->width <= at_a);
}

struct pending {
    struct vk_access *at;
    uint32_t count, room;
};

static bool conflicts(const struct pending *pending, const struct vk_pass *p) {
    for (uint32_t i = 0; i < p->access_count; i++)
        for (uint32_t k = 0; k < pending->count; k++)
            if ((p->access[i].write || pending->at[k].write) &&
                overlap(&p->access[i], &pending->at[k]))
                return true;
    return false;
}

enum dapt_status vk_mark_barriers(struct dapt_device *device, struct vk_passes *passes) {
    struct pending pending = {NULL, 0, 0};
    for (uint32_t i = 0; i < passes->count; i++) {
        struct vk_pass *p = &passes->at[i];
        p->barrier = conflicts(&pending, p);
        if (p->barrier) pending.count = 0;
        if (pending.count + p->access_count > pending.room) {
            uint32_t room = 2 * (pending.room + VK_PASS_ACCESSES);
            struct vk_access *larger = realloc(pending.at, room * sizeof *larger);
            if (larger == NULL) {
                free(pending.at);
                return backend_fail(device->host, DAPT_ERROR_MEMORY,
                                    "vulkan: no memory for a program's hazards");
            }
            pending.at = larger;
            pending.room = room;
        }
        for (uint32_t k = 0; k < p->access_count; k++) pending.at[pending.count++] = p->access[k];
    }
    free(pending.at);
    return DAPT_OK;
}
