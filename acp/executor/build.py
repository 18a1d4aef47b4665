"""A build: a recipe on its way into a folder of shards, and how one shard is made."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from acp.backends.models.batches import is_device_broken
from acp.core.errors import AcpError, reason_of
from acp.core.files import write_json, write_text
from acp.core.progress import silent
from acp.core.prompts import digest
from acp.core.types import ModelInfo, Scene
from acp.executor.rows import image_row, scene_row
from acp.executor.shards import MARKER, Shard, is_intact, plan_shards, read_marker, write_shard
from acp.pipeline.pipeline import AdvanceOf, Part, Pipeline
from acp.pipeline.recipe import Recipe

ROWS_VERSION = 3
"""Goes up whenever the same recipe gives other rows."""
SPEED_ONLY = ("residency", "shards_per_block")
NOT_CONTENT = ("description", "data_set", "scenes", "pick", *SPEED_ONLY)
"""Keys of a recipe that change no shard."""
ERROR, FAILURES, STATE = "error.txt", "failures", "state.json"


@dataclass(frozen=True)
class Build:
    """A recipe on its way into the folder `work`.

    `content` is what decides the bytes of its shards; `fingerprint` tells it from other content.
    `known` keeps what was once read of the shards, so that it is read once a process.
    """

    recipe: Recipe
    work: Path
    pipeline: Pipeline
    models: Mapping[str, ModelInfo]
    content: Mapping[str, Any]
    fingerprint: str
    known: dict[Shard, dict[str, Any]] = field(default_factory=dict)
    checked: set[Shard] = field(default_factory=set)

    @property
    def recipe_path(self) -> Path:
        """Where it keeps its recipe, with every default spelled out."""
        return self.work / "recipe.yaml"

    def resolved(self) -> dict[str, Any]:
        """Its recipe with every default spelled out."""
        return {**self.pipeline.resolved(), "scenes": self.recipe.scenes}

    def shards(self) -> list[Shard]:
        recipe = self.recipe
        return plan_shards(recipe.scenes, recipe.scenes_per_shard, self.work / "shards")

    def marker(self, shard: Shard) -> dict[str, Any]:
        """The marker of a finished shard; empty while it is missing. Its files are not read."""
        if shard not in self.known:
            marker = read_marker(shard.folder)
            wanted = self.fingerprint, [shard.start, shard.stop]
            if (marker.get("fingerprint"), marker.get("scenes")) != wanted:
                return {}
            self.known[shard] = marker
        return self.known[shard]

    def missing(self) -> list[Shard]:
        return [shard for shard in self.shards() if not self.marker(shard)]

    def remove_damaged(self) -> list[Shard]:
        """Check the files of every finished shard, once a process, and take the markers of those
        that are not whole. Returns these."""
        damaged = []
        for shard in self.shards():
            marker = self.marker(shard)
            if not marker or shard in self.checked:
                continue
            if is_intact(shard, marker):
                self.checked.add(shard)
            else:
                damaged.append(shard)
                del self.known[shard]
                (shard.folder / MARKER).unlink(missing_ok=True)
        return damaged

    def make(self, shards: Sequence[Shard], advance_of: AdvanceOf = lambda name: silent) -> None:
        """Make these shards; a shard's marker is written as soon as the shard is finished.

        One that fails keeps its traceback in its folder as `error.txt`, and a count of failures;
        the others are finished all the same.

        Raises:
            AcpError: what would stop every shard (a user's mistake, no space left, a broken GPU),
                or another process has begun another build in this folder.
        """
        if _read_state(self.work) != self.content:
            raise AcpError(f"{self.work}: another process has begun another build here meanwhile")
        parts = self.pipeline.run_block([shard.scene_ids for shard in shards], advance_of)
        for shard, part in zip(shards, parts, strict=True):
            if part.error is None:
                self._finish(shard, part)
            if part.error is not None:
                _keep_error(shard, part)

    def _finish(self, shard: Shard, part: Part) -> None:
        """Write a shard; what goes wrong is noted in its part."""
        try:
            tables = rows_of(self, part.scenes)
            counts = {"scenes": len(part.scenes), "candidates": len(tables["measured"])}
            measures = {"seconds": part.measures.seconds, "peak_bytes": part.measures.peak_bytes}
            write_shard(shard, tables, self.fingerprint, {"counts": counts, **measures})
            self.checked.add(shard)
            for stale in (ERROR, FAILURES):
                (shard.folder / stale).unlink(missing_ok=True)
        except Exception as error:  # one shard's failure must not lose the others
            part.fail(error)

    def with_scenes(self, least: int) -> Build:
        """The build with at least so many scenes, and with those that the last shard of its plan
        holds already: a plan that ends before would make a finished shard again, smaller. The
        recipe in the work folder says so too."""
        longer = self._of(max(least, self.recipe.scenes))
        marker = read_marker(longer.shards()[-1].folder)
        if marker.get("fingerprint") == self.fingerprint:
            longer = longer._of(max(longer.recipe.scenes, marker["scenes"][1]))
        write_text(self.recipe_path, as_yaml(longer.resolved()))
        return longer

    def _of(self, scenes: int) -> Build:
        return replace(self, recipe=self.recipe.model_copy(update={"scenes": scenes}))


def open_build(recipe: Recipe, work: Path) -> Build:
    """Begin a build in the folder `work`, or join the one that is there.

    Raises:
        MissingRequirementError: a backend lacks something.
        AcpError: `work` belongs to another recipe or other models (the message names what
            differs), or cannot be written.
    """
    pipeline = Pipeline(recipe)
    models = pipeline.info()
    content = content_of(pipeline, models)
    build = Build(recipe, work, pipeline, models, content, fingerprint_of(content))
    try:
        before = _read_state(work)
        if before != content:
            if before is not None and _is_begun(work):
                raise AcpError(_difference(before, content, work))
            _ = pipeline.stages  # a recipe that cannot start leaves nothing behind
            work.mkdir(parents=True, exist_ok=True)
            write_json(work / STATE, content)
        return build.with_scenes(recipe.scenes)
    except OSError as error:
        raise storage_error(error, work) from None


def _read_state(work: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((work / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise AcpError(f"{work / STATE}: not valid JSON; remove {work} and build again") from None
    if not isinstance(state, dict):
        raise AcpError(f"{work / STATE}: not what acp wrote; remove {work} and build again")
    return state


def _is_begun(work: Path) -> bool:
    """Whether a shard is finished, or somebody is at work on one."""
    return any(any(work.glob(f"shards/*/{name}")) for name in (MARKER, "claim"))


def published_recipe(resolved: Mapping[str, Any]) -> str:
    """A resolved recipe as it goes with the data: without how it was run."""
    return as_yaml({key: value for key, value in resolved.items() if key not in SPEED_ONLY})


def as_yaml(values: Mapping[str, Any]) -> str:
    """YAML in the order of the keys."""
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text


def content_of(pipeline: Pipeline, models: Mapping[str, ModelInfo]) -> dict[str, Any]:
    """What decides the bytes: the recipe without extent, speed and pick, and what makes the
    data."""
    recipe, backends = pipeline.recipe, pipeline.backends
    values = {
        **recipe.model_dump(mode="json"),
        **{k: {"backend": b.reference, **b.content_options()} for k, b in backends.items()},
    }
    return {
        "rows_version": ROWS_VERSION,
        "recipe": {key: value for key, value in values.items() if key not in NOT_CONTENT},
        "models": {kind: str(model) for kind, model in models.items()},
        "prompts": digest(filter(None, (recipe.describe.prompt, recipe.lay_out.prompt))),
    }


MOST_DIFFERENCES = 3
"""Of two recipes, that an error names."""


def fingerprint_of(content: Mapping[str, Any]) -> str:
    """Tells content that gives other shards from other content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], work: Path) -> str:
    old, new = dict(_flatten(before)), dict(_flatten(now))
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    changes = "; ".join(
        f"{key.removeprefix('recipe.')} was {old.get(key)!r} and is now {new.get(key)!r}"
        for key in keys[:MOST_DIFFERENCES]
    )
    more = f"; and {len(keys) - MOST_DIFFERENCES} more" if len(keys) > MOST_DIFFERENCES else ""
    return (
        f"{work} was begun with another recipe or other models: {changes}{more}. "
        "Set it back, build into another folder with --out, or remove that folder"
    )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def rows_of(build: Build, scenes: Sequence[Scene]) -> dict[str, list[dict[str, Any]]]:
    """The rows of `measured` and `scene_graphs` for these scenes."""
    provenance = {
        "recipe": build.recipe.name,
        "fingerprint": build.fingerprint,
        **{kind: str(model) for kind, model in build.models.items()},
    }
    size_wh = build.recipe.size_wh
    return {
        "measured": [
            image_row(scene, candidate, size_wh, provenance)
            for scene in scenes
            for candidate in scene.candidates
        ],
        "scene_graphs": [scene_row(scene, provenance) for scene in scenes],
    }


STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def storage_error(error: OSError, path: Path) -> AcpError:
    """An `OSError` about a folder, told in one line with what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AcpError(f"{path}: no space left; free some and run the same command again")
    reason = (error.strerror or str(error)).lower()
    return AcpError(f"{path}: {reason}; choose a folder you can write with --out")


def _keep_error(shard: Shard, part: Part) -> None:
    """Keep why a shard failed, and that it did, in its folder.

    Raises:
        AcpError: the reason would fail every other shard of this process too.
    """
    error = part.error
    if isinstance(error, OSError) and error.errno in STORAGE_ERRNOS:
        raise storage_error(error, shard.folder)
    shard.folder.mkdir(parents=True, exist_ok=True)
    write_text(shard.folder / ERROR, part.trace)
    if error is not None and "torch" in sys.modules and is_device_broken(error):
        raise AcpError(
            f"the GPU failed at shard {shard.index}: {reason_of(error)}; the finished shards are "
            f"kept: run the same command again (details in {shard.folder / ERROR})"
        )
    write_text(shard.folder / FAILURES, str(failures(shard) + 1))


def failures(shard: Shard) -> int:
    """How often a shard has failed since the build was started."""
    try:
        return int((shard.folder / FAILURES).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
