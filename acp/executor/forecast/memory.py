"""How much memory the weights of a recipe's models take, without loading them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from acp.backends.base import Backend
from acp.pipeline.recipe import Recipe

STAGES = {"llm": ("describe", "lay out"), "renderer": ("render",), "segmenter": ("mask",)}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_STORED = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """A model, what it serves as, and its weights in GB; None where that is unknown."""

    key: str
    model: str
    stages: tuple[str, ...]
    weights_gb: float | None


def models_of(recipe: Recipe) -> list[ModelMemory]:
    """The models that this package holds in GPU memory, each once, those that servers hold not."""
    found: dict[str, ModelMemory] = {}
    for kind in ("llm", "renderer", "segmenter", "scorer"):
        for options in (each for part in _parts(recipe.backend(kind)) for each in _loaded(part)):
            revision, file = options.get("revision"), options.get("gguf_file")
            key = f"{options['model']}@{revision} {file} {options.get('dtype')}"
            stages = STAGES.get(kind, ("score",))
            if key in found:
                stages = tuple(dict.fromkeys((*found[key].stages, *stages)))
            found[key] = ModelMemory(key, options["model"], stages, weights_gb(options))
    return [*found.values()]


def _loaded(backend: Backend) -> Iterator[dict[str, Any]]:
    """The options of each model that a backend loads: its own, and that of a second pass."""
    options = backend.resolved_options()
    if "base_url" in options or not isinstance(options.get("model"), str):
        return
    yield {**options, "dtype": backend.weights_dtype or options.get("dtype")}
    for nested in options.values():
        if isinstance(nested, dict) and isinstance(nested.get("model"), str):
            yield {**nested, "dtype": nested.get("dtype") or options.get("dtype")}


def served_stages(recipe: Recipe) -> frozenset[str]:
    """The stages that wait for a server."""
    return frozenset(
        stage
        for kind in ("llm", "renderer", "segmenter", "scorer")
        for backend in _parts(recipe.backend(kind))
        if hasattr(backend.options, "base_url")
        for stage in STAGES.get(kind, ("score",))
    )


def needed_gb(models: list[ModelMemory], residency: str) -> float | None:
    """GB of weights that are in memory together; None where a model's are unknown.

    >>> models = [ModelMemory("a", "a", ("describe", "score"), 19)]
    >>> models.append(ModelMemory("b", "b", ("mask",), 1))
    >>> needed_gb(models, "all"), needed_gb(models, "one")
    (20, 19)
    """
    sizes = {each.key: each.weights_gb for each in models}
    if None in sizes.values():
        return None
    if residency == "all":
        return sum(size for size in sizes.values() if size is not None)
    stages = {stage for each in models for stage in each.stages}
    by_stage = (sum(each.weights_gb or 0 for each in models if s in each.stages) for s in stages)
    return max(by_stage, default=0.0)


def _parts(backend: Backend) -> Iterator[Backend]:
    parts: dict[str, Backend] = getattr(backend, "parts", {})
    yield from parts.values() if parts else (backend,)


def weights_gb(options: Mapping[str, Any]) -> float | None:
    """GB of a model's weights in the `dtype` of its options.

    From the headers of its files in the folder or in the cache of the Hub; else from the table of
    the package; else from what the Hub says; None where none of them knows.
    """
    model, revision = options["model"], options.get("revision")
    size = BYTES.get(options.get("dtype") or "auto")
    folder = _folder(model, revision)
    if gguf := options.get("gguf_file"):
        return _in_gguf(folder / gguf, size) if folder else None
    if folder and (found := _in_folder(folder, options.get("variant"), size)):
        return found
    known = _table().get(model)
    if known is not None:
        return known * (size or 2) / 1e9
    return None if folder else _on_hub(model, revision, size)


@cache
def _table() -> dict[str, int]:
    text = files("acp.data").joinpath("stage_rates.yaml").read_text(encoding="utf-8")
    table: dict[str, int] = yaml.safe_load(text)["parameters"]
    return table


def _folder(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path = Path(model).expanduser()
    if path.is_dir():
        return path
    try:
        for name in ("config.json", "model_index.json"):
            cached = try_to_load_from_cache(model, name, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent
    except HFValidationError:
        pass
    return None


def _in_folder(folder: Path, variant: str | None, size: int | None) -> float | None:
    from safetensors import SafetensorError

    total = 0
    for path in folder.rglob("*.safetensors"):
        if _variant(path) != variant and _twin(path, variant).exists():
            continue  # the same weights once more
        if _variant(path) not in {None, variant}:
            continue
        try:
            total += _bytes(path, size)
        except (OSError, SafetensorError):
            return None
    return total / 1e9 if total else None


def _variant(path: Path) -> str | None:
    """What stands before the suffix ("fp16"), None for the weights without a variant.

    >>> _variant(Path("model.fp16.safetensors"))
    'fp16'
    """
    middle = path.name.split(".")[1:-1]
    return middle[0] if middle else None


def _twin(path: Path, variant: str | None) -> Path:
    stem = path.name.split(".")[0]
    return path.with_name(".".join(filter(None, (stem, variant, "safetensors"))))


def _bytes(path: Path, size: int | None) -> int:
    from safetensors import safe_open

    total = 0
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            part = file.get_slice(name)
            stored = _STORED.get(part.get_dtype(), 4)
            total += math.prod(part.get_shape()) * (size or stored)
    return total


def _in_gguf(path: Path, size: int | None) -> float | None:
    try:
        import gguf

        tensors = gguf.GGUFReader(str(path)).tensors
    except (ImportError, OSError, ValueError):
        return None
    return float(sum(int(tensor.n_elements) for tensor in tensors)) * (size or 4) / 1e9


def _on_hub(model: str, revision: str | None, size: int | None) -> float | None:
    from huggingface_hub import HfApi

    try:
        counts = HfApi().get_safetensors_metadata(model, revision=revision).parameter_count
    except Exception:  # no network, no such model, no such files: unknown all the same
        return None
    return sum(count * (size or _STORED.get(dtype, 4)) for dtype, count in counts.items()) / 1e9
