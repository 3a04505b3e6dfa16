// The folder of token shards: whose it is, what lies in it, and what may go.
//
//     KEY.tokens    a shard, held with a shared lock by whoever has it open
//     KEY.about     of what text it is; its time is that of the shard's last use
//     QUICK.seen    see corpus.c
//     .NAME.tmp-*   what is being written, held with a lock by its writer
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "corpus/internal.h"
#include "host/json.h"

#define ABOUT_LIMIT (1u << 20)  // bytes

enum dapt_status dapt_cache_find(const char *chosen, struct dapt_arena *arena,
                                 const char **folder) {
    *folder = chosen ? chosen : dapt_cache_dir(arena);
    return *folder
               ? DAPT_OK
               : dapt_fail(DAPT_ERROR_INVALID,
                           "no folder for token shards: set data.cache, XDG_CACHE_HOME or HOME");
}

// Whether a name is 32 hexadecimal digits and the ending; the digits are the hash.
static bool is_keyed(const char *name, const char *ending, struct dapt_hash *key) {
    char digits[33];
    if (strlen(name) != 32 + strlen(ending) || strcmp(name + 32, ending) != 0) return false;
    memcpy(digits, name, 32);
    digits[32] = '\0';
    return strspn(digits, "0123456789abcdef") == 32 && dapt_hash_parse(digits, key);
}

// A lock on a file that nobody else holds: its descriptor, or -1.
static int lock_alone(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat info;
    if (fd < 0) return -1;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

// ".KEY.tokens.tmp-<process>-<serial>" and the like.
static bool is_temporary(const char *name) {
    static const char *const endings[] = {".tokens", ".seen", ".about"};
    char inner[64];
    struct dapt_hash key;
    const char *mark = strstr(name, ".tmp-");
    if (name[0] != '.' || !mark || (size_t)(mark - name) > sizeof inner) return false;
    memcpy(inner, name + 1, (size_t)(mark - name) - 1);
    inner[mark - name - 1] = '\0';
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (is_keyed(inner, endings[i], &key)) return true;
    return false;
}

void dapt_cache_sweep(const char *folder) {
    struct dapt_arena arena = {0};
    struct dapt_paths names;
    if (dapt_list_folder(&arena, folder, &names)) names.count = 0;
    for (size_t i = 0; i < names.count; i++) {
        char *path = is_temporary(names.paths[i]) ? dapt_path_join(&arena, folder, names.paths[i])
                                                  : NULL;
        int fd = path ? lock_alone(path) : -1;
        if (fd < 0) continue;
        if (unlink(path) == 0) dapt_log(DAPT_LOG_DEBUG, "%s: left by a killed run; removed", path);
        close(fd);
    }
    dapt_arena_free(&arena);
}

// ------------------------------------------------------------------------------------------- about

char *dapt_cache_path(struct dapt_arena *arena, const char *folder, struct dapt_hash key,
                      const char *ending) {
    char digits[33];
    dapt_hash_text(key, digits);
    return dapt_arena_format(arena, "%s/%s%s", folder, digits, ending);
}

static enum dapt_status about_text(const char *name, const struct dapt_data_list *list,
                                   struct dapt_string *text) {
    enum dapt_status status = dapt_string_format(text, "{\"name\": ");
    if (!status) status = dapt_json_write_string(text, name ? name : "");
    if (!status) status = dapt_string_format(text, ", \"paths\": [");
    for (size_t i = 0; !status && i < list->count; i++) {
        if (i) status = dapt_string_add(text, ", ", 2);
        if (!status) status = dapt_json_write_string(text, list->entries[i].path);
    }
    return status ? status : dapt_string_format(text, "]}\n");
}

void dapt_cache_note(const char *folder, struct dapt_hash key, const char *name,
                     const struct dapt_data_list *list) {
    struct dapt_arena arena = {0};
    struct dapt_string text = {0};
    char *path = dapt_cache_path(&arena, folder, key, ".about");
    if (path && utimensat(AT_FDCWD, path, NULL, 0) != 0 &&
        (about_text(name, list, &text) || dapt_file_write(path, text.data, text.length)))
        dapt_log(DAPT_LOG_DEBUG, "%s", dapt_error());
    dapt_string_free(&text);
    dapt_arena_free(&arena);
}

// "domain: corpus/*.txt, mail"; "" where nothing was noted.
static const char *read_about(struct dapt_arena *arena, const char *path) {
    struct dapt_json *root = NULL;
    struct dapt_string text = {0};
    const char *name = "", *each;
    if (!dapt_is_file(path) || dapt_json_read(path, ABOUT_LIMIT, &root)) return "";
    const struct dapt_json *paths = dapt_json_member(root, "paths");
    if (dapt_json_get_string(root, "name", &name)) name = "";
    enum dapt_status status = dapt_string_format(&text, "%s%s", name, *name ? ": " : "");
    for (size_t i = 0; !status && i < dapt_json_count(paths); i++)
        if (!dapt_json_string(dapt_json_at(paths, i), &each))
            status = dapt_string_format(&text, "%s%s", i ? ", " : "", each);
    const char *copy = status ? NULL : dapt_arena_copy(arena, text.data, text.length);
    dapt_string_free(&text);
    dapt_json_free(&root);
    return copy ? copy : "";
}

// ----------------------------------------------------------------------------------------- listing

static double seconds_since(struct timespec then) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)(now.tv_sec - then.tv_sec) +
                     1e-9 * (double)(now.tv_nsec - then.tv_nsec);
    return seconds > 0 ? seconds : 0;
}

// False: the file is no shard of ours.
static bool examine(struct dapt_arena *arena, const char *folder, const char *name,
                    struct dapt_cache_entry *entry) {
    struct dapt_hash key;
    struct dapt_shard_counts counts;
    struct stat info, about;
    if (!is_keyed(name, ".tokens", &key)) return false;
    char *path = dapt_cache_path(arena, folder, key, ".tokens"),
         *note = dapt_cache_path(arena, folder, key, ".about");
    if (!path || !note || lstat(path, &info) || !S_ISREG(info.st_mode) ||
        !dapt_shard_peek(path, key, &counts))
        return false;
    int fd = lock_alone(path);
    if (fd >= 0) close(fd);
    *entry = (struct dapt_cache_entry){
        .path = path,
        .text = read_about(arena, note),
        .size = (uint64_t)info.st_size,
        .documents = counts.documents,
        .tokens = counts.tokens,
        .seconds = seconds_since(stat(note, &about) == 0 ? about.st_mtim : info.st_mtim),
        .in_use = fd < 0};
    return true;
}

static int by_age(const void *a, const void *b) {
    double x = ((const struct dapt_cache_entry *)a)->seconds,
           y = ((const struct dapt_cache_entry *)b)->seconds;
    return (x > y) - (x < y);
}

// Under its lock, so that nobody opens it meanwhile; who does so later finds nothing and makes it anew.
static void remove_shard(struct dapt_cache_entry *entry) {
    int fd = lock_alone(entry->path);
    entry->in_use = fd < 0;
    if (fd < 0) return;
    entry->removed = unlink(entry->path) == 0;
    if (!entry->removed)
        dapt_log(DAPT_LOG_WARNING, "%s: cannot be removed: %s", entry->path, strerror(errno));
    close(fd);
}

// Notes whose shard is gone.
static void remove_notes(const char *folder, const struct dapt_paths *names) {
    struct dapt_arena arena = {0};
    for (size_t i = 0; i < names->count; i++) {
        struct dapt_hash key, shard;
        char *path = dapt_path_join(&arena, folder, names->paths[i]);
        bool about = is_keyed(names->paths[i], ".about", &key);
        if (!path || (!about && !is_keyed(names->paths[i], ".seen", &key))) continue;
        if (about)
            shard = key;
        else if (!dapt_cache_read_seen(path, &shard, NULL))
            continue;
        char *tokens = dapt_cache_path(&arena, folder, shard, ".tokens");
        if (tokens && access(tokens, F_OK) != 0 && errno == ENOENT) unlink(path);
    }
    dapt_arena_free(&arena);
}

enum dapt_status dapt_cache_list(const char *chosen, bool purge, double days, dapt_cache_each each,
                                 void *user) {
    struct dapt_arena arena = {0};
    struct dapt_paths names = {0};
    struct dapt_cache_entry *entries = NULL;
    size_t count = 0;
    const char *folder;
    enum dapt_status status = dapt_cache_find(chosen, &arena, &folder);
    if (!status && dapt_is_dir(folder)) status = dapt_list_folder(&arena, folder, &names);
    if (!status) {
        entries = dapt_alloc(names.count + 1, sizeof *entries);
        if (!entries) status = DAPT_ERROR_MEMORY;
    }
    for (size_t i = 0; !status && i < names.count; i++)
        count += examine(&arena, folder, names.paths[i], &entries[count]);
    if (count > 1) qsort(entries, count, sizeof *entries, by_age);
    for (size_t i = 0; i < count && !status; i++) {
        if (purge && entries[i].seconds >= days * 86400) remove_shard(&entries[i]);
        each(user, folder, &entries[i]);
    }
    if (!status && count == 0) each(user, folder, NULL);
    if (!status && purge) {
        remove_notes(folder, &names);
        dapt_cache_sweep(folder);
    }
    free(entries);
    dapt_arena_free(&arena);
    return status;
}
