"""Find the LVIS categories that a caption names, for `derive_priors.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from acp.core.errors import AcpError
from acp.core.vocabulary import categories, plain, resolve

# Words that mostly mean something else in a caption (a colour, a verb, a player, a place ...).
_STOP_TEXT = """
    camera cameras control controls pen pens pipe pipes runner runners horn horns spray sprays mound
    handle handles cover covers cast cone cones collar collars leather motor motors marker markers
    baseball post posts projector medicine engine engines paper
    orange watch watches glasses glass top trunk record records file files coach coaches iron ring
    rings papers rubber gag pet pets batter pitcher date dates bow bows fin fins tonic crisp
    slide slides tag pop ram base register brake jean organ home bob fan fans stand
    cream tank pole poles log rig yoke chap chaps polo tights corn hook saw drill pan pad
    cork crane cleat stirrup headset mat mats string strap strip hose hinge bar bars tape can cans
    pin pins tie ties dress pads chocolate wing baby stop bat bats mouse mice
"""
STOP_WORDS = frozenset(_STOP_TEXT.split())
# What caption writers mean by these words.
MEANINGS = {
    "bat": "baseball_bat",
    "bats": "baseball_bat",
    "home plate": "home_plate_(baseball)",
    "can": None,
    "baby": "person",
    "dress": "dress",
    "fan": "fan",
    "tie": "necktie",
    "mouse": "mouse_(computer_equipment)",
    "glass of wine": "wineglass",
    "people": "person",
    "men": "person",
    "women": "person",
    "children": "person",
    "kids": "person",
    "kid": "person",
    "guy": "person",
    "lady": "person",
    "surfer": "person",
    "skier": "person",
    "skateboarder": "person",
    "snowboarder": "person",
    "batter": "person",
    "pitcher": "person",
    "hot dog": None,
    "hot dogs": None,
    "dining table": "dining_table",
    "tennis court": None,
    "bus stop": None,
    "train station": None,
    "train tracks": None,
    "train track": None,
    "boat dock": None,
    "parking lot": None,
    "tennis player": "person",
    "baseball player": "person",
    "orange juice": "orange_juice",
    "living room": None,
    "skate park": None,
    "ski slope": None,
    "ski lift": None,
}
IRREGULAR = {
    "mouse": "mice",
    "goose": "geese",
    "knife": "knives",
    "calf": "calves",
    "wolf": "wolves",
    "loaf": "loaves",
    "shelf": "shelves",
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "leaf": "leaves",
    "scarf": "scarves",
    "foot": "feet",
}


def plural(noun: str) -> str:
    """English plural of the last word; good enough to match captions with."""
    head, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def caption_spellings() -> dict[tuple[str, ...], str | None]:
    """Words of a spelling to the LVIS category it names; None: the words name none of them."""
    table: dict[str, str | None] = {}
    for category in categories().values():
        for text in (category.name, category.noun, *category.synonyms):
            base = plain(re.sub(r"[_ ]*\(.*?\)", "", text))
            try:
                name = resolve(base).name
            except AcpError:
                continue
            for spelling in (base, plural(base)):
                if base not in STOP_WORDS and spelling not in STOP_WORDS:
                    table.setdefault(spelling, name)
    table["oranges"] = "orange_(fruit)"
    table.update(MEANINGS)
    return {tuple(words(spelling)): name for spelling, name in table.items()}


def words(text: str) -> list[str]:
    """Lower-case words; a hyphen parts two."""
    return re.findall(r"[a-z0-9']+", text.lower())


def named_categories(
    caption: str, spellings: Mapping[tuple[str, ...], str | None]
) -> Iterator[str]:
    """The categories a caption names, the longest spelling first at each word."""
    found = words(caption)
    longest = max(map(len, spellings))
    at = 0
    while at < len(found):
        sizes = range(min(longest, len(found) - at), 0, -1)
        size = next((n for n in sizes if tuple(found[at : at + n]) in spellings), 0)
        name = spellings[tuple(found[at : at + size])] if size else None
        if name is not None:
            yield name
        at += max(size, 1)
