#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"

enum dapt_status dapt_file_open(const char *path, int *fd, size_t *size) {
    *fd = open(path, O_RDONLY | O_CLOEXEC |
                         O_NONBLOCK);  // a FIFO must not hang us before we see what it is
    if (*fd < 0 && errno == ENXIO)
        return dapt_fail(DAPT_ERROR_INVALID, "%s: is a socket, expected a regular file", path);
    if (*fd < 0) return dapt_fail_errno("%s: cannot be opened", path);
    struct stat info;
    enum dapt_status status = DAPT_OK;
    if (fstat(*fd, &info) != 0) {
        status = dapt_fail_errno("%s: cannot be examined", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is %s, expected a regular file", path,
                           S_ISDIR(info.st_mode)    ? "a folder"
                           : S_ISFIFO(info.st_mode) ? "a FIFO"
                                                    : "a device");
    } else if ((uintmax_t)info.st_size > PTRDIFF_MAX) {
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: too large for this machine", path);
    } else {
        *size = (size_t)info.st_size;
    }
    if (status) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

enum dapt_status dapt_write_all(int fd, const char *path, const void *data, size_t size) {
    for (const uint8_t *at = data; size > 0;) {
        ssize_t n = write(fd, at, size < (1u << 30) ? size : (1u << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return dapt_fail_errno("%s: cannot be written", path);
        at += n;
        size -= (size_t)n;
    }
    return DAPT_OK;
}

enum dapt_status dapt_map_open(const char *path, struct dapt_map *map) {
    *map = (struct dapt_map){.data = (const uint8_t *)""};
    int fd;
    size_t size = 0;
    enum dapt_status status = dapt_file_open(path, &fd, &size);
    if (status) return status;
    if (size > 0) {
        void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base == MAP_FAILED) {
            status = dapt_fail_errno("%s: cannot be mapped (%zu bytes)", path, size);
        } else {
            *map = (struct dapt_map){.data = base, .size = size, .base = base};
            dapt_crash_map(base, size, path);
        }
    }
    close(fd);
    return status;
}

void dapt_map_close(struct dapt_map *map) {
    if (map->base) {
        dapt_crash_unmap(map->base);
        munmap(map->base, map->size);
    }
    *map = (struct dapt_map){0};
}

void dapt_lock_share(const char *path, struct dapt_lock *lock) {
    *lock = (struct dapt_lock){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (lock->fd < 0) return;
    lock->held = flock(lock->fd, LOCK_SH | LOCK_NB) == 0;
    if (!lock->held) close(lock->fd);
}

void dapt_lock_release(struct dapt_lock *lock) {
    if (lock->held) close(lock->fd);
    *lock = (struct dapt_lock){0};
}

enum dapt_status dapt_file_read(const char *path, size_t limit, struct dapt_string *content) {
    *content = (struct dapt_string){0};
    int fd;
    size_t size = 0;
    enum dapt_status status = dapt_file_open(path, &fd, &size);
    if (status) return status;
    status = dapt_grow(&content->data, &content->capacity, (size < limit ? size : limit) + 2, 1);
    while (!status) {
        // Room for one byte more than the limit (and the NUL), to notice a file that is longer, whatever its size said.
        status = dapt_grow(&content->data, &content->capacity, content->length + 2, 1);
        if (status) break;
        ssize_t n = read(fd, content->data + content->length,
                         content->capacity - content->length - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = dapt_fail_errno("%s: cannot be read", path);
        if (n <= 0) break;
        content->length += (size_t)n;
        if (content->length > limit) {
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: is larger than the %zu bytes allowed here",
                               path, limit);
        }
    }
    close(fd);
    if (status) {
        dapt_string_free(content);
    } else {
        content->data[content->length] = '\0';
    }
    return status;
}

// ------------------------------------------------------------------------------------------------------- writer

#define BUFFER_SIZE (256 * 1024)

struct dapt_writer {
    char *path, *temporary;
    int fd;
    size_t used;
    uint8_t *buffer;
    struct dapt_arena arena;
};

static void writer_free(struct dapt_writer **writer, bool remove_temporary) {
    struct dapt_writer *w = *writer;
    *writer = NULL;
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->fd >= 0 && remove_temporary) unlink(w->temporary);
    free(w->buffer);
    dapt_arena_free(&w->arena);
    free(w);
}

// Locks what was just made. False: someone took it for a left-over in between and removed it.
static bool hold(int fd) {
    struct stat info;
    return flock(fd, LOCK_EX | LOCK_NB) != 0 ? errno != EWOULDBLOCK
                                             : fstat(fd, &info) != 0 || info.st_nlink > 0;
}

// The temporary file lies in the same folder (rename needs that) under a hidden name (dapt_expand leaves it out).
static enum dapt_status open_temporary(struct dapt_writer *w) {
    static atomic_uint serial;
    const char *slash = strrchr(w->path, '/');
    int folder = slash ? (int)(slash - w->path) + 1 : 0;
    for (int attempt = 0; attempt < 100; attempt++) {
        w->temporary = dapt_arena_format(&w->arena, "%.*s.%s.tmp-%ld-%u", folder, w->path,
                                         w->path + folder, (long)getpid(),
                                         atomic_fetch_add(&serial, 1));
        if (!w->temporary) return DAPT_ERROR_MEMORY;
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0 && hold(w->fd)) return DAPT_OK;
        if (w->fd < 0 && errno != EEXIST) break;
        if (w->fd >= 0) close(w->fd);
        w->fd = -1;
    }
    return dapt_fail_errno("%s: cannot be created", w->path);
}

enum dapt_status dapt_writer_open(const char *path, struct dapt_writer **writer) {
    struct dapt_writer *w = *writer = dapt_alloc(1, sizeof *w);
    if (!w) return DAPT_ERROR_MEMORY;
    w->fd = -1;
    enum dapt_status status = DAPT_ERROR_MEMORY;
    w->path = dapt_arena_copy(&w->arena, path, strlen(path));
    w->buffer = dapt_alloc_aligned(BUFFER_SIZE, 1);
    if (w->path && w->buffer) status = open_temporary(w);
    if (status) writer_free(writer, true);
    return status;
}

static enum dapt_status flush(struct dapt_writer *w) {
    size_t size = w->used;
    w->used = 0;
    return dapt_write_all(w->fd, w->path, w->buffer, size);
}

enum dapt_status dapt_writer_write(struct dapt_writer *w, const void *data, size_t size) {
    if (size > BUFFER_SIZE - w->used) {
        enum dapt_status status = flush(w);
        if (status) return status;
    }
    if (size >= BUFFER_SIZE) return dapt_write_all(w->fd, w->path, data, size);
    if (size) memcpy(w->buffer + w->used, data, size);
    w->used += size;
    return DAPT_OK;
}

// The folder that a path lies in; NULL: no memory.
static char *parent_of(struct dapt_arena *arena, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    return length ? dapt_arena_copy(arena, path, length) : dapt_arena_copy(arena, ".", 1);
}

static enum dapt_status sync_parent(const char *path) {
    struct dapt_arena arena = {0};
    char *folder = parent_of(&arena, path);
    enum dapt_status status = folder ? dapt_sync_dir(folder) : DAPT_ERROR_MEMORY;
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_writer_commit(struct dapt_writer **writer) {
    struct dapt_writer *w = *writer;
    bool renamed = false;
    enum dapt_status status = flush(w);
    if (!status && fsync(w->fd) != 0)
        status = dapt_fail_errno("%s: cannot be written to the disk", w->path);
    if (!status && rename(w->temporary, w->path) != 0)
        status = dapt_fail_errno("%s: cannot be replaced", w->path);
    if (!status) {
        renamed = true;
        status = sync_parent(w->path);
    }
    writer_free(writer, !renamed);
    return status;
}

void dapt_writer_abort(struct dapt_writer **writer) {
    writer_free(writer, true);
}

enum dapt_status dapt_file_write(const char *path, const void *data, size_t size) {
    struct dapt_writer *writer;
    enum dapt_status status = dapt_writer_open(path, &writer);
    if (status) return status;
    status = dapt_writer_write(writer, data, size);
    if (!status) return dapt_writer_commit(&writer);
    dapt_writer_abort(&writer);
    return status;
}

enum dapt_status dapt_copy_file(const char *from, const char *to) {
    struct dapt_map map;
    enum dapt_status status = dapt_map_open(from, &map);
    if (status) return status;
    status = dapt_file_write(to, map.data, map.size);
    dapt_map_close(&map);
    return status;
}

// ------------------------------------------------------------------------------------------------------ folders

bool dapt_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool dapt_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

enum dapt_status dapt_mkdirs(const char *path) {
    struct dapt_arena arena = {0};
    char *copy = dapt_arena_copy(&arena, path, strlen(path));
    enum dapt_status status = copy ? DAPT_OK : DAPT_ERROR_MEMORY;
    for (char *p = copy; !status && *p;) {
        while (*p == '/') p++;
        while (*p && *p != '/') p++;
        char kept = *p;
        *p = '\0';
        int reason = mkdir(copy, 0777) == 0 ? 0 : errno;  // the look for a folder changes errno
        if (reason == 0) {
            status = sync_parent(copy);
        } else if (!dapt_is_dir(copy)) {
            errno = reason == EEXIST ? ENOTDIR : reason;  // a file is in the way
            status = dapt_fail_errno("%s: folder cannot be made", copy);
        }
        *p = kept;
    }
    dapt_arena_free(&arena);
    return status;
}

enum dapt_status dapt_private_dir(const char *path, bool tighten) {
    struct stat info;
    if (!dapt_is_dir(path)) {
        struct dapt_arena arena = {0};
        char *up = parent_of(&arena, path);
        enum dapt_status status = up ? dapt_mkdirs(up) : DAPT_ERROR_MEMORY;
        dapt_arena_free(&arena);
        if (status) return status;
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return dapt_fail_errno("%s: folder cannot be made", path);
    }
    if (stat(path, &info) != 0) return dapt_fail_errno("%s", path);
    if (!S_ISDIR(info.st_mode)) return dapt_fail(DAPT_ERROR_IO, "%s: is not a folder", path);
    if (info.st_uid != geteuid() && geteuid() != 0)
        return dapt_fail(
            DAPT_ERROR_INVALID,
            "%s: belongs to another user, who could change what is read from it; choose "
            "a folder of your own (data.cache, --cache or XDG_CACHE_HOME)",
            path);
    if (tighten && info.st_uid == geteuid() && (info.st_mode & 077) && chmod(path, 0700) != 0)
        return dapt_fail_errno("%s: cannot be closed to others", path);
    return DAPT_OK;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

enum dapt_status dapt_remove_tree(const char *path) {
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return DAPT_OK;
    return dapt_fail_errno("%s: cannot be removed", path);
}

enum dapt_status dapt_discard(enum dapt_status status, const char *path) {
    char reason[2048];  // removing may fail too
    snprintf(reason, sizeof reason, "%s", dapt_error());
    if (path) dapt_remove_tree(path);
    return dapt_fail(status, "%s", reason);
}

enum dapt_status dapt_sync_dir(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return dapt_fail_errno("%s: folder cannot be opened", path);
    // Some file systems can't sync a folder and say EINVAL: there is nothing to do then.
    int failed = fsync(fd) != 0 && errno != EINVAL;
    enum dapt_status status =
        failed ? dapt_fail_errno("%s: folder cannot be written to the disk", path) : DAPT_OK;
    close(fd);
    return status;
}

enum dapt_status dapt_rename(const char *from, const char *to) {
    if (rename(from, to) != 0) return dapt_fail_errno("%s: cannot be renamed to %s", from, to);
    return sync_parent(to);
}
