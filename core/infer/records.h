// JSON Lines of labelled data: an object a line, lines of nothing but space left out, compressed or
// not.
#ifndef DAPT_INFER_RECORDS_H
#define DAPT_INFER_RECORDS_H
#include "host/json.h"

// One record; its errors say file, line and column. Valid during the call.
typedef enum dapt_status (*dapt_record_take)(void *user, const struct dapt_json *record);
// The first `limit` records of a file (0: all), in order. A line that is no JSON object, a failure
// of `take`, and a file without a record end it; `expected` says what a record looks like.
enum dapt_status dapt_records_read(const char *path, uint64_t limit, const char *expected,
                                   dapt_record_take take, void *user);

// A string of a record. Without `empty` it must hold something.
enum dapt_status dapt_record_string(const struct dapt_json *record, const char *name, bool empty,
                                    const char **text);

// The whitespace character at the front of a text that ends in NUL, and at its end, as Unicode (and
// Python's str.isspace) knows them: its bytes; 0: there is none.
size_t dapt_space_first(const char *text);
size_t dapt_space_last(const char *text, size_t length);
#endif
