#!/usr/bin/env python3
"""Who may include whom: the order of the rooms, checked over the sources.

check_includes.py SOURCE_ROOT     exit 1 and one line for each include that breaks the order
"""
import pathlib
import re
import sys

# Each room of core, and the rooms it may use besides itself. The public headers stand under dapt/.
ROOMS = {
    "base": {"dapt/plugin.h"},
    "host": {"dapt/plugin.h", "dapt/backend.h", "dapt/comm.h", "base"},
    "report": {"dapt/plugin.h", "dapt/dapt.h", "base", "host"},
    "format": {"dapt/plugin.h", "dapt/backend.h", "base", "host"},
    "graph": {"dapt/plugin.h", "dapt/backend.h", "base", "host", "format"},
    "comm": {"dapt/plugin.h", "dapt/backend.h", "dapt/comm.h", "dapt/dapt.h", "base", "host", "format", "graph"},
    "model": {"dapt/plugin.h", "dapt/backend.h", "base", "host", "format", "graph"},
    "corpus": {"dapt/plugin.h", "dapt/backend.h", "base", "host", "format", "graph"},
    "engine": {"dapt/plugin.h", "dapt/backend.h", "base", "host", "format", "graph", "comm", "model", "corpus"},
    "checkpoint": {"dapt/plugin.h", "dapt/backend.h", "base", "host", "format", "graph", "comm", "model", "corpus", "engine"},
    "device": {"dapt/plugin.h", "dapt/backend.h", "dapt/dapt.h", "base", "host", "format", "graph", "comm", "model", "corpus", "engine", "checkpoint"},
    "infer": {"dapt/plugin.h", "dapt/backend.h", "dapt/dapt.h", "base", "host", "format", "graph", "comm", "model", "corpus", "engine", "checkpoint", "device"},
    "train": {"dapt/plugin.h", "dapt/backend.h", "dapt/dapt.h", "base", "host", "format", "graph", "comm", "model", "corpus", "engine", "checkpoint", "device",
              "infer"},
    "api": {"dapt/plugin.h", "dapt/backend.h", "dapt/dapt.h", "base", "host", "format", "graph", "comm", "model", "corpus", "engine", "checkpoint", "device",
            "infer", "train", "report"},
}
PUBLIC = {
    "dapt/plugin.h": set(),
    "dapt/backend.h": {"dapt/plugin.h"},
    "dapt/comm.h": {"dapt/plugin.h"},
    "dapt/dapt.h": {"dapt/plugin.h", "dapt/backend.h"},
}
OUTSIDE = {  # what modules and programs may use of dapt; besides, files of their own folder
    "plugins": {"dapt/plugin.h"},
    "backends": {"dapt/plugin.h", "dapt/backend.h"},
    "plugins/mpi": {"dapt/plugin.h", "dapt/comm.h"},
    "tools": {"dapt/plugin.h", "dapt/backend.h", "dapt/dapt.h"},
    "examples": {"dapt/plugin.h", "dapt/dapt.h"},
}
COMMON = {"common/dropout.h", "common/fail.h", "common/half.h", "common/integers.h"}  # what backends share
BESIDES = {  # files of other folders, and those made when building, from shaders/meson.build
    "backends/common": COMMON,
    "backends/cpu": COMMON,
    "backends/vulkan": COMMON | {"shader_rows.h"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def allowed(path, quote, name, siblings):
    """Whether the file at `path` (relative to the root) may include `name`."""
    top = path.parts[0]
    ours = name.startswith("dapt/") or name.split("/")[0] in ROOMS
    if quote == "<":
        return not ours and not name.startswith("..")  # the system's and libraries'
    if ".." in name:
        return False
    if path.parts[:2] == ("core", "include"):
        return name in PUBLIC["/".join(path.parts[2:])]
    if path.parts[:2] == ("tools", "bench"):
        return not ours or name in PUBLIC or name.split("/")[0] in ROOMS  # measures the inside
    if top == "core":
        room = path.parts[1]
        return name in ROOMS[room] or name.split("/")[0] in ROOMS[room] | {room}
    besides = BESIDES.get("/".join(path.parts[:2]), set())
    outside = OUTSIDE.get("/".join(path.parts[:2]), OUTSIDE[top])
    return name in outside or (not ours and name in siblings | besides)


def problems(root):
    count = 0
    for top in ("core", "plugins", "backends", "tools", "examples"):
        for path in sorted((root / top).rglob("*.[ch]")):
            count += 1
            siblings = {p.name for p in path.parent.iterdir()}
            for quote, name in INCLUDE.findall(path.read_text(encoding="utf-8")):
                if not allowed(path.relative_to(root), quote, name, siblings):
                    yield f"{path.relative_to(root)}: may not include {name}"
    if count < 20:
        yield f"only {count} sources were found below {root}: is this the right folder?"


def self_test():
    good = [("core/host/a.c", '"', "base/files.h"), ("core/host/a.c", "<", "stdio.h"), ("plugins/x/a.c", '"', "dapt/plugin.h"),
            ("plugins/x/a.c", '"', "own.h"), ("core/include/dapt/backend.h", '"', "dapt/plugin.h")]
    bad = [("core/base/a.c", '"', "host/json.h"), ("core/graph/a.c", '"', "model/model.h"), ("core/model/a.c", '"', "corpus/corpus.h"),
           ("plugins/x/a.c", '"', "dapt/backend.h"), ("plugins/x/a.c", '"', "base/files.h"), ("plugins/x/a.c", "<", "base/files.h"),
           ("backends/cpu/a.c", '"', "graph/ops.h"), ("core/train/a.c", '"', "../../backends/cpu/cpu.h"),
           ("core/graph/a.c", '"', "backends/cpu/cpu.h"), ("core/include/dapt/plugin.h", '"', "base/error.h"),
           ("tools/dapt/a.c", '"', "train/trainer.h"), ("core/include/dapt/plugin.h", '"', "dapt/backend.h")]
    for path, quote, name in good:
        assert allowed(pathlib.PurePath(path), quote, name, {"own.h"}), (path, name)
    for path, quote, name in bad:
        assert not allowed(pathlib.PurePath(path), quote, name, {"own.h"}), (path, name)


self_test()
found = list(problems(pathlib.Path(sys.argv[1])))
print("\n".join(found) or "the order of the rooms is kept")
sys.exit(bool(found))
