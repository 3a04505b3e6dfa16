// What training tells on a terminal: lines that fit its width, escapes only where they are obeyed.
#include <math.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "train/report.h"

static const struct dapt_evaluation sets[] = {
    {.name = "domain",
     .nats_per_token = 2.8513,
     .perplexity = 17.31,
     .bits_per_byte = 1.3535,
     .nats_before = 4.1208,
     .bits_before = 1.9562,
     .role = "domain",
     .documents = 43,
     .change_low = -0.6311,
     .change_high = -0.5743},
    {.name = "general",
     .nats_per_token = 4.6209,
     .perplexity = 101.59,
     .bits_per_byte = 2.0497,
     .nats_before = NAN,
     .bits_before = NAN,
     .role = "control",
     .documents = 1,
     .change_low = NAN,
     .change_high = NAN},
};

static void tell(void) {
    struct dapt_console console;
    dapt_console_start(&console);
    struct dapt_train_event event = {
        .kind = DAPT_TRAIN_NOTE,
        .text =
            "memory          36.2 MiB: parameters 4.6 MiB, gradients 4.6 MiB, optimizer 9.1 "
            "MiB, activations 17.9 MiB, other 26.2 KiB"};
    dapt_console_event(&console, &event);
    event = (struct dapt_train_event){
        .kind = DAPT_TRAIN_STEP, .step = 1, .steps = 9, .loss = 2, .learning_rate = 1e-4};
    dapt_console_event(&console, &event);
    event = (struct dapt_train_event){.kind = DAPT_TRAIN_EVALUATION,
                                      .step = 9,
                                      .steps = 9,
                                      .evaluations = sets,
                                      .evaluation_count = 2};
    dapt_console_event(&console, &event);
    event.kind = DAPT_TRAIN_END;
    event.text = "9 steps; the model is in /a/folder";
    dapt_console_event(&console, &event);
}

// What `tell` writes to a terminal of so many columns, or to a pipe (0).
static void capture(int columns, const char *term, char *out, size_t room) {
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int ends[2];
    if (columns)
        assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, &size), 0);
    else
        assert_int_equal(pipe(ends), 0);
    setenv("TERM", term, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        tell();
        fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while (length + 1 < room && (n = read(ends[0], out + length, room - 1 - length)) > 0)
        length += (size_t)n;
    out[length] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_widths(void **state) {
    (void)state;
    static const char *const terms[] = {"xterm", "dumb"};
    char out[8192];
    for (int columns = 36; columns <= 200; columns += columns < 90 ? 1 : 40) {
        for (size_t t = 0; t < 2; t++) {
            capture(columns, terms[t], out, sizeof out);
            assert_true((strchr(out, '\033') != NULL) == (t == 0));
            size_t seen = 0;
            for (const char *p = out; *p; p++) {
                bool escape = strncmp(p, "\033[K", 3) == 0;
                seen = *p == '\r' || *p == '\n' ? 0 : seen + !escape;
                if (escape) p += 2;
                if (seen > (size_t)columns) fail_msg("%d columns: %s", columns, out);
            }
        }
    }
}

// The table has whole groups of columns, as many as there is room for; all of them in a file.
static void test_table(void **state) {
    (void)state;
    static const struct {
        int columns;
        bool interval, nats, perplexity;
    } cases[] = {{0, true, true, true},     {120, true, true, true},  {98, true, true, true},
                 {97, true, true, false},   {75, true, true, false},  {74, true, false, false},
                 {55, false, false, false}, {20, false, false, false}};
    char out[8192];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        capture(cases[i].columns, "xterm", out, sizeof out);
        const char *table = strstr(out, cases[i].columns ? "\r\n\r\n" : "\n\n");
        assert_non_null(table);
        assert_int_equal(strstr(table, "95 % interval") != NULL, cases[i].interval);
        assert_int_equal(strstr(table, "nats/token") != NULL, cases[i].nats);
        assert_int_equal(strstr(table, "perplexity") != NULL, cases[i].perplexity);
    }
    assert_non_null(strstr(out, "general"));
    capture(0, "xterm", out, sizeof out);
    assert_non_null(
        strstr(out,
               "\n           before    after   change        95 % interval    before    after"
               "      before      after\n"
               "domain     1.9562   1.3535  -0.6027   -0.6311 to -0.5743    4.1208   2.8513"
               "       61.61      17.31\n"
               "general         -   2.0497        -                    -         -   4.6209"
               "           -     101.59\n"
               "general is a single document: no interval\n"));
}

// A ruined model's perplexity has 40 digits, which no column has room for.
static void test_perplexity(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {17.31, "17.31"},      {999999.99, "999999.99"}, {1e6, "1.000e+06"}, {3.2e43, "3.200e+43"},
        {1e300, "1.000e+300"}, {INFINITY, "-"},          {NAN, "-"}};
    char text[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(dapt_text_perplexity(cases[i].value, text), cases[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_perplexity),
    };
    return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
