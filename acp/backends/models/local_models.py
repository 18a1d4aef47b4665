"""Models of the Hub or of a folder, for transformers: which revision it is, and loaded once.

Backends that name the same model share it: one multimodal model captions and judges with one set
of weights in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from pydantic import Field, field_validator

from acp.backends.base import BackendOptions
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import AcpError, one_line
from acp.core.types import ModelInfo

MEND = "make setup EXTRAS=gpu in a clone, else pip install 'auto-cherry-picker[gpu]'"
OUT_OF_MEMORY = "use a smaller model, or `residency: one` in the recipe"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_CONFIGS = ("config.json", "model_index.json", "modular_model_index.json")


def named(model: str | None) -> str | None:
    """Validator of an option that names a model: as a path, nothing is the current folder."""
    if model is not None and not model.strip():
        raise ValueError("name an id on the Hub or a folder")
    return model


class LocalModelOptions(BackendOptions):
    """Which model, and where it runs."""

    model: str = Field("Qwen/Qwen3.5-9B", description="id on the Hub, or a folder")
    revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto: as they were saved"
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|(cuda|npu|xpu)(:\d+)?)$",
        description="cpu, cuda, cuda:1, ...; auto: a GPU if there is one",
    )
    trust_remote_code: bool = Field(
        False, description="run Python code that comes with the model; only for one you have read"
    )
    batch_size: int = Field(
        8, ge=1, description="most requests of a forward; halved where memory runs out; speed only"
    )

    _named = field_validator("model")(named)


class TextModelOptions(LocalModelOptions):
    """Which language model, and where it runs."""

    gguf_file: str | None = Field(
        None,
        pattern=r"^[^/\\]+\.gguf$",
        description="name of a GGUF file in the folder or repository; it is unpacked to `dtype`",
    )


SPEED_ONLY = frozenset({"batch_size", "device"})


def gguf_file(options: LocalModelOptions) -> str | None:
    """The GGUF file that holds the model, if it does."""
    return options.gguf_file if isinstance(options, TextModelOptions) else None


def model_info(options: LocalModelOptions) -> ModelInfo:
    """Id, revision and licence: the commit for a model of the Hub, a checksum for a folder.

    The id names the GGUF file where there is one.

    Raises:
        AcpError: there is no such model, or the Hub cannot be reached and it was never fetched.
    """
    file = gguf_file(options)
    info = _model_info(options.model, options.revision, file)
    return replace(info, id=f"{info.id}/{file}") if file else info


@cache
def _model_info(model: str, revision: str | None, file: str | None) -> ModelInfo:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return ModelInfo(folder.resolve().name, folder_revision(folder), _licence(folder))
    return _hub_info(model, revision or "main", (file,) if file else _CONFIGS)


def _hub_info(model: str, revision: str, names: Sequence[str]) -> ModelInfo:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        files = (try_to_load_from_cache(model, name, revision=revision) for name in names)
        cached = next((file for file in files if isinstance(file, str)), None)
    except HFValidationError:
        raise AcpError(f"model {model!r}: neither a folder nor an id on the Hub") from None
    if isinstance(cached, str) and (_COMMIT.fullmatch(revision) or constants.HF_HUB_OFFLINE):
        snapshot = Path(cached).parent
        return ModelInfo(model, snapshot.name, _licence(snapshot))
    try:
        info = HfApi().model_info(model, revision=revision)
    except Exception as error:  # networks fail in many ways, which all mean the same here
        if isinstance(cached, str):  # fetched before: the Hub is not needed
            return ModelInfo(model, Path(cached).parent.name, _licence(Path(cached).parent))
        reason = one_line(error, 200)
        raise AcpError(
            f"model {model!r}: not fetched yet, and the Hub does not give it ({reason}); check the "
            "id and your access, or name a folder"
        ) from None
    return ModelInfo(model, str(info.sha), _licence_of(info.card_data))


def folder_revision(folder: Path) -> str:
    """A checksum of what decides a saved model's answers: configuration, tokenizer, weights.

    Of the weight files it takes sizes, headers and samples: enough to tell a fine-tune from its
    base, without reading many gigabytes.

    Raises:
        AcpError: the folder cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.suffix in {".json", ".jinja", ".model", ".py", ".txt"}:
                digest.update(f"{name}\0".encode() + path.read_bytes())
            elif path.suffix in {".safetensors", ".bin", ".gguf"}:
                digest.update(f"{name}\0{path.stat().st_size}\0".encode())
                for sample in _samples(path):
                    digest.update(sample)
    except OSError as error:
        raise AcpError(f"model {folder}: cannot be read ({error.strerror})") from None
    return f"sha256-{digest.hexdigest()[:16]}"


def _samples(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    step = max(_SAMPLE_BYTES, size // _SAMPLES)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            yield file.read(_SAMPLE_BYTES)


def _licence(folder: Path) -> str:
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    try:
        return _licence_of(ModelCard.load(card).data)
    except (OSError, ValueError):
        return "unknown"


def _licence_of(card_data: Any) -> str:
    """As the card tells it; one that is none of the Hub's by the name that the card gives it."""
    licence = card_data.get("license") if card_data else None
    name = card_data.get("license_name") if licence == "other" else None
    return str(name or licence or "unknown")


@dataclass(eq=False)
class LocalModel:
    """A model in memory. `processor` is None for one of text alone, or where it was not wanted;
    `multimodal` says that the model takes images."""

    model: Any
    tokenizer: Any
    multimodal: bool
    processor: Any = None

    @property
    def vocabulary(self) -> int:
        """How many tokens the model gives logits for."""
        return int(self.model.config.get_text_config().vocab_size)

    @property
    def longest(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 2**31))

    @property
    def template_options(self) -> Mapping[str, Any]:
        """What the chat template is told: thinking is off where it knows of it."""
        sources = (self.tokenizer, self.processor)
        templates = [getattr(source, "chat_template", None) for source in sources]
        knows = any("enable_thinking" in json.dumps(template) for template in templates if template)
        return {"enable_thinking": False} if knows else {}


_loaded: WeakValueDictionary[tuple[str, ...], LocalModel] = WeakValueDictionary()


def model_keys(options: LocalModelOptions) -> frozenset[str]:
    """The key of what `load_model` shares, for `Backend.model_keys`."""
    which = f"{options.model}@{options.revision} {gguf_file(options) or ''}".rstrip()
    return frozenset({f"{which} {options.dtype} {options.device}"})


def load_model(options: LocalModelOptions, who: str, *, images: bool) -> LocalModel:
    """The model in memory; the one that is there if another backend has loaded the same.

    Args:
        options: of the backend.
        who: the backend, for errors: "captioner 'transformers'".
        images: whether the processor of images is needed too.

    Raises:
        AcpError: no such model, one that takes no images, or one that cannot be loaded.
    """
    info = model_info(options)
    where = (options.model, info.revision, gguf_file(options) or "")
    key = (*where, options.dtype, device_of(options.device))
    loaded = _loaded.get(key)
    if loaded is None:
        loaded = _load(options, info, who)
        _loaded[key] = loaded
    if images and loaded.processor is None:
        loaded.processor = _processor(options, info, loaded, who)
    return loaded


def _load(options: LocalModelOptions, info: ModelInfo, who: str) -> LocalModel:
    file = gguf_file(options)
    where = {**where_is(options, info), **({"gguf_file": file} if file else {})}
    with telling(options, who), no_progress_bars():
        from transformers import (
            AutoConfig,
            AutoModelForCausalLM,
            AutoModelForImageTextToText,
            AutoTokenizer,
        )
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        )

        config = AutoConfig.from_pretrained(**where)
        # Always in full where it can see: captioner and judge then share it, whoever loads first.
        mapped = getattr(config, "auto_map", None) or {}
        multimodal = (
            config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
            or "AutoModelForImageTextToText" in mapped
        )
        kind = AutoModelForImageTextToText if multimodal else AutoModelForCausalLM
        how: dict[str, Any] = {"dtype": options.dtype}
        if file:
            how |= _unpacked()
        else:
            # Straight to the device: ranks that load at the same time need no main memory each.
            how["device_map"] = {"": device_of(options.device)}
        model = kind.from_pretrained(**where, **how)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        _prepare(tokenizer)
        return LocalModel(model.eval().to(device_of(options.device)), tokenizer, multimodal)


def _processor(options: LocalModelOptions, info: ModelInfo, loaded: LocalModel, who: str) -> Any:
    if not loaded.multimodal:
        raise AcpError(f"{who}: {options.model} takes no images; name an image-text-to-text model")
    with telling(options, who), no_progress_bars():
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(**where_is(options, info))
    _prepare(processor.tokenizer)
    return processor


def _prepare(tokenizer: Any) -> None:
    # Saving and reloading forgets it, and answers to prompts padded on the right are nonsense.
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def _unpacked() -> dict[str, Any]:
    """Never packed weights: answers would depend on whether there are kernels for them."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)  # where it is absent, nothing stays packed
    return {"quantization_config": config(dequantize=True)} if config else {}


def where_is(options: LocalModelOptions, info: ModelInfo) -> dict[str, Any]:
    """What every `from_pretrained` is told: the folder, or the id and the commit."""
    folder = Path(options.model).expanduser()
    where: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    if folder.is_dir():
        return {**where, "pretrained_model_name_or_path": str(folder), "local_files_only": True}
    return {**where, "pretrained_model_name_or_path": options.model, "revision": info.revision}


def device_of(name: str) -> str:
    """The device that is meant; "auto" is the GPU of this process, if there is one.

    Raises:
        AcpError: there is no such GPU.
    """
    import torch

    if name != "auto":
        kind, _, index = name.partition(":")
        count = torch.cuda.device_count()
        if kind == "cuda" and int(index or 0) >= count:
            seen = f"GPUs up to cuda:{count - 1}" if count else "no GPU"
            raise AcpError(
                f"device {name!r}: torch {torch.__version__} sees {seen} here; use device: auto, "
                "or a torch that fits the GPU's driver"
            )
        return name
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


@contextmanager
def telling(
    options: LocalModelOptions,
    who: str,
    explain: Callable[[str], tuple[str, str]] = lambda reason: (reason, ""),
) -> Iterator[None]:
    """Turns what goes wrong while a model is loaded into one line.

    `explain` turns the reason that a library gives into a better one and what mends it, if known.
    """
    try:
        yield
    except AcpError:
        raise
    except Exception as error:  # libraries fail in any way on files that are not what they expect
        reason, hint = explain(_reason_of(error))
        hint = _hint_of(reason) or hint or f"check its folder or id, and what it needs: {MEND}"
        raise AcpError(f"{who}: cannot load {options.model}: {reason[:300]}; {hint}") from error


def _reason_of(error: Exception) -> str:
    """What an error of a library says, in one line; its kind where that alone tells little."""
    said = one_line(error)
    telling = isinstance(error, (OSError, ValueError, ImportError, RuntimeError))
    return said if telling and said else f"{type(error).__name__}: {said}"


def _hint_of(reason: str) -> str:
    """What mends it, where the reason alone says so."""
    if "deserializing header" in reason or "Unable to load weights from checkpoint" in reason:
        return "a file of its weights is incomplete or damaged: fetch it again"
    if "torchvision" in reason.lower():
        return "install the torchvision that was built for this torch; `acp doctor` says more"
    return ""
