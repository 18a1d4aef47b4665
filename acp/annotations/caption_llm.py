"""Relations of captions by a language model with constrained answers: the paper's way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from acp.annotations.caption_rules import Triple
from acp.annotations.captions import Caption, Parse, ParsedCaptions
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


def parse_by_llm(names: Sequence[str], llm: LLM, rejects: Rejects) -> Parse:
    """A `Parse` by a language model. What it answers wrongly is counted in `rejects`.

    It is offered the things that the caption names. A relation counts if each word of its predicate
    is, by its first letters, in the caption, and none names a thing.
    """
    spellings = Spellings(names)
    prompt = load_prompt(PROMPT, frozenset({"things", "caption"}))

    def asked(captions: Sequence[Caption]) -> ParsedCaptions:
        named = [spellings.named(caption.text, caption.boxes_of) for caption in captions]
        things = [[names[index] for index in sorted(each)] for each in named]
        requests = [
            CompletionRequest(
                prompt.messages(things=", ".join(each), caption=caption.text),
                relations_schema(each),
                derive_seed("caption relations", caption.text, *each),
                MOST_TOKENS,
            )
            for caption, each in zip(captions, things, strict=True)
        ]
        answers = llm.complete(requests)
        return [
            _read(answer, request.json_schema, caption, spellings, names, rejects)
            for caption, request, answer in zip(captions, requests, answers, strict=True)
        ]

    def parse_batches(batches: Iterable[Sequence[Caption]]) -> Iterator[ParsedCaptions]:
        for batch in batches:
            found: ParsedCaptions = []
            for start in range(0, len(batch), llm.chunk):
                found += asked(batch[start : start + llm.chunk])
            yield found

    return parse_batches


def _read(
    answer: str | Failure,
    schema: Schema,
    caption: Caption,
    spellings: Spellings,
    names: Sequence[str],
    rejects: Rejects,
) -> list[Triple]:
    where = f"caption {caption.text!r}"
    if isinstance(answer, Failure):
        rejects.add(f"caption without an answer: {answer.reason}", where)
        return []
    try:
        relations = parse(answer, schema)["relations"]
    except ValueError as error:
        rejects.add(f"caption with a wrong answer: {error}", where)
        return []
    indices = {names[index]: index for index in caption.boxes_of}
    found: dict[Triple, None] = {}
    for relation in relations:
        predicate = " ".join(re.findall(r"[a-z]+", relation["predicate"].lower()))
        if not _said(predicate, caption.text):
            rejects.add("relation whose predicate is not in the caption", where)
        elif len(predicate.split()) > MOST_WORDS or spellings.named(predicate, range(len(names))):
            rejects.add("relation whose predicate names things or is too long", where)
        else:
            ends = indices[relation["subject"]], indices[relation["object"]]
            found[ends[0], predicate, ends[1]] = None
    return list(found)


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
