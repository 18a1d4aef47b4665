"""Scene graphs as plain English: what each object is called, and a caption that names them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from acp.core.types import Relation

_AN = re.compile(
    r"(?!uni|us[aeiu]|uri|eu|ewe|one\b|once\b)[aeiou]|hour|honest|heir|x-ray", re.IGNORECASE
)
_POSE = re.compile(r"(\w+ing|perched|seated|parked|asleep)$")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_AFTER = re.compile(r"(with|in|on|of|at|from|made of|covered|\w+ing) ")


@dataclass(frozen=True, slots=True)
class Named:
    """An object in words: its noun, and its attribute phrase taken apart.

    "brown, standing" is an adjective and a pose; "red, with a long tail" adds to
    the noun.
    """

    noun: str
    adjectives: str = ""
    pose: str = ""
    addition: str = ""

    @classmethod
    def of(cls, noun: str, attributes: str) -> Named:
        """Parse an attribute phrase.

        >>> Named.of("horse", "brown, standing")
        Named(noun='horse', adjectives='brown', pose='standing', addition='')
        """
        before, pose, after = [], "", []
        for part in filter(None, (part.strip() for part in attributes.split(","))):
            if _POSE.match(part) and not pose:
                pose = part
            elif _AFTER.match(part):
                after.append(part)
            else:
                before.append(part)
        return cls(noun, ", ".join(before), pose, " and ".join(after))

    def phrase(self, with_pose: bool) -> str:
        """Without an article; the pose, where wanted, comes first ("grazing brown horse").

        Standing goes without saying, and so does the colour of an orange.
        """
        pose = self.pose if with_pose and self.pose != "standing" else ""
        adjectives = "" if self.adjectives == self.noun else self.adjectives
        return " ".join(filter(None, (pose, adjectives, self.noun, self.addition)))


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an", by the sound of its first word.

    >>> with_article("orange cat"), with_article("unicycle"), with_article("hourglass")
    ('an orange cat', 'a unicycle', 'an hourglass')
    """
    return f"{'an' if _AN.match(phrase) else 'a'} {phrase}"


def join_and(phrases: Sequence[str]) -> str:
    """A list in words.

    >>> join_and(["a cat", "a dog", "a pig"])
    'a cat, a dog and a pig'
    """
    *most, last = phrases
    return f"{', '.join(most)} and {last}" if most else last


def names(caption: str, spellings: Iterable[str]) -> bool:
    """Whether one of the spellings stands in the caption as words, alone or in the plural.

    >>> names("Two teddy bears.", ["teddy_bear"]), names("A carton.", ["car"])
    (True, False)
    """
    text = caption.lower().replace("_", " ")
    words = (re.escape(spelling.lower().replace("_", " ")) for spelling in spellings)
    return any(re.search(rf"\b{word}(s|es)?\b", text) for word in words)


def compose(
    opening: str,
    place: str,
    objects: Sequence[Named],
    relations: Sequence[Relation],
    wordings: Sequence[str],
) -> str:
    """A caption that names every object and tells every relation.

    Args:
        opening: a sentence with `{objects}` and `{place}`: "A photo of {objects} {place}."
        place: with its preposition: "on a meadow".
        objects: at least one.
        relations: told in this order.
        wordings: of each relation, in the same order: "to the left of".

    >>> horse, cow = Named.of("horse", "brown, standing"), Named.of("cow", "black and white")
    >>> compose("A photo of {objects} {place}.", "on a meadow", [horse, cow],
    ...         [Relation(0, "left of", 1)], ["to the left of"])
    'A photo of a brown horse standing to the left of a black and white cow on a meadow.'
    """
    teller = _Teller(objects)
    told = list(zip(relations, wordings, strict=True))
    main = teller.clause(*told.pop(0)) if told else teller.listed(range(len(objects)))
    sentences = [opening.format(objects=main, place=place)]
    sentences += [teller.sentence(relation, wording) for relation, wording in told]
    rest = [index for index in range(len(objects)) if index not in teller.order]
    if rest:
        sentences.append(f"There {'is' if len(rest) == 1 else 'are'} also {teller.listed(rest)}.")
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


@dataclass(slots=True)
class _Teller:
    """Names objects as a story does: "a brown cow", then "another brown cow", then "the cow"."""

    objects: Sequence[Named]
    order: list[int] = field(default_factory=list)
    subjects: set[int] = field(default_factory=set)

    def clause(self, relation: Relation, wording: str) -> str:
        """Such as "a brown horse standing to the left of a cow"."""
        words = self.subject(relation.subject), wording, self.name(relation.object)
        return " ".join(words)

    def sentence(self, relation: Relation, wording: str) -> str:
        """Such as "the horse is also behind a red car."."""
        known, spoken_of = relation.subject in self.order, relation.subject in self.subjects
        subject = self.subject(relation.subject, "is also" if known and spoken_of else "is")
        return f"{subject} {wording} {self.name(relation.object)}."

    def listed(self, indices: Iterable[int]) -> str:
        """Such as "a cat, a dog and a pig"; each is new."""
        return join_and([self.name(index) for index in indices])

    def subject(self, index: int, verb: str = "") -> str:
        """The name and the verb; the pose is told at the first mention, after the verb."""
        pose = "" if index in self.order else self.objects[index].pose
        self.subjects.add(index)
        return " ".join(filter(None, (self.name(index, with_pose=False), verb, pose)))

    def name(self, index: int, with_pose: bool = True) -> str:
        if index in self.order:
            return self._again(index)
        before = [self.objects[other] for other in self.order]
        self.order.append(index)
        new = self.objects[index]
        alike = [o for o in before if o.noun == new.noun and new.adjectives in ("", o.adjectives)]
        if alike:
            return f"another {new.phrase(with_pose=False)}"
        return with_article(new.phrase(with_pose))

    def _again(self, index: int) -> str:
        """ "the cow" where there is one cow, else "the brown cow", else "the second brown cow"."""
        object_ = self.objects[index]
        same_noun = [i for i, o in enumerate(self.objects) if o.noun == object_.noun]
        short = f"{object_.adjectives} {object_.noun}".strip()
        alike = [i for i in same_noun if self.objects[i].adjectives == object_.adjectives]
        if len(same_noun) == 1:
            return f"the {object_.noun}"
        if len(alike) == 1 and object_.adjectives:
            return f"the {short}"
        place = [i for i in self.order if i in alike].index(index)
        return f"the {_ORDINALS[place]} {short}"
