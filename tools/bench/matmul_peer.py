#!/usr/bin/env python3
"""Matrix products of dapt's Vulkan backend and of ggml's, on one driver, in turn.

usage: matmul_peer.py --bench-ops PATH --peer PATH-OF-test-backend-ops [--shapes MxNxK,...] [--rounds 2] [--record FILE.json]

[m,k] by [n,k] transposed, all float32. VK_DRIVER_FILES names the driver; ggml is made to accept a software device. Machines are
noisy: the two take turns, and the best of each counts. Python's standard library only.
"""
import argparse, json, os, platform, re, subprocess, sys, tempfile
from datetime import datetime, timezone

# Forward products of GPT-2 124M and of a Llama with 288 channels, at 1024 and 2048 tokens.
SHAPES = "1024x2304x768,1024x768x3072,2048x768x288"
MUL_MAT = 29  # enum ggml_op; looked at in what the peer prints

def output(command, **more):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **more))
    if p.returncode: sys.exit(f"{' '.join(command)}: failed\n{p.stdout[-2000:]}")
    return p.stdout

def ours(a, shape):
    text = output([a.bench_ops, "vulkan", "0", "products", shape])
    return float(re.search(r"product .*?([\d.]+) GFLOP/s", text).group(1)), text.splitlines()[0]

# A line of its test file: op, type, shape, parameters, and type, shape and strides in bytes of each operand.
def theirs(a, shape):
    n, m, k = map(int, shape.split("x"))  # its result is m columns wide
    operand = lambda rows: f"0 {k} {rows} 1 1 4 {4 * k} {4 * k * rows} {4 * k * rows} "
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write(f"{MUL_MAT} 0 {m} {n} 1 1 16 " + "0 " * 16 + "2 " + operand(m) + operand(n) + "product\n")
        f.flush()
        text = output([a.peer, "perf", "-b", "Vulkan0", "--test-file", f.name], GGML_VK_VISIBLE_DEVICES="0")
    speed = re.search(r"MUL_MAT.*?([\d.]+) ([GT])FLOPS", text)
    if not speed: sys.exit(f"no speed of MUL_MAT in\n{text[-2000:]}")
    return float(speed.group(1)) * (1000 if speed.group(2) == "T" else 1)

def main():
    p = argparse.ArgumentParser(usage=__doc__); add = p.add_argument
    add("--bench-ops", required=True); add("--peer", required=True); add("--shapes", default=SHAPES)
    add("--rounds", type=int, default=2); add("--peer-version", default=""); add("--record")
    a = p.parse_args()
    rows, device = [], ""
    for shape in a.shapes.split(","):
        dapt, ggml = [], []
        for _ in range(a.rounds):
            speed, device = ours(a, shape)
            dapt.append(speed)
            ggml.append(theirs(a, shape))
        rows.append(dict(shape=shape, dapt_gflops=dapt, ggml_gflops=ggml, ratio=round(max(dapt) / max(ggml), 2)))
        print(f"{shape}: dapt {max(dapt):.1f} GFLOP/s, ggml {max(ggml):.1f} GFLOP/s, {max(dapt) / max(ggml):.1f} times", flush=True)
    if a.record:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
        with open(a.record, "w") as f:
            json.dump(dict(date=datetime.now(timezone.utc).strftime("%Y-%m-%d"), machine=f"{os.cpu_count()} x {cpu}", system=platform.platform(),
                           device=device, peer=a.peer_version, command=" ".join(sys.argv), products=rows), f, indent=1)
            f.write("\n")

if __name__ == "__main__": main()
