"""The cut-out bank: the packaged stamps, users' folders, and folders made from COCO data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from acp.backends.cutpaste.assets import asset_version, missing
from acp.backends.cutpaste.color_names import color_phrase
from acp.backends.cutpaste.cutouts import (
    COLUMNS,
    STAMPS,
    TABLE,
    CutoutBank,
    folder_bank,
    stamps_bank,
)
from acp.core.errors import AcpError
from acp.core.vocabulary import categories

needs_stamps = pytest.mark.skipif(bool(missing([STAMPS])), reason="the stamps are not fetched")


def disc(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (80, 60)) -> Path:
    image = Image.new("RGBA", size, (*color, 0))
    ImageDraw.Draw(image).ellipse((4, 4, size[0] - 5, size[1] - 5), fill=(*color, 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write_table(folder: Path, *rows: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]))


@pytest.fixture(scope="module")
def stamps() -> CutoutBank:
    return stamps_bank(asset_version(STAMPS))


@needs_stamps
def test_every_listed_stamp_is_a_cutout_of_an_lvis_category(stamps: CutoutBank) -> None:
    assert len(stamps.cutouts) > 150
    for cutout in stamps.cutouts:
        assert cutout.category in categories()
        assert min(cutout.size_wh) > 20
        assert cutout.colors


@needs_stamps
def test_a_sprite_is_cropped_and_mostly_solid(stamps: CutoutBank) -> None:
    zebra = stamps.by_category["zebra"][0]
    sprite = zebra.sprite()
    assert sprite.size_wh == zebra.size_wh
    assert sprite.rgb.shape == (*sprite.alpha.shape, 3)
    assert 0.2 < (sprite.alpha > 0.5).mean() < 0.9
    assert "black" in zebra.attributes


@needs_stamps
def test_colors_of_the_pixels_agree_with_those_given_by_eye(stamps: CutoutBank) -> None:
    plain = [c for c in stamps.cutouts if c.colors in {"red", "green", "black", "blue", "yellow"}]
    named = [c.colors in color_phrase(Image.open(c.path)) for c in plain]
    assert len(named) > 15
    assert np.mean(named) >= 0.85


def test_a_folder_without_a_table_names_its_colors(tmp_path: Path) -> None:
    disc(tmp_path / "tricycle" / "a.png", (210, 20, 20))
    disc(tmp_path / "hot-air balloon" / "b.png", (30, 60, 200))
    bank = folder_bank(tmp_path)
    found = {c.category: (c.attributes, c.support) for c in bank.cutouts}
    assert found == {"tricycle": ("red", "ground"), "hot-air_balloon": ("blue", "air")}


def test_the_version_changes_with_the_pictures(tmp_path: Path) -> None:
    disc(tmp_path / "dog" / "a.png", (120, 80, 40))
    before = folder_bank(tmp_path).version
    assert folder_bank(tmp_path).version == before
    disc(tmp_path / "dog" / "b.png", (20, 20, 20))
    assert folder_bank(tmp_path).version != before


def test_a_table_gives_color_and_pose(tmp_path: Path) -> None:
    disc(tmp_path / "x.png", (120, 80, 40))
    write_table(tmp_path, ("x.png", "dog", "brown", "sitting", "ground", "level", "left", "3"))
    assert folder_bank(tmp_path).by_category["dog"][0].attributes == "brown, sitting"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x.png", "doog", "", "", "ground", "level", "left", "3"), "line 2.*doog"),
        (("x.png", "dog", "", "", "floor", "level", "left", "3"), "support must be one of ground"),
        (("x.png", "dog", "", "", "ground", "side", "left", "3"), "view must be one of level"),
        (("x.png", "dog", "", "", "ground", "level", "left", "9"), "quality must lie in 1 to 3"),
        (("x.png", "dog", "", "", "ground", "level", "left", "a"), "quality must be a number"),
        (("x.png", "dog", "", ""), "expected 8 tab-separated values"),
        (("../x.png", "dog", "", "", "ground", "level", "left", "3"), "lies outside"),
        (("y.png", "dog", "", "", "ground", "level", "left", "3"), "y.png is not there"),
    ],
)
def test_a_wrong_row_is_an_error_that_names_its_line(
    tmp_path: Path, row: tuple[str, ...], message: str
) -> None:
    bank = tmp_path / "bank"
    disc(bank / "x.png", (1, 2, 3))
    write_table(bank, row)
    with pytest.raises(AcpError, match=message):
        folder_bank(bank)


def test_a_table_without_a_column_is_an_error(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text("file\tcategory\n")
    with pytest.raises(AcpError, match="lacks the column colors"):
        folder_bank(tmp_path)


def test_a_folder_that_is_no_bank(tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="no such folder"):
        folder_bank(tmp_path / "none")
    with pytest.raises(AcpError, match=r"no <category>/\*.png"):
        folder_bank(tmp_path)
    disc(tmp_path / "doog" / "a.png", (1, 2, 3))
    with pytest.raises(AcpError, match=r"'doog' is not an LVIS category.*did you mean"):
        folder_bank(tmp_path)


def test_a_bank_made_by_hand_is_read_around_what_is_none(tmp_path: Path) -> None:
    disc(tmp_path / "dog" / "A.PNG", (120, 80, 40))
    disc(tmp_path / "dog" / "b.webp", (20, 20, 20))
    (tmp_path / "dog" / "._A.PNG").write_bytes(b"\0\5\x16\7")
    for folder in ("__MACOSX", ".ipynb_checkpoints"):
        disc(tmp_path / folder / "a.png", (1, 2, 3))
    disc(tmp_path / "hard_hat" / "a.png", (1, 2, 3))
    Image.new("RGB", (40, 40)).save(tmp_path / "dog" / "plain.png")
    bank = folder_bank(tmp_path)
    assert [cutout.path.name for cutout in bank.cutouts] == ["A.PNG", "b.webp"]
    no_cutout, no_category = bank.left_out
    assert "plain.png: a cut-out must be RGBA" in no_cutout
    assert "'hard_hat' is not an LVIS category" in no_category


def test_tables_of_other_programs(tmp_path: Path) -> None:
    disc(tmp_path / "x.png", (120, 80, 40))
    write_table(
        tmp_path,
        ("x.png", "dog", "caf\u00e9 brown", "", "ground", "level", "left", "3"),
        ("x.png", "hard hat", "red", "", "ground", "level", "left", "3"),
    )
    table = tmp_path / TABLE
    text = table.read_text(encoding="utf-8")
    table.write_text(text, encoding="utf-8-sig")
    bank = folder_bank(tmp_path)
    assert [cutout.category for cutout in bank.cutouts] == ["dog"]
    assert "line 3: concept 'hard hat'" in bank.left_out[0]
    table.write_text(text, encoding="cp1252")
    with pytest.raises(AcpError, match="line 2: not UTF-8; save the table as UTF-8"):
        folder_bank(tmp_path)


def test_pictures_that_are_no_cutouts(tmp_path: Path) -> None:
    folder = tmp_path / "dog"
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    with pytest.raises(AcpError, match=r"a\.png: a cut-out must be RGBA, this is RGB"):
        folder_bank(tmp_path)
    Image.new("RGBA", (40, 40), (9, 9, 9, 255)).save(folder / "a.png")
    with pytest.raises(AcpError, match="all of this is opaque"):
        folder_bank(tmp_path)
    Image.new("RGBA", (40, 40)).save(folder / "a.png")
    with pytest.raises(AcpError, match="nothing but transparency"):
        folder_bank(tmp_path)
    (folder / "a.png").write_bytes(b"not an image")
    with pytest.raises(AcpError, match="is of no known image format"):
        folder_bank(tmp_path)
    data = disc(folder / "a.png", (9, 200, 9)).read_bytes()
    (folder / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(AcpError, match="does not decode"):
        folder_bank(tmp_path)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
        ((128, 128, 128), "grey"),
        ((255, 0, 0), "red"),
        ((255, 140, 0), "orange"),
        ((240, 220, 30), "yellow"),
        ((30, 130, 40), "green"),
        ((20, 60, 200), "blue"),
        ((130, 40, 160), "purple"),
        ((250, 160, 190), "pink"),
        ((110, 70, 35), "brown"),
        ((215, 195, 160), "beige"),
    ],
)
def test_plain_colors_have_their_names(rgb: tuple[int, int, int], name: str) -> None:
    assert color_phrase(Image.new("RGBA", (9, 9), (*rgb, 255))) == name


def test_two_colors_are_both_named_and_the_transparent_part_is_not() -> None:
    image = Image.new("RGBA", (30, 30), (0, 255, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, 29, 16), fill=(255, 255, 255, 255))
    ImageDraw.Draw(image).rectangle((0, 17, 29, 26), fill=(0, 0, 0, 255))
    assert color_phrase(image) == "white and black"
