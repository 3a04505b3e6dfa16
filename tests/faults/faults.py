#!/usr/bin/env python3
"""Faults of the world, met by the command as its users run it.

faults.py DAPT SHIM MODULES [CASE...]    SHIM: the library of shim.c, or - where nothing can be preloaded; MODULES: the folder of
                                         the modules that these tests load; CASE: only these

Each run must end in one line that names the cause, never in a wrong result with exit code 0, and go on to the same bytes.
DAPT_FAULTS=all: every n-th call fails in turn; otherwise a few of each kind do.
"""
import errno
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

dapt, modules = (pathlib.Path(a).resolve() for a in (sys.argv[1], sys.argv[3]))
shim = sys.argv[2] if sys.argv[2] == "-" else str(pathlib.Path(sys.argv[2]).resolve())
wanted = sys.argv[4:]
scratch = pathlib.Path(tempfile.mkdtemp(prefix="dapt-faults-"))
os.environ["XDG_CACHE_HOME"] = str(scratch / "xdg")
if shim == "-":  # built with sanitizers, whose handlers of signals come before ours
    for name in "ASAN_OPTIONS", "UBSAN_OPTIONS":
        os.environ[name] = ":".join([os.environ.get(name, ""), *(f"handle_{s}=0" for s in ("segv", "sigbus", "abort", "sigfpe", "sigill"))])
FILES = ("model.safetensors", "state.safetensors", "run.json", "config.json")
CASES = []


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def case(function):
    CASES.append(function)
    return function


def expect(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


def config(run, **more):
    """A random Llama of two layers over bytes; 12 steps, a checkpoint every 4."""
    made = {
        "model": {"random": {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
                             "num_attention_heads": 2, "vocab_size": 258, "max_position_embeddings": 64,
                             "tie_word_embeddings": True}},
        "tokenizer": {"plugin": "bytes"},
        "data": {"domain": str(scratch / "text"), "eval": {"held": str(scratch / "held.jsonl")}, "sequence": 32,
                 "cache": str(scratch / "cache")},
        "train": {"batch": 4, "steps": 12, "seed": 7, "evaluate_every": 6, "checkpoint_every": 4, "keep": 9,
                  "schedule": {"plugin": "cosine", "peak": 0.01}},
        "backend": {"name": "cpu", "threads": 1},
        "run": str(scratch / run),
    }
    for key, value in more.items():
        made[key] = {**made[key], **value} if isinstance(made.get(key), dict) else value
    path = scratch / f"{run}.json"
    path.write_text(json.dumps(made))
    return path


def run(*words, env=None, shell=None, timeout=60, **options):
    words = ["bash", "-c", shell] if shell else [str(dapt), *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env={**os.environ, "DAPT": str(dapt), **(env or {})}, errors="replace", **options)


def last(done):
    return (done.stderr.strip().splitlines() or [""])[-1]


def checkpoints(run):
    folder = scratch / run / "checkpoints"
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("step-")) if folder.is_dir() else []


def same_end(run, whole=True):
    """The checkpoints are those of the reference, byte for byte. Not `whole`: some on the way may be missing, as a run goes on
    where one cannot be written; records name the one before them, so they may differ then."""
    steps = checkpoints("reference")
    there = steps if whole else [s for s in steps if s in checkpoints(run)]
    expect(there and there[-1] == steps[-1], run, "has no", steps[-1])
    for step in there:
        for name in FILES:
            one, other = (scratch / r / "checkpoints" / step / name for r in (run, "reference"))
            expect(one.is_file(), one, "is missing")
            if name != "run.json" or there == steps:
                expect(one.read_bytes() == other.read_bytes(), one, "differs from", other)


def leftovers(folder):
    return [str(p) for p in folder.rglob("*") if ".tmp-" in p.name or p.name.startswith((".part-", ".gone-"))]


def prepare():
    (scratch / "text").mkdir()
    for i in range(12):
        lines = [json.dumps({"text": f"document {i} {k} " + "the quick brown fox " * (1 + (i * 7 + k) % 5)}) for k in range(10)]
        (scratch / "text" / f"{i:02}.jsonl").write_text("\n".join(lines) + "\n")
    (scratch / "held.jsonl").write_text((scratch / "text" / "00.jsonl").read_text())
    done = run("train", config("reference"))
    expect(done.returncode == 0, done.stderr)


# ------------------------------------------------------------------------------------------------ one call fails

CALLS = {"open": errno.EMFILE, "read": errno.EIO, "readdir": errno.EIO, "write": errno.ENOSPC, "fsync": errno.EIO,
         "rename": errno.EACCES, "mmap": errno.ENOMEM}


def injected(call, number, at, cold):
    name = f"{call}-{at}"
    made = config(name)
    for folder in (scratch / name, *([scratch / "cache"] if cold else [])):
        shutil.rmtree(folder, ignore_errors=True)
    count = scratch / "count"
    count.unlink(missing_ok=True)
    done = run("train", made, env={"LD_PRELOAD": shim, "FAULT_CALL": call, "FAULT_AT": str(at), "FAULT_ERRNO": str(number),
                                   "FAULT_COUNT": str(count)})
    reached = count.is_file() and int(count.read_text()) >= at
    expect(done.returncode in (0, 1, 3), f"{call} {at}: exit code {done.returncode}: {done.stderr}")
    if done.returncode:
        lines = [l for l in done.stderr.splitlines() if l.startswith("dapt: ")]
        expect(len(lines) == 1, f"{call} {at}: not one line: {done.stderr}")
    else:
        same_end(name, whole=False)
    again = run("train", made, "--resume")
    expect(again.returncode == 0, f"{call} {at}: resume: {again.stderr}")
    same_end(name, whole=False)
    left = leftovers(scratch / name)
    expect(not left, f"{call} {at}: left behind: {left}")
    shutil.rmtree(scratch / name)
    return reached, done.returncode


def inject(call):
    if shim == "-":
        raise Skipped("nothing can be preloaded here")
    every, told = os.environ.get("DAPT_FAULTS") == "all", {}
    at, step = 1, 1
    while True:
        reached, code = injected(call, CALLS[call], at, True)
        if not reached:
            break
        told[code] = told.get(code, 0) + 1
        at += step
        if not every:  # closer at the beginning, where most kinds of calls are met first
            step = 1 if at < 4 else max(2, at // 3)
    expect(told, "never called")
    return ", ".join(f"{n} x exit {c}" for c, n in sorted(told.items()))


for call in CALLS:
    CASES.append(type(call, (), {"__call__": lambda self, c=call: inject(c), "__name__": f"injected_{call}"})())


@case
def short_reads_and_writes():
    if shim == "-":
        raise Skipped("nothing can be preloaded here")
    shutil.rmtree(scratch / "cache")
    done = run("train", config("short"), env={"LD_PRELOAD": shim, "FAULT_SHORT": "1"}, timeout=200)
    expect(done.returncode == 0, done.stderr)
    same_end("short")
    lines = [json.loads(l)["event"] for l in (scratch / "short/metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(l)["event"] for l in (scratch / "reference/metrics.jsonl").read_text().splitlines()]
    expect(lines == expected, "metrics:", lines)


# ---------------------------------------------------------------------------------------------------- descriptors


@case
def closed_descriptors():
    for number, closed in enumerate((">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-")):
        for cold in (True, False):
            name = f"closed-{number}-{int(cold)}"
            made = config(name)
            if cold:
                shutil.rmtree(scratch / "cache", ignore_errors=True)
            done = run(shell=f'exec "$DAPT" train {made} {closed}')
            expect(done.returncode == 0, closed, "exit code", done.returncode, done.stderr)
            same_end(name)
            expect((scratch / name / ".lock").stat().st_size == 0, closed, ".lock holds text")
            for line in (scratch / name / "metrics.jsonl").read_text().splitlines():
                json.loads(line)


@case
def output_nobody_reads():
    made = config("pipe", train={"steps": 4000, "batch": 4, "seed": 7, "evaluate_every": 0, "checkpoint_every": 0,
                                 "schedule": {"plugin": "constant", "peak": 0.001}})
    done = run(shell=f'set -o pipefail; "$DAPT" train {made} | head -n 14')
    expect(done.returncode == 1, "exit code", done.returncode, done.stderr)
    expect("standard output cannot be written" in done.stderr and "Broken pipe" in done.stderr, done.stderr)
    expect(len(checkpoints("pipe")) == 1, checkpoints("pipe"))
    # Less than a buffer holds, and more.
    for command in ("devices", "plugins", "train --help-config"):
        full = run(shell=f'exec "$DAPT" {command} > /dev/full')
        expect(full.returncode == 1 and "No space left on device" in last(full), command, full.returncode, full.stderr)


@case
def a_limit_of_file_sizes():
    done = run(shell=f'ulimit -f 1; exec "$DAPT" train {config("limit")}')
    expect(done.returncode == 1 and "File too large" in last(done), done.returncode, last(done))
    again = run("train", scratch / "limit.json", "--resume")
    expect(again.returncode == 0, again.stderr)
    same_end("limit")


@case
def few_descriptors():
    done = run(shell=f'ulimit -n 5; exec "$DAPT" train {config("few")}')
    expect(done.returncode == 1 and "Too many open files" in done.stderr, done.returncode, done.stderr)


@case
def little_memory():
    if shim == "-":
        raise Skipped("sanitizers take more addresses than that")
    for limit in (60000, 80000, 100000, 140000):
        done = run(shell=f'ulimit -v {limit}; exec "$DAPT" plugins', timeout=30)
        expect(done.returncode in (0, 1, 3), limit, "exit code", done.returncode)
        done = run(shell=f'ulimit -v {limit}; exec "$DAPT" train {config("memory")}', timeout=30)
        expect(done.returncode in (0, 1, 3), limit, "exit code", done.returncode, done.stderr)
        expect(done.returncode == 0 or last(done).startswith("dapt: "), limit, done.stderr)
        shutil.rmtree(scratch / "memory", ignore_errors=True)
    # Libraries of modules that do not fit: too little memory, not a module to leave out.
    for limit in range(20000, 60000, 5000):
        done = run(shell=f'ulimit -v {limit}; exec "$DAPT" plugins', timeout=30)
        expect("left out" not in done.stderr, limit, done.stderr)
        expect(done.returncode in (0, 3) or "error while loading shared libraries" in done.stderr, limit, done.stderr)


# ---------------------------------------------------------------------------------------------------------- files


def start(made, *words):
    return subprocess.Popen([str(dapt), "train", str(made), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, "waited in vain for", what)
        time.sleep(0.01)


LONG = {"steps": 1000000, "batch": 4, "seed": 7, "evaluate_every": 0, "checkpoint_every": 50, "keep": 2,
        "schedule": {"plugin": "constant", "peak": 0.0001}}


@case
def a_shard_cut_short():
    cache = scratch / "cut-cache"
    made = config("cut", train=LONG, data={"cache": str(cache)})
    child = start(made)
    until(lambda: checkpoints("cut"), "a checkpoint")
    for shard in cache.glob("*.tokens"):
        os.truncate(shard, 0)
    out, err = child.communicate(timeout=60)
    expect(child.returncode == 1, "exit code", child.returncode, err)
    expect(".tokens: cannot be read any more" in err.splitlines()[-1], err)
    again = run("train", made, "--resume", "--set", f"train.steps={int(checkpoints('cut')[-1][5:]) + 1}")
    expect(again.returncode == 0, again.stderr)


@case
def a_run_folder_replaced():
    made = config("replaced", train=LONG)
    child = start(made)
    until(lambda: checkpoints("replaced"), "a checkpoint")
    shutil.rmtree(scratch / "replaced", ignore_errors=True)
    shutil.rmtree(scratch / "replaced", ignore_errors=True)
    other = run("train", made, "--set", "train.steps=2")
    out, err = child.communicate(timeout=60)
    expect(child.returncode == 1 and "was removed or replaced" in err.splitlines()[-1], child.returncode, err)
    expect("--resume" not in err, "advice that would go on in the other run's folder:", err)
    expect(other.returncode == 0 and checkpoints("replaced") == ["step-000002"], other.stderr, checkpoints("replaced"))


@case
def pipes_for_files():
    for name, place in (("config", "fifo.json"), ("text", "fifo.jsonl")):
        os.mkfifo(scratch / place)
        made = scratch / place if name == "config" else config("pipes", data={"domain": str(scratch / place)})
        done = run("plan", made, timeout=10)
        expect(done.returncode == 1 and last(done).startswith("dapt: ") and place in last(done), name, done.stderr)
    plug = socket.socket(socket.AF_UNIX)
    plug.bind(str(scratch / "socket.json"))
    for made, kind in ((scratch / "socket.json", "a socket"), ("/dev/zero", "a device"), (scratch, "a folder"),
                       (scratch / "fifo.json", "a FIFO")):
        tokenizer = config("kinds", tokenizer={"plugin": "hf", "path": str(made)})
        for words in (("plan", made), ("plan", tokenizer))[:1 if kind == "a folder" else 2]:
            done = run(*words, timeout=10)
            expect(done.returncode == 1 and f"{made}: is {kind}" in last(done), kind, done.stderr)
    folder = scratch / "fifo-model"
    folder.mkdir()
    os.mkfifo(folder / "config.json")
    done = run("eval", folder, "--data", f"x={scratch / 'held.jsonl'}", timeout=10)
    expect(done.returncode == 1 and "config.json" in last(done), done.stderr)


@case
def links_in_the_run_folder():
    made = config("link")
    target = scratch / "target"
    for name in ("metrics.jsonl", ".lock"):
        target.write_text("mine\n")
        for there in (True, False):
            if not there:
                target.unlink()
            (scratch / "link").mkdir()
            (scratch / "link" / name).symlink_to(target)
            done = run("train", made)
            expect(done.returncode == 1 and f"{name}: is a symbolic link" in last(done), done.stderr)
            expect(target.read_text() == "mine\n" if there else not target.exists(), name, "led to a write elsewhere")
            shutil.rmtree(scratch / "link")


@case
def weights_that_are_no_numbers():
    hot = {"steps": 40, "batch": 4, "seed": 7, "evaluate_every": 0, "checkpoint_every": 2, "keep": 2,
           "schedule": {"plugin": "constant", "peak": 1, "warmup": 0}, "optimizer": {"weight_decay": 1000}}
    made = config("ruined", train={**hot, "max_bad_steps": 1000})
    done = run("train", made)
    expect(done.returncode == 1, "exit code", done.returncode, done.stderr)
    for step in checkpoints("ruined"):
        checked = run("eval", scratch / "ruined/checkpoints" / step, "--data", f"x={scratch / 'held.jsonl'}")
        expect(checked.returncode == 0, step, checked.stderr)
    # Of an older version there may be one: a resume falls back over it.
    run("train", config("older"))
    file = scratch / "older/checkpoints/step-000012/state.safetensors"
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    data[8 + size + 400:8 + size + 404] = b"\x00\x00\xc0\x7f"
    file.write_bytes(data)
    again = run("train", scratch / "older.json", "--resume")
    expect(again.returncode == 0 and "falling back" in again.stderr, again.stderr)
    same_end("older")


# -------------------------------------------------------------------------------------------------------- plugins


@case
def plugins_that_crash():
    text = scratch / "crash.txt"
    text.write_text("one\ntwo\nthree\n")
    cases = {"stack": (-signal.SIGSEGV, "crashed (SIGSEGV)"), "segv": (-signal.SIGSEGV, "crashed (SIGSEGV)"), "abort": (-signal.SIGABRT, "crashed (SIGABRT)"),
             "fpe": (-signal.SIGFPE, "crashed (SIGFPE)"), "status": (1, "next returned 77, which is no status"),
             "null": (1, "gave a document of 5 bytes without its text")}
    for how, (code, line) in cases.items():
        made = config("crash", backend={"threads": 4}, data={"domain": {"path": str(text), "source": "crash", "how": how}, "eval": None},
                      plugins=[str(modules)])
        raw = json.loads(made.read_text())
        raw["data"].pop("eval")
        made.write_text(json.dumps(raw))
        for _ in range(4 if how == "stack" else 1):  # on whichever thread reads the file
            done = run("plan", made)
            expect(done.returncode == code and line in last(done), how, done.returncode, done.stderr)
        expect("crash.so" in last(done), last(done))
        if code < 0:
            expect('source "crash", next, file ' + str(text) + ", after record 1" in last(done), last(done))


@case
def modules_that_cannot_be_read():
    """What a module would read must not be left out because the system failed for a moment."""
    if shim == "-":
        raise Skipped("nothing can be preloaded here")
    whole = run("plugins")
    for call in ("open", "read", "readdir", "mmap"):
        for at in range(1, 1000):
            count = scratch / "count"
            count.unlink(missing_ok=True)
            done = run("plugins", env={"LD_PRELOAD": shim, "FAULT_CALL": call, "FAULT_AT": str(at),
                                       "FAULT_ERRNO": str(CALLS[call]), "FAULT_COUNT": str(count)})
            if int(count.read_text()) < at:
                break
            same = done.stdout == whole.stdout and not done.stderr
            expect(same if done.returncode == 0 else last(done).startswith("dapt: "), call, at, done.stderr)
        expect(at > 1, call, "never called")


@case
def a_module_cut_short():
    folder = scratch / "broken"
    folder.mkdir()
    whole = (modules / "crash.so").read_bytes()
    # The section table at the end is kept, so that all that is looked at first is there.
    at = int.from_bytes(whole[32:40], "little")  # e_phoff
    count = int.from_bytes(whole[56:58], "little")
    data = bytearray(whole)
    for i in range(count):
        header = at + 56 * i
        if int.from_bytes(data[header:header + 4], "little") == 1:  # PT_LOAD: more in the file than there is
            data[header + 32:header + 40] = (len(data) * 4).to_bytes(8, "little")
            data[header + 40:header + 48] = (len(data) * 4).to_bytes(8, "little")
    (folder / "cut.so").write_bytes(data)
    done = run("plugins", env={"DAPT_PLUGIN_PATH": str(folder)})
    expect(done.returncode == 0 and "cut.so: is truncated" in done.stderr, done.returncode, done.stderr)


# ----------------------------------------------------------------------------------------------------------- main

failed = 0
try:
    prepare()
    for function in CASES:
        name = function.__name__
        if wanted and name not in wanted:
            continue
        print(f"[ RUN      ] {name}", flush=True)
        try:
            told = function()
            if told:
                print(f"   {told}")
            print(f"[       OK ] {name}", flush=True)
        except Skipped as reason:
            print(f"skipped: {reason}\n[  SKIPPED ] 1 test(s): {name}", flush=True)
        except (Failed, subprocess.TimeoutExpired, json.JSONDecodeError) as reason:
            failed += 1
            print(f"{reason}\n[  FAILED  ] {name}", flush=True)
finally:
    shutil.rmtree(scratch, ignore_errors=True)
sys.exit(failed > 0)
