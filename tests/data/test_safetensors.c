// safetensors: what is written comes back; rounding; hostile headers and indexes are refused with
// their reason.
#include <math.h>

#include "base/rng.h"
#include "data_test.h"
#include "format/safetensors.h"

static const char *folder;

static int set_up(void **state) {
    (void)state;
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void write_raw(const char *path, const char *header, uint64_t claimed, size_t data_size) {
    struct dapt_string file = {0};
    assert_ok(dapt_string_add(&file, &claimed, sizeof claimed));
    assert_ok(dapt_string_add(&file, header, strlen(header)));
    for (size_t i = 0; i < data_size; i++) assert_ok(dapt_string_add(&file, &(char){(char)i}, 1));
    assert_ok(dapt_file_write(path, file.data, file.length));
    dapt_string_free(&file);
}

struct hostile {
    const char *header;
    size_t data_size;
    const char *reason;
};

static const struct hostile hostile_headers[] = {
    {"", 0, "does not start with"},
    {"[]", 0, "does not start with"},
    {"{", 0, "not JSON"},
    {"{}x", 0, "goes on"},
    {"{} ", 1, "belong to no tensor"},
    {"{\"a\":1}", 0, "not described by an object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.5,4.5]}}", 8, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "do not lie"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "do not lie"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e300]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1e18,1e18]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,3]}}", 3, "span 3 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4,
     "not a whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "array \"shape\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     "too many elements"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,0]}}", 0,
     "span 0 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
     "dimensions"},
    {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'F33'"},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\""},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "one string \"dtype\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, "overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, "overlap"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
     5, "1 bytes before tensor 'b'"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 5, "last 3 bytes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
     4, "twice"},
    {"{\"__metadata__\":[]}", 0, "not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "NUL"},
    {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "not UTF-8"},
    {"{\"\xed\xa0\x80\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "not UTF-8"},
};

static void test_hostile_headers(void **state) {
    (void)state;
    const char *path = path_in(folder, "hostile.safetensors");
    struct dapt_safetensors *file = NULL;
    for (size_t i = 0; i < sizeof hostile_headers / sizeof *hostile_headers; i++) {
        const struct hostile *h = &hostile_headers[i];
        write_raw(path, h->header, strlen(h->header), h->data_size);
        enum dapt_status status = dapt_safetensors_open(path, &file);
        if (status >= 0 || !strstr(dapt_error(), h->reason) ||
            !strstr(dapt_error(), "hostile.safetensors"))
            fail_msg("%s: status %d, \"%s\" instead of \"%s\"", h->header, (int)status,
                     dapt_error(), h->reason);
        assert_null(file);
    }
}

static void test_lengths(void **state) {
    (void)state;
    const char *path = path_in(folder, "lengths.safetensors");
    struct dapt_safetensors *file = NULL;
    static const uint64_t claims[] = {3,          1000,           (100u << 20) + 1,
                                      UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        write_raw(path, "{}", claims[i], 0);
        assert_fails(dapt_safetensors_open(path, &file), DAPT_ERROR_INVALID, "the header claims");
    }
    assert_ok(dapt_file_write(path, "1234567", 7));
    assert_fails(dapt_safetensors_open(path, &file), DAPT_ERROR_INVALID, "too few");
    assert_ok(dapt_file_write(path, "", 0));
    assert_fails(dapt_safetensors_open(path, &file), DAPT_ERROR_INVALID, "too few");
    assert_fails(dapt_safetensors_open(path_in(folder, "none"), &file), DAPT_ERROR_IO, "none");
    assert_fails(dapt_safetensors_open(folder, &file), DAPT_ERROR_INVALID, "neither");

    struct dapt_string deep = {0};  // deeper nesting than any parser's stack should follow
    for (int i = 0; i < 200000; i++) assert_ok(dapt_string_add(&deep, "{\"a\":", 5));
    write_raw(path, deep.data, deep.length, 0);
    assert_fails(dapt_safetensors_open(path, &file), DAPT_ERROR_INVALID, "not JSON");
    dapt_string_free(&deep);
}

static void test_good(void **state) {
    (void)state;
    const char *path = path_in(folder, "good.safetensors"),
               *header =
                   "{\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]},\"__metadata__"
                   "\":{\"format\":\"pt\"},"
                   "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[4,4]},"
                   "\"s\":{\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"I32\"}}   ";
    struct dapt_safetensors *file = NULL;
    write_raw(path, header, strlen(header), 6);
    assert_ok(dapt_safetensors_open(path, &file));
    assert_int_equal(dapt_safetensors_count(file), 3);
    assert_string_equal(dapt_safetensors_at(file, 0)->name, "s");
    assert_string_equal(dapt_safetensors_at(file, 1)->name, "empty");
    assert_string_equal(dapt_safetensors_at(file, 2)->name, "z");
    assert_string_equal(dapt_safetensors_metadata(file, "format"), "pt");
    assert_null(dapt_safetensors_metadata(file, "for"));
    const struct dapt_file_tensor *scalar = dapt_safetensors_find(file, "s");
    int64_t value = 0;
    assert_ok(dapt_file_tensor_ints(scalar, 0, 1, &value));
    assert_int_equal(value, 0x03020100);
    float wrong;
    assert_fails(dapt_file_tensor_floats(scalar, 0, 1, &wrong), DAPT_ERROR_UNSUPPORTED, "I32");
    assert_fails(dapt_file_tensor_ints(scalar, 1, 1, &value), DAPT_ERROR_INTERNAL, "'s'");
    assert_null(dapt_safetensors_find(file, "t"));
    dapt_safetensors_close(&file);
    assert_null(file);
}

// Every half must survive the way to float and back; NaN stays NaN.
static void test_halves(void **state) {
    (void)state;
    static uint16_t halves[65536], back[65536];
    static float floats[65536];
    for (uint32_t i = 0; i < 65536; i++) halves[i] = (uint16_t)i;
    for (int pass = 0; pass < 2; pass++) {
        enum dapt_file_dtype dtype = pass ? DAPT_FILE_BF16 : DAPT_FILE_F16;
        struct dapt_file_tensor tensor = {
            .name = "t", .dtype = dtype, .count = 65536, .data = halves, .file = "f"};
        assert_ok(dapt_file_tensor_floats(&tensor, 0, 65536, floats));
        assert_ok(dapt_floats_to_file(floats, 65536, dtype, back));
        for (uint32_t i = 0; i < 65536; i++)
            if (isnan(floats[i]))
                assert_true((back[i] & (pass ? 0x7f80 : 0x7c00)) == (pass ? 0x7f80 : 0x7c00) &&
                            (back[i] & (pass ? 0x7f : 0x3ff)) &&
                            (back[i] >> 15) == (halves[i] >> 15));
            else
                assert_int_equal(back[i], halves[i]);
        if (!pass) {
            assert_true(floats[0x3c00] == 1.0f && floats[0x0001] == 0x1p-24f &&
                        floats[0x7bff] == 65504.0f);
            assert_true(isinf(floats[0xfc00]) && floats[0xfc00] < 0 && signbit(floats[0x8000]));
        }
    }
}

// Rounding against a search of the nearest representable value in double, ties to the even
// mantissa.
static void test_rounding(void **state) {
    (void)state;
    static uint16_t all[2][65536];
    static float values[2][65536];
    for (uint32_t i = 0; i < 65536; i++) all[0][i] = all[1][i] = (uint16_t)i;
    struct dapt_file_tensor tensors[2] = {
        {.name = "h", .dtype = DAPT_FILE_F16, .count = 65536, .data = all[0], .file = "f"},
        {.name = "b", .dtype = DAPT_FILE_BF16, .count = 65536, .data = all[1], .file = "f"}};
    static const uint32_t top[2] = {0x7c00, 0x7f80};
    for (int t = 0; t < 2; t++)
        assert_ok(dapt_file_tensor_floats(&tensors[t], 0, 65536, values[t]));
    for (uint64_t i = 0; i < 200000; i++) {
        int t = (int)(i & 1);
        uint32_t low = (uint32_t)(dapt_random_bits(1, 2, i) % top[t]), high = low + 1;
        // Between two neighbours: their middle, just beside it, or anywhere. Infinity counts as the
        // next power of two.
        double a = values[t][low], b = high == top[t]
                                           ? 2 * (double)values[t][top[t] - (t ? 0x80 : 0x400)]
                                           : values[t][high];
        double share = (double[]){0.5, 0.5 + 0x1p-10, 0.5 - 0x1p-10,
                                  dapt_random_uniform(1, 3, i)}[i / 2 % 4];
        float x = (float)(a + (b - a) * share);
        double to_a = (double)x - a, to_b = b - (double)x;
        uint32_t expected = to_a < to_b ? low : to_a > to_b ? high : low & 1 ? high : low;
        uint16_t got;
        assert_ok(dapt_floats_to_file(&(float){-x}, 1, tensors[t].dtype, &got));
        if (got != (expected | 0x8000))
            fail_msg("%s: %a: %04x instead of %04x", tensors[t].name, (double)-x, got,
                     expected | 0x8000);
    }
    uint16_t over;
    assert_ok(dapt_floats_to_file(&(float){1e30f}, 1, DAPT_FILE_F16, &over));
    assert_int_equal(over, 0x7c00);
    assert_int_equal(dapt_floats_to_file(&(float){1}, 1, DAPT_FILE_I8, &over),
                     DAPT_ERROR_UNSUPPORTED);
}

// Byte `k` of tensor `index` as the tests write it.
static uint8_t content(size_t index, uint64_t k) {
    return (uint8_t)(k * 7 + index * 31 + (k >> 8));
}

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t size,
                                void *bytes) {
    size_t *calls = context;
    if (calls && (*calls)-- == 0) return dapt_fail(DAPT_ERROR_IO, "nothing more to give");
    for (uint64_t k = 0; k < size; k++) ((uint8_t *)bytes)[k] = content(index, begin + k);
    return DAPT_OK;
}

static const struct dapt_file_entry entries[] = {
    {"model.embed", DAPT_FILE_F32, 2, {3, 5}, false},
    {"z \"quoted\" \xc3\xa9\n", DAPT_FILE_BF16, 1, {7}, false},
    {"scalar", DAPT_FILE_F64, 0, {0}, false},
    {"none", DAPT_FILE_F16, 2, {0, 4}, false},
    {"big", DAPT_FILE_U8, 1, {5000001}, false},
    {"a", DAPT_FILE_I64, 4, {1, 2, 3, 1}, false},
};
enum { entry_count = sizeof entries / sizeof *entries };

static void check_written(const char *path, bool sharded) {
    struct dapt_safetensors *file = NULL;
    assert_ok(dapt_safetensors_open(path, &file));
    assert_int_equal(dapt_safetensors_count(file), entry_count);
    assert_string_equal(dapt_safetensors_metadata(file, "format"), "pt");
    assert_int_equal(strcmp(dapt_safetensors_at(file, 0)->file,
                            dapt_safetensors_at(file, entry_count - 1)->file) != 0,
                     sharded);
    for (size_t i = 0; i < entry_count; i++) {
        const struct dapt_file_tensor *tensor = dapt_safetensors_find(file, entries[i].name);
        assert_non_null(tensor);
        assert_ptr_equal(tensor, dapt_safetensors_at(file, i));  // in the order given
        assert_int_equal(tensor->dtype, entries[i].dtype);
        assert_int_equal(tensor->rank, entries[i].rank);
        assert_memory_equal(tensor->shape, entries[i].shape, tensor->rank * sizeof *tensor->shape);
        for (uint64_t k = 0; k < tensor->count * dapt_file_dtype_size(tensor->dtype); k++)
            if (((const uint8_t *)tensor->data)[k] != content(i, k))
                fail_msg("tensor %zu, byte %zu", i, (size_t)k);
    }
    dapt_safetensors_close(&file);
}

// The number of the shard, of three, that each tensor is in.
static void check_places(const char *path, const int *numbers) {
    struct dapt_safetensors *file = NULL;
    assert_ok(dapt_safetensors_open(path, &file));
    for (size_t i = 0; i < entry_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "/model-%05d-of-00003.safetensors", numbers[i]);
        assert_string_equal(strrchr(dapt_safetensors_at(file, i)->file, '/'), name);
    }
    dapt_safetensors_close(&file);
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const metadata[] = {"format", "pt", "a\"b", "c\\d\n", NULL};
    const char *one = path_in(folder, "one"), *many = path_in(folder, "many");
    assert_ok(dapt_mkdirs(one));
    assert_ok(dapt_mkdirs(many));
    assert_ok(
        dapt_safetensors_write(one, "model", entries, entry_count, metadata, 0, produce, NULL));
    check_written(one, false);
    check_written(path_in(one, "model.safetensors"), false);
    struct dapt_map map;
    uint64_t header;
    assert_ok(dapt_map_open(path_in(one, "model.safetensors"), &map));
    memcpy(&header, map.data, sizeof header);
    assert_int_equal(header % 8, 0);
    dapt_map_close(&map);

    assert_ok(
        dapt_safetensors_write(many, "model", entries, entry_count, metadata, 100, produce, NULL));
    check_written(many, true);
    check_written(path_in(many, "model.safetensors.index.json"), true);
    assert_true(dapt_is_file(path_in(many, "model-00001-of-00003.safetensors")));
    check_places(many, (const int[]){1, 1, 1, 1, 2, 3});  // only what does not fit begins another

    // As told, whatever the sizes are.
    const char *told = path_in(folder, "told");
    struct dapt_file_entry marked[entry_count];
    memcpy(marked, entries, sizeof entries);
    marked[1].new_file = marked[5].new_file = true;
    assert_ok(dapt_mkdirs(told));
    assert_ok(
        dapt_safetensors_write(told, "model", marked, entry_count, metadata, 0, produce, NULL));
    check_written(told, true);
    check_places(told, (const int[]){1, 2, 2, 2, 2, 3});

    // What fails half-way leaves what was there.
    size_t calls = 3;
    assert_fails(
        dapt_safetensors_write(one, "model", entries, entry_count, metadata, 0, produce, &calls),
        DAPT_ERROR_IO, "nothing more");
    check_written(one, false);
    struct dapt_paths paths;
    struct dapt_arena arena = {0};
    assert_ok(dapt_expand(&arena, one, &paths));
    assert_int_equal(paths.count, 1);
    dapt_arena_free(&arena);
    struct dapt_file_entry twice[] = {entries[0], entries[1], entries[0]};
    assert_fails(dapt_safetensors_write(one, "x", twice, 3, NULL, 0, produce, NULL),
                 DAPT_ERROR_INVALID, "'model.embed'");
}

static void test_index(void **state) {
    (void)state;
    const char *path = path_in(folder, "model.safetensors.index.json");
    static const char *const header =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    static const char *const header_b =
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    write_raw(path_in(folder, "x.safetensors"), header, strlen(header), 2);
    write_raw(path_in(folder, "y.safetensors"), header_b, strlen(header_b), 2);
    write_raw(path_in(folder, "a2.safetensors"), header, strlen(header), 2);
    static const struct {
        const char *json, *reason;
    } cases[] = {
        {"{", "not JSON"},
        {"[]", "not a JSON object"},
        {"{}", "weight_map"},
        {"{\"weight_map\":{}}", "weight_map"},
        {"{\"weight_map\":[\"x.safetensors\"]}", "weight_map"},
        {"{\"weight_map\":{\"a\":1}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"\"}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"b\\\\x.safetensors\"}}", "beside the index"},
        {"{\"weight_map\":{\"a\":\"none.safetensors\"}}", "none.safetensors"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"c\":\"x.safetensors\"}}", "'c'"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"x.safetensors\"}}", "named twice"},
        {"{\"weight_map\":{\"a\":\"y.safetensors\",\"b\":\"x.safetensors\"}}", "should be in"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"a2.safetensors\"}}", "is also in"},
        {"{\"weight_map\":{\"b\":\"y.safetensors\",\"c\":\"x.safetensors\"}}", "'c'"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\"},\"weight_map\":{\"a\":\"x.safetensors\"}}",
         "weight_map"},
    };
    struct dapt_safetensors *file = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(path, cases[i].json);
        enum dapt_status status = dapt_safetensors_open(path, &file);
        if (status >= 0 || !strstr(dapt_error(), cases[i].reason))
            fail_msg("%s: status %d, \"%s\"", cases[i].json, (int)status, dapt_error());
    }
    const char *extra =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
        "\"e\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}";
    write_raw(path_in(folder, "x.safetensors"), extra, strlen(extra), 3);
    write_text(path, "{\"weight_map\":{\"a\":\"x.safetensors\"}}");
    assert_ok(dapt_safetensors_open(path, &file));  // whether it matters, the model says
    assert_false(dapt_safetensors_find(file, "a")->unlisted);
    assert_true(dapt_safetensors_find(file, "e")->unlisted);
    dapt_safetensors_close(&file);
    write_text(path,
               "{\"weight_map\":{\"a\":\"x.safetensors\",\"e\":\"x.safetensors\",\"b\":\"y."
               "safetensors\"}}");
    assert_ok(dapt_safetensors_open(folder, &file));
    assert_int_equal(dapt_safetensors_count(file), 3);
    dapt_safetensors_close(&file);
}

// Truncations, and flips of random bits, of a good file: refused or read, never a fault (run under
// the sanitizers).
static void test_damage(void **state) {
    (void)state;
    assert_ok(dapt_safetensors_write(folder, "small", entries, 4, NULL, 0, produce, NULL));
    struct dapt_string file = {0};
    assert_ok(dapt_file_read(path_in(folder, "small.safetensors"), 1 << 20, &file));
    const char *path = path_in(folder, "damaged.safetensors");
    struct dapt_safetensors *opened = NULL;
    for (size_t size = 0; size < file.length; size += 1 + file.length / 100) {
        assert_ok(dapt_file_write(path, file.data, size));
        assert_int_equal(dapt_safetensors_open(path, &opened), DAPT_ERROR_INVALID);
    }
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t bit = dapt_random_bits(5, 6, i) % (file.length * 8);
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
        assert_ok(dapt_file_write(path, file.data, file.length));
        if (dapt_safetensors_open(path, &opened) == DAPT_OK) {
            for (size_t k = 0; k < dapt_safetensors_count(opened); k++) {
                const struct dapt_file_tensor *tensor = dapt_safetensors_at(opened, k);
                const uint8_t *data = tensor->data;
                volatile uint8_t sum = 0;
                for (uint64_t b = 0; b < tensor->count * dapt_file_dtype_size(tensor->dtype); b++)
                    sum = (uint8_t)(sum + data[b]);
            }
        }
        dapt_safetensors_close(&opened);
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
    }
    dapt_string_free(&file);
}

// Files that others wrote.
static void test_goldens(void **state) {
    (void)state;
    const char *data = getenv("DAPT_TEST_DATA");
    struct dapt_paths paths = {0};
    struct dapt_arena arena = {0};
    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/goldens/*/*.safetensors", data ? data : "");
    if (!data || dapt_expand(&arena, pattern, &paths)) {
        print_message("skipped: no %s\n", pattern);
        dapt_arena_free(&arena);
        skip();
    }
    for (size_t i = 0; i < paths.count; i++) {
        struct dapt_safetensors *file = NULL;
        assert_ok(dapt_safetensors_open(paths.paths[i], &file));
        assert_true(dapt_safetensors_count(file) > 0);
        dapt_safetensors_close(&file);
    }
    dapt_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_goldens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
