// JSON Lines, as the source plugin reads them.
#include "fuzz.h"
#include "host/loader.h"

extern const struct dapt_plugin_entry dapt_plugin_entry;

static void read_all(const struct dapt_source_1 *source, void *handle) {
    struct dapt_document document;
    enum dapt_status status;
    uint64_t last = 0;
    unsigned same = 0;
    while ((status = source->next(handle, &document)) == DAPT_OK || status == DAPT_ERROR_INVALID) {
        same = document.record == last ? same + 1 : 0;  // it goes on, or the host would not end
        FUZZ_CHECK(same < 3);
        last = document.record;
        volatile char sum = 0;
        for (size_t i = 0; status == DAPT_OK && i < document.length; i++)
            sum = (char)(sum ^ document.text[i]);
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    static const char *const none[] = {NULL};
    const struct dapt_plugin_descriptor *plugin = &dapt_plugin_entry.descriptors[0];
    const struct dapt_source_1 *source = plugin->implementation;
    struct dapt_options *options = NULL;
    void *handle = NULL;
    const char *path = fuzz_file("a.jsonl", data, size);
    int sure = source->probe(path, data, size < 4096 ? size : 4096);
    FUZZ_CHECK(sure >= 0 && sure <= 100);
    FUZZ_CHECK(dapt_options_create(plugin->options, NULL, none, &options) == DAPT_OK);
    if (source->open(dapt_host(), options, path, &handle) == DAPT_OK) read_all(source, handle);
    source->close(handle);
    dapt_options_destroy(&options);
}
