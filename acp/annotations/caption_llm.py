"""Relations of captions by a language model with constrained answers: the paper's way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from acp.annotations.caption_rules import Triple
from acp.annotations.captions import Caption, ParsedCaptions
from acp.annotations.reading import Rejects
from acp.annotations.spellings import Spellings
from acp.backends.base import LLM, CompletionRequest
from acp.core.prompts import load_prompt
from acp.core.seeds import derive_seed
from acp.core.types import Failure
from acp.pipeline.planning.llm_schemas import Schema, one_of, parse, record, text

PROMPT = "caption_relations"
MOST_RELATIONS, LONGEST_PREDICATE, MOST_WORDS, MOST_TOKENS = 4, 40, 5, 256


def relations_schema(things: Sequence[str]) -> Schema:
    """A bounded list of relations whose ends are things of the image.

    >>> schema = relations_schema(["dog", "cat"])
    >>> schema["properties"]["relations"]["items"]["properties"]["subject"]["enum"]
    ['dog', 'cat']
    """
    ends = one_of(things)
    relation = record({"subject": ends, "predicate": text(LONGEST_PREDICATE), "object": ends})
    return record({"relations": {"type": "array", "items": relation, "maxItems": MOST_RELATIONS}})


def prompt_version() -> str:
    """A checksum of the prompt: other words, other relations."""
    words = files("acp.data.prompts").joinpath(f"{PROMPT}.md").read_bytes()
    return f"{PROMPT}-{hashlib.sha256(words).hexdigest()[:8]}"


class ParseByLLM:
    """A `Parse` by a language model. What it answers wrongly is counted in `rejects`.

    It is offered the things that the caption names. A relation counts if each word of its predicate
    is, by its first letters, in the caption, and none names a thing.
    """

    def __init__(self, names: Sequence[str], llm: LLM, rejects: Rejects) -> None:
        self._names, self._llm, self._rejects = names, llm, rejects
        self._spellings = Spellings(names)
        self._prompt = load_prompt(PROMPT, frozenset({"things", "caption"}))

    def __call__(self, batches: Iterable[Sequence[Caption]]) -> Iterator[ParsedCaptions]:
        chunk = self._llm.chunk
        for batch in batches:
            starts = range(0, len(batch), chunk)
            yield [found for at in starts for found in self._ask(batch[at : at + chunk])]

    def _ask(self, captions: Sequence[Caption]) -> ParsedCaptions:
        requests = [self._request(caption) for caption in captions]
        answers = self._llm.complete(requests)
        return [
            self._read(answer, request.json_schema, caption)
            for caption, request, answer in zip(captions, requests, answers, strict=True)
        ]

    def _request(self, caption: Caption) -> CompletionRequest:
        named = self._spellings.named(caption.text, caption.boxes_of)
        things = [self._names[index] for index in sorted(named)]
        messages = self._prompt.messages(things=", ".join(things), caption=caption.text)
        seed = derive_seed("caption relations", caption.text, *things)
        return CompletionRequest(messages, relations_schema(things), seed, MOST_TOKENS)

    def _read(self, answer: str | Failure, schema: Schema, caption: Caption) -> list[Triple]:
        where = f"caption {caption.text!r}"
        if isinstance(answer, Failure):
            self._rejects.add(f"caption without an answer: {answer.reason}", where)
            return []
        try:
            relations = parse(answer, schema)["relations"]
        except ValueError as error:
            self._rejects.add(f"caption with a wrong answer: {error}", where)
            return []
        indices = {self._names[index]: index for index in caption.boxes_of}
        found: dict[Triple, None] = {}
        for relation in relations:
            predicate = " ".join(re.findall(r"[a-z]+", relation["predicate"].lower()))
            if problem := self._problem(predicate, caption.text):
                self._rejects.add(f"relation whose predicate {problem}", where)
            else:
                found[indices[relation["subject"]], predicate, indices[relation["object"]]] = None
        return list(found)

    def _problem(self, predicate: str, caption: str) -> str:
        if not _said(predicate, caption):
            return "is not in the caption"
        everything = range(len(self._names))
        too_long = len(predicate.split()) > MOST_WORDS
        if too_long or self._spellings.named(predicate, everything):
            return "names things or is too long"
        return ""


def _said(predicate: str, caption: str) -> bool:
    """Whether each word of a predicate is one of the caption, or another form of one.

    >>> _said("riding past", "A man rides past"), _said("wolf", "A woman"), _said("", "A man")
    (True, False, False)
    """
    spoken = re.findall(r"[a-z]+", caption.lower())
    words = predicate.split()
    return bool(words) and all(any(_same_verb(word, other) for other in spoken) for word in words)


def _same_verb(a: str, b: str) -> bool:
    """Whether two words are the same or differ by an ending."""
    shorter = min(len(a), len(b))
    stem = max(3, shorter - 2)
    return a == b or (shorter > 3 and a[:stem] == b[:stem])
