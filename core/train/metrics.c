#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"

struct dapt_metrics {
    int fd;
    char *path;
    struct dapt_arena arena;
};

// Where the last whole line ends. Lines are far shorter than the window; a file without any newline
// in it is no metrics file.
static enum dapt_status cut_partial_line(struct dapt_metrics *metrics) {
    char window[65536];
    off_t size = lseek(metrics->fd, 0, SEEK_END);
    if (size <= 0) return DAPT_OK;
    off_t begin = size > (off_t)sizeof window ? size - (off_t)sizeof window : 0;
    size_t n = 0, wanted = (size_t)(size - begin);
    while (n < wanted) {
        ssize_t more = pread(metrics->fd, window + n, wanted - n, begin + (off_t)n);
        if (more < 0 && errno == EINTR) continue;
        if (more == 0) errno = EIO;
        if (more <= 0) return dapt_fail_errno("%s: cannot be read", metrics->path);
        n += (size_t)more;
    }
    if (window[n - 1] == '\n') return DAPT_OK;
    const char *newline = memrchr(window, '\n', n);
    if (!newline && begin > 0) {
        return dapt_fail(DAPT_ERROR_INVALID,
                         "%s: its last %zu bytes hold no line; is it a metrics file?",
                         metrics->path, sizeof window);
    }
    off_t keep = newline ? begin + (newline - window) + 1 : 0;
    dapt_log(DAPT_LOG_WARNING, "%s: took off an unfinished last line", metrics->path);
    if (ftruncate(metrics->fd, keep) != 0)
        return dapt_fail_errno("%s: cannot be cut", metrics->path);
    return DAPT_OK;
}

enum dapt_status dapt_metrics_open(const char *path, struct dapt_metrics **metrics) {
    struct dapt_metrics *m = *metrics = dapt_alloc(1, sizeof *m);
    if (!m) return DAPT_ERROR_MEMORY;
    m->fd = -1;
    enum dapt_status status = DAPT_OK;
    m->path = dapt_arena_copy(&m->arena, path, strlen(path));
    if (!m->path) status = DAPT_ERROR_MEMORY;
    if (!status) {
        // A link there may lead anywhere: what it names is not ours to write to.
        m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (m->fd < 0 && errno == ELOOP)
            status = dapt_fail(DAPT_ERROR_INVALID, "%s: is a symbolic link, expected a file", path);
        else if (m->fd < 0)
            status = dapt_fail_errno("%s: cannot be opened for writing", path);
    }
    struct stat info;
    if (!status && (fstat(m->fd, &info) != 0 || !S_ISREG(info.st_mode)))
        status = dapt_fail(DAPT_ERROR_INVALID, "%s: is not a regular file", path);
    if (!status) status = cut_partial_line(m);
    if (status) dapt_metrics_close(metrics);
    return status;
}

void dapt_metrics_close(struct dapt_metrics **metrics) {
    struct dapt_metrics *m = *metrics;
    *metrics = NULL;
    if (!m) return;
    if (m->fd >= 0) close(m->fd);
    dapt_arena_free(&m->arena);
    free(m);
}

cJSON *dapt_metrics_event(const char *event) {
    cJSON *object = cJSON_CreateObject();
    if (!object) return NULL;
    char text[64];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + n, sizeof text - n, ".%03ldZ", now.tv_nsec / 1000000);
    cJSON_AddStringToObject(object, "event", event);
    cJSON_AddStringToObject(object, "time", text);
    return object;
}

enum dapt_status dapt_metrics_add(struct dapt_metrics *metrics, cJSON *object) {
    char *line = object ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    if (!line) return dapt_fail(DAPT_ERROR_MEMORY, "%s: no memory for a line", metrics->path);
    size_t length = strlen(line);
    line[length++] = '\n';  // over the NUL: one write, as a rule
    enum dapt_status status = DAPT_OK;
    off_t before = lseek(metrics->fd, 0, SEEK_END);
    status = dapt_write_all(metrics->fd, metrics->path, line, length);
    // Half a line would make the next one unreadable too. If even this fails, the next open takes it
    // off.
    if (status && before >= 0 && ftruncate(metrics->fd, before) != 0) before = -1;
    cJSON_free(line);
    return status;
}

enum dapt_status dapt_metrics_sync(struct dapt_metrics *metrics) {
    if (!metrics || fdatasync(metrics->fd) == 0 || errno == EINVAL || errno == ENOTSUP)
        return DAPT_OK;
    return dapt_fail_errno("%s: cannot be written to the disk", metrics->path);
}
