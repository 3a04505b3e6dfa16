// The check that comes before cJSON: is this text JSON to the letter, and where does each value stand?
#ifndef DAPT_HOST_JSON_SCAN_H
#define DAPT_HOST_JSON_SCAN_H
#include "base/memory.h"

struct dapt_json_place {
    uint32_t name, start, end;
};  // byte offsets: of the name (start, where there is none), of the value

// Places of all values in the order in which they begin, in `*places` (free()). Errors say name, line and column.
// `record`: the text is this line of a file, from 1; 0: it is the file.
enum dapt_status dapt_json_scan(const char *name, unsigned record, const char *text, size_t length,
                                struct dapt_json_place **places, size_t *count);
// Line and column of an offset, both from 1, columns in characters; `record` as above.
void dapt_json_where(const char *text, unsigned record, size_t offset, unsigned *line,
                     unsigned *column);
#endif
