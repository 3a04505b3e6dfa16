#!/usr/bin/env python3
"""One measurement of PyTorch for tools/bench/gpu: prints a JSON object as its last line.

usage: torch_step.py --probe
       torch_step.py --peaks N --device cuda:0 [--steps 10]
       torch_step.py SHAPE.json --device cuda:0 --batch N --sequence N [--precision float32|bfloat16] [--compile] [--gradients]
                     [--recompute] [--steps 10]

--probe: its version and devices. --peaks: a product of N x N x N and a copy. Else training steps on new weights and random tokens:
forward, backward, the norm of the gradients clipped, fused AdamW; --gradients: forward and backward alone. bfloat16 is autocast over
float32 weights; float32 is that in full, without TF32. Each step is waited for; the median of those after the first three counts.
"""
import argparse, json, statistics, sys, time

def parse():
    p = argparse.ArgumentParser(usage=__doc__); add = p.add_argument
    add("shape", nargs="?"); add("--probe", action="store_true"); add("--peaks", type=int); add("--device", default="cpu")
    add("--batch", type=int, default=8); add("--sequence", type=int, default=1024); add("--steps", type=int, default=10)
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    for name in ("--compile", "--gradients", "--recompute"): add(name, action="store_true")
    return p.parse_args()

ARGUMENTS = parse() if __name__ == "__main__" else None  # a wrong command line is told before PyTorch is loaded
try:
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.checkpoint import checkpoint
except ImportError as error: sys.exit(f"PyTorch is not installed for this Python {sys.version.split()[0]} ({error})")

WARM = 3

# ------------------------------------------------------------------------------------------------------------------------ the model

class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight

def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, llama = c, c.llama
        norm = (lambda: RMSNorm(c.width, c.eps)) if llama else (lambda: nn.LayerNorm(c.width, c.eps))
        self.norm1, self.norm2, self.head = norm(), norm(), c.width // c.heads
        self.qkv = nn.Linear(c.width, (c.heads + 2 * c.keys) * self.head, bias=not llama)
        self.out = nn.Linear(c.width, c.width, bias=not llama)
        self.up, self.down = nn.Linear(c.width, c.hidden, bias=not llama), nn.Linear(c.hidden, c.width, bias=not llama)
        if llama: self.gate = nn.Linear(c.width, c.hidden, bias=False)

    def attention(self, x, cos, sin):
        n, t, _ = x.shape
        heads, keys, head = self.c.heads, self.c.keys, self.head
        q, k, v = self.qkv(x).split((heads * head, keys * head, keys * head), -1)
        q, k, v = (y.view(n, t, -1, head).transpose(1, 2) for y in (q, k, v))
        if self.c.llama: q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        # Spread over the query heads, as not every fast kernel takes grouped ones.
        if keys < heads: k, v = k.repeat_interleave(heads // keys, 1), v.repeat_interleave(heads // keys, 1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, -1))

    def forward(self, x, cos, sin):
        x = x + self.attention(self.norm1(x), cos, sin)
        y = self.norm2(x)
        y = F.silu(self.gate(y)) * self.up(y) if self.c.llama else F.gelu(self.up(y), approximate="tanh")
        return x + self.down(y)

class Shape:
    def __init__(self, path):
        with open(path) as f: c = json.load(f)
        self.llama, self.vocab = c["model_type"] == "llama", c["vocab_size"]
        if self.llama:
            self.width, self.layers, self.heads, self.keys = (c[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads",
                                                                             "num_key_value_heads"))
            self.hidden, self.eps, self.theta, self.tied = c["intermediate_size"], c["rms_norm_eps"], c["rope_theta"], c["tie_word_embeddings"]
        else:
            self.width, self.layers, self.heads, self.positions = c["n_embd"], c["n_layer"], c["n_head"], c["n_positions"]
            self.keys, self.hidden, self.eps, self.tied = self.heads, 4 * self.width, c["layer_norm_epsilon"], True

class Model(nn.Module):
    def __init__(self, c, length, recompute):
        super().__init__()
        self.c, self.recompute = c, recompute
        self.embed = nn.Embedding(c.vocab, c.width)
        self.places = None if c.llama else nn.Embedding(c.positions, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.width, c.eps) if c.llama else nn.LayerNorm(c.width, c.eps)
        self.unembed = nn.Linear(c.width, c.vocab, bias=False)
        for p in self.parameters():
            if p.dim() > 1: nn.init.normal_(p, std=0.02)
        if c.tied: self.unembed.weight = self.embed.weight
        half = c.width // c.heads // 2
        angles = torch.outer(torch.arange(length).float(), getattr(c, "theta", 1e4) ** (-torch.arange(half).float() / half))
        self.register_buffer("cos", angles.cos(), False)
        self.register_buffer("sin", angles.sin(), False)

    def forward(self, ids, targets):
        x = self.embed(ids)
        if self.places is not None: x = x + self.places.weight[:ids.shape[1]]
        for block in self.blocks:
            if self.recompute: x = checkpoint(block, x, self.cos, self.sin, use_reentrant=False)
            else: x = block(x, self.cos, self.sin)
        return F.cross_entropy(self.unembed(self.norm(x)).float().flatten(0, 1), targets.flatten(), ignore_index=-100)

# ------------------------------------------------------------------------------------------------------------------------- measuring

def wait(device):
    if device.type != "cpu": getattr(torch, device.type).synchronize(device)

def times_of(work, device, steps):
    """Seconds of the first run, and of `steps` after WARM ones."""
    seconds = []
    for _ in range(WARM + steps):
        wait(device)
        begin = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - begin)
    return seconds[0], seconds[WARM:]

def probe():
    found = []
    for kind in ("cuda", "xpu"):
        module = getattr(torch, kind, None)
        if module is None or not module.is_available(): continue
        for i in range(module.device_count()):
            about = module.get_device_properties(i)
            found.append(dict(device=f"{kind}:{i}", name=about.name, uuid=str(getattr(about, "uuid", ""))))
    return dict(version=torch.__version__, cuda=torch.version.cuda, hip=getattr(torch.version, "hip", None), threads=torch.get_num_threads(),
                devices=found)

def peaks(a, device):
    result = dict(version=torch.__version__, size=a.peaks, runs=a.steps)
    for name in ("float32", "bfloat16"):
        x, y = (torch.rand(a.peaks, a.peaks, device=device).to(getattr(torch, name)) for _ in range(2))
        seconds = statistics.median(times_of(lambda: x @ y.T, device, a.steps)[1])
        result[f"product_{name}_seconds"], result[f"product_{name}_flops_per_second"] = seconds, 2 * a.peaks ** 3 / seconds
    x = torch.rand(4 * a.peaks, a.peaks, device=device)
    y, copies = torch.empty_like(x), 8
    def copy():
        for _ in range(copies): y.copy_(x)
    seconds = statistics.median(times_of(copy, device, a.steps)[1]) / copies
    return dict(result, copy_bytes=4 * x.numel(), copy_seconds=seconds, copy_bytes_per_second=8 * x.numel() / seconds)

def optimizer_of(model):
    options = dict(lr=1e-5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    try: return torch.optim.AdamW(model.parameters(), fused=True, **options), True
    except (RuntimeError, TypeError): return torch.optim.AdamW(model.parameters(), **options), False

def train(a, device):
    torch.manual_seed(1)
    model = Model(Shape(a.shape), a.sequence, a.recompute).to(device)
    run, (optimizer, fused) = torch.compile(model) if a.compile else model, optimizer_of(model)
    ids = torch.randint(model.c.vocab, (a.batch, a.sequence), device=device)
    targets = torch.cat((ids[:, 1:], torch.full_like(ids[:, :1], -100)), 1)
    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=a.precision == "bfloat16"): loss = run(ids, targets)
        loss.backward()
        if a.gradients: return
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    first, seconds = times_of(step, device, a.steps)
    memory = None if device.type == "cpu" else getattr(torch, device.type).max_memory_allocated(device)
    median = statistics.median(seconds)
    return dict(version=torch.__version__, precision=a.precision, compiled=a.compile, fused=fused, recompute=a.recompute, update=not a.gradients,
                parameters=sum(p.numel() for p in model.parameters()), batch=a.batch, sequence=a.sequence, steps=a.steps, seconds=median,
                best_seconds=min(seconds), first_seconds=first, tokens_per_second=a.batch * a.sequence / median, memory=memory)

def main(a):
    if not (a.probe or a.peaks or a.shape): sys.exit("torch_step.py: expected --probe, --peaks N or SHAPE.json")
    torch.set_float32_matmul_precision("highest")
    device = torch.device(a.device)
    print(json.dumps(probe() if a.probe else peaks(a, device) if a.peaks else train(a, device)))

if __name__ == "__main__": main(ARGUMENTS)
