// The terminal that a text goes to: its width, whether it obeys escapes, lines that fit.
#ifndef DAPT_BASE_TERMINAL_H
#define DAPT_BASE_TERMINAL_H
#include "base/memory.h"

// Characters a line of the terminal `fd`; 0: it is no terminal. 80 where the terminal tells none.
size_t dapt_terminal_columns(int fd);
// Whether it is a terminal that obeys escape sequences: TERM is set, and not "dumb".
bool dapt_terminal_escapes(int fd);

// Appends `text`, every line of it ended by a newline and broken between words so that it has at
// most `columns` characters (0: any number). What follows a break starts below the text behind the
// first gap of two blanks or more ("--set KEY=VALUE   overrides ..."); without such a gap in the
// left half, below the line's own beginning, or `hang` characters in where that is the margin. A
// word is never cut.
enum dapt_status dapt_wrap(const char *text, size_t columns, size_t hang, struct dapt_string *out);
#endif
