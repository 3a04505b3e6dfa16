// What the tests of data share: a scratch folder, and checks that print the reason recorded.
#ifndef DATA_TEST_H
#define DATA_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"

#define assert_ok(call)                                                                 \
    do {                                                                                \
        enum dapt_status assert_ok_status_ = (call);                                    \
        if (assert_ok_status_ != DAPT_OK)                                               \
            fail_msg("%s: status %d: %s", #call, (int)assert_ok_status_, dapt_error()); \
    } while (0)

// The call must fail so, and the reason must hold `part`.
#define assert_fails(call, expected, part)                                                     \
    do {                                                                                       \
        enum dapt_status assert_fails_status_ = (call);                                        \
        if (assert_fails_status_ != (expected))                                                \
            fail_msg("%s: status %d instead of %d", #call, (int)assert_fails_status_,          \
                     (int)(expected));                                                         \
        if (!strstr(dapt_error(), part))                                                       \
            fail_msg("%s: the reason \"%s\" does not hold \"%s\"", #call, dapt_error(), part); \
    } while (0)

static struct dapt_arena scratch_arena;

// A fresh folder; removed by scratch_remove.
static inline const char *scratch_create(void) {
    const char *base = getenv("TMPDIR");
    char *path = dapt_arena_format(&scratch_arena, "%s/dapt-test-XXXXXX", base ? base : "/tmp");
    if (!path || !mkdtemp(path)) fail_msg("no scratch folder");
    return path;
}

static inline void scratch_remove(const char *path) {
    assert_ok(dapt_remove_tree(path));
    dapt_arena_free(&scratch_arena);
}

// A path in `folder`; lives until scratch_remove.
static inline const char *path_in(const char *folder, const char *name) {
    char *path = dapt_arena_format(&scratch_arena, "%s/%s", folder, name);
    assert_non_null(path);
    return path;
}

static inline void write_text(const char *path, const char *text) {
    assert_ok(dapt_file_write(path, text, strlen(text)));
}
#endif
