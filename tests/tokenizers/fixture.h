// What the tokenizer tests stand on: a host of their own, modules opened from the build folder, ids
// and text gathered.
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "dapt/plugin.h"

extern const struct dapt_host fixture_host;
const char *fixture_error(void);  // what this thread failed with last

// The tokenizer that a built module offers; the test fails without it.
const struct dapt_tokenizer_1 *fixture_tokenizer(const char *id);

struct fixture_ids {
    uint32_t *data;
    size_t count, capacity;
};
struct fixture_text {
    char *data;
    size_t length, capacity;
};
bool fixture_emit_ids(void *context, const uint32_t *ids,
                      size_t count);  // context: struct fixture_ids
bool fixture_emit_text(void *context, const char *text,
                       size_t length);  // context: struct fixture_text

// Replaces what `ids`, `text` held. The test fails on an error.
void fixture_encode(const struct dapt_tokenizer_1 *tokenizer, void *handle, const char *text,
                    size_t length, uint32_t flags, struct fixture_ids *ids);
void fixture_decode(const struct dapt_tokenizer_1 *tokenizer, void *handle, const uint32_t *ids,
                    size_t count, uint32_t flags, struct fixture_text *text);

// A whole file, NUL behind it; NULL when it can't be read.
char *fixture_read(const char *path, size_t *length);
cJSON *fixture_json(const char *path);
// DAPT_TEST_DATA/data/NAME, or NULL, with one line that says what is skipped.
const char *fixture_data(const char *name);
// Writes a file of this process in a temporary folder and returns its path, valid until the next
// call.
const char *fixture_write(const char *name, const char *data, size_t length);
// A JSON string's bytes: \u0000 of the file was written as C0 80 by fixture_json.
size_t fixture_string(const cJSON *string, char **bytes);
// A tree of fixture_json as JSON again; the caller frees it.
char *fixture_print(const cJSON *json);
#endif
