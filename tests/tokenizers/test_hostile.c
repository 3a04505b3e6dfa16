// Files and texts that nobody should write: one line of error, never a crash; and what a handle
// promises.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fixture.h"

static const struct dapt_tokenizer_1 *tokenizer;

#define BPE(vocab, merges, more) \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}" more "}"
#define AB "\"a\":0,\"b\":1,\"ab\":2"
#define WITH(more) BPE(AB, "\"a b\"", "," more)
#define ADDED(id, content, more)                                                          \
    WITH("\"added_tokens\":[{\"id\":" id ",\"content\":" content                          \
         ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false," \
         "\"special\":true}" more "]")
#define SPLIT(regex)                                                             \
    WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex \
         "\"},\"behavior\":\"Isolated\",\"invert\":false}")

static enum dapt_status open_text(const char *json, size_t length, void **handle) {
    const char *path = fixture_write("hostile.json", json, length);
    *handle = NULL;
    enum dapt_status status = tokenizer->open(&fixture_host, NULL, path, handle);
    remove(path);
    return status;
}

// Each with what its error must say.
static const struct {
    const char *json, *says;
} refused[] = {
    {"", "not valid JSON"},
    {"[]", "object was expected"},
    {"{}", "\"model\" is missing"},
    {"{\"model\":3}", "\"model\" is missing"},
    {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "\"Unigram\" is not supported"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":[1,2],\"merges\":[]}}", "object of token: id"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "\"merges\" must be a list"},
    {BPE("\"a\":-1", "", ""), "an integer from 0"},
    {BPE("\"a\":1.5", "", ""), "an integer from 0"},
    {BPE("\"a\":4294967296", "", ""), "an integer from 0"},
    {BPE("\"a\":4194304", "", ""), "an integer from 0"},
    {BPE("\"a\":1e300", "", ""), "an integer from 0"},
    {BPE("\"a\":\"0\"", "", ""), "an integer from 0"},
    {BPE("\"a\":0,\"b\":0", "", ""), "the same id 0"},
    {BPE("\"a\":0,\"a\":1", "", ""), "stands twice"},
    {BPE(AB, "\"a c\"", ""), "\"c\" is not in the vocabulary"},
    {BPE(AB, "\"b a\"", ""), "\"ba\" is not in the vocabulary"},
    {BPE(AB, "\"a b c\"", ""), "one space between"},
    {BPE(AB, "\"ab\"", ""), "one space between"},
    {BPE(AB, "[\"a\"]", ""), "two strings"},
    {BPE(AB, "[\"a\",\"b\",\"c\"]", ""), "two strings"},
    {BPE(AB, "7", ""), "a string was expected"},
    {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}",
     "\"dropout\" must be null"},
    {"{\"model\":{\"type\":\"BPE\",\"fuse_unk\":1,\"vocab\":{},\"merges\":[]}}", "true or false"},
    {"{\"model\":{\"type\":\"BPE\",\"magic\":1,\"vocab\":{},\"merges\":[]}}",
     "\"magic\" is not supported"},
    {WITH("\"version\":\"2.0\""), "\"version\""},
    {WITH("\"surprise\":1"), "\"surprise\" is not supported"},
    {WITH("\"normalizer\":{\"type\":\"Nmt\"}"), "normalizer \"Nmt\" is not supported"},
    {WITH("\"normalizer\":{\"type\":\"NFC\",\"x\":1}"), "\"x\" is not supported"},
    {WITH("\"normalizer\":[]"), "an object was expected"},
    {WITH("\"normalizer\":{}"), "\"type\" is missing"},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":{}}"), "must be a list"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"),
     "empty pattern"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"x\"}"),
     "may match nothing"},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"x\",\"content\":\"x\"}"),
     "was expected"},
    {WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"),
     "\"UnicodeScripts\" is not supported"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Sideways\"}"),
     "Sideways is not supported"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), "one character"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":"
          "\"maybe\"}"),
     "prepend_scheme"},
    {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"},"
          "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}]}"),
     "behind another"},
    {SPLIT("("), "not valid"},
    {SPLIT("[a-\\\\"), "backslash"},
    {SPLIT("a{2,1}"), "such an interval"},
    {SPLIT("[a&&b]"), "intersection"},
    {SPLIT("[a[^b]]"), "class inside"},
    {SPLIT("[a[b-]]"), "class inside"},
    {SPLIT("[a[b]"), "not valid"},
    {SPLIT("(?<n>a)"), "not supported"},
    {SPLIT("(a)\\\\1"), "back reference"},
    {SPLIT("\\\\p{NoSuchThing}"), "not valid"},
    {SPLIT("(*LIMIT_MATCH=9)a"), "(* in a pattern"},
    {WITH("\"decoder\":{\"type\":\"CTC\"}"), "decoder \"CTC\" is not supported"},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}"),
     "one character"},
    {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"a\",\"start\":-1,\"stop\":0}"),
     "an integer"},
    {WITH("\"post_processor\":{\"type\":\"Mystery\"}"),
     "post_processor \"Mystery\" is not supported"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"), "no sequence"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"x\"}}]}"),
     "no ids"},
    {WITH("\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",99],\"cls\":[\"a\",0]}"),
     "from 0 to 2"},
    {ADDED("7", "\"x\"", ""), "has id 7; the vocabulary gives it 3"},
    {ADDED("1", "\"a\"", ""), "has id 1; the vocabulary gives it 0"},
    {ADDED("4194304", "\"x\"", ""), "an integer"},
    {ADDED("3", "\"\"", ""), "bytes of content"},
    {ADDED("3", "5", ""), "a string was expected"},
    {ADDED("3", "\"x\"", ",{\"id\":4}"), "\"content\" is missing"},
    {WITH("\"added_tokens\":{}"), "must be a list"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\\ud800\":0},\"merges\":[]}}", "not valid JSON"},
    {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\xff\":0},\"merges\":[]}}", "not valid UTF-8"},
    {"{\"model\":{}} x", "not valid JSON"},
};

static void errors_name_it(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        void *handle;
        enum dapt_status status = open_text(refused[i].json, strlen(refused[i].json), &handle);
        if (status >= 0 || handle) fail_msg("accepted: %s", refused[i].json);
        if (!strstr(fixture_error(), refused[i].says) || strchr(fixture_error(), '\n'))
            fail_msg("%s\n  says \"%s\", expected \"%s\"", refused[i].json, fixture_error(),
                     refused[i].says);
    }
    void *handle;
    assert_true(tokenizer->open(&fixture_host, NULL, "/no/such/folder", &handle) < 0);
    static const char nul[] = "{\"model\":{}}\0{";
    assert_true(open_text(nul, sizeof nul - 1, &handle) < 0);
    assert_non_null(strstr(fixture_error(), "NUL"));
}

static char *repeated(const char *head, const char *unit, size_t count, const char *tail,
                      size_t *length) {
    size_t a = strlen(head), b = strlen(unit), c = strlen(tail);
    char *text = malloc(a + b * count + c + 1);
    assert_non_null(text);
    memcpy(text, head, a);
    for (size_t i = 0; i < count; i++) memcpy(text + a + i * b, unit, b);
    memcpy(text + a + b * count, tail, c + 1);
    *length = a + b * count + c;
    return text;
}

static void depth_and_size(void **state) {
    static const struct {
        const char *head, *unit, *tail;
        size_t count;
    } big[] = {
        {"", "[", "", 1 << 20},
        {"{\"normalizer\":", "{\"a\":", "", 100000},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"normalizer\":",
         "{\"type\":\"Sequence\",\"normalizers\":[", "", 400},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":"
         "\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"",
         "(", "\"}}}", 2000},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":"
         "\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"",
         "a", "\"}}}", 100000},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":"
         "\"Sequence\",\"pretokenizers\":[",
         "{\"type\":\"WhitespaceSplit\"},", "{\"type\":\"WhitespaceSplit\"}]}}", 1000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        size_t length;
        void *handle;
        char *json = repeated(big[i].head, big[i].unit, big[i].count, big[i].tail, &length);
        if (open_text(json, length, &handle) >= 0) fail_msg("accepted: %.100s...", json);
        free(json);
    }
    // Closed nesting: valid JSON, too deep for a sequence.
    char json[8192] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"decoder\":";
    for (int i = 0; i < 40; i++) strcat(json, "{\"type\":\"Sequence\",\"decoders\":[");
    for (int i = 0; i < 40; i++) strcat(json, "]}");
    strcat(json, "}");
    void *handle;
    assert_true(open_text(json, strlen(json), &handle) < 0);
    assert_non_null(strstr(fixture_error(), "too deep"));
}

// Eight replacements, each by twenty of the same: 8 bytes would become 200 GB.
static void growth(void **state) {
    char json[4096] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[";
    struct fixture_ids ids = {0};
    void *handle;
    (void)state;
    for (int i = 0; i < 8; i++)
        strcat(json,
               "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
               "\"aaaaaaaaaaaaaaaaaaaa\"},");
    json[strlen(json) - 1] = 0;
    strcat(json, "]}}");
    assert_int_equal(open_text(json, strlen(json), &handle), DAPT_OK);
    assert_int_equal(tokenizer->encode(handle, "aaaaaaaa", 8, 0, fixture_emit_ids, &ids),
                     DAPT_ERROR_INVALID);
    assert_non_null(strstr(fixture_error(), "of a text of 8"));
    tokenizer->close(handle);
    free(ids.data);
}

static void truncated(void **state) {
    static const char small[] = ADDED("3", "\"<s>\"", "");
    const char *names[] = {"tokenizers/gpt2/tokenizer.json", "models/stories260k/tokenizer.json"};
    void *handle;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof small; i++) assert_true(open_text(small, i, &handle) < 0);
    assert_int_equal(open_text(small, sizeof small - 1, &handle), DAPT_OK);
    tokenizer->close(handle);
    for (int k = 0; k < 2; k++) {
        const char *path = fixture_data(names[k]);
        size_t length;
        if (!path) skip();
        char *json = fixture_read(path, &length);
        assert_non_null(json);
        for (size_t i = 0; i < 50; i++) assert_true(open_text(json, length * i / 50, &handle) < 0);
        free(json);
    }
}

// One byte of a small file changed at a time, into several others: opened or refused, and used when
// opened.
static void mutated(void **state) {
    static const char small[] = ADDED("3", "\"<s>\"", "");
    static const char bytes[] = "\"{}[]:,0-9\\aZ \x01\xc3";
    int opened = 0;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof small; i++)
        for (size_t k = 0; k + 1 < sizeof bytes; k++) {
            char json[sizeof small];
            void *handle;
            memcpy(json, small, sizeof small);
            json[i] = bytes[k];
            if (open_text(json, sizeof small - 1, &handle) < 0) continue;
            struct fixture_ids ids = {0};
            fixture_encode(tokenizer, handle, "ab <s>ba", 8, DAPT_ENCODE_SPECIAL, &ids);
            free(ids.data);
            tokenizer->close(handle);
            opened++;
        }
    assert_true(opened > 10);
}

static void runaway_pattern(void **state) {
    static const char json[] = SPLIT("(a+)+$|(a|aa)+b?c");
    size_t length;
    void *handle;
    struct fixture_ids ids = {0};
    (void)state;
    assert_int_equal(open_text(json, sizeof json - 1, &handle), DAPT_OK);
    char *text = repeated("", "a", 100, "b", &length);
    clock_t start = clock();
    assert_true(tokenizer->encode(handle, text, length, 0, fixture_emit_ids, &ids) < 0);
    assert_non_null(strstr(fixture_error(), "gave up"));
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20);
    fixture_encode(tokenizer, handle, "ab", 2, 0, &ids);  // it goes on working
    free(text);
    free(ids.data);
    tokenizer->close(handle);
}

// Merges that go round in circles through a prefix, or use the unknown token, end all the same.
static void circular_merges(void **state) {
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\",\"unk_token\":\"a\","
        "\"vocab\":"
        "{\"a\":0,\"##\":1,\"##a\":2,\"aa\":3},\"merges\":[\"a ##\",\"a ##a\",\"aa ##\"]}}";
    size_t length;
    void *handle;
    struct fixture_ids ids = {0};
    (void)state;
    assert_int_equal(open_text(json, sizeof json - 1, &handle), DAPT_OK);
    char *text = repeated("", "ab", 5000, "", &length);
    fixture_encode(tokenizer, handle, text, length, 0, &ids);
    assert_true(ids.count > 0 && ids.count <= length);
    free(text);
    free(ids.data);
    tokenizer->close(handle);
}

// Long tokens that almost fit at each place of a long word: the time of a place is that of a short
// token. A word beyond the limit is unknown without being looked at.
static void long_word(void **state) {
    static const char head[] =
        "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"max_input_chars_per_word\":"
        "400000,\"vocab\":{\"?\":0,\"a\":1,\"##a\":2,\"##";
    size_t length;
    void *handle;
    struct fixture_ids ids = {0};
    (void)state;
    char *json = repeated(head, "a", 5000, "b\":3}}}", &length);
    assert_int_equal(open_text(json, length, &handle), DAPT_OK);
    free(json);
    clock_t start = clock();
    char *text = repeated("", "a", 400001, "", &length);
    fixture_encode(tokenizer, handle, text, 400000, 0, &ids);
    assert_int_equal(ids.count, 400000);
    assert_int_equal(ids.data[399999], 2);
    fixture_encode(tokenizer, handle, text, 400001, 0, &ids);
    assert_int_equal(ids.count, 1);
    assert_int_equal(ids.data[0], 0);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
    free(text);
    free(ids.data);
    tokenizer->close(handle);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_it),  cmocka_unit_test(depth_and_size),
        cmocka_unit_test(growth),          cmocka_unit_test(truncated),
        cmocka_unit_test(mutated),         cmocka_unit_test(runaway_pattern),
        cmocka_unit_test(circular_merges), cmocka_unit_test(long_word),
    };
    tokenizer = fixture_tokenizer("hf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
