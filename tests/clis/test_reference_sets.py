from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from acp.annotations.build import embed
from acp.backends.scoring import score
from acp.clis.priors import LEVELS, PREDICATES, Priors, default_priors, write_priors
from acp.clis.priors_file import GEOMETRY, INFO, VECTORS
from acp.clis.references import MOST_BACKED_OFF
from acp.clis.similarity import (
    CategorySimilarity,
    fold_name,
    meaning,
    pack_vectors,
    packed,
    weight_of,
)
from acp.core.errors import AcpError
from acp.core.vocabulary import categories

Row = tuple[str, str, str, str]


def priors_of(path: Path, rows: list[Row], vectors: bytes = b"") -> Priors:
    """Priors of rows (subject, predicate, object, source); row r has an area ratio of r + 1."""
    columns: dict[str, object] = {
        name: [row[place] for row in rows]
        for place, name in enumerate(("subject", "predicate", "object", "source"))
    }
    geometry = {name: np.full(len(rows), 0.1) for name in GEOMETRY}
    geometry["subject_w"] = 0.1 * (np.arange(len(rows)) + 1.0)
    images = [f"image {row}" for row in range(len(rows))]
    write_priors(path, [{**columns, **geometry, "image_id": images}], {}, vectors)
    return Priors.load(path)


ROWS: list[Row] = [
    ("dog", "catches", "frisbee", "stated"),
    ("cat", "catches", "frisbee", "stated"),
    ("puppy", "catches", "frisbee", "stated"),
    ("dog", "catches", "frisbee", "stated"),
    ("dog", "left of", "frisbee", "geometric"),
    ("dog", "beside", "cat", "stated"),
]


@pytest.fixture
def priors(tmp_path: Path) -> Priors:
    return priors_of(tmp_path / "priors.parquet", ROWS)


def test_a_file_comes_back_as_it_was_written(priors: Priors) -> None:
    assert len(priors) == len(ROWS)
    assert [(*priors.triple(row), "") for row in range(6)] == [(*row[:3], "") for row in ROWS]
    assert priors.features.area_ratio.round(9).tolist() == [1, 2, 3, 4, 5, 6]
    assert priors.stated.tolist() == [True, True, True, True, False, True]
    assert priors.table.image_ids[3] == "image 3"
    assert len(priors.table.digest) == 16


def test_exact_and_close_categories_answer_together_in_the_order_of_the_file(
    priors: Priors,
) -> None:
    sets = priors.reference_sets([("dog", "catches", "frisbee")])
    assert sets.level == ("triple",)
    assert sets.rows.tolist() == [0, 2, 3]  # a puppy is like a dog by 0.80, a cat by 0.66
    assert sets.weights[[0, 2]].tolist() == [1.0, 1.0]
    assert 0.6 < sets.weights[1] < 0.7
    assert sets.evidence[0] == pytest.approx(sets.weights.sum())


def test_a_lower_threshold_lets_more_in_with_next_to_no_evidence(priors: Priors) -> None:
    sets = priors.reference_sets([("dog", "catches", "frisbee")], strict=True, min_similarity=0.6)
    assert sets.rows.tolist() == [0, 1, 2, 3]
    assert sets.close.tolist() == [True, False, True, True]
    expected = sets.weights[sets.close].sum() + 1e-4 * sets.weights[1]
    assert sets.evidence[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("triple", "level", "rows"),
    [
        (("kitten", "catches", "frisbee"), "predicate", [0, 1, 2, 3]),
        (("zebra", "next to", "bowl"), "predicate", [5]),
        (("zebra", "to the left of", "bowl"), "predicate", [4]),
        (("dog", "standing left of", "frisbee"), "geometry", [4]),
        (("no such thing", "no such predicate", "neither"), "geometry", [5]),
    ],
)
def test_back_off(
    priors: Priors, triple: tuple[str, str, str], level: str, rows: list[int]
) -> None:
    sets = priors.reference_sets([triple])
    assert sets.level == (level,)
    assert sets.rows.tolist() == rows
    assert sets.close.all()
    assert sets.evidence[0] == pytest.approx(1e-4 * len(rows))


@pytest.mark.parametrize(
    ("triple", "reason"),
    [
        (("dog", "next to", "cat"), "predicate 'next to' is not in the priors"),
        (("dog", "left of", "frisbee"), "predicate 'left of' is not in the priors"),
        (("dog", "beside", "zebra"), "no references for 'dog' 'beside' 'zebra'"),
    ],
)
def test_strictly_there_is_no_back_off(
    priors: Priors, triple: tuple[str, str, str], reason: str
) -> None:
    sets = priors.reference_sets([triple], strict=True)
    assert (sets.level, sets.reason, len(sets.rows)) == (("none",), (reason,), 0)


def test_without_stated_relations_geometric_ones_answer_strictly(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row[3] == "geometric"]
    priors = priors_of(tmp_path / "g.parquet", rows)
    sets = priors.reference_sets([("dog", "left of", "frisbee")], strict=True)
    assert sets.level == ("triple",)


def test_sets_stand_one_after_another(priors: Priors) -> None:
    triples = [("dog", "catches", "frisbee"), ("zebra", "is", "zebra"), ("dog", "beside", "cat")]
    together = priors.reference_sets(triples)
    assert len(together) == 3
    for place, triple in enumerate(triples):
        alone = priors.reference_sets([triple])
        inside = slice(together.starts[place], together.starts[place + 1])
        assert together.rows[inside].tolist() == alone.rows.tolist()
        assert together.area_factor[inside].tolist() == alone.area_factor.tolist()
    nothing = priors.reference_sets([])
    assert (nothing.starts.tolist(), len(nothing.rows)) == ([0], 0)


def test_areas_are_carried_over_to_the_sizes_asked_for(priors: Priors) -> None:
    same = priors.reference_sets([("dog", "catches", "frisbee")])
    assert same.area_factor[[0, 2]].tolist() == [1.0, 1.0]
    larger = priors.reference_sets([("giraffe", "catches", "frisbee")])
    assert (larger.area_factor > 1).all()


def test_a_crowd_of_references_is_thinned_only_where_categories_do_not_count(
    tmp_path: Path,
) -> None:
    priors = priors_of(tmp_path / "many.parquet", [("dog", "near", "cat", "stated")] * 3000)
    exact, other = (priors.reference_sets([(name, "near", "cat")]) for name in ("dog", "zebra"))
    assert (len(exact.rows), len(other.rows)) == (3000, MOST_BACKED_OFF)


@pytest.mark.parametrize("predicate", [*PREDICATES, "riding", "eats"])
def test_the_default_priors_answer_for_every_category(predicate: str) -> None:
    triples = [(name, predicate, "zebra") for name in categories()]
    sets = default_priors().reference_sets(triples)
    assert (np.diff(sets.starts) > 0).all()
    assert set(sets.level) <= set(LEVELS[:4])
    assert (sets.evidence > 0).all()
    assert np.isfinite(sets.area_factor).all()


def test_similarity_by_name_synonym_and_sense() -> None:
    names = [fold_name(name) for name in ("dog", "puppy", "airplane", "zebra", "quux")]
    alike = CategorySimilarity(names)
    assert alike.to("Dog")[0] == 1.0
    assert 0.8 <= alike.to("dog")[1] < 0.9
    assert alike.to("aeroplane")[2] == 1.0
    assert alike.to("quux").tolist() == [0, 0, 0, 0, 1]
    assert alike.to("dog") is alike.to("dog")
    assert meaning("aeroplane") == "airplane"


def test_a_similarity_does_not_depend_on_the_list() -> None:
    names = [fold_name(name) for name in categories()]
    whole = CategorySimilarity(names)
    for name in ("dog", "cup", "no such thing"):
        alone = [CategorySimilarity([other]).to(name)[0] for other in names[::60]]
        assert whole.to(name)[::60].tolist() == alone


def test_vectors_of_other_names_travel_with_the_file(tmp_path: Path) -> None:
    assert pack_vectors(["dog", "zebra"], embed) == b""
    vectors = pack_vectors(["quadcopter drone", "dog"], embed)
    assert vectors == pack_vectors(["dog", "quadcopter drone"], embed)
    rows: list[Row] = [("quadcopter drone", "above", "dog", "stated")]
    priors = priors_of(tmp_path / "own.parquet", rows, vectors)
    found = CategorySimilarity(["airplane"], vectors).to("quadcopter drone")
    assert 0.2 < found[0] < 0.8
    assert priors.reference_sets([("quadcopter_drone", "above", "dog")]).level == ("triple",)


def test_an_image_says_what_answered_for_its_weakest_relation(priors: Priors) -> None:
    rows = {
        "objects": {
            "category": ["dog", "frisbee", "zebra"],
            "bbox": [[0.1, 0.1, 0.2, 0.2], [0.5, 0.1, 0.1, 0.1], [0.1, 0.6, 0.3, 0.3]],
        },
        "relations": {"subject": [0, 2], "predicate": ["catches"] * 2, "object": [1, 1]},
    }
    bare = {"objects": rows["objects"]}
    result = score([rows, bare], priors=priors.table.origin)
    assert result["clis_l_level"] == ["predicate", None]
    assert result["clis_l_references"] == [4, 0]


def test_weights_are_powers() -> None:
    similarity = np.array([1.0, 0.9, 0.89, 0.8, 0.79, 0.7, 0.69, 0.6, 0.59, 0.0])
    powers = np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    assert weight_of(similarity) == pytest.approx(similarity**powers)


def test_files_that_are_no_priors_are_named(tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="no such priors file"):
        Priors.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(AcpError, match="not a parquet file"):
        Priors.load(tmp_path / "text.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(AcpError, match="column 'subject' is missing"):
        Priors.load(tmp_path / "other.parquet")
    with pytest.raises(AcpError, match="no pairs in it"):
        priors_of(tmp_path / "empty.parquet", [])


def bomb() -> bytes:
    """80 kB that unpack to 80 MB."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(["a"]), vectors=np.zeros((1 << 18, 320), np.int8))
    return buffer.getvalue()


DAMAGED: dict[str, tuple[bytes, bytes, str]] = {
    "info is a list": (INFO, b"[]", "its mark is no object"),
    "info is no JSON": (INFO, b"{", "damaged"),
    "info is deep": (INFO, b"[" * 100_000, "recursion"),
    "vectors are no archive": (VECTORS, b"vectors", "not a zip file"),
    "vectors are of another width": (VECTORS, packed(["a"], np.ones((1, 3), np.float32)), "shape"),
    "vectors unpack to much": (VECTORS, bomb(), "its vectors take 83,8"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "own.parquet"
    priors_of(path, [("dog", "above", "cat", "stated")])
    key, value, reason = DAMAGED[name]
    metadata = {INFO: pq.read_metadata(path).metadata[INFO], key: value}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(AcpError, match=reason) as caught:
        Priors.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["subject", "predicate", "dx", "object_w"])
def test_columns_of_nothing_or_of_lists_are_one_line(tmp_path: Path, column: str) -> None:
    path = tmp_path / "own.parquet"
    priors_of(path, [("dog", "above", "cat", "stated")])
    table = pq.read_table(path)
    metadata = {INFO: pq.read_metadata(path).metadata[INFO]}
    for values in (pa.nulls(1), pa.array([[1.0]])):
        wrong = table.set_column(table.column_names.index(column), column, values)
        pq.write_table(wrong.replace_schema_metadata(metadata), path)
        with pytest.raises(AcpError, match=column + r"|damaged|Unsupported cast"):
            Priors.load(path)


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_priors(tmp_path / "half.parquet", [{"subject": ["dog"]}], {})
    assert list(tmp_path.iterdir()) == []
