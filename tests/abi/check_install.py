#!/usr/bin/env python3
"""An installed tree works where it is moved to, and an outsider's plugin builds against it and is found.

check_install.py MESON BUILD_ROOT PLUGIN.c CC...
"""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

meson, build, plugin, *compiler = sys.argv[1:]


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def only(paths, what):
    paths = list(paths)
    if len(paths) != 1:
        sys.exit(f"expected one {what} in the installed tree, found {paths}")
    return paths[0]


with tempfile.TemporaryDirectory(prefix="dapt-test-install-") as folder:
    folder = pathlib.Path(folder)
    run(meson, "install", "-C", build, "--no-rebuild", "--destdir", str(folder / "first"))
    first = only((folder / "first").rglob("bin/dapt"), "bin/dapt").parent.parent
    tree = folder / "moved" / "elsewhere"
    shutil.copytree(first, tree, symlinks=True)
    shutil.rmtree(folder / "first")

    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAPT_")}
    listed = run(str(tree / "bin/dapt"), "plugins", cwd="/", env=environment)
    installed = {path.name for path in tree.rglob("lib*/**/dapt/*.so")}
    if not installed:
        sys.exit("no modules were installed")
    for name in installed:
        if f"/{name}" not in listed or build in listed:
            sys.exit(f"{name} is installed, but not what dapt plugins lists:\n{listed}")

    package = only(tree.rglob("dapt-plugin.pc"), "dapt-plugin.pc")
    flags = run("pkg-config", f"--define-variable=prefix={tree}", "--cflags", str(package)).split()
    own = folder / "own"
    own.mkdir()
    run(*compiler, "-shared", "-fPIC", "-fvisibility=hidden", *flags, plugin, "-o", str(own / "own.so"))
    listed = run(str(tree / "bin/dapt"), "plugins", cwd="/", env={**environment, "DAPT_PLUGIN_PATH": str(own)})
    if f"{own}/own.so" not in listed:
        sys.exit(f"the outsider's plugin is not found:\n{listed}")
    print(f"{len(installed)} modules and an outsider's plugin: found in a moved tree")
