// How fast a tokenizer module turns documents into ids, on one thread.
//
// usage: bench-tokenizer MODULE.so TOKENIZER CORPUS.jsonl [--repeat N] [--one BYTES]
//   MODULE.so   e.g. BUILD/plugins/tokenizers/hf.so
//   TOKENIZER   a model's folder or a tokenizer.json
//   CORPUS      one {"text": ...} a line; each is a document
//   --one       instead, one document of BYTES, made of all of them in turn
// Prints the time of opening, and for each repeat MB/s (10^6 bytes of text; by the clock and by CPU
// time), ids and a checksum of the ids.
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "dapt/plugin.h"

struct dapt_input {
    FILE *file;
};

static void host_log(const struct dapt_host *host, enum dapt_log_level level, const char *line_z) {
    (void)host;
    (void)level;
    fprintf(stderr, "%s\n", line_z);
}

static enum dapt_status host_fail(const struct dapt_host *host, enum dapt_status status,
                                  const char *line_z) {
    (void)host;
    fprintf(stderr, "error: %s\n", line_z);
    return status;
}

static struct dapt_input *host_open_input(const struct dapt_host *host, const char *path_z) {
    struct dapt_input *input = malloc(sizeof *input);
    if (input) input->file = fopen(path_z, "rb");
    if (input && input->file) return input;
    free(input);
    host_fail(host, DAPT_ERROR_IO, path_z);
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

static const struct dapt_host host = {.struct_size = sizeof(struct dapt_host),
                                      .log = host_log,
                                      .fail = host_fail,
                                      .open_input = host_open_input,
                                      .read_input = host_read_input,
                                      .close_input = host_close_input};

struct documents {
    char **texts;
    size_t *lengths;
    size_t count, bytes;
};

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool documents_add(struct documents *documents, const char *text) {
    size_t n = documents->count;
    char **texts = realloc(documents->texts, (n + 1) * sizeof *texts);
    if (texts) documents->texts = texts;
    size_t *lengths = realloc(documents->lengths, (n + 1) * sizeof *lengths);
    if (lengths) documents->lengths = lengths;
    if (!texts || !lengths || !(texts[n] = strdup(text))) return false;
    lengths[n] = strlen(text);
    documents->bytes += lengths[n];
    documents->count++;
    return true;
}

static bool documents_read(const char *path, struct documents *documents) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    bool good = file != NULL;
    while (good && getline(&line, &capacity, file) > 0) {
        cJSON *json = cJSON_Parse(line);
        const cJSON *text = cJSON_GetObjectItem(json, "text");
        good = cJSON_IsString(text) && documents_add(documents, text->valuestring);
        cJSON_Delete(json);
    }
    free(line);
    if (file) fclose(file);
    return good && documents->count;
}

static bool documents_join(struct documents *documents, size_t bytes) {
    char *one = malloc(bytes + 1);
    size_t filled = 0;
    if (!one || !documents->bytes) return false;
    for (size_t i = 0; filled < bytes; i = (i + 1) % documents->count) {
        size_t part = documents->lengths[i] < bytes - filled ? documents->lengths[i]
                                                             : bytes - filled;
        memcpy(one + filled, documents->texts[i], part);
        filled += part;
    }
    one[bytes] = 0;
    for (size_t i = 0; i < documents->count; i++) free(documents->texts[i]);
    documents->texts[0] = one;
    documents->lengths[0] = documents->bytes = bytes;
    documents->count = 1;
    return true;
}

struct sum {
    uint64_t ids, hash;
};

static bool add_ids(void *context, const uint32_t *ids, size_t count) {
    struct sum *sum = context;
    sum->ids += count;
    for (size_t i = 0; i < count; i++) sum->hash = (sum->hash ^ ids[i]) * UINT64_C(0x100000001b3);
    return true;
}

static int run(const struct dapt_tokenizer_1 *tokenizer, const char *path,
               const struct documents *documents, int repeats) {
    void *handle = NULL;
    double start = seconds(CLOCK_MONOTONIC), cpu;
    if (tokenizer->open(&host, NULL, path, &handle) < 0) return 1;
    printf("opened in %.0f ms; %zu documents, %.2f MB\n", 1e3 * (seconds(CLOCK_MONOTONIC) - start),
           documents->count, 1e-6 * (double)documents->bytes);
    for (int i = 0; i < repeats; i++) {
        struct sum sum = {0, UINT64_C(0xcbf29ce484222325)};
        start = seconds(CLOCK_MONOTONIC);
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t d = 0; d < documents->count; d++)
            if (tokenizer->encode(handle, documents->texts[d], documents->lengths[d], 0, add_ids,
                                  &sum) < 0)
                return 1;
        start = seconds(CLOCK_MONOTONIC) - start;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        printf("%.3f s (CPU %.3f)  %.1f MB/s (CPU %.1f)  %" PRIu64 " ids  %016" PRIx64 "\n", start,
               cpu, 1e-6 * (double)documents->bytes / start, 1e-6 * (double)documents->bytes / cpu,
               sum.ids, sum.hash);
    }
    tokenizer->close(handle);
    return 0;
}

int main(int argc, char **argv) {
    struct documents documents = {0};
    int repeats = 3;
    size_t one = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODULE.so TOKENIZER CORPUS.jsonl [--repeat N] [--one BYTES]\n",
                argv[0]);
        return 2;
    }
    for (int i = 4; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--repeat")) repeats = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--one")) one = strtoull(argv[i + 1], NULL, 10);
    }
    void *module = dlopen(argv[1], RTLD_NOW);
    const struct dapt_plugin_entry *entry = module ? dlsym(module, "dapt_plugin_entry") : NULL;
    if (!entry || entry->abi != DAPT_PLUGIN_ABI ||
        strcmp(entry->descriptors[0].kind, DAPT_TOKENIZER_1)) {
        fprintf(stderr, "%s is not a tokenizer: %s\n", argv[1],
                module ? "another kind or version" : dlerror());
        return 1;
    }
    if (!documents_read(argv[3], &documents) || (one && !documents_join(&documents, one))) {
        fprintf(stderr, "%s: a file of {\"text\": ...} lines was expected\n", argv[3]);
        return 1;
    }
    int result = run(entry->descriptors[0].implementation, argv[2], &documents, repeats);
    for (size_t i = 0; i < documents.count; i++) free(documents.texts[i]);
    free(documents.texts);
    free(documents.lengths);
    return result;
}
