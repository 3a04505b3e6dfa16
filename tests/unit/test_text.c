// What people read: lines that fit their terminal, and guesses at what a misspelt name means.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/nearest.h"
#include "base/terminal.h"

static void assert_wrapped(const char *text, size_t columns, size_t hang, const char *expected) {
    struct dapt_string out = {0};
    assert_int_equal(dapt_wrap(text, columns, hang, &out), DAPT_OK);
    assert_string_equal(out.data, expected);
    dapt_string_free(&out);
}

static void test_wrap(void **state) {
    (void)state;
    assert_wrapped("", 10, 2, "\n");
    assert_wrapped("one two", 7, 2, "one two\n");
    assert_wrapped("one two", 6, 2, "one\n  two\n");
    assert_wrapped("one two three", 0, 2, "one two three\n");
    assert_wrapped("a\n\nb", 10, 2, "a\n\nb\n");
    assert_wrapped("    inner text here", 10, 2, "    inner\n    text\n    here\n");
    // Below the second column; a left column that takes more than half of the width is no column.
    assert_wrapped("--set KEY  sets a key", 20, 2, "--set KEY  sets a\n  key\n");
    assert_wrapped("--set KEY  sets a key", 19, 0, "--set KEY  sets a\nkey\n");
    assert_wrapped("--a N   sets one two", 16, 2, "--a N   sets one\n        two\n");
    // Words are whole, whatever their length; blanks at a break and at the end are dropped.
    assert_wrapped("/a/very/long/path x", 8, 2, "/a/very/long/path\n  x\n");
    assert_wrapped("ab   ", 4, 2, "ab\n");
    assert_wrapped("a  1   2", 6, 2, "a  1\n   2\n");
    assert_wrapped("\xc3\xa9\xc3\xa9 \xc3\xa9\xc3\xa9", 5, 2,
                   "\xc3\xa9\xc3\xa9 \xc3\xa9\xc3\xa9\n");
}

// At every width: no line is longer unless it is one word, and no word is lost, cut or moved.
static void test_wrap_every_width(void **state) {
    (void)state;
    static const char text[] =
        "step 10  evaluation of domain       1.2345 nats/token  perplexity 3.44  1.1716 bits/byte";
    for (size_t columns = 1; columns < 100; columns++) {
        struct dapt_string out = {0};
        assert_int_equal(dapt_wrap(text, columns, 2, &out), DAPT_OK);
        char *words = strdup(text), *rest = NULL, *rest_out = NULL;
        for (const char *line = out.data; *line; line += strcspn(line, "\n") + 1) {
            size_t length = strcspn(line, "\n"), margin = strspn(line, " ");
            assert_true(length <= columns || !memchr(line + margin, ' ', length - margin));
        }
        char *a = strtok_r(words, " ", &rest), *b = strtok_r(out.data, " \n", &rest_out);
        for (; a && b; a = strtok_r(NULL, " ", &rest), b = strtok_r(NULL, " \n", &rest_out))
            assert_string_equal(a, b);
        assert_true(!a && !b);
        free(words);
        dapt_string_free(&out);
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"batch", "micro_batch", "steps", "seed", "train", NULL};
    assert_string_equal(dapt_nearest("bacth", names), "batch");
    assert_string_equal(dapt_nearest("step", names), "steps");
    assert_string_equal(dapt_nearest("Steps", names), "steps");
    assert_string_equal(dapt_nearest("microbatch", names), "micro_batch");
    assert_string_equal(dapt_nearest("trian", names), "train");
    assert_null(dapt_nearest("learning_rate", names));
    assert_null(dapt_nearest("", names));
    assert_null(dapt_nearest("x", (const char *const[]){NULL}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_wrap_every_width),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
