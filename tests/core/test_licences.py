"""The licence of a data set covers all that its sources ask for."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp.core.licences import OBLIGATIONS, Licence, licence_of, strictest

FREE = ("mit", "apache-2.0", "cc0-1.0")


@pytest.mark.parametrize(
    "generator",
    [
        "other",
        "unknown",
        "FLUX Kommunity License",
        "flux-non-commercial-license",
        "flux-1-dev-non-commercial-license",
        "stabilityai-ai-community",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
        "llama3.1",
        "gemma",
        "creativeml-openrail-m",
        "openrail++",
    ],
)
def test_a_restricted_generator_never_comes_out_as_free(generator: str) -> None:
    for others in itertools.permutations(FREE):
        assert strictest([*others, generator]) not in FREE
        assert strictest([generator, *others]) == strictest([*others, generator])


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], "cc0-1.0"),
        (["mit", "apache-2.0"], "apache-2.0"),
        (["Apache-2.0", " MIT "], "apache-2.0"),
        (["openrail", "creativeml-openrail-m"], "creativeml-openrail-m"),
        (["creativeml-openrail-m", "llama3.1"], "llama3.1"),
        (["gemma", "llama3.1"], "other"),
        (["gpl-2.0", "creativeml-openrail-m"], "other"),
        (["cc-by-nc-4.0", "gpl-2.0"], "other"),
        (["cc-by-nc-sa-4.0", "cc-by-sa-4.0"], "other"),
        (["cc-by-nc-sa-4.0", "gpl-2.0"], "other"),
        (["cc-by-nc-sa-4.0", "cc-by-nc-4.0"], "cc-by-nc-sa-4.0"),
        (["gpl-2.0", "apache-2.0", "cc-by-4.0"], "gpl-2.0"),
        (["apache-2.0", "other"], "other"),
    ],
)
def test_what_sources_make_together(sources: list[str], expected: str) -> None:
    assert strictest(sources) == expected


@given(st.lists(st.sampled_from(sorted(OBLIGATIONS)), min_size=1))
def test_nothing_that_is_asked_for_is_lost(sources: list[str]) -> None:
    result = strictest(sources)
    assert result == strictest(reversed(sources))
    assert result == "other" or all(
        OBLIGATIONS[result] >= OBLIGATIONS[source] for source in sources
    )


@given(st.lists(st.one_of(st.sampled_from(sorted(OBLIGATIONS)), st.text())))
def test_a_name_stands_beside_other_alone_and_is_one_for_the_hub(sources: list[str]) -> None:
    found = licence_of(sources)
    assert found == licence_of(reversed(sources))
    assert found.id == strictest(sources)
    assert (found.name is not None) == (found.id == "other")
    assert found.name is None or re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,200}", found.name)


def test_free_licences_are_not_named_among_those_that_bind() -> None:
    licences = ["apache-2.0", "mit", "FLUX.1 [dev] Non-Commercial License"]
    assert licence_of(licences) == Licence("other", "flux.1-dev-non-commercial-license")


def test_the_name_tells_licences_apart_that_differ_by_a_plus() -> None:
    named = licence_of(["openrail++", "cc-by-nc-4.0"])
    assert named == Licence("other", "cc-by-nc-4.0-and-openrail-plus-plus")
