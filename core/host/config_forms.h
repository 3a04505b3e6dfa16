// What the files that read and write the types of fields share.
#ifndef DAPT_HOST_CONFIG_FORMS_H
#define DAPT_HOST_CONFIG_FORMS_H
#include "host/config_fields.h"

// Where the field lies in the configuration.
static inline void *dapt_form_slot(const struct dapt_config *config,
                                   const struct dapt_field *field) {
    return (char *)(uintptr_t)config + field->offset;
}
// "expected EXPECTED, got what stands there", with its place.
enum dapt_status dapt_form_fail(const struct dapt_json *value, const char *expected);
// A path, made absolute.
enum dapt_status dapt_form_path(struct dapt_config *config, const struct dapt_json *value,
                                const char **path);
// A member that is a string and not empty; absent leaves *text.
enum dapt_status dapt_form_string(struct dapt_config *config, const struct dapt_json *object,
                                  const char *name, const char **text);
// Appends LEAD"NAME": , with a blank behind it.
enum dapt_status dapt_form_write_name(struct dapt_string *out, const char *lead, const char *name);
// Appends LEAD"NAME": "TEXT".
enum dapt_status dapt_form_write_pair(struct dapt_string *out, const char *lead, const char *name,
                                      const char *text);
// Appends the members of a plugin's object that are not in `names`, each with ", " before it, and then
// the defaults of the options that it leaves out.
enum dapt_status dapt_form_write_options(const struct dapt_config *config, const char *kind,
                                         const char *id, const struct dapt_json *object,
                                         const char *const *names, struct dapt_string *out);

// config_data.c: texts, the sets that are scored, what they may cost.
enum dapt_status dapt_form_read_data(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value);
enum dapt_status dapt_form_write_data(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out);
enum dapt_status dapt_form_read_eval(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value);
enum dapt_status dapt_form_write_eval(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out);
enum dapt_status dapt_form_read_budget(struct dapt_config *config, const struct dapt_field *field,
                                       const struct dapt_json *value);
enum dapt_status dapt_form_write_budget(const struct dapt_config *config,
                                        const struct dapt_field *field, struct dapt_string *out);

// Members of an object that are not listed are an error that names them; lists of texts, paths (type
// DAPT_FIELD_PATHS) made absolute, NULL-terminated.
enum dapt_status dapt_form_only(const struct dapt_json *object, const char *const *names);
enum dapt_status dapt_form_read_texts(struct dapt_config *config, const struct dapt_json *value,
                                      enum dapt_field_type type, const char *const **list);
enum dapt_status dapt_form_write_texts(const char *const *texts, struct dapt_string *out);
enum dapt_status dapt_form_read_lora(struct dapt_config *config, const struct dapt_field *field,
                                     const struct dapt_json *value);
enum dapt_status dapt_form_write_lora(const struct dapt_config *config,
                                      const struct dapt_field *field, struct dapt_string *out);
#endif
