// The parts of a report: text that is escaped, ticks, thinned curves; folders with bytes changed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/rng.h"
#include "report/page.h"
#include "report/plot.h"

static void test_text(void **state) {
    (void)state;
    static const struct {
        const char *text, *escaped;
    } cases[] = {
        {"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;"},
        {"", ""},
        {"Grüße\n\t", "Grüße\n\t"},
        {"\x01\x1b[m\x7f", "\xef\xbf\xbd\xef\xbf\xbd[m\xef\xbf\xbd"},
        {"a\xff\xc3", "a\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xef\xbf\xbe<", "\xef\xbf\xbd&lt;"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dapt_html html = {0};
        dapt_html_put(&html, ">");
        dapt_html_text(&html, cases[i].text);
        assert_int_equal(html.status, DAPT_OK);
        assert_string_equal(html.text.data + 1, cases[i].escaped);
        dapt_string_free(&html.text);
    }
}

static void test_number(void **state) {
    (void)state;
    struct dapt_html html = {0};
    dapt_html_number(&html, "%+.4f", -0.5);
    dapt_html_number(&html, "%.2e", 1e-4);
    dapt_html_number(&html, "%.2f", NAN);
    assert_string_equal(html.text.data, "−0.50001.00e−04–");
    dapt_string_free(&html.text);
}

static void test_ticks(void **state) {
    (void)state;
    assert_true(fabs(dapt_plot_ticks(0, 10, 5) - 2) < 1e-12);
    assert_true(fabs(dapt_plot_ticks(0, 3e-3, 5) - 5e-4) < 1e-12);
    assert_true(fabs(dapt_plot_ticks(-1.3, 0.2, 5) - 0.2) < 1e-12);
    assert_true(fabs(dapt_plot_ticks(0, 10000, 5) - 2000) < 1e-9);
    assert_true(dapt_plot_ticks(4, 4, 5) > 0);
}

static void test_thin(void **state) {
    (void)state;
    static struct dapt_plot_point points[5000];
    size_t count = sizeof points / sizeof *points;
    for (size_t i = 0; i < count; i++)
        points[i] = (struct dapt_plot_point){(double)i, sin((double)i), NAN, NAN};
    points[1234].y = 70;
    points[3210].y = -70;
    points[2000].y = NAN;
    size_t kept = dapt_plot_thin(points, count, 100);
    assert_true(kept > 100 && kept <= 204);
    double least = 0, most = 0;
    for (size_t i = 0; i < kept; i++) {
        assert_true(i == 0 || points[i].x > points[i - 1].x);
        least = fmin(least, points[i].y);
        most = fmax(most, points[i].y);
    }
    assert_true(least == -70 && most == 70);
    assert_true(points[0].x == 0 && points[kept - 1].x == 4999);
    assert_int_equal(dapt_plot_thin(points, 150, 100), 150);
}

// --------------------------------------------------------------------------------- hostile folders

#define ROUNDS 100
static const char *const files[] = {"metrics.jsonl", "ledger.json", "config.json", "device.json"};

static void copy_changed(struct dapt_arena *arena, const char *from, const char *to,
                         uint64_t round) {
    struct dapt_string text = {0};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        assert_int_equal(dapt_file_read(dapt_path_join(arena, from, files[f]), 1 << 20, &text), 0);
        size_t changes = f == round % 5 || round % 5 == 4 ? 1 + round % 3 : 0, length = text.length;
        for (size_t i = 0; i < changes; i++) {
            static const char bytes[] = "0123456789-.eE\"{}[],:tn\\\n\xff";
            uint64_t bits = dapt_random_bits(round, f, i);
            text.data[bits % length] = bytes[(bits >> 32) % (sizeof bytes - 1)];
        }
        if (round % 7 == 0) length = dapt_random_bits(round, f, 99) % length;
        assert_int_equal(dapt_file_write(dapt_path_join(arena, to, files[f]), text.data, length),
                         0);
        dapt_string_free(&text);
    }
}

// Whatever stands there, a page comes of it.
static void test_hostile(void **state) {
    (void)state;
    struct dapt_arena arena = {0};
    const char *source = getenv("DAPT_TEST_SOURCE"), *base = getenv("TMPDIR");
    char *folder = dapt_arena_format(&arena, "%s/dapt-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(source);
    assert_non_null(mkdtemp(folder));
    source = dapt_path_join(&arena, source, "tests/report/run");
    for (uint64_t round = 0; round < ROUNDS; round++) {
        copy_changed(&arena, source, folder, round);
        struct dapt_run runs[2] = {0};
        struct dapt_page page = {.runs = runs, .count = 2};
        for (size_t r = 0; r < 2; r++) assert_int_equal(dapt_run_read(folder, &runs[r]), DAPT_OK);
        dapt_page_write(&page);
        if (page.html.status) fail_msg("round %d: %s", (int)round, dapt_error());
        for (size_t r = 0; r < 2; r++) dapt_run_free(&runs[r]);
        dapt_string_free(&page.html.text);
        dapt_arena_free(&page.arena);
    }
    assert_int_equal(dapt_remove_tree(folder), 0);
    dapt_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text), cmocka_unit_test(test_number),  cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_thin), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
