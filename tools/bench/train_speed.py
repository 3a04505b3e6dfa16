#!/usr/bin/env python3
"""Training speed of `dapt train` on three model shapes, and of another trainer in turn with it.

usage: train_speed.py --dapt PATH --tokenizer FOLDER --text FILE.jsonl [--rounds 3] [--shapes stories260k,llama15m,gpt2-124m]
                      [--threads N] [--backend NAME] [--beside BACKEND] [--peer 'COMMAND'] [--peer-threads 1,2] [--work FOLDER] [--record FILE.json]

--beside: the same with another backend of dapt, in turn, and what of its speed --backend reaches.
Machines are noisy: the two are run in turn, and ratios are taken within a round. COMMAND is run with
  --model FOLDER --train FILE --seq 256 --batch B --steps S --threads T --random
and must print, as its last line, a JSON object with tokens_per_second (median of its steps), peak_rss_mib and
seconds_to_first_step. FOLDER holds a config.json and the tokenizer of --tokenizer; weights are random on both sides.
Python's standard library only.
"""
import argparse, json, os, platform, shlex, shutil, statistics, subprocess, sys, tempfile, time
from datetime import datetime, timezone

LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"], max_position_embeddings=512, rms_norm_eps=1e-5,
             rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
SHAPES = {  # name: config.json, batch of 256 tokens, steps of dapt, steps of the peer
    "stories260k": (dict(LLAMA, hidden_size=64, intermediate_size=172, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4,
                         vocab_size=512), 8, 60, 40),
    "llama15m": (dict(LLAMA, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6,
                      vocab_size=32000), 8, 14, 10),
    "gpt2-124m": (dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], n_embd=768, n_layer=12, n_head=12, n_positions=1024,
                       vocab_size=50257, bos_token_id=1, eos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), 4, 7, 6),
}

def run(command):
    """Runs a command; its output, peak resident MiB and the clock at its start."""
    begin = time.time()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = p.stdout.read(), p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status: sys.exit(f"{' '.join(command)}: failed\n{out[-2000:]}{err[-2000:]}")
    return out, usage.ru_maxrss / 1024, begin

def run_dapt(a, folder, batch, steps, work, backend=None):
    shutil.rmtree(os.path.join(work, "run"), ignore_errors=True)
    config = dict(model=dict(random=os.path.join(folder, "config.json"), tokenizer=folder),
                  data=dict(domain=[a.text], sequence=256, packing="concatenate", special=False, cache=os.path.join(work, "cache")),
                  train=dict(batch=batch, steps=steps), backend=dict(name=backend or a.backend, threads=a.threads), run=os.path.join(work, "run"))
    path = os.path.join(work, "config.json")
    with open(path, "w") as f: json.dump(config, f)
    _, rss, begin = run([a.dapt, "train", path])
    with open(os.path.join(work, "run", "metrics.jsonl")) as f: events = [json.loads(line) for line in f]
    seconds = [e["seconds"] for e in events if e["event"] == "step"]
    first = next(e["time"] for e in events if e["event"] == "step")
    first = datetime.strptime(first, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp() - begin
    return dict(tokens_per_second=batch * 256 / statistics.median(seconds[3:] or seconds), peak_rss_mib=rss, seconds_to_first_step=first)

def run_peer(a, folder, batch, steps, threads):
    out, _, _ = run(shlex.split(a.peer) + ["--model", folder, "--train", a.text, "--seq", "256", "--batch", str(batch), "--steps", str(steps),
                                           "--threads", str(threads), "--random"])
    return json.loads(out.strip().splitlines()[-1])

def main():
    p = argparse.ArgumentParser(usage=__doc__); add = p.add_argument
    add("--dapt", required=True); add("--tokenizer", required=True); add("--text", required=True); add("--rounds", type=int, default=3)
    add("--shapes", default=",".join(SHAPES)); add("--threads", type=int, default=0); add("--backend", default="cpu")
    add("--beside"); add("--peer"); add("--peer-threads", default="1,2"); add("--work"); add("--record")
    a = p.parse_args()
    a.text = os.path.abspath(a.text)
    work, records = os.path.abspath(a.work or tempfile.mkdtemp(prefix="dapt-bench-")), []
    for name in a.shapes.split(","):
        config, batch, steps, peer_steps = SHAPES[name]
        folder = os.path.join(work, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "config.json"), "w") as f: json.dump(config, f)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            if os.path.exists(os.path.join(a.tokenizer, file)): shutil.copy(os.path.join(a.tokenizer, file), folder)
        run_dapt(a, folder, batch, 1, work)  # fills the cache of tokens
        rounds = []
        for r in range(a.rounds):
            ours, peers = run_dapt(a, folder, batch, steps, work), {}
            for threads in a.peer_threads.split(",") if a.peer else []: peers[threads] = run_peer(a, folder, batch, peer_steps, int(threads))
            rounds.append(dict(dapt=ours, peer=peers))
            if a.beside: rounds[-1]["beside"] = run_dapt(a, folder, batch, steps, work, a.beside)
            line = f"{name} round {r + 1}: dapt {ours['tokens_per_second']:.0f} tokens/s, {ours['peak_rss_mib']:.0f} MiB, first step {ours['seconds_to_first_step']:.2f} s"
            for threads, q in peers.items(): line += f"; peer ({threads} thr.) {q['tokens_per_second']:.0f}, {q['peak_rss_mib']:.0f} MiB, {q['seconds_to_first_step']:.1f} s"
            if a.beside: line += f"; {a.beside} {rounds[-1]['beside']['tokens_per_second']:.0f} tokens/s"
            print(line, flush=True)
        median = lambda key: statistics.median(x["dapt"][key] for x in rounds)
        row = dict(shape=name, batch=batch, sequence=256, dapt={k: round(median(k), 3) for k in rounds[0]["dapt"]}, rounds=rounds)
        if a.beside:
            ratios = [x["dapt"]["tokens_per_second"] / x["beside"]["tokens_per_second"] for x in rounds]
            row["beside_ratio"] = round(statistics.median(ratios), 3)
            print(f"{name}: {row['beside_ratio']:.2f} times the {a.beside} backend")
        if a.peer:
            best = [max(x["peer"].values(), key=lambda q: q["tokens_per_second"]) for x in rounds]
            row["speed_ratio"] = round(statistics.median(x["dapt"]["tokens_per_second"] / q["tokens_per_second"] for x, q in zip(rounds, best)), 3)
            row["memory_ratio"] = round(statistics.median(x["dapt"]["peak_rss_mib"] / q["peak_rss_mib"] for x, q in zip(rounds, best)), 3)
            print(f"{name}: {row['speed_ratio']:.2f} times the peer's best, {100 * row['memory_ratio']:.0f} % of its memory")
        records.append(row)
    if a.record:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
        version = subprocess.run([a.dapt, "--version"], capture_output=True, text=True).stdout.strip()
        with open(a.record, "w") as f:
            json.dump(dict(date=datetime.now(timezone.utc).strftime("%Y-%m-%d"), machine=f"{os.cpu_count()} x {cpu}", system=platform.platform(),
                           dapt=version, backend=a.backend, beside=a.beside, peer=a.peer, driver=os.environ.get("VK_DRIVER_FILES"), shapes=records), f, indent=1)
            f.write("\n")

if __name__ == "__main__": main()
