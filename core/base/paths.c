// Names of files: joining, and what a pattern means.
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

#define MAX_DEPTH 64

char *dapt_path_join(struct dapt_arena *arena, const char *a, const char *b) {
    size_t length = strlen(a);
    if (b[0] == '/' || length == 0) return dapt_arena_copy(arena, b, strlen(b));
    return dapt_arena_format(arena, "%s%s%s", a, a[length - 1] == '/' || !*b ? "" : "/", b);
}

enum dapt_status dapt_program_dir(struct dapt_arena *arena, char **path) {
    char name[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", name, sizeof name);
    if (length < 0)
        return dapt_fail_errno("/proc/self/exe: the program's own folder cannot be found");
    while (length > 1 && name[length - 1] != '/') length--;
    *path = dapt_arena_copy(arena, name, (size_t)(length > 1 ? length - 1 : length));
    return *path ? DAPT_OK : DAPT_ERROR_MEMORY;
}

// ------------------------------------------------------------------------------------ what is found

// Paths or names as they are found.
struct found {
    struct dapt_arena *arena;
    char **paths;
    size_t count, capacity;
};

static enum dapt_status add_path(struct found *found, const char *path) {
    enum dapt_status status = dapt_grow(&found->paths, &found->capacity, found->count + 1,
                                        sizeof *found->paths);
    if (status) return status;
    char *copy = dapt_arena_copy(found->arena, path, strlen(path));
    if (!copy) return DAPT_ERROR_MEMORY;
    found->paths[found->count++] = copy;
    return DAPT_OK;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Gives what was found to the caller, in its arena, or nothing where `status` says so.
static enum dapt_status give_paths(struct found *found, enum dapt_status status,
                                   struct dapt_paths *paths) {
    *paths = (struct dapt_paths){0};
    size_t size = found->count * sizeof *found->paths;
    if (!status && found->count) {
        paths->paths = dapt_arena_alloc(found->arena, size);
        if (paths->paths) memcpy(paths->paths, found->paths, size);
        if (paths->paths) paths->count = found->count;
        if (!paths->paths) status = DAPT_ERROR_MEMORY;
    }
    free(found->paths);
    return status;
}

// ----------------------------------------------------------------------------------------- folders

enum dapt_status dapt_list_folder(struct dapt_arena *arena, const char *path,
                                  struct dapt_paths *names) {
    struct found found = {.arena = arena};
    enum dapt_status status = DAPT_OK;
    *names = (struct dapt_paths){0};
    DIR *directory = opendir(path);
    if (!directory) return dapt_fail_errno("%s: folder cannot be read", path);
    while (!status) {
        errno = 0;  // the end and an error look alike otherwise
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            if (errno) status = dapt_fail_errno("%s: folder cannot be read to its end", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = add_path(&found, entry->d_name);
    }
    closedir(directory);
    if (found.count > 1) qsort(found.paths, found.count, sizeof *found.paths, by_bytes);
    return give_paths(&found, status, names);
}

// ---------------------------------------------------------------------------------------- patterns

// The folders that we are inside of: a link to one of them is a loop.
struct place {
    const struct place *up;
    dev_t device;
    ino_t inode;
    int depth;
};

static bool is_loop(const struct place *place, const struct stat *info) {
    for (; place; place = place->up) {
        if (place->device == info->st_dev && place->inode == info->st_ino) return true;
    }
    return false;
}

static enum dapt_status match_folder(struct found *found, const char *folder, const char *pattern,
                                     const struct place *up);

static bool is_any_depth(const char *pattern) {
    return pattern[0] == '*' && pattern[1] == '*' && (pattern[2] == '/' || pattern[2] == '\0');
}

// What can't be examined: gone, or a link to nowhere, is no match; anything else is an error.
static enum dapt_status not_there(const char *path) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return DAPT_OK;
    return dapt_fail_errno("%s: cannot be examined", path);
}

// One entry of a folder against the first part of `pattern`; "" and "**" take everything below, at any depth.
static enum dapt_status match_entry(struct found *found, const char *path, const char *name,
                                    const char *pattern, const struct place *up) {
    struct stat info;
    if (stat(path, &info) != 0) return not_there(path);
    bool folder = S_ISDIR(info.st_mode), file = S_ISREG(info.st_mode);
    if (*pattern == '\0' || is_any_depth(pattern)) {
        if (name[0] == '.') return DAPT_OK;
        if (folder) return match_folder(found, path, pattern, up);
        return file && (*pattern == '\0' || pattern[2] == '\0') ? add_path(found, path) : DAPT_OK;
    }
    size_t length = strcspn(pattern, "/");
    char part[NAME_MAX + 1];
    if (length >= sizeof part) return DAPT_OK;
    memcpy(part, pattern, length);
    part[length] = '\0';
    if (fnmatch(part, name, FNM_PERIOD) != 0) return DAPT_OK;
    const char *rest = pattern + length;
    while (*rest == '/') rest++;
    if (pattern[length] == '\0') return file ? add_path(found, path) : DAPT_OK;
    return folder ? match_folder(found, path, rest, up) : DAPT_OK;
}

// Adds the files in `folder` ("" is the current one) that `pattern` matches.
static enum dapt_status match_folder(struct found *found, const char *folder, const char *pattern,
                                     const struct place *up) {
    const char *name = *folder ? folder : ".";
    struct stat info;
    if (stat(name, &info) != 0) return not_there(name);
    if (is_loop(up, &info)) return DAPT_OK;
    struct place here = {
        .up = up, .device = info.st_dev, .inode = info.st_ino, .depth = up ? up->depth + 1 : 0};
    if (here.depth > MAX_DEPTH) {
        return dapt_fail(DAPT_ERROR_INVALID, "%s: folders lie deeper than %d levels", name,
                         MAX_DEPTH);
    }
    enum dapt_status status = DAPT_OK;
    if (is_any_depth(pattern) && pattern[2] == '/') {  // "**/x" also means x right here
        const char *rest = pattern + 3;
        while (*rest == '/') rest++;
        status = match_folder(found, folder, rest, up);
        if (status) return status;
    }
    struct dapt_arena scratch = {0};
    struct dapt_paths names;
    status = dapt_list_folder(&scratch, name, &names);
    for (size_t i = 0; !status && i < names.count; i++) {
        char *path = dapt_path_join(&scratch, folder, names.paths[i]);
        status = path ? match_entry(found, path, names.paths[i], pattern, &here)
                      : DAPT_ERROR_MEMORY;
    }
    dapt_arena_free(&scratch);
    return status;
}

static size_t find_wildcard(const char *pattern) {
    return strcspn(pattern, "*?[");
}

// The length of the folder that a pattern begins with: up to its first wildcard, and on as long as a
// folder of that very name is there, such as one that is called "pro[1]".
static enum dapt_status find_folder(struct dapt_arena *arena, const char *pattern, size_t *length) {
    size_t known = find_wildcard(pattern);
    while (known > 0 && pattern[known - 1] != '/') known--;
    for (const char *slash; (slash = strchr(pattern + known, '/'));) {
        char *folder = dapt_arena_copy(arena, pattern, (size_t)(slash - pattern));
        if (!folder) return DAPT_ERROR_MEMORY;
        if (slash > pattern && !dapt_is_dir(folder)) break;
        known = (size_t)(slash - pattern) + 1;
    }
    *length = known;
    return DAPT_OK;
}

static enum dapt_status match_glob(struct found *found, const char *pattern, size_t length) {
    struct dapt_arena scratch = {0};
    char *folder = dapt_arena_copy(&scratch, pattern, length);
    enum dapt_status status = folder ? match_folder(found, folder, pattern + length, NULL)
                                     : DAPT_ERROR_MEMORY;
    dapt_arena_free(&scratch);
    return status;
}

static void sort_unique(struct found *found) {
    if (found->count == 0) return;
    qsort(found->paths, found->count, sizeof *found->paths, by_bytes);
    size_t kept = 1;
    for (size_t i = 1; i < found->count; i++) {
        if (strcmp(found->paths[i], found->paths[kept - 1]) != 0)
            found->paths[kept++] = found->paths[i];
    }
    found->count = kept;
}

enum dapt_status dapt_expand(struct dapt_arena *arena, const char *pattern,
                             struct dapt_paths *paths) {
    *paths = (struct dapt_paths){0};
    struct found found = {.arena = arena};
    size_t folder;
    enum dapt_status status = find_folder(arena, pattern, &folder);
    if (status) return status;
    bool glob = pattern[folder + find_wildcard(pattern + folder)] != '\0';
    struct stat info;
    if (*pattern &&
        stat(pattern, &info) == 0) {  // the very name comes before what it would mean as a glob
        if (S_ISDIR(info.st_mode)) {
            status = match_folder(&found, pattern, "", NULL);
        } else if (S_ISREG(info.st_mode)) {
            status = add_path(&found, pattern);
        } else {
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: is neither a file nor a folder", pattern);
        }
    } else if (glob) {
        status = match_glob(&found, pattern, folder);
    } else {
        status = *pattern ? dapt_fail_errno("%s", pattern)
                          : dapt_fail(DAPT_ERROR_INVALID, "an empty path");
    }
    if (!status && found.count == 0) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: %s", pattern,
                           glob ? "no file matches" : "holds no files");
    }
    if (!status) sort_unique(&found);
    return give_paths(&found, status, paths);
}

char *dapt_cache_dir(struct dapt_arena *arena) {
    const char *home = getenv("HOME"), *xdg = getenv("XDG_CACHE_HOME");
    if (xdg && *xdg == '/') return dapt_path_join(arena, xdg, "dapt");
    return home && *home == '/' ? dapt_path_join(arena, home, ".cache/dapt") : NULL;
}
