// What the loader's files share: looking at a module before it is opened, and checking its tables after.
#ifndef DAPT_HOST_MODULE_H
#define DAPT_HOST_MODULE_H
#include "dapt/backend.h"
#include "dapt/comm.h"
#include "host/loader.h"

#define DAPT_MAX_DESCRIPTORS 256  // of one module
#define DAPT_MAX_OPTIONS 64       // of one descriptor
#define DAPT_BACKEND_KIND "dapt.backend"
#define DAPT_COMM_KIND "dapt.comm"

enum dapt_module_type {
    DAPT_MODULE_PLUGIN,
    DAPT_MODULE_BACKEND,
    DAPT_MODULE_COMM,
    DAPT_MODULE_TYPE_COUNT
};
struct dapt_module_form {
    const char *name;    // "plugin"
    const char *symbol;  // of its entry
    size_t entry_size;
    uint32_t abi;  // which this dapt speaks
};
extern const struct dapt_module_form dapt_module_forms[DAPT_MODULE_TYPE_COUNT];

// Finds the entry symbol in the file itself and reads the ABI version behind it: nothing is executed, constructors neither.
enum dapt_status dapt_module_peek(const char *path, enum dapt_module_type *type, uint32_t *abi);

// Each says what is wrong, without the path.
enum dapt_status dapt_module_check_plugin(const struct dapt_plugin_entry *entry);
enum dapt_status dapt_module_check_backend(const struct dapt_backend_entry *entry);
enum dapt_status dapt_module_check_comm(const struct dapt_comm_entry *entry);
bool dapt_module_kind_known(const char *kind);

// options.c: a row's default in its own type; false when it does not fit type or range. And as JSON.
bool dapt_option_default(const struct dapt_option *row, double *number, int64_t *integer,
                         bool *truth);
enum dapt_status dapt_option_write_default(const struct dapt_option *row, struct dapt_string *out);
// The getters of struct dapt_host.
const char *dapt_option_string(const struct dapt_options *options, const char *name);
double dapt_option_number(const struct dapt_options *options, const char *name);
int64_t dapt_option_integer(const struct dapt_options *options, const char *name);
bool dapt_option_bool(const struct dapt_options *options, const char *name);
#endif
