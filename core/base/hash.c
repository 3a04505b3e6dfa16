#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

enum dapt_status dapt_hash_file(const char *path, struct dapt_hash *hash) {
    struct dapt_map map;
    enum dapt_status status = dapt_map_open(path, &map);
    if (status) return status;
    *hash = dapt_hash_bytes(map.data, map.size);
    dapt_map_close(&map);
    return DAPT_OK;
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
