// Counts, sizes and times as people read them, the same wherever they are told.
#ifndef DAPT_BASE_SMALL_TEXT_H
#define DAPT_BASE_SMALL_TEXT_H
#include <stdint.h>

// Each fills `text` and returns it.
struct dapt_small_text {
    char text[48];
};
const char *dapt_count_text(uint64_t count, struct dapt_small_text *small);  // "7,904"
const char *dapt_counted_text(uint64_t count, const char *noun,
                              struct dapt_small_text *small);  // "1 step", "7,904 steps"
const char *dapt_bytes_text(uint64_t bytes, struct dapt_small_text *small);     // "12.3 MiB"
const char *dapt_duration_text(double seconds, struct dapt_small_text *small);  // "3 m 20 s"
#endif
