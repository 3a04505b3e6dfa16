// A compressed file; the first byte says under which ending.
#include "fuzz.h"
#include "host/input.h"

#define MOST (8 << 20)  // bytes that are read of what may never end

void fuzz_one(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a", "a.gz", "a.zst", "a.xz", "a.bz2"};
    struct dapt_input *input = NULL;
    char bytes[4096];
    int64_t count = 0, all = 0;
    if (size == 0) return;
    const char *path = fuzz_file(names[data[0] % 5], data + 1, size - 1);
    if (dapt_input_open(path, &input) == DAPT_OK)
        while (all < MOST &&
               (count = dapt_input_read(input, bytes, 1 + (size_t)(all * 7919) % sizeof bytes)) > 0)
            all += count;
    FUZZ_CHECK(count <= (int64_t)sizeof bytes);
    dapt_input_close(&input);
}
