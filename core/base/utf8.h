// UTF-8: is a text well-formed, and if not, where does it break.
#ifndef DAPT_BASE_UTF8_H
#define DAPT_BASE_UTF8_H
#include <stddef.h>

// The offset of the first byte that is no part of a well-formed character (RFC 3629: no surrogates,
// no overlong forms, nothing above U+10FFFF); `length` when there is none. NUL is a character like
// others.
size_t dapt_utf8_check(const char *text, size_t length);
#endif
