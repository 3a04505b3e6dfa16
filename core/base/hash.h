// Content hashes: XXH3, 128 bits. For recognising content and damage, not for keeping secrets.
#ifndef DAPT_BASE_HASH_H
#define DAPT_BASE_HASH_H
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct dapt_hash {
    uint64_t low, high;
};
struct dapt_hasher;  // running
enum dapt_status dapt_hasher_create(struct dapt_hasher **hasher);
void dapt_hasher_add(struct dapt_hasher *hasher, const void *data, size_t size);
// with its length, so that lists don't run together
void dapt_hasher_add_string(struct dapt_hasher *hasher, const char *text);
struct dapt_hash dapt_hasher_value(struct dapt_hasher *hasher);
void dapt_hasher_destroy(struct dapt_hasher **hasher);
struct dapt_hash dapt_hash_bytes(const void *data, size_t size);
enum dapt_status dapt_hash_file(const char *path, struct dapt_hash *hash);
void dapt_hash_text(struct dapt_hash hash, char text[33]);  // 32 hex digits
bool dapt_hash_parse(const char *text, struct dapt_hash *hash);
#endif
