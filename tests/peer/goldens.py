"""Golden values of a model, for `dapt verify`: golden.safetensors (input_ids, labels, logits, loss, grad.NAME of what is trained, and the
losses of six AdamW steps) and golden.json (how they were computed). The models of this folder's scripts have them from here.
"""
import json, os
import torch, transformers
from safetensors.torch import save_file

OPTIMIZER = dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)

def write(folder, model, ids, labels, masked, rename=str, **versions):
    """`rename`: from the names of parameters to those of tensors. Gives the loss; the model is trained on."""
    run = lambda: model(input_ids=ids, labels=labels)
    result = run()
    result.loss.backward()
    golden = {"input_ids": ids, "labels": labels, "logits": result.logits.detach().contiguous(), "loss": result.loss.detach().reshape(1)}
    golden |= {"grad." + rename(n): p.grad.clone().contiguous() for n, p in model.named_parameters() if p.grad is not None}
    optimizer, losses = torch.optim.AdamW(model.parameters(), **OPTIMIZER), []
    for _ in range(6):
        optimizer.zero_grad()
        loss = run().loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    golden["losses"] = torch.tensor(losses)
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    with open(os.path.join(folder, "golden.json"), "w") as f:
        json.dump(dict(kind="masked" if masked else "causal", optimizer=dict(name="adamw", decay="every parameter", clip_grad_norm=1.0, **OPTIMIZER),
                       torch=torch.__version__, transformers=transformers.__version__, **versions), f, indent=1)
    return result.loss.item()
