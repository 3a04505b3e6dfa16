#!/usr/bin/env python3
"""Writes patterns.json: what Oniguruma, as Hugging Face tokenizers uses it, makes of patterns that PCRE2 reads in another way.
usage: make_patterns.py OUT.json"""
import json, sys
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

TEXT = ("aaaa1234567bbb\v\u000b x\u2028y\r\nz \u00df ss SS \ufb06 st ffi \ufb03 k\u212a s\u017f {,2} pL \u0130 i\u0307 a{2}h\tH0F\x0c\x85\u00e9\u00c9 "
        "abcabc ABC ac bc Ac 'll 'LL \u0436\u0416 a\nb")
# Those that must be taken; the others may be refused, but never mean something else.
TAKEN = [r"\p{N}{1,3}+", r"a{2}+", r"a{2,}+", r"a{,2}", r"a{2}?", r"a{1,2}?", r"a{2,}?", r"a{2}", r"\pL", r"\pN+", r"\p{^L}", r"\P{L}+", r"\v", r"\h+", r"\u0061",
         r"\x61+", r"\x{61}+", r"(?i)k", r"(?i)s", r"\e", r"\a", r"\f", r"\Aa", r"^a", r"x$", r".+", r"[[:alpha:]]+", r"[\h]+", r"a++", r"a*+b", r"a?+", r"\d+",
         r"\w+", r"\s+", r"\S+", r"[^\S]", r"a{1,2}{2}", r"(a){2}+", r"\i", r"\-", r"\_", r"a{ 2}", r"a{x}", r"\p{Lu}", r"\p{Han}", r"\p{Letter}",
         r"(?i)[a-z]+", r"(?<=a)1", r"(?<!x)y", r"(?>a+)a", r"[\v]", r"\x{00DF}", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"(?:ab|c)+", r"(?:b|c){2}+", r"(?i:a(?-i:b)C)+",
         r"\p{N}{1,3}*a", r"(a|b){2,3}+c?", r"[ab]{2}{2}", r"[a-c]{3}?c", r"\u0436+", r"b{2,3}+", r" ?\p{L}+|\p{N}{1,2}+", r"\n\r?", r"a{3}{1,2}+",
         r"(?=a{2})a", r"[^\r\n\p{L}\p{N}]?+\p{L}+", r"\s+(?!\S)|\s+", r"\{,2\}", r"z|\x20{1}",
         r"(?i)\p{Lu}", r"(?i)\p{Ll}+", r"(?i)\P{Lu}", r"(?i)\p{^Lu}+", r"(?i)\p{Lowercase}", r"(?i)\p{Uppercase_Letter}{2}+"]
OTHERS = [r"(?i)\u0061bc", r"(?i)ss", r"(?i)st", r"(?i:ffi)", "(?i)\u00df", r"(?i)\u00df", r"(?i)i\u0307", r"\H+", r"\R", r"\X", r"\cA", r"\C-a", r"(?m).+", r"(?x) a b", r"[[:punct:]]+", r"[a-z&&b]+",
          r"\Q.\E", r"\b1", r"(?<n>a)\k<n>", r"(a)\1", r"{2}", r"a{2,1}", r"[[:word:]]+", r"[[:cntrl:]]", r"[[:xdigit:]]+", r"\p{lu}", r"\p{han}", r"\p{L&}", r"\p{IsAlpha}",
          r"\p{InBasicLatin}", r"(?~ab)", r"\N+", r"\O", r"\K", "(?i)\u00e9", "(?i:[\u00df])", r"(?#c)a", r"a|", r"[\b]", r"a(?i)b|c", r"(?i)b|c", r"(a(?i)b|c)", r"\x80", r"\xC3\xA9",
          r"a+*", r"a+?*", r"a**", r"a{2}{", r"a{99999}", r"(?i)\u1e9e", r"[a-\d]", r"[\w-z]", r"\Z", r"\z", r"a{0}b", r"a{0,0}b", r"\M-a", r"\u{61}", r"\o{101}", r"\101", r"[]a]",
          r"[^]a]", r"[a[b]]+", r"[a[^b]]+", "(?i)\u0436+", r"(?i)s\x73", r"(?i)s(?:s)", r"(?i)[s]s", r"x?{2}", r"(?i)k+", r"\y", r"\Gab", r"(?i)\x{df}",
          r"(?i)[\p{Lt}]", r"(?i)[[:upper:]]", r"(?i:[[:lower:]])+",
          r"(?!a)+", r"(?=a)*", r"(?<=a)?b", r"(?<!a){2}b", r"((?=a))+"]


def pieces(pattern):
    try:
        return [piece for piece, _ in Split(Regex(pattern), "isolated").pre_tokenize_str(TEXT)]
    except BaseException:
        return None


rows = [{"pattern": p, "taken": True, "pieces": pieces(p)} for p in TAKEN] + [{"pattern": p, "taken": False, "pieces": pieces(p)} for p in OTHERS]
with open(sys.argv[1], "w") as out:
    out.write(json.dumps({"text": TEXT})[:-1] + ', "rows": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")
