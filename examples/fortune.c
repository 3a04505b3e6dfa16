// A source plugin: files of fortune, texts with a line "%" between them. A file is read whole.
//
//   mkdir plugins && cc -shared -fPIC -O2 fortune.c -o plugins/fortune.so $(pkg-config --cflags dapt-plugin)
//   DAPT_PLUGIN_PATH=$PWD/plugins dapt plugins
#define _GNU_SOURCE  // memmem
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

struct fortunes {
    char *text;
    size_t size, at;
    uint64_t record;
};

static int probe(const char *path, const void *head, size_t size) {
    (void)head, (void)size;
    return strstr(path, "fortune") ? 60 : 0;  // surer than plain text, not than a known ending
}

static void close_file(void *handle) {
    struct fortunes *file = handle;
    if (file) free(file->text);
    free(file);
}

static enum dapt_status open_file(const struct dapt_host *host, const struct dapt_options *options,
                                  const char *path, void **handle) {
    (void)options;
    struct fortunes *file = calloc(1, sizeof *file);
    struct dapt_input *input = host->open_input(host, path);  // undoes gz, zst, xz, bz2
    enum dapt_status status = !file ? DAPT_ERROR_MEMORY : !input ? DAPT_ERROR_IO : DAPT_OK;
    int64_t got = 1;
    while (!status && got > 0) {
        char *more = realloc(file->text, file->size + 65536);
        if (!more) {
            status = DAPT_ERROR_MEMORY;
            break;
        }
        file->text = more;
        got = host->read_input(input, file->text + file->size, 65536);
        if (got < 0)
            status = DAPT_ERROR_IO;  // the host has recorded why
        else
            file->size += (size_t)got;
    }
    if (input) host->close_input(input);
    if (status) {
        close_file(file);
        return status;
    }
    *handle = file;
    return DAPT_OK;
}

static enum dapt_status next(void *handle, struct dapt_document *document) {
    struct fortunes *file = handle;
    if (file->at >= file->size) return DAPT_END;
    const char *text = file->text + file->at,
               *mark = memmem(text, file->size - file->at, "\n%\n", 3);
    size_t length = mark ? (size_t)(mark - text) : file->size - file->at;
    file->at += length + 3;
    *document = (struct dapt_document){.text = text, .length = length, .record = ++file->record};
    return DAPT_OK;
}

static const struct dapt_source_1 fortune = {probe, open_file, next, close_file};
static const struct dapt_plugin_descriptor descriptors[] = {
    {DAPT_SOURCE_1, "fortune", "1", "texts with a line % between them", NULL, &fortune},
};
const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
