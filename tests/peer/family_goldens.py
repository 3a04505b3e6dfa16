#!/usr/bin/env python3
"""Small models of families, with what transformers computes of them, for `dapt verify`.

usage: family_goldens.py OUT [NAME ...]      (without names: all)
Needs torch, transformers, safetensors. float32, CPU. Writes OUT/NAME with config.json, model.safetensors,
golden.safetensors (logits, loss, gradients, losses of six AdamW steps) and golden.json.
"""
import json, os, sys
import torch, transformers
import goldens

SIZES = dict(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=36,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
MODELS = {
    "starcoder2": ("starcoder2", dict(num_key_value_heads=1, sliding_window=5, tie_word_embeddings=True)),
    "stablelm": ("stablelm", dict(num_key_value_heads=3, use_parallel_residual=True, use_qkv_bias=True)),
    "granite": ("granite", dict(num_key_value_heads=1, embedding_multiplier=3.0, attention_multiplier=0.3,
                                residual_multiplier=0.4, logits_scaling=2.5)),
    "smollm3_window": ("smollm3", dict(num_key_value_heads=1, use_sliding_window=True, sliding_window=5,
                                       no_rope_layers=[1, 0], hidden_size=12, intermediate_size=16)),
    "gemma2_capped": ("gemma2", dict(num_key_value_heads=1, head_dim=6, sliding_window=5, query_pre_attn_scalar=7,
                                     attn_logit_softcapping=0.5, final_logit_softcapping=1.0)),
    "gemma3_local": ("gemma3_text", dict(num_attention_heads=4, num_key_value_heads=2, head_dim=10, sliding_window=5,
                                         query_pre_attn_scalar=7, final_logit_softcapping=1.0, attention_bias=True,
                                         sliding_window_pattern=2, rope_theta=700.0, rope_local_base_freq=20.0,
                                         rope_scaling=dict(rope_type="linear", factor=4.0))),
    "bert_own_head": ("bert", dict(tie_word_embeddings=False, type_vocab_size=3, hidden_act="gelu_new", layer_norm_eps=1e-5,
                                   max_position_embeddings=18)),
    "roberta_relu": ("roberta", dict(pad_token_id=2, bos_token_id=0, eos_token_id=1, type_vocab_size=2, hidden_act="relu",
                                     max_position_embeddings=19)),
}
# Older files have no such keys, or say it otherwise (None: not at all): the rules behind them are looked at.
OLDER = {"smollm3_window": dict(layer_types=None), "gemma2_capped": dict(layer_types=None),
         "gemma3_local": dict(layer_types=None, rope_parameters=None, _sliding_window_pattern=None, sliding_window_pattern=2,
                              rope_theta=700.0, rope_local_base_freq=20.0, rope_scaling=dict(rope_type="linear", factor=4.0))}
MASKED = {"bert", "roberta"}  # trained to predict hidden tokens, here the vocabulary's last

def write(folder, number, model_type, settings, older):
    torch.manual_seed(number)
    config = transformers.AutoConfig.for_model(model_type, **{**SIZES, **settings})
    config._attn_implementation = "eager"
    masked = model_type in MASKED
    kind = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model = kind.from_config(config).float().eval()
    with torch.no_grad():  # every term large enough to be noticed
        for name, p in model.named_parameters():
            factor = "norm" in name.lower() and name.endswith("weight") and not model_type.startswith("gemma")  # there it is 1 + weight
            p.normal_(1.0 if factor else 0.0, 0.1)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as f: saved = json.load(f) | older
    with open(path, "w") as f: json.dump({k: v for k, v in saved.items() if k not in older or v is not None}, f, indent=2)
    ids = torch.randint(3, SIZES["vocab_size"], (2, 16))
    labels = ids.clone()
    if masked:
        hidden = torch.rand(ids.shape) < 0.3
        labels[~hidden] = -100
        ids[hidden] = SIZES["vocab_size"] - 1
    goldens.write(folder, model, ids, labels, masked)
    extra = os.path.join(folder, "generation_config.json")
    if os.path.exists(extra): os.remove(extra)

if __name__ == "__main__":
    if len(sys.argv) < 2: sys.exit(__doc__)
    for number, (name, (model_type, settings)) in enumerate(MODELS.items()):
        if sys.argv[2:] and name not in sys.argv[2:]: continue
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        write(folder, number + 1, model_type, settings, OLDER.get(name, {}))
        print(name)
