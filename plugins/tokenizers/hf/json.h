// Reading JSON files and taking values out of them with errors that name what was expected.
#ifndef HF_JSON_H
#define HF_JSON_H
#include <cjson/cJSON.h>

#include "base.h"

// Reads a file (through the host) and parses it. The tree is the caller's: cJSON_Delete. Strings of
// the tree write U+0000 as the bytes C0 80, which valid UTF-8 never has; hf_json_text undoes it.
enum dapt_status hf_json_read(const struct dapt_host *host, const char *path_z, cJSON **json);

// The same of a file in a folder that may lack it: *json is NULL then.
enum dapt_status hf_json_beside(const struct dapt_host *host, const char *folder_z,
                                const char *name_z, cJSON **json);
// A file's bytes, behind those that `text` holds; room for a NUL is left.
enum dapt_status hf_file_read(const struct dapt_host *host, const char *path_z,
                              struct hf_text *text);

// A member of an object, NULL when absent or null.
const cJSON *hf_json_member(const cJSON *object, const char *key);
// The member's string is appended to `text` (after which a NUL stands that is not counted).
enum dapt_status hf_json_text(const struct dapt_host *host, const char *where, const cJSON *string,
                              struct hf_text *text);
// Like it, replacing what `text` held; an absent member gives `fallback_z`, or an error when that
// is NULL.
enum dapt_status hf_json_string(const struct dapt_host *host, const char *where,
                                const cJSON *object, const char *key, const char *fallback_z,
                                struct hf_text *text);
// `fallback` is 0, 1, or -1: the member must be there.
enum dapt_status hf_json_bool(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char *key, int fallback, bool *value);
enum dapt_status hf_json_uint(const struct dapt_host *host, const char *where, const cJSON *value,
                              uint32_t limit, uint32_t *number);
// Refuses members that are not in `keys` (NULL-terminated): an option that this program does not
// know.
enum dapt_status hf_json_only(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char *const *keys);
// The "type" of a component, a C string of the tree.
enum dapt_status hf_json_type(const struct dapt_host *host, const char *where, const cJSON *object,
                              const char **type);
#endif
