// LD_PRELOAD: lets one system call of a kind fail, or all of them be short. For faults.py.
//
//   FAULT_CALL   open, read, readdir, write, fsync, rename or mmap
//   FAULT_AT     the n-th call of that kind fails, counted from 1; 0: none
//   FAULT_ERRNO  with this number
//   FAULT_COUNT  a file to which the number of calls is written at the end
//   FAULT_SHORT  set: reads and writes move a part of what was asked for, or are interrupted
//
// Only calls on files count (paths and descriptors), not those of the dynamic linker, which the C library
// makes within itself.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma GCC visibility push(default)  // what the C library offers is ours to take its place

static atomic_uint calls, numbers;

#define REAL(name)                 \
    static __typeof__(name) *real; \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

// At the end, and where a call fails: a program may leave by _exit().
__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%u\n", atomic_load(&calls));
    fclose(file);
}

static int hit(const char *call) {
    const char *wanted = getenv("FAULT_CALL"), *at = getenv("FAULT_AT");
    if (!wanted || strcmp(wanted, call) != 0) return 0;
    unsigned n = atomic_fetch_add(&calls, 1) + 1;
    if (!at || n != strtoul(at, NULL, 10)) return 0;
    const char *number = getenv("FAULT_ERRNO");
    tell();
    errno = number ? atoi(number) : EIO;
    return 1;
}

// How many of `size` bytes a short call moves; 0: it is interrupted.
static size_t shorten(size_t size) {
    if (!getenv("FAULT_SHORT")) return size;
    unsigned n = atomic_fetch_add(&numbers, 1) * 2654435761u >> 16;
    if (n % 4 == 0) return 0;
    return size > 1 && n % 2 ? 1 + n % size : size;
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return hit("open") ? -1 : real(path, flags, mode);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    size_t part = shorten(size);
    if (size && !part) return errno = EINTR, -1;
    return hit("read") ? -1 : real(fd, data, part);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
    REAL(pread64);
    return hit("read") ? -1 : real(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    size_t part = shorten(size);
    if (size && !part) return errno = EINTR, -1;
    return fd > STDERR_FILENO && hit("write") ? -1 : real(fd, data, part);
}

struct dirent64 *readdir64(DIR *directory) {
    REAL(readdir64);
    return hit("readdir") ? NULL : real(directory);
}

int fsync(int fd) {
    REAL(fsync);
    return hit("fsync") ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return hit("fsync") ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return hit("rename") ? -1 : real(from, to);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset) {
    REAL(mmap64);
    return hit("mmap") ? MAP_FAILED : real(address, size, protection, flags, fd, offset);
}
