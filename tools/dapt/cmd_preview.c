// dapt preview
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

struct preview_arguments {
    struct tool_arguments plain;
    struct tool_list sets;
    uint64_t sequences;
    bool json, whole;
};

#define SHOWN_HEAD 1200  // bytes of a document's part that are shown, where it is long
#define SHOWN_TAIL 300

struct preview {
    const struct preview_arguments *arguments;
    cJSON *files, *sequences;  // JSON; NULL: text
    bool headed;
    uint64_t sequence;  // that was begun; UINT64_MAX: none
};

// ------------------------------------------------------------------------------------------- text

// The length of the character at `p`, 0 where it is not well-formed UTF-8 or would drive a terminal.
static size_t printable(const unsigned char *p, size_t size) {
    static const unsigned char least[] = {0, 0, 0xc2, 0xe0, 0xf0};
    if (*p < 0x80) return isprint(*p) ? 1 : 0;
    size_t length = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    if (*p < least[length] || *p > 0xf4 || length > size) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool c1 = *p == 0xc2 && p[1] < 0xa0,
         overlong = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xf0 && p[1] < 0x90),
         outside = (*p == 0xed && p[1] >= 0xa0) || (*p == 0xf4 && p[1] >= 0x90);
    return c1 || overlong || outside ? 0 : length;
}

// Indented, so that nothing in it passes for one of our own lines; what is no character as \xNN.
static void print_text(const char *text, size_t length) {
    bool begins = true;
    for (size_t i = 0; i < length;) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t size = printable(p, length - i);
        if (begins) printf("    ");
        begins = *p == '\n';
        if (size)
            fwrite(p, 1, size, stdout);
        else if (*p == '\n' || *p == '\t')
            putchar(*p);
        else
            printf("\\x%02x", *p);
        i += size ? size : 1;
    }
    if (!begins) putchar('\n');
}

static size_t whole_character(const char *text, size_t at) {
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
    return at;
}

static void print_part(struct preview *v, const struct dapt_preview_part *part) {
    if (v->sequence != part->sequence)
        printf("\n=== sequence %llu%s\n", (unsigned long long)part->sequence,
               strcmp(part->set, "replay") ? "" : " (replay)");
    v->sequence = part->sequence;
    if (!part->text) {
        printf("--- padding, %u tokens\n", part->tokens);
        return;
    }
    printf("--- ");
    tool_print_plain(stdout, part->file);
    if (part->record) printf(":%llu", (unsigned long long)part->record);
    printf(", %u tokens", part->tokens);
    if (part->tokens < part->document_tokens)
        printf(", of %llu that the document has", (unsigned long long)part->document_tokens);
    putchar('\n');
    if (v->arguments->whole || part->length <= SHOWN_HEAD + 2 * SHOWN_TAIL) {
        print_text(part->text, part->length);
        return;
    }
    size_t head = whole_character(part->text, SHOWN_HEAD),
           tail = whole_character(part->text, part->length - SHOWN_TAIL);
    print_text(part->text, head);
    printf("... %zu bytes more, which --whole shows\n", tail - head);
    print_text(part->text + tail, part->length - tail);
}

static void print_files(struct preview *v, const struct dapt_preview_files *f) {
    FILE *out = stdout;
    if (!v->headed)
        fprintf(out, "%-14s %8s %10s %9s %12s  %-8s %s\n", "set", "files", "documents", "text",
                "tokens", "source", "from");
    v->headed = true;
    fprintf(out, "%-14s %8llu %10llu ", f->set, (unsigned long long)f->files,
            (unsigned long long)f->documents);
    struct tool_short size;
    fprintf(out, "%9s %12llu  %-8s ", tool_bytes(f->bytes, &size), (unsigned long long)f->tokens,
            f->source);
    tool_print_plain(out, f->path);
    if (f->weight != 1) fprintf(out, ", weight %g", f->weight);
    if (strcmp(f->path, f->example) != 0) {
        fprintf(out, f->files > 1 ? ": %s such as " : ": %s", f->files > 1 ? f->ending : "");
        tool_print_plain(out, f->example);
    }
    fputc('\n', out);
}

// ------------------------------------------------------------------------------------------- JSON

// Bytes that are no UTF-8 stand as U+FFFD.
static char *valid_text(const char *text, size_t length) {
    char *valid = malloc(3 * length + 1), *to = valid;
    for (size_t i = 0; valid && i < length;) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t size = *p < 0x80 ? 1 : printable(p, length - i);
        if (size == 0 && *p == 0xc2 && i + 1 < length && (p[1] & 0xc0) == 0x80) size = 2;
        if (size && *p)
            memcpy(to, p, size), to += size;
        else
            memcpy(to, "\xef\xbf\xbd", 3), to += 3;
        i += size ? size : 1;
    }
    if (valid) *to = '\0';
    return valid;
}

static void add_text(cJSON *object, const char *name, const char *text, size_t length) {
    char *valid = valid_text(text, length);
    if (valid) cJSON_AddStringToObject(object, name, valid);
    free(valid);
}

static void add_files(cJSON *list, const struct dapt_preview_files *f) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "set", f->set);
    add_text(item, "path", f->path, strlen(f->path));
    cJSON_AddStringToObject(item, "source", f->source);
    add_text(item, "ending", f->ending, strlen(f->ending));
    add_text(item, "example", f->example, strlen(f->example));
    cJSON_AddNumberToObject(item, "weight", f->weight);
    cJSON_AddNumberToObject(item, "files", (double)f->files);
    cJSON_AddNumberToObject(item, "documents", (double)f->documents);
    cJSON_AddNumberToObject(item, "bytes", (double)f->bytes);
    cJSON_AddNumberToObject(item, "tokens", (double)f->tokens);
    cJSON_AddItemToArray(list, item);
}

static void add_part(struct preview *v, const struct dapt_preview_part *part) {
    if (v->sequence != part->sequence) {
        cJSON *sequence = cJSON_CreateObject();
        cJSON_AddStringToObject(sequence, "set", part->set);
        cJSON_AddNumberToObject(sequence, "padding", 0);
        cJSON_AddArrayToObject(sequence, "parts");
        cJSON_AddItemToArray(v->sequences, sequence);
    }
    v->sequence = part->sequence;
    cJSON *sequence = cJSON_GetArrayItem(v->sequences, cJSON_GetArraySize(v->sequences) - 1);
    if (!part->text) {
        cJSON_SetNumberValue(cJSON_GetObjectItem(sequence, "padding"), part->tokens);
        return;
    }
    cJSON *item = cJSON_CreateObject();
    add_text(item, "file", part->file, strlen(part->file));
    cJSON_AddNumberToObject(item, "record", (double)part->record);
    cJSON_AddNumberToObject(item, "tokens", part->tokens);
    cJSON_AddNumberToObject(item, "document_tokens", (double)part->document_tokens);
    add_text(item, "text", part->text, part->length);
    cJSON_AddItemToArray(cJSON_GetObjectItem(sequence, "parts"), item);
}

// ---------------------------------------------------------------------------------------- command

static void take_files(void *user, const struct dapt_preview_files *files) {
    struct preview *v = user;
    if (v->files)
        add_files(v->files, files);
    else
        print_files(v, files);
}

static void take_part(void *user, const struct dapt_preview_part *part) {
    struct preview *v = user;
    if (v->sequences)
        add_part(v, part);
    else
        print_part(v, part);
}

static enum tool_exit run_preview(void *arguments) {
    const struct preview_arguments *a = arguments;
    struct preview v = {.arguments = a, .sequence = UINT64_MAX};
    cJSON *root = a->json ? cJSON_CreateObject() : NULL;
    if (root) {
        v.files = cJSON_AddArrayToObject(root, "files");
        v.sequences = cJSON_AddArrayToObject(root, "sequences");
    }
    const struct dapt_preview_options options = {.config = a->plain.plain[0],
                                                 .sets = a->sets.items,
                                                 .sequences = a->sequences ? a->sequences : 2,
                                                 .files = take_files,
                                                 .part = take_part,
                                                 .user = &v};
    enum dapt_status status = dapt_preview(&options);
    if (root && !status)
        status = tool_print_json(root);
    else
        cJSON_Delete(root);
    return tool_finish(status);
}

static const struct tool_option preview_options[] = {
    {"-n", "N", "sequences that are shown; default: 2", TOOL_COUNT,
     offsetof(struct preview_arguments, sequences), 1, 1000, false},
    {"--whole", NULL, "shows long documents to their end", TOOL_FLAG,
     offsetof(struct preview_arguments, whole), 0, 0, false},
    {"--json", NULL, "prints one JSON object", TOOL_FLAG, offsetof(struct preview_arguments, json),
     0, 0, false},
    {"--set", "KEY=VALUE", "overrides a key of the configuration", TOOL_LIST,
     offsetof(struct preview_arguments, sets), 0, 0, false},
    {0},
};

const struct tool_command tool_preview = {
    .name = "preview",
    .plain = "CONFIG",
    .summary = "shows what training would read: files, and the first sequences as text",
    .notes =
        "Sequences stand in the order of training, a line --- before what each holds of a "
        "document. "
        "Special tokens are shown; what is no character stands as \\xNN.",
    .options = preview_options,
    .size = sizeof(struct preview_arguments),
    .plain_least = 1,
    .plain_most = 1,
    .run = run_preview,
};
