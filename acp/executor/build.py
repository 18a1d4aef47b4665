"""Runs the missing shards of a build, in this process or in several ranks, and keeps the finished
ones whatever happens to the rest."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from acp.backends.models.batches import is_device_broken
from acp.core.errors import AcpError, one_line
from acp.core.files import write_json, write_text
from acp.core.progress import silent
from acp.core.prompts import digest
from acp.core.types import ModelInfo, Scene
from acp.executor.rows import image_row, scene_row
from acp.executor.shards import MARKER, Shard, plan_shards, read_marker, write_shard
from acp.pipeline.pipeline import AdvanceOf, Part, Pipeline
from acp.pipeline.recipe import Recipe, load_recipe

ROWS_VERSION = 2
"""Goes up whenever the same recipe gives other rows."""
SPEED_ONLY = ("residency", "shards_per_block")
NOT_CONTENT = ("description", "data_set", "scenes", *SPEED_ONLY)


@dataclass(frozen=True, slots=True)
class Build:
    """A recipe on its way into a folder: what is to be done and where the work lies."""

    recipe: Recipe
    work: Path
    models: Mapping[str, ModelInfo]
    fingerprint: str

    @property
    def recipe_path(self) -> Path:
        return recipe_path(self.work)

    def shards(self) -> list[Shard]:
        recipe = self.recipe
        return plan_shards(recipe.scenes, recipe.scenes_per_shard, self.work / "shards")

    def missing(self) -> list[Shard]:
        return [s for s in self.shards() if read_marker(s, self.fingerprint) is None]

    def finished_scenes(self) -> int:
        """Up to which scene the last shard of the plan was finished by an earlier, longer plan.

        0 if it was not. A plan that ends before it would make a finished shard again, smaller.
        """
        last = self.shards()[-1]
        longest = last.start + self.recipe.scenes_per_shard
        for stop in range(longest, last.stop, -1):
            if read_marker(replace(last, stop=stop), self.fingerprint):
                return stop
        return 0

    def with_scenes(self, least: int) -> Build:
        """The build with at least so many scenes; its recipe in the work folder says so too."""
        if least <= self.recipe.scenes:
            return self
        recipe = self.recipe.model_copy(update={"scenes": least})
        return open_build(recipe, self.work)

    def statistics(self) -> dict[str, Any]:
        """Counts and seconds of all finished shards, added up; the highest `peak_bytes`."""
        sums = {key: Counter[str]() for key in ("counts", "rejects", "seconds")}
        peaks = Counter[str]()
        for shard in self.shards():
            marker = read_marker(shard, self.fingerprint)
            if marker:
                for key, found in sums.items():
                    found.update(marker["statistics"][key])
                peaks |= Counter(marker["statistics"].get("peak_bytes", {}))
        return {**{key: dict(found) for key, found in sums.items()}, "peak_bytes": dict(peaks)}


def recipe_path(work: Path) -> Path:
    """Where a build keeps its recipe, with every default spelled out."""
    return work / "recipe.yaml"


def open_build(recipe: Recipe, work: Path) -> Build:
    """Begin a build in the folder `work`, or go on with the one that is there.

    Raises:
        MissingRequirementError: a backend lacks something.
        AcpError: `work` belongs to another recipe (the message names the fields), or cannot be
            written.
    """
    pipeline = Pipeline(recipe)
    models = pipeline.info()
    content = _content(recipe, models)
    state_path = work / "state.json"
    try:
        before = json.loads(state_path.read_text(encoding="utf-8")) if state_path.exists() else None
        if before != content:
            if before is not None and list(work.glob(f"shards/*/{MARKER}")):
                raise AcpError(_difference(before, content, work))
            _ = pipeline.stages  # a recipe that cannot start leaves nothing behind
            work.mkdir(parents=True, exist_ok=True)
            write_json(state_path, content)
        write_text(recipe_path(work), as_yaml(recipe.resolved()))
    except OSError as error:
        raise storage_error(error, work) from None
    except ValueError:
        raise AcpError(f"{state_path}: not valid JSON; remove {work} and build again") from None
    return Build(recipe, work, models, _fingerprint(content))


def join_build(work: Path) -> Build:
    """The build in `work` that another process has opened. Writes nothing.

    Raises:
        AcpError: the folder cannot be read, or this machine would make other data: it has other
            models or versions.
    """
    try:
        recipe = load_recipe(str(recipe_path(work)))
        before = json.loads((work / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AcpError(f"{work}: cannot be read here ({error})") from None
    models = Pipeline(recipe).info()
    content = _content(recipe, models)
    if before != content:
        changes = _changes(before, content)
        raise AcpError(f"this machine would make other data: {changes}; give it the same models")
    return Build(recipe, work, models, _fingerprint(content))


def published_recipe(recipe: Recipe) -> str:
    """The recipe as it goes with the data: with every default, without how it was run."""
    values = recipe.resolved()
    return as_yaml({key: value for key, value in values.items() if key not in SPEED_ONLY})


def as_yaml(values: Mapping[str, Any]) -> str:
    """YAML in the order of the keys."""
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text


def _content(recipe: Recipe, models: Mapping[str, ModelInfo]) -> dict[str, Any]:
    """What decides the bytes: the recipe without extent and speed, and what makes the data."""
    values = recipe.resolved()
    for key in NOT_CONTENT:
        del values[key]
    for kind in models:
        backend = recipe.backend(kind)
        values[kind] = {"backend": backend.reference, **backend.content_options()}
    revisions = {kind: str(model) for kind, model in models.items()}
    return {
        "rows_version": ROWS_VERSION,
        "recipe": values,
        "models": revisions,
        "prompts": digest(filter(None, (recipe.describe.prompt, recipe.lay_out.prompt))),
    }


def _fingerprint(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], work: Path) -> str:
    return (
        f"{work} was begun with another recipe: {_changes(before, now)}. "
        "Set it back, build into another folder with --out, or remove that folder"
    )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = dict(_flatten(before)), dict(_flatten(now))
    changed = [
        f"{key.removeprefix('recipe.')} was {old.get(key)!r} and is now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    return "; ".join(changed)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_shards(
    build: Build, shards: Sequence[Shard], advance_of: AdvanceOf = lambda name: silent
) -> dict[int, str]:
    """Make these shards in their order, a block at a time; a shard's marker is written as soon as
    the shard is finished.

    Returns the shards that failed, by index, with the reason; the traceback is kept in the
    shard's folder as `error.txt`. The others are finished all the same.

    Raises:
        AcpError: what would stop every shard (a user's mistake, no space left, a broken GPU).
    """
    pipeline, failed = Pipeline(build.recipe), dict[int, str]()
    for start in range(0, len(shards), pipeline.block):
        block = shards[start : start + pipeline.block]
        parts = pipeline.run_block([shard.scene_ids for shard in block], advance_of)
        for shard, part in zip(block, parts, strict=True):
            if part.error is None:
                _finish(build, shard, part)
            if part.error is not None:
                failed[shard.index] = _keep_error(shard, part)
    return failed


def _finish(build: Build, shard: Shard, part: Part) -> None:
    """Write a shard; what goes wrong is noted in its part."""
    measured = {"seconds": part.measures.seconds, "peak_bytes": part.measures.peak_bytes}
    try:
        tables = rows_of(build, part.scenes)
        write_shard(shard, tables, build.fingerprint, {**count(part.scenes), **measured})
        (shard.folder / "error.txt").unlink(missing_ok=True)
    except Exception as error:  # one shard's failure must not lose the others
        part.fail(error)


def rows_of(build: Build, scenes: Sequence[Scene]) -> dict[str, list[dict[str, Any]]]:
    """The rows of `raw` and `scene_graphs` for these scenes."""
    provenance = {
        "recipe": build.recipe.name,
        "fingerprint": build.fingerprint,
        **{kind: str(model) for kind, model in build.models.items()},
    }
    size_wh = build.recipe.size_wh
    return {
        "raw": [
            image_row(scene, candidate, size_wh, provenance)
            for scene in scenes
            for candidate in scene.candidates
        ],
        "scene_graphs": [scene_row(scene, provenance) for scene in scenes],
    }


def count(scenes: Sequence[Scene]) -> dict[str, dict[str, int]]:
    """How many of what, and the rejects of scenes, candidates and objects by reason."""
    candidates = [candidate for scene in scenes for candidate in scene.candidates]
    kept = [candidate for candidate in candidates if not candidate.reject]
    rejects = Counter(f"scene: {scene.reject}" for scene in scenes if scene.reject)
    rejects.update(f"candidate: {c.reject}" for c in candidates if c.reject)
    rejects.update(f"object of a kept image: {r}" for c in kept for r in c.reject_objects if r)
    counts = {
        "scenes": len(scenes),
        "scenes rejected": sum(bool(scene.reject) for scene in scenes),
        "candidates": len(candidates),
        "kept": len(kept),
        "objects": sum(not reason for c in kept for reason in c.reject_objects),
    }
    return {"counts": counts, "rejects": dict(rejects)}


STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def storage_error(error: OSError, path: Path) -> AcpError:
    """An `OSError` about a folder, told in one line with the mend."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AcpError(f"{path}: no space left; free some and run the same command again")
    reason = (error.strerror or str(error)).lower()
    return AcpError(f"{path}: {reason}; choose a folder you can write with --out")


def _keep_error(shard: Shard, part: Part) -> str:
    """Why a shard failed; the traceback is kept in its folder.

    Raises:
        AcpError: the reason would fail every other shard too.
    """
    error = part.error
    if isinstance(error, OSError) and error.errno in STORAGE_ERRNOS:
        raise storage_error(error, shard.folder)
    shard.folder.mkdir(parents=True, exist_ok=True)
    (shard.folder / "error.txt").write_text(part.trace, encoding="utf-8")
    reason = one_line(f"{type(error).__name__}: {error}")
    if "torch" in sys.modules and isinstance(error, Exception) and is_device_broken(error):
        raise AcpError(
            f"the GPU failed at shard {shard.index}: {reason[:200]}; the finished shards are kept: "
            f"run the same command again (details in {shard.folder / 'error.txt'})"
        )
    return reason
