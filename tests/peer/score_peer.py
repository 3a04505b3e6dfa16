#!/usr/bin/env python3
"""What lm-evaluation-harness says to the tasks of tests/train/score, and scikit-learn to its labelled texts.

usage: score_peer.py make                      writes the tasks, out of tools/base/general-heldout.jsonl
       score_peer.py score MODEL TASK.jsonl... writes what lm_eval says of tasks as JSON: figures, standard errors, sums of log p
       score_peer.py probe MODEL TRAIN TEST C  macro- and micro-F1 of a probe with that strength, and the features of the first texts

`make` needs nothing; the others torch, transformers, lm_eval (0.4.13), scikit-learn. float32, CPU. What the tests compare with:
    score_peer.py score tools/base tests/train/score/*.jsonl > tests/train/score/expected.json
    score_peer.py probe tools/base tests/train/score/labelled/train.jsonl tests/train/score/labelled/test.jsonl 1 > .../labelled/expected.json
"""
import contextlib, json, os, sys, tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# ---------------------------------------------------------------------------------------------------- tasks

def write(name, records):
    path = os.path.join(ROOT, "tests/train/score", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        for record in records: f.write(json.dumps(record, ensure_ascii=False) + "\n")

def sentences(text): return [s.strip() for s in text.replace("\n", " ").split(". ") if len(s.split()) > 8]

def choices(pool, begin, count, delimiter=None):
    for i in range(begin, begin + count):
        words = pool[i].split()
        half = len(words) // 2
        others = [pool[(i * 7 + k * 31 + 5) % len(pool)].split() for k in range(3)]
        texts = [" ".join(o[len(o) // 2:][:3 + (i + k) % 9]) for k, o in enumerate(others)]
        answer = i % 4
        texts.insert(answer, " ".join(words[half:][:3 + i % 6]))
        context = " ".join(words[:half])
        if i % 8 == 3: context += "  "                                  # its spaces go to the choice
        if i % 16 == 5: context = ""                                    # nothing before it
        if i % 16 == 6: texts = [t + " \u00e9t\u00e9 \u2014 \U0001d11e" for t in texts]  # more bytes than characters
        if i % 16 == 7: context = "<|endoftext|>" + context             # begins as the tokenizer would begin it
        if i % 16 == 9: context = " ".join(" ".join(pool[(i + k) % len(pool)] for k in range(24)).split())  # no room for all
        record = dict(context=context, choices=texts, answer=answer)
        if delimiter is not None: record.update(target_delimiter=delimiter, choices=["\n" + t for t in texts])
        yield record

def make():
    with open(os.path.join(ROOT, "tools/base/general-heldout.jsonl"), encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    pool = [s for text in texts for s in sentences(text)]
    write("choice.jsonl", choices(pool, 0, 48))
    write("delimiter.jsonl", choices(pool, 60, 12, ""))
    # Half of them easy, for a model as small as this: "the" after "of", "in" and so on.
    easy = [p[:p.index(" the ", 30)] for p in pool if " the " in p[30:]][:32]
    hard = [p.split() for p in pool[100:116]]
    write("cloze.jsonl", [dict(context=c, continuation=" the") for c in easy] +
          [dict(context=" ".join(w[:-1 - i % 2]), continuation=" " + " ".join(w[-1 - i % 2:])) for i, w in enumerate(hard)])
    write("rolling.jsonl", (dict(text=t[:n]) for t, n in zip(texts, (40, 200, 900, 1600, 3000, 17))))
    def labelled(begin, end):
        for i in range(begin, end):
            s = pool[i]
            yield dict(text=s, label="short" if len(s) < 75 else "quoted" if '"' in s or "'" in s or "\u2019" in s else i % 2 + 1 if len(s) > 160 else "plain")
    write("labelled/train.jsonl", labelled(0, 240))
    write("labelled/test.jsonl", labelled(240, 320))

# ------------------------------------------------------------------------------------------------ the harness

KINDS = {
    "choices": dict(output_type="multiple_choice", doc_to_text="context", doc_to_choice="choices", doc_to_target="answer",
                    metric_list=[dict(metric=m) for m in ("acc", "acc_norm", "acc_bytes")]),
    "continuation": dict(output_type="loglikelihood", doc_to_text="context", doc_to_target="continuation",
                         metric_list=[dict(metric="acc"), dict(metric="perplexity")]),
    "text": dict(output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="text",
                 metric_list=[dict(metric=m) for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")]),
}

def sums(kind, sample):
    answers = sample["resps"]
    if kind == "text": return [float(answers[0][0])]
    return [float(a[0][0]) for a in answers]

def score(model, paths):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        kinds = {}
        for path in paths:
            name = os.path.basename(path).removesuffix(".jsonl")
            with open(path, encoding="utf-8") as f: first = json.loads(f.readline())
            kind = kinds[name] = next(k for k in KINDS if k in first)
            config = dict(task=name, dataset_path="json", dataset_kwargs=dict(data_files=dict(test=os.path.abspath(path))), test_split="test", **KINDS[kind])
            if "target_delimiter" in first: config["target_delimiter"] = first["target_delimiter"]
            with open(os.path.join(folder, name + ".yaml"), "w") as f: json.dump(config, f)   # JSON is YAML
        # logits_cache: where two requests end in the same ids, the shorter continuation is read at the wrong places (0.4.13)
        out = simple_evaluate(model="hf", model_args=dict(pretrained=os.path.abspath(model), dtype="float32", logits_cache=False), tasks=list(kinds), device="cpu", batch_size=8,
                              task_manager=TaskManager(include_path=folder, include_defaults=False), bootstrap_iters=10000, log_samples=True)
        for name, kind in kinds.items():
            metrics = {}
            for key, value in out["results"][name].items():
                metric, _, _ = key.partition(",")
                if metric.endswith("_stderr"): metrics.setdefault(metric.removesuffix("_stderr"), {})["error"] = value if isinstance(value, float) else None
                elif key.endswith(",none"): metrics.setdefault(metric, {})["value"] = float(value)
            samples = sorted(out["samples"][name], key=lambda s: s["doc_id"])
            result[name] = dict(metrics=metrics, sums=[round(s, 4) for sample in samples for s in sums(kind, sample)])
    return result

# ------------------------------------------------------------------------------------------------- the probe

def features(model, paths, last=False):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    most, sets = net.config.max_position_embeddings, []
    for path in paths:
        rows, labels = [], []
        with open(path, encoding="utf-8") as f: records = [json.loads(line) for line in f]
        for record in records:
            ids = tokenizer(record["text"])["input_ids"][:most]
            with torch.no_grad(): hidden = net(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
            rows.append((hidden[-1] if last else hidden.double().mean(0)).double().numpy()); labels.append(str(record["label"]))
        sets.append((rows, labels))
    return sets

def probe(model, train, test, strength):
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import StandardScaler
    (a, la), (b, lb) = features(model, (train, test))
    scaler = StandardScaler().fit(a)
    fit = LogisticRegression(C=float(strength), tol=1e-6, max_iter=2000).fit(scaler.transform(a), la)
    said = fit.predict(scaler.transform(b))
    last = features(model, (train,), True)[0][0]
    return dict(C=float(strength), macro_f1=f1_score(lb, said, average="macro"), micro_f1=accuracy_score(lb, said),
                mean=[[round(float(x), 5) for x in row] for row in a[:3]], last=[[round(float(x), 5) for x in row] for row in last[:3]])

if __name__ == "__main__":
    command, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command == "make" and not rest: make()
    elif command == "score" and len(rest) > 1:
        with contextlib.redirect_stdout(sys.stderr): result = score(rest[0], rest[1:])
        print(json.dumps(result))
    elif command == "probe" and len(rest) == 4: print(json.dumps(probe(*rest)))
    else: sys.exit(__doc__)
