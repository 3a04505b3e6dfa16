#!/usr/bin/env python3
"""Writes folders.json: models' folders that have no tokenizer.json (vocab.txt; vocab.json and merges.txt), with the ids and
decoded texts that transformers gives for them. Needs transformers 5.12 and tokenizers.
usage: make_folders.py OUT.json [RANDOM_TEXTS SEED]     with two more arguments: that many random texts a folder instead"""
import json, os, random, sys, tempfile
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer
from make_components import TEXTS, random_text

STORY = ("The heart pumps blood through the arteries, and the veins return it. In every beat the left ventricle contracts; its "
         "valve opens, the other valve closes. Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m 1,250 ml/min (at rest). It isn't the heart's only task: \u4e2d\u6587 "
         "\u65e5\u672c. Blood, bloody, bleeding, bled; heartbeat, hearts, heartless, unheard-of. Return, returned, returning. 3.14 12 99 ")
MORE = ["The heart's valve, the heartbeats!", "THE HEART Caf\u00e9 CAF\u00c9 cafe\u0301 \u00c5ngstr\u00f6m", "\u4e2d\u6587\u65e5\u672c\u8a9e text\u4e2dtext", "[CLS] the [SEP] [MASK] [UNK] [PAD]",
        " [MASK]the[MASK] heart [MASK]", "[cls] [mask]", "a" * 99 + " " + "a" * 100 + " " + "a" * 101, "heartheartheartxq", "isn't . it . ? ! 's", "<s>the</s> <mask> heart<mask> <pad>",
        "a\u200d\u0301\u0308b \u0130\u0131 \u01c5 \ufb01 \u1e9e", "\u0000heart\u0000 \ufffdblood\ufffd \u00adve\u00adins \u200bA", "\u3400\U00020000\uf900 \u3042\u30a2 \uac00", "\u00a0the\u3000heart\u2003\u2028x\u0085y", "new heart newnew <e1> one two",
        "\U0001f642\U0001f469\u200d\U0001f469 \u2764\ufe0f", "--the--heart ... \u2014 \u201cblood\u201d \u00a1\u00bf $+<=>^`|~ \u00a9\u20ac", "\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u064e\u0631\u0628\u064a\u0629 \u05e9\u05c1\u05dc\u05d5\u05dd"]
YOUNG = "\u1c89\ua7cb\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\ua7dc\U00010d50\U00010d65\U00016ea0\U00016eb8"  # have lower case there
FEW = [3, 4, 14]  # of MORE
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece(lower):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator([STORY], trainers.WordPieceTrainer(vocab_size=260, special_tokens=SPECIAL, show_progress=False))
    vocab = t.get_vocab()
    return sorted(vocab, key=vocab.get)


def byte_level():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator([STORY], trainers.BpeTrainer(vocab_size=340, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    vocab = dict(sorted(model["vocab"].items(), key=lambda x: x[1]))
    vocab["<mask>"] = len(vocab)
    return json.dumps(vocab, ensure_ascii=False), "#version: 0.2\n" + "".join("%s %s\n" % tuple(m) for m in model["merges"])


def flags(content, **more):
    return {**dict(content=content, lstrip=False, rstrip=False, normalized=False, single_word=False), **more}


def cases():
    low, cased = "\n".join(wordpiece(True)) + "\n", "\n".join(wordpiece(False)) + "\n"
    vocab, merges = byte_level()
    bert = lambda text=low, **files: {"vocab.txt": text, **files}
    bpe = lambda kind, **settings: {"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": dict(tokenizer_class=kind, **settings)}
    config, special, added = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    typed = lambda content, **more: {"__type": "AddedToken", **flags(content, **more)}
    yield "bert", True, bert(**{"config.json": dict(model_type="bert")})
    yield "bert, cased", True, bert(cased, **{config: dict(do_lower_case=False, tokenizer_class="BertTokenizer")})
    yield "bert, accents", False, bert(cased, **{config: dict(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False, tokenizer_class="BertTokenizerFast")})
    yield "bert, accents kept", False, bert(**{config: dict(do_lower_case=True, strip_accents=False, tokenizer_class="DistilBertTokenizer")})
    yield "bert, lines", False, bert("\ufeffx\r\nthe \r\nthe\r\n\r\n\u3000\r\n##art\u00a0\r\nhe\r\n" + low.replace("\n", "\r\n").rstrip(), **{config: dict(tokenizer_class="BertTokenizer")})
    yield "bert, no special tokens", False, bert("the\nheart\n##s\na\n", **{config: dict(tokenizer_class="BertTokenizer")})
    yield "bert, holes", False, bert("the\nthe\nthe\nheart\nheart\n" + "".join(t + "\n" for t in SPECIAL) + "<e1>\n", **{config: dict(tokenizer_class="BertTokenizer", additional_special_tokens=["<e1>"])})
    yield "bert, letters of Unicode 16 and 17", [" ".join(YOUNG)], bert("".join(t + "\n" for t in SPECIAL + list("\u1c8a\u0264\ua7cd\ua7cf\ua7d3\ua7d5\ua7db\u019b\U00010d70\U00010d85\U00016ebb\U00016ed3")),
        **{config: dict(tokenizer_class="BertTokenizer")})
    yield "bert, other tokens", False, bert(low + "<m>\n<c>\n", **{config: dict(tokenizer_class="BertTokenizer", mask_token="<mask>", pad_token=None, bos_token="<s>",
        cls_token=typed("<c>", lstrip=True, normalized=True), additional_special_tokens=["<e1>", "one"])})
    yield "bert, map", False, bert(**{config: dict(tokenizer_class="BertTokenizer", sep_token="[SEP]", mask_token="[MASK]"), special: dict(mask_token=flags("<mask>", lstrip=True), sep_token="heart")})
    yield "bert, list", False, bert(**{config: dict(tokenizer_class="BertTokenizer", unk_token="[UNK]", added_tokens_decoder={
        "262": flags("two", single_word=True, normalized=True, special=False), "0": flags("[PAD]", special=True), "4": flags("[MASK]", lstrip=True, special=False),
        "261": flags("new", normalized=True, special=False)}), special: dict(mask_token="<mask>"), added: {"no": 263}})
    yield "bert, added", False, bert(**{config: dict(tokenizer_class="BertTokenizer"), added: {"two": 299, "new": 280, "[MASK]": 4, "<e1>": 300}})
    yield "roberta", True, bpe("RobertaTokenizer")
    yield "roberta, space", False, bpe("RobertaTokenizerFast", add_prefix_space=True, mask_token=typed("<mask>", lstrip=True))
    yield "roberta by its model", False, {"vocab.json": vocab, "merges.txt": merges.replace("\n", "\r\n"), "config.json": dict(model_type="roberta", bos_token_id=5, eos_token_id=6)}
    yield "gpt2", False, bpe("GPT2Tokenizer", pad_token="<pad>")
    yield "gpt2, framed", False, bpe("GPT2Tokenizer", add_bos_token=True, unk_token="<unk>", bos_token="<s>")


def vectors(folder, texts):
    t = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        try: ids, special = (t(text, add_special_tokens=s)["input_ids"] for s in (False, True))
        except Exception: rows.append([text]); continue  # no unknown token where one is needed
        rows.append([text, ids, special, t._tokenizer.decode(special, skip_special_tokens=False), t._tokenizer.decode(special, skip_special_tokens=True)])
    named = [t.bos_token_id, t.eos_token_id, t.pad_token_id, t.unk_token_id]
    return dict(size=max(t.get_vocab().values()) + 1, special=[-1 if i is None else i for i in named], rows=rows)


def main():
    out = []
    contents = []
    r = random.Random(int(sys.argv[3])) if len(sys.argv) > 3 else None
    for name, full, files in cases():
        with tempfile.TemporaryDirectory() as folder:
            listed = {}
            for file, content in files.items():
                text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
                with open(os.path.join(folder, file), "w", encoding="utf-8", newline="") as f: f.write(text)
                if text not in contents: contents.append(text)
                listed[file] = contents.index(text)
            texts = [random_text(r) for _ in range(int(sys.argv[2]))] if r else full if isinstance(full, list) else MORE + TEXTS if full else [MORE[i] for i in FEW]
            out.append(dict(name=name, files=listed, **vectors(folder, texts)))
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write('{"contents": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False) for c in contents) + '],\n"folders": [\n' +
                ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in out) + "]}\n")


main()
