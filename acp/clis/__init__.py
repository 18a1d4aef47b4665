"""CLIS, the metric: pure functions, arrays in, arrays out; `score` takes rows.

>>> import acp.clis
>>> boxes = {"category": ["dog", "cat"], "bbox": [[0.1, 0.4, 0.3, 0.4], [0.6, 0.5, 0.2, 0.3]]}
>>> said = {"subject": [0], "predicate": ["next to"], "object": [1]}
>>> row = {"width": 1, "height": 1, "objects": boxes, "relations": said}
>>> result = acp.clis.score([row], explain=True)
>>> result["explanation"][0][0]["level"]
'triple'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acp.clis.results import merge
    from acp.clis.scoring import score

__all__ = ["merge", "score"]


def __getattr__(name: str) -> Any:
    """`score` and `merge`, imported when they are first used: `import acp.clis` stays light."""
    if name == "score":
        from acp.clis.scoring import score

        return score
    if name == "merge":
        from acp.clis.results import merge

        return merge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
