// One safetensors file.
#include "format/safetensors.h"
#include "fuzz.h"

static void use(const struct dapt_safetensors *file) {
    float floats[64];
    int64_t ints[64];
    fuzz_accept();
    for (size_t i = 0; i < dapt_safetensors_count(file); i++) {
        const struct dapt_file_tensor *tensor = dapt_safetensors_at(file, i);
        uint64_t count = tensor->count < 64 ? tensor->count : 64, last = tensor->count - count;
        dapt_file_tensor_floats(tensor, last, count, floats);
        dapt_file_tensor_ints(tensor, last, count, ints);
        FUZZ_CHECK(dapt_safetensors_find(file, tensor->name) == tensor);
    }
    dapt_safetensors_metadata(file, "format");
}

void fuzz_one(const uint8_t *data, size_t size) {
    struct dapt_safetensors *file = NULL;
    if (dapt_safetensors_open(fuzz_file("a.safetensors", data, size), &file) == DAPT_OK) use(file);
    dapt_safetensors_close(&file);
}
