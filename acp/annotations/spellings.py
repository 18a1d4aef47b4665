"""Which words of a caption name which annotated category."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

from acp.clis.similarity import fold_name
from acp.core.errors import AcpError
from acp.core.vocabulary import Category, resolve

# What people call things in captions, where neither COCO nor LVIS lists it. Keys are either's.
_EVERYDAY: Mapping[str, str] = {
    "person": "man woman boy girl child kid baby toddler lady guy gentleman male female adult"
    " teenager player batter catcher umpire pitcher skier snowboarder surfer skateboarder skater"
    " rider cyclist biker motorcyclist chef cook worker officer policeman fireman soldier"
    " pedestrian"
    " passenger couple 'baseball player' 'tennis player' 'soccer player' bride groom"
    " student friend family mother father son daughter",
    "bicycle": "bike",
    "motorcycle": "motorbike moped scooter 'motor bike' 'dirt bike' 'motor cycle'",
    "airplane": "plane jet aircraft airliner jetliner",
    "bus": "'double decker'",
    "truck": "pickup 'fire truck' 'tow truck' 'semi'",
    "boat": "sailboat canoe kayak ship rowboat raft",
    "traffic light": "stoplight 'stop light' 'traffic signal'",
    "fire hydrant": "hydrant",
    "parking meter": "meter",
    "bird": "duck goose seagull pigeon parrot swan owl eagle",
    "cat": "kitten kitty",
    "dog": "puppy pup",
    "horse": "pony colt",
    "sheep": "lamb ewe",
    "cow": "cattle bull calf ox steer",
    "elephant": "'baby elephant'",
    "bear": "cub 'polar bear' 'brown bear' 'black bear'",
    "backpack": "'back pack' knapsack",
    "handbag": "purse 'hand bag'",
    "tie": "necktie 'bow tie'",
    "suitcase": "luggage",
    "frisbee": "disc disk",
    "skis": "ski",
    "sports ball": "ball 'soccer ball' 'tennis ball' baseball basketball football volleyball",
    "baseball bat": "bat",
    "baseball glove": "mitt glove 'catcher mitt'",
    "skateboard": "'skate board'",
    "surfboard": "'surf board' board",
    "snowboard": "'snow board' board",
    "tennis racket": "racket racquet 'tennis racquet'",
    "wine glass": "glass 'glass of wine'",
    "cup": "mug 'coffee cup'",
    "donut": "doughnut",
    "cake": "cupcake 'birthday cake'",
    "hot dog": "hotdog",
    "couch": "sofa loveseat",
    "potted plant": "plant houseplant",
    "dining table": "table 'kitchen table' 'coffee table'",
    "tv": "television 'tv set' 'television set' monitor 'flat screen'",
    "laptop": "'laptop computer' computer notebook",
    "mouse": "'computer mouse'",
    "keyboard": "'computer keyboard'",
    "remote": "controller 'remote control' 'wii remote' 'game controller' wiimote",
    "cell phone": "phone cellphone smartphone 'mobile phone'",
    "microwave": "'microwave oven'",
    "oven": "stove",
    "refrigerator": "fridge 'refrigerator freezer'",
    "teddy bear": "'stuffed bear' 'stuffed animal' 'teddy' 'stuffed toy'",
    "hair drier": "'hair dryer' 'blow dryer' hairdryer",
}
_LVIS_NAMES = {"hair drier": "hair_dryer", "remote": "remote_control", "skis": "ski"}
_IRREGULAR: Mapping[str, str] = {
    "man": "men", "woman": "women", "gentleman": "gentlemen", "person": "people",
    "policeman": "policemen", "fireman": "firemen", "child": "children", "mouse": "mice",
    "goose": "geese", "ox": "oxen", "knife": "knives", "calf": "calves", "wolf": "wolves",
    "loaf": "loaves", "leaf": "leaves", "scarf": "scarves", "shelf": "shelves", "sheep": "sheep",
    "cattle": "cattle", "foot": "feet", "luggage": "luggage", "skis": "skis",
}  # fmt: skip
_NOT_THEIR_LAST_WORD = (
    "hot dog", "corn dog", "teddy bear", "stuffed bear", "gummy bear", "rocking horse", "sea horse",
    "gravy boat", "cutting board", "bulletin board", "ironing board", "score board", "white board",
    "stained glass", "magnifying glass", "power plant", "toilet bowl", "pool table", "pay phone",
    "railroad tie", "boxing glove", "oven mitt", "toaster oven", "toy train", "model train",
    "bowling ball", "head phone", "cup cake", "toilet seat", "car seat",
)  # fmt: skip


class Spellings:
    """Which categories words name: singular and plural of the names of the categories, of LVIS's
    synonyms and of what people say. Words that are not what their last word says name nothing,
    unless they are a name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: of the categories, folded."""
        table: defaultdict[str, dict[int, None]] = defaultdict(dict)
        for index, name in enumerate(names):
            for text in _called(name):
                for spelling in (text, plural(text)):
                    table[spelling][index] = None
        for text in _NOT_THEIR_LAST_WORD:
            for spelling in (text, plural(text)):
                table.setdefault(spelling, {})
        self._by_last_word: defaultdict[str, list[tuple[list[str], tuple[int, ...]]]]
        self._by_last_word = defaultdict(list)
        for spelling in sorted(table, key=lambda text: (-text.count(" "), text)):
            *before, last = spelling.split()
            self._by_last_word[last].append((before, tuple(table[spelling])))

    def meant(self, texts: Sequence[str], last: int) -> tuple[int, ...]:
        """The categories that the words up to `texts[last]` may name, by the longest spelling.

        >>> table = Spellings(["person", "dog", "bear (animal)"])
        >>> table.meant(["two", "women"], 1), table.meant(["puppies"], 0)
        ((0,), (1,))
        >>> table.meant(["a", "dog"], 1), table.meant(["a", "hot", "dog"], 2)
        ((1,), ())
        """
        for before, categories in self._by_last_word.get(texts[last], ()):
            start = last - len(before)
            if not before or (start >= 0 and list(texts[start:last]) == before):
                return categories
        return ()

    def named(self, text: str, present: Container[int]) -> Counter[int]:
        """How often words of a text may name each category of those present.

        >>> Spellings(["person", "dog", "cat"]).named("Men with a dog", {0, 1, 2})
        Counter({0: 1, 1: 1})
        """
        found = words(text)
        meant = (self.meant(found, last) for last in range(len(found)))
        return Counter(category for each in meant for category in each if category in present)

    def may_relate(self, text: str, boxes_of: Mapping[int, int]) -> bool:
        """Whether a caption names two things that its image has: a quick look before parsing.

        Args:
            boxes_of: categories of the image, and how many boxes each has.
        """
        named = self.named(text, boxes_of)
        if len(named) != 1:
            return len(named) > 1
        ((category, count),) = named.items()
        return count > 1 and boxes_of[category] > 1


def plural(noun: str) -> str:
    """English plural of the last word, which may be one already; good enough to match captions.

    >>> plural("wine glass"), plural("puppy"), plural("surfer man")
    ('wine glasses', 'puppies', 'surfer men')
    """
    head, space, last = noun.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head}{space}{last}"


def words(text: str) -> list[str]:
    """The words of a caption in lower case; a hyphen parts two."""
    return re.findall(r"[a-z0-9']+", text.lower())


def _called(name: str) -> Iterable[str]:
    yield name
    yield _bare(name)
    keys = {name, _bare(name)}
    try:
        category = resolve(_LVIS_NAMES.get(name, name))
    except AcpError:
        pass
    else:
        yield from _texts(category)
        keys |= {*_texts(category)}
    for key in sorted(keys & _EVERYDAY.keys()):
        for quoted, plain in re.findall(r"'([^']+)'|(\S+)", _EVERYDAY[key]):
            yield quoted or plain


def _texts(category: Category) -> list[str]:
    found = (category.name, category.noun, *category.synonyms)
    return list(dict.fromkeys(_bare(fold_name(text)) for text in found))


def _bare(name: str) -> str:
    """Without LVIS's parenthesis."""
    return re.sub(r" *\(.*?\)", "", name).strip()
