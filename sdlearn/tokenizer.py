"""The byte-pair tokenizer: from a prompt to the numbers that CLIP reads (chapter 08 builds it).

Equal to `transformers.CLIPTokenizer` on any vocabulary of CLIP's form, and written as such.
Source: Sennrich et al. 2016; Radford et al. 2019, section 2.2; Radford et al. 2021, section 2.4.
"""

import json
import math
import unicodedata
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import regex  # for \p{L}, any letter, and \p{N}, any digit, which `re` does not know
import torch

START, END, LAST = "<|startoftext|>", "<|endoftext|>", "</w>"
VERSION = "#version: 0.2"  # the first line of a merges.txt
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
# In capitals these two are no special tokens, but still pieces of their own: CLIP's are so.
PIECES = regex.compile(rf"{regex.escape(START)}|{regex.escape(END)}|{WORDS.pattern}")


def byte_symbols():
    """A visible character for each of the 256 bytes, in CLIP's order: {byte: character}.

    Printable bytes stand for themselves; the others (a space, say) borrow one from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


SYMBOLS = byte_symbols()
ALPHABET = [*SYMBOLS.values(), *(symbol + LAST for symbol in SYMBOLS.values())]  # tokens 0 … 511
BYTES = {symbol: byte for byte, symbol in SYMBOLS.items()}


def split_words(text):
    """Text in lower case as a list of words: letters, one digit, or signs. Spaces fall out."""
    text = unicodedata.normalize("NFC", text)  # é is one character, however it was typed
    text = "".join(letter.lower() for letter in text)  # one by one: a final Σ is σ, as any other
    return [word for piece in PIECES.findall(text) for word in WORDS.findall(piece)]


def spell(word):
    """A word as a list of symbols, one a byte; the last one is marked as the end of a word."""
    symbols = [SYMBOLS[byte] for byte in word.encode()]
    return [*symbols[:-1], symbols[-1] + LAST]


def merge(symbols, pair):
    """The symbols with each occurrence of the pair, from left to right, made one."""
    merged = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def merge_all(symbols, ranks):
    """The symbols of a word with its best pair merged, until none is left that has a rank."""
    while True:
        pairs = zip(symbols, symbols[1:])
        best = min(pairs, key=lambda pair: ranks.get(pair, math.inf), default=None)
        if best not in ranks:
            return symbols
        symbols = merge(symbols, best)


def learn_merges(counts, size):
    """Merge the most frequent pair of symbols, again and again, until there are `size` tokens.

    counts: {word: how often}. Returns {token: number} and the merged pairs in order; fewer, if
    all words are whole before that. Of equally frequent pairs the alphabetically first one is
    merged, so the order of the texts does not matter.
    """
    vocab, merges = {token: number for number, token in enumerate(ALPHABET)}, []
    spelt = {word: spell(word) for word in counts}
    pairs, where = Counter(), defaultdict(set)  # how often a pair occurs, and in which words

    def count(word, sign):
        for pair in zip(spelt[word], spelt[word][1:]):
            pairs[pair] += sign * counts[word]
            where[pair].add(word)

    for word in counts:
        count(word, 1)
    while len(vocab) < size and (most := max(pairs.values(), default=0)):
        best = min(pair for pair, number in pairs.items() if number == most)
        merges.append(best)
        vocab["".join(best)] = len(vocab)
        for word in where.pop(best):  # only these are counted anew
            count(word, -1)
            spelt[word] = merge(spelt[word], best)
            count(word, 1)
    return vocab, merges


class Tokenizer:
    """Text to numbers and back, by a vocabulary {token: number} and merges, best first.

    length: tokens a text, with start and end. pad: the token that fills the rest, the end token
    as in Stable Diffusion 1.x, or "!", number 0, as in 2.x. `.start .end .pad` are their numbers.
    """

    def __init__(self, vocab, merges, length=77, pad=END):
        for token in (START, END, pad):
            if token not in vocab:
                raise ValueError(f"the vocabulary lacks the special token {token!r}")
        if length < 3:
            raise ValueError(f"length {length}: start, end and one token between them are 3")
        self.vocab, self.merges, self.length = vocab, [tuple(pair) for pair in merges], length
        self.start, self.end, self.pad = vocab[START], vocab[END], vocab[pad]
        self.tokens = {number: token for token, number in vocab.items()}
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.special = regex.compile(f"({'|'.join(map(regex.escape, (START, END, pad)))})")
        self.known = {}  # words met before, as most are

    def __len__(self):
        return len(self.vocab)

    @classmethod
    def train(cls, texts, vocab_size, length=77):
        """A tokenizer learnt from texts: 512 byte symbols, merges, start and end token.

        Raises ValueError if the texts are too few for vocab_size tokens.
        """
        if vocab_size < 514:
            raise ValueError(f"vocab_size {vocab_size} is below 514: the bytes, start and end")
        counts = Counter(word for text in as_list(texts) for word in split_words(text))
        vocab, merges = learn_merges(counts, vocab_size - 2)
        if len(vocab) < vocab_size - 2:
            raise ValueError(
                f"these texts give no more than {len(vocab) + 2} tokens: take that as vocab_size, "
                "or more texts"
            )
        return cls(vocab | {START: vocab_size - 2, END: vocab_size - 1}, merges, length)

    def encode(self, text):
        """A text of any length as a list of numbers, without start and end."""
        numbers = []
        for part in self.special.split(text):
            if self.special.fullmatch(part):  # a special token, written out in the text
                numbers.append(self.vocab[part])
                continue
            for word in split_words(part):
                if word not in self.known:
                    symbols = merge_all(spell(word), self.ranks)
                    self.known[word] = [self.vocab.get(symbol, self.end) for symbol in symbols]
                numbers += self.known[word]
        return numbers

    def decode(self, ids):
        """Numbers (a list or a tensor) as text: lower case, one space a word, no special tokens.

        Bytes that are no UTF-8 become �. Raises ValueError for a number without a token.
        """
        ids = [int(number) for number in ids]
        for number in ids:
            if number not in self.tokens:
                raise ValueError(f"there is no token {number}: they are 0 to {len(self) - 1}")
        left_out = {self.start, self.end, self.pad}
        symbols = "".join(self.tokens[number] for number in ids if number not in left_out)
        text = bytes(BYTES[symbol] for symbol in symbols).decode(errors="replace")
        return text.replace(LAST, " ").strip()

    def __call__(self, texts):
        """A text or a list of texts as a LongTensor [B, length]: start, tokens, end, padding.

        What does not fit is left out, and a warning names it.
        """
        texts, room = as_list(texts), self.length - 2
        rows = torch.full((len(texts), self.length), self.pad, dtype=torch.long)
        for row, text in zip(rows, texts):
            ids = self.encode(text)
            if len(ids) > room:
                lost = self.decode(ids[room:])
                warnings.warn(
                    f"{len(ids) - room} of {len(ids)} tokens do not fit into {self.length} with "
                    f"start and end: {shorten(text)!r} is cut before {shorten(lost)!r}",
                    stacklevel=2,
                )
            ids = [self.start, *ids[:room], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def save(self, folder):
        """Write `vocab.json`, `merges.txt` and the small files that transformers wants."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        special = {"bos_token": START, "eos_token": END, "unk_token": END}
        special["pad_token"] = self.tokens[self.pad]
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": self.length, **special}
        write(folder / "vocab.json", json.dumps(self.vocab, ensure_ascii=False))
        write(folder / "merges.txt", "\n".join([VERSION, *map(" ".join, self.merges)]))
        write(folder / "special_tokens_map.json", json.dumps(special, indent=2))
        write(folder / "tokenizer_config.json", json.dumps(config, indent=2))

    @classmethod
    def load(cls, folder):
        """From a folder, as `save` wrote it, a published checkpoint has it, or transformers 5.

        Raises FileNotFoundError or ValueError if it holds no tokenizer of CLIP's kind.
        """
        folder = Path(folder)
        return cls(*read_vocabulary(folder), **read_settings(folder))


def as_list(texts):
    """One text or several as a list. Raises TypeError for anything else."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"a text is a string, not {text!r}: give one or a list of them")
    return texts


def shorten(text, size=60):
    return text if len(text) <= size else text[: size - 1] + "…"


def write(path, text):
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not the JSON it should be: {error}") from error


def read_settings(folder):
    """What the small files of a tokenizer's folder say, if they are there: length and pad."""
    config = {}
    for path in (folder / "special_tokens_map.json", folder / "tokenizer_config.json"):
        config |= read_json(path) if path.is_file() else {}
    pad, length = config.get("pad_token") or END, config.get("model_max_length") or 77
    pad = pad["content"] if isinstance(pad, dict) else pad
    return {"length": length if length < 1e9 else 77, "pad": pad}  # 10³⁰ stands for "not known"


def read_vocabulary(folder):
    """{token: number} and the list of merged pairs, from `vocab.json` and `merges.txt` or from
    `tokenizer.json`, which holds both."""
    whole, vocab_file, path = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if vocab_file.is_file() and path.is_file():
        vocab, lines = read_json(vocab_file), path.read_text(encoding="utf-8").split("\n")
        merges = [line for line in lines[lines[0].startswith("#version") :] if line.strip()]
    elif whole.is_file():
        model, path = read_json(whole).get("model", {}), whole
        if model.get("type") != "BPE" or model.get("end_of_word_suffix") != LAST:
            raise ValueError(f"{whole} is of a tokenizer of another kind, not CLIP's")
        vocab, merges = model["vocab"], model["merges"]
    else:
        raise FileNotFoundError(
            f"no tokenizer in {str(folder)!r}: vocab.json and merges.txt, or tokenizer.json, "
            "are expected there"
        )
    if not all(isinstance(number, int) for number in vocab.values()):
        raise ValueError(f"the vocabulary in {folder} is damaged: each token has one whole number")
    merges = [tuple(m.split() if isinstance(m, str) else m) for m in merges]
    for pair in merges:
        if len(pair) != 2 or "".join(pair) not in vocab:
            raise ValueError(f"{path}: {' '.join(pair)!r} is no merge of two tokens into a third")
    return vocab, merges
