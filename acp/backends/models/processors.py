"""Processors of multimodal models, also where there is no torchvision.

transformers prepares pictures with Pillow where torchvision is missing, but many models come with
a processor for videos as well, which has no such substitute. Nothing here looks at videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from acp.backends.models.torchvision import advice, torchvision
from acp.core.errors import AcpError

_VIDEO = "video_processor"


class NoVideos:
    """Stands where a processor of videos would be; all its settings are None."""

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> NoVideos:
        """Reads nothing."""
        return cls()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def load_processor(where: Mapping[str, Any], model_name: str, who: str) -> Any:
    """The processor of a model, without its part for videos where that could not be had.

    Args:
        where: what `from_pretrained` is told.
        model_name: the model, for errors.
        who: the backend, for errors.

    Raises:
        AcpError: it needs torchvision, which is missing or broken; says how to mend that.
    """
    works = torchvision().works
    from transformers import AutoProcessor

    kind = None if works else _kind(where)
    try:
        if kind is not None and _VIDEO in kind.get_attributes():
            with _quiet():
                return _without_videos(kind).from_pretrained(**where)
        return AutoProcessor.from_pretrained(**where)
    except (ImportError, ValueError) as error:
        if works or "torchvision" not in str(error).lower():
            raise
        raise AcpError(f"{who}: {model_name} needs torchvision: {advice()}") from error


def _kind(where: Mapping[str, Any]) -> Any:
    """The class of the processor, None where transformers does not know it by the configuration."""
    from transformers import AutoConfig
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    config = type(AutoConfig.from_pretrained(**where))
    return PROCESSOR_MAPPING.get(config, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers calls `video_processor_class` deprecated; nothing else leaves a part out."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _without_videos(kind: Any) -> Any:
    class WithoutVideos(kind):  # type: ignore[misc]
        video_processor_class = NoVideos.__name__

        def __repr__(self) -> str:  # that of transformers writes down every part as JSON
            return f"{kind.__name__} without videos"

        @staticmethod
        def get_possibly_dynamic_module(module_name: str) -> Any:
            if module_name in {NoVideos.__name__, "BaseVideoProcessor", "VideoProcessorMixin"}:
                return NoVideos
            return kind.get_possibly_dynamic_module(module_name)

    WithoutVideos.__name__ = kind.__name__
    return WithoutVideos
