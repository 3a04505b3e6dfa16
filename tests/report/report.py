#!/usr/bin/env python3
"""report.py DAPT FOLDER: pages of `dapt report`, of the run in FOLDER and of what is missing or damaged.

A page must be well-formed as XML and as HTML, hold the figures that the run told, and nothing that runs or is fetched.
"""
import html.parser
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

dapt, source = sys.argv[1], pathlib.Path(sys.argv[2])
scratch = pathlib.Path(tempfile.mkdtemp(prefix="dapt-report-"))
VOID = {"meta", "br", "colgroup"}
SHAPES = {"path", "rect"}


class Balanced(html.parser.HTMLParser):
    """Every element is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID | SHAPES, tag
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def run(*words, code=0):
    done = subprocess.run([dapt, "report", *map(str, words)], cwd=scratch, capture_output=True, text=True)
    assert done.returncode == code, (words, done)
    if code:
        assert done.stderr.startswith("dapt: ") and done.stderr.count("\n") == 1 and not done.stdout, done
    return done.stderr


def page(*runs):
    told = run(*runs, "--output", "page.html")
    text = (scratch / "page.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert not parser.open, parser.open
    root = tree.fromstring(text)
    check_structure(text, root, set(parser.tags))
    return told, " ".join(" ".join(root.itertext()).split()), root


def check_structure(text, root, tags):
    assert not tags & {"script", "link", "img", "iframe", "object", "form"}, tags
    for word in ("http:", "https:", "url(", "@import", "<script", "javascript:", " on"):
        assert word not in re.sub(r">[^<]*", ">", text.split("</style>")[1]), word
    assert "url(" not in text and "@import" not in text
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for e in root.iter():
        for name in (e.get("aria-labelledby") or "").split():
            assert name in ids, name
        if e.tag == "svg" and e.get("role") == "img":
            assert e[0].tag == "title" and e[0].text and e[1].tag == "desc" and e[1].text
        if e.tag == "th":
            assert e.get("scope") in ("col", "row", "colgroup")
    levels = [int(e.tag[1]) for e in root.iter() if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:])), levels
    check_tables(root)


def check_tables(root):
    for table in root.iter("table"):
        widths = {sum(int(c.get("colspan", 1)) for c in row) for row in table.iter("tr")}
        assert len(widths) == 1, widths


def has(text, *parts):
    for part in parts:
        assert part in text, part


def rewrite(name, change):
    folder = scratch / name
    shutil.copytree(source, folder)
    change(folder)
    return folder


def test_whole():
    told, text, root = page(source)
    assert "metrics.jsonl:15: is no event; lines left out: 1" in told, told
    script = '<script>alert("general")</script>'
    has(text, "Training gained 0.7500 bits/byte on texts (95 % interval 0.6250 to 0.8750)",
        f"and cost 0.2500 bits/byte on {script} (0.1875 to 0.3750).")
    # As a table, with what only the ledger knows; what was measured in a lost attempt is nowhere.
    has(text, "−0.8750 to −0.6250", "+0.1875 to +0.3750", "+0.3125", "2.5000", "1.7500", "done, step 12 of 12")
    assert "11.5" not in text and "9.0000" not in text
    has(text, "training: from 3.9000 at step 1 to 2.8000 at step 12", "20,018", "24.6 MiB", "260,032, trained 130,016",
        "0.25, 1.5", "3.1 MiB", "1.00e−04", "share of replay: from 0.2 at step 0 to 0.4 at step 12")
    has(text, "Card <b>9</b> & Co", "models/<tiny>", "0.003", "loss nan, gradient norm inf", "no space left on device & more",
        "2026-11-25 10:00:00", "best, latest", "softmax", "OFF", "Lines of attempts that were lost 4")
    assert {h.text for h in root.iter("h2")} == {"Gained and paid", "What was run", "The course", "Data", "Checkpoints", "Events",
                                                 "Parity certificate", "Configuration"}
    # The lost attempt's losses would lift the curves.
    assert len(list(root.iter("figure"))) == 7


def test_alone():
    def strip(folder):
        for name in ("ledger.json", "config.json", "device.json", "latest", "best"):
            (folder / name).unlink()

    text = page(rewrite("alone", strip))[1]
    has(text, "Training gained 0.7500", "0.2500 bits/byte", "alone has no config.json", "alone has no device.json")


def test_damaged():
    def damage(folder):
        for name in ("ledger.json", "config.json", "device.json"):
            (folder / name).write_text('{"a": ')
        (folder / "best").write_bytes(b"\xff\x01\n")

    text = page(rewrite("damaged", damage))[1]
    has(text, "The ledger cannot be read", "config.json:1:7", "device.json:1:7", "Training gained 0.7500")

    def garble(folder):
        lines = (folder / "metrics.jsonl").read_bytes().splitlines(True)
        (folder / "metrics.jsonl").write_bytes(b"\xff\xfe\n[]\n\n7\n" + b"".join(lines[:5]) + b'{"event":"step"')

    told, text, _ = page(rewrite("garbled", garble))
    has(told, "metrics.jsonl:1", "lines left out: 4")
    has(text, "At step 2 of 12, training so far has no figures after the first step", "4, the first is line 1")


def test_states():
    def cut(lines, last):
        def change(folder):
            text = (source / "metrics.jsonl").read_text().splitlines()[:lines]
            (folder / "metrics.jsonl").write_text("\n".join(text + [last]) + "\n")
        return change

    time = '"time":"2026-11-25T10:01:00.000Z","step":4'
    text = page(rewrite("stopped", cut(9, '{"event":"stop",%s}' % time)))[1]
    has(text, "Stopped at step 4 of 12, training gained 0.2500", "stopped on request")
    text = page(rewrite("failed", cut(9, '{"event":"failure",%s,"text":"the <card> was lost"}' % time)))[1]
    has(text, "Failed at step 4 of 12", "It failed: the <card> was lost.")
    text = page(rewrite("empty", lambda folder: [p.unlink() for p in folder.iterdir() if p.name != "metrics.jsonl"] and
                        (folder / "metrics.jsonl").write_text("")))[1]
    has(text, "Nothing has been told of this run yet.", "No set was evaluated.")


def test_several():
    other = rewrite("other & <co>", lambda f: (f / "config.json").write_text('{"model": "models/<tiny>", "train": {"batch": 16}}'))
    text, root = page(source, other, scratch / "empty")[1:]
    has(text, "run, other & <co> and empty", "Where the configurations differ", "train.batch", "16", "How texts (domain) changed")
    table = next(t for t in root.iter("table") if "differ" in "".join(t.find("caption").itertext()))
    keys = [row[0].text for row in table.find("tbody")]
    assert "train.batch" in keys and keys.count("model") == 1, keys  # the empty one has no model
    has(page(*[source] * 8)[1], "run, run (2), run (3)", "run (7) and run (8)")
    for name in "warm", "cold":
        shutil.copytree(source, scratch / name / "one/run")
    has(page(scratch / "warm/one/run", scratch / "cold/one/run", scratch / "empty")[1], "warm, cold and empty")


def test_refused():
    assert "nowhere: has no metrics.jsonl, expected the folder of a run" in run("nowhere", code=1)
    assert "one argument too many" in run(*[source] * 9, code=2)
    assert "an argument is missing; usage: dapt report RUN [RUN...]" in run(code=2)
    rewrite("alone-whole", lambda folder: (folder / "metrics.jsonl").write_text(""))
    assert "no/where" in run("alone-whole", "--output", "no/where/page.html", code=1)
    run(source)
    assert (scratch / "report.html").stat().st_size > 10000


def checksum(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(data):
    """The fields of a protobuf message: number -> value; bytes for messages and texts."""
    at, found = 0, {}

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        found[key >> 3] = data[at:at + size]
        at += size
    return found


def test_tensorboard():
    assert checksum(struct.pack("<Q", 24)) == 0x224B7FA3  # as files of others begin
    run(source, "--tensorboard", "board")
    path, = (scratch / "board" / "run").iterdir()
    assert path.name == "events.out.tfevents.1795600803.dapt", path.name
    data, scalars = path.read_bytes(), {}
    while data:
        length, = struct.unpack("<Q", data[:8])
        event = data[12:12 + length]
        assert struct.unpack("<I", data[8:12])[0] == checksum(data[:8])
        assert struct.unpack("<I", data[12 + length:16 + length])[0] == checksum(event)
        data, event = data[16 + length:], fields(event)
        if 3 in event:
            assert event[3] == b"brain.Event:2"
            continue
        value = fields(fields(event[5])[1])
        scalars.setdefault(value[1].decode(), []).append((event[2], *struct.unpack("<f", value[2])))
        assert 1795600800 <= struct.unpack("<d", event[1])[0] < 1795600860
    assert [s for s, _ in scalars["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]  # once each
    assert scalars["bits_per_byte_change/texts"] == [(0, 0), (4, -0.25), (8, -0.5), (12, -0.75)]
    assert scalars["train/replay_share"] == [(4, struct.unpack("<f", struct.pack("<f", 0.4))[0])]
    assert len(scalars) == 5 + 2 * 6, scalars.keys()


def test_long():
    folder = scratch / "long"
    folder.mkdir()
    line = '{"event":"step","time":"2026-11-25T10:00:00.000Z","step":%d,"loss":%g,"norm":%g,"learning_rate":%g,"seconds":%g}\n'
    (folder / "metrics.jsonl").write_text("".join(line % (s, 3 + s % 7 / 10 + (s == 7777) * 50, 1 + s % 5, s * 1e-8, 0.05 + s % 3 / 100)
                                                  for s in range(1, 10001)))
    text = page(folder)[1]
    assert re.search(r"mean of 200 steps: from 3.1000 at step 1 to [\d.]+ at step 10000; .* most 3.5\d+ at step 7\d\d\d", text)
    has(text, " 60 ")  # an axis that holds the one loss of 53
    assert (scratch / "page.html").stat().st_size < 500000


try:
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(name)
finally:
    shutil.rmtree(scratch)
