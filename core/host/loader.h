// Modules: finds, opens and checks backends, plugins and what moves bytes between ranks.
//
// Search path, in order: folders of the configuration's "plugins", DAPT_PLUGIN_PATH (':' between), the install folder (dapt/
// beside libdapt.so, or ../lib/dapt from a program that holds the core itself), else, in a build tree, the build folder. Never
// the current directory: relative entries of DAPT_PLUGIN_PATH are refused; those of a configuration are taken relative to the
// configuration's folder.
// A file that is no module, of another ABI version, or broken is left out with a warning that says which and why; where it was
// named itself, that is an error, and where nothing else offers what is asked for, the error tells of it. The version is
// read from the file before it is opened: nothing of a module of another version runs, constructors neither.
#ifndef DAPT_HOST_LOADER_H
#define DAPT_HOST_LOADER_H
#include "base/hash.h"
#include "dapt/backend.h"
#include "dapt/comm.h"
#include "host/config.h"

struct dapt_modules;  // all that was found

// Loads every module on the search path. `folders` (NULL-terminated, absolute; an entry may also be one module's file) come
// first; NULL: none. Of two with the same kind and id the first on the path wins.
enum dapt_status dapt_modules_load(const char *const *folders, struct dapt_modules **modules);
void dapt_modules_unload(struct dapt_modules **modules);

struct dapt_module_info {
    const char *path;
    const char *kind;
    const char *id, *version, *summary;
    const struct dapt_option *options;
};
// of backends, comms and plugin descriptors, for `dapt plugins`
size_t dapt_modules_count(const struct dapt_modules *modules);
void dapt_modules_at(const struct dapt_modules *modules, size_t index,
                     struct dapt_module_info *info);

// NULL when there is none, with a reason that lists those there are.
const struct dapt_backend *dapt_modules_backend(const struct dapt_modules *modules,
                                                const char *name);
const struct dapt_plugin_descriptor *dapt_modules_plugin(const struct dapt_modules *modules,
                                                         const char *kind, const char *id);
// The first there is; NULL where there is none, nothing being recorded. `left_out` (may be NULL): why modules
// were left out, of which one may have been it; "": none was. Lives as long as the modules.
const struct dapt_comm *dapt_modules_comm(const struct dapt_modules *modules,
                                          const char **left_out);
// The k-th descriptor of a kind, or NULL.
const struct dapt_plugin_descriptor *dapt_modules_each(const struct dapt_modules *modules,
                                                       const char *kind, size_t k);

// The file that a descriptor was loaded from; NULL: not known. Lives as long as the modules.
const char *dapt_modules_file(const struct dapt_modules *modules,
                              const struct dapt_plugin_descriptor *descriptor);
// The hash of that file as it was loaded: a plugin that was built anew keeps its version, not this.
struct dapt_hash dapt_modules_content(const struct dapt_modules *modules,
                                      const struct dapt_plugin_descriptor *descriptor);

// The host table that plugins and backends receive; it lives as long as the program.
const struct dapt_host *dapt_host(void);
DAPT_EXPORT const char *dapt_version(void);  // as dapt.h declares it

// Options for one use of a plugin: `json` (an object; members named in `skip`, NULL-terminated, belong to others) checked
// against the table; unknown names and wrong types are errors that name key, line and column. NULL json: all defaults.
enum dapt_status dapt_options_create(const struct dapt_option *table, const struct dapt_json *json,
                                     const char *const *skip, struct dapt_options **options);
void dapt_options_destroy(struct dapt_options **options);
// Feeds names and values, defaults included, to a hasher: part of a cache's key.
struct dapt_hasher;
void dapt_options_hash(const struct dapt_options *options, struct dapt_hasher *hasher);
#endif
