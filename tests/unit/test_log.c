// core/base/error.h's log on a terminal (a pseudo terminal) and on a pipe: what stands where afterwards.
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"

// Runs `work` in a child whose stderr is a terminal of `columns`, or a pipe (0); what it wrote.
static const char *term = "xterm";
static void capture(int columns, void (*work)(void), char *out, size_t room) {
    int master, slave;
    if (columns) {
        struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
        assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    } else {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        master = ends[0];
        slave = ends[1];
    }
    setenv("TERM", term, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(slave, STDERR_FILENO);
        work();
        _exit(0);
    }
    close(slave);
    size_t length = 0;
    ssize_t n;
    while (length + 1 < room && (n = read(master, out + length, room - 1 - length)) > 0)
        length += (size_t)n;
    out[length] = '\0';
    close(master);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

// What a terminal shows of `text`: lines, \r and "erase to the end of the line" obeyed; no other control may occur.
static void show(const char *text, int columns, char *screen, size_t room) {
    char line[256] = "";
    size_t at = 0, used = 0;
    screen[0] = '\0';
    for (; *text; text++) {
        if (*text == '\r') {
            at = 0;
        } else if (*text == '\n') {
            used += (size_t)snprintf(screen + used, room - used, "%s|", line);
            memset(line, 0, sizeof line);
            at = 0;
        } else if (strncmp(text, "\033[K", 3) == 0) {
            memset(line + at, 0, sizeof line - at);
            text += 2;
        } else {
            assert_true((unsigned char)*text >= 0x20);
            assert_true(at < sizeof line - 1);
            line[at++] = *text;
        }
        assert_true(used < room);
    }
    size_t characters = 0;
    for (const char *p = line; *p; p++) characters += ((unsigned char)*p & 0xc0) != 0x80;
    assert_true(characters < (size_t)columns);
    snprintf(screen + used, room - used, "%s", line);
}

static void session(void) {
    dapt_log_level(DAPT_LOG_INFO);
    dapt_log_status("step 1 of 100");
    dapt_log_status("step 2");
    dapt_log(DAPT_LOG_INFO, "a line");
    dapt_log(DAPT_LOG_DEBUG, "not shown");
    dapt_log(DAPT_LOG_WARNING, "evil\n\033[2Jname %d", 7);
    dapt_log_status("step 3");
}

static void session_that_clears(void) {
    session();
    dapt_log_status(NULL);
    dapt_log(DAPT_LOG_ERROR, "end");
}

static void wide(void) {
    dapt_log_status("ääääääääääääääääääääääääääääääääääääääääääää");
}

static void test_terminal(void **state) {
    (void)state;
    char out[4096], screen[4096];
    capture(80, session, out, sizeof out);
    show(out, 80, screen, sizeof screen);
    assert_string_equal(screen, "a line|warning: evil ?[2Jname 7|step 3");
    capture(80, session_that_clears, out, sizeof out);
    show(out, 80, screen, sizeof screen);
    assert_string_equal(screen, "a line|warning: evil ?[2Jname 7|error: end|");
}

static void test_status_never_wraps(void **state) {
    (void)state;
    char out[4096], screen[4096];
    capture(20, wide, out, sizeof out);
    show(out, 20, screen, sizeof screen);
    assert_string_equal(screen, "äääääääääääääääääää");  // 19: the last column would wrap
}

static void test_pipe_has_no_status(void **state) {
    (void)state;
    char out[4096];
    capture(0, session_that_clears, out, sizeof out);
    assert_string_equal(out, "a line\nwarning: evil ?[2Jname 7\nerror: end\n");
}

static void long_line(void) {
    dapt_log_status("step 1");
    dapt_log(DAPT_LOG_WARNING, "a line of several words that has to be broken");
}

static void test_lines_break_between_words(void **state) {
    (void)state;
    char out[4096], screen[4096];
    capture(24, long_line, out, sizeof out);
    show(out, 24, screen, sizeof screen);
    assert_string_equal(screen,
                        "warning: a line of|  several words that has|  to be broken|step 1");
}

// A terminal that obeys no escapes gets none: lines, as a pipe does.
static void test_dumb_terminal(void **state) {
    (void)state;
    static const char *const terms[] = {"dumb", ""};
    char out[4096];
    for (size_t i = 0; i < 2; i++) {
        term = terms[i];
        capture(40, session_that_clears, out, sizeof out);
        term = "xterm";
        assert_null(strchr(out, '\033'));
        assert_string_equal(out, "a line\r\nwarning: evil ?[2Jname 7\r\nerror: end\r\n");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),           cmocka_unit_test(test_status_never_wraps),
        cmocka_unit_test(test_pipe_has_no_status), cmocka_unit_test(test_lines_break_between_words),
        cmocka_unit_test(test_dumb_terminal),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
