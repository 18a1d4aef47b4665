"""How fast the stages are: measured by a build or a benchmark, or published elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, PositiveInt, model_validator

from acp.backends.base import Backend
from acp.core.config import Settings, validated
from acp.core.errors import AcpError
from acp.executor.forecast.work import Item, Work, work_of
from acp.pipeline.recipe import Recipe, load_recipe

PER_SCENE = ("combine", "describe", "lay out")
MADE_BY: Mapping[str, tuple[Item, ...]] = {
    "llm": ("answers", "layouts"),
    "renderer": ("images",),
    "segmenter": ("masks",),
    "scorer": ("captions", "judgements", "scores"),
}
"""The items that a backend's model makes."""
Amount = Annotated[float, Field(ge=0)]


class Rates(Settings):
    """Seconds of one item on one GPU, of whatever was measured. See docs/plan.md."""

    model_config = ConfigDict(allow_inf_nan=False)

    hardware: str = Field(description="GPU that it was measured on")
    source: str = Field("", description="what was measured, where and how")
    published: bool = Field(False, description="by others, and not with this package")
    build: bool = Field(False, description="measured by a build of the recipe")
    least: bool = Field(False, description="what is planned is slower than that")
    residency: Literal["all", "one"] = Field("one", description="that memory was measured with")
    size_wh: tuple[PositiveInt, PositiveInt] = Field(
        (512, 512), description="size of the images in pixels"
    )
    steps: int = Field(50, ge=1, description="denoising steps of the images")
    answers_per_s: float | None = Field(None, gt=0, description="scenes described")
    layouts_per_s: float | None = Field(None, gt=0, description="layouts of a language model")
    images_per_s: float | None = Field(None, gt=0, description="images rendered")
    masks_per_s: float | None = Field(None, gt=0, description="images masked")
    captions_per_s: float | None = Field(None, gt=0, description="questions to the captioner")
    judgements_per_s: float | None = Field(None, gt=0, description="questions to the judge")
    scores_per_s: float | None = Field(None, gt=0, description="images scored without captions")
    stage_seconds: dict[str, Amount] = Field(
        {}, description="of a scene (combine, describe, lay out) or of a candidate (the others)"
    )
    seconds: dict[Item, Amount] = Field({}, description="of an item, in place of the `_per_s`")
    load_s: float | None = Field(None, ge=0, description="to load every model once")
    peak_gb: dict[str, Amount] = Field({}, description="highest GPU memory by stage")
    pixel_bytes: float | None = Field(None, ge=0, description="of a candidate, in the data set")
    work_pixel_bytes: float | None = Field(None, ge=0, description="the same in the work folder")

    @model_validator(mode="after")
    def _known_stages(self) -> Rates:
        known = {"combine", "describe", "lay out", "render", "mask", "score", "pick"}
        if wrong := self.stage_seconds.keys() - known:
            raise ValueError(f"stage_seconds: there is no stage {min(wrong)!r}")
        if wrong := self.peak_gb.keys() - known - {"load"}:
            raise ValueError(f"peak_gb: there is no stage {min(wrong)!r}")
        return self

    def seconds_of(self, stage: str, item: Item, work: Work) -> float | None:
        """Seconds of one of the stage's items in this work, None if it was not measured."""
        # What a stage takes in all is told once, not for each kind of its items.
        first = next(iter(work.items[stage]))
        if stage in self.stage_seconds:
            units = work.scenes if stage in PER_SCENE else work.candidates
            return self.stage_seconds[stage] * units / work.items[stage][item] * (item == first)
        found = self.seconds.get(item)
        per_s = getattr(self, f"{item}_per_s", None)
        if found is None and per_s:
            found = 1 / per_s
        if found is None or item != "images":
            return found
        return found * work.image_cost / (self.size_wh[0] * self.size_wh[1] * self.steps)


def read_rates(path: Path) -> Rates:
    """The rates in a JSON file, such as `benchmarks/gpu.py` writes.

    Raises:
        AcpError: no such file, no JSON, or a wrong key or value.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AcpError(f"--rates {path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise AcpError(f"--rates {path}: not valid JSON") from None
    rates: Rates = validated(Rates, values, where=f"--rates {path}")
    return rates


def published_rates(recipe: Recipe) -> Iterator[Rates]:
    """Figures of others that fit the recipe's backends."""
    text = files("acp.data").joinpath("stage_rates.yaml").read_text(encoding="utf-8")
    used = dict(_backends(recipe))
    for row in yaml.safe_load(text)["rates"]:
        (kind, names), *_ = row.pop("of").items()
        least = used.get(kind) in row.pop("least_for", ())
        if used.get(kind) in names:
            values = {**row, "published": True, "least": least}
            yield validated(Rates, values, where="stage_rates.yaml")


def _backends(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every kind of the recipe with its backend, those inside the scorer too."""
    for kind in ("llm", "renderer", "segmenter", "scorer"):
        backend = recipe.backend(kind)
        yield kind, backend.name
        parts: Mapping[str, Any] = getattr(backend, "parts", {})
        yield from ((part, each.name) for part, each in parts.items())


def rates_for(recipe: Recipe, folder: Path) -> Rates:
    """What the build in `folder` tells of a recipe: of the stages that use the same models.

    Raises:
        AcpError: there is no build, or no shard of it is finished.
    """
    rates, measured = rates_of_build(folder)
    if other := {kind for kind in MADE_BY if _made_by(recipe, kind) != _made_by(measured, kind)}:
        unknown = {item for kind in other for item in MADE_BY[kind]}
        seconds = {item: each for item, each in rates.seconds.items() if item not in unknown}
        # Of loading and memory it is not known which model took what.
        update = {"seconds": seconds, "load_s": None, "peak_gb": {}}
        return rates.model_copy(update=update)
    return rates


def _made_by(recipe: Recipe, kind: str) -> list[tuple[str, Any]]:
    backend = recipe.backend(kind)
    each: Mapping[str, Backend] = getattr(backend, "parts", {})
    found = [backend, *each.values()]
    return [(one.name, one.resolved_options().get("model")) for one in found]


def rates_of_build(folder: Path) -> tuple[Rates, Recipe]:
    """What a finished or interrupted build took, and its recipe.

    Args:
        folder: the data set (`build/acp/lvis-longtail`) or its work folder.

    Raises:
        AcpError: there is no build, or no shard of it is finished.
    """
    work_folder = folder if (folder / "recipe.yaml").is_file() and _markers(folder) else None
    work_folder = work_folder or folder.with_name(f"{folder.name}.work")
    markers = _markers(work_folder)
    if not markers:
        raise AcpError(
            f"--from {folder}: no finished shard; name the folder of a data set that `acp build` "
            "made here, with its .work folder beside it"
        )
    recipe = load_recipe(str(work_folder / "recipe.yaml"))
    return _measured(markers, recipe, folder, work_folder), recipe


def _markers(work_folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(work_folder.glob("shards/*/done.json")):
        try:
            marker = json.loads(path.read_text(encoding="utf-8"))
            _ = marker["statistics"]["seconds"], marker["statistics"]["counts"]["scenes"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an interrupted shard
        found.append(marker)
    return found


def _measured(
    markers: list[dict[str, Any]], recipe: Recipe, folder: Path, work_folder: Path
) -> Rates:
    statistics = [marker["statistics"] for marker in markers]
    scenes = sum(each["counts"]["scenes"] for each in statistics)
    work = work_of(recipe, scenes)
    totals = {
        stage: sum(each["seconds"].get(stage, 0.0) for each in statistics) for stage in work.items
    }
    seconds: dict[str, float] = {}
    for stage, items in work.items.items():
        first, *others = items  # the first of a stage's items stands for all of them
        seconds |= {first: totals[stage] / items[first], **dict.fromkeys(others, 0.0)}
    peaks: dict[str, float] = {}
    for each in statistics:
        for stage, peak in each.get("peak_bytes", {}).items():
            peaks[stage] = max(peaks.get(stage, 0.0), peak / 1e9)
    published = 0 if folder == work_folder else _size(folder)
    values = {
        "hardware": "the machine of that build",
        "build": True,
        "source": f"a build of {scenes} scenes in {folder}",
        "residency": recipe.residency,
        "size_wh": recipe.size_wh,
        "steps": work.steps,
        "seconds": seconds,
        "load_s": max(each["seconds"].get("load", 0.0) for each in statistics),
        "peak_gb": peaks,
        "pixel_bytes": published / work.pixels if published else None,
        "work_pixel_bytes": _size(work_folder) / work.pixels,
    }
    rates: Rates = validated(Rates, values, where=f"--from {folder}")
    return rates


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
