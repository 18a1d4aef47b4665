"""A plan for readers and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from acp.executor.forecast.plan import Plan, StagePlan


def as_json(plan: Plan) -> dict[str, Any]:
    """All of the plan as plain values, with the hours."""
    hours = {"wall_hours": plan.wall_hours, "gpu_hours": plan.gpu_hours}
    return {**asdict(plan), **hours, "unknown": list(plan.unknown)}


def lines(plan: Plan) -> Iterator[str]:
    """The plan as a table of plain text."""
    yield f"{plan.recipe} on {plan.gpus} GPU{'s' * (plan.gpus > 1)}"
    shards = f"{plan.shards:,} shard{'s' * (plan.shards > 1)}"
    yield f"scenes      {plan.scenes:,} in {shards}, {plan.candidates:,} images"
    numbers = {source: place + 1 for place, source in enumerate(_sources(plan))}
    total = sum(each.seconds or 0.0 for each in plan.stages)
    unit = ("GPU hours", 3600) if total >= 3600 else ("GPU s", 1)
    yield f"{'stage':<10}  {unit[0]:>11}  {'share':>5}  of"
    yield from (_row(each, unit[1], total or 1.0, numbers) for each in plan.stages)
    if plan.load_s is not None:
        load = f"{plan.load_s * plan.loads / unit[1]:,.2f}"
        yield f"{'load':<10}  {load:>11}  {'':>5}  on each GPU, {plan.loads:,} times all models"
    least = "at least " if any(each.least for each in plan.stages) else ""
    yield f"wall        {least}{_told(plan.wall_hours)}"
    yield f"GPU hours   {least}{plan.gpu_hours:,.2f}"
    yield from _memory(plan)
    disk = f"{_gb(plan.data_set_gb)} data set, {_gb(plan.work_gb)} beside it for the shards"
    yield f"disk        {disk} ({plan.disk_source})"
    for source, number in numbers.items():
        yield f"[{number}] {source}"
    yield from _notes(plan)


def _notes(plan: Plan) -> Iterator[str]:
    if served := [each.stage for each in plan.stages if each.by_server]:
        yield f"server      {', '.join(served)}: as fast as the server, whatever --gpus is"
    if slower := [each.stage for each in plan.stages if each.least and each.seconds is not None]:
        yield f"slower      {', '.join(slower)}: longer with this recipe's backends, not measured"
    if plan.unknown:
        yield f"unknown     {', '.join(plan.unknown)}: not counted"
    if not all(each.sources and not each.published for each in plan.stages):
        yield (
            "measure it  acp build RECIPE --limit 64 --out FOLDER, then acp plan RECIPE "
            "--from FOLDER"
        )


def _row(stage: StagePlan, unit: float, total: float, numbers: dict[str, int]) -> str:
    seconds, share = "unknown", ""
    if stage.seconds is not None:
        least = "> " if stage.least else ""
        seconds = f"{least}{stage.seconds / unit:,.2f}"
        share = f"{100 * stage.seconds / total:.0f} %"
    marks = "".join(f"[{numbers[each]}]" for each in stage.sources)
    return f"{stage.stage:<10}  {seconds:>11}  {share:>5}  {stage.items} {marks}".rstrip()


def _memory(plan: Plan) -> Iterator[str]:
    for each in plan.models:
        yield f"model       {_gb(each.weights_gb):>9}  {each.model} ({', '.join(each.stages)})"
    for residency, size in plan.weights_gb.items() if plan.models else ():
        told = _gb(size)
        measured = plan.peak_gb.get(residency)
        peak = f"measured peak {_gb(measured)}" if measured else "images and caches come on top"
        yield f"GPU memory  {told:>9}  of weights with residency: {residency}; {peak}"


def _sources(plan: Plan) -> list[str]:
    return [*dict.fromkeys(source for each in plan.stages for source in each.sources)]


def _gb(size: float | None) -> str:
    if size is None:
        return "unknown"
    return f"{size:.1f} GB" if size >= 0.05 else f"{size * 1000:.1f} MB"


def _told(hours: float) -> str:
    """Hours in the unit that suits them."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours:,.0f} hours ({hours / 24:.1f} days)"
