// tokenizer.json, or else the vocab.txt of a folder whose tokenizer_config.json follows a byte 2;
// what follows a byte 1 is a text to encode. The ids go through decode.
#include <string.h>

#include "fuzz.h"
#include "host/loader.h"

extern const struct dapt_plugin_entry dapt_plugin_entry;

#define MOST_IDS 4096

struct ids {
    uint32_t ids[MOST_IDS], vocab;
    size_t count;
};

static bool take_ids(void *context, const uint32_t *ids, size_t count) {
    struct ids *all = context;
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(ids[i] < all->vocab);
        if (all->count < MOST_IDS) all->ids[all->count++] = ids[i];
    }
    return all->count < MOST_IDS;
}

static bool take_text(void *context, const char *text, size_t length) {
    fuzz_touch(text, length);
    *(size_t *)context += length;
    return true;
}

static void round_trip(const struct dapt_tokenizer_1 *api, void *handle, const char *text,
                       size_t length) {
    static struct ids all;
    size_t bytes = 0;
    all.vocab = api->vocab_size(handle);
    for (uint32_t flags = 0; flags < 2; flags++) {
        all.count = 0;
        api->encode(handle, text, length, flags, take_ids, &all);
        api->decode(handle, all.ids, all.count, flags, take_text, &bytes);
    }
}

static enum dapt_status open_folder(const struct dapt_tokenizer_1 *api, const uint8_t *data,
                                    size_t length, void **handle) {
    const uint8_t *mark = memchr(data, 2, length);
    size_t lines = mark ? (size_t)(mark - data) : length;
    fuzz_file("vocab.txt", data, lines);
    fuzz_file("tokenizer_config.json", mark ? (const char *)mark + 1 : "{}",
              mark ? length - lines - 1 : 2);
    return api->open(dapt_host(), NULL, fuzz_folder(), handle);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static const char plain[] =
        "Once upon a time, the 1st don't  stop\n \xe4\xbd\xa0\xe5\xa5\xbd "
        "w\xc3\xb6rld <s>[CLS]</s>  12345\r\n\t\xf0\x9f\x98\x80";
    const struct dapt_tokenizer_1 *api = dapt_plugin_entry.descriptors[0].implementation;
    const uint8_t *mark = size ? memchr(data, 1, size) : NULL;
    size_t length = mark ? (size_t)(mark - data) : size;
    void *handle = NULL;
    if (!length) return;
    bool json = data[0] == '{';
    enum dapt_status status = json ? api->open(fuzz_host(data, length), NULL, "fuzz/tokenizer.json",
                                               &handle)
                                   : open_folder(api, data, length, &handle);
    if (status != DAPT_OK) return;
    fuzz_accept();
    round_trip(api, handle, plain, sizeof plain - 1);
    if (mark) round_trip(api, handle, (const char *)mark + 1, size - length - 1);
    for (int which = DAPT_SPECIAL_BOS; which <= DAPT_SPECIAL_UNK; which++)
        FUZZ_CHECK(api->special_id(handle, (enum dapt_special)which) <
                   (int64_t)api->vocab_size(handle));
    api->close(handle);
}
