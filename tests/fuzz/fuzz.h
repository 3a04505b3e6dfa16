// What the parsers' targets share. Each target is one file with fuzz_one(); it is linked with libFuzzer
// (option fuzz) or with driver.c, which runs seeds and their mutations in any build.
#ifndef FUZZ_H
#define FUZZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Reads `data` as a file would be read. Nothing that it does may depend on what ran before.
void fuzz_one(const uint8_t *data, size_t size);

// The folder of this process, removed when it ends.
const char *fuzz_folder(void);
// Writes FOLDER/name anew; the path is good until the next call.
const char *fuzz_file(const char *name, const void *data, size_t size);
// What must hold does not: says so and aborts.
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_failed(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *condition, const char *file, int line);
#endif
