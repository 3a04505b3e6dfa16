// model.safetensors.index.json, of a folder with the shards "s1.safetensors" (tensors a, b) and
// "s2.safetensors" (c).
#include <string.h>

#include "format/safetensors.h"
#include "fuzz.h"

static void put_shard(const char *name, const char *header, size_t data) {
    char file[512] = {0};
    uint64_t length = strlen(header);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, length);
    fuzz_file(name, file, sizeof length + length + data);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static bool made;
    struct dapt_safetensors *file = NULL;
    if (!made) {
        put_shard("s1.safetensors",
                  "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}",
                  9);
        put_shard("s2.safetensors",
                  "{\"c\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[0,4]}}", 4);
        made = true;
    }
    const char *path = fuzz_file("model.safetensors.index.json", data, size);
    if (dapt_safetensors_open(path, &file) == DAPT_OK) fuzz_accept();
    if (file)
        for (size_t i = 0; i < dapt_safetensors_count(file); i++)
            FUZZ_CHECK(dapt_safetensors_find(file, dapt_safetensors_at(file, i)->name) != NULL);
    dapt_safetensors_close(&file);
}
