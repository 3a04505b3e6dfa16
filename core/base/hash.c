#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/files.h"

struct dapt_hasher {
    XXH3_state_t *state;
};

enum dapt_status dapt_hasher_create(struct dapt_hasher **hasher) {
    *hasher = dapt_alloc(1, sizeof **hasher);
    if (!*hasher) return DAPT_ERROR_MEMORY;
    (*hasher)->state = XXH3_createState();
    if (!(*hasher)->state) {
        dapt_hasher_destroy(hasher);
        return dapt_fail(DAPT_ERROR_MEMORY, "out of memory for a hash");
    }
    XXH3_128bits_reset((*hasher)->state);
    return DAPT_OK;
}

void dapt_hasher_add(struct dapt_hasher *hasher, const void *data, size_t size) {
    if (size) XXH3_128bits_update(hasher->state, data, size);
}

void dapt_hasher_add_string(struct dapt_hasher *hasher, const char *text) {
    uint64_t length = strlen(text);
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(length >> (8 * i));
    dapt_hasher_add(hasher, bytes, sizeof bytes);
    dapt_hasher_add(hasher, text, length);
}

struct dapt_hash dapt_hasher_value(struct dapt_hasher *hasher) {
    XXH128_hash_t value = XXH3_128bits_digest(hasher->state);
    return (struct dapt_hash){value.low64, value.high64};
}

void dapt_hasher_destroy(struct dapt_hasher **hasher) {
    if (!*hasher) return;
    XXH3_freeState((*hasher)->state);
    free(*hasher);
    *hasher = NULL;
}

struct dapt_hash dapt_hash_bytes(const void *data, size_t size) {
    XXH128_hash_t value = XXH3_128bits(data, size);
    return (struct dapt_hash){value.low64, value.high64};
}

// Read, not mapped: pages of a map count as memory of this process, and a checkpoint is as large as
// all that training keeps.
enum dapt_status dapt_hash_file(const char *path, struct dapt_hash *hash) {
    const size_t piece = (size_t)1 << 20;
    struct dapt_hasher *hasher = NULL;
    int fd;
    size_t size;
    enum dapt_status status = dapt_file_open(path, &fd, &size);
    if (status) return status;
    void *data = dapt_alloc_aligned(piece, 1);
    status = data ? dapt_hasher_create(&hasher) : DAPT_ERROR_MEMORY;
    while (!status) {
        ssize_t n = read(fd, data, piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = dapt_fail_errno("%s: cannot be read", path);
        if (n <= 0) break;
        dapt_hasher_add(hasher, data, (size_t)n);
    }
    if (!status) *hash = dapt_hasher_value(hasher);
    dapt_hasher_destroy(&hasher);
    free(data);
    close(fd);
    return status;
}

void dapt_hash_text(struct dapt_hash hash, char text[33]) {
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)hash.high,
             (unsigned long long)hash.low);
}

static bool parse_word(const char *text, uint64_t *word) {
    *word = 0;
    for (int i = 0; i < 16; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit) return false;
        *word = *word << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

bool dapt_hash_parse(const char *text, struct dapt_hash *hash) {
    return strlen(text) == 32 && parse_word(text, &hash->high) && parse_word(text + 16, &hash->low);
}
