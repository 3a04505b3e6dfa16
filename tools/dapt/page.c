// Text for people, and the help.
#include <stdlib.h>

#include "tool.h"

#define LEFT 20          // characters of a list's left column
#define HELP_COLUMNS 80  // of help that goes to no terminal
#define HELP_WIDEST 100  // longer lines are hard to read

bool tool_page_begin(struct tool_page *page) {
    *page = (struct tool_page){0};
    page->out = open_memstream(&page->text, &page->length);
    if (!page->out) tool_usage("no memory for a text");
    return page->out != NULL;
}

static void end_page(struct tool_page *page, FILE *to, size_t columns) {
    if (fclose(page->out) == 0 && page->length > 0 &&
        dapt_text_wrap(page->text, columns, 0, tool_emit, to) != DAPT_OK)
        fputs(page->text, to);
    free(page->text);
    *page = (struct tool_page){0};
}

void tool_page_end(struct tool_page *page, FILE *to) {
    end_page(page, to, dapt_text_columns(fileno(to)));
}

void tool_page_end_help(struct tool_page *page, FILE *to) {
    size_t columns = dapt_text_columns(fileno(to));
    if (columns == 0) columns = HELP_COLUMNS;
    end_page(page, to, columns < HELP_WIDEST ? columns : HELP_WIDEST);
}

const char *tool_bytes(uint64_t bytes, struct tool_short *text) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) value /= 1024, unit++;
    bool tenths = value < 10 && unit > 0 && value != (double)(uint64_t)value;
    snprintf(text->text, sizeof text->text, tenths ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text->text;
}

void tool_print_bytes(FILE *out, uint64_t bytes) {
    struct tool_short text;
    fputs(tool_bytes(bytes, &text), out);
}

void tool_print_plain(FILE *out, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
        fputc(*p < 0x20 || *p == 0x7f || c1 ? '?' : *p, out);
        p += c1;
    }
}

void tool_print_exchanged(const char *path, const struct dapt_exchanged *exchanged) {
    struct tool_short size;
    tool_print_plain(stdout, path);
    printf(": %s, %.4g million parameters, %s, %s\n", exchanged->model_type,
           (double)exchanged->parameters / 1e6, exchanged->dtype,
           tool_bytes(exchanged->bytes, &size));
}

// ------------------------------------------------------------------------------------------- help

// What a thing is called, and what it is: beside each other where the name is short enough.
static void print_row(FILE *out, const char *name, const char *more, const char *what) {
    int width = fprintf(out, "  %s%s%s", name, more && *more ? " " : "", more ? more : "") - 2;
    if (width > LEFT)
        fprintf(out, "\n  %*s  %s\n", LEFT, "", what);
    else
        fprintf(out, "%*s  %s\n", LEFT - width, "", what);
}

void tool_print_overview(FILE *to) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return;
    fprintf(page.out, "dapt %s: %s\n\nusage: dapt COMMAND [ARGUMENT ...]\n\n", dapt_version(),
            tool_about);
    for (const struct tool_command *const *command = tool_commands; *command; command++)
        print_row(page.out, (*command)->name, (*command)->plain, (*command)->summary);
    print_row(page.out, "help", "[COMMAND]", "this text, or a command's options");
    print_row(page.out, "--version", NULL, "the version");
    fprintf(page.out, "\n%s\n\nexit codes:\n", tool_model_about);
    for (const struct tool_code *code = tool_codes; code->text; code++)
        fprintf(page.out, "  %-3d  %s\n", code->code, code->text);
    tool_page_end_help(&page, to);
}

void tool_print_help(const struct tool_command *command) {
    struct tool_page page;
    if (!tool_page_begin(&page)) return;
    const struct tool_option *option = tool_option_at(command, 0);
    fprintf(page.out, "usage: dapt %s%s%s%s\n\n%s\n", command->name, *command->plain ? " " : "",
            command->plain, option ? " [OPTION ...]" : "", command->summary);
    if (option) fprintf(page.out, "\noptions:\n");
    for (size_t k = 0; (option = tool_option_at(command, k)); k++)
        print_row(page.out, option->name, option->argument, option->help);
    if (command->notes) fprintf(page.out, "\n%s\n", command->notes);
    tool_page_end_help(&page, stdout);
}
