#!/usr/bin/env python3
"""Does dapt compute of peft's adapters what peft does, and peft of ours what dapt does?

usage: peft_check.py make OUT [NAME ...]    writes OUT/NAME/base and OUT/NAME/adapter, small models and adapters of them as peft
                                            writes them; `dapt verify OUT/NAME/adapter` compares logits, loss, the gradients of
                                            the adapters and six AdamW steps
       peft_check.py read ADAPTER OUT       peft loads what dapt wrote; writes OUT, a copy with golden values, for `dapt verify OUT`
Needs torch, transformers, peft, safetensors. float32, CPU.
"""
import copy, json, os, shutil, sys
import torch, transformers, peft
import goldens

SIZES = dict(vocab_size=264, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=36,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
# model_type, its settings, what peft is asked for
MODELS = {
    "gpt2": ("gpt2", dict(n_embd=24, n_layer=2, n_head=3, n_positions=64), dict(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True)),
    "llama": ("llama", dict(num_key_value_heads=1), dict(r=3, lora_alpha=6, target_modules="all-linear")),
    "llama_tied": ("llama", dict(num_key_value_heads=3, tie_word_embeddings=True),
                   dict(r=2, lora_alpha=5, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens", "lm_head"])),
    "qwen3": ("qwen3", dict(num_key_value_heads=1, head_dim=10), dict(r=4, target_modules=["q_proj", "up_proj", "down_proj"], layers_to_transform=[1])),
    "phi3": ("phi3", dict(num_key_value_heads=1), dict(r=5, target_modules="all-linear", lora_dropout=0.1)),
    "gpt_neox": ("gpt_neox", dict(rotary_pct=0.5), dict(r=4, target_modules="all-linear")),
    "bert": ("bert", dict(type_vocab_size=2), dict(r=4, target_modules=["query", "value", "intermediate.dense", "attention.output.dense"])),
}

def auto(model_type): return transformers.AutoModelForMaskedLM if model_type == "bert" else transformers.AutoModelForCausalLM

def add_goldens(folder, model, masked):
    torch.manual_seed(5)
    ids = torch.randint(3, 255, (2, 16))
    labels = ids.clone()
    if masked: labels[torch.rand(ids.shape) > 0.3] = -100
    for n, p in model.named_parameters(): p.requires_grad_(".lora_" in n)
    goldens.write(folder, model, ids, labels, masked, lambda name: name.removeprefix("base_model.model.").replace(".default", ""), peft=peft.__version__)

def make(folder, number, model_type, settings, lora):
    torch.manual_seed(number)
    config = transformers.AutoConfig.for_model(model_type, **{**SIZES, **settings})
    config._attn_implementation = "eager"
    model = auto(model_type).from_config(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1.0 if ("norm" in name.lower() or ".ln_" in name) and name.endswith("weight") else 0.0, 0.1)
    base, adapter = os.path.join(folder, "base"), os.path.join(folder, "adapter")
    model.save_pretrained(base)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**lora)).eval()
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if ".lora_" in name: p.normal_(0, 0.2)
        saved = [p for n, p in wrapped.named_parameters() if "modules_to_save" in n]
        if saved: saved[0].add_(0.1 * torch.randn_like(saved[0])); saved[1].copy_(saved[0])
    wrapped.save_pretrained(adapter)
    with open(os.path.join(adapter, "adapter_config.json")) as f: config = json.load(f)
    config["base_model_name_or_path"] = "../base"
    with open(os.path.join(adapter, "adapter_config.json"), "w") as f: json.dump(config, f, indent=2)
    add_goldens(adapter, wrapped, model_type == "bert")

def read(adapter, out):
    shutil.copytree(adapter, out, dirs_exist_ok=True)
    if os.path.exists(os.path.join(out, "run.json")): os.remove(os.path.join(out, "run.json"))
    with open(os.path.join(adapter, "adapter_config.json")) as f: base = json.load(f)["base_model_name_or_path"]
    config = transformers.AutoConfig.from_pretrained(base)
    model = auto(config.model_type).from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    plain = copy.deepcopy(model)
    wrapped = peft.PeftModel.from_pretrained(model, adapter).eval()
    loaded = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    from safetensors.torch import load_file
    written = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    assert set(loaded) == set(written), sorted(set(loaded) ^ set(written))
    for name, tensor in written.items(): assert torch.equal(loaded[name].float(), tensor.float()), name
    ids = torch.randint(3, 255, (2, 16))
    with torch.no_grad(): change = (wrapped(input_ids=ids).logits - plain(input_ids=ids).logits).abs().max().item()
    assert change > 1e-3, change
    add_goldens(out, wrapped, config.model_type == "bert")

if __name__ == "__main__":
    if sys.argv[1:2] == ["read"] and len(sys.argv) == 4: read(*sys.argv[2:])
    elif sys.argv[1:2] == ["make"] and len(sys.argv) > 2:
        for number, (name, row) in enumerate(MODELS.items()):
            if sys.argv[3:] and name not in sys.argv[3:]: continue
            make(os.path.join(sys.argv[2], name), number + 1, *row)
            print(name)
    else: sys.exit(__doc__)
