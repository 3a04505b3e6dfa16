#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// malloc() accepts more than any object may have; PTRDIFF_MAX keeps pointer differences defined.
static bool product(size_t count, size_t size, size_t *bytes) {
    return !__builtin_mul_overflow(count, size, bytes) && *bytes <= PTRDIFF_MAX;
}

static enum dapt_status no_memory(size_t count, size_t size) {
    return dapt_fail(DAPT_ERROR_MEMORY, "out of memory: %zu x %zu bytes could not be had", count,
                     size);
}

void *dapt_alloc(size_t count, size_t size) {
    size_t bytes;
    void *memory = product(count, size, &bytes) ? calloc(bytes ? bytes : 1, 1) : NULL;
    if (!memory) no_memory(count, size);
    return memory;
}

void *dapt_alloc_aligned(size_t count, size_t size) {
    size_t bytes;
    void *memory = NULL;
    if (product(count, size, &bytes) && bytes <= PTRDIFF_MAX - 63) {
        memory = aligned_alloc(64, bytes ? (bytes + 63) / 64 * 64 : 64);
    }
    if (!memory) no_memory(count, size);
    return memory;
}

enum dapt_status dapt_grow(void *array_pointer, size_t *capacity, size_t needed, size_t size) {
    if (needed <= *capacity) return DAPT_OK;
    size_t wanted = *capacity < 8 ? 16 : *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    if (wanted < needed) wanted = needed;
    size_t bytes;
    if (!product(wanted, size, &bytes)) {
        wanted = needed;
        if (!product(wanted, size, &bytes)) return no_memory(needed, size);
    }
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    array = realloc(array, bytes ? bytes : 1);
    if (!array) return no_memory(wanted, size);
    memcpy(array_pointer, &array, sizeof array);
    *capacity = wanted;
    return DAPT_OK;
}

// ------------------------------------------------------------------------------------------------------- arenas

#define BLOCK_SIZE 65536

struct dapt_arena_block {
    struct dapt_arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

void *dapt_arena_alloc(struct dapt_arena *arena, size_t size) {
    size_t rounded;
    if (__builtin_add_overflow(size ? size : 1, (size_t)15, &rounded))
        return no_memory(1, size), NULL;
    rounded &= ~(size_t)15;
    struct dapt_arena_block *block = arena->head;
    if (!block || block->size - block->used < rounded) {
        size_t room = rounded > BLOCK_SIZE / 4 ? rounded : BLOCK_SIZE, bytes;
        if (__builtin_add_overflow(room, sizeof *block, &bytes)) return no_memory(1, size), NULL;
        struct dapt_arena_block *fresh = dapt_alloc(bytes, 1);
        if (!fresh) return NULL;
        fresh->size = room;
        if (block &&
            room ==
                rounded) {  // a large one goes behind, so that the block in use goes on being filled
            fresh->next = block->next;
            block->next = fresh;
        } else {
            fresh->next = block;
            arena->head = fresh;
        }
        block = fresh;
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    return memory;
}

char *dapt_arena_copy(struct dapt_arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) return no_memory(1, length), NULL;
    char *copy = dapt_arena_alloc(arena, length + 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *dapt_arena_format(struct dapt_arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return dapt_fail(DAPT_ERROR_INTERNAL, "a text could not be formatted: %s", format), NULL;
    char *text = dapt_arena_alloc(arena, (size_t)length + 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void dapt_arena_free(struct dapt_arena *arena) {
    struct dapt_arena_block *block = arena->head;
    while (block) {
        struct dapt_arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->head = NULL;
}

// ------------------------------------------------------------------------------------------------------ strings

static enum dapt_status string_room(struct dapt_string *s, size_t length) {
    size_t needed;
    if (__builtin_add_overflow(s->length, length, &needed) || needed == SIZE_MAX)
        return no_memory(1, length);
    return dapt_grow(&s->data, &s->capacity, needed + 1, 1);
}

enum dapt_status dapt_string_add(struct dapt_string *s, const void *data, size_t length) {
    enum dapt_status status = string_room(s, length);
    if (status) return status;
    if (length) memcpy(s->data + s->length, data, length);
    s->length += length;
    s->data[s->length] = '\0';
    return DAPT_OK;
}

enum dapt_status dapt_string_format(struct dapt_string *s, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return dapt_fail(DAPT_ERROR_INTERNAL, "a text could not be formatted: %s", format);
    enum dapt_status status = string_room(s, (size_t)length);
    if (status) return status;
    va_start(arguments, format);
    vsnprintf(s->data + s->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    s->length += (size_t)length;
    return DAPT_OK;
}

void dapt_string_free(struct dapt_string *s) {
    free(s->data);
    *s = (struct dapt_string){0};
}
