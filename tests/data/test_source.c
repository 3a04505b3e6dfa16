// A source for tests, which does what its file says, one command a line: "text WORDS", "bad",
// "stuck" (the same bad record for ever), "io", "silent" (fails without a reason), "raw" (not UTF-8).
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

struct handle {
    const struct dapt_host *host;
    char script[65536];
    char *at;
    uint64_t record;
};

static int source_probe(const char *path_z, const void *head, size_t size) {
    (void)head;
    (void)size;
    const char *ending = strrchr(path_z, '.');
    return ending && strcmp(ending, ".script") == 0 ? 100 : 0;
}

static enum dapt_status source_open(const struct dapt_host *host,
                                    const struct dapt_options *options, const char *path_z,
                                    void **handle) {
    (void)options;
    struct dapt_input *input = host->open_input(host, path_z);
    struct handle *h = calloc(1, sizeof *h);
    if (input && h) host->read_input(input, h->script, sizeof h->script - 1);
    if (input) host->close_input(input);
    if (!input || !h) {
        free(h);
        return DAPT_ERROR_IO;
    }
    h->host = host;
    h->at = h->script;
    *handle = h;
    if (strncmp(h->script, "closed", 6)) return DAPT_OK;
    free(h);
    return host->fail(host, DAPT_ERROR_INVALID, "will not open");
}

static enum dapt_status source_next(void *handle, struct dapt_document *document) {
    struct handle *h = handle;
    char *line = h->at;
    if (!*line) return DAPT_END;
    char *end = strchr(line, '\n');
    document->record = h->record + 1;
    if (strncmp(line, "stuck", 5) == 0)
        return h->host->fail(h->host, DAPT_ERROR_INVALID, "is stuck");
    h->at = end ? end + 1 : line + strlen(line);
    h->record++;
    if (strncmp(line, "text ", 5) == 0) {
        document->text = line + 5;
        document->length = (size_t)(h->at - line) - 5 - (end != NULL);
        return DAPT_OK;
    }
    if (strncmp(line, "raw", 3) == 0) {
        document->text = "ab\xff";
        document->length = 3;
        return DAPT_OK;
    }
    if (strncmp(line, "nul", 3) == 0) {
        document->text = "a\0b";
        document->length = 3;
        return DAPT_OK;
    }
    if (strncmp(line, "bad", 3) == 0) return h->host->fail(h->host, DAPT_ERROR_INVALID, "is bad");
    if (strncmp(line, "io", 2) == 0) return h->host->fail(h->host, DAPT_ERROR_IO, "disk on fire");
    return DAPT_ERROR_IO;  // silent
}

static const struct dapt_source_1 source = {source_probe, source_open, source_next, free};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_SOURCE_1,
    .id = "test-script",
    .version = "1",
    .summary = "does as it is told, for tests",
    .implementation = &source,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
