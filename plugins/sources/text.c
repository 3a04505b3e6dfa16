// Plain text: a file is a document, or is split at blank lines or at a separator.
#include <strings.h>

#include "reader.h"

static const size_t longest = 1u << 30;  // bytes of a document

enum split { SPLIT_FILE, SPLIT_BLANK_LINES, SPLIT_SEPARATOR };
static const char *const split_names[] = {
    [SPLIT_FILE] = "file", [SPLIT_BLANK_LINES] = "blank-lines", [SPLIT_SEPARATOR] = "separator"};

static const struct dapt_option options_table[] = {
    {.name = "split",
     .type = DAPT_OPTION_STRING,
     .default_value = "file",
     .help = "what a document is: the \"file\", what stands between \"blank-lines\", or between "
             "marks: \"separator\""},
    {.name = "separator",
     .type = DAPT_OPTION_STRING,
     .default_value = "",
     .help = "the mark between documents for split \"separator\", such as \"<|endoftext|>\""},
    {0},
};

struct text {
    struct reader reader;
    enum split split;
    const char *separator;
    char *document;  // lines gathered for SPLIT_BLANK_LINES
    size_t capacity;
    uint64_t record;
    bool ended;
};

// Formats whose files look like text but are more than that; who wants their raw text names this
// source.
static const char *const other_formats[] = {".json", ".jsonl", ".ndjson", ".csv",   ".tsv",
                                            ".html", ".htm",   ".xml",    ".ipynb", ".mbox",
                                            ".warc", ".svg",   ".yaml",   ".yml"};
static const char *const text_formats[] = {".txt", ".text", ".md", ".rst", ".tex"};

static bool ends_in(const char *path_z, const char *const *endings, size_t count) {
    for (size_t length = strlen(path_z), i = 0; i < count; i++)
        if (length >= strlen(endings[i]) &&
            strcasecmp(path_z + length - strlen(endings[i]), endings[i]) == 0)
            return true;
    return false;
}

static int text_probe(const char *path_z, const void *head, size_t size) {
    if ((size && memchr(head, 0, size)) ||
        ends_in(path_z, other_formats, sizeof other_formats / sizeof *other_formats))
        return 0;
    if (ends_in(path_z, text_formats, sizeof text_formats / sizeof *text_formats)) return 70;
    size_t controls = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = ((const uint8_t *)head)[i];
        controls += (byte < 0x20 && !strchr("\t\n\v\f\r\b\033", byte)) || byte >= 0xf8;
    }
    return controls ? 0 : 20;
}

static void text_close(void *handle) {
    struct text *text = handle;
    if (!text) return;
    reader_close(&text->reader);
    free(text->document);
    free(text);
}

static enum dapt_status text_open(const struct dapt_host *host, const struct dapt_options *options,
                                  const char *path_z, void **handle) {
    const char *split = host->option_string(options, "split");
    enum split kind = SPLIT_FILE;
    while (kind <= SPLIT_SEPARATOR && strcmp(split, split_names[kind])) kind++;
    if (kind > SPLIT_SEPARATOR)
        return host->fail(host, DAPT_ERROR_INVALID,
                          "split: \"file\", \"blank-lines\" or \"separator\" was expected");
    if (kind == SPLIT_SEPARATOR && !*host->option_string(options, "separator"))
        return host->fail(host, DAPT_ERROR_INVALID,
                          "split \"separator\" needs the option \"separator\"");
    struct text *text = calloc(1, sizeof *text);
    if (!text) return host->fail(host, DAPT_ERROR_MEMORY, "no memory to open a file");
    text->split = kind;
    text->separator = host->option_string(options, "separator");
    text->reader.unix_lines = true;
    enum dapt_status status = reader_open(&text->reader, host, path_z);
    if (status) {
        text_close(text);
        text = NULL;
    }
    *handle = text;
    return status;
}

static bool is_blank(const char *line, size_t length) {
    while (length && memchr(" \t\r\v\f", line[length - 1], 5)) length--;
    return length == 0;
}

static enum dapt_status add_line(struct text *text, size_t *length, const char *line, size_t size) {
    const struct dapt_host *host = text->reader.host;
    if (*length + size + 1 > text->capacity) {
        size_t capacity = 2 * (*length + size + 1);
        char *grown = realloc(text->document, capacity);
        if (!grown) return host->fail(host, DAPT_ERROR_MEMORY, "no memory for a longer document");
        text->document = grown;
        text->capacity = capacity;
    }
    if (*length) text->document[(*length)++] = '\n';
    memcpy(text->document + *length, line, size);
    *length += size;
    return DAPT_OK;
}

static enum dapt_status next_paragraph(struct text *text, struct dapt_document *document) {
    char *line;
    size_t size, length = 0;
    enum dapt_status status;
    while ((status = reader_next(&text->reader, "\n", 1, longest, &line, &size)) == DAPT_OK) {
        if (!is_blank(line, size)) {
            if (length + size > longest)
                status = text->reader.host->fail(text->reader.host, DAPT_ERROR_INVALID,
                                                 "is longer than 1024 MiB");
            else
                status = add_line(text, &length, line, size);
            if (status) break;
        } else if (length) {
            break;
        }
    }
    if (status < 0) return status;
    *document = (struct dapt_document){
        .text = text->document, .length = length, .record = text->record};
    return length ? DAPT_OK : DAPT_END;
}

// Line breaks beside a separator belong to it.
static enum dapt_status next_separated(struct text *text, struct dapt_document *document) {
    char *piece;
    size_t size;
    enum dapt_status status = reader_next(&text->reader, text->separator, strlen(text->separator),
                                          longest, &piece, &size);
    if (status) return status;
    for (; size && *piece == '\n'; size--) piece++;
    while (size && piece[size - 1] == '\n') size--;
    *document = (struct dapt_document){.text = piece, .length = size, .record = text->record};
    return DAPT_OK;
}

static enum dapt_status next_file(struct text *text, struct dapt_document *document) {
    char *piece = NULL;
    size_t size = 0;
    if (text->ended) return DAPT_END;
    text->ended = true;
    enum dapt_status status = reader_next(&text->reader, "", 0, longest, &piece, &size);
    *document = (struct dapt_document){.text = piece ? piece : "", .length = size};
    return status == DAPT_END ? DAPT_OK : status;  // an empty file is an empty document
}

static enum dapt_status text_next(void *handle, struct dapt_document *document) {
    struct text *text = handle;
    static enum dapt_status (*const next[])(struct text *, struct dapt_document *) = {
        [SPLIT_FILE] = next_file,
        [SPLIT_BLANK_LINES] = next_paragraph,
        [SPLIT_SEPARATOR] = next_separated};
    document->record = text->split == SPLIT_FILE ? 0 : ++text->record;
    return next[text->split](text, document);
}

static const struct dapt_source_1 text_source = {text_probe, text_open, text_next, text_close};

static const struct dapt_plugin_descriptor descriptors[] = {{
    .kind = DAPT_SOURCE_1,
    .id = "text",
    .version = "1",
    .summary = "plain text: files, paragraphs or marked documents",
    .options = options_table,
    .implementation = &text_source,
}};

DAPT_EXPORT const struct dapt_plugin_entry dapt_plugin_entry = {DAPT_PLUGIN_ABI, 1, descriptors};
