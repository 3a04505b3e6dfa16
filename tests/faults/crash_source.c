// A source for tests that fails in the way its option names, at its second document.
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "dapt/plugin.h"

static const struct dapt_option options_table[] = {
    {.name = "how", .type = DAPT_OPTION_STRING, .default_value = "segv", .help = "to fail"},
    {0},
};

struct handle {
    const char *how;
    uint64_t record;
};

static int crash_probe(const char *path, const void *head, size_t size) {
    (void)path, (void)head, (void)size;
    return 0;
}

static enum dapt_status crash_open(const struct dapt_host *host, const struct dapt_options *options,
                                   const char *path, void **handle) {
    struct handle *h = calloc(1, sizeof *h);
    (void)path;
    if (!h) return host->fail(host, DAPT_ERROR_MEMORY, "no memory");
    h->how = host->option_string(options, "how");
    *handle = h;
    return DAPT_OK;
}

// Calls itself until the stack is used up.
static int run_over(uint64_t depth) {
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth == 0 ? 0 : run_over(depth - 1) + frame[0];
}

static enum dapt_status crash_next(void *handle, struct dapt_document *document) {
    struct handle *h = handle;
    *document = (struct dapt_document){.text = "text.", .length = 5, .record = ++h->record};
    if (h->record == 1) return DAPT_OK;
    if (strcmp(h->how, "segv") == 0) raise(SIGSEGV);
    if (strcmp(h->how, "stack") == 0) (void)run_over(UINT64_MAX);
    if (strcmp(h->how, "abort") == 0) abort();
    if (strcmp(h->how, "fpe") == 0) raise(SIGFPE);
    if (strcmp(h->how, "status") == 0) return (enum dapt_status)77;
    document->text = NULL;
    return DAPT_OK;
}

static const struct dapt_source_1 crash = {crash_probe, crash_open, crash_next, free};
static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_SOURCE_1,
    .id = "crash",
    .version = "1",
    .summary = "fails, for tests",
    .options = options_table,
    .implementation = &crash,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
