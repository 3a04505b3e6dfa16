// Models to GGUF and back: every family's weights bit by bit, its config.json in meaning, its
// tokenizer; what is refused, and that nothing half-made stays.
#include "../data/data_test.h"
#include "base/hash.h"
#include "format/gguf.h"
#include "host/json.h"
#include "model/exchange.h"

#define WITHOUT_LENGTH                                                     \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2," \
    "\"num_attention_heads\":4,\"vocab_size\":12"
#define SIZES WITHOUT_LENGTH ",\"max_position_embeddings\":64"
#define GROUPED SIZES ",\"num_key_value_heads\":2"

static const char *const configs[] = {
    "{\"model_type\":\"llama\"," GROUPED ",\"rms_norm_eps\":1e-5,\"attention_bias\":true}",
    "{\"model_type\":\"llama\"," GROUPED
    ",\"head_dim\":32,\"tie_word_embeddings\":true,"
    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
    "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}}",
    "{\"model_type\":\"llama\"," GROUPED
    ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
    "\"original_max_position_embeddings\":16}}",
    "{\"model_type\":\"qwen2\"," GROUPED ",\"rope_theta\":1000000.0}",
    "{\"model_type\":\"qwen3\"," GROUPED ",\"head_dim\":32,\"tie_word_embeddings\":true}",
    "{\"model_type\":\"smollm3\"," GROUPED "}",
    "{\"model_type\":\"phi3\"," GROUPED "}",
    "{\"model_type\":\"phi3\"," GROUPED
    ",\"sliding_window\":8,\"original_max_position_embeddings\":32,\"rope_scaling\":{\"type\":"
    "\"longrope\",\"short_factor\":[1,1.5,2,2.5,3,3.5,4,4.5],\"long_factor\":[2,3,4,5,6,7,8,9]}}",
    "{\"model_type\":\"olmo2\"," GROUPED "}",
    "{\"model_type\":\"gpt2\",\"n_embd\":64,\"n_layer\":2,\"n_head\":4,\"n_positions\":64,"
    "\"vocab_size\":12}",
    "{\"model_type\":\"gpt_neox\"," SIZES ",\"rotary_pct\":0.25,\"use_parallel_residual\":false}",
    "{\"model_type\":\"starcoder2\"," GROUPED "}",
    "{\"model_type\":\"stablelm\"," GROUPED ",\"use_qkv_bias\":true}",
    "{\"model_type\":\"granite\"," GROUPED
    ",\"embedding_multiplier\":12.0,\"attention_multiplier\":0.125,\"residual_multiplier\":0.25,"
    "\"logits_scaling\":8.0}",
    "{\"model_type\":\"gemma2\"," GROUPED
    ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"sliding_window\":16,"
    "\"attn_logit_softcapping\":50.0,\"final_logit_softcapping\":30.0}",
    "{\"model_type\":\"gemma3_text\"," GROUPED
    ",\"head_dim\":16,\"query_pre_attn_scalar\":16,\"sliding_window\":16,"
    "\"rope_local_base_freq\":20000.0,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0}}",
    // The length that was pretrained with: max_position_embeddings where none is said, and what the
    // top says comes first.
    "{\"model_type\":\"llama\"," WITHOUT_LENGTH
    ",\"num_key_value_heads\":2,\"max_position_embeddings\":16384,"
    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
    "\"high_freq_factor\":4.0}}",
    "{\"model_type\":\"llama\"," GROUPED
    ",\"original_max_position_embeddings\":32,"
    "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
    "\"original_max_position_embeddings\":16}}",
};
#define CONFIGS (sizeof configs / sizeof *configs)

static const char words[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<|end|>\",\"special\":true},{\"id\":9,\"content\":"
    "\"  \",\"special\":false}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\","
    "\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false,\"use_regex\":true}]},\"post_processor\":{\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<|end|>\"}},{\"Sequence\":{"
    "\"id\":"
    "\"A\"}}]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|end|>\":0,\"a\":1,\"b\":2,\"c\":3,\"ab\":"
    "4,"
    "\"abc\":5},\"merges\":[\"a b\",\"ab c\"]}}";
static const char pieces[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":"
    "\"<s>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
    "\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
    "\"content\":\"\u2581\"}]},\"post_processor\":null,\"model\":{\"type\":\"BPE\",\"unk_token\":"
    "\"<unk>\",\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"<0x0A>\":2,\"\u2581\":3,"
    "\"a\":4,\"b\":5,\"\u2581a\":6,\"ab\":7,\"\u2581ab\":8,\"bb\":9},\"merges\":[[\"a\",\"b\"],"
    "[\"\u2581\",\"ab\"],[\"\u2581a\",\"b\"],[\"\u2581\",\"a\"],[\"b\",\"b\"]]}}";
static const char special[] =
    "{\"bos_token\":\"<|end|>\",\"eos_token\":{\"content\":\"<|end|>\"},\"chat_template\":\"{{ 1 "
    "}}\"}";

// A folder with new weights; the flat buffer is the caller's.
static float *make_model(const char *config, const char *tokenizer, const char *folder,
                         struct dapt_model **m) {
    struct dapt_json *json;
    assert_ok(dapt_json_parse("config.json", config, strlen(config), &json));
    assert_ok(dapt_model_from_json(json, m));
    float *flat = calloc((*m)->flat_count, sizeof *flat);
    assert_ok(dapt_model_init(*m, 7, dapt_flat_put, flat));
    for (uint64_t i = 0; i < (*m)->flat_count; i++) flat[i] += (float)(i % 101) / 64;
    assert_ok(dapt_mkdirs(folder));
    assert_ok(dapt_model_save(*m, folder, dapt_flat_get, flat));
    write_text(path_in(folder, "tokenizer.json"), tokenizer);
    write_text(path_in(folder, "tokenizer_config.json"), special);
    return flat;
}

static void there_and_back(const char *folder, const char *config) {
    const char *from = path_in(folder, "from"), *to = path_in(folder, "to"),
               *file = path_in(folder, "a.gguf");
    struct dapt_model *m, *back;
    struct dapt_exchange_summary summary;
    struct dapt_hash before, after;
    float *flat = make_model(config, words, from, &m);
    assert_ok(dapt_model_export(from, file, NULL, true, &summary));
    assert_string_equal(summary.dtype, "F32");
    assert_ok(dapt_model_import(file, to, DAPT_SAVE_MODEL, &summary));
    assert_string_equal(summary.dtype, "float32");
    assert_int_equal(summary.parameters, m->weight_count);
    assert_ok(dapt_model_open(to, &back));
    assert_ok(dapt_model_hash(m, &before));
    assert_ok(dapt_model_hash(back, &after));
    if (before.low != after.low) fail_msg("the config.json of %s means something else", config);
    float *again = calloc(back->flat_count, sizeof *again);
    assert_ok(dapt_model_load(back, to, dapt_flat_put, again));
    for (size_t i = 0; i < m->parameter_count; i++) {
        const struct dapt_parameter *p = &m->parameters[i];
        if (memcmp(flat + p->offset, again + p->offset, p->count * sizeof *flat) != 0)
            fail_msg("%s of %s came back otherwise", p->name, config);
    }
    free(again);
    free(flat);
    dapt_model_close(&back);
    dapt_model_close(&m);
    assert_ok(dapt_remove_tree(from));
    assert_ok(dapt_remove_tree(to));
}

static void every_family_comes_back_as_it_was(void **state) {
    (void)state;
    const char *folder = scratch_create();
    for (size_t i = 0; i < CONFIGS; i++) there_and_back(folder, configs[i]);
    scratch_remove(folder);
}

// Where rows lie in GGUF, said once more without the code that moves them.
static void rows_lie_where_llama_cpp_has_them(void **state) {
    (void)state;
    const char *folder = scratch_create(), *from = path_in(folder, "m"),
               *file = path_in(folder, "a");
    struct dapt_model *m;
    struct dapt_exchange_summary summary;
    struct dapt_gguf *f;
    static const char *const tried[] = {"llama", "gpt2"};
    for (int k = 0; k < 2; k++) {
        const char *config = k ? configs[9] : configs[0];
        float *flat = make_model(config, words, from, &m);
        assert_ok(dapt_model_export(from, file, NULL, true, &summary));
        assert_ok(dapt_gguf_open(file, &f));
        const struct dapt_gguf_tensor *t = dapt_gguf_tensor(
            f, k ? "blk.1.ffn_up.weight" : "blk.1.attn_k.weight");
        const struct dapt_parameter *p = dapt_model_find(
            m, k ? "transformer.h.1.mlp.c_fc.weight" : "model.layers.1.self_attn.k_proj.weight");
        assert_true(t && p);
        const float *there = (const float *)(const void *)t->data, *here = flat + p->offset;
        for (uint64_t r = 0; r < t->shape[0]; r++)
            for (uint64_t c = 0; c < t->shape[1]; c++) {
                // Of a head of 16 rows, i and i + 8 turn together.
                uint64_t head = r / 16, i = r % 16 / 2, part = r % 2;
                float want = k ? here[c * t->shape[0] + r]
                               : here[(head * 16 + part * 8 + i) * t->shape[1] + c];
                if (there[r * t->shape[1] + c] != want) fail_msg("%s: row %d", tried[k], (int)r);
            }
        dapt_gguf_close(&f);
        dapt_model_close(&m);
        free(flat);
        assert_ok(dapt_remove_tree(from));
    }
    scratch_remove(folder);
}

static void types_are_as_asked(void **state) {
    (void)state;
    const char *folder = scratch_create(), *from = path_in(folder, "m"),
               *file = path_in(folder, "a"), *to = path_in(folder, "to");
    static const char *const types[][2] = {
        {"f16", "float16"}, {"bf16", "bfloat16"}, {"q8_0", "float32"}};
    struct dapt_model *m;
    struct dapt_exchange_summary summary;
    struct dapt_safetensors *weights;
    free(make_model(configs[0], words, from, &m));
    dapt_model_close(&m);
    for (int i = 0; i < 3; i++) {
        assert_ok(dapt_model_export(from, file, types[i][0], true, &summary));
        assert_ok(dapt_model_import(file, to, DAPT_SAVE_MODEL, &summary));
        assert_string_equal(summary.dtype, types[i][1]);
        assert_ok(dapt_safetensors_open(to, &weights));  // norms keep every bit
        assert_int_equal(dapt_safetensors_find(weights, "model.norm.weight")->dtype, DAPT_FILE_F32);
        dapt_safetensors_close(&weights);
        assert_ok(dapt_remove_tree(to));
    }
    assert_ok(dapt_model_import(file, to, DAPT_SAVE_BF16, &summary));
    assert_string_equal(summary.dtype, "bfloat16");
    assert_fails(dapt_model_export(from, file, "q4_0", true, &summary), DAPT_ERROR_INVALID,
                 "Q8_0 are");
    scratch_remove(folder);
}

// -------------------------------------------------------------------------------------- tokenizers

static const char *text_at(const struct dapt_json *list, size_t i) {
    const char *text = "";
    assert_ok(dapt_json_string(dapt_json_at(list, i), &text));
    return text;
}

static struct dapt_json *exchange_tokenizer(const char *folder, const char *tokenizer) {
    const char *from = path_in(folder, "from"), *to = path_in(folder, "to"),
               *file = path_in(folder, "a.gguf");
    struct dapt_exchange_summary summary;
    struct dapt_model *m;
    struct dapt_json *json;
    free(make_model(configs[0], tokenizer, from, &m));
    dapt_model_close(&m);
    assert_ok(dapt_model_export(from, file, NULL, false, &summary));
    assert_ok(dapt_model_import(file, to, DAPT_SAVE_MODEL, &summary));
    assert_ok(dapt_json_read(path_in(to, "tokenizer.json"), DAPT_JSON_LIMIT, &json));
    return json;
}

static void byte_level_tokenizers_come_back(void **state) {
    (void)state;
    const char *folder = scratch_create(), *text = NULL;
    struct dapt_json *json = exchange_tokenizer(folder, words), *config;
    const struct dapt_json *merges = dapt_json_find(json, "model.merges"),
                           *added = dapt_json_member(json, "added_tokens"),
                           *cut = dapt_json_find(json, "pre_tokenizer.pretokenizers");
    assert_int_equal(dapt_json_count(merges), 2);
    assert_string_equal(text_at(dapt_json_at(merges, 1), 0), "ab");
    assert_string_equal(text_at(dapt_json_at(merges, 1), 1), "c");
    assert_int_equal(dapt_json_count(added), 2);
    assert_ok(dapt_json_get_string(dapt_json_at(added, 1), "content", &text));
    assert_string_equal(text, "  ");
    assert_ok(dapt_json_get_string(dapt_json_at(cut, 0), "type", &text));
    assert_string_equal(text, "Digits");
    // The template puts a special token in front.
    assert_non_null(dapt_json_find(dapt_json_at(dapt_json_find(json, "post_processor.single"), 0),
                                   "SpecialToken.id"));
    assert_ok(
        dapt_json_read(path_in(folder, "to/tokenizer_config.json"), DAPT_JSON_LIMIT, &config));
    assert_ok(dapt_json_get_string(config, "eos_token", &text));
    assert_string_equal(text, "<|end|>");
    assert_ok(dapt_json_get_string(config, "chat_template", &text));
    assert_string_equal(text, "{{ 1 }}");
    dapt_json_free(&config);
    dapt_json_free(&json);
    scratch_remove(folder);
}

// The order in which pieces are made is kept; of one piece every way to make it is there.
static void merges_are_made_of_scores(void **state) {
    (void)state;
    const char *folder = scratch_create();
    struct dapt_json *json = exchange_tokenizer(folder, pieces);
    static const char *const made[] = {"ab", "\u2581ab", "\u2581ab", "\u2581a", "bb"};
    const struct dapt_json *merges = dapt_json_find(json, "model.merges");
    bool fallback = false;
    assert_int_equal(dapt_json_count(merges), 5);
    for (size_t i = 0; i < 5; i++) {
        char both[32];
        snprintf(both, sizeof both, "%s%s", text_at(dapt_json_at(merges, i), 0),
                 text_at(dapt_json_at(merges, i), 1));
        assert_string_equal(both, made[i]);
    }
    assert_ok(dapt_json_get_bool(dapt_json_member(json, "model"), "byte_fallback", &fallback));
    assert_true(fallback);
    assert_int_equal(dapt_json_count(dapt_json_find(json, "normalizer.normalizers")), 2);
    dapt_json_free(&json);
    scratch_remove(folder);
}

// ---------------------------------------------------------------------------------------- refusals

static enum dapt_status produce(void *context, size_t index, uint64_t begin, uint64_t count,
                                float *values) {
    (void)context, (void)index, (void)begin;
    memset(values, 0, (size_t)count * sizeof *values);
    return DAPT_OK;
}

// Imports a file of the llama family whose key or tensor `more` is one too many, or missing.
static void refuse(const char *key, const char *value, const char *tensor, const char *part) {
    const char *folder = scratch_create(), *file = path_in(folder, "a.gguf");
    struct dapt_gguf_metadata m = {0};
    struct dapt_exchange_summary summary;
    struct dapt_paths names = {0};
    const struct dapt_block_type *f32 = dapt_block_type_named("F32");
    const struct dapt_gguf_entry entries[] = {{"token_embd.weight", f32, 2, {4, 8}},
                                              {tensor, f32, 1, {8}}};
    static const char *const counts[] = {"block_count", "context_length", "embedding_length",
                                         "feed_forward_length", "attention.head_count"};
    bool named = strcmp(key, "general.architecture") == 0;
    dapt_gguf_put_string(&m, "general.architecture", named ? value : "llama");
    for (size_t i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "llama.%s", counts[i]);
        dapt_gguf_put_u32(&m, name, i == 4 ? 2 : i == 0 ? 1 : 8);
    }
    dapt_gguf_put_f32(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (!named) dapt_gguf_put_string(&m, key, value);
    assert_ok(dapt_gguf_write(file, &m, entries, tensor ? 2 : 1, produce, NULL));
    dapt_gguf_metadata_free(&m);
    enum dapt_status status = dapt_model_import(file, path_in(folder, "to"), DAPT_SAVE_MODEL,
                                                &summary);
    assert_true(status == DAPT_ERROR_UNSUPPORTED || status == DAPT_ERROR_INVALID);
    if (!strstr(dapt_error(), part) || !strstr(dapt_error(), "a.gguf"))
        fail_msg("\"%s\" does not hold \"%s\"", dapt_error(), part);
    assert_ok(dapt_list_folder(&scratch_arena, folder, &names));
    assert_int_equal(names.count, 1);  // nothing half-made
    scratch_remove(folder);
}

static void what_is_not_built_is_refused_by_name(void **state) {
    (void)state;
    refuse("general.architecture", "mamba", NULL, "\"mamba\", which dapt does not read");
    refuse("general.type", "adapter", NULL, "general.type is \"adapter\"");
    refuse("llama.logit_scale", "x", NULL, "the key 'llama.logit_scale' is not known");
    refuse("llama.rope.scaling.type", "longrope", NULL, "rope.scaling.type is \"longrope\"");
    refuse("tokenizer.ggml.model", "bert", NULL, "tokenizer.ggml.model is \"bert\"");
    refuse("tokenizer.ggml.model", "gpt2", NULL, "tokenizer.ggml.tokens");
    refuse("x", "y", "rope_freqs.weight", "'rope_freqs.weight'");
}

static void what_is_there_stays(void **state) {
    (void)state;
    const char *folder = scratch_create(), *from = path_in(folder, "m"),
               *file = path_in(folder, "a");
    struct dapt_model *m;
    struct dapt_exchange_summary summary;
    free(make_model(configs[0], words, from, &m));
    dapt_model_close(&m);
    write_text(file, "mine");
    assert_fails(dapt_model_export(from, file, NULL, false, &summary), DAPT_ERROR_INVALID,
                 "--force");
    assert_ok(dapt_model_export(from, file, NULL, true, &summary));
    assert_fails(dapt_model_import(file, from, DAPT_SAVE_MODEL, &summary), DAPT_ERROR_INVALID,
                 "is there already");
    assert_ok(dapt_mkdirs(path_in(folder, "empty")));
    assert_ok(dapt_model_import(file, path_in(folder, "empty/"), DAPT_SAVE_MODEL, &summary));
    // A tokenizer that llama.cpp cannot follow: the place in tokenizer.json is named.
    write_text(
        path_in(from, "tokenizer.json"),
        "{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"BPE\",\"vocab\":{"
        "\"a\":0},\"merges\":[]}}");
    assert_fails(dapt_model_export(from, file, NULL, true, &summary), DAPT_ERROR_INVALID,
                 "tokenizer.json:1:");
    scratch_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_comes_back_as_it_was),
        cmocka_unit_test(rows_lie_where_llama_cpp_has_them),
        cmocka_unit_test(types_are_as_asked),
        cmocka_unit_test(byte_level_tokenizers_come_back),
        cmocka_unit_test(merges_are_made_of_scores),
        cmocka_unit_test(what_is_not_built_is_refused_by_name),
        cmocka_unit_test(what_is_there_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
