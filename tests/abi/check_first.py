#!/usr/bin/env python3
"""check_first.py DAPT FOLDER: a source built against the first release's plugin.h, in FOLDER, is loaded and read."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
dapt, plugins = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:])
with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    (folder / "a.fortune").write_text("one thing\n%\nanother thing\n%\na third\n")
    (folder / "c.json").write_text(json.dumps({
        "model": {"random": {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16,
                             "vocab_size": 257}},
        "tokenizer": {"plugin": "bytes"}, "plugins": [plugins], "run": "run", "train": {"steps": 1},
        "data": {"domain": {"path": "a.fortune", "source": "fortune"}, "sequence": 16, "cache": "cache"}}))
    done = subprocess.run([dapt, "preview", "c.json", "--json"], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "XDG_CACHE_HOME": str(folder / "home")})
    if done.returncode:
        sys.exit(done.stderr)
    text = json.dumps(json.loads(done.stdout))
    assert '"documents": 3' in text, text
    assert "one thing" in text, text
print("3 documents by a plugin of the first release's plugin.h")
