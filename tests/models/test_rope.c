// Rope settings in every combination that files have, against what transformers 5.12 makes of them
// (tests/peer/rope_reference.py).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/rope.h"

static const struct {
    const char *config;
    float frequency[4];
    float scale;  // 0: an error
} cases[] = {
    // clang-format off
    {"{}",
     {1.0f, 0.100000001f, 0.00999999978f, 0.00100000005f}, 1},
    {"{\"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_parameters\": {\"rope_theta\": 700.0}}",
     {1.0f, 0.194413081f, 0.0377964452f, 0.00734812394f}, 1},
    {"{\"rope_parameters\": {}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_parameters\": null, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_parameters\": {\"rope_type\": \"default\"}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 700.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.194413081f, 0.0377964452f, 0.00734812394f}, 1},
    {"{\"rope_scaling\": null, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}, \"rope_theta\": 500.0}",
     {0.5f, 0.10573712f, 0.0223606806f, 0.00472870795f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}}",
     {0.5f, 0.0500000007f, 0.00499999989f, 0.000500000024f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"type\": \"dynamic\", \"factor\": 2.0}}",
     {0.5f, 0.0500000007f, 0.00499999989f, 0.000500000024f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0, \"rope_theta\": 700.0}, \"rope_theta\": 500.0}",
     {0.5f, 0.0972065404f, 0.0188982226f, 0.00367406197f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}, \"rope_parameters\": {\"rope_theta\": 700.0}}",
     {0.5f, 0.0500000007f, 0.00499999989f, 0.000500000024f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}, \"rope_parameters\": {\"rope_theta\": 700.0}, \"rope_theta\": 500.0}",
     {0.5f, 0.10573712f, 0.0223606806f, 0.00472870795f}, 1},
    {"{\"rope_scaling\": {}, \"rope_parameters\": {\"rope_theta\": 700.0, \"rope_type\": \"linear\", \"factor\": 4.0}}",
     {0.25f, 0.0486032702f, 0.0094491113f, 0.00183703098f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\"}}", {0}, 0},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 0.5}}",
     {2.0f, 0.200000003f, 0.0199999996f, 0.00200000009f}, 1},
    {"{\"rope_scaling\": {\"factor\": 2.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {\"type\": \"default\", \"factor\": 2.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0}",
     {1.0f, 0.0976166278f, 0.00559017016f, 0.00118217699f}, 1},
    {"{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64, \"rope_theta\": 500.0}}",
     {1.0f, 0.0976166278f, 0.00559017016f, 0.00118217699f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0163135789f, 0.00118217699f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0, \"original_max_position_embeddings\": 128}",
     {1.0f, 0.21147424f, 0.00559017016f, 0.00118217699f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0}", {0}, 0},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0}", {0}, 0},
    {"{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0}", {0}, 0},
    {"{\"rope_theta\": 500.0, \"partial_rotary_factor\": 0.5}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_parameters\": {\"rope_theta\": 500.0, \"partial_rotary_factor\": 0.5}}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}, \"rope_theta\": 500.0, \"partial_rotary_factor\": 0.5}",
     {0}, 0},
    {"{\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.21147424f, 0.0447213612f, 0.0094574159f}, 1},
    {"{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0}, \"rope_theta\": 500.0}",
     {1.0f, 0.15860568f, 0.0223606806f, 0.00236435398f}, 1.13862944},
    {"{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 64, \"beta_fast\": 16.0, \"attention_factor\": 1.5}, \"rope_theta\": 500.0}",
     {1.0f, 0.132171392f, 0.0111803403f, 0.00236435398f}, 1.5},
    {"{\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4.0, \"short_factor\": [1.0, 1.5, 2.0, 3.0], \"long_factor\": [2.0, 3.0, 4.0, 5.0], \"original_max_position_embeddings\": 64}, \"rope_theta\": 500.0}",
     {1.0f, 0.140982822f, 0.0223606806f, 0.00315247197f}, 1.15470054},
    {"{\"rope_scaling\": {\"rope_type\": \"own\", \"factor\": 2.0}, \"rope_theta\": 500.0}", {0}, 0},
    // clang-format on
};

static enum dapt_status read_rope(const char *text, const struct dapt_rope_options *options,
                                  struct dapt_arena *arena, struct dapt_rope *rope) {
    struct dapt_json *json = NULL;
    assert_int_equal(dapt_json_parse("config.json", text, strlen(text), &json), DAPT_OK);
    enum dapt_status status = dapt_rope_read(json, options, arena, rope);
    dapt_json_free(&json);
    return status;
}

static const struct dapt_rope_options whole = {.head_size = 8, .max_positions = 256};

static void test_combinations(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct dapt_arena arena = {0};
        struct dapt_rope rope;
        enum dapt_status status = read_rope(cases[i].config, &whole, &arena, &rope);
        if ((cases[i].scale == 0) != (status != DAPT_OK))
            fail_msg("%s: %s", cases[i].config, status ? dapt_error() : "was taken");
        if (!status) {
            assert_int_equal(rope.size, 8);
            for (int k = 0; k < 4; k++)
                if (!(fabsf(rope.frequency[k] - cases[i].frequency[k]) <=
                      2e-6f * cases[i].frequency[k]))
                    fail_msg("%s: frequency %d is %.9g, expected %.9g", cases[i].config, k,
                             (double)rope.frequency[k], (double)cases[i].frequency[k]);
            if (!(fabsf(rope.scale - cases[i].scale) <= 1e-6f * cases[i].scale))
                fail_msg("%s: scale %.9g, expected %.9g", cases[i].config, (double)rope.scale,
                         (double)cases[i].scale);
        }
        dapt_arena_free(&arena);
    }
}

// Layers of two types, and families that turn a part of each head.
static void test_types_and_shares(void **state) {
    (void)state;
    static const char both[] =
        "{\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 700.0, \"rope_type\": "
        "\"linear\", "
        "\"factor\": 2.0}, \"sliding_attention\": {\"rope_theta\": 500.0}}}";
    struct dapt_arena arena = {0};
    struct dapt_rope rope;
    struct dapt_rope_options options = whole;
    options.layer_type = "full_attention";
    assert_int_equal(read_rope(both, &options, &arena, &rope), DAPT_OK);
    assert_true(fabsf(rope.frequency[1] - 0.0972065404f) < 1e-7f);
    options.layer_type = "sliding_attention";
    assert_int_equal(read_rope(both, &options, &arena, &rope), DAPT_OK);
    assert_true(fabsf(rope.frequency[1] - 0.21147424f) < 1e-7f);
    options = (struct dapt_rope_options){
        .head_size = 16, .max_positions = 64, .share = 0.25, .share_key = "rotary_pct"};
    assert_int_equal(read_rope("{}", &options, &arena, &rope), DAPT_OK);
    assert_int_equal(rope.size, 4);
    assert_int_equal(read_rope("{\"rotary_pct\": 0.5}", &options, &arena, &rope), DAPT_OK);
    assert_int_equal(rope.size, 8);
    assert_int_equal(read_rope("{\"rope_parameters\": {\"partial_rotary_factor\": 1.0}}", &options,
                               &arena, &rope),
                     DAPT_OK);
    assert_int_equal(rope.size, 16);
    dapt_arena_free(&arena);
}

// Layers with a window: older files have a key for their base alone, and what scales is said of
// the others. The numbers are what transformers 5.12.1 makes of a Gemma3TextConfig.
static void test_local_layers(void **state) {
    (void)state;
#define LINEAR "{\"rope_type\":\"linear\",\"factor\":8}"
    static const struct {
        const char *config;
        float second[2];  // frequency of layers that see everything, of local ones; 0: an error
    } files[] = {
        {"{}", {0.0316227766f, 0.1f}},
        {"{\"rope_theta\":5e5,\"rope_local_base_freq\":500,\"rope_scaling\":" LINEAR "}",
         {0.00470074592f, 0.21147424f}},
        {"{\"rope_parameters\":{\"full_attention\":" LINEAR "},\"rope_theta\":5e5}",
         {0.00470074592f, 0.1f}},
        {"{\"rope_parameters\":{\"sliding_attention\":" LINEAR "}}", {0.0316227766f, 0.0125f}},
        {"{\"rope_scaling\":" LINEAR ",\"rope_parameters\":{\"full_attention\":{}}}", {0}},
        {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}}", {0}},
        {"{\"rope_parameters\":{\"rope_theta\":700}}", {0}},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (int local = 0; local < 2; local++) {
            struct dapt_arena arena = {0};
            struct dapt_rope rope;
            struct dapt_rope_options options = whole;
            options.layer_type = local ? "sliding_attention" : "full_attention";
            options.local = local;
            options.theta = local ? 1e4 : 1e6;
            options.theta_key = local ? "rope_local_base_freq" : NULL;
            float second = files[i].second[local];
            enum dapt_status status = read_rope(files[i].config, &options, &arena, &rope);
            if ((second == 0) != (status != DAPT_OK))
                fail_msg("%s: %s", files[i].config, status ? dapt_error() : "was taken");
            if (!status) assert_true(fabsf(rope.frequency[1] - second) <= 2e-6f * second);
            dapt_arena_free(&arena);
        }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *config, *part;
    } bad[] = {
        {"{\"rope_theta\": 1e-300}", "rope_theta: is 1e-300, expected a number from 1 to 1e+15"},
        {"{\"rope_theta\": \"x\"}", "rope_theta"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 1e-300}}", "factor: is 1e-300"},
        {"{\"rope_scaling\": {\"type\": \"linear\"}}",
         "needs the key \"factor\", which is missing"},
        {"{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4, "
         "\"high_freq_factor\": 1}}",
         "expected more than low_freq_factor"},
        {"{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1], \"long_factor\": "
         "[1]}}",
         "expected an array of 4 numbers"},
        {"{\"rope_scaling\": {\"type\": \"own\"}}", "rope type \"own\" is not supported"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"partial_rotary_factor\": "
         "0.5}",
         "turn whole heads"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct dapt_arena arena = {0};
        struct dapt_rope rope;
        assert_int_not_equal(read_rope(bad[i].config, &whole, &arena, &rope), DAPT_OK);
        if (!strstr(dapt_error(), bad[i].part)) fail_msg("%s: %s", bad[i].config, dapt_error());
        dapt_arena_free(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_types_and_shares),
        cmocka_unit_test(test_local_layers),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
