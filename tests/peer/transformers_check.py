#!/usr/bin/env python3
"""Does transformers read a checkpoint of ours as it is, and compute the same from it?

usage: transformers_check.py make CHECKPOINT OUT TEXT   writes OUT: the checkpoint's files, golden.safetensors and golden.json (what `dapt verify OUT`
                                                        compares with: logits, loss, every gradient, six AdamW steps), and greedy.txt,
                                                        100 greedy tokens after TEXT, for comparison with
                                                        `dapt generate CHECKPOINT --prompt TEXT --temperature 0 --max-tokens 100`;
                                                        of an encoder no greedy.txt, and TEXT is not looked at
Needs torch, transformers, safetensors. float32, CPU.
"""
import os, shutil, sys
import torch
import goldens
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

def greedy_batch(model, checkpoint, out, text):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=100, do_sample=False)[0]
    with open(os.path.join(out, "greedy.txt"), "w", encoding="utf-8") as f: f.write(tokenizer.decode(ids, skip_special_tokens=True))
    batch = torch.stack([ids[:64], ids.flip(0)[:64]])
    labels = batch.clone(); labels[0, :3] = -100
    return batch, labels

def masked_batch(model):  # ids from 10 on: no padding among them
    torch.manual_seed(1)
    batch = torch.randint(10, model.config.vocab_size, (2, min(64, model.config.max_position_embeddings // 2)))
    labels = torch.where(torch.rand(batch.shape) < 0.2, batch, -100); labels[:, 0] = batch[:, 0]
    return batch, labels

def make(checkpoint, out, text):
    shutil.copytree(checkpoint, out, dirs_exist_ok=True)
    masked = AutoConfig.from_pretrained(checkpoint).architectures[0].endswith("MaskedLM")
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model, info = auto.from_pretrained(checkpoint, output_loading_info=True, dtype=torch.float32,
                                       attn_implementation="eager")  # sdpa leaves out the softcap of scores
    wrong = {k: sorted(v) for k, v in info.items() if v}
    if wrong: sys.exit(f"{checkpoint}: transformers complains: {wrong}")
    model.eval()
    batch, labels = masked_batch(model) if masked else greedy_batch(model, checkpoint, out, text)
    loss = goldens.write(out, model, batch, labels, masked)
    print(f"{type(model).__name__}: loss {loss:.6f}")

if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] != "make": sys.exit(__doc__)
    make(*sys.argv[2:])
