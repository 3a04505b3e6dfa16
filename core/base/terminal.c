#include "base/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

size_t dapt_terminal_columns(int fd) {
    struct winsize size;
    if (!isatty(fd)) return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool dapt_terminal_escapes(int fd) {
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

// ------------------------------------------------------------------------------------- wrapping

// Characters of UTF-8.
static size_t width(const char *text, size_t length) {
    size_t characters = 0;
    for (size_t i = 0; i < length; i++) characters += ((unsigned char)text[i] & 0xc0) != 0x80;
    return characters;
}

// Where lines go on after a break.
static size_t find_indent(const char *line, size_t length, size_t columns, size_t hang) {
    size_t margin = strspn(line, " ");
    for (size_t i = margin; i + 2 < length; i++) {
        if (line[i] != ' ' || line[i + 1] != ' ') continue;
        while (i < length && line[i] == ' ') i++;
        size_t column = width(line, i);
        if (i < length && column <= columns / 2) return column;
        break;
    }
    return margin ? margin : hang;
}

static enum dapt_status wrap_line(const char *line, size_t length, size_t columns, size_t hang,
                                  struct dapt_string *out) {
    size_t indent = find_indent(line, length, columns, hang), column = 0, at = 0;
    enum dapt_status status = DAPT_OK;
    while (!status && at < length) {
        size_t gap = strspn(line + at, " "), word = strcspn(line + at + gap, " \n");
        if (at + gap >= length) break;  // blanks at the end
        size_t characters = width(line + at + gap, word);
        if (at > 0 && column + gap + characters > columns) {
            status = dapt_string_format(out, "\n%*s", (int)indent, "");
            column = indent;
        } else {
            status = dapt_string_add(out, line + at, gap);
            column += gap;
        }
        if (!status) status = dapt_string_add(out, line + at + gap, word);
        column += characters;
        at += gap + word;
    }
    return status ? status : dapt_string_add(out, "\n", 1);
}

enum dapt_status dapt_wrap(const char *text, size_t columns, size_t hang, struct dapt_string *out) {
    enum dapt_status status = DAPT_OK;
    do {
        size_t length = strcspn(text, "\n");
        if (columns == 0) {
            status = dapt_string_format(out, "%.*s\n", (int)length, text);
        } else {
            status = wrap_line(text, length, columns, hang, out);
        }
        text += length + (text[length] == '\n');
    } while (!status && *text);
    return status;
}
