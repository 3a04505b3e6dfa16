// JSON files of other people: read strictly, every value with its place, so that errors can say "config.json:12:5: train.batch: ...".
//
// Parsing is cJSON's; before it a scan checks the text to the letter (RFC 8259; besides: no NUL in strings, UTF-8 valid, no
// name twice in an object, at most 128 levels) and notes where each value stands. A byte order mark is skipped.
//
// Readers take NULL for "absent" wherever a value is asked for, so that look-ups can be chained. After reading, a document may
// be used by any number of threads.
#ifndef DAPT_HOST_JSON_H
#define DAPT_HOST_JSON_H
#include "base/memory.h"

struct dapt_json;  // a value; it lives as long as its document

enum dapt_json_kind {
    DAPT_JSON_NULL,
    DAPT_JSON_BOOL,
    DAPT_JSON_NUMBER,
    DAPT_JSON_STRING,
    DAPT_JSON_ARRAY,
    DAPT_JSON_OBJECT
};

#define DAPT_JSON_LIMIT (16u << 20)  // bytes: the usual limit of dapt_json_read

// Reads a file of at most `limit` bytes (below 2^32), or a text that errors call `name`. The root owns the whole document.
enum dapt_status dapt_json_read(const char *path, size_t limit, struct dapt_json **root);
enum dapt_status dapt_json_parse(const char *name, const char *text, size_t length,
                                 struct dapt_json **root);
// A text that is one line of the file `name`, the `record`-th from 1: errors say so.
enum dapt_status dapt_json_parse_line(const char *name, unsigned record, const char *text,
                                      size_t length, struct dapt_json **root);
void dapt_json_free(struct dapt_json **root);  // NULL inside is fine

// ------------------------------------------------------------------------------------------------- looking around
enum dapt_json_kind dapt_json_kind(const struct dapt_json *value);  // NULL: DAPT_JSON_NULL
const char *dapt_json_kind_name(enum dapt_json_kind kind);          // "a string"
size_t dapt_json_count(const struct dapt_json *value);  // of elements or members; 0 for all else
// element or member; NULL out of range
const struct dapt_json *dapt_json_at(const struct dapt_json *value, size_t index);
// its name in an object; NULL elsewhere
const char *dapt_json_name(const struct dapt_json *value);
// A member, NULL when it is not there or `object` is no object. By binary search. Names of several parts: dapt_json_find.
const struct dapt_json *dapt_json_member(const struct dapt_json *object, const char *name);
// "a.b.c"
const struct dapt_json *dapt_json_find(const struct dapt_json *object, const char *path);

// ----------------------------------------------------------------------------------------------------------- values
// Each fails with file, line, column and path when the value is of another kind or out of range.
// NUL-terminated, lives with the document
enum dapt_status dapt_json_string(const struct dapt_json *value, const char **text);
enum dapt_status dapt_json_number(const struct dapt_json *value, double *number);  // finite
// Exact for all of int64; "1e3" and "2.0" are integers too.
enum dapt_status dapt_json_integer(const struct dapt_json *value, int64_t minimum, int64_t maximum,
                                   int64_t *integer);
enum dapt_status dapt_json_bool(const struct dapt_json *value, bool *truth);

// The same for a member. One that is absent or null leaves *result as it was: put the default there before.
enum dapt_status dapt_json_get_string(const struct dapt_json *object, const char *name,
                                      const char **text);
enum dapt_status dapt_json_get_number(const struct dapt_json *object, const char *name,
                                      double *number);
// In a range, both ends with it.
enum dapt_status dapt_json_get_real(const struct dapt_json *object, const char *name,
                                    double minimum, double maximum, double *number);
enum dapt_status dapt_json_get_integer(const struct dapt_json *object, const char *name,
                                       int64_t minimum, int64_t maximum, int64_t *integer);
enum dapt_status dapt_json_get_bool(const struct dapt_json *object, const char *name, bool *truth);
// A member that must be there, of that kind.
enum dapt_status dapt_json_need(const struct dapt_json *object, const char *name,
                                enum dapt_json_kind kind, const struct dapt_json **member);

// ----------------------------------------------------------------------------------------------------------- errors
// "FILE:LINE:COLUMN: PATH: <text>", recorded; returns DAPT_ERROR_INVALID.
enum dapt_status dapt_json_fail(const struct dapt_json *value, const char *format, ...)
    DAPT_PRINTF(2, 3);
// The same, pointing at the value's name instead of at the value.
enum dapt_status dapt_json_fail_name(const struct dapt_json *value, const char *format, ...)
    DAPT_PRINTF(2, 3);
// What stands there, shortened, for messages: `"8"`, `an object`. In `text`.
const char *dapt_json_excerpt(const struct dapt_json *value, char text[64]);

// ---------------------------------------------------------------------------------------------------------- writing
// Appends a value as compact JSON; numbers keep their spelling.
enum dapt_status dapt_json_write(const struct dapt_json *value, struct dapt_string *out);
// quoted and escaped
enum dapt_status dapt_json_write_string(struct dapt_string *out, const char *text);
// shortest that reads back; not finite: null
enum dapt_status dapt_json_write_number(struct dapt_string *out, double number);

// Puts `value` (a root; the document takes it over, on failure too) in place of the member at "a.b.c", making objects on the way.
enum dapt_status dapt_json_set(struct dapt_json *root, const char *path, struct dapt_json *value);
#endif
