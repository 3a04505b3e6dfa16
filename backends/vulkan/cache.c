// Cache files of what depends on a device and its driver: compiled pipelines, measured tiles. They
// begin with a header; if it or the data differ by a single byte, that is a miss.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vk.h"

#define CACHE_LIMIT (64 << 20)

struct cache_head {
    char magic[8];
    uint32_t vendor, device, driver, size;
    uint8_t uuid[VK_UUID_SIZE];
    uint64_t content, hash;
};

uint64_t vk_hash(const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

uint64_t vk_hash_shader(uint64_t hash, enum vk_shader shader) {
    const struct vk_shader_row *row = &vk_shader_rows[shader];
    return 31 * hash + vk_hash(row->code, row->size);
}

static struct cache_head head_for(const struct dapt_device *d, uint64_t content, const void *data,
                                  size_t size) {
    const VkPhysicalDeviceProperties *p = &d->adapter->properties;
    struct cache_head head;
    memset(&head, 0, sizeof head);
    memcpy(head.magic, "daptvk2", 8);
    head.vendor = p->vendorID;
    head.device = p->deviceID;
    head.driver = p->driverVersion;
    head.size = (uint32_t)size;
    memcpy(head.uuid, p->pipelineCacheUUID, sizeof head.uuid);
    head.content = content;
    head.hash = vk_hash(data, size);
    return head;
}

// Puts the folder of an absolute path into `folder`; returns the name in it.
static const char *folder_of(const char *path, char folder[512]) {
    const char *slash = strrchr(path, '/');
    snprintf(folder, 512, "%.*s", (int)(slash - path), path);
    return slash + 1;
}

// Whoever may write there decides what a driver is given to read.
static bool is_ours(const char *path) {
    char folder[512];
    struct stat info;
    folder_of(path, folder);
    return stat(folder, &info) != 0 || info.st_uid == geteuid() || geteuid() == 0;
}

// Relative folders and those of other users are not trusted. False: there is no such file.
static bool find_path(const struct dapt_device *d, const char *kind, char path[512]) {
    const char *off = getenv("DAPT_VK_CACHE"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    const VkPhysicalDeviceProperties *p = &d->adapter->properties;
    bool own = cache != NULL && cache[0] == '/';
    if ((off != NULL && strcmp(off, "0") == 0) || (!own && (home == NULL || home[0] != '/')))
        return false;
    int length = snprintf(path, 512, "%s%s/dapt/vulkan-%04x-%04x-%08x.%s", own ? cache : home,
                          own ? "" : "/.cache", p->vendorID, p->deviceID, p->driverVersion, kind);
    return length > 0 && length < 512 && is_ours(path);
}

// Removes "NAME.PROCESS" beside NAME that killed processes left: those that nobody has locked.
static void sweep(const char *path) {
    char folder[512];
    const char *name = folder_of(path, folder);
    size_t length = strlen(name);
    DIR *list = opendir(folder);
    for (struct dirent *e; list != NULL && (e = readdir(list)) != NULL;) {
        const char *digits = e->d_name + length + 1;
        if (strncmp(e->d_name, name, length) != 0 || e->d_name[length] != '.' || *digits == '\0' ||
            digits[strspn(digits, "0123456789")] != '\0')
            continue;
        int file = openat(dirfd(list), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0) unlinkat(dirfd(list), e->d_name, 0);
        if (file >= 0) close(file);
    }
    if (list != NULL) closedir(list);
}

// Makes the folders of a path that ends in a file name.
static bool make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) return false;
    }
    return true;
}

void *vk_cache_read(const struct dapt_device *d, const char *kind, uint64_t content, size_t *size) {
    struct cache_head head, expected;
    uint8_t *data = NULL;
    char path[512];
    bool good = false;
    *size = 0;
    FILE *file = find_path(d, kind, path) ? fopen(path, "rb") : NULL;
    if (file == NULL) return NULL;
    if (fread(&head, sizeof head, 1, file) == 1 && head.size > 0 && head.size <= CACHE_LIMIT)
        data = malloc(head.size);
    if (data != NULL && fread(data, 1, head.size, file) == head.size && fgetc(file) == EOF) {
        expected = head_for(d, content, data, head.size);
        good = memcmp(&head, &expected, sizeof head) == 0;
    }
    fclose(file);
    if (good) {
        *size = head.size;
        return data;
    }
    free(data);
    return NULL;
}

void vk_cache_write(const struct dapt_device *d, const char *kind, uint64_t content,
                    const void *data, size_t size) {
    char path[512], fresh[560];
    if (size == 0 || size > CACHE_LIMIT || !find_path(d, kind, path) || !make_folders(path)) return;
    sweep(path);
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(fresh, "wb");
    if (file == NULL) return;
    flock(fileno(file), LOCK_EX | LOCK_NB);  // see sweep(); without locks all is as before
    struct cache_head head = head_for(d, content, data, size);
    bool ok = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(data, 1, size, file) == size;
    ok = fclose(file) == 0 && ok;
    if (!ok || rename(fresh, path) != 0) unlink(fresh);
}
