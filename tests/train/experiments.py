#!/usr/bin/env python3
"""The experiments whose figures README.md quotes, at tiny sizes: tools/smollm2 --adapt and tools/bench/forgetting.py run, keep what
they made, and refuse what they can't do.

experiments.py SOURCE BUILD
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

source, build = (pathlib.Path(word).resolve() for word in sys.argv[1:])


def run(*command, code=0):
    environment = dict(os.environ, DAPT_BUILD=str(build), XDG_CACHE_HOME=str(scratch / "cache"))
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def corpus(name, sentence, documents):
    folder = scratch / "data/corpora" / name
    folder.mkdir(parents=True)
    for part, count in ("train", documents), ("heldout", 5):
        with open(folder / (part + ".jsonl"), "w", encoding="utf-8") as file:
            for i in range(count):
                text = "\u250c\u2500\u2500\u2510\n" + f"{sentence} {i} and {i * 7 % 40}. " * 20
                file.write(json.dumps({"text": text}) + "\n")
    return folder


def check_smollm2(domain):
    command = [source / "tools/smollm2", "--from", scratch / "data/models/base", "--adapt", domain, "--steps", 2]
    control = ["--control", domain / "heldout.jsonl"]
    first = run(*command, *control, "--lora", "--work", scratch / "lora")
    for part in "adapters 56", "\ncontrol ", "-- after", "dapt merge":
        assert part in first, f"no {part!r} in\n{first}"
    assert (scratch / "lora/report.html").stat().st_size > 5000
    assert "the run is complete: 2 steps" in run(*command, *control, "--lora", "--work", scratch / "lora")
    whole = run(*command, "--work", scratch / "whole")
    assert "all trained" in whole and "\ncontrol " not in whole, whole
    assert "holds no train.jsonl" in run(*command[:4], scratch, code=1)
    assert "--lora, --control and --work need --adapt" in run(*command[:3], "--lora", code=1)


def check_forgetting():
    command = [sys.executable, source / "tools/bench/forgetting.py", scratch / "work", "--data", scratch / "data", "--models", "base",
               "--domains", "cats", "--small", "--record", scratch / "record.json"]
    first = run(*command)
    assert first.count("\n| cats |") == 8 and "best is inside the budget: always" in first, first
    record = json.loads((scratch / "record.json").read_text())
    assert len(record["matrix"]) == 4 and len(record["budget"]["rows"]) == 3
    for row in record["matrix"]:
        assert set(row["sets"]) == {"cats", "tinystories"}
        if row["share"]:
            saved, low, high = row["general_saved"]
            assert low <= saved <= high, row
    made = "base/cats-0.05\n"
    assert made in first
    assert made not in run(*command), "a run is made a second time"
    assert json.loads((scratch / "record.json").read_text()) == record, "a second time makes other figures"
    assert "with other settings" in run(*command, "--share", "0.1", "--only", "budget", code=1)
    assert "--data FOLDER says where" in run(*command, "--domains", "birds", code=1)
    text = (scratch / "work/corpora/cats/train.jsonl").read_text(encoding="utf-8")
    assert "\\u2500" not in text and "\u2500" not in text, "a table's border was trained on"


with tempfile.TemporaryDirectory(prefix="dapt-test-") as folder:
    scratch = pathlib.Path(folder)
    shutil.copytree(source / "tools/base", scratch / "data/models/base")
    path = scratch / "data/models/base/config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), max_position_embeddings=512)))
    cats = corpus("cats", "The cat sat on the mat and looked at cat number", 40)
    corpus("tinystories", "Once upon a time there was a girl who had apples, to wit", 40)
    check_smollm2(cats)
    check_forgetting()
print("experiments: all well")
