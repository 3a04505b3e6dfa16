#!/usr/bin/env python3
"""What shared objects export: modules their entry alone, libdapt what dapt.h declares.

check_exports.py BUILD_ROOT SOURCE_ROOT
"""
import pathlib
import re
import subprocess
import sys

build, source = map(pathlib.Path, sys.argv[1:])
# Of the linker, and of the sanitizers.
NOISE = re.compile(r"^(_init|_fini|_edata|_end|__bss_start|__asan_.*|__odr_asan.*|__ubsan_.*|__gcov_.*|__covrec_.*)$")


def exports(path):
    lines = subprocess.run(["nm", "-D", "--defined-only", str(path)], check=True, capture_output=True, text=True).stdout
    return {name for name in (line.split()[-1].split("@")[0] for line in lines.splitlines()) if not NOISE.match(name)}


problems = []
modules = sorted(build.glob("backends/*/*.so")) + sorted(build.glob("plugins/*/*.so"))
if not modules:
    problems.append(f"no modules were found below {build}")
for module in modules:
    kind = "backend" if module.parts[-3] == "backends" else "comm" if module.stem == "mpi" else "plugin"
    entry = f"dapt_{kind}_entry"
    if exports(module) != {entry}:
        problems.append(f"{module.name}: exports {sorted(exports(module))}, expected {entry} alone")

library = build / "core" / "libdapt.so"
header = (source / "core/include/dapt/dapt.h").read_text(encoding="utf-8")
declared = set(re.findall(r"DAPT_EXPORT[^;]*?\b(dapt_\w+)\(", header))
have = exports(library)
for name in sorted(have - declared):
    problems.append(f"libdapt exports {name}, which dapt.h does not declare")
for name in sorted(declared - have):
    problems.append(f"dapt.h declares {name}, which libdapt does not export")
print("\n".join(problems) or f"{len(modules)} modules, {len(have)} functions of libdapt: as they should be")
sys.exit(bool(problems))
