// JSON as trees of cJSON, for what is built, changed and compared in memory: records and events.
#ifndef DAPT_HOST_JSON_TREE_H
#define DAPT_HOST_JSON_TREE_H
#include <cjson/cJSON.h>
#include <stdbool.h>

// A number that JSON may not have (not finite) becomes null.
void dapt_json_add_number(cJSON *object, const char *key, double value);
// The same number with 15 significant digits, which is what surely comes back from a record to the bit
// (cJSON writes 15 where they are within an epsilon, and checksums are of what it writes).
double dapt_json_round(double value);
// The number under `key`; NaN: there is none.
double dapt_json_value(const cJSON *object, const char *key);
// Whether the object has this very text under `key`.
bool dapt_json_has_text(const cJSON *object, const char *key, const char *text);
#endif
