// Files as plugins see them: decompressed. gzip, Zstandard, xz and bzip2 are known by their first bytes; several members one
// after another are read as one. Damage and truncation are errors, never a silent end.
#ifndef DAPT_HOST_INPUT_H
#define DAPT_HOST_INPUT_H
#include "base/memory.h"

struct dapt_input;

enum dapt_status dapt_input_open(const char *path, struct dapt_input **input);
// The count, 0 at the end, -1: error recorded.
int64_t dapt_input_read(struct dapt_input *input, void *data, size_t size);
void dapt_input_close(struct dapt_input **input);  // NULL inside is fine
// Bytes of the file read so far, for progress.
uint64_t dapt_input_consumed(const struct dapt_input *input);

// The path without the ending of a compression (".gz", ".zst", ".xz", ".bz2"); the path itself when it has none.
const char *dapt_input_stem(struct dapt_arena *arena, const char *path);
#endif
