"""Auto Cherry-Picker: synthetic training data from a list of concepts, and the metric that picks
the good samples.

Everything a user calls is named in `__all__` and imported when it is first used: `import acp` loads
neither numpy nor a model library. What is not named there is private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from acp.core.version import __version__ as __version__

if TYPE_CHECKING:
    from acp.api import Dataset as Dataset
    from acp.api import build as build
    from acp.api import build_priors as build_priors
    from acp.backends.scoring import score as score
    from acp.clis.layout import score_layouts as score_layouts
    from acp.clis.priors import Priors as Priors
    from acp.core.errors import AcpError as AcpError
    from acp.pipeline.pipeline import Pipeline as Pipeline
    from acp.pipeline.recipe import Recipe as Recipe
    from acp.pipeline.recipe import load_recipe as load_recipe

_PLACES = {
    "AcpError": "acp.core.errors",
    "Dataset": "acp.api",
    "Pipeline": "acp.pipeline.pipeline",
    "Priors": "acp.clis.priors",
    "Recipe": "acp.pipeline.recipe",
    "build": "acp.api",
    "build_priors": "acp.api",
    "load_recipe": "acp.pipeline.recipe",
    "score": "acp.backends.scoring",
    "score_layouts": "acp.clis.layout",
}
__all__ = [
    "AcpError",
    "Dataset",
    "Pipeline",
    "Priors",
    "Recipe",
    "__version__",
    "build",
    "build_priors",
    "load_recipe",
    "score",
    "score_layouts",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'acp' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
