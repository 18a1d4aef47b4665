"""The cutpaste renderer on small banks of our own, and on the packaged ones where fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from acp.backends.base import RenderRequest
from acp.backends.cutpaste.assets import missing
from acp.backends.cutpaste.backgrounds import COLUMNS, TABLE, folder_bank
from acp.backends.cutpaste.cutouts import (
    CutOut,
    habitat_of,
    suitability,
    usable_cutouts,
    with_attributes,
)
from acp.backends.render_cutpaste import CutPaste, CutPasteOptions
from acp.core.boxes import masks_to_xywh_px, xywhn_to_xywh_px
from acp.core.errors import AcpError, MissingRequirementError
from acp.core.types import Failure, Inventory, Rendering, SceneGraph, SceneObject

SIZE_WH = (160, 120)
packaged = CutPaste()
needs_assets = pytest.mark.skipif(bool(packaged.missing()), reason="the assets are not fetched")


def block(folder: Path, category: str, color: tuple[int, int, int], size: tuple[int, int]) -> None:
    """A cut-out that is a filled rectangle with a transparent margin."""
    image = Image.new("RGBA", (size[0] + 10, size[1] + 10), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((5, 5, size[0] + 4, size[1] + 4), fill=(*color, 255))
    (folder / category).mkdir(parents=True, exist_ok=True)
    image.save(folder / category / f"{color[0]}_{size[0]}.png")


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("banks")
    block(root / "cut", "zebra", (240, 240, 240), (120, 90))
    block(root / "cut", "dog", (110, 70, 35), (100, 80))
    block(root / "cut", "dog", (10, 10, 10), (100, 80))
    block(root / "cut", "airplane", (30, 60, 200), (150, 50))
    (root / "back").mkdir()
    picture = Image.new("RGB", (400, 300), (120, 160, 220))
    ImageDraw.Draw(picture).rectangle((0, 120, 399, 299), fill=(70, 120, 50))
    picture.save(root / "back" / "field.png")
    values = {
        "file": "field.png", "setting": "on a field", "habitats": "ground,air",
        "left": 0, "top": 0, "right": 1, "bottom": 1, "ground": 0.4, "water_top": 0,
        "water_bottom": 0, "sky_bottom": 0.4, "cover": 0, "light": "soft", "gamma": 1,
        "neutral": 0, "camera_cm": 160, "licence": "cc0-1.0", "package": "",
    }  # fmt: skip
    row = "\t".join(str(values[column]) for column in COLUMNS)
    (root / "back" / TABLE).write_text("\t".join(COLUMNS) + "\n" + row + "\n")
    return root / "cut", root / "back"


@pytest.fixture
def renderer(banks: tuple[Path, Path]) -> CutPaste:
    return CutPaste(CutPasteOptions(cutouts=str(banks[0]), backgrounds=str(banks[1])))


def request(
    boxes: list[list[float]], *names: str, seed: int = 3, setting: str = "on a field"
) -> RenderRequest:
    objects = tuple(SceneObject(*name.split(":")) for name in names)
    graph = SceneGraph(objects, (), "", setting)
    return RenderRequest(graph, np.array(boxes, dtype=np.float32).reshape(-1, 4), SIZE_WH, seed)


def drawn(renderer: CutPaste, wanted: RenderRequest) -> Rendering:
    [result] = renderer.render([wanted])
    assert isinstance(result, Rendering), result
    return result


APART = [[0.05, 0.45, 0.4, 0.4], [0.55, 0.5, 0.35, 0.4]]


def test_the_inventory_says_what_can_be_drawn_where(renderer: CutPaste) -> None:
    inventory = renderer.inventory()
    assert isinstance(inventory, Inventory)
    assert {look.attributes for look in inventory.looks["dog"]} == {"brown", "black"}
    assert inventory.looks["zebra"][0].aspect_wh == pytest.approx(120 / 90, rel=0.02)
    assert inventory.habitats == {"airplane": "air", "dog": "ground", "zebra": "ground"}
    assert inventory.settings == {"on a field": frozenset({"ground", "air"})}


def test_shapes_and_types(renderer: CutPaste) -> None:
    result = drawn(renderer, request(APART, "zebra", "dog"))
    assert result.image_rgb.shape == (120, 160, 3)
    assert result.image_rgb.dtype == np.uint8
    assert result.masks is not None
    assert result.visible is not None
    assert result.masks.shape == (2, 120, 160)
    assert result.masks.dtype == bool
    assert result.visible.tolist() == [1.0, 1.0]


def test_a_scene_without_objects_is_a_background(renderer: CutPaste) -> None:
    result = drawn(renderer, request([]))
    assert result.masks is not None
    assert result.masks.shape == (0, 120, 160)
    assert result.image_rgb.std() > 10


def test_masks_fill_their_boxes_and_stay_inside(renderer: CutPaste) -> None:
    wanted = request(APART, "zebra", "dog")
    for seed in range(8):
        result = drawn(renderer, replace(wanted, seed=seed))
        assert result.masks is not None
        asked = xywhn_to_xywh_px(wanted.boxes_xywhn, SIZE_WH)
        found = masks_to_xywh_px(result.masks)
        assert (found[:, :2] >= asked[:, :2] - 1.5).all()
        assert (found[:, :2] + found[:, 2:] <= asked[:, :2] + asked[:, 2:] + 1.5).all()
        bottoms = found[:, 1] + found[:, 3] - asked[:, 1] - asked[:, 3]
        assert np.abs(bottoms).max() <= 2
        longest = np.maximum(found[:, 2] / asked[:, 2], found[:, 3] / asked[:, 3])
        assert (longest > 0.85).all()


def test_masks_are_where_the_picture_differs_from_the_bare_one(renderer: CutPaste) -> None:
    result = drawn(renderer, request(APART, "zebra", "dog:black"))
    assert result.masks is not None
    zebra, dog = result.masks
    assert result.image_rgb[zebra].mean() > 150
    assert result.image_rgb[dog].mean() < 70


def test_masks_are_disjoint_and_the_hidden_share_is_known(renderer: CutPaste) -> None:
    # The dog stands in front, over the right half of the zebra.
    behind, before = [0.1, 0.4, 0.4, 0.4], [0.3, 0.45, 0.44, 0.45]
    result = drawn(renderer, request([behind, before], "zebra", "dog:brown"))
    alone = drawn(renderer, request([behind], "zebra"))
    assert result.masks is not None
    assert result.visible is not None
    assert alone.masks is not None
    assert not (result.masks[0] & result.masks[1]).any()
    assert result.visible[1] == 1.0
    assert 0.3 < result.visible[0] < 0.75
    expected = result.masks[0].sum() / alone.masks[0].sum()
    assert result.visible[0] == pytest.approx(expected, abs=0.15)


def test_a_thing_wholly_hidden_has_an_empty_mask(renderer: CutPaste) -> None:
    boxes = [[0.4, 0.6, 0.1, 0.1], [0.2, 0.4, 0.5, 0.5]]
    result = drawn(renderer, request(boxes, "dog", "zebra"))
    assert result.masks is not None
    assert result.visible is not None
    assert not result.masks[0].any()
    assert result.visible[0] == 0


def test_what_flies_is_behind_what_stands(renderer: CutPaste) -> None:
    boxes = [[0.2, 0.3, 0.5, 0.2], [0.3, 0.3, 0.4, 0.5]]
    result = drawn(renderer, request(boxes, "airplane", "zebra"))
    assert result.visible is not None
    assert result.visible[1] == 1.0
    assert result.visible[0] < 0.8


def test_the_ground_line_lies_above_the_feet(renderer: CutPaste) -> None:
    for seed in range(6):
        wanted = request([[0.3, 0.3, 0.4, 0.35]], "dog:black", seed=seed)
        result = drawn(renderer, wanted)
        below = result.image_rgb[-8:].reshape(-1, 3).astype(float).mean(axis=0)
        left = result.image_rgb[80:84, :20].reshape(-1, 3).astype(float).mean(axis=0)
        assert below[1] > below[2]
        assert left[1] > left[2]


def test_the_ground_is_darker_at_the_feet_and_the_sky_is_not(renderer: CutPaste) -> None:
    result = drawn(renderer, request([[0.3, 0.4, 0.4, 0.4]], "zebra"))
    assert result.masks is not None
    x, y, width, height = masks_to_xywh_px(result.masks)[0].astype(int)
    under = result.image_rgb[y + height : y + height + 2, x + 5 : x + width - 5].mean()
    away = result.image_rgb[y + height + 12 : y + height + 16].mean()
    assert under < away - 10
    plane = drawn(renderer, request([[0.3, 0.1, 0.4, 0.2]], "airplane", seed=5))
    assert plane.masks is not None
    x, y, width, height = masks_to_xywh_px(plane.masks)[0].astype(int)
    below = plane.image_rgb[y + height + 2 : y + height + 5, x : x + width]
    beside = plane.image_rgb[y + height + 2 : y + height + 5, :10]
    assert below.mean() == pytest.approx(beside.mean(), abs=4)


def test_the_same_seed_gives_the_same_bytes_whatever_shares_the_batch(
    banks: tuple[Path, Path],
) -> None:
    options = CutPasteOptions(cutouts=str(banks[0]), backgrounds=str(banks[1]))
    wanted = [request(APART, "zebra", "dog", seed=seed) for seed in range(4)]
    together = CutPaste(options).render(wanted)
    alone = [CutPaste(options).render([one])[0] for one in reversed(wanted)][::-1]
    for a, b in zip(together, alone, strict=True):
        assert isinstance(a, Rendering)
        assert isinstance(b, Rendering)
        assert np.array_equal(a.image_rgb, b.image_rgb)
        assert a.masks is not None
        assert b.masks is not None
        assert np.array_equal(a.masks, b.masks)
    first, second = together[:2]
    assert isinstance(first, Rendering)
    assert isinstance(second, Rendering)
    assert not np.array_equal(first.image_rgb, second.image_rgb)


def test_attributes_choose_the_cutout(renderer: CutPaste) -> None:
    for color, low, high in (("black", 0, 70), ("brown", 55, 130)):
        result = drawn(renderer, request(APART[:1], f"dog:{color}"))
        assert result.masks is not None
        assert low < result.image_rgb[result.masks[0]].mean() < high


@pytest.mark.parametrize(
    ("name", "setting", "reason"),
    [
        ("giraffe", "on a field", "the cut-out bank has no giraffe"),
        ("dog:purple", "on a field", "no cut-out of dog is 'purple'"),
        ("dog", "on the moon", "no photograph for 'on the moon' offers ground"),
    ],
)
def test_what_cannot_be_drawn_fails_with_its_reason_and_alone(
    renderer: CutPaste, name: str, setting: str, reason: str
) -> None:
    bad, good = request(APART[:1], name, setting=setting), request(APART[:1], "dog")
    results = renderer.render([bad, good])
    assert results[0] == Failure(reason)
    assert isinstance(results[1], Rendering)


def test_no_room_on_the_ground_is_a_failure(renderer: CutPaste, banks: tuple[Path, Path]) -> None:
    table = (banks[1] / TABLE).read_text().replace("\t0.4\t0\t0\t0.4", "\t0.97\t0\t0\t0.4")
    assert "0.97" in table
    other = banks[1].parent / "low"
    other.mkdir()
    (other / TABLE).write_text(table)
    (other / "field.png").write_bytes((banks[1] / "field.png").read_bytes())
    low = CutPaste(CutPasteOptions(cutouts=str(banks[0]), backgrounds=str(other)))
    [result] = low.render([request([[0.1, 0.1, 0.3, 0.3]], "dog")])
    assert result == Failure("no room in 'on a field'")


def test_the_identity_tells_banks_apart(renderer: CutPaste, banks: tuple[Path, Path]) -> None:
    info = renderer.info()
    assert (info.id, info.licence) == ("cutpaste", "other")
    again = CutPaste(CutPasteOptions(cutouts=str(banks[0]), backgrounds=str(banks[1])))
    assert again.info() == info


def test_assets_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACP_HOME", str(tmp_path))
    lacking = CutPaste().missing()
    assert lacking == missing([lack.what.removeprefix("asset ") for lack in lacking])
    assert {lack.mend for lack in lacking} == {"acp assets fetch"}
    with pytest.raises(MissingRequirementError, match="acp assets fetch"):
        CutPaste().load()


def test_a_background_folder_that_is_wrong_is_one_line(
    banks: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(AcpError, match="no photographs"):
        folder_bank(tmp_path)
    table = (banks[1] / TABLE).read_text()
    for old, new, message in (
        ("ground,air", "ground,moon", "habitats must be one of ground"),
        ("\tsoft\t", "\tdim\t", "light must be one of soft"),
        ("field.png", "../field.png", "lies outside"),
        ("field.png", "none.png", "none.png is not there"),
        ("\t160\t", "\tx\t", "camera_cm must be a number"),
    ):
        (tmp_path / TABLE).write_text(table.replace(old, new))
        with pytest.raises(AcpError, match=message):
            folder_bank(tmp_path)


def test_photographs_without_a_table_are_places_outdoors(banks: tuple[Path, Path]) -> None:
    folder = banks[1].parent / "plain"
    folder.mkdir()
    (folder / "a.png").write_bytes((banks[1] / "field.png").read_bytes())
    assert folder_bank(folder).settings == {"outdoors": {"ground", "surface", "air"}}


def some(category: str, support: str = "ground", view: str = "level", quality: int = 2) -> CutOut:
    return CutOut(Path("x.png"), category, "brown", "standing", support, view, "left", quality)


def test_usable_cutouts_are_of_one_support_and_seen_from_the_side() -> None:
    level, top, flying = some("gull"), some("gull", view="top"), some("gull", "air")
    assert usable_cutouts("gull", [level, top], 2) == [level]
    assert usable_cutouts("gull", [top], 2) == [top]
    assert usable_cutouts("gull", [level, flying], 2) == [flying]
    assert usable_cutouts("gull", [level, level, flying], 2) == [level, level]
    for unusable in (some("gull", "perch"), some("gull", view="portrait"), some("gull", quality=1)):
        assert usable_cutouts("gull", [unusable], 2) == []


def test_attributes_match_in_full_then_by_color_then_by_words() -> None:
    dog = some("dog")
    for phrase in ("", "brown, standing", "Brown", "standing brown"):
        assert with_attributes([dog], phrase) == [dog]
    assert with_attributes([dog], "white") == []


def test_a_large_cutout_is_preferred_for_a_large_box(banks: tuple[Path, Path]) -> None:
    path = next((banks[0] / "dog").glob("*.png"))
    cutout = replace(some("dog"), path=path)
    assert suitability(cutout, (150, 120)) > 10 * suitability(cutout, (600, 480))
    assert suitability(cutout, (100, 80)) > suitability(cutout, (40, 80))


def test_small_things_lie_on_surfaces_and_large_ones_on_the_ground() -> None:
    assert habitat_of("lemon", "ground") == "surface"
    assert habitat_of("guitar", "ground") == "ground"
    assert habitat_of("gull", "air") == "air"


@needs_assets
def test_the_packaged_banks_offer_a_place_to_everything() -> None:
    inventory = packaged.inventory()
    assert len(inventory.looks) > 90
    for category, habitat in inventory.habitats.items():
        offering = [name for name, offered in inventory.settings.items() if habitat in offered]
        assert offering, category


@needs_assets
def test_every_packaged_background_takes_a_scene() -> None:
    inventory = packaged.inventory()
    for setting, offered in inventory.settings.items():
        name = {"ground": "zebra", "surface": "lemon", "water": "dolphin", "air": "airplane"}[
            next(h for h in ("ground", "surface", "water", "air") if h in offered)
        ]
        graph = SceneGraph((SceneObject(name),), (), "", setting)
        boxes = np.array([[0.3, 0.4, 0.4, 0.45]], dtype=np.float32)
        [result] = packaged.render([RenderRequest(graph, boxes, (320, 240), 1)])
        assert isinstance(result, Rendering), (setting, result)
        assert result.masks is not None
        assert result.masks[0].mean() > 0.01
    assert packaged.info().licence == "gpl-2.0"
