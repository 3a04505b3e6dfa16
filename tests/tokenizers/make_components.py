#!/usr/bin/env python3
"""Writes components.json: small tokenizers, one for each component and option, with the ids and decoded texts that
Hugging Face tokenizers gives for them.
usage: make_components.py OUT.json [RANDOM_CASES SEED]     with two more arguments: random combinations instead"""
import json, random, sys, unicodedata
from tokenizers import Tokenizer

STORY = ("Once upon a time there was a little tokenizer. It read words, it read numbers like 3.14 and 2,718, and it didn't "
         "mind the weather. \"Hello, world!\" it said; hello, world. The theory then there the other thing.\n\n"
         "    def f(x):\n        return x + 1\n")
TEXTS = ["", " ", "  ", "a", "   a", "a   ", "Hello, world!", "hello  world  ", "\n\n\tx\n y", "don't WE'LL it's I'M", "3.14 and 12345 1,000",
         "na\u00efve cafe\u0301 \u00c5ngstr\u00f6m \u1e69\u0323\u0307", "\ufb01 \u00bd \u00b2 \u2167 \u2460", "\u65e5\u672c\u8a9e \u4e2d\u6587 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
         "\u0130stanbul \u00df \u03a3\u03c3\u03c2", "a\u200db\u00ad\ufeff", "x\u0000y\u0001z\u007f", "a\u00a0b\u3000c\u2028d\u180ee\u0085f", "\U0001f642\U0001f469\u200d\U0001f469", "<s> </s><unk>  <tok>x <TOK>y",
         " <tok> a<tok> <tok>b _<tok>_ ", "pre<tok>fix <longtok><long", "!!! ... (a) [b] {c} $5 +1 a_b", "one two\tthree\r\nfour\r\n\r\n", "\u2581a \u2581\u2581b", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22", "\u01c5 \u2c6f \u1e9e \u017f's 'S '\u017f", "theretherethere \u2603there"]
TOKENS = [dict(content="<unk>", special=True), dict(content="<s>", special=True), dict(content="</s>", special=True)]


def token(id, content, **options):
    return {**dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False), **options}


def byte_chars():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, n = {}, 0
    for b in range(256):
        if b in keep: table[b] = chr(b)
        else: table[b], n = chr(256 + n), n + 1
    return [table[b] for b in range(256)]


def pairs_of(words, start, limit, join=lambda a, b: a + b):
    """Plain BPE training: merges of the most frequent pairs."""
    merges, words = [], [list(w) for w in words]
    for _ in range(limit):
        count = {}
        for w in words:
            for p in zip(w, w[1:]): count[p] = count.get(p, 0) + 1
        if not count: break
        best = max(sorted(count), key=lambda p: count[p])
        if count[best] < 2: break
        merges.append(best)
        for k, w in enumerate(words):
            out, i = [], 0
            while i < len(w):
                if i + 1 < len(w) and (w[i], w[i + 1]) == best: out.append(join(*best)); i += 2
                else: out.append(w[i]); i += 1
            words[k] = out
    return merges


def bpe(symbols, merges, join=lambda a, b: a + b, **options):
    vocab = {}
    for s in symbols + [join(*m) for m in merges]: vocab.setdefault(s, len(vocab))
    return {**dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                   ignore_merges=False, vocab=vocab, merges=[list(m) for m in merges]), **options}


def models():
    alphabet = byte_chars()
    words = ["".join(alphabet[b] for b in w.encode()) for w in STORY.replace(" ", "\0 ").split("\0")]
    merges = pairs_of(words, alphabet, 120)
    m = {"bytes": bpe(alphabet, merges), "bytes-old": bpe(alphabet, merges)}
    m["bytes-old"]["merges"] = [" ".join(x) for x in merges]
    del m["bytes-old"]["ignore_merges"], m["bytes-old"]["type"]
    m["bytes-ignore"] = bpe(alphabet, merges[:60], ignore_merges=True)
    for w in ("there", "\u0120there", "Hello"): m["bytes-ignore"]["vocab"].setdefault(w, len(m["bytes-ignore"]["vocab"]))
    m["bytes-holes"] = bpe([c for c in alphabet if c not in "xyz!\u00c3"], merges[:60], unk_token="<unk>", fuse_unk=True)
    m["bytes-holes"]["vocab"]["<unk>"] = len(m["bytes-holes"]["vocab"])
    m["bytes-drop"] = bpe([c for c in alphabet if c not in "xyz!\u00c3"], [x for x in merges[:60]])
    piece = [("\u2581" + STORY.replace(" ", "\u2581"))]
    chars = sorted(set(piece[0])) + list("\u00e9\u65e5\u00df")
    spm = pairs_of(["\u2581" + w for w in STORY.replace("\n", "").split(" ")], chars, 100)
    hexes = ["<0x%02X>" % b for b in range(256)]
    head = ["<unk>", "<s>", "</s>"]
    for name, extra in (("spm", hexes), ("spm-nobytes", []), ("spm-somebytes", hexes[:0xe0])):
        for fuse in (True, False):
            m[name + ("" if fuse else "-nofuse")] = bpe(head + extra + chars, spm, unk_token="<unk>", fuse_unk=fuse, byte_fallback=True)
    crossing = pairs_of(piece, chars, 90)
    m["spm-crossing"] = bpe(head + chars, crossing, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    m["spm-unkmerge"] = bpe(head + chars + ["<unk>a"], crossing[:30] + [("<unk>", "a")], unk_token="<unk>", fuse_unk=False)
    m["spm-ignore"] = bpe(head + hexes + chars, spm[:30], unk_token="<unk>", fuse_unk=True, byte_fallback=True, ignore_merges=True)
    m["spm-ignore"]["vocab"]["\u2581Hello,\u2581world!"] = len(m["spm-ignore"]["vocab"])
    low = [w for w in STORY.lower().replace("\n", " ").split(" ") if w]
    ends = sorted({c for w in low for c in w[:-1]}) + sorted({w[-1] + "</w>" for w in low})
    gpt = pairs_of([list(w[:-1]) + [w[-1] + "</w>"] for w in low], ends, 60)
    m["suffix"] = bpe(["<unk>"] + ends, gpt, unk_token="<unk>", end_of_word_suffix="</w>")
    firsts = sorted({w[0] for w in low}) + sorted({"##" + c for w in low for c in w[1:]})
    join = lambda a, b: a + b[2:]
    pre = pairs_of([[w[0]] + ["##" + c for c in w[1:]] for w in low], firsts, 60, join)
    m["prefix"] = bpe(["<unk>"] + firsts, pre, join, unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True)
    # Every character alone and as a continuation: shows where words begin.
    every = set()
    for t in TEXTS + [chr(c) for c in range(33, 0x180)] + ["\u2581"]:
        for form in (t, t.lower(), *(unicodedata.normalize(f, x) for f in ("NFC", "NFD", "NFKC", "NFKD") for x in (t, t.lower()))): every |= set(form)
    every = sorted(every)
    wp = {}
    for s in ["[UNK]", "[CLS]", "[SEP]"] + every + ["##" + c for c in every] + ["the", "##re", "hello", "##llo", "world"]: wp.setdefault(s, len(wp))
    m["chars"] = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=1000, vocab=wp)
    wp = {}
    for s in ["[UNK]", "the", "##re", "hel", "##lo", "##l", "a", "##a", "wor", "##ld", ",", "!", "caf", "##e", "."]: wp.setdefault(s, len(wp))
    m["wordpiece"] = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=8, vocab=wp)
    return m


GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
O200K = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
PATTERNS = [GPT2, LLAMA3, LLAMA3.replace("{1,3}", ""), O200K, "\\s+", "\\w+", "\\d", "[^\\w\\s]", "\\p{Han}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", "^a|e$", "(?<=o)r", "(?=l)", "x*",
            "\\p{Punctuation}|\\p{Lu}", "[[:alpha:]]+", "\\h+", "(?i:HELLO|s)", "[\\s\\d]+", "[A-Za-z]{2,3}?", "\\n|\\t",
            " ?[^(\\s|[.,!?])]+", "[a[lo]e]+"]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
BYTE_LEVEL = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
SPM_DECODER = dict(type="Sequence", decoders=[dict(type="Replace", pattern=dict(String="\u2581"), content=" "), dict(type="ByteFallback"), dict(type="Fuse"),
                                               dict(type="Strip", content=" ", start=1, stop=0)])
SPM_NORMALIZER = dict(type="Sequence", normalizers=[dict(type="Prepend", prepend="\u2581"), dict(type="Replace", pattern=dict(String=" "), content="\u2581")])
NORMALIZERS = ([dict(type=t) for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")] +
               [dict(type="Strip", strip_left=l, strip_right=r) for l, r in ((True, False), (False, True), (True, True))] +
               [dict(type="Prepend", prepend="<"), dict(type="Replace", pattern=dict(String="l"), content="LL"), dict(type="Replace", pattern=dict(Regex="\\s{2,}"), content=" "),
                dict(type="Replace", pattern=dict(Regex="x+"), content=""), dict(type="Sequence", normalizers=[dict(type="NFD"), dict(type="StripAccents"), dict(type="Lowercase")]),
                dict(type="Sequence", normalizers=[])] +
               [dict(type="BertNormalizer", clean_text=a, handle_chinese_chars=b, strip_accents=c, lowercase=d)
                for a, b, c, d in ((True, True, None, True), (True, True, None, False), (False, False, True, False), (True, False, False, True))])


def pre_tokenizers():
    out = [dict(type="Whitespace"), dict(type="WhitespaceSplit"), dict(type="BertPreTokenizer"), dict(type="Digits", individual_digits=True),
           dict(type="Digits", individual_digits=False)]
    out += [dict(type="Punctuation", behavior=b) for b in BEHAVIORS]
    out += [dict(type="Split", pattern=dict(Regex=p), behavior=b, invert=i) for p in PATTERNS for b, i in (("Isolated", False), ("Removed", True))]
    out += [dict(type="Split", pattern=p, behavior=b, invert=i) for p in (dict(Regex="\\s+"), dict(String="l"), dict(String=". ")) for b in BEHAVIORS for i in (False, True)]
    out += [dict(type="Metaspace", replacement="\u2581", prepend_scheme=s, split=x) for s in ("always", "first", "never") for x in (True, False)]
    out += [dict(type="Metaspace", replacement="_", add_prefix_space=x) for x in (True, False)]
    out += [dict(type="Sequence", pretokenizers=[dict(type="WhitespaceSplit"), dict(type="Punctuation", behavior="Contiguous"), dict(type="Digits", individual_digits=True)])]
    return out


DECODERS = [None, dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True), dict(type="ByteFallback"), dict(type="Fuse"),
            dict(type="Metaspace", replacement="\u2581", prepend_scheme="always", split=True), dict(type="Metaspace", replacement="\u2581", prepend_scheme="never", split=True),
            dict(type="WordPiece", prefix="##", cleanup=True), dict(type="WordPiece", prefix="##", cleanup=False), dict(type="BPEDecoder", suffix="</w>"),
            dict(type="Replace", pattern=dict(Regex="[aeiou]"), content="*"), dict(type="Strip", content="l", start=2, stop=0), SPM_DECODER]
TEMPLATE = dict(type="TemplateProcessing", single=[dict(SpecialToken=dict(id="[CLS]", type_id=0)), dict(Sequence=dict(id="A", type_id=0)), dict(SpecialToken=dict(id="[SEP]", type_id=0))],
                pair=[dict(Sequence=dict(id="A", type_id=0)), dict(Sequence=dict(id="B", type_id=1))],
                special_tokens={"[CLS]": dict(id="[CLS]", ids=[1, 2], tokens=["[CLS]", "[SEP]"]), "[SEP]": dict(id="[SEP]", ids=[2], tokens=["[SEP]"])})
POSTS = [TEMPLATE, dict(type="BertProcessing", sep=["[SEP]", 2], cls=["[CLS]", 1]), dict(type="RobertaProcessing", sep=["[SEP]", 2], cls=["[CLS]", 1], trim_offsets=True, add_prefix_space=False),
         dict(type="Sequence", processors=[dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=True), TEMPLATE])]


def all_cases(m):
    cases = []
    add = lambda name, model, **spec: cases.append((name, model, spec))
    for n in NORMALIZERS: add("normalizer", "chars", normalizer=n, pre_tokenizer=dict(type="WhitespaceSplit"))
    for p in pre_tokenizers(): add("pre-tokenizer", "chars", pre_tokenizer=p)
    for name in m:
        if name.startswith("bytes"):
            for prefix in (False, True): add("byte-level", name, pre_tokenizer=dict(BYTE_LEVEL, add_prefix_space=prefix), decoder=DECODERS[1])
            add("byte-level, own split", name, decoder=DECODERS[1], normalizer=dict(type="NFC"), pre_tokenizer=dict(type="Sequence", pretokenizers=[
                dict(type="Split", pattern=dict(Regex=LLAMA3), behavior="Isolated", invert=False), dict(BYTE_LEVEL, use_regex=False)]))
            add("byte-level, no split", name, pre_tokenizer=dict(BYTE_LEVEL, use_regex=False), decoder=DECODERS[1])
            add("byte-level in the middle", name, pre_tokenizer=dict(type="Sequence", pretokenizers=[BYTE_LEVEL, dict(type="Digits", individual_digits=True)]), decoder=DECODERS[1])
        if name.startswith("spm"):
            add("no pre-tokenizer", name, normalizer=SPM_NORMALIZER, decoder=SPM_DECODER, added_tokens=[token(i, t["content"], special=True) for i, t in enumerate(TOKENS)])
            add("metaspace", name, pre_tokenizer=dict(type="Metaspace", replacement="\u2581", prepend_scheme="first", split=True), decoder=DECODERS[4],
                added_tokens=[token(i, t["content"], special=True, normalized=True) for i, t in enumerate(TOKENS)])
    for name in ("suffix", "prefix"): add("affix", name, normalizer=dict(type="Lowercase"), pre_tokenizer=dict(type="WhitespaceSplit"), decoder=DECODERS[8 if name == "suffix" else 6])
    add("wordpiece", "wordpiece", normalizer=NORMALIZERS[-4], pre_tokenizer=dict(type="BertPreTokenizer"), decoder=DECODERS[6])
    add("wordpiece", "wordpiece", pre_tokenizer=dict(type="Whitespace"), decoder=DECODERS[7])
    for d in DECODERS: add("decoder", "chars", decoder=d, pre_tokenizer=dict(type="WhitespaceSplit")); add("decoder", "spm", decoder=d)
    for p in POSTS: add("post-processor", "chars", post_processor=p, pre_tokenizer=dict(type="WhitespaceSplit"))
    first = len(m["chars"]["vocab"])
    for n in (None, dict(type="Lowercase"), dict(type="Prepend", prepend="\u2581"), dict(type="Strip", strip_left=True, strip_right=True)):
        for flags in (dict(), dict(lstrip=True), dict(rstrip=True), dict(lstrip=True, rstrip=True), dict(single_word=True), dict(normalized=True), dict(normalized=True, lstrip=True, rstrip=True),
                      dict(special=True), dict(special=True, normalized=True), dict(normalized=True, single_word=True)):
            add("added tokens", "chars", normalizer=n, pre_tokenizer=dict(type="Metaspace", replacement="\u2581", prepend_scheme="first", split=True),
                added_tokens=[token(first, "<tok>", **flags), token(first + 1, "<longtok>", **flags), token(first + 2, "<long", **flags), token(first + 3, "TOK", **flags)])
    return cases


def random_text(r):
    pools = ["abcdefghijklmnopqrstuvwxyz", "ABCXYZ", "0123456789", "     ", "\n\r\t", ".,;:!?'\"()[]{}<>/\\|+-*=_$%&#@^~`", "\u00e9\u00e8\u00fc\u00df\u0130\u017f\u03a3", "\u0301\u0323\u0307\u0308\u093f\u094d",
             "\u65e5\u672c\u4e2d\u6587\u3042\u30ab\ud55c\u1112\u1161\u11ab", "\u00a0\u3000\u2028\u0085\u200b\u200d\ufeff\u00ad", "\u00b2\u00bd\u2167\u0663\u09ea", "\U0001f642\U0001d54f\U00020000", "\u2581", "\u0000\u0001\u007f"]
    words = ["the", "there", "Hello", "world", "'s", "'LL", "'\u017f", "<tok>", "<longtok>", "<long", "TOK", "<s>", "</s>", "<unk>", "time", "  ", "didn't", "<0x41>"]
    return "".join(r.choice(words) if r.random() < 0.3 else r.choice(r.choice(pools)) for _ in range(r.randrange(0, 60)))


def random_cases(m, count, r):
    cases = []
    for _ in range(count):
        name = r.choice(sorted(m))
        size = len(m[name]["vocab"])
        first = lambda p: "first" in json.dumps(p)  # only at the head: elsewhere it is refused
        pres = [r.choice(pre_tokenizers()) for _ in range(r.randrange(1, 4))]
        pre = r.choice([None] + [dict(type="Sequence", pretokenizers=[p for i, p in enumerate(pres) if not i or not first(p)])] * 4)
        if name.startswith("bytes"):
            pre = dict(type="Sequence", pretokenizers=[x for x in [pre, dict(BYTE_LEVEL, add_prefix_space=r.random() < .3, use_regex=r.random() < .6)] if x])
        normalizer = r.choice([None, SPM_NORMALIZER, dict(type="Sequence", normalizers=[r.choice(NORMALIZERS) for _ in range(r.randrange(0, 4))])])
        flag = lambda: r.random() < .25
        added = [token(size + i, t, single_word=flag(), lstrip=flag(), rstrip=flag(), normalized=flag(), special=flag()) for i, t in enumerate(["<tok>", "<longtok>", "<long", "TOK", "oth"])]
        cases.append(("random", name, dict(normalizer=normalizer, pre_tokenizer=pre, decoder=r.choice(DECODERS), added_tokens=added if r.random() < .6 else [])))
    return cases


def main():
    r = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    m, rows, refused = models(), [], 0
    fuzz = len(sys.argv) > 2
    for name, model, spec in random_cases(m, int(sys.argv[2]), r) if fuzz else all_cases(m):
        full = dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None)
        full.update(spec)
        try: t = Tokenizer.from_str(json.dumps(dict(full, model=m[model])))
        except BaseException as error: refused += 1; print("refused", name, model, error, file=sys.stderr); continue
        row = dict(name=name, model=model, spec={k: v for k, v in spec.items() if v}, texts=[], decodes=[])
        for text in ([random_text(r) for _ in range(12)] if fuzz else TEXTS):
            try: row["texts"].append([text, t.encode(text, add_special_tokens=False).ids, t.encode(text).ids])
            except BaseException as error: print("failed", name, model, repr(text), error, file=sys.stderr)
        if spec.get("decoder") or name in ("decoder", "added tokens"):
            top = len(m[model]["vocab"]) + len(spec.get("added_tokens", []))
            lists = [x[1] for x in row["texts"][4:14]] + [[r.randrange(top + 2) for _ in range(n)] for n in (1, 2, 5, 12, 12, 12)]
            for ids in lists:
                try: row["decodes"].append([ids, t.decode(ids, skip_special_tokens=False), t.decode(ids, skip_special_tokens=True)])
                except BaseException as error: print("failed decode", name, model, ids, error, file=sys.stderr)
        rows.append(row)
    for row in rows:  # what is the same is not written twice
        row["texts"] = [x[:2] if x[1] == x[2] else x for x in row["texts"]]
        row["decodes"] = [x[:2] if x[1] == x[2] else x for x in row["decodes"]]
    lists = {}
    if not fuzz:  # texts and lists of ids by their number
        number = lambda ids: lists.setdefault(tuple(ids), len(lists))
        for row in rows: row["texts"] = [[TEXTS.index(x[0])] + [number(ids) for ids in x[1:]] for x in row["texts"]]
    used = {row["model"] for row in rows}
    with open(sys.argv[1], "w") as f:
        f.write('{"models":' + json.dumps({k: v for k, v in m.items() if k in used}, separators=(",", ":")) + ',\n"texts":' + json.dumps(TEXTS) + ',\n"lists":' + json.dumps([list(x) for x in lists], separators=(",", ":")) + ',\n"cases":[\n' +
                ",\n".join(json.dumps(x, separators=(",", ":")) for x in rows) + "\n]}\n")
    print(len(rows), "cases,", refused, "refused,", sum(len(x["texts"]) for x in rows), "texts,", sum(len(x["decodes"]) for x in rows), "decodings")


if __name__ == "__main__": main()
