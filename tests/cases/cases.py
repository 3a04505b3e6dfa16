#!/usr/bin/env python3
"""cases.py DAPT: runs the cases of the folder "bugs" of the optional test data, if it is there."""
import os
import pathlib
import subprocess
import sys

data = pathlib.Path(os.environ.get("DAPT_TEST_DATA", ""))
runner = data / "bugs" / "run.py"
if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
if not runner.is_file():
    print(f"skipped: {runner} is not there")
    sys.exit(77)
sys.exit(subprocess.run([sys.executable, runner, sys.argv[1], data]).returncode)
