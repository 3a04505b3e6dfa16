// The table of fields that reading, writing, help and schema of a configuration go by. A new key is a row here, a member in
// struct dapt_config and, if its form is new, a row in the table of types.
#ifndef DAPT_HOST_CONFIG_FIELDS_H
#define DAPT_HOST_CONFIG_FIELDS_H
#include "host/config.h"

enum dapt_field_type {
    DAPT_FIELD_U32,
    DAPT_FIELD_U32_AUTO,  // or "auto": DAPT_AUTO
    DAPT_FIELD_U64,
    DAPT_FIELD_AMOUNT,  // uint64_t; "50M"
    DAPT_FIELD_NUMBER,  // double
    DAPT_FIELD_BOOL,
    DAPT_FIELD_STRING,
    DAPT_FIELD_CHOICE,   // an enum of host/choices.h
    DAPT_FIELD_DEVICES,  // a string, a number is one too; or several
    DAPT_FIELD_PATH,
    DAPT_FIELD_PATHS,    // array of strings, NULL-terminated
    DAPT_FIELD_STRINGS,  // likewise
    DAPT_FIELD_BETAS,    // two doubles
    DAPT_FIELD_LORA,     // struct dapt_lora *
    DAPT_FIELD_MODEL,    // model, model_config, model_random
    DAPT_FIELD_TOKENIZER,
    DAPT_FIELD_SCHEDULE,
    DAPT_FIELD_DATA,    // struct dapt_data_list
    DAPT_FIELD_EVAL,    // eval, eval_count
    DAPT_FIELD_BUDGET,  // budget, budget_count
    DAPT_FIELD_TYPE_COUNT
};

struct dapt_field {
    const char *path;  // "train.batch"
    enum dapt_field_type type;
    size_t offset;         // in struct dapt_config
    const char *fallback;  // the default as JSON; NULL: nothing
    bool required;
    bool free;                   // a resume may change it
    double minimum, maximum;     // of numbers
    const char *const *choices;  // texts in the order of the enum, NULL-terminated
    const char *help;
};

extern const struct dapt_field dapt_fields[];                // ends with a row whose path is NULL
const struct dapt_field *dapt_field_find(const char *path);  // NULL: there is none
// Appends the choices of a key: "a" or "b".
enum dapt_status dapt_field_choices(const struct dapt_field *field, struct dapt_string *out);
// Sets the choice to what the text names; false: it is none of them.
bool dapt_field_choose(const struct dapt_field *field, const char *text, unsigned *choice);
// Appends the default of a key as dapt_config_write() writes it, nothing when it has none.
// `modules` (may be NULL): whose defaults are added to options.
enum dapt_status dapt_field_default(const struct dapt_field *field,
                                    const struct dapt_modules *modules, struct dapt_string *out);

struct dapt_field_form {  // of a type
    enum dapt_status (*read)(struct dapt_config *config, const struct dapt_field *field,
                             const struct dapt_json *value);
    // Appends the value as JSON, nothing when it has none.
    enum dapt_status (*write)(const struct dapt_config *config, const struct dapt_field *field,
                              struct dapt_string *out);
    const char *name;    // for the help: "integer"
    const char *schema;  // members of its JSON Schema
};

extern const struct dapt_field_form dapt_field_forms[DAPT_FIELD_TYPE_COUNT];
#endif
