// JSON Lines, as the source plugin reads them, in small pieces.
#include "fuzz.h"
#include "host/loader.h"

extern const struct dapt_plugin_entry dapt_plugin_entry;

static void read_all(const struct dapt_source_1 *source, void *handle) {
    struct dapt_document document = {0};
    enum dapt_status status;
    uint64_t last = 0;
    unsigned same = 0;
    while ((status = source->next(handle, &document)) == DAPT_OK || status == DAPT_ERROR_INVALID) {
        same = document.record == last ? same + 1 : 0;  // it goes on, or the host would not end
        FUZZ_CHECK(same < 3);
        last = document.record;
        if (status) continue;
        fuzz_accept();
        fuzz_touch(document.text, document.length);
        fuzz_touch(document.id, document.id_length);
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    static const char *const none[] = {NULL}, *const names[] = {"a.jsonl", "a", "a.json"};
    static struct dapt_options *options;
    const struct dapt_plugin_descriptor *plugin = &dapt_plugin_entry.descriptors[0];
    const struct dapt_source_1 *source = plugin->implementation;
    void *handle = NULL;
    if (!options) FUZZ_CHECK(dapt_options_create(plugin->options, NULL, none, &options) == DAPT_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int sure = source->probe(names[i], data, size < 4096 ? size : 4096);
        FUZZ_CHECK(sure >= 0 && sure <= 100);
    }
    if (source->open(fuzz_host(data, size), options, "a.jsonl", &handle) == DAPT_OK)
        read_all(source, handle);
    source->close(handle);
}
