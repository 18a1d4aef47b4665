"""Any pipeline of diffusers, told of the layout through arguments that the recipe writes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from acp.backends.base import BackendOptions, Renderer, RenderRequest
from acp.backends.models import diffusion as _diffusion
from acp.backends.models.batches import Batches
from acp.backends.models.custom_arguments import SHARED, Constants, filled_in, used
from acp.backends.models.custom_loading import call_arguments, custom_info, load_custom
from acp.backends.models.custom_options import WHO, CustomOptions
from acp.backends.models.diffusion import MEND, OUT_OF_MEMORY, filled, generators, to_rendering
from acp.core.errors import AcpError, Missing, reason_of
from acp.core.types import Failure, ModelInfo, Rendering


class Custom(Renderer):
    """One call a request, or one a batch where the pipeline takes lists."""

    name = "custom"
    summary = "any diffusers pipeline, by class or custom_pipeline"
    modules: ClassVar = {"diffusers": MEND, "torch": MEND, "transformers": MEND}
    speed_only = _diffusion.SPEED_ONLY
    options_type: ClassVar[type[BackendOptions]] = CustomOptions
    options: CustomOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        largest = self.options.batch_size if self.options.batched else 1
        self._batches = Batches(largest, WHO, OUT_OF_MEMORY)

    def missing(self) -> list[Missing]:
        """The package of the pipeline's class too. Imports none."""
        package = re.split(r"[.:]", self.options.pipeline or "diffusers")[0]
        missing = super().missing()
        if package not in self.modules and importlib.util.find_spec(package) is None:
            mend = "install it in this environment, or put its folder on PYTHONPATH"
            missing.append(Missing(f"Python package {package!r}", mend))
        return missing

    def load(self) -> None:
        """Import the class, load the pipeline, and check the arguments against its call."""
        _ = self._arguments

    def info(self) -> ModelInfo:
        """Of the model, and of the pipeline's code if that comes from elsewhere."""
        return custom_info(self.options)

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        """Raises AcpError where the pipeline cannot be called as the recipe says."""
        results: list[Rendering | Failure] = [Failure("not drawn")] * len(requests)
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, request in enumerate(requests):
            most = self.options.most_objects
            if most is not None and len(request.graph.objects) > most:
                results[index] = Failure(f"more than {most} objects")
            else:
                by_size.setdefault(request.size_wh, []).append(index)
        for indices in by_size.values():
            drawn = self._batches.run([requests[index] for index in indices], self._draw)
            for index, result in zip(indices, drawn, strict=True):
                results[index] = result
        return results

    @cached_property
    def _pipeline(self) -> Any:
        return load_custom(self.options)

    @cached_property
    def _arguments(self) -> Mapping[str, Any]:
        return call_arguments(self._pipeline, self.options)

    def _draw(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        size = min(self.options.batch_size, self._batches.size)
        rows = filled(requests, size, self.options) if self.options.batched else requests
        name = type(self._pipeline).__name__
        called = self._called_with(rows)
        try:
            output = self._pipeline(**called)
        except (TypeError, AttributeError) as error:
            reason = reason_of(error, 300)
            raise AcpError(f"{WHO}: arguments: {name} cannot be called so: {reason}") from error
        images = self._images(output, len(rows))
        pairs = zip(images, requests, strict=False)
        return [to_rendering(image, request.size_wh) for image, request in pairs]

    def _called_with(self, requests: Sequence[RenderRequest]) -> dict[str, Any]:
        options = self.options
        constants = Constants(options.steps, options.guidance_scale, options.negative_prompt)
        called: dict[str, Any] = {}
        for name, value in self._arguments.items():
            rows = [filled_in(value, each, options.boxes, constants) for each in requests]
            # Numbers that are the same for all are told once, as pipelines want them.
            varies = bool(used(value) - set(SHARED))
            called[name] = rows if options.batched and varies else rows[0]
        sources = generators([each.seed for each in requests])
        if "seed" not in set().union(*(used(value) for value in self._arguments.values())):
            called[options.generator] = sources if options.batched else sources[0]
        return called

    def _images(self, output: Any, count: int) -> Sequence[Any]:
        found = output
        for name, index in re.findall(r"(\w+)|\[(\w+)\]", self.options.image):
            found = self._part(found, name or index)
        if isinstance(found, Image.Image) or np.ndim(found) == 3:
            found = [found]
        if len(found) != count:
            raise AcpError(
                f"{WHO}: image: {len(found)} images under {self.options.image!r}, expected {count}"
                + ("; does the pipeline take lists? batched: false if not" if count > 1 else "")
            )
        images: Sequence[Any] = found
        return images

    def _part(self, value: Any, name: str) -> Any:
        try:
            if name.isdigit():
                return value[int(name)]
            return value[name] if isinstance(value, Mapping) else getattr(value, name)
        except (AttributeError, LookupError, TypeError):
            there = [*value] if isinstance(value, Mapping) else sorted(vars(type(value)))
            fields = [*getattr(value, "__dataclass_fields__", there)]
            raise AcpError(
                f"{WHO}: image: {self.options.image!r}: there is no {name!r} in what the pipeline "
                f"returns ({type(value).__name__}: {', '.join(map(str, fields[:12]))})"
            ) from None
