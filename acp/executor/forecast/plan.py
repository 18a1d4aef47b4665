"""Hours, shards, memory and disk of a recipe on so many GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from acp.executor.forecast.memory import ModelMemory, models_of, needed_gb, served_stages
from acp.executor.forecast.rates import Rates
from acp.executor.forecast.work import Item, Work, work_of
from acp.pipeline.recipe import Recipe

CPU_STAGES = ("combine", "pick")
"""Stages without a model: where nothing was measured, they are taken to cost nothing."""

JPEG_BYTES_A_PIXEL = 0.4
LOAD_GB_PER_S = 1.0
"""Where no build was measured: a disk of today, and JPEGs of quality 92 to 95."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Seconds of a stage, added up over all GPUs; None where no rate is known."""

    stage: str
    items: str
    seconds: float | None
    sources: tuple[str, ...]
    published: bool
    least: bool
    """Whether it takes longer than that."""
    by_server: bool = False
    """Done by a server, whose speed does not grow with the GPUs of the build."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe takes. Hours are lower bounds where `unknown` names stages."""

    recipe: str
    gpus: int
    scenes: int
    candidates: int
    shards: int
    stages: tuple[StagePlan, ...]
    load_s: float | None
    loads: int
    models: tuple[ModelMemory, ...]
    weights_gb: dict[str, float | None]
    peak_gb: dict[str, float]
    data_set_gb: float
    work_gb: float
    disk_source: str

    @property
    def unknown(self) -> tuple[str, ...]:
        """The stages without a rate."""
        return tuple(each.stage for each in self.stages if each.seconds is None)

    @property
    def wall_hours(self) -> float:
        """Until the last rank is done: the ranks share whole shards."""
        share = ceil(self.shards / self.gpus) / self.shards
        shared = (each.seconds or 0.0 for each in self.stages if not each.by_server)
        served = (each.seconds or 0.0 for each in self.stages if each.by_server)
        return (sum(shared) * share + sum(served) + self.loads * (self.load_s or 0.0)) / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs, those that wait for the last one too."""
        return self.wall_hours * min(self.gpus, self.shards)


def plan_recipe(recipe: Recipe, gpus: int, rates: Sequence[Rates]) -> Plan:
    """Plan a recipe with these rates; where several know an item, the first of them counts.

    Raises:
        AcpError: unknown backend or wrong options.
    """
    work, models, served = work_of(recipe), models_of(recipe), served_stages(recipe)
    weights = {each: needed_gb(models, each) for each in ("all", "one")}
    load = next((each.load_s for each in rates if each.load_s is not None), None)
    total = weights["all"]
    data_set_gb, work_gb, disk_source = _disk(recipe, work, rates)
    return Plan(
        recipe=recipe.name,
        gpus=gpus,
        scenes=work.scenes,
        candidates=work.candidates,
        shards=work.shards,
        stages=tuple(_stage(stage, work, rates, by_server=stage in served) for stage in work.items),
        load_s=load if load is not None or total is None else total / LOAD_GB_PER_S,
        loads=_loads(recipe, ceil(work.shards / gpus)),
        models=tuple(models),
        weights_gb=weights,
        peak_gb={each.residency: max(each.peak_gb.values()) for each in rates if each.peak_gb},
        data_set_gb=data_set_gb,
        work_gb=work_gb,
        disk_source=disk_source,
    )


def _stage(stage: str, work: Work, rates: Sequence[Rates], by_server: bool) -> StagePlan:
    items = work.items[stage]
    seconds, sources, used = 0.0, dict[str, None](), list[Rates]()
    told = ", ".join(f"{count:,.0f} {item}" for item, count in items.items())
    for item, count in items.items():
        found = _rate(stage, item, work, rates)
        if found is None and stage not in CPU_STAGES:
            return StagePlan(stage, told, None, (), False, True, by_server)
        if found is not None:
            each, by = found
            seconds += each * count
            sources[_told(by)] = None
            used.append(by)
    published = any(by.published for by in used)
    least = any(
        by.least or (stage == "render" and work.second_pass and not by.build) for by in used
    )
    return StagePlan(stage, told, seconds, tuple(sources), published, least, by_server)


def _told(rates: Rates) -> str:
    whose = "published, not measured here" if rates.published else "measured"
    return ": ".join(filter(None, (whose, rates.hardware, rates.source)))


def _rate(stage: str, item: Item, work: Work, rates: Sequence[Rates]) -> tuple[float, Rates] | None:
    for each in rates:
        seconds = each.seconds_of(stage, item, work)
        if seconds is not None:
            return seconds, each
    return None


def _loads(recipe: Recipe, shards_of_a_rank: int) -> int:
    """How often a rank loads its models."""
    if recipe.residency == "all":
        return 1
    return ceil(shards_of_a_rank / recipe.shards_per_block)


def _disk(recipe: Recipe, work: Work, rates: Sequence[Rates]) -> tuple[float, float, str]:
    """GB of the data set and of the work folder, and where the figures are from."""
    for each in rates:
        if each.work_pixel_bytes is not None:
            beside = each.work_pixel_bytes
            published = each.pixel_bytes if each.pixel_bytes is not None else beside
            return published * work.pixels / 1e9, beside * work.pixels / 1e9, each.source
    raw = work.pixels * JPEG_BYTES_A_PIXEL / 1e9
    per_scene = recipe.lay_out.keep * recipe.render.candidates
    picked = min(recipe.pick.per_scene, per_scene) / per_scene
    return raw * (1 + picked), raw, f"assumed: {JPEG_BYTES_A_PIXEL} bytes a pixel"
