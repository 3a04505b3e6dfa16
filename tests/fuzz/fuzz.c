#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files.h"
#include "dapt/dapt.h"
#include "host/loader.h"

#define FILES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void remove_folder(void) {
    dapt_remove_tree(folder);
}

const char *fuzz_folder(void) {
    if (*folder) return folder;
    bool memory = access("/dev/shm", W_OK) == 0;
    snprintf(folder, sizeof folder, "%s/dapt-fuzz-XXXXXX", memory ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    atexit(remove_folder);
    return folder;
}

// Files stay open: making one anew each time would cost more than most parsers.
const char *fuzz_file(const char *name, const void *data, size_t size) {
    static struct {
        char path[96];
        int fd;
    } files[FILES];
    static size_t count;
    char path[96];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    size_t at = 0;
    while (at < count && strcmp(files[at].path, path) != 0) at++;
    if (at == count) {
        FUZZ_CHECK(count < FILES);
        count++;
        snprintf(files[at].path, sizeof files[at].path, "%s", path);
        files[at].fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    FUZZ_CHECK(pwrite(files[at].fd, data, size, 0) == (ssize_t)size);
    FUZZ_CHECK(ftruncate(files[at].fd, (off_t)size) == 0);
    return files[at].path;
}

static size_t accepted;

void fuzz_accept(void) {
    accepted++;
}

size_t fuzz_accepted(void) {
    return accepted;
}

void fuzz_touch(const void *data, size_t size) {
    const volatile uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) (void)bytes[i];
}

// ------------------------------------------------------------------------------------------- host

struct dapt_input {
    size_t at;
};

static const uint8_t *content;
static size_t content_size;

static struct dapt_input *open_content(const struct dapt_host *host, const char *path_z) {
    static struct dapt_input input;
    (void)host, (void)path_z;
    input.at = 0;
    return &input;
}

static int64_t read_content(struct dapt_input *input, void *data, size_t size) {
    size_t left = content_size - input->at, piece = 1 + (input->at * 7919 + content_size) % 511;
    if (piece > left) piece = left;
    if (piece > size) piece = size;
    if (piece) memcpy(data, content + input->at, piece);
    input->at += piece;
    return (int64_t)piece;
}

static void close_content(struct dapt_input *input) {
    (void)input;
}

const struct dapt_host *fuzz_host(const void *data, size_t size) {
    static struct dapt_host host;
    host = *dapt_host();
    host.open_input = open_content;
    host.read_input = read_content;
    host.close_input = close_content;
    content = data;
    content_size = size;
    return &host;
}

void fuzz_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: %s does not hold (errno: %s); last error: %s\n", file, line, condition,
            strerror(errno), dapt_error());
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool quiet;
    if (!quiet) dapt_set_log_level(DAPT_LOG_ERROR);
    quiet = true;
    fuzz_one(data, size);
    return 0;
}
