#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

// The bytes that may follow a lead are those of the Unicode standard's table 3-7.
static size_t character_length(const uint8_t *p, size_t left) {
    uint8_t lead = p[0];
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || left < length) return 0;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
        if (p[i] < low || p[i] > high) return 0;
    return length;
}

size_t dapt_utf8_check(const char *text, size_t length) {
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < length;) {
        uint64_t eight;
        if (length - i >= sizeof eight) {  // most text is ASCII
            memcpy(&eight, p + i, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t step = p[i] < 0x80 ? 1 : character_length(p + i, length - i);
        if (step == 0) return i;
        i += step;
    }
    return length;
}
