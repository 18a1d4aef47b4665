"""Processors that read videos too, such as Qwen's, where there is no torchvision."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any


class NoVideos(dict[str, Any]):
    """Stands where a processor of videos would be; all its settings are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def leave_out_videos(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lets transformers load them without their part for videos, which alone needs torchvision;
    pictures are prepared by Pillow."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    from transformers import ProcessorMixin
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    check = ProcessorMixin.check_argument_for_proper_class

    def checked(self: Any, name: str, argument: Any) -> Any:
        return NoVideos if name == "video_processor" else check(self, name, argument)

    set_attribute(AutoVideoProcessor, "from_pretrained", lambda *_, **__: NoVideos())
    set_attribute(ProcessorMixin, "check_argument_for_proper_class", checked)
