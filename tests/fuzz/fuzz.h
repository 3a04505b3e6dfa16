// What the parsers' targets share. Each target is one file with fuzz_one(); it is linked with libFuzzer
// (option fuzz) or with driver.c, which runs seeds and their mutations in any build.
#ifndef FUZZ_H
#define FUZZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dapt/plugin.h"

// Reads `data` as a file would be read. Nothing that it does may depend on what ran before.
void fuzz_one(const uint8_t *data, size_t size);

// The folder of this process, removed when it ends.
const char *fuzz_folder(void);
// Writes FOLDER/name; the path stays good.
const char *fuzz_file(const char *name, const void *data, size_t size);
// Counts an input that the parser took: seeds of which none is taken test nothing, and the driver fails.
void fuzz_accept(void);
size_t fuzz_accepted(void);
// Reads all of it, so that a sanitizer sees what is not there.
void fuzz_touch(const void *data, size_t size);
// A host for plugins that opens `data` whatever the path is, and reads it in pieces of odd sizes.
const struct dapt_host *fuzz_host(const void *data, size_t size);
// What must hold does not: says so and aborts.
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_failed(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *condition, const char *file, int line);
#endif
