#include "fixture.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local char last_error[1024];

struct dapt_input {
    FILE *file;
};

static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line_z) {
    (void)host;
    if (level == DAPT_LOG_ERROR) fprintf(stderr, "%s\n", line_z);
}

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line_z) {
    (void)host;
    snprintf(last_error, sizeof last_error, "%s", line_z);
    return status;
}

static struct dapt_input *host_open_input(const struct dapt_host *host, const char *path_z) {
    struct stat info;
    struct dapt_input *input = malloc(sizeof *input);
    FILE *file = !stat(path_z, &info) && S_ISREG(info.st_mode) ? fopen(path_z, "rb") : NULL;
    if (file && input) {
        input->file = file;
        return input;
    }
    if (file) fclose(file);
    free(input);
    host_fail(host, DAPT_ERROR_IO, "can't open the file");
    return NULL;
}

static int64_t host_read_input(struct dapt_input *input, void *data, size_t size) {
    size_t got = fread(data, 1, size, input->file);
    return ferror(input->file) ? -1 : (int64_t)got;
}

static void host_close_input(struct dapt_input *input) {
    fclose(input->file);
    free(input);
}

const struct dapt_host fixture_host = {
    .struct_size = sizeof(struct dapt_host),
    .log = host_log,
    .fail = host_fail,
    .open_input = host_open_input,
    .read_input = host_read_input,
    .close_input = host_close_input,
};

const char *fixture_error(void) {
    return last_error;
}

const struct dapt_tokenizer_1 *fixture_tokenizer(const char *id) {
    const char *build = getenv("DAPT_TEST_BUILD");
    char path[4096];
    assert_non_null(build);
    snprintf(path, sizeof path, "%s/plugins/tokenizers/%s.so", build, id);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);  // stays for the life of the program
    if (!module) fail_msg("%s", dlerror());
    const struct dapt_plugin_entry *entry = dlsym(module, "dapt_plugin_entry");
    assert_non_null(entry);
    assert_int_equal(entry->abi, DAPT_PLUGIN_ABI);
    for (uint32_t i = 0; i < entry->count; i++)
        if (!strcmp(entry->descriptors[i].id, id) &&
            !strcmp(entry->descriptors[i].kind, DAPT_TOKENIZER_1))
            return entry->descriptors[i].implementation;
    fail_msg("%s offers no tokenizer \"%s\"", path, id);
    return NULL;
}

static void *grow(void *data, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return data;
    *capacity = need * 2;
    data = realloc(data, *capacity * size);
    assert_non_null(data);
    return data;
}

bool fixture_emit_ids(void *context, const uint32_t *ids, size_t count) {
    struct fixture_ids *out = context;
    out->data = grow(out->data, &out->capacity, out->count + count, sizeof *ids);
    memcpy(out->data + out->count, ids, count * sizeof *ids);
    out->count += count;
    return true;
}

bool fixture_emit_text(void *context, const char *text, size_t length) {
    struct fixture_text *out = context;
    out->data = grow(out->data, &out->capacity, out->length + length, 1);
    memcpy(out->data + out->length, text, length);
    out->length += length;
    return true;
}

void fixture_encode(const struct dapt_tokenizer_1 *tokenizer, void *handle, const char *text,
                    size_t length, uint32_t flags, struct fixture_ids *ids) {
    ids->count = 0;
    enum dapt_status status = tokenizer->encode(handle, text, length, flags, fixture_emit_ids, ids);
    if (status != DAPT_OK) fail_msg("encode: %s", fixture_error());
}

void fixture_decode(const struct dapt_tokenizer_1 *tokenizer, void *handle, const uint32_t *ids,
                    size_t count, uint32_t flags, struct fixture_text *text) {
    text->length = 0;
    enum dapt_status status = tokenizer->decode(handle, ids, count, flags, fixture_emit_text, text);
    if (status != DAPT_OK) fail_msg("decode: %s", fixture_error());
}

char *fixture_read(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *data = malloc((size_t)size + 1);
    *length = data ? fread(data, 1, (size_t)size, file) : 0;
    if (data) data[*length] = 0;
    fclose(file);
    return data;
}

cJSON *fixture_json(const char *path) {
    size_t length, out = 0;
    char *data = fixture_read(path, &length);
    if (!data) return NULL;
    for (size_t i = 0; i < length;) {
        if (data[i] == '\\' && !strncmp(data + i, "\\u0000", 6)) {
            data[out++] = '\xc0';
            data[out++] = '\x80';
            i += 6;
        } else {
            if (data[i] == '\\') data[out++] = data[i++];
            data[out++] = data[i++];
        }
    }
    cJSON *json = cJSON_ParseWithLength(data, out);
    free(data);
    if (!json) fail_msg("%s is not JSON", path);
    return json;
}

const char *fixture_data(const char *name) {
    static char path[4096];
    const char *root = getenv("DAPT_TEST_DATA");
    snprintf(path, sizeof path, "%s/data/%s", root ? root : "", name);
    if (root && !access(path, R_OK)) return path;
    printf("skipped: no %s in the folder of test data\n", name);
    return NULL;
}

const char *fixture_write(const char *name, const char *data, size_t length) {
    static char path[4096];
    const char *temporary = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/dapt-tokenizers-%ld-%s", temporary ? temporary : "/tmp",
             (long)getpid(), name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return path;
}

size_t fixture_string(const cJSON *string, char **bytes) {
    assert_true(cJSON_IsString(string));
    const char *in = string->valuestring;
    char *out = malloc(strlen(in) + 1);
    size_t length = 0;
    assert_non_null(out);
    while (*in) {
        bool zero = in[0] == '\xc0' && in[1] == '\x80';
        out[length++] = zero ? 0 : *in;
        in += zero ? 2 : 1;
    }
    *bytes = out;
    return length;
}

char *fixture_print(const cJSON *json) {
    char *plain = cJSON_PrintUnformatted(json);
    assert_non_null(plain);
    char *out = malloc(strlen(plain) * 3 + 1), *to = out;  // C0 80 becomes six characters
    assert_non_null(out);
    for (const char *p = plain; *p;) {
        if (p[0] == '\xc0' && p[1] == '\x80') {
            memcpy(to, "\\u0000", 6);
            to += 6;
            p += 2;
        } else {
            *to++ = *p++;
        }
    }
    *to = 0;
    free(plain);
    return out;
}
