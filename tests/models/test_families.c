// What families differ in: where the rows of fused tensors lie, which layers turn, what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/hash.h"
#include "model/model.h"

#define SIZES                                                              \
    "\"hidden_size\":24,\"intermediate_size\":40,\"num_hidden_layers\":2," \
    "\"num_attention_heads\":3,\"vocab_size\":50,\"max_position_embeddings\":64"

#define KV "\"num_key_value_heads\":3"
// Without "num_attention_heads", "intermediate_size".
#define FEW                                                         \
    "\"hidden_size\":64,\"num_hidden_layers\":2,\"vocab_size\":50," \
    "\"max_position_embeddings\":64"

static enum dapt_status open_model(const char *json, struct dapt_model **model) {
    struct dapt_json *config;
    assert_int_equal(dapt_json_parse("config.json", json, strlen(json), &config), DAPT_OK);
    return dapt_model_from_json(config, model);
}

static const struct dapt_parameter *find(const struct dapt_model *m, const char *name) {
    for (size_t i = 0; i < m->parameter_count; i++)
        if (strcmp(m->parameters[i].name, name) == 0) return &m->parameters[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

// GPT-NeoX's files hold q, k and v head by head; the flat buffer all of q, then of k, then of v.
// What is saved and loaded again has the same bits.
static void rows_by_head_are_put_in_order(void **state) {
    (void)state;
    struct dapt_model *m;
    assert_int_equal(open_model("{\"model_type\":\"gpt_neox\"," SIZES ",\"rotary_pct\":0.5}", &m),
                     0);
    float *flat = calloc(m->flat_count, sizeof *flat), *again = calloc(m->flat_count, sizeof *flat);
    assert_int_equal(dapt_model_init(m, 7, dapt_flat_put, flat), DAPT_OK);
    char folder[] = "/tmp/dapt-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(dapt_model_save(m, folder, dapt_flat_get, flat), DAPT_OK);
    assert_int_equal(dapt_model_load(m, folder, dapt_flat_put, again), DAPT_OK);
    assert_memory_equal(flat, again, m->flat_count * sizeof *flat);

    static const char name[] = "gpt_neox.layers.1.attention.query_key_value.weight";
    const struct dapt_parameter *p = find(m, name);
    struct dapt_safetensors *file;
    assert_int_equal(dapt_safetensors_open(folder, &file), DAPT_OK);
    const float *rows = (const float *)dapt_safetensors_find(file, name)->data;
    for (uint32_t head = 0; head < 3; head++)
        for (uint32_t part = 0; part < 3; part++)
            assert_memory_equal(rows + (size_t)(head * 3 + part) * 8 * 24,
                                flat + p->offset + (size_t)(part * 3 + head) * 8 * 24, 8 * 24 * 4);
    dapt_safetensors_close(&file);
    assert_int_equal(dapt_remove_tree(folder), 0);
    dapt_model_close(&m);
    free(flat);
    free(again);
}

static void layers_that_do_not_turn(void **state) {
    (void)state;
    struct dapt_model *m;
    assert_int_equal(
        open_model("{\"model_type\":\"smollm3\"," SIZES "," KV ",\"no_rope_layers\":[1,0],"
                   "\"use_sliding_window\":true,\"sliding_window\":8}",
                   &m),
        0);
    assert_false(m->unrotated[0]);
    assert_true(m->unrotated[1]);
    // Those are the ones with a window.
    assert_int_equal(m->windows[0], 0);
    assert_int_equal(m->windows[1], 8);
    dapt_model_close(&m);
    // Without the list: every fourth.
    assert_int_equal(open_model("{\"model_type\":\"smollm3\"," SIZES "," KV "}", &m), 0);
    assert_false(m->unrotated[1]);
    dapt_model_close(&m);
}

// What a missing key means differs; the numbers are what transformers 5.12.1 makes of these files.
static void missing_keys_mean_what_transformers_takes(void **state) {
    (void)state;
    static const struct {
        const char *type, *keys;
        uint32_t kv_heads, feed_forward;
    } cases[] = {
        {"llama", "", 32, 40},
        {"olmo2", "", 32, 40},
        {"phi3", "", 32, 40},
        {"granite", "", 32, 40},
        {"mistral", "", 8, 40},
        {"qwen2", "", 32, 40},
        {"smollm3", "", 4, 40},
        {"starcoder2", "", 2, 40},
        {"gemma2", "", 4, 40},
        {"gemma3_text", "", 4, 40},
        {"stablelm", ",\"partial_rotary_factor\":1", 32, 40},
        {"qwen3", "", 32, 40},
        {"qwen2", ",\"num_key_value_heads\":null", 32, 40},
        {"smollm3", ",\"num_key_value_heads\":null", 32, 40},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[512];
        struct dapt_model *m;
        snprintf(json, sizeof json,
                 "{\"model_type\":\"%s\"," FEW
                 ",\"intermediate_size\":40,\"num_attention_heads\":32%s}",
                 cases[i].type, cases[i].keys);
        if (open_model(json, &m)) fail_msg("%s: %s", json, dapt_error());
        assert_int_equal(m->kv_heads, cases[i].kv_heads);
        assert_int_equal(m->feed_forward, cases[i].feed_forward);
        dapt_model_close(&m);
    }
    struct dapt_model *m;
    assert_int_equal(open_model("{\"model_type\":\"gpt2\",\"n_embd\":24,\"n_layer\":1,\"n_head\":3,"
                                "\"vocab_size\":50}",
                                &m),
                     0);
    assert_int_equal(m->feed_forward, 96);
    dapt_model_close(&m);
}

// Where the keys of positions stand, by what transformers 5.12.1 makes of these files.
static void positions_of_families(void **state) {
    (void)state;
    static const struct {
        const char *json;
        uint32_t size;
        float second;  // frequency
    } cases[] = {
        {"\"model_type\":\"gpt_neox\"", 2, 0},
        {"\"model_type\":\"gpt_neox\",\"partial_rotary_factor\":0.5", 2, 0},
        {"\"model_type\":\"gpt_neox\",\"rotary_pct\":0.5", 4, 0.01f},
        {"\"model_type\":\"gpt_neox\",\"rotary_pct\":0.5,\"rope_theta\":700", 4, 0.01f},
        {"\"model_type\":\"gpt_neox\",\"rotary_pct\":0.5,\"rotary_emb_base\":500,"
         "\"rope_theta\":700",
         4, 0.0447214f},
        {"\"model_type\":\"gpt_neox\",\"rotary_pct\":0.5,\"rotary_emb_base\":500,"
         "\"rope_parameters\":{\"rope_theta\":900}",
         4, 0.0333333f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[512];
        struct dapt_model *m;
        snprintf(json, sizeof json, "{" SIZES ",%s}", cases[i].json);
        if (open_model(json, &m)) fail_msg("%s: %s", json, dapt_error());
        assert_int_equal(m->ropes[0].size, cases[i].size);
        if (cases[i].second > 0)
            assert_float_equal(m->ropes[0].frequency[1], cases[i].second, 1e-6);
        dapt_model_close(&m);
    }
}

// Phi-3's only scaling is longrope, from 4096 positions on where the top does not say.
static void phi3_scales_by_longrope(void **state) {
    (void)state;
    struct dapt_model *m;
#define PHI3                                                                \
    "{\"model_type\":\"phi3\",\"hidden_size\":16,\"intermediate_size\":48," \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_size\":50,"  \
    "\"max_position_embeddings\":8192,"
#define FACTORS "\"short_factor\":[1,1],\"long_factor\":[2,2]"
    assert_int_equal(open_model(PHI3 "\"rope_scaling\":{\"type\":\"longrope\"," FACTORS "}}", &m),
                     0);
    assert_float_equal(m->ropes[0].scale, 1.0408330, 1e-6);
    assert_int_equal(m->ropes[0].limit, 4096);
    dapt_model_close(&m);
    assert_int_equal(open_model(PHI3 "\"rope_scaling\":{\"type\":\"longrope\"," FACTORS
                                     ",\"original_max_position_embeddings\":16}}",
                                &m),
                     0);
    assert_int_equal(m->ropes[0].limit, 4096);
    dapt_model_close(&m);
    assert_int_not_equal(open_model(PHI3 "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}", &m),
                         0);
    assert_non_null(strstr(dapt_error(), "longrope"));
}

// Defaults, what null means, and which layers slide. New norms begin at a factor of 1.
static void gemma_has_caps_and_windows(void **state) {
    (void)state;
    struct dapt_model *m;
    assert_int_equal(open_model("{\"model_type\":\"gemma2\"," SIZES "," KV "}", &m), DAPT_OK);
    assert_int_equal(m->head_size, 256);
    assert_int_equal(m->windows[0], 4096);
    assert_int_equal(m->windows[1], 0);
    assert_true(m->tied && m->attention_cap == 50 && m->logit_cap == 30);
    assert_true(m->attention_scale == 0.0625f);
    assert_float_equal(m->embedding_scale, 4.8989795, 1e-6);
    assert_true(find(m, "model.norm.weight")->init_fill == 0);
    dapt_model_close(&m);
    assert_int_equal(open_model("{\"model_type\":\"gemma2\"," SIZES "," KV
                                ",\"attn_logit_softcapping\":null,\"layer_types\":"
                                "[\"full_attention\",\"sliding_attention\"],\"sliding_window\":8}",
                                &m),
                     DAPT_OK);
    assert_int_equal(m->windows[0], 0);
    assert_int_equal(m->windows[1], 8);
    assert_true(m->attention_cap == 0 && m->logit_cap == 30);
    dapt_model_close(&m);
    // Gemma 3: one layer of a pattern sees everything, and turns by a table of its own.
    assert_int_equal(open_model("{\"model_type\":\"gemma3_text\"," SIZES "," KV
                                ",\"sliding_window_pattern\":2,\"rope_local_base_freq\":500}",
                                &m),
                     DAPT_OK);
    assert_int_equal(m->windows[0], 4096);
    assert_int_equal(m->windows[1], 0);
    assert_true(m->attention_cap == 0 && m->logit_cap == 0);
    assert_float_equal(m->ropes[m->rope_of[0]].frequency[1], 0.95260910, 1e-6);
    assert_float_equal(m->ropes[m->rope_of[1]].frequency[1], 0.89768713, 1e-6);
    dapt_model_close(&m);
    // By default all of the first five slide: there is one table.
    assert_int_equal(open_model("{\"model_type\":\"gemma3_text\"," SIZES "," KV "}", &m), DAPT_OK);
    assert_int_equal(m->windows[1], 4096);
    assert_int_equal(m->rope_of[1], 0);
    assert_int_equal(m->ropes[1].size, 0);
    assert_float_equal(m->ropes[0].frequency[1], 0.93057204, 1e-6);
    dapt_model_close(&m);
}

// transformers tells 30 from 30.0: what a config.json says is written as it was.
static void numbers_are_written_as_they_were(void **state) {
    (void)state;
    struct dapt_model *m;
    struct dapt_string text;
    char folder[] = "/tmp/dapt-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(open_model("{\"model_type\":\"gemma2\"," SIZES "," KV
                                ",\"final_logit_softcapping\":30.0,\"rope_scaling\":null,"
                                "\"architectures\":null}",
                                &m),
                     DAPT_OK);
    float *flat = calloc(m->flat_count, sizeof *flat);
    assert_int_equal(dapt_model_save(m, folder, dapt_flat_get, flat), DAPT_OK);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(dapt_file_read(path, 1 << 16, &text), DAPT_OK);
    assert_non_null(strstr(text.data, "\n  \"final_logit_softcapping\": 30.0,\n"));
    assert_non_null(strstr(text.data, "\n  \"rope_scaling\": null,\n"));
    assert_non_null(strstr(text.data, "\n  \"architectures\": [\"Gemma2ForCausalLM\"]\n}\n"));
    dapt_string_free(&text);
    assert_int_equal(dapt_remove_tree(folder), 0);
    dapt_model_close(&m);
    free(flat);
}

#define BERT "{\"model_type\":\"bert\"," SIZES ",\"type_vocab_size\":1}"

// The weights of a BERT as old files have them.
struct old_file {
    struct dapt_arena arena;
    struct dapt_file_entry entries[64];
    const struct dapt_parameter *parameters[64];  // NULL: what is no parameter
    size_t count;
    const float *flat;
};

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t size,
                                void *bytes) {
    const struct old_file *file = context;
    const struct dapt_parameter *p = file->parameters[index];
    if (p)
        memcpy(bytes, (const uint8_t *)(file->flat + p->offset) + begin, size);
    else
        memset(bytes, (int)index, size);
    return DAPT_OK;
}

static void add_parameter(struct old_file *file, const char *name, const struct dapt_parameter *p) {
    const char *norm = strstr(name, "LayerNorm.");
    if (norm)
        name = dapt_arena_format(&file->arena, "%.*s%s", (int)(norm - name), name,
                                 norm[10] == 'w' ? "LayerNorm.gamma" : "LayerNorm.beta");
    file->parameters[file->count] = p;
    file->entries[file->count++] = (struct dapt_file_entry){
        .name = name, .dtype = DAPT_FILE_F32, .rank = p->rank, .shape = {p->shape[0], p->shape[1]}};
}

static void write_old(struct old_file *file, const struct dapt_model *m, const char *folder) {
    static const struct dapt_file_entry others[] = {
        {"bert.embeddings.position_ids", DAPT_FILE_I64, 2, {1, 64}, false},
        {"bert.pooler.dense.weight", DAPT_FILE_F16, 2, {24, 24}, false},
        {"cls.seq_relationship.bias", DAPT_FILE_F32, 1, {2}, false}};
    static const char *const metadata[] = {"format", "pt", NULL};
    for (size_t i = 0; i < m->parameter_count; i++)
        add_parameter(file, m->parameters[i].name, &m->parameters[i]);
    add_parameter(file, "cls.predictions.decoder.weight",
                  find(m, "bert.embeddings.word_embeddings.weight"));
    add_parameter(file, "cls.predictions.decoder.bias", find(m, "cls.predictions.bias"));
    for (size_t i = 0; i < 3; i++) file->entries[file->count++] = others[i];
    char *path = dapt_path_join(&file->arena, folder, "config.json");
    assert_int_equal(dapt_file_write(path, BERT, strlen(BERT)), DAPT_OK);
    assert_int_equal(dapt_safetensors_write(folder, "model", file->entries, file->count, metadata,
                                            0, produce, file),
                     DAPT_OK);
}

static struct dapt_string read_weights(struct old_file *file, const char *folder) {
    struct dapt_string text;
    char *path = dapt_path_join(&file->arena, folder, "model.safetensors");
    assert_int_equal(dapt_file_read(path, 1 << 20, &text), DAPT_OK);
    return text;
}

// Old files have other names for norms, the tied head under its own names, a part that the masked
// objective does not use, and buffers. What is saved has the same bytes.
static void old_files_are_kept_as_they_are(void **state) {
    (void)state;
    struct old_file file = {0};
    struct dapt_model *m, *old;
    assert_int_equal(open_model(BERT, &m), DAPT_OK);
    float *flat = calloc(m->flat_count, sizeof *flat), *again = calloc(m->flat_count, sizeof *flat);
    assert_int_equal(dapt_model_init(m, 7, dapt_flat_put, flat), DAPT_OK);
    char from[] = "/tmp/dapt-test-XXXXXX", to[] = "/tmp/dapt-test-XXXXXX";
    assert_non_null(mkdtemp(from));
    assert_non_null(mkdtemp(to));
    file.flat = flat;
    write_old(&file, m, from);
    if (dapt_model_open(from, &old) || dapt_model_load(old, from, dapt_flat_put, again) ||
        dapt_model_keep(old, NULL, DAPT_SAVE_MODEL) ||
        dapt_model_save(old, to, dapt_flat_get, again))
        fail_msg("%s", dapt_error());
    assert_memory_equal(flat, again, m->flat_count * sizeof *flat);
    struct dapt_string a = read_weights(&file, from), b = read_weights(&file, to);
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length);
    dapt_string_free(&a);
    dapt_string_free(&b);
    assert_int_equal(dapt_remove_tree(from), DAPT_OK);
    assert_int_equal(dapt_remove_tree(to), DAPT_OK);
    dapt_model_close(&m);
    dapt_model_close(&old);
    dapt_arena_free(&file.arena);
    free(flat);
    free(again);
}

// RoBERTa's positions begin behind the padding's: a text has fewer than there are rows.
static void positions_begin_behind_the_padding(void **state) {
    (void)state;
    struct dapt_model *m[2];
    struct dapt_hash hash[2];
    assert_int_equal(open_model("{\"model_type\":\"roberta\"," SIZES "}", &m[0]), DAPT_OK);
    assert_int_equal(open_model("{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":3}", &m[1]),
                     DAPT_OK);
    assert_int_equal(m[0]->max_positions, 62);
    assert_int_equal(m[1]->max_positions, 60);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(find(m[i], "roberta.embeddings.position_embeddings.weight")->shape[0], 64);
        assert_int_equal(dapt_model_hash(m[i], &hash[i]), DAPT_OK);
    }
    assert_memory_not_equal(&hash[0], &hash[1], sizeof hash[0]);
    dapt_model_close(&m[0]);
    dapt_model_close(&m[1]);
}

static void what_is_not_built_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *named;
    } cases[] = {
        {"{\"model_type\":\"stablelm\"," SIZES "," KV ",\"qk_layernorm\":true}", "qk_layernorm"},
        {"{\"model_type\":\"smollm3\"," SIZES "," KV ",\"no_rope_layers\":[1]}", "no_rope_layers"},
        {"{\"model_type\":\"smollm3\"," SIZES "," KV ",\"no_rope_layers\":7}", "no_rope_layers"},
        {"{\"model_type\":\"granite\"," SIZES ",\"logits_scaling\":0}", "logits_scaling"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rms_norm_eps\":1e-300}", "rms_norm_eps"},
        {"{\"model_type\":\"llama\"," SIZES ",\"initializer_range\":1e300}", "initializer_range"},
        {"{\"model_type\":\"llama\"," SIZES ",\"rope_theta\":1e-300}", "rope_theta"},
        {"{\"model_type\":\"gpt_neox\"," FEW ",\"num_attention_heads\":4}", "intermediate_size"},
        {"{\"model_type\":\"starcoder2\"," FEW ",\"num_attention_heads\":4}", "intermediate_size"},
        {"{\"model_type\":\"mistral\"," SIZES "," KV
         ",\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"sliding_window\":8}",
         "another model"},
        {"{\"model_type\":\"qwen2\"," SIZES "}", "num_key_value_heads"},
        {"{\"model_type\":\"gemma\"," SIZES "}", "\"gemma\" is not known"},
        {"{\"model_type\":\"gemma3\",\"text_config\":{}}", "its text part is a \"gemma3_text\""},
        {"{\"model_type\":\"gemma2\"," SIZES "," KV ",\"use_bidirectional_attention\":true}",
         "use_bidirectional_attention"},
        {"{\"model_type\":\"gemma2\"," SIZES "," KV ",\"sliding_window\":null}", "sliding_window"},
        {"{\"model_type\":\"gemma2\"," SIZES "," KV ",\"final_logit_softcapping\":0}",
         "final_logit_softcapping"},
        {"{\"model_type\":\"gemma2\"," SIZES "," KV ",\"query_pre_attn_scalar\":-1}",
         "query_pre_attn_scalar"},
        {"{\"model_type\":\"llama\"," SIZES ",\"attn_logit_softcapping\":50}",
         "attn_logit_softcapping"},
        {"{\"model_type\":\"gemma3_text\"," SIZES "," KV ",\"attn_logit_softcapping\":50}",
         "attn_logit_softcapping"},
        {"{\"model_type\":\"gemma3_text\"," SIZES "," KV ",\"sliding_window_pattern\":0}",
         "sliding_window_pattern"},
        {"{\"model_type\":\"bert\"," SIZES ",\"is_decoder\":true}", "is_decoder"},
        {"{\"model_type\":\"bert\"," SIZES ",\"add_cross_attention\":true}", "add_cross_attention"},
        {"{\"model_type\":\"bert\"," SIZES ",\"type_vocab_size\":0}", "type_vocab_size"},
        {"{\"model_type\":\"bert\"," SIZES ",\"position_embedding_type\":\"relative_key\"}",
         "position_embedding_type"},
        {"{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":63}", "pad_token_id"},
        {"{\"model_type\":\"roberta\"," SIZES ",\"pad_token_id\":-1}", "pad_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dapt_model *m;
        assert_int_not_equal(open_model(cases[i].json, &m), DAPT_OK);
        if (!strstr(dapt_error(), cases[i].named)) fail_msg("%s", dapt_error());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_by_head_are_put_in_order),
        cmocka_unit_test(layers_that_do_not_turn),
        cmocka_unit_test(missing_keys_mean_what_transformers_takes),
        cmocka_unit_test(positions_of_families),
        cmocka_unit_test(phi3_scales_by_longrope),
        cmocka_unit_test(gemma_has_caps_and_windows),
        cmocka_unit_test(numbers_are_written_as_they_were),
        cmocka_unit_test(old_files_are_kept_as_they_are),
        cmocka_unit_test(positions_begin_behind_the_padding),
        cmocka_unit_test(what_is_not_built_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
