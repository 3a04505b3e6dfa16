#!/usr/bin/env python3
"""What adaptation gains, what it costs, and what replay and budgets do about that, measured: the figures of tools/bench/README.md.

    tools/bench/forgetting.py WORK --data FOLDER [--only matrix|budget] [--models NAMES] [--domains NAMES] [--small] [--record FILE]

FOLDER holds models/NAME (Hugging Face folders) and corpora/NAME/{train,heldout}.jsonl; the general text is corpora/tinystories,
what the models were pretrained on.

matrix   each model is adapted to each domain, with no replay, 5 % and 25 %, and measured on all domains and the general text
budget   one model and one domain with a budget, in three seeds, by what is done where the budget is broken

Everything lies in WORK: one folder a run, with its configuration. A run that is there is not made again, one that was stopped goes
on, so the command may be given again at any time. --jobs runs go side by side (default: one a processor), each with one thread, so that
figures don't depend on how many there are. Prints tables; --record FILE keeps them as JSON. Python's standard library only.
"""
import argparse
import concurrent.futures
import datetime
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENERAL = "tinystories"
EVERY = 5                       # steps between the evaluations that a budget goes by
STEPS = {"stories260k": 300, "tinystories-656k": 200}
# Shares of replay, and whether it comes on top of the domain's text (more steps) or in place of it (the same steps).
SHARES = ((0.0, False), (0.05, False), (0.25, False), (0.25, True))
GOALS = {0.05: 0.6, 0.25: 0.8}  # share of replay: by how much the general loss should rise less
COST = 0.03                     # and what that may cost of the domain's bits/byte
BUDGET = 0.2                    # bits/byte
SEEDS = (1, 2, 3)
ACTIONS = ("keep-best", "stop", "raise-replay")
RESAMPLES = 2000
RULING = re.compile(r"^[\u2500-\u257f\s]*$")


# ------------------------------------------------------------------------------------------- texts

def without_rulings(text):
    """Lines that only draw a table's borders are two thirds of the manual pages' bytes, and no language."""
    return "\n".join(line for line in text.split("\n") if not line or not RULING.match(line))


def prepare(source, target, documents=None, characters=None):
    """Copies a corpus; of held-out text so many documents, evenly chosen, and of each no more than its opening."""
    if os.path.exists(target):
        return
    with open(source, encoding="utf-8") as file:
        texts = [without_rulings(json.loads(line)["text"]) for line in file]
    if documents:
        texts = [texts[i * len(texts) // documents] for i in range(documents)] if documents < len(texts) else texts
        texts = [text if len(text) <= characters else text[:characters].rsplit(" ", 1)[0] for text in texts]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target + ".new", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    os.replace(target + ".new", target)


# -------------------------------------------------------------------------------------------- runs

def run(o, name, model, domain, sets, heldout, share, seed, train):
    """Makes a run, or what is missing of it, and returns its ledger with what its events say."""
    folder = os.path.join(o.work, name)
    text = lambda corpus, part: os.path.join(o.work, "corpora", corpus, part + ".jsonl")
    role = lambda corpus: "domain" if corpus == domain else "general" if corpus == GENERAL else "control"
    config = {
        "model": os.path.join(o.data, "models", model),
        "data": {"domain": text(domain, "train"), "replay": {"share": share, "from": text(GENERAL, "train")},
                 "eval": {corpus: {"path": text(corpus, heldout), "role": role(corpus)} for corpus in sets},
                 "sequence": 256, "cache": os.path.join(o.work, "cache")},
        "train": dict(batch=8, seed=seed, keep=1, **train),
        "backend": {"name": "cpu", "threads": 1}, "run": os.path.join(folder, "run")}
    path = os.path.join(folder, "config.json")
    ledger = os.path.join(folder, "run", "ledger.json")
    done = os.path.join(folder, "done")
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if json.load(file) != config:
                sys.exit(f"forgetting: {folder} was made with other settings: take another WORK, or remove it")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
    if not os.path.exists(done):
        resume = ["--resume"] if os.path.exists(os.path.join(folder, "run", "latest")) else []
        if not resume:
            subprocess.run(["rm", "-rf", os.path.join(folder, "run")], check=True)
        with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
            if subprocess.run([o.dapt, "train", path] + resume, stdout=log, stderr=log).returncode:
                sys.exit(f"forgetting: {name} failed, see {folder}/log")
        open(done, "w").close()
        print(f"{datetime.datetime.now():%H:%M:%S} {name}", flush=True)
    with open(ledger, encoding="utf-8") as file:
        result = json.load(file)
    with open(os.path.join(folder, "run", "metrics.jsonl"), encoding="utf-8") as file:
        result["end"] = [event for event in map(json.loads, file) if event["event"] == "end"][-1]
    result["sets"] = {one["name"]: one for one in result["sets"]}
    return result


def bits(o, model, path):
    """Bits/byte of a model on a text, as `dapt eval` measures it."""
    command = [o.dapt, "eval", model, "--data", "text=" + path, "--sequence", "256", "--backend", "cpu", "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["sets"]["text"]["bits_per_byte"]


# --------------------------------------------------------------------------------------- intervals

def interval(units, figure, seed=1):
    """A figure of documents' columns, and its 95 % interval: the bootstrap that core/infer/interval.c makes."""
    rows = list(zip(*units))
    sums = lambda drawn: [sum(column) for column in zip(*drawn)]
    n, draw, normal = len(rows), random.Random(seed), statistics.NormalDist()
    values = sorted(figure(*sums(draw.choices(rows, k=n))) for _ in range(RESAMPLES))
    z, v = normal.inv_cdf(0.975), n - 1
    t = z + (z ** 3 + z) / (4 * v) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * v * v)
    tail = normal.cdf(-math.sqrt(n / v) * t)
    at = lambda share: values[min(RESAMPLES - 1, max(0, round(share * (RESAMPLES - 1))))]
    return [round(x, 4) for x in (figure(*sums(rows)), at(tail), at(1 - tail))]


def saved(bare, replayed):
    """By which share the rise of a set's loss is smaller in one of two runs: 1 where nothing is left of it."""
    a, b = bare["units"], replayed["units"]
    return interval([a["nats_before"], a["nats_after"], b["nats_after"]], lambda before, without, with_: 1 - (with_ - before) / (without - before))


def cost(bare, replayed):
    """By which share a set's bits/byte are more in one of two runs."""
    return interval([bare["units"]["nats_after"], replayed["units"]["nats_after"]], lambda without, with_: with_ / without - 1)


# ---------------------------------------------------------------------------------------- the matrix

def matrix(o, pool):
    cells = [(model, domain, share, top) for model in o.models for domain in o.domains for share, top in SHARES]
    sets = list(o.domains) + [GENERAL]

    def start(model, domain, share, top):
        steps = round((o.steps or STEPS.get(model, 200)) / (1 - share if top else 1))
        return pool.submit(run, o, f"{model}/{domain}-{share:g}{'-on-top' if top else ''}", model, domain, sets, "heldout", share, 1,
                           {"steps": steps, "evaluate_every": 0, "checkpoint_every": 100})
    work = [start(*cell) for cell in cells]
    runs = {cell: future.result() for cell, future in zip(cells, work)}
    rows = []
    for (model, domain, share, top), ledger in runs.items():
        row = dict(model=model, domain=domain, share=share, on_top=top, steps=ledger["step"], passes=ledger["end"]["passes"],
                   sets={name: dict(before=round(one["bits_before"], 4), after=round(one["bits_after"], 4),
                                    change=[round(one[key], 4) for key in ("change", "low", "high")]) for name, one in ledger["sets"].items()})
        if share:
            bare = runs[model, domain, 0.0, False]["sets"]
            row["general_saved"] = saved(bare[GENERAL], ledger["sets"][GENERAL])
            row["domain_cost"] = cost(bare[domain], ledger["sets"][domain])
            row["met"] = dict(saved=row["general_saved"][0] >= GOALS[share], cost=row["domain_cost"][0] <= COST)
        rows.append(row)
    for model in o.models:
        print_matrix(model, [row for row in rows if row["model"] == model], sets)
    return rows


def print_matrix(model, rows, sets):
    kind = lambda row: "none" if not row["share"] else f"{row['share']:.0%}" + (f" on top, {row['steps']} steps" if row["on_top"] else "")
    head = lambda *names: print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    least = {name: min(row["sets"][name]["after"] for row in rows if not row["share"]) for name in sets if name != GENERAL}
    print(f"\n**{model}**, {rows[0]['steps']} steps; bits/byte afterwards, in bold the best of the column without replay\n")
    head("adapted to", "replay", *sets)
    print("| nothing | | " + " | ".join(f"{rows[0]['sets'][name]['before']:.3f}" for name in sets) + " |")
    for row in rows:
        bold = lambda name: "**" if not row["share"] and row["sets"][name]["after"] == least.get(name) else ""
        print(f"| {row['domain']} | {kind(row)} | " + " | ".join(f"{bold(name)}{row['sets'][name]['after']:.3f}{bold(name)}" for name in sets) + " |")
    print()
    head("adapted to", "replay", f"{GENERAL} rises by", "replay saves of that", "and costs of the domain's bits/byte")
    for row in rows:
        rise = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["sets"][GENERAL]["change"])
        rest = "{:.0%} ({:.0%} to {:.0%}) | {:+.1%} ({:+.1%} to {:+.1%})".format(*row["general_saved"], *row["domain_cost"]) if row["share"] else "|"
        print(f"| {row['domain']} | {kind(row)} | {rise} | {rest} |")


# --------------------------------------------------------------------------------------- the budget

def budget(o, pool):
    model, domain = o.models[0], o.domains[0]
    cells = [(seed, action) for seed in o.seeds for action in ACTIONS]
    # A tenth of the steps to warm up: with dapt's hundredth all of the budget is gone before the first evaluation.
    train = lambda action: {"steps": o.steps or 200, "evaluate_every": EVERY, "checkpoint_every": EVERY,
                            "schedule": {"plugin": "cosine", "warmup": 0.1}, "budget": {"general": BUDGET}, "on_budget": action}
    work = [pool.submit(run, o, f"budget/{a}-{s}", model, domain, [domain, GENERAL], "often", o.share, s, train(a)) for s, a in cells]
    other = lambda folder: bits(o, folder, os.path.join(o.work, "corpora", GENERAL, "heldout.jsonl"))
    base = other(os.path.join(o.data, "models", model))
    rows = []
    for (seed, action), future in zip(cells, work):
        ledger = future.result()
        course = lambda name: ledger["sets"][name]["course"]
        best = ledger["end"].get("best")
        at = course(domain)["step"].index(best) if best else 0
        rise = course(GENERAL)["change"]
        elsewhere = round(other(os.path.join(o.work, "budget", f"{action}-{seed}", "run", "best")) - base, 4) if best else 0.0
        rows.append(dict(model=model, domain=domain, seed=seed, action=action, ended=ledger["step"], raises=ledger["raises"],
                         best=dict(step=best, domain=round(course(domain)["bits_per_byte"][at], 4), rise=round(rise[at], 4), rise_on_all=elsewhere),
                         last=dict(domain=round(course(domain)["bits_per_byte"][-1], 4), rise=round(rise[-1], 4)), largest_rise=round(max(rise), 4)))
    print(f"\n**{model}** to {domain}, a budget of {BUDGET} bits/byte of {GENERAL}, replay {o.share:.0%} at first, {len(o.seeds)} seeds\n")
    print(f"| seed | where it is broken | ends at | {domain}, last | {GENERAL}, last | best: step | {domain} | {GENERAL} | on more text |\n" + "|---" * 9 + "|")
    for r in rows:
        print("| {seed} | {action} | {ended} | {0[domain]:.3f} | {0[rise]:+.3f} | {1[step]} | {1[domain]:.3f} | {1[rise]:+.3f} | {1[rise_on_all]:+.3f} |".format(r["last"], r["best"], **r))
    of = {(r["seed"], r["action"]): r for r in rows}
    kept = all(r["best"]["rise"] <= BUDGET for r in rows)
    inside = [s for s in o.seeds if of[s, "raise-replay"]["last"]["rise"] <= BUDGET]
    better = [s for s in o.seeds if of[s, "raise-replay"]["best"]["domain"] < of[s, "stop"]["best"]["domain"]]
    print(f"\nbest is inside the budget: {'always' if kept else 'NOT ALWAYS'}; raise-replay ends inside it in {len(inside)} of {len(o.seeds)} seeds, "
          f"and its best is better than stop's in {len(better)}")
    return dict(rows=rows, kept=kept, ends_inside=inside, better_than_stop=better)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = p.add_argument
    add("work")
    add("--data", default=os.path.join(os.path.dirname(HERE), "shared", "data"))
    add("--dapt", default=os.path.join(os.environ.get("DAPT_BUILD", os.path.join(HERE, "build")), "tools", "dapt", "dapt"))
    add("--only", choices=("matrix", "budget"))
    add("--models", default="stories260k,tinystories-656k")
    add("--domains", default="anatomy,dc-law,man-pages")
    add("--steps", type=int, help="of each run")
    add("--share", type=float, default=0.05, help="replay that the budget's runs begin with")
    add("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    add("--small", action="store_true", help="a few steps, little text: to try the script; its figures mean nothing")
    add("--record")
    o = p.parse_args()
    o.work, o.data = os.path.abspath(o.work), os.path.abspath(o.data)
    o.models, o.domains = o.models.split(","), o.domains.split(",")
    # Held-out text: the matrix is measured at the ends of runs, the budget often on the way.
    parts = {"heldout": (120, 3000), "often": (30, 600)}
    o.seeds = (1,) if o.small else SEEDS
    if o.small:
        o.steps, parts = 10, {"heldout": (4, 300), "often": (3, 200)}
    for corpus in o.domains + [GENERAL]:
        source = os.path.join(o.data, "corpora", corpus)
        if not os.path.isdir(source):
            sys.exit(f"forgetting: {source} is not there: --data FOLDER says where models and corpora are")
        prepare(os.path.join(source, "train.jsonl"), os.path.join(o.work, "corpora", corpus, "train.jsonl"))
        for part, size in parts.items():
            prepare(os.path.join(source, "heldout.jsonl"), os.path.join(o.work, "corpora", corpus, part + ".jsonl"), *size)
    record = dict(date=f"{datetime.date.today()}", what="adaptation, replay and budgets: gains and costs in bits/byte",
                  command="tools/bench/forgetting.py WORK --data FOLDER" + (" --small" if o.small else ""),
                  batch=8, sequence=256)
    with concurrent.futures.ThreadPoolExecutor(max(1, o.jobs)) as pool:
        for part in (matrix, budget):
            if o.only in (None, part.__name__):
                record[part.__name__] = part(o, pool)
    if o.record:
        with open(o.record, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
