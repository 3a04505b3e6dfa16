#!/usr/bin/env python3
"""tools/bench/gpu at tiny sizes: its record has every field, and what is missing, fails, hangs or is interrupted is told there
while the rest goes on.

gpu_record.py SOURCE BUILD
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

source, build = (pathlib.Path(word).resolve() for word in sys.argv[1:])
dapt = build / "tools/dapt/dapt"
environment = {key: value for key, value in os.environ.items() if not key.startswith(("DAPT_", "PYTHON"))}
# Drivers leave memory behind, which is none of this test's business.
environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
# In place of PyTorch, whether or not this Python has it.
NO_TORCH = "raise ImportError(\"No module named 'torch'\")\n"
# dapt that fails at the peaks, hangs at gradients alone, and finds one model too large.
FAULTY = """#!/bin/sh
case "$*" in
*--peaks*) echo "dapt: device lost" >&2; exit 3 ;;
*--estimate*tiny-gpt2*|*tiny-gpt2*--estimate*) echo '{"memory": 21474836480, "available": 8589934592}'; exit 0 ;;
*--estimate*) ;;
*--gradients*) exec sleep 60 ;;
esac
exec "%s" "$@"
"""


def check(holds, what, *more):
    if not holds:
        sys.exit(f"{what}: " + " ".join(str(item) for item in more))


def command(work, *words):
    return [sys.executable, source / "tools/bench/gpu", "--small", "--dapt", dapt, "--output", work / "record.json", *words]


def run(work, *words, code=0, **more):
    (work / "record.json").unlink(missing_ok=True)
    done = subprocess.run(command(work, *words), cwd=work, env=dict(environment, **more), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=240)
    check(done.returncode == code, f"gpu {words}: exit {done.returncode}, expected {code}", done.stdout, done.stderr)
    check("Traceback" not in done.stderr, f"gpu {words}", done.stderr)
    path = work / "record.json"
    record = json.loads(path.read_text()) if path.exists() else None
    return record, {step["name"]: step for step in record["steps"]} if record else {}, done


def check_whole(record, steps, table):
    for key in ("format", "date", "command", "dapt", "system", "devices", "device", "torch", "peaks", "seconds"):
        check(record.get(key), f"the record has no {key}", record)
    check(record["complete"] and record["small"], "the record is not complete", record)
    for key in ("name", "driver", "backend", "memory"):
        check(record["device"].get(key), f"the device has no {key}", record["device"])
    for step in record["steps"]:
        check(step["status"] in ("ok", "skipped"), "a step failed", step)
        check(step["command"] or step["reason"], "neither command nor reason", step)
    for name in ("tiny-gpt2", "tiny-llama-short", "tiny-llama"):
        step = steps[name + "/dapt-float32"]
        check(step["median_of"] == 10, "median of how many", step)
        for key in ("seconds", "tokens_per_second", "memory", "flops", "bytes", "share_of_product", "share_of_copy"):
            check(step["result"].get(key, 0) > 0, f"{name} has no {key}", step)
        check(step["result"]["kinds"]["attention"]["flops_per_second"] > 0, "no rate of attention", step)
    check(steps["tiny-llama-short/dapt-float32"]["result"]["update"] is False, "the short one is forward and backward alone", steps)
    for key in ("product_flops_per_second", "copy_bytes_per_second"):
        check(record["peaks"].get(key, 0) > 0, f"the peaks have no {key}", record["peaks"])
    check(table.count("| dapt float32 |") == 4 and table.count("| dapt bfloat16 |") == 3 and "| product, 128 cubed |" in table, "the table", table)


with tempfile.TemporaryDirectory(prefix="dapt-test-gpu-") as folder:
    work = pathlib.Path(folder)
    (work / "no/torch").mkdir(parents=True)
    (work / "no/torch/__init__.py").write_text(NO_TORCH)
    faulty = work / "faulty"
    faulty.write_text(FAULTY % dapt)
    faulty.chmod(0o755)

    record, steps, done = run(work, "--backend", "cpu", PYTHONPATH=str(work / "no"))
    check_whole(record, steps, done.stdout)
    check("PyTorch is not installed" in record["torch"]["skipped"] and "PyTorch is not installed" in done.stdout, "a missing torch", record["torch"])
    print("ok: the cpu, without PyTorch")

    devices = json.loads(subprocess.run([dapt, "devices", "--json"], env=environment, capture_output=True, text=True, check=True).stdout)
    if any(device.get("backend") == "vulkan" and device.get("kind") == "software" for device in devices):
        record, steps, done = run(work, "--backend", "vulkan", "--torch", "none")
        check_whole(record, steps, done.stdout)
        check(steps["certificate"]["result"]["ok"] and steps["certificate"]["result"]["rows"] > 20, "the certificate", steps["certificate"])
        print("ok: a software device")

    record, steps, done = run(work, "--device", "no such device", "--torch", "none", code=1)
    check("no such device" in steps["device"]["reason"] and "no such device" in done.stdout, "a missing device", record)
    print("ok: a missing device")

    only = ("--dapt", faulty, "--backend", "cpu", "--torch", "none", "--only", "peaks", "--only", "tiny")
    record, steps, done = run(work, *only, "--limit", "15", code=1)
    check(steps["peaks/dapt"]["status"] == "failed" and "device lost" in steps["peaks/dapt"]["reason"], "a failure", steps["peaks/dapt"])
    check(steps["tiny-llama-short/dapt-float32"]["status"] == "time limit", "a step that hangs", steps["tiny-llama-short/dapt-float32"])
    check("20.0 GiB" in steps["tiny-gpt2/dapt-float32"]["reason"] and steps["tiny-gpt2/dapt-float32"]["status"] == "skipped", "too large", steps["tiny-gpt2/dapt-float32"])
    check(steps["tiny-llama/dapt-float32"]["status"] == "ok" and record["complete"], "the rest does not go on", steps["tiny-llama/dapt-float32"])
    check(all(name in done.stdout for name in ("device lost", "20.0 GiB", "not done after")), "the table tells them", done.stdout)
    print("ok: steps that fail, hang or do not fit")

    child = subprocess.Popen(command(work, *only), cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("tiny-llama-short/dapt-float32") and "..." in line:
            child.send_signal(signal.SIGINT)
            break
    out = child.communicate(timeout=60)[0]
    record = json.loads((work / "record.json").read_text())
    check(child.returncode == 130 and not record["complete"], "Ctrl-C", child.returncode, record)
    check(record["steps"][-1]["status"] == "interrupted" and "interrupted" in out, "the step that Ctrl-C met", record["steps"][-1])
    print("ok: Ctrl-C")

    check("no step's name contains gpt3" in run(work, "--only", "gpt3", code=2)[2].stderr, "an unknown step")
    check("no such program" in run(work, "--dapt", work / "gone", code=1)[2].stderr, "a missing build")
    print("ok: wrong command lines")
