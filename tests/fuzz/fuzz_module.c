// A module's file, before it is opened.
#include "fuzz.h"
#include "host/module.h"

void fuzz_one(const uint8_t *data, size_t size) {
    enum dapt_module_type type;
    uint32_t abi;
    if (dapt_module_peek(fuzz_file("a.so", data, size), &type, &abi) == DAPT_OK) fuzz_accept();
}
