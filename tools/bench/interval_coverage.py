#!/usr/bin/env python3
"""How often intervals of the change in bits/byte hold the true change, by kind of interval.

    tools/bench/interval_coverage.py RUN/ledger.json [--documents N] [--rounds R]

Takes each large set of a run as the whole truth: its documents' nats before and after, and the change of all of them. Draws N
documents R times, makes the interval of each draw by 2,000 resamples (percentile; the same widened for few documents, Hesterberg
2015; bias-corrected accelerated, Efron 1987), and counts how many hold the truth. Needs numpy. core/infer/interval.c has the kind that was chosen.
"""
import argparse
import json
import math

import numpy
from statistics import NormalDist

RESAMPLES = 2000


def change(before, after, scored, tokens, size):
    return (after - before) / scored * tokens / size / math.log(2)


def interval(columns, random):
    n = columns.shape[1]
    at = random.integers(0, n, (RESAMPLES, n))
    values = numpy.sort(change(*(column[at].sum(axis=1) for column in columns)))
    theta = change(*columns.sum(axis=1))
    percentile = numpy.quantile(values, [0.025, 0.975])
    normal = NormalDist()
    z, v = 1.959963984540054, n - 1
    t = z + (z ** 3 + z) / (4 * v) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * v * v)
    tail = normal.cdf(-math.sqrt(n / v) * t)
    widened = numpy.quantile(values, [tail, 1 - tail])
    share = ((values < theta).sum() + 0.5 * (values == theta).sum()) / RESAMPLES
    bias = normal.inv_cdf(min(max(share, 1e-6), 1 - 1e-6))
    without = change(*(column.sum() - column for column in columns))
    difference = without.mean() - without
    acceleration = (difference ** 3).sum() / (6 * (difference ** 2).sum() ** 1.5 + 1e-300)
    shares = [normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-1.959964, 1.959964)]
    return percentile, widened, numpy.quantile(values, shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ledger")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    random = numpy.random.default_rng(o.seed)
    for one in json.load(open(o.ledger, encoding="utf-8"))["sets"]:
        units = one["units"]
        whole = numpy.array([units[key] for key in ("nats_before", "nats_after", "scored", "tokens", "bytes")], dtype=float)
        whole = whole[:, whole[2] > 0]
        truth = change(*whole.sum(axis=1))
        held = numpy.zeros(3)
        widths = numpy.zeros(3)
        for _ in range(o.rounds):
            drawn = whole[:, random.integers(0, whole.shape[1], o.documents)]
            for kind, (low, high) in enumerate(interval(drawn, random)):
                held[kind] += low <= truth <= high
                widths[kind] += (high - low) / o.rounds
        print(json.dumps({"set": one["name"], "units": whole.shape[1], "drawn": o.documents, "rounds": o.rounds,
                          "change": round(truth, 4), "percentile": held[0] / o.rounds, "widened": held[1] / o.rounds,
                          "bca": held[2] / o.rounds,
                          "width_percentile": round(widths[0], 4), "width_widened": round(widths[1], 4)}))


main()
