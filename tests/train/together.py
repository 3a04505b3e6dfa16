#!/usr/bin/env python3
"""Whole runs of several ranks under mpirun: they end as a run of one process does, resume on any number of
ranks, stop together, and tell in one line what keeps them from it.

together.py MPIRUN DAPT FAKE     FAKE: the module of fake_backend.c
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MPIRUN, DAPT, FAKE = (os.path.abspath(word) for word in sys.argv[1:])
LIMIT = 60  # seconds that a run may take
# As root, and more ranks than processors, which Open MPI wants to be asked for; leaks of MPI's own are not ours.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI_", "PMI", "SLURM_", "PRTE_"))} | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
CONFIG = {
    "model": {"random": {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 258, "max_position_embeddings": 64}},
    "tokenizer": {"plugin": "bytes"},
    "data": {"domain": "train.jsonl", "eval": {"held": "held.jsonl"}, "sequence": 32, "cache": "cache"},
    "train": {"batch": 4, "micro_batch": 1, "steps": 12, "seed": 7, "evaluate_every": 6, "checkpoint_every": 3, "keep": 9,
              "schedule": {"plugin": "cosine", "peak": 0.003, "warmup": 0.2}},
    "backend": {"name": "cpu", "threads": 1},
}
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}")


def corpus(path, seed, lines):
    words = "the bone of a hand joins two nerves and muscle under skin blood flows to each cell".split()
    draw = random.Random(seed)
    with open(path, "w") as file:
        for _ in range(lines):
            at = draw.randrange(len(words))
            text = []
            for _ in range(12):
                text.append(words[at])
                at = (at * 5 + 7 + draw.randrange(3)) % len(words)
            file.write(json.dumps({"text": " ".join(text)}) + "\n")


def words(ranks, run, *more):
    command = [DAPT, "train", "config.json", "--set", f"run={run}", *more]
    return command if ranks == 1 else [MPIRUN, "-n", str(ranks)] + command


def train(ranks, run, *more):
    return subprocess.run(words(ranks, run, *more), capture_output=True, text=True, timeout=LIMIT, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL)


def events(run, kind):
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    return [line for line in lines if line["event"] == kind]


def losses(run):
    """By step, of the last time that it was made."""
    return {line["step"]: line["loss"] for line in events(run, "step")}


def end(run):
    folder = pathlib.Path(run, "checkpoints", pathlib.Path(run, "latest").read_text().strip())
    return folder.name, {f: (folder / f).read_bytes() for f in ("model.safetensors", "state.safetensors")}


def same_course(run, like, what):
    a, b = losses(run), losses(like)
    check(a.keys() == b.keys(), f"{what}: steps {sorted(a)} as {sorted(b)}")
    worst = max((abs(a[s] - b[s]) for s in a if s in b), default=9)
    check(worst <= 1e-4, f"{what}: losses are off by {worst}")
    bits = [[e["bits_per_byte"] for e in events(r, "evaluation")][-1] for r in (run, like)]
    check(abs(bits[0] / bits[1] - 1) <= 1e-3, f"{what}: {bits[0]} bits/byte, alone {bits[1]}")


def any_number_of_ranks():
    one = train(1, "one")
    check(one.returncode == 0, f"alone: {one.returncode} {one.stderr}")
    for ranks in (2, 4):
        run = train(ranks, f"r{ranks}")
        check(run.returncode == 0, f"{ranks} ranks: {run.returncode} {run.stderr}")
        same_course(f"r{ranks}", "one", f"{ranks} ranks")
        # The base model was scored by all, and added in the same order: to the last bit as alone.
        first = [events(name, "evaluation")[0]["nats_per_token"] for name in (f"r{ranks}", "one")]
        check(first[0] == first[1], f"{ranks} ranks: at step 0 {first}")
        start, step = events(f"r{ranks}", "start")[0], events(f"r{ranks}", "step")[-1]
        check(start["ranks"] == ranks and len(step["waits"]) == ranks, f"{ranks} ranks: {start}, {step}")
        check(run.stdout.count("step 12/12") == 1, f"{ranks} ranks tell the last step: {run.stdout}")
    check("ranks" not in events("one", "start")[0] and "waits" not in events("one", "step")[0], "alone there are no ranks")
    train(2, "again")
    check(end("again") == end("r2"), "two runs of two ranks end in the same bytes")


def resumes():
    """One rank, then two, four, and one again, each stopped after a checkpoint of its own."""
    for steps, ranks in ((3, 1), (6, 2), (9, 4), (12, 1)):
        flags = ["--resume"] if steps > 3 else []
        if steps == 12:
            run = train(ranks, "resumed", *flags)
            check(run.returncode == 0, f"resume on {ranks} ranks: {run.returncode} {run.stderr}")
        else:
            cut_at("resumed", ranks, steps, flags)
    same_course("resumed", "one", "resumed on 2, 4 and 1 ranks")


def cut_at(run, ranks, steps, flags):
    """As if the run had been killed after a checkpoint: what is later is taken away."""
    result = train(ranks, run, *flags)
    check(result.returncode == 0, f"{ranks} ranks, {flags}: {result.returncode} {result.stderr}")
    for folder in pathlib.Path(run, "checkpoints").iterdir():
        if int(folder.name[5:]) > steps:
            shutil.rmtree(folder)
    pathlib.Path(run, "latest").write_text(f"step-{steps:06}\n")
    pathlib.Path(run, "best").unlink(missing_ok=True)
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    with open(f"{run}/metrics.jsonl", "w") as file:
        for line in lines:
            if line["step"] <= steps:
                file.write(json.dumps(line) + "\n")


def start(ranks, run, *more):
    return subprocess.Popen(words(ranks, run, "--set", "train.steps=100000", "--set", "train.evaluate_every=0", *more),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL)


def wait_for(path):
    until = time.monotonic() + LIMIT
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.02)


def stops():
    child = start(2, "stopped")
    wait_for("stopped/latest")
    child.send_signal(signal.SIGUSR1)
    out, err = child.communicate(timeout=LIMIT)
    name = end("stopped")[0]
    check(child.returncode == 130, f"stopped: {child.returncode} {err}")
    check(f"stopped at step {int(name[5:])} of" in out, f"stopped: {out[-300:]}, the checkpoint is {name}")
    check("error" not in err, f"stopped: {err}")


def children(parent):
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit():
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rsplit(")", 1)
                if int(fields[1].split()[1]) == parent:
                    found.append(int(entry))
        except OSError:
            pass
    return found


def ranks_of(parent):
    """The processes of the run below the launcher."""
    found = []
    for child in children(parent):
        with open(f"/proc/{child}/cmdline", "rb") as file:
            name = file.read().split(b"\0")[0].decode()
        found += [child] if os.path.basename(name) == "dapt" else ranks_of(child)
    return sorted(found)


def is_killed():
    child = start(2, "killed")
    wait_for("killed/latest")
    victims = ranks_of(child.pid)
    check(len(victims) == 2, f"ranks under the launcher: {victims}")
    begin = time.monotonic()
    os.kill(victims[-1], signal.SIGKILL)
    out, err = child.communicate(timeout=LIMIT)
    check(child.returncode != 0 and time.monotonic() - begin < 30, f"killed: {child.returncode}")
    # The newest that is whole may not be marked yet.
    step = max(int(name[5:]) for name in os.listdir("killed/checkpoints") if name.startswith("step-") and name[5:].isdigit())
    goes_on = train(1, "killed", "--resume", "--set", f"train.steps={step + 2}", "--set", "train.evaluate_every=0")
    check(goes_on.returncode == 0, f"after a kill: {goes_on.stderr}")


def lines_of(result):
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def refusals():
    few = train(4, "few", "--set", "train.batch=2", "--set", "train.micro_batch=0")
    check(few.returncode != 0 and len(lines_of(few)) == 1 and "train.batch of 2 in micro-batches of 1 is 2 for 4 ranks" in few.stderr, f"few: {few.stderr}")
    check(not os.path.exists("few"), "a run that did not begin leaves no folder")
    other = subprocess.run(words(2, "other")[:-2] + ["--set", "run=other", ":", "-n", "1", DAPT, "train", "config.json", "--set", "run=other",
                            "--set", "train.seed=8"], capture_output=True, text=True, timeout=LIMIT, env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    check(other.returncode != 0 and len(lines_of(other)) == 1, f"another seed: {other.returncode} {other.stderr}")
    check("rank 2 (on " in other.stderr and 'another configuration in "train" and "checkpoint"' in other.stderr, f"another seed: {other.stderr}")
    missing = train(2, "one")
    check(missing.returncode != 0 and len(lines_of(missing)) == 1 and "holds a run already" in missing.stderr, f"a run that is there: {missing.stderr}")


def of_devices(devices, *programs):
    """Ranks on devices of the fake backend, each program a list of further words and environment."""
    command = []
    for more, settings in programs:
        command += ([":"] if command else []) + ["-n", "1", "env", *settings, DAPT, "train", "config.json", "--set", "train.steps=3",
                                                 "--set", "train.evaluate_every=0", *more]
    return subprocess.run([MPIRUN, *command], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL,
                          env=ENVIRONMENT | {"DAPT_PLUGIN_PATH": FAKE, "DAPT_FAKE_DEVICES": devices, "XDG_CACHE_HOME": os.getcwd(),
                                             "VK_DRIVER_FILES": "/nowhere.json", "VK_ICD_FILENAMES": "/nowhere.json"})


def devices():
    three = "integrated:Chip;discrete:Card A;discrete:Card B"
    words = ["--set", "run=cards", "--backend", "auto"]
    run = of_devices(three, (words, []), (words, []))
    check(run.returncode == 0, f"two cards: {run.returncode} {run.stderr}")
    flat = " ".join(run.stdout.split())
    check("0 on " in flat and ": fake: Card A" in flat and "1 on " in flat and ": fake: Card B" in flat, f"two cards: {run.stdout}")
    words = ["--set", "run=mixed", "--backend", "auto", "--set", 'backend.device=["cpu", "fake 0"]']
    run = of_devices(three, (words, []), (words, []))
    flat = " ".join(run.stdout.split())
    check(run.returncode == 0 and ": cpu: " in flat and ": fake: Chip" in flat, f"a cpu and a chip: {run.returncode} {run.stdout} {run.stderr}")
    words = ["--set", "run=lost", "--backend", "auto"]
    run = of_devices(three, (words, []), (words, ["DAPT_FAKE_FAIL=20"]))
    check(run.returncode == 3 and len(lines_of(run)) == 1 and "rank 1 (on " in run.stderr, f"a lost device: {run.returncode} {run.stderr}")


def main():
    with tempfile.TemporaryDirectory(prefix="dapt-together-") as folder:
        os.chdir(folder)
        corpus("train.jsonl", 1, 200)
        corpus("held.jsonl", 2, 20)
        with open("config.json", "w") as file:
            json.dump(CONFIG, file)
        for part in (any_number_of_ranks, resumes, stops, is_killed, refusals, devices):
            begin = time.monotonic()
            part()
            print(f"{part.__name__}: {time.monotonic() - begin:.1f} s")
        os.chdir("/")
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


main()
