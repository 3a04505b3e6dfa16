#include "checkpoint/runfolder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void dapt_run_folder_name(uint64_t step, char name[32]) {
    snprintf(name, 32, "step-%06" PRIu64, step);
}

bool dapt_run_folder_parse(const char *name, uint64_t *step) {
    char again[32];
    if (strncmp(name, "step-", 5) != 0 || strlen(name) > 25 || name[5] < '0' || name[5] > '9')
        return false;
    *step = strtoull(name + 5, NULL, 10);
    dapt_run_folder_name(*step, again);
    return strcmp(name, again) == 0;
}

char *dapt_run_folder_checkpoint(struct dapt_arena *arena, const struct dapt_run_folder *run,
                                 uint64_t step) {
    char name[32];
    dapt_run_folder_name(step, name);
    return dapt_path_join(arena, run->checkpoints, name);
}

static enum dapt_status lock(struct dapt_run_folder *run) {
    char *path = run->lock_path = dapt_path_join(&run->arena, run->path, ".lock");
    if (!path) return DAPT_ERROR_MEMORY;
    // A link there may lead anywhere: what it names is not ours to make or to lock.
    run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (run->lock < 0 && errno == ELOOP)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: is a symbolic link, expected a file", path);
    if (run->lock < 0) return dapt_fail_errno("%s: cannot be opened for writing", path);
    if (flock(run->lock, LOCK_EX | LOCK_NB) == 0) return DAPT_OK;
    if (errno == EWOULDBLOCK) {
        return dapt_fail(DAPT_ERROR_INVALID, "%s: another process is training into this run folder",
                         run->path);
    }
    // Some network file systems have no locks; going on is better than not training at all.
    dapt_log(DAPT_LOG_WARNING,
             "%s: cannot be locked (%s); make sure that no other process trains into it", run->path,
             strerror(errno));
    return DAPT_OK;
}

// Calls `keep` for each name in a folder and removes the entry when it says no.
static enum dapt_status sweep(const char *folder, bool (*keep)(const char *name)) {
    struct dapt_arena arena = {0};
    struct dapt_paths names;
    enum dapt_status status = dapt_list_folder(&arena, folder, &names);
    for (size_t i = 0; !status && i < names.count; i++) {
        if (keep(names.paths[i])) continue;
        char *path = dapt_path_join(&arena, folder, names.paths[i]);
        status = path ? dapt_remove_tree(path) : DAPT_ERROR_MEMORY;
    }
    dapt_arena_free(&arena);
    return status;
}

static bool keep_checkpoint(const char *name) {
    return strncmp(name, ".part-", 6) != 0 && strncmp(name, ".gone-", 6) != 0;
}

// The temporary files of dapt_writer: ".<name>.tmp-<process>-<serial>".
static bool keep_file(const char *name) {
    static const char *const written[] = {".config.json.tmp-", ".device.json.tmp-",
                                          ".ledger.json.tmp-", ".latest.tmp-", ".best.tmp-"};
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        if (strncmp(name, written[i], strlen(written[i])) == 0) return false;
    }
    return true;
}

enum dapt_status dapt_run_folder_open(const char *path, struct dapt_run_folder *run) {
    *run = (struct dapt_run_folder){.lock = -1};
    enum dapt_status status = DAPT_OK;
    run->path = dapt_arena_copy(&run->arena, path, strlen(path));
    run->checkpoints = run->path ? dapt_path_join(&run->arena, path, "checkpoints") : NULL;
    if (!run->checkpoints) status = DAPT_ERROR_MEMORY;
    run->made = !dapt_is_dir(path);
    if (!status) status = dapt_mkdirs(run->checkpoints);
    if (!status) status = lock(run);
    if (!status) status = sweep(run->checkpoints, keep_checkpoint);
    if (!status) status = sweep(run->path, keep_file);
    if (status) {
        dapt_fail_in(status, "the run folder");
        dapt_run_folder_close(run);
    }
    return status;
}

enum dapt_status dapt_run_folder_check(const struct dapt_run_folder *run) {
    struct stat ours, there;
    if (fstat(run->lock, &ours) == 0 && lstat(run->lock_path, &there) == 0 &&
        ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
        return DAPT_OK;
    return dapt_fail(DAPT_ERROR_INVALID,
                     "%s: was removed or replaced while this run trained into it; nothing more "
                     "is written there, as it may be another run's now",
                     run->path);
}

void dapt_run_folder_discard(struct dapt_run_folder *run) {
    if (!run->made || run->lock < 0 || rmdir(run->checkpoints) != 0) return;
    unlink(run->lock_path);
    rmdir(run->path);
}

void dapt_run_folder_close(struct dapt_run_folder *run) {
    if (run->path && run->lock >= 0) close(run->lock);
    dapt_arena_free(&run->arena);
    *run = (struct dapt_run_folder){.lock = -1};
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum dapt_status dapt_run_folder_steps(const struct dapt_run_folder *run, uint64_t **steps,
                                       size_t *count) {
    struct dapt_arena arena = {0};
    struct dapt_paths names;
    size_t capacity = 0;
    uint64_t step;
    *steps = NULL;
    *count = 0;
    enum dapt_status status = dapt_list_folder(&arena, run->checkpoints, &names);
    for (size_t i = 0; !status && i < names.count; i++) {
        if (!dapt_run_folder_parse(names.paths[i], &step)) continue;
        status = dapt_grow(steps, &capacity, *count + 1, sizeof **steps);
        if (!status) (*steps)[(*count)++] = step;
    }
    dapt_arena_free(&arena);
    if (status) {
        free(*steps);
        *steps = NULL;
    } else if (*count > 1) {
        qsort(*steps, *count, sizeof **steps, ascending);
    }
    return status;
}

enum dapt_status dapt_run_folder_remove(struct dapt_run_folder *run, const char *name) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, run->checkpoints, name);
    char *gone = dapt_arena_format(&arena, "%s/.gone-%s", run->checkpoints, name);
    enum dapt_status status = path && gone ? dapt_run_folder_check(run) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_remove_tree(gone);
    if (!status) status = dapt_rename(path, gone);
    if (!status) status = dapt_remove_tree(gone);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_run_folder_mark(const struct dapt_run_folder *run, const char *which,
                                      uint64_t step) {
    struct dapt_arena arena = {0};
    char name[32], line[40];
    dapt_run_folder_name(step, name);
    int length = snprintf(line, sizeof line, "%s\n", name);
    char *path = dapt_path_join(&arena, run->path, which);
    enum dapt_status status = path ? dapt_run_folder_check(run) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_file_write(path, line, (size_t)length);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_run_folder_unmark(const struct dapt_run_folder *run, const char *which) {
    struct dapt_arena arena = {0};
    char *path = dapt_path_join(&arena, run->path, which);
    enum dapt_status status = path ? dapt_run_folder_check(run) : DAPT_ERROR_MEMORY;
    if (!status) status = dapt_remove_tree(path);
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_run_folder_marked(const char *run, const char *which, uint64_t *step) {
    struct dapt_arena arena = {0};
    struct dapt_string text = {0};
    char *path = dapt_path_join(&arena, run, which);
    enum dapt_status status = path ? DAPT_OK : DAPT_ERROR_MEMORY;
    if (!status && !dapt_is_file(path)) status = DAPT_END;
    if (!status) status = dapt_file_read(path, 256, &text);
    if (!status) {
        size_t length = strcspn(text.data, "\r\n");
        text.data[length] = '\0';
        if (!dapt_run_folder_parse(text.data, step)) {
            status = dapt_fail(DAPT_ERROR_INVALID,
                               "%s: holds \"%s\", expected the name of a checkpoint", path,
                               text.data);
        }
    }
    dapt_string_free(&text);
    dapt_arena_free(&arena);
    return status;
}
