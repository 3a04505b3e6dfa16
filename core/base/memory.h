// Host memory: checked allocation, growing arrays, arenas.
#ifndef DAPT_BASE_MEMORY_H
#define DAPT_BASE_MEMORY_H
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// count * size zeroed bytes; NULL (with the reason recorded) when there is no memory or the product
// overflows.
void *dapt_alloc(size_t count, size_t size);
// The same, aligned to 64 bytes, not zeroed; freed with free().
void *dapt_alloc_aligned(size_t count, size_t size);
// Makes room in *array for `needed` elements of `size` bytes, at least doubling *capacity. The
// array is left as it is on failure.
enum dapt_status dapt_grow(void *array_pointer, size_t *capacity, size_t needed, size_t size);

// Many small things that die together. A zeroed struct is an empty arena.
struct dapt_arena {
    struct dapt_arena_block *head;
};
// zeroed, 16-aligned; NULL as dapt_alloc
void *dapt_arena_alloc(struct dapt_arena *arena, size_t size);
// NUL-terminated
char *dapt_arena_copy(struct dapt_arena *arena, const char *text, size_t length);
char *dapt_arena_format(struct dapt_arena *arena, const char *format, ...) DAPT_PRINTF(2, 3);
void dapt_arena_free(struct dapt_arena *arena);

// A growing byte string, always NUL-terminated once something was added. A zeroed struct is an
// empty one.
struct dapt_string {
    char *data;
    size_t length, capacity;
};
enum dapt_status dapt_string_add(struct dapt_string *s, const void *data, size_t length);
enum dapt_status dapt_string_format(struct dapt_string *s, const char *format, ...)
    DAPT_PRINTF(2, 3);
void dapt_string_free(struct dapt_string *s);
#endif
