// One GGUF file: opened, every value and tensor looked at, and imported as a model.
#include <stdio.h>

#include "format/gguf.h"
#include "fuzz.h"
#include "model/exchange.h"

static void use(const struct dapt_gguf *file) {
    float floats[300];
    fuzz_accept();
    for (size_t i = 0; i < dapt_gguf_value_count(file); i++) {
        const struct dapt_gguf_value *v = dapt_gguf_value_at(file, i);
        FUZZ_CHECK(dapt_gguf_value(file, v->key) == v);
        for (uint64_t k = 0; k < v->count && k < 64; k++)
            if (!v->texts) dapt_gguf_number(v, k);
    }
    for (size_t i = 0; i < dapt_gguf_tensor_count(file); i++) {
        const struct dapt_gguf_tensor *t = dapt_gguf_tensor_at(file, i);
        uint64_t count = t->count < 300 ? t->count : 300;
        FUZZ_CHECK(dapt_gguf_tensor(file, t->name) == t);
        dapt_blocks_decode(t->type, t->data, t->count - count, count, floats);
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    static char folder[4096];
    struct dapt_gguf *file = NULL;
    struct dapt_exchange_summary summary;
    const char *path = fuzz_file("a.gguf", data, size);
    if (dapt_gguf_open(path, &file) == DAPT_OK) use(file);
    dapt_gguf_close(&file);
    snprintf(folder, sizeof folder, "%s/model", fuzz_folder());
    dapt_model_import(path, folder, DAPT_SAVE_MODEL, &summary);
    dapt_remove_tree(folder);
}
