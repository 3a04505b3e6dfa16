// Shader rows compiled at run time from DAPT_SHADER_DIR, through libshaderc: for people who write
// shaders.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk.h"

#ifdef DAPT_SHADERC
#include <shaderc/shaderc.h>

// clang-format off
#define SHADERC_FUNCTIONS(X)                                                                          \
    X(compiler_initialize) X(compiler_release)                                                        \
    X(compile_options_initialize) X(compile_options_release)                                          \
    X(compile_options_add_macro_definition) X(compile_options_set_target_env)                         \
    X(compile_options_set_include_callbacks) X(compile_options_set_optimization_level)                \
    X(compile_into_spv) X(result_release) X(result_get_compilation_status) X(result_get_error_message) \
    X(result_get_bytes) X(result_get_length)
// clang-format on

#define MEMBER(name) __typeof__(&shaderc_##name) name;
static struct {
    void *library;
    SHADERC_FUNCTIONS(MEMBER)
} shaderc;
#undef MEMBER

static bool load(void) {
    static const char *const names[] = {"libshaderc.so.1", "libshaderc_shared.so.1",
                                        "libshaderc_shared.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names && shaderc.library == NULL; i++)
        shaderc.library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (shaderc.library == NULL) return false;
    bool all = true;
    void *symbol;
#define LOAD(name)                                     \
    symbol = dlsym(shaderc.library, "shaderc_" #name); \
    memcpy(&shaderc.name, &symbol, sizeof symbol);     \
    all = all && symbol != NULL;
    SHADERC_FUNCTIONS(LOAD)
#undef LOAD
    return all;
}

static char *read_text(const char *folder, const char *name, size_t *length) {
    char path[1024], *text = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 &&
        size < 1 << 20) {
        rewind(file);
        text = malloc((size_t)size + 1);
        if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
            free(text);
            text = NULL;
        }
    }
    if (file != NULL) fclose(file);
    if (text == NULL) return NULL;
    text[size] = '\0';
    *length = (size_t)size;
    return text;
}

static shaderc_include_result *include(void *folder, const char *requested, int type,
                                       const char *requesting, size_t depth) {
    (void)type, (void)requesting, (void)depth;
    shaderc_include_result *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    char *text = read_text(folder, requested, &r->content_length);
    r->source_name = text != NULL ? requested : "";
    r->source_name_length = strlen(r->source_name);
    r->content = text != NULL ? text : "file not found";
    if (text == NULL) r->content_length = strlen(r->content);
    r->user_data = text;
    return r;
}
static void included(void *folder, shaderc_include_result *r) {
    (void)folder;
    if (r != NULL) free(r->user_data);
    free(r);
}

// "-DNAME=VALUE -DOTHER"
static void define(shaderc_compile_options_t options, const char *defines) {
    while ((defines = strstr(defines, "-D")) != NULL) {
        defines += 2;
        size_t length = strcspn(defines, " "), name = strcspn(defines, "= ");
        bool valued = name < length;
        shaderc.compile_options_add_macro_definition(options, defines, name,
                                                     valued ? defines + name + 1 : "",
                                                     valued ? length - name - 1 : 0);
    }
}

static enum dapt_status compile(struct dapt_device *d, const char *folder,
                                const struct vk_shader_row *row, uint32_t **code, size_t *size) {
    size_t length = 0;
    char *text = read_text(folder, row->source, &length);
    if (text == NULL)
        return vk_fail(d->host, DAPT_ERROR_IO, "DAPT_SHADER_DIR: %s/%s cannot be read", folder,
                       row->source);
    shaderc_compiler_t compiler = shaderc.compiler_initialize();
    shaderc_compile_options_t options = shaderc.compile_options_initialize();
    shaderc.compile_options_set_target_env(options, shaderc_target_env_vulkan,
                                           shaderc_env_version_vulkan_1_2);
    shaderc.compile_options_set_optimization_level(options, shaderc_optimization_level_performance);
    union {
        const char *in;
        void *out;
    } context = {.in = folder};
    shaderc.compile_options_set_include_callbacks(options, include, included, context.out);
    define(options, row->defines);
    shaderc_compilation_result_t result = shaderc.compile_into_spv(
        compiler, text, length, shaderc_compute_shader, row->source, "main", options);
    enum dapt_status status = DAPT_OK;
    if (shaderc.result_get_compilation_status(result) != shaderc_compilation_status_success) {
        status = vk_fail(d->host, DAPT_ERROR_INVALID, "DAPT_SHADER_DIR: %s: %s", row->name,
                         shaderc.result_get_error_message(result));
    } else {
        *size = shaderc.result_get_length(result);
        *code = malloc(*size);
        if (*code != NULL)
            memcpy(*code, shaderc.result_get_bytes(result), *size);
        else
            status = vk_fail(d->host, DAPT_ERROR_MEMORY, "DAPT_SHADER_DIR: no memory for %s",
                             row->name);
    }
    shaderc.result_release(result);
    shaderc.compile_options_release(options);
    shaderc.compiler_release(compiler);
    free(text);
    return status;
}
#endif

enum dapt_status vk_shader_source(struct dapt_device *d, enum vk_shader shader, uint32_t **code,
                                  size_t *size) {
    const char *folder = getenv("DAPT_SHADER_DIR");
    *code = NULL;
    if (folder == NULL || *folder == '\0') return DAPT_OK;
#ifdef DAPT_SHADERC
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    bool loaded = load();
    enum dapt_status status = loaded
                                  ? compile(d, folder, &vk_shader_rows[shader], code, size)
                                  : vk_fail(
                                        d->host, DAPT_ERROR_UNSUPPORTED,
                                        "DAPT_SHADER_DIR is set, but libshaderc cannot be loaded");
    pthread_mutex_unlock(&mutex);
    return status;
#else
    (void)shader, (void)size;
    return vk_fail(d->host, DAPT_ERROR_UNSUPPORTED,
                   "DAPT_SHADER_DIR is set, but dapt was built without shaderc's headers");
#endif
}
