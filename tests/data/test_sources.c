// The sources that come with dapt: what they make of good, odd and broken files.
#include <zlib.h>

#include "corpus_test.h"

// Reads a file through a source. Documents as "[record]text", with an id as "[record id]text",
// failures as "{record reason}".
static void read_all(const char *source, const char *options, const char *path,
                     struct dapt_string *out) {
    const struct dapt_plugin_descriptor *plugin = dapt_modules_plugin(modules, DAPT_SOURCE_1,
                                                                      source);
    assert_non_null(plugin);
    const struct dapt_source_1 *api = plugin->implementation;
    struct dapt_json *json = parse_options(options);
    struct dapt_options *values = NULL;
    assert_ok(dapt_options_create(plugin->options, json, NULL, &values));
    void *handle = NULL;
    enum dapt_status status = api->open(dapt_host(), values, path, &handle);
    if (status) assert_ok(dapt_string_format(out, "{open %s}", dapt_error()));
    for (int calls = 0; !status || status == DAPT_ERROR_INVALID; calls++) {
        if (!handle) break;
        struct dapt_document d = {0};
        status = api->next(handle, &d);
        assert_true(calls < 100000);
        if (status == DAPT_OK)
            assert_ok(dapt_string_format(out, d.id ? "[%llu %.*s]" : "[%llu%.*s]",
                                         (unsigned long long)d.record, (int)d.id_length,
                                         d.id ? d.id : ""));
        if (status == DAPT_OK) assert_ok(dapt_string_add(out, d.text, d.length));
        if (status < 0)
            assert_ok(
                dapt_string_format(out, "{%llu %s}", (unsigned long long)d.record, dapt_error()));
    }
    api->close(handle);
    api->close(NULL);
    dapt_options_destroy(&values);
    dapt_json_free(&json);
}

struct source_case {
    const char *source, *options, *content, *expected;
};

static const struct source_case cases[] = {
    {"text", NULL, "", "[0]"},
    {"text", NULL, "one\ntwo\n", "[0]one\ntwo\n"},
    {"text", NULL, "\xef\xbb\xbfone", "[0]one"},
    {"text", NULL, "\xef\xbb\xbf", "[0]"},
    {"text", NULL, "\xef\xbb", "[0]\xef\xbb"},
    {"text", NULL, "one\r\ntwo\r\n\r\n", "[0]one\ntwo\n\n"},
    {"text", NULL, "a\rb\r\r\nc\r", "[0]a\rb\r\nc\r"},
    {"text", "{\"split\": \"blank-lines\"}", "", ""},
    {"text", "{\"split\": \"blank-lines\"}", "\n\n\n", ""},
    {"text", "{\"split\": \"blank-lines\"}", "a\nb\n\nc\n", "[1]a\nb[2]c"},
    {"text", "{\"split\": \"blank-lines\"}", "\r\n\r\na\r\nb\r\n \t\r\n\r\nc", "[1]a\nb[2]c"},
    {"text", "{\"split\": \"blank-lines\"}", "  indented\n\n\n\nx\n", "[1]  indented[2]x"},
    {"text", "{\"split\": \"separator\", \"separator\": \"<|end|>\"}", "a<|end|>\nb\n<|end|>",
     "[1]a[2]b"},
    {"text", "{\"split\": \"separator\", \"separator\": \"<|end|>\"}", "a<|end<|end|>b<|end|",
     "[1]a<|end[2]b<|end|"},
    {"text", "{\"split\": \"separator\", \"separator\": \"\\n---\\n\"}", "a\r\n---\r\nb\r\n",
     "[1]a[2]b"},
    {"text", "{\"split\": \"separator\", \"separator\": \"--\"}", "----a--", "[1][2][3]a"},
    {"text", "{\"split\": \"separator\"}", "a",
     "{open split \"separator\" needs the option \"separator\"}"},
    {"text", "{\"split\": \"lines\"}", "a",
     "{open split: \"file\", \"blank-lines\" or \"separator\" was expected}"},
    {"jsonl", NULL, "", ""},
    {"jsonl", NULL, "\n \n\t\r\n", ""},
    {"jsonl", NULL, "{\"text\": \"a\"}", "[1]a"},
    {"jsonl", NULL,
     "\xef\xbb\xbf{\"text\": \"a\"}\r\n\r\n{\"id\": \"x\", \"text\": "
     "\"b\\nc\\u00e9\\ud83d\\ude00\"}\r\n",
     "[1]a[3 x]b\nc\xc3\xa9\xf0\x9f\x98\x80"},
    {"jsonl", NULL, "{\"text\": \"\"}\n{\"text\": \"\\\\u0000\"}\n", "[1][2]\\u0000"},
    {"jsonl", NULL, "{\"text\": \"a\\u0000b\"}\n{\"text\": \"c\"}",
     "[1]a\xef\xbf\xbd"
     "b[2]c"},
    {"jsonl", NULL,
     "{\"text\": \"a\", \"x\": NaN, \"y\": [-Infinity, Infinity], \"z\": \"\\ud800 "
     "\\u0000\"}\n{\"n\": "
     "\"NaN \\\" Infinity\", \"text\": \"NaN\"}\n{\"text\": NaN}",
     "[1]a[2]NaN{3 field \"text\" is not a string}"},
    {"jsonl", NULL, "{\"text\": \"first\", \"text\": \"last\", \"id\": \"x\", \"id\": \"y\"}",
     "[1 y]last"},
    {"jsonl", NULL,
     "{\"text\": 3}\n[1]\n\"x\"\nnull\n{\"t\": 1}\n{\"text\": null}\n{\"text\": \"a\"}",
     "{1 field \"text\" is not a string}{2 is not a JSON object}{3 is not a JSON object}{4 is not "
     "a JSON object}"
     "{5 has no field \"text\"; its fields are \"t\"; name one as \"field\"}{6 field \"text\" is "
     "not a string}[7]a"},
    {"jsonl", NULL, "{\"text\": \"a\"\n{\"text\": \"b\"} x\n{\"text\": \"c\"}",
     "{1 is not JSON, near column 12}{2 goes on behind its JSON value, column 15}[3]c"},
    {"jsonl", NULL,
     "{\"text\": \"\\ud800\"}\n{\"text\": \"\\udc00x\"}\n{\"text\": \"\\x\"}\n{\"text\": \"d\"}",
     "[1]\xef\xbf\xbd[2]\xef\xbf\xbdx{3 is not JSON, near column 11}[4]d"},
    {"jsonl", "{\"field\": \"a.b\"}",
     "{\"a\": {\"b\": \"x\"}}\n{\"a\": {\"c\": \"x\"}}\n{\"a.b\": \"y\"}\n{\"a\": \"b\"}",
     "[1]x{2 has no field \"a.b\"; its fields are \"a\"; name one as \"field\"}[3]y{4 has no field "
     "\"a.b\"; its fields are \"a\"; name one as \"field\"}"},
    {"jsonl", "{\"field\": \"a.b.c\", \"id\": \"m.n\"}",
     "{\"m\": {\"n\": \"i\"}, \"a\": {\"b\": {\"c\": \"x\"}}}\n{\"a.b\": {\"c\": \"y\"}}\n{\"a\": "
     "{\"b.c\": \"z\"}, \"m\": 1}",
     "[1 i]x[2]y[3]z"},
};

static void test_cases(void **state) {
    (void)state;
    const char *path = path_in(folder, "file");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dapt_string out = {0};
        write_text(path, cases[i].content);
        read_all(cases[i].source, cases[i].options, path, &out);
        const char *got = out.data ? out.data : "";
        if (strcmp(got, cases[i].expected))
            fail_msg("%s, options %s, \"%s\":\ngave     \"%s\"\nnot      \"%s\"", cases[i].source,
                     cases[i].options ? cases[i].options : "{}", cases[i].content, got,
                     cases[i].expected);
        dapt_string_free(&out);
    }
}

static void add_repeated(struct dapt_string *s, const char *text, size_t count) {
    for (size_t i = 0; i < count; i++) assert_ok(dapt_string_add(s, text, strlen(text)));
}

// Pieces, marks and line ends across the borders of what is read at a time.
static void test_borders(void **state) {
    (void)state;
    const char *path = path_in(folder, "borders");
    for (size_t shift = 0; shift < 6; shift++) {
        struct dapt_string file = {0}, out = {0}, expected = {0};
        for (uint64_t i = 0; i < 3000; i++) {
            size_t length = 1 + (i * 7919 + shift) % 400;
            assert_ok(dapt_string_format(&expected, "[%llu]", (unsigned long long)i + 1));
            add_repeated(&expected, "y", length);
            add_repeated(&expected, "\nz", 1);
            add_repeated(&file, "y", length);
            add_repeated(&file, "\r\nz", 1);
            add_repeated(&file, "\r\n<|end|>\r\n", 1);
        }
        assert_ok(dapt_file_write(path, file.data, file.length));
        read_all("text", "{\"split\": \"separator\", \"separator\": \"\\n<|end|>\"}", path, &out);
        // Behind the last mark there is one line break more.
        add_repeated(&expected, "[3001]", 1);
        assert_string_equal(out.data, expected.data);
        dapt_string_free(&file);
        dapt_string_free(&out);
        dapt_string_free(&expected);
    }
}

// A carriage return that ends one read and its line feed that begins the next.
static void test_line_ends(void **state) {
    (void)state;
    const char *path = path_in(folder, "ends");
    for (size_t shift = 1; shift < 3; shift++) {
        struct dapt_string file = {0}, out = {0}, expected = {0};
        add_repeated(&file, "a", shift);
        add_repeated(&file, "\r\n", 500000);
        add_repeated(&expected, "[0]", 1);
        add_repeated(&expected, "a", shift);
        add_repeated(&expected, "\n", 500000);
        assert_ok(dapt_file_write(path, file.data, file.length));
        read_all("text", NULL, path, &out);
        assert_string_equal(out.data, expected.data);
        dapt_string_free(&file);
        dapt_string_free(&out);
        dapt_string_free(&expected);
    }
}

// A mark that ends in the next read.
static void test_marks(void **state) {
    (void)state;
    const char *path = path_in(folder, "marks");
    for (size_t shift = 0; shift < 8; shift++) {
        struct dapt_string file = {0}, out = {0};
        add_repeated(&file, "y", shift);
        add_repeated(&file, "x<|end|>", 80000);
        assert_ok(dapt_file_write(path, file.data, file.length));
        read_all("text", "{\"split\": \"separator\", \"separator\": \"<|end|>\"}", path, &out);
        if (strchr(out.data, '<'))
            fail_msg("a mark was passed over: %.40s", strchr(out.data, '<') - 20);
        assert_string_equal(out.data + out.length - 8, "[80000]x");
        dapt_string_free(&file);
        dapt_string_free(&out);
    }
}

static void test_long_lines(void **state) {
    (void)state;
    struct dapt_string file = {0}, out = {0};
    const char *path = path_in(folder, "long.jsonl");
    assert_ok(dapt_string_format(&file, "{\"text\": \""));
    add_repeated(&file, "0123456789abcdef", 1 << 19);
    assert_ok(dapt_string_format(&file, "\"}\n{\"text\": \"b\"}\n"));
    assert_ok(dapt_file_write(path, file.data, file.length));
    read_all("jsonl", NULL, path, &out);
    assert_int_equal(out.length, 3 + (16 << 19) + 4);
    assert_string_equal(out.data + out.length - 4, "[2]b");
    dapt_string_free(&out);
    file.length = 0;
    add_repeated(&file, "[", 1 << 20);
    assert_ok(dapt_string_format(&file, "\n{\"text\": \"b\"}\n{\"a\":"));
    add_repeated(&file, "{\"a\":", 1 << 18);
    assert_ok(dapt_file_write(path, file.data, file.length));
    read_all("jsonl", NULL, path, &out);
    assert_non_null(strstr(out.data, "{1 is not JSON"));
    assert_non_null(strstr(out.data, "[2]b{3 is not JSON"));
    dapt_string_free(&out);
    dapt_string_free(&file);
}

// A line above the limit is one bad record; what follows is read. (As gz: 300 MB of blanks are a
// small file.)
static void test_too_long(void **state) {
    (void)state;
    struct dapt_string out = {0};
    const char *path = path_in(folder, "bomb.jsonl.gz");
    static char blanks[1 << 20];
    memset(blanks, 'x', sizeof blanks);
    gzFile gz = gzopen(path, "wb1");
    assert_non_null(gz);
    gzputs(gz, "{\"text\": \"a\"}\n");
    for (int i = 0; i < 300; i++) gzwrite(gz, blanks, sizeof blanks);
    gzputs(gz, "\n{\"text\": \"b\"}\n");
    gzclose(gz);
    read_all("jsonl", NULL, path, &out);
    assert_string_equal(out.data, "[1]a{2 is longer than 256 MiB}[3]b");
    dapt_string_free(&out);
}

static void test_probes(void **state) {
    (void)state;
    static const struct {
        const char *path, *head, *source;
    } files[] = {
        {"a.txt", "hello", "text"},
        {"a.md", "# x", "text"},
        {"a", "plain words", "text"},
        {"a.c", "int main", "text"},
        {"a.1", ".TH LS 1\n", "text"},
        {"a.jsonl", "{\"text\":1}", "jsonl"},
        {"A.JSONL", "{}", "jsonl"},
        {"a.jsonl", "", "jsonl"},
        {"a.ndjson", " {", "jsonl"},
        {"a.json", "\n{\"a\": 1}", "jsonl"},
        {"a.json", "[{\"text\": 1}]", NULL},
        {"a.html", "<html>", NULL},
        {"a.csv", "a,b", NULL},
        {"a.bin",
         "\x7f"
         "ELF\x01",
         NULL},
        {"a.txt", "", "text"},
        {"a.png", "\x89PNG\r\n\x1a\n", NULL},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct dapt_plugin_descriptor *best = NULL, *each;
        int surest = 0;
        for (size_t k = 0; (each = dapt_modules_each(modules, DAPT_SOURCE_1, k)); k++) {
            const struct dapt_source_1 *api = each->implementation;
            int sure = api->probe(files[i].path, files[i].head, strlen(files[i].head));
            assert_true(sure >= 0 && sure <= 100);
            if (sure > surest) {
                surest = sure;
                best = each;
            }
        }
        if (strcmp(best ? best->id : "none", files[i].source ? files[i].source : "none"))
            fail_msg("%s: %s", files[i].path, best ? best->id : "none");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_borders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_line_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_probes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, load_modules, unload_modules);
}
