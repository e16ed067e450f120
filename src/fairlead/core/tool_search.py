"""Finding tools by words: BM25 over what a tool says of itself.

Each tool is a document with weighted fields: a word of its name counts for more than one of its description.
How much a word that a query and a tool share is worth falls with the number of tools that have it, and what
repeats in one tool, or stands in a long text, counts for less and less (k1, b as usual). A word of the query
that no tool has stands for the words that begin with it.

Words are split where case changes and at anything that is not a letter or digit, and lose their commonest
English endings, so that `readFiles`, `read_file` and "reading a file" meet. Scripts that are written without
such borders (Hangul, Han, kana) are cut into pairs of characters.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

K1: Final = 1.2
B: Final = 0.5
EXACT: Final = 1e6  # for a query that is a tool's whole name
MAX_QUERY: Final = 1000  # characters that are looked at
MAX_ENDINGS: Final = 32  # words that a beginning may stand for
MAX_POSTINGS: Final = 100_000  # entries that one query looks at: some 50 ms
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_A-Za-z0-9]+")
_PLAIN: Final = {
    code: base
    for code in range(0xC0, 0x250)
    if (base := unicodedata.normalize("NFKD", chr(code))[0]).isascii()
}
"""Latin letters without their accents."""
_ENDINGS: Final = ("ing", "ed", "es", "s", "e")

Document = Sequence[tuple[float, str]]
"""Texts with their weights."""


def words(text: str) -> list[str]:
    """The words of a text as they are compared."""
    found: list[str] = []
    for word in _WORD.findall(text.translate(_PLAIN)):
        if word.isascii():
            found.append(_stem(word.lower()))
        elif len(word) == 1:
            found.append(word)
        else:
            found += (word[i : i + 2].lower() for i in range(len(word) - 1))
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


class ToolIndex:
    """An index over some tools, which are known by their place. Never changes."""

    def __init__(self, names: Sequence[str], documents: Iterable[Document]) -> None:
        """`names` are the tools' whole names, `documents` what they say."""
        self._names = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
        self._count = len(names)
        counts = [_counted(document) for document in documents]
        lengths = [sum(counted.values()) for counted in counts]
        mean = sum(lengths) / len(lengths) if lengths else 1.0
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, (counted, length) in enumerate(zip(counts, lengths, strict=True)):
            norm = K1 * (1 - B + B * length / (mean or 1.0))
            for word, weight in counted.items():
                self._postings[word].append((place, weight * (K1 + 1) / (weight + norm)))
        self._vocabulary = sorted(self._postings)

    def __repr__(self) -> str:
        return f"<ToolIndex tools={self._count} words={len(self._vocabulary)}>"

    def __len__(self) -> int:
        return self._count

    def best(self, query: str, limit: int) -> list[int]:
        """The places of the best matches, best first; for a query without words the first tools."""
        query = query[:MAX_QUERY]
        wanted = dict.fromkeys(words(query))
        if not wanted:
            return list(range(min(limit, self._count)))
        scores: defaultdict[int, float] = defaultdict(float)
        for meant in self._within_reason([self._meant(word) for word in wanted]):
            self._add(meant, scores)
        if (exact := self._names.get(query.strip().lower())) is not None:
            scores[exact] += EXACT
        return sorted(scores, key=lambda place: (-scores[place], place))[:limit]

    def _meant(self, word: str) -> Sequence[str]:
        """The words of the tools that a word of a query stands for."""
        return (word,) if word in self._postings else list(self._beginning_with(word))

    def _within_reason(self, queried: list[Sequence[str]]) -> Iterator[Sequence[str]]:
        """Those that few tools have come first, since they tell most; in the end the rest is left out."""
        left = MAX_POSTINGS
        effort = [(sum(len(self._postings[word]) for word in meant), meant) for meant in queried]
        for cost, meant in sorted(effort, key=lambda each: each[0]):
            if cost > left < MAX_POSTINGS:
                return
            left -= cost
            yield meant

    def _add(self, words_meant: Sequence[str], scores: defaultdict[int, float]) -> None:
        meant: dict[int, float] = {}
        for word in words_meant:
            for place, value in self._postings[word]:
                meant[place] = max(value, meant.get(place, 0.0))
        rarity = math.log(1 + (self._count - len(meant) + 0.5) / (len(meant) + 0.5))
        for place, value in meant.items():
            scores[place] += rarity * value

    def _beginning_with(self, word: str) -> Iterable[str]:
        first = bisect_left(self._vocabulary, word)
        return (w for w in islice(self._vocabulary, first, first + MAX_ENDINGS) if w.startswith(word))


def _counted(document: Document) -> Counter[str]:
    counted: Counter[str] = Counter()
    for weight, text in document:
        for word in words(text):
            counted[word] += weight  # type: ignore[assignment] # a Counter may well count in halves
    return counted
