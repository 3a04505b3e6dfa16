// What handles promise: round trips, text that is no UTF-8, stopping, sharing between threads, long
// documents.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static const struct dapt_tokenizer_1 *hf, *bytes;
static uint64_t seed = 7;

static uint32_t draw(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

static void *open_part(const char *model, const char *rest) {
    char path[4096];
    const char *source = getenv("DAPT_TEST_SOURCE");
    void *handle = NULL;
    assert_non_null(source);
    snprintf(path, sizeof path, "%s/tests/tokenizers/components.json", source);
    cJSON *file = fixture_json(path);
    assert_non_null(file);
    char *text = fixture_print(cJSON_GetObjectItem(cJSON_GetObjectItem(file, "models"), model));
    size_t size = strlen(text) + strlen(rest) + 64;
    char *json = malloc(size);
    assert_non_null(json);
    snprintf(json, size, "{\"model\":%s%s}", text, rest);
    const char *written = fixture_write("handles.json", json, strlen(json));
    if (hf->open(&fixture_host, NULL, written, &handle) != DAPT_OK) fail_msg("%s", fixture_error());
    remove(written);
    free(json);
    free(text);
    cJSON_Delete(file);
    return handle;
}

static void *open_byte_level(void) {
    return open_part("bytes",
                     ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                     "\"decoder\":{\"type\":\"ByteLevel\"}");
}

static void *open_sentences(void) {
    return open_part(
        "spm",
        ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xe2\x96\x81\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}");
}

static size_t random_utf8(char *out, size_t characters) {
    static const char *const parts[] = {"a",
                                        "the ",
                                        "Z",
                                        " ",
                                        "\n",
                                        "7",
                                        "\xc3\xa9",
                                        "\xcc\x81",
                                        "\xe6\x97\xa5",
                                        "\xf0\x9f\x99\x82",
                                        "'s",
                                        "\x01",
                                        "\xe2\x80\xa8",
                                        "!"};
    size_t used = 0;
    for (size_t i = 0; i < characters; i++) {
        const char *part = parts[draw(sizeof parts / sizeof *parts)];
        memcpy(out + used, part, strlen(part));
        used += strlen(part);
    }
    return used;
}

static void round_trip(const struct dapt_tokenizer_1 *tokenizer, void *handle) {
    struct fixture_ids ids = {0};
    struct fixture_text text = {0};
    for (int i = 0; i < 2000; i++) {
        char input[1024];
        size_t length = random_utf8(input, draw(200));
        fixture_encode(tokenizer, handle, input, length, 0, &ids);
        for (size_t k = 0; k < ids.count; k++)
            assert_true(ids.data[k] < tokenizer->vocab_size(handle));
        fixture_decode(tokenizer, handle, ids.data, ids.count, 0, &text);
        assert_int_equal(text.length, length);
        if (length) assert_memory_equal(text.data, input, length);
    }
    free(ids.data);
    free(text.data);
    tokenizer->close(handle);
}

static void round_trips(void **state) {
    const char *path;
    void *handle;
    (void)state;
    round_trip(hf, open_byte_level());
    assert_int_equal(bytes->open(&fixture_host, NULL, "", &handle), DAPT_OK);
    round_trip(bytes, handle);
    if (!(path = fixture_data("tokenizers/gpt2"))) skip();
    assert_int_equal(hf->open(&fixture_host, NULL, path, &handle), DAPT_OK);
    round_trip(hf, handle);
}

static void plain_bytes(void **state) {
    void *handle, *other;
    struct fixture_ids ids = {0};
    struct fixture_text text = {0};
    char all[9000];
    (void)state;
    for (size_t i = 0; i < sizeof all; i++) all[i] = (char)(i * 7 + i / 256);
    assert_int_equal(bytes->open(&fixture_host, NULL, "", &handle), DAPT_OK);
    assert_int_equal(bytes->share(handle, &other), DAPT_OK);
    bytes->close(handle);
    assert_int_equal(bytes->vocab_size(other), 257);
    assert_int_equal(bytes->special_id(other, DAPT_SPECIAL_EOS), 256);
    assert_int_equal(bytes->special_id(other, DAPT_SPECIAL_BOS), -1);
    fixture_encode(bytes, other, all, sizeof all, DAPT_ENCODE_SPECIAL, &ids);
    assert_int_equal(ids.count, sizeof all + 1);
    assert_int_equal(ids.data[sizeof all], 256);
    ids.data[5] = 999;  // no id of it
    fixture_decode(bytes, other, ids.data, ids.count, DAPT_DECODE_SKIP_SPECIAL, &text);
    assert_int_equal(text.length, sizeof all - 1);
    assert_memory_equal(text.data, all, 5);
    assert_memory_equal(text.data + 5, all + 6, sizeof all - 6);
    fixture_decode(bytes, other, ids.data + sizeof all - 1, 2, 0, &text);
    assert_int_equal(text.length, 14);
    assert_memory_equal(text.data + 1, "<|endoftext|>", 13);
    bytes->close(other);
    bytes->close(NULL);
    hf->close(NULL);
    free(ids.data);
    free(text.data);
}

// Ill-formed parts are read as U+FFFD, one for each maximal subpart.
static void not_utf8(void **state) {
    static const char *const pairs[][2] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe2\x82", "\xef\xbf\xbd"},
        {"\xf0\x9f\x99 x", "\xef\xbf\xbd x"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3\xa9\x80", "\xc3\xa9\xef\xbf\xbd"},
    };
    void *handle = open_byte_level();
    struct fixture_ids bad = {0}, good = {0};
    struct fixture_text text = {0};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        fixture_encode(hf, handle, pairs[i][0], strlen(pairs[i][0]), 0, &bad);
        fixture_encode(hf, handle, pairs[i][1], strlen(pairs[i][1]), 0, &good);
        assert_int_equal(bad.count, good.count);
        assert_memory_equal(bad.data, good.data, good.count * sizeof *good.data);
    }
    for (int i = 0; i < 3000; i++) {  // any bytes and any ids at all
        char noise[64];
        uint32_t ids[32];
        size_t length = draw(sizeof noise), count = draw(32);
        for (size_t k = 0; k < length; k++) noise[k] = (char)draw(256);
        for (size_t k = 0; k < count; k++) ids[k] = draw(10) ? draw(500) : draw(UINT32_MAX);
        fixture_encode(hf, handle, noise, length, DAPT_ENCODE_SPECIAL, &bad);
        fixture_decode(hf, handle, ids, count, i & 1, &text);
    }
    free(bad.data);
    free(good.data);
    free(text.data);
    hf->close(handle);
}

static bool stop_at_once(void *context, const uint32_t *ids, size_t count) {
    (void)ids;
    (void)count;
    ++*(int *)context;
    return false;
}

static void stopping(void **state) {
    void *handles[] = {open_byte_level(), open_sentences()};
    size_t length = 400000;
    char *text = malloc(length);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < length; i++) text[i] = "ab 1\n"[i % 5];
    for (int i = 0; i < 2; i++) {
        int calls = 0;
        assert_true(
            hf->encode(handles[i], text, length, DAPT_ENCODE_SPECIAL, stop_at_once, &calls) >= 0);
        assert_int_equal(calls, 1);
        hf->close(handles[i]);
    }
    free(text);
}

struct job {
    void *handle;
    const char *text;
    size_t length;
    struct fixture_ids ids;
};

static void *work(void *context) {
    struct job *job = context;
    for (int i = 0; i < 20; i++) {
        job->ids.count = 0;
        if (hf->encode(job->handle, job->text, job->length, 0, fixture_emit_ids, &job->ids) < 0)
            return context;
    }
    return NULL;
}

static void sharing(void **state) {
    enum { THREADS = 4, CHARACTERS = 4000 };
    void *first = open_byte_level();
    struct job jobs[THREADS] = {{0}};
    struct fixture_ids expected = {0};
    pthread_t threads[THREADS];
    char *text = malloc(CHARACTERS * 4);
    (void)state;
    assert_non_null(text);
    size_t length = random_utf8(text, CHARACTERS);
    fixture_encode(hf, first, text, length, 0, &expected);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.text = text, .length = length};
        assert_int_equal(hf->share(first, &jobs[i].handle), DAPT_OK);
    }
    hf->close(first);  // the others live on
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_int_equal(jobs[i].ids.count, expected.count);
        assert_memory_equal(jobs[i].ids.data, expected.data,
                            expected.count * sizeof *expected.data);
        hf->close(jobs[i].handle);
        free(jobs[i].ids.data);
    }
    free(expected.data);
    free(text);
}

// Without a pre-tokenizer a document is one word. What is quadratic in its length does not end
// within the test's time.
static void long_documents(void **state) {
    static const char *const units[] = {
        "there was a ",    "a", "\xe6\x97\xa5\xe6\x9c\xac", " ", "eeeeee\xe2\x96\x81",
        "\xcc\x81\xcc\xa3"};
    void *handles[] = {open_sentences(), open_byte_level(),
                       open_part("spm-crossing", ",\"normalizer\":{\"type\":\"NFC\"}")};
    struct fixture_ids ids = {0};
    size_t length = 2000000;
    char *text = malloc(length);
    (void)state;
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit = strlen(units[u]), whole = length / unit * unit;
        for (size_t i = 0; i < whole; i += unit) memcpy(text + i, units[u], unit);
        for (int k = 0; k < 3; k++) {
            fixture_encode(hf, handles[k], text, whole, 0, &ids);
            assert_true(ids.count > 0 && ids.count <= whole + 1);  // and the mark put before it
        }
    }
    for (int k = 0; k < 3; k++) hf->close(handles[k]);
    free(ids.data);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips), cmocka_unit_test(plain_bytes),
        cmocka_unit_test(not_utf8),    cmocka_unit_test(stopping),
        cmocka_unit_test(sharing),     cmocka_unit_test(long_documents),
    };
    hf = fixture_tokenizer("hf");
    bytes = fixture_tokenizer("bytes");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
