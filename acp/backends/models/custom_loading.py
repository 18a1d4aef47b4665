"""Which class a custom pipeline has, whose code that is, and the pipeline in memory."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from acp.backends.models.custom_arguments import used
from acp.backends.models.custom_options import WHO, CustomOptions
from acp.backends.models.diffusion import load_pipeline, torch_dtype
from acp.backends.models.gated import explaining_access
from acp.backends.models.local_models import LocalModelOptions, model_info
from acp.core.errors import AcpError, one_line
from acp.core.types import ModelInfo

COMMUNITY = "diffusers/community-pipelines-mirror"
DEFAULTS: Mapping[str, JsonValue] = {
    "prompt": "{caption}",
    "negative_prompt": "{negative_prompt}",
    "width": "{width}",
    "height": "{height}",
    "num_inference_steps": "{steps}",
    "guidance_scale": "{guidance_scale}",
}
"""Passed to pipelines that know them, unless the recipe says otherwise."""
log = logging.getLogger(__name__)


def custom_info(options: CustomOptions) -> ModelInfo:
    """Id, revision and licence of the model; the code's own revision beside it, if it has one.

    Raises:
        AcpError: no model is named, there is none, or the Hub gives no access.
    """
    found = _model_info(options)
    if options.licence is not None:
        found = replace(found, licence=options.licence)
    code = _code_elsewhere(options, found)
    if code is None:
        return found
    revision = f"{found.revision}+{code.id}@{code.revision}"
    return ModelInfo(found.id, revision, found.licence, f"code of {code.id}")


def load_custom(options: CustomOptions) -> Any:
    """The pipeline, placed; a warning names the code that comes with a model, if it may run.

    Raises:
        AcpError: remote code that the recipe does not allow, a class that there is not, or a
            pipeline that cannot be loaded.
    """
    if options.custom_pipeline is not None and not options.trust_remote_code:
        # Not left to diffusers: it runs community pipelines without asking.
        raise AcpError(_refusal(f"custom_pipeline {options.custom_pipeline}"))
    cls = _class(options)
    info = _model_info(options)
    more: dict[str, Any] = dict(options.loading)
    if options.custom_pipeline is not None:
        more |= _code(options, info)
    if options.trust_remote_code:
        _warn(options, info)
    try:
        with explaining_access(options.model, WHO):
            loader = _PartDtypes(cls, options.part_dtypes)
            pipeline = load_pipeline(options, info, WHO, loader, use_safetensors=True, **more)
    except AcpError as error:
        if "trust_remote_code" in str(error.__cause__):
            raise AcpError(_refusal(options.model)) from None
        raise
    _check_parts(pipeline, options)
    return pipeline


def _check_parts(pipeline: Any, options: CustomOptions) -> None:
    parts = getattr(pipeline, "components", options.part_dtypes)
    for part in options.part_dtypes:
        if part not in parts:
            raise AcpError(
                f"{WHO}: part_dtypes.{part}: {type(pipeline).__name__} has no such part; "
                f"it has {', '.join(parts)}"
            )


def call_arguments(pipeline: Any, options: CustomOptions) -> dict[str, JsonValue]:
    """The arguments of the recipe, with the defaults that the pipeline knows.

    Raises:
        AcpError: it does not take one of them, wants one that is not there, or gets no boxes or
            no seed.
    """
    name = type(pipeline).__name__
    parameters = inspect.signature(type(pipeline).__call__).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    known = [each for each in parameters if each not in {"self", "args", "kwargs"}]
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    for argument in options.arguments:
        if argument not in known and not takes_any:
            raise AcpError(
                f"{WHO}: arguments.{argument}: {name} takes no such argument; "
                f"it takes {', '.join(known)}"
            )
    found = {key: value for key, value in DEFAULTS.items() if key in known}
    found |= options.arguments
    _check_complete(found, options, parameters, name, takes_any)
    return found


def _check_complete(
    found: Mapping[str, JsonValue],
    options: CustomOptions,
    parameters: Mapping[str, inspect.Parameter],
    name: str,
    takes_any: bool,
) -> None:
    needed = [
        key
        for key, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in {parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        and key not in {"self", options.generator, *found}
    ]
    if needed:
        raise AcpError(f"{WHO}: arguments: {name} needs {', '.join(needed)}")
    there = set().union(*(used(value) for value in found.values()))
    if "box" not in there:
        raise AcpError(
            f"{WHO}: arguments: nothing holds {{box}}, so {name} would draw without the layout; "
            f"it takes {', '.join(key for key in parameters if key != 'self')}"
        )
    if "seed" not in there and options.generator not in parameters and not takes_any:
        raise AcpError(
            f"{WHO}: generator: {name} takes no {options.generator!r}; name the argument that is "
            "its source of noise, or pass {seed} to one"
        )


class _PartDtypes:
    """A class whose parts are loaded in several dtypes, by diffusers of any age."""

    def __init__(self, cls: Any, parts: Mapping[str, str]) -> None:
        self._cls = cls
        self._parts = {part: torch_dtype(name) for part, name in parts.items()}
        self.__name__ = cls.__name__

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        dtype = options.pop("dtype", None)
        if self._parts:
            dtype = {"default": dtype, **self._parts}
        return self._cls.from_pretrained(*args, **options, **{_dtype_keyword(): dtype})

    def download(self, *args: Any, **options: Any) -> Any:
        return self._cls.download(*args, **options)


def _dtype_keyword() -> str:
    """Forks of an older diffusers know it by its older name alone."""
    from diffusers.utils import deprecation_utils

    return "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"


def _model_info(options: CustomOptions) -> ModelInfo:
    if not options.model:
        raise AcpError(f"{WHO}: model: name an id on the Hub or a folder")
    with explaining_access(options.model, WHO):
        return model_info(options)


def _class(options: CustomOptions) -> Any:
    path = options.pipeline or "diffusers:DiffusionPipeline"
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        reason = one_line(error)
        raise AcpError(
            f"{WHO}: pipeline: cannot import {module} ({reason}); install it in this environment, "
            "or put its folder on PYTHONPATH"
        ) from None
    except AttributeError:
        raise AcpError(f"{WHO}: pipeline: {module} has no {name}") from None
    if not callable(getattr(found, "from_pretrained", None)):
        raise AcpError(f"{WHO}: pipeline: {path} is no pipeline: it has no from_pretrained")
    return found


def _code(options: CustomOptions, info: ModelInfo) -> dict[str, Any]:
    """What from_pretrained is told of the code; ids on the Hub by commit."""
    name = str(options.custom_pipeline)
    path = Path(name).expanduser()
    code = _code_elsewhere(options, info)
    if code is None or path.exists():
        return {"custom_pipeline": str(path) if path.exists() else name}
    revision = options.custom_revision if code.id.startswith(COMMUNITY) else code.revision
    return {"custom_pipeline": name, "custom_revision": revision}


def _code_elsewhere(options: CustomOptions, info: ModelInfo) -> ModelInfo | None:
    """Id and revision of code that is not the model's own."""
    name = options.custom_pipeline
    if name is None:
        return None
    path = Path(name).expanduser()
    if path.exists():
        folder = path if path.is_dir() else path.parent
        return ModelInfo(path.name, _checksum(folder), "unknown")
    if "/" in name:
        code = LocalModelOptions(model=name, revision=options.custom_revision)
        with explaining_access(name, WHO):
            return model_info(code)
    if _is_file_of_model(f"{name}.py", options, info):
        return None
    import diffusers

    revision = options.custom_revision or f"v{diffusers.__version__}"
    return ModelInfo(f"{COMMUNITY}/{name}", revision, "unknown")


def _checksum(folder: Path) -> str:
    """Of the Python files beside each other: a pipeline may import its neighbours."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return f"sha256-{digest.hexdigest()[:16]}"


def _is_file_of_model(name: str, options: CustomOptions, info: ModelInfo) -> bool:
    folder = Path(options.model).expanduser()
    if folder.is_dir():
        return (folder / name).is_file()
    from huggingface_hub import file_exists, try_to_load_from_cache

    cached = try_to_load_from_cache(options.model, name, revision=info.revision)
    return isinstance(cached, str) or file_exists(options.model, name, revision=info.revision)


def _refusal(what: str) -> str:
    return (
        f"{WHO}: {what} comes with Python code of its own; read it, then write "
        "trust_remote_code: true in the recipe to run it"
    )


def _warn(options: CustomOptions, info: ModelInfo) -> None:
    sources = [f"{info.id} at revision {info.revision}"]
    if (code := _code_elsewhere(options, info)) is not None:
        sources.append(f"{code.id} at revision {code.revision}")
    log.warning("%s: running Python code that comes with %s", WHO, " and ".join(sources))
