"""How alike two categories are, by sentence embeddings that were computed once.

The vectors of the package's vocabulary are a file inside it, those of other names travel inside the
priors file that has them: a score needs no model and no torch, and is the same on every machine.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from acp.core.errors import AcpError, MissingRequirementError
from acp.core.types import Float64Array, FloatArray
from acp.core.vocabulary import categories, resolve

VECTORS = "category_vectors.npz"
WIDTH = 384
"""Numbers of a vector."""
MOST_UNPACKED = 1 << 26
"""Bytes of the vectors of a file; more are refused before they are unpacked."""
"""In `acp/data`: `names` and `vectors` (N, 384) int8, all-MiniLM-L6-v2's embeddings to 1 in 127."""

CLOSE = 0.8
"""From this similarity of both categories on, a reference counts in full (authors' code)."""


def fold_name(name: str) -> str:
    """What two spellings of a category are compared by.

    >>> fold_name("Car_(automobile)"), fold_name(" hot  dog")
    ('car (automobile)', 'hot dog')
    """
    return " ".join(name.lower().replace("_", " ").replace("(", " (").split())


def weight_of(similarity: Float64Array) -> Float64Array:
    """The weight of a reference for the similarity of one of its categories (authors' code).

    The similarity itself from 0.9 up, its square from 0.8, cube from 0.7, fourth power from 0.6,
    fifth below.

    >>> weight_of(np.array([1.0, 0.85, 0.5])).round(5).tolist()
    [1.0, 0.7225, 0.03125]
    """
    power = 5 - np.searchsorted((0.6, 0.7, 0.8, 0.9), similarity, side="right")
    return np.asarray(similarity**power, dtype=np.float64)


class CategorySimilarity:
    """Similarities of names to those of a fixed list, 0-1; each name is worked out once."""

    def __init__(self, names: Sequence[str], vectors: bytes | None = None) -> None:
        """`names`: folded, C of them. `vectors`: of `pack_vectors`, for names of their own."""
        self._known = dict(zip(*_packaged(), strict=True))
        if vectors:
            self._known |= dict(zip(*unpacked(vectors), strict=True))
        self._meanings = np.array([meaning(name) for name in names], dtype=object)
        found = [self._vector(name) for name in names]
        self._matrix = np.stack(found) if found else np.zeros((0, 1))
        self._lengths = np.linalg.norm(self._matrix, axis=1)
        self.to = lru_cache(maxsize=4096)(self._to)

    def _to(self, name: str) -> Float64Array:
        """Similarity of `name` to each of the list, shape (C,).

        1 for another spelling or synonym of the same thing; a name without a vector is like itself
        alone.
        """
        same = self._meanings == meaning(fold_name(name))
        if not len(same):
            return np.zeros(0)
        # Sums of products of whole numbers: exact, whatever order and hardware add them up.
        vector = self._vector(fold_name(name))
        lengths = self._lengths * np.linalg.norm(vector)
        cosine = np.divide(self._matrix @ vector, lengths, out=0 * lengths, where=lengths > 0)
        return np.where(same, 1.0, np.clip(cosine, 0.0, 1.0))

    def knows(self, name: str) -> bool:
        """Whether `name` has a vector."""
        return meaning(fold_name(name)) in self._known

    def _vector(self, name: str) -> Float64Array:
        return self._known.get(meaning(name), 0 * next(iter(self._known.values())))


@cache
def meaning(folded: str) -> str:
    """The folded LVIS name that a folded spelling stands for, or the spelling itself.

    >>> meaning("aeroplane"), meaning("sports ball")
    ('airplane', 'sports ball')
    """
    try:
        return fold_name(resolve(folded).name)
    except AcpError:
        return folded


def pack_vectors(names: Iterable[str], embed: Callable[[Sequence[str]], FloatArray]) -> bytes:
    """Vectors of those folded names that the package has none for; empty if there are none, or
    where what `embed` needs is not installed.

    Args:
        names: as they come.
        embed: N texts in, unit vectors (N, D) out.
    """
    known = set(_packaged()[0])
    unknown = sorted({meaning(fold_name(name)) for name in names} - known)
    if not unknown:
        return b""
    try:
        vectors = embed(unknown)
    except MissingRequirementError:
        return b""
    return packed(unknown, vectors)


def packed(names: Sequence[str], vectors: npt.NDArray[np.float32]) -> bytes:
    """Names and unit vectors (N, D) as bytes, int8, the same for the same input."""
    scale = np.abs(vectors).max(axis=1, keepdims=True)
    target = io.BytesIO()
    steps = np.rint(vectors / scale * 127).astype(np.int8)
    np.savez_compressed(target, names=np.array(names), vectors=steps)
    return target.getvalue()


def vocabulary_texts() -> dict[str, str]:
    """The folded LVIS names and the text that each is embedded by, which has no parenthesis."""
    return {fold_name(category.name): category.noun for category in categories().values()}


def unpacked(data: bytes) -> tuple[list[str], list[Float64Array]]:
    """Names and their vectors, whole numbers as float64; none of no data.

    Raises:
        ValueError: they are not what `packed` writes, or of more than `MOST_UNPACKED` bytes.
        Exception: as zip files and NumPy have it, for what is damaged.
    """
    if not data:
        return [], []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > MOST_UNPACKED:
        raise ValueError(f"its vectors take {size:,} bytes")
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        names, vectors = kept["names"], kept["vectors"]
    if names.dtype.kind != "U" or vectors.dtype != np.int8 or vectors.shape != (len(names), WIDTH):
        raise ValueError(f"its vectors have shape {vectors.shape} for {len(names)} names")
    return names.tolist(), list(vectors.astype(np.float64))


@cache
def _packaged() -> tuple[list[str], list[Float64Array]]:
    return unpacked(files("acp.data").joinpath(VECTORS).read_bytes())
