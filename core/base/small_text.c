#include "base/small_text.h"

#include <stdio.h>
#include <string.h>

const char *dapt_count_text(uint64_t count, struct dapt_small_text *small) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count), at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) small->text[at++] = ',';
        small->text[at++] = digits[i];
    }
    small->text[at] = '\0';
    return small->text;
}

const char *dapt_counted_text(uint64_t count, const char *noun, struct dapt_small_text *small) {
    size_t length = strlen(dapt_count_text(count, small));
    snprintf(small->text + length, sizeof small->text - length, " %s%s", noun,
             count == 1 ? "" : "s");
    return small->text;
}

const char *dapt_bytes_text(uint64_t bytes, struct dapt_small_text *small) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(small->text, sizeof small->text, unit == 0 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return small->text;
}

const char *dapt_duration_text(double seconds, struct dapt_small_text *small) {
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(small->text, sizeof small->text, "?");
    } else if (seconds < 10) {
        snprintf(small->text, sizeof small->text, "%.1f s", seconds);
    } else if (seconds < 60) {
        snprintf(small->text, sizeof small->text, "%.0f s", seconds);
    } else if (seconds < 3600) {
        snprintf(small->text, sizeof small->text, "%d m %02d s", (int)(seconds / 60),
                 (int)seconds % 60);
    } else {
        snprintf(small->text, sizeof small->text, "%d h %02d m", (int)(seconds / 3600),
                 (int)(seconds / 60) % 60);
    }
    return small->text;
}
