#!/usr/bin/env python3
"""What transformers makes of a text with a model of ours, as nats a token: for comparison with
`dapt eval MODEL --data text=FILE.jsonl --sequence 1024`.

usage: transformers_loss.py MODEL FILE.jsonl [DOCUMENTS]

Each document by itself, with the end-of-text token behind it, as dapt reads it; those of more than 1,024 tokens are refused, as dapt
would cut them. Needs torch, transformers. float32, CPU.
"""
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

def main(folder, path, documents=None):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    wrong = {k: sorted(v) for k, v in info.items() if v}
    if wrong: sys.exit(f"{folder}: transformers complains: {wrong}")
    nats = scored = 0
    with open(path, encoding="utf-8") as file, torch.no_grad():
        for line in list(file)[:documents and int(documents)]:
            ids = tokenizer(json.loads(line)["text"])["input_ids"] + [tokenizer.eos_token_id]
            if len(ids) > 1024: sys.exit(f"{path}: a document of {len(ids)} tokens, expected at most 1024")
            ids = torch.tensor([ids])
            nats += model(ids, labels=ids).loss.double().item() * (ids.shape[1] - 1)
            scored += ids.shape[1] - 1
    print(f"{type(model).__name__}: {nats / scored:.6f} nats/token over {scored} tokens")

if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4: sys.exit(__doc__)
    main(*sys.argv[1:])
