#!/usr/bin/env python3
"""The commands of examples/github-workflow.yml do what they say: each of its `run` lines is run as it stands there, in a
workspace as GitHub would make it, with this build in place of one of its own.

workflow.py SOURCE BUILD
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source, build = (pathlib.Path(word).resolve() for word in sys.argv[1:])
text = (source / "examples/github-workflow.yml").read_text(encoding="utf-8")
steps = re.findall(r"^ +- (uses|run|name): (.+)$", text, re.M)
commands = [value for key, value in steps if key == "run"]
if len(commands) < 5 or any(key == "name" or value[0] in "|>" for key, value in steps):
    sys.exit(f"the workflow is written in another way than this test reads: {steps}")

with tempfile.TemporaryDirectory(prefix="dapt-test-workflow-") as folder:
    work = pathlib.Path(folder)
    (work / "dapt").symlink_to(source)
    (work / "build").symlink_to(build)
    shutil.copy(source / "examples/adapt.json", work)
    for part, files in {"train": source.glob("core/*/*.h"), "heldout": source.glob("plugins/*/*.h")}.items():
        (work / "docs" / part).mkdir(parents=True)
        for path in files:
            shutil.copy(path, work / "docs" / part / f"{path.parent.name}-{path.stem}.txt")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAPT_")}
    for command in commands:
        # As GitHub's runners start it.
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command], cwd=work, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{command}\nexit {done.returncode}\n{done.stdout}")
        print(f"ok: {command}")
    result = json.loads((work / "result.json").read_text())
    events = [json.loads(line) for line in (work / "run/metrics.jsonl").read_text().splitlines()]
    before = next(e["bits_per_byte"] for e in events if e["event"] == "evaluation" and e["set"] == "docs")
    after = result["sets"]["docs"]["bits_per_byte"]
    kept = re.search(r"path: ([^}\s]+)\}", text.split("upload-artifact")[1]).group(1)
    if not (0 < after < before):
        sys.exit(f"the model learnt nothing: {before} before, {after} after")
    if not list((work / kept).glob("*/model.safetensors")):
        sys.exit(f"there is no model in {kept}, which the workflow keeps")
    print(f"bits/byte {before:.4f} before, {after:.4f} after")
