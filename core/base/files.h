// Files: whole reads, read-only maps, atomic writes, folders, globs. All paths are NUL-terminated
// UTF-8.
#ifndef DAPT_BASE_FILES_H
#define DAPT_BASE_FILES_H
#include "base/memory.h"

// Opens a regular file for reading and tells its size in bytes. A FIFO, a device or a folder is an error,
// not something to wait for.
enum dapt_status dapt_file_open(const char *path, int *fd, size_t *size);
// Writes all of it, however little the system takes at a time. `path` is for messages.
enum dapt_status dapt_write_all(int fd, const char *path, const void *data, size_t size);

// Maps a whole regular file read-only. An empty file gives data "" and size 0.
struct dapt_map {
    const uint8_t *data;
    size_t size;
    void *base;
};
enum dapt_status dapt_map_open(const char *path, struct dapt_map *map);
void dapt_map_close(struct dapt_map *map);  // a zeroed map is fine

// Says that a file is used, to those who would remove it; where the system has no locks, nobody knows.
struct dapt_lock {
    bool held;
    int fd;
};
void dapt_lock_share(const char *path, struct dapt_lock *lock);
void dapt_lock_release(struct dapt_lock *lock);  // a zeroed lock is fine

// Reads a whole file that must not exceed `limit` bytes. The string ends in NUL.
enum dapt_status dapt_file_read(const char *path, size_t limit, struct dapt_string *content);

// Writes a file so that, at any instant, `path` holds the old content or the new one: temporary
// name beside it, fsync, rename, fsync of the folder. The temporary file is locked (flock) as long as
// it is being written: one that nobody holds was left by a process that died.
struct dapt_writer;
enum dapt_status dapt_writer_open(const char *path, struct dapt_writer **writer);
enum dapt_status dapt_writer_write(struct dapt_writer *writer, const void *data, size_t size);
enum dapt_status dapt_writer_commit(struct dapt_writer **writer);  // closes either way
// removes the temporary file; NULL inside is fine
void dapt_writer_abort(struct dapt_writer **writer);
// the three together
enum dapt_status dapt_file_write(const char *path, const void *data, size_t size);

enum dapt_status dapt_mkdirs(const char *path);  // as mkdir -p, and sync
// As dapt_mkdirs, with mode 0700: what lies there is nobody else's business. A folder that is there must
// be this user's own (or this user root); `tighten` takes the permissions of others away.
enum dapt_status dapt_private_dir(const char *path, bool tighten);
enum dapt_status dapt_remove_tree(const char *path);  // as rm -rf; a missing path is fine
// After a failure: removes what was begun at `path` (NULL: nothing), keeps the reason of the failure,
// and returns `status`.
enum dapt_status dapt_discard(enum dapt_status status, const char *path);
enum dapt_status dapt_sync_dir(const char *path);
enum dapt_status dapt_rename(const char *from, const char *to);  // and sync the folder of `to`
bool dapt_is_dir(const char *path);
bool dapt_is_file(const char *path);
enum dapt_status dapt_copy_file(const char *from, const char *to);  // atomic as dapt_writer

// A path of two parts in `arena`; `b` alone when it is absolute.
char *dapt_path_join(struct dapt_arena *arena, const char *a, const char *b);

struct dapt_paths {
    char **paths;
    size_t count;
};
// The names in a folder, "." and ".." left out, sorted (bytes). A folder that can't be read to its end
// is an error: half a list is none.
enum dapt_status dapt_list_folder(struct dapt_arena *arena, const char *path,
                                  struct dapt_paths *names);

// The regular files that a pattern means, sorted by name (bytes): a file; a folder (all below it,
// hidden ones left out); a glob (files only; "**" stands for folders at any depth). What is there under
// its very name is no wildcard: of /pro[1]/*.txt only the last part is a pattern. Links are followed,
// loops are not. Nothing found is an error that names the pattern.
enum dapt_status dapt_expand(struct dapt_arena *arena, const char *pattern,
                             struct dapt_paths *paths);

// Where things are kept that can be made again: $XDG_CACHE_HOME/dapt or ~/.cache/dapt; it need not
// exist. NULL where neither variable names an absolute folder, or without memory.
char *dapt_cache_dir(struct dapt_arena *arena);

// The folder that the running program lies in ("/opt/dapt/bin"), for finding what was installed
// with it.
enum dapt_status dapt_program_dir(struct dapt_arena *arena, char **path);
#endif
