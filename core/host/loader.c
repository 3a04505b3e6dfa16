#include "host/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/hash.h"
#include "base/nearest.h"
#include "host/module.h"
#include "host/module_dir.h"

// One thing to be had: a backend, a comm, or one descriptor of a plugin.
struct offer {
    const char *path;
    const char *kind, *id, *version, *summary;
    const struct dapt_backend *backend;
    const struct dapt_comm *comm;
    const struct dapt_plugin_descriptor *descriptor;
    struct dapt_hash content;  // of the file, for plugins
};

struct dapt_modules {
    struct dapt_arena arena;
    struct offer *offers;
    size_t offer_count, offer_capacity;
    void **handles;  // of dlopen()
    size_t handle_count, handle_capacity;
    struct dapt_string left_out;  // why, of each file that was; "; " between
};

static const char module_anchor = 0;  // an address in this object

static const struct offer *find(const struct dapt_modules *modules, const char *kind,
                                const char *id) {
    for (size_t i = 0; i < modules->offer_count; i++) {
        const struct offer *offer = &modules->offers[i];
        if (strcmp(offer->kind, kind) == 0 && strcmp(offer->id, id) == 0) return offer;
    }
    return NULL;
}

static enum dapt_status add_offer(struct dapt_modules *modules, struct offer offer) {
    const struct offer *first = find(modules, offer.kind, offer.id);
    if (first) {
        dapt_log(DAPT_LOG_DEBUG,
                 "%s: its %s \"%s\" is hidden by %s, which comes first on the search path",
                 offer.path, offer.kind, offer.id, first->path);
        return DAPT_OK;
    }
    enum dapt_status status = dapt_grow(&modules->offers, &modules->offer_capacity,
                                        modules->offer_count + 1, sizeof *modules->offers);
    if (!status) modules->offers[modules->offer_count++] = offer;
    return status;
}

static enum dapt_status add_plugin(struct dapt_modules *modules, struct offer offer,
                                   const void *symbol) {
    const struct dapt_plugin_entry *entry = symbol;
    enum dapt_status status = dapt_module_check_plugin(entry);
    for (uint32_t i = 0; !status && i < entry->count; i++) {
        const struct dapt_plugin_descriptor *descriptor = &entry->descriptors[i];
        offer.descriptor = descriptor;
        offer.kind = descriptor->kind, offer.id = descriptor->id;
        offer.version = descriptor->version, offer.summary = descriptor->summary;
        if (dapt_module_kind_known(descriptor->kind)) {
            status = add_offer(modules, offer);
        } else {
            dapt_log(DAPT_LOG_INFO,
                     "%s: \"%s\" is ignored: its kind \"%s\" is not known to this version of dapt",
                     offer.path, descriptor->id, descriptor->kind);
        }
    }
    return status;
}

static enum dapt_status add_backend(struct dapt_modules *modules, struct offer offer,
                                    const void *symbol) {
    const struct dapt_backend_entry *entry = symbol;
    enum dapt_status status = dapt_module_check_backend(entry);
    if (status) return status;
    offer.backend = entry->backend;
    offer.kind = DAPT_BACKEND_KIND, offer.id = offer.backend->name;
    offer.version = DAPT_VERSION, offer.summary = offer.backend->summary;
    return add_offer(modules, offer);
}

static enum dapt_status add_comm(struct dapt_modules *modules, struct offer offer,
                                 const void *symbol) {
    const struct dapt_comm_entry *entry = symbol;
    enum dapt_status status = dapt_module_check_comm(entry);
    if (status) return status;
    offer.comm = entry->comm;
    offer.kind = DAPT_COMM_KIND, offer.id = offer.comm->id;
    offer.version = offer.comm->version, offer.summary = offer.comm->summary;
    return add_offer(modules, offer);
}

static enum dapt_status (*const add_module[DAPT_MODULE_TYPE_COUNT])(struct dapt_modules *modules,
                                                                    struct offer offer,
                                                                    const void *symbol) = {
    [DAPT_MODULE_PLUGIN] = add_plugin,
    [DAPT_MODULE_BACKEND] = add_backend,
    [DAPT_MODULE_COMM] = add_comm,
};

// OpenBLAS starts its threads when it is loaded, and where it gets no memory for them it waits for ever
// when it is unloaded. Backends bring their own threads: it needs none.
static void *open_library(const char *path) {
    static const char name[] = "OPENBLAS_NUM_THREADS";
    bool ours = !getenv(name) && setenv(name, "1", 0) == 0;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (ours) unsetenv(name);
    return handle;
}

// Why dlopen() failed, which tells it in words only: the module's own fault, or the system's. "Failed to
// map" without a reason is too little memory; a file system without execution gives one.
static enum dapt_status loading_status(const char *reason) {
    static const int failures[] = {EMFILE, ENFILE, EIO};
    static const char unmapped[] = "failed to map segment from shared object";
    size_t length = strlen(reason), ending = strlen(unmapped);
    bool mapped = length < ending || strcmp(reason + length - ending, unmapped) != 0;
    if (!mapped || strstr(reason, strerror(ENOMEM))) return DAPT_ERROR_MEMORY;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++)
        if (strstr(reason, strerror(failures[i]))) return DAPT_ERROR_IO;
    return DAPT_ERROR_INVALID;
}

static enum dapt_status open_module(struct dapt_modules *modules, const char *path,
                                    const char *symbol, const void **entry) {
    enum dapt_status status = dapt_grow(&modules->handles, &modules->handle_capacity,
                                        modules->handle_count + 1, sizeof *modules->handles);
    if (status) return status;
    void *handle = open_library(path);
    if (!handle) {
        const char *reason = dlerror();  // it begins with the path
        size_t length = strlen(path);
        if (reason && strncmp(reason, path, length) == 0 && strncmp(reason + length, ": ", 2) == 0)
            reason += length + 2;
        if (!reason) reason = "no reason given";
        return dapt_fail(loading_status(reason), "%s: cannot be loaded: %s", path, reason);
    }
    modules->handles[modules->handle_count++] = handle;
    *entry = dlsym(handle, symbol);
    if (!*entry)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: the system does not find its %s", path, symbol);
    return DAPT_OK;
}

// The version is read from the file: dlopen() would run a module's constructors before we could look.
static enum dapt_status load_file(struct dapt_modules *modules, const char *name) {
    const char *path = dapt_arena_copy(&modules->arena, name, strlen(name));
    if (!path) return DAPT_ERROR_MEMORY;
    enum dapt_module_type type;
    uint32_t abi;
    enum dapt_status status = dapt_module_peek(path, &type, &abi);
    if (status) return status;
    const struct dapt_module_form *form = &dapt_module_forms[type];
    if (abi != form->abi) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: was built for version %u of the %s interface, this dapt speaks %u",
                         path, abi, form->name, form->abi);
    }
    const void *entry = NULL;
    struct offer offer = {.path = path};
    if (type == DAPT_MODULE_PLUGIN) status = dapt_hash_file(path, &offer.content);
    if (status) return status;
    status = open_module(modules, path, form->symbol, &entry);
    if (status) return status;
    uint32_t loaded;  // the same file? It may have been replaced in between
    memcpy(&loaded, entry, sizeof loaded);
    if (loaded != form->abi)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: changed while it was being loaded", path);
    status = add_module[type](modules, offer, entry);
    return status ? dapt_fail_in(status, "%s", path) : DAPT_OK;
}

static bool is_module(const char *name) {
    size_t length = strlen(name);
    return name[0] != '.' && length >= 4 && strcmp(name + length - 3, ".so") == 0;
}

// One file of a folder: what is wrong with it is told and kept, for whoever misses what it should hold, and the others go on. But
// where the file is fine and the system fails, going on would leave out what this module reads, and train on less text.
static enum dapt_status try_file(struct dapt_modules *modules, const char *path) {
    enum dapt_status status = load_file(modules, path);
    bool system = status == DAPT_ERROR_IO && access(path, R_OK) == 0;
    if (!status || status == DAPT_ERROR_MEMORY || system) return status;
    dapt_log(DAPT_LOG_WARNING, "%s; the module is left out", dapt_error());
    return dapt_string_format(&modules->left_out, "%s%s", modules->left_out.length ? "; " : "",
                              dapt_error());
}

// All modules of a folder; or one file, which was asked for by name.
static enum dapt_status load_place(struct dapt_modules *modules, const char *place) {
    if (dapt_is_file(place)) return load_file(modules, place);
    struct dapt_arena arena = {0};
    struct dapt_paths names;
    enum dapt_status status = dapt_list_folder(&arena, place, &names);
    for (size_t i = 0; !status && i < names.count; i++) {
        if (!is_module(names.paths[i])) continue;
        char *path = dapt_path_join(&arena, place, names.paths[i]);
        status = path ? try_file(modules, path) : DAPT_ERROR_MEMORY;
    }
    dapt_arena_free(&arena);
    return status;
}

static enum dapt_status load_environment(struct dapt_modules *modules) {
    const char *list = getenv("DAPT_PLUGIN_PATH");
    enum dapt_status status = DAPT_OK;
    while (!status && list && *list) {
        size_t length = strcspn(list, ":");
        struct dapt_arena arena = {0};
        char *place = dapt_arena_copy(&arena, list, length);
        if (!place) {
            status = DAPT_ERROR_MEMORY;
        } else if (length > 0 && place[0] != '/') {
            status = dapt_fail(DAPT_ERROR_INVALID,
                               "DAPT_PLUGIN_PATH: \"%s\" is relative, expected absolute paths",
                               place);
        } else if (length > 0) {
            status = load_place(modules, place);
            if (status) dapt_fail_in(status, "DAPT_PLUGIN_PATH");
        }
        dapt_arena_free(&arena);
        list += length + (list[length] == ':');
    }
    return status;
}

// In a build tree every module lies in a folder of its own, two levels below the root.
static enum dapt_status load_build_tree(struct dapt_modules *modules, struct dapt_arena *arena,
                                        const char *root) {
    static const char *const rooms[] = {"backends", "plugins"};
    enum dapt_status status = DAPT_OK;
    for (size_t r = 0; !status && r < 2; r++) {
        char *pattern = dapt_arena_format(arena, "%s/%s/*/*.so", root, rooms[r]);
        struct dapt_paths paths;
        if (!pattern) return DAPT_ERROR_MEMORY;
        status = dapt_expand(arena, pattern, &paths);
        if (status == DAPT_ERROR_INVALID) status = DAPT_OK;  // nothing built there
        for (size_t i = 0; !status && i < paths.count; i++)
            status = try_file(modules, paths.paths[i]);
    }
    return status;
}

// The folder of the object that this code is in: libdapt.so, in whatever program, or the program itself.
static enum dapt_status find_origin(struct dapt_arena *arena, char **folder, bool *library) {
    Dl_info info;
    char path[PATH_MAX];
    *library = false;
    if (!dladdr(&module_anchor, &info) || !info.dli_fname ||
        !strstr(info.dli_fname, "/libdapt.so") || !realpath(info.dli_fname, path)) {
        return dapt_program_dir(arena, folder);
    }
    *library = true;
    *strrchr(path, '/') = '\0';
    *folder = dapt_arena_copy(arena, path, strlen(path));
    return *folder ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// What came with the core: the installed modules or, in a build tree, the built ones.
static enum dapt_status load_own(struct dapt_modules *modules) {
    static const char *const places[] = {"dapt", DAPT_MODULE_DIR,
                                         "../lib/dapt"};  // the first: as seen from the library
    struct dapt_arena arena = {0};
    char *folder, *root;
    bool library;
    enum dapt_status status = find_origin(&arena, &folder, &library);
    if (status) goto end;
    for (size_t i = !library; i < (library ? 1 : sizeof places / sizeof *places); i++) {
        char *place = dapt_path_join(&arena, folder, places[i]);
        if (!place || !dapt_is_dir(place)) continue;
        status = load_place(modules, place);
        goto end;
    }
    root = dapt_arena_copy(&arena, folder, strlen(folder));
    for (char *slash; root && (slash = strrchr(root, '/')) && slash > root;) {
        char *mark = dapt_path_join(&arena, root, "meson-private/coredata.dat");
        if (mark && dapt_is_file(mark)) {
            status = load_build_tree(modules, &arena, root);
            break;
        }
        *slash = '\0';
    }
end:
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_modules_load(const char *const *folders, struct dapt_modules **modules) {
    *modules = dapt_alloc(1, sizeof **modules);
    if (!*modules) return DAPT_ERROR_MEMORY;
    enum dapt_status status = DAPT_OK;
    for (; !status && folders && *folders; folders++) status = load_place(*modules, *folders);
    if (!status) status = load_environment(*modules);
    if (!status) status = load_own(*modules);
    if (status) dapt_modules_unload(modules);
    return status;
}

void dapt_modules_unload(struct dapt_modules **modules) {
    struct dapt_modules *m = *modules;
    *modules = NULL;
    if (!m) return;
    for (size_t i = m->handle_count; i-- > 0;) dlclose(m->handles[i]);
    free(m->handles);
    free(m->offers);
    dapt_string_free(&m->left_out);
    dapt_arena_free(&m->arena);
    free(m);
}

size_t dapt_modules_count(const struct dapt_modules *modules) {
    return modules->offer_count;
}

void dapt_modules_at(const struct dapt_modules *modules, size_t index,
                     struct dapt_module_info *info) {
    const struct offer *offer = &modules->offers[index];
    *info = (struct dapt_module_info){
        .path = offer->path,
        .kind = offer->kind,
        .id = offer->id,
        .version = offer->version,
        .summary = offer->summary,
        .options = offer->descriptor ? offer->descriptor->options : NULL,
    };
}

// "dapt.source/1" -> "source", for people.
static void fail_missing(const struct dapt_modules *modules, const char *kind, const char *id) {
    const char *ids[128] = {0}, *nearest;
    size_t count = 0;
    struct dapt_string known = {0};
    for (size_t i = 0; i < modules->offer_count; i++) {
        const struct offer *offer = &modules->offers[i];
        if (strcmp(offer->kind, kind) != 0) continue;
        dapt_string_format(&known, "%s%s", known.length ? ", " : "", offer->id);
        if (count + 1 < sizeof ids / sizeof ids[0]) ids[count++] = offer->id;
    }
    nearest = dapt_nearest(id, ids);
    const char *noun = strncmp(kind, "dapt.", 5) == 0 ? kind + 5 : kind;
    const char *left_out = modules->left_out.data;
    dapt_fail(DAPT_ERROR_INVALID, "no %.*s \"%s\" was found%s%s%s (there are: %s%s%s)",
              (int)strcspn(noun, "/"), noun, id, nearest ? ", did you mean \"" : "",
              nearest ? nearest : "", nearest ? "\"?" : "",
              known.length ? known.data : "none; is dapt installed whole?",
              left_out ? "; left out: " : "", left_out ? left_out : "");
    dapt_string_free(&known);
}

const struct dapt_backend *dapt_modules_backend(const struct dapt_modules *modules,
                                                const char *name) {
    const struct offer *offer = find(modules, DAPT_BACKEND_KIND, name);
    if (!offer) fail_missing(modules, DAPT_BACKEND_KIND, name);
    return offer ? offer->backend : NULL;
}

const struct dapt_comm *dapt_modules_comm(const struct dapt_modules *modules,
                                          const char **left_out) {
    if (left_out) *left_out = modules->left_out.length ? modules->left_out.data : "";
    for (size_t i = 0; i < modules->offer_count; i++)
        if (modules->offers[i].comm) return modules->offers[i].comm;
    return NULL;
}

const struct dapt_plugin_descriptor *dapt_modules_plugin(const struct dapt_modules *modules,
                                                         const char *kind, const char *id) {
    const struct offer *offer = find(modules, kind, id);
    if (!offer) fail_missing(modules, kind, id);
    return offer ? offer->descriptor : NULL;
}

const struct dapt_plugin_descriptor *dapt_modules_each(const struct dapt_modules *modules,
                                                       const char *kind, size_t k) {
    for (size_t i = 0; i < modules->offer_count; i++) {
        const struct offer *offer = &modules->offers[i];
        if (offer->descriptor && strcmp(offer->kind, kind) == 0 && k-- == 0)
            return offer->descriptor;
    }
    return NULL;
}

static const struct offer *offer_of(const struct dapt_modules *modules,
                                    const struct dapt_plugin_descriptor *descriptor) {
    for (size_t i = 0; i < modules->offer_count; i++)
        if (modules->offers[i].descriptor == descriptor) return &modules->offers[i];
    return NULL;
}

const char *dapt_modules_file(const struct dapt_modules *modules,
                              const struct dapt_plugin_descriptor *descriptor) {
    const struct offer *offer = offer_of(modules, descriptor);
    return offer ? offer->path : NULL;
}

struct dapt_hash dapt_modules_content(const struct dapt_modules *modules,
                                      const struct dapt_plugin_descriptor *descriptor) {
    const struct offer *offer = offer_of(modules, descriptor);
    return offer ? offer->content : (struct dapt_hash){0};
}
