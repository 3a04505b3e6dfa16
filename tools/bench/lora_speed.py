#!/usr/bin/env python3
"""Speed of training adapters: `dapt bench --lora`, in turn with PyTorch, transformers and peft. CPU.

usage: lora_speed.py --dapt PATH --python PYTHON [--shape shapes/smollm2-135m.json] [--rank 8] [--sequence 512] [--steps 5] [--rounds 5]
                     [--threads 2] [--precision float32] [--record FILE.json]
       lora_speed.py --peer --shape FILE --rank N --sequence N --steps N --threads N --precision NAME

PYTHON has torch, transformers and peft. Both train adapters on all matrices of the layers of new weights, one sequence of random tokens
a step: forward, backward, the norm of the gradients clipped, AdamW. Machines are noisy: the two run in turn, each figure is the median of
its steps, and the ratio is taken within a round. With one thread also by processor time, which a loaded machine disturbs less.
bfloat16: dapt keeps float32 weights and computes in bfloat16; PyTorch does so too by autocast, or keeps the base in bfloat16
(--peer-base), whose steps are quicker and whose weights are rounded.
"""
import argparse, json, os, statistics, subprocess, sys, time

def peer(a):
    import torch, transformers, peft
    torch.set_num_threads(a.threads); torch.manual_seed(1)
    with open(a.shape) as f: config = transformers.AutoConfig.for_model(**json.load(f))
    narrow = a.precision == "bfloat16"
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16 if narrow and a.peer_base else torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = peft.get_peft_model(model, peft.LoraConfig(r=a.rank, lora_alpha=a.rank, target_modules=targets)).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    ids, seconds, cpu = torch.randint(config.vocab_size, (1, a.sequence)), [], []
    for _ in range(3 + a.steps):
        begin, busy = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow and not a.peer_base):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - busy)
    print(json.dumps(dict(seconds=statistics.median(seconds[3:]), host_seconds=statistics.median(cpu[3:]), tokens_per_second=a.sequence / statistics.median(seconds[3:]), torch=torch.__version__,
                          transformers=transformers.__version__, peft=peft.__version__, trained=sum(p.numel() for p in trained))))

def last_object(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out[out.index("{"):] if command[1] == "bench" else out.strip().splitlines()[-1])

def main():
    p = argparse.ArgumentParser(usage=__doc__); add = p.add_argument
    add("--dapt"); add("--python", default=sys.executable); add("--peer", action="store_true")
    add("--shape", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "shapes/smollm2-135m.json"))
    for name, value in dict(rank=8, sequence=512, steps=5, rounds=5, threads=2).items(): add("--" + name, type=int, default=value)
    add("--precision", default="float32", choices=["float32", "bfloat16"]); add("--peer-base", action="store_true"); add("--record")
    a = p.parse_args()
    if a.peer: return peer(a)
    if not a.dapt: sys.exit("lora_speed.py: expected --dapt PATH")
    numbers = ["--sequence", str(a.sequence), "--steps", str(a.steps), "--threads", str(a.threads), "--precision", a.precision]
    rounds = []
    for r in range(a.rounds):
        ours = last_object([a.dapt, "bench", a.shape, "--backend", "cpu", "--batch", "1", "--lora", str(a.rank), "--json"] + numbers)
        other = last_object([a.python, os.path.abspath(__file__), "--peer", "--shape", a.shape, "--rank", str(a.rank)] + ["--peer-base"] * a.peer_base + numbers)
        ours = {k: ours[k] for k in ("device", "driver", "seconds", "best_seconds", "host_seconds", "tokens_per_second", "memory")}
        rounds.append(dict(dapt=ours, peer=other, ratio=ours["tokens_per_second"] / other["tokens_per_second"], load=os.getloadavg()))
        print(f"round {r + 1}: dapt {ours['tokens_per_second']:.0f} tokens/s, peft {other['tokens_per_second']:.0f}, ratio {rounds[-1]['ratio']:.2f}, "
              f"load {rounds[-1]['load'][0]:.0f}", flush=True)
        if a.threads == 1: print(f"         processor time of a step: {ours['host_seconds']:.3f} s, {other['host_seconds']:.3f} s, ratio "
                                 f"{other['host_seconds'] / ours['host_seconds']:.2f}", flush=True)
    print(f"median ratio {statistics.median(x['ratio'] for x in rounds):.2f}")
    if a.record:
        with open(a.record, "w") as f: json.dump(dict(command=" ".join(sys.argv), rounds=rounds), f, indent=1)

if __name__ == "__main__": main()
