"""What a recipe can say of a custom pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from acp.backends.models.custom_arguments import BoxConvention, check
from acp.backends.models.diffusion import DiffusionOptions

WHO = "renderer 'custom'"
_RESERVED = frozenset(
    {
        "custom_pipeline",
        "custom_revision",
        "dtype",
        "local_files_only",
        "pretrained_model_name_or_path",
        "revision",
        "torch_dtype",
        "trust_remote_code",
        "use_safetensors",
        "variant",
    }
)


class CustomOptions(DiffusionOptions):
    """Which pipeline, and how a layout becomes its arguments."""

    model: str = Field("", description="id on the Hub, or a folder; has to be named")
    pipeline: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*$",
        description="its class in an installed package: diffusers.StableDiffusionPipeline or "
        "my_package.module:Class; none: the class that the model names",
    )
    custom_pipeline: str | None = Field(
        None,
        description="code of the pipeline that is not installed, as in diffusers: a folder or id "
        "on the Hub with pipeline.py, a file of the model, a community pipeline; needs "
        "trust_remote_code: true",
    )
    custom_revision: str | None = Field(None, description="branch, tag or commit of that code")
    arguments: dict[str, JsonValue] = Field(
        {}, description="what the pipeline is called with; see docs/renderers.md"
    )
    boxes: BoxConvention = Field(BoxConvention(), description="how it writes a box")
    most_objects: int | None = Field(
        None, ge=1, description="scenes with more are rejected, where the pipeline would drop some"
    )
    generator: str = Field("generator", description="its argument for the source of noise")
    image: str = Field(
        "images",
        pattern=r"^(\w+|\[\w+\])(\.\w+|\[\w+\])*$",
        description="where the image, or a list of images, is in what it returns",
    )
    batched: bool = Field(
        False, description="whether it takes lists, one entry for each image; otherwise one by one"
    )
    licence: str | None = Field(
        None, description="of the model, where its card says nothing or too little"
    )
    loading: dict[str, JsonValue] = Field(
        {}, description="more for from_pretrained, such as {safety_checker: null}"
    )
    part_dtypes: dict[str, Literal["float32", "bfloat16", "float16"]] = Field(
        {}, description="of parts that want another dtype, such as {vae: float32}"
    )

    @field_validator("arguments")
    @classmethod
    def _fillable(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, value in arguments.items():
            try:
                check(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return arguments

    @field_validator("loading")
    @classmethod
    def _harmless(cls, loading: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(_RESERVED & loading.keys()):
            raise ValueError(f"{', '.join(taken)}: options of the renderer say this")
        return loading

    @model_validator(mode="after")
    def _one_class(self) -> CustomOptions:
        if self.pipeline is not None and self.custom_pipeline is not None:
            raise ValueError("name either pipeline or custom_pipeline")
        return self
