#!/usr/bin/env python3
"""A matrix product of dapt's Vulkan backend and of ggml's, on one driver, in turn.

usage: matmul_peer.py --bench-ops PATH --peer PATH-OF-test-backend-ops [--rounds 2] [--peer-version TEXT] [--record FILE.json]

[512,14336] by [4096,14336] transposed: the one product for many tokens that the peer's own speed test has. It multiplies float16 by
float32 there (float32 by float32 needs a larger buffer than software devices give it); dapt multiplies float32 by float32.
VK_DRIVER_FILES names the driver; ggml is made to accept a software device. Machines are noisy: the two take turns, and the best of
each counts. Python's standard library only.
"""
import argparse, json, os, platform, re, subprocess, sys
from datetime import datetime, timezone

M, N, K = 512, 4096, 14336

def output(command, **more):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **more))
    if p.returncode: sys.exit(f"{' '.join(command)}: failed\n{p.stdout[-2000:]}")
    return p.stdout

def ours(a):
    text = output([a.bench_ops, "vulkan", "0", "products", f"{M}x{N}x{K}"])
    return float(re.search(r"product .*?([\d.]+) GFLOP/s", text).group(1)), text.splitlines()[0]

def theirs(a):
    text = output([a.peer, "perf", "-o", "MUL_MAT", "-b", "Vulkan0", "-p", f"type_a=f16,type_b=f32,m={N},n={M},k={K},"], GGML_VK_VISIBLE_DEVICES="0")
    speed = re.search(r"MUL_MAT.*?([\d.]+) ([GT])FLOPS", text)
    if not speed: sys.exit(f"no speed of MUL_MAT in\n{text[-2000:]}")
    return float(speed.group(1)) * (1000 if speed.group(2) == "T" else 1)

def main():
    p = argparse.ArgumentParser(usage=__doc__); add = p.add_argument
    add("--bench-ops", required=True); add("--peer", required=True)
    add("--rounds", type=int, default=2); add("--peer-version", default=""); add("--record")
    a = p.parse_args()
    dapt, ggml = [], []
    for _ in range(a.rounds):
        speed, device = ours(a)
        dapt.append(speed)
        ggml.append(theirs(a))
        print(f"dapt {speed:.1f} GFLOP/s, ggml {ggml[-1]:.1f} GFLOP/s", flush=True)
    ratio = round(max(dapt) / max(ggml), 2)
    print(f"{M} x {N} x {K}: {ratio} times")
    if a.record:
        cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
        with open(a.record, "w") as f:
            json.dump(dict(date=datetime.now(timezone.utc).strftime("%Y-%m-%d"), machine=f"{os.cpu_count()} x {cpu}", system=platform.platform(),
                           device=device, peer=a.peer_version, command=" ".join(sys.argv),
                           product=[M, N, K], dapt_gflops=dapt, ggml_gflops=ggml, ratio=ratio), f, indent=1)
            f.write("\n")

if __name__ == "__main__": main()
