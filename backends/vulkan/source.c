// Shaders compiled at run time from DAPT_SHADER_DIR, for people who write shaders. They are
// compiled by glslc with the options of the build, and not by libshaderc: that of Debian 12 lacks a
// symbol and can't be loaded.
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vk.h"

#define MAX_ARGUMENTS 16
#define MAX_CODE (16 << 20)

extern char **environ;

// Runs glslc OPTIONS -DNAME=VALUE... SOURCE -o OUTPUT; its messages go to stderr. Its exit code, or
// -1.
static int run_glslc(const char *source, const char *defines, const char *output) {
    char words[256], name[] = "glslc", target[] = "--target-env=vulkan1.2", optimize[] = "-O",
                     to[] = "-o", *rest = NULL;
    char from[1024], into[256];
    char *arguments[MAX_ARGUMENTS] = {name, target, optimize};
    int count = 3, state = -1;
    snprintf(words, sizeof words, "%s", defines);
    snprintf(from, sizeof from, "%s", source);
    snprintf(into, sizeof into, "%s", output);
    for (char *word = strtok_r(words, " ", &rest); word != NULL && count < MAX_ARGUMENTS - 4;
         word = strtok_r(NULL, " ", &rest))
        arguments[count++] = word;
    arguments[count++] = from;
    arguments[count++] = to;
    arguments[count++] = into;
    pid_t child;
    if (posix_spawnp(&child, name, NULL, NULL, arguments, environ) != 0) return -1;
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static enum dapt_status read_code(struct dapt_device *d, const char *path, const char *name,
                                  uint32_t **code, size_t *size) {
    FILE *file = fopen(path, "rb");
    long length = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) length = ftell(file);
    bool sane = length > 0 && length <= MAX_CODE && length % 4 == 0;
    if (sane) *code = malloc((size_t)length);
    if (*code != NULL) {
        rewind(file);
        sane = fread(*code, 1, (size_t)length, file) == (size_t)length;
    }
    if (file != NULL) fclose(file);
    if (*code != NULL && sane) {
        *size = (size_t)length;
        return DAPT_OK;
    }
    free(*code);
    *code = NULL;
    return backend_fail(d->host, DAPT_ERROR_IO,
                        "DAPT_SHADER_DIR: what glslc made of %s cannot be read", name);
}

const char *vk_shader_folder(void) {
    const char *folder = getenv("DAPT_SHADER_DIR");
    return folder != NULL && *folder != '\0' ? folder : NULL;
}

enum dapt_status vk_shader_source(struct dapt_device *d, enum vk_shader shader, uint32_t **code,
                                  size_t *size) {
    const struct vk_shader_row *row = &vk_shader_rows[shader];
    const char *folder = vk_shader_folder(), *temporary = getenv("TMPDIR");
    char source[1024], output[256];
    *code = NULL;
    if (folder == NULL) return DAPT_OK;
    snprintf(source, sizeof source, "%s/%s", folder, row->source);
    if (access(source, R_OK) != 0)
        return backend_fail(d->host, DAPT_ERROR_IO, "DAPT_SHADER_DIR: %s cannot be read", source);
    snprintf(output, sizeof output, "%.200s/dapt-shader-XXXXXX",
             temporary != NULL && *temporary != '\0' ? temporary : "/tmp");
    int file = mkstemp(output);
    if (file < 0)
        return backend_fail(d->host, DAPT_ERROR_IO, "DAPT_SHADER_DIR: no temporary file %s",
                            output);
    close(file);
    int result = run_glslc(source, row->defines, output);
    enum dapt_status status = DAPT_OK;
    if (result == 0)
        status = read_code(d, output, row->name, code, size);
    else if (result == -1 || result == 127)
        status = backend_fail(d->host, DAPT_ERROR_UNSUPPORTED,
                              "DAPT_SHADER_DIR is set, but glslc cannot be run");
    else
        status = backend_fail(
            d->host, DAPT_ERROR_INVALID,
            "DAPT_SHADER_DIR: %s (shader %s) does not compile; glslc's words are above", source,
            row->name);
    unlink(output);
    return status;
}
