// dapt tokenize
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define TEXT_LIMIT ((size_t)1 << 30)

struct tokenize_arguments {
    struct tool_model_arguments common;
    bool special;
};

// Reads a whole file, "-" for standard input, of at most TEXT_LIMIT bytes.
static char *read_text(const char *path, size_t *length) {
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = NULL;
    size_t capacity = 0, n = 1;
    *length = 0;
    if (!in) {
        fprintf(stderr, "dapt: %s: cannot be opened: %s\n", path, strerror(errno));
        return NULL;
    }
    while (n > 0 && *length <= TEXT_LIMIT) {
        if (capacity - *length < 65536) {
            capacity = capacity ? 2 * capacity : 1 << 20;
            char *more = realloc(text, capacity);
            if (!more) break;
            text = more;
        }
        n = fread(text + *length, 1, capacity - *length, in);
        *length += n;
    }
    const char *trouble = ferror(in)             ? strerror(errno)
                          : *length > TEXT_LIMIT ? "is larger than 1 GiB"
                          : n > 0                ? "no memory"
                                                 : NULL;
    if (in != stdin) fclose(in);
    if (!trouble) return text;
    fprintf(stderr, "dapt: %s: %s\n", path, trouble);
    free(text);
    return NULL;
}

static bool print_ids(void *user, const uint32_t *ids, size_t count) {
    bool *begun = user;
    for (size_t i = 0; i < count; i++) {
        char digits[12];
        int n = snprintf(digits, sizeof digits, *begun ? " %u" : "%u", ids[i]);
        if (fwrite(digits, 1, (size_t)n, stdout) != (size_t)n) return false;
        *begun = true;
    }
    return true;
}

static enum tool_exit run_tokenize(void *arguments) {
    const struct tokenize_arguments *a = arguments;
    struct dapt_context *context = NULL;
    size_t length;
    bool begun = false;
    char *text = read_text(a->common.plain.plain[1], &length);
    if (!text) return TOOL_FAILURE;
    struct dapt_model_options model = tool_model(&a->common);
    enum dapt_status status = dapt_context_open(NULL, &context);
    if (!status)
        status = dapt_tokenize(context, &model, text, length, a->special, print_ids, &begun);
    if (!status) putchar('\n');
    enum tool_exit result = tool_finish(status);
    dapt_context_close(&context);
    free(text);
    return result;
}

static const struct tool_option tokenize_options[] = {
    {"--special", NULL, "with what the tokenizer's template puts around a text (BOS, ...)",
     TOOL_FLAG, offsetof(struct tokenize_arguments, special), 0, 0, false},
    {0},
};

const struct tool_command tool_tokenize = {
    .name = "tokenize",
    .plain = "MODEL FILE",
    .summary = "prints the token ids of a file, read as one text",
    .notes = "FILE - reads standard input.",
    .options = tokenize_options,
    .shared = {tool_tokenizer_options},
    .size = sizeof(struct tokenize_arguments),
    .plain_least = 2,
    .plain_most = 2,
    .run = run_tokenize,
};
