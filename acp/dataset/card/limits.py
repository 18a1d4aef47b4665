"""Known failures and biases: what the data shows, and what the backends that ran are known for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from acp.core.types import ModelInfo
from acp.core.vocabulary import categories
from acp.dataset.card.making import has_proxy
from acp.dataset.card.markdown import code, counted, number, share, table, text
from acp.dataset.card.statistics import Curated, Statistics
from acp.pipeline.recipe import Recipe

MOST_PREDICATES = 12
HEAD = 10
KNOWN: Mapping[tuple[str, str], str] = {
    ("llm", "sampler"): "No language model took part: attributes, places and captions are drawn "
    "from lists and templates, so the wording is uniform.",
    ("llm", "smollm2"): "The language model is very small. It chooses attributes, places and "
    "wording from what is known to be true of the pictures, so captions sound alike.",
    ("llm", "transformers"): "Scene graphs and captions were written by a language model; no "
    "person has checked them.",
    ("llm", "openai"): "Scene graphs and captions were written by a language model behind a "
    "server; no person has checked them, and another server may answer otherwise.",
    ("renderer", "cutpaste"): "The images are composites of photographic cut-outs on photographs: "
    "edges, light and scale can look pasted, poses are those of the cut-outs, and a model can "
    "learn the seams. Few pictures stand behind each category, so objects look alike.",
    ("renderer", "gligen"): "The images are drawn by a diffusion model. It leaves objects out, "
    "merges or repeats them, mixes attributes up, and adds things that nobody asked for and "
    "nothing labels.",
    ("renderer", "flux3"): "The images are drawn by a diffusion model that reads the layout as "
    "text: objects can stand beside their boxes, be missing or be repeated, and things that "
    "nothing labels appear.",
    ("segmenter", "exact"): "Masks are those of the renderer, exact to the pixel; annotations "
    "drawn by hand are coarser.",
    ("segmenter", "sam2"): "Masks and boxes are predictions, prompted with the layout; no person "
    "has checked them. They can take in a neighbour or miss a part, above all of small and thin "
    "objects (`predicted_iou` tells how sure the model was).",
    ("segmenter", "sam"): "Masks and boxes are predictions, prompted with the layout; no person "
    "has checked them. They can take in a neighbour or miss a part, above all of small and thin "
    "objects (`predicted_iou` tells how sure the model was).",
    ("scorer", "embedded"): "The scorer is an image classifier: it sees categories, not "
    "attributes, counts or relations.",
    ("scorer", "clis"): "What the captioner overlooks or makes up decides what is kept: the picks "
    "are those that these models understand.",
    ("scorer", "clip"): "The scorer compares images with texts as a whole and hardly reads "
    "relations, counts and attributes.",
    ("scorer", "clip-text"): "The scorer compares texts by their likeness and hardly reads "
    "relations, counts and attributes.",
    ("scorer", "random"): "CLIS-I is drawn by chance: no image was picked for what it shows.",
}
"""By kind and name of the backend."""


def limits(recipe: Recipe, models: Mapping[str, ModelInfo], found: Statistics) -> str:
    """Paragraphs as a Markdown list."""
    lines = [*_of_scores(recipe, models), *_of_backends(recipe), *_of_models(models)]
    lines += _of_counts(found) if found.curated.rows else []
    return "\n".join(f"- {line}" for line in lines)


def predicates_table(curated: Curated) -> str:
    """The most frequent relations, or nothing."""
    total = curated.predicates.total()
    if not total:
        return ""
    ranked = sorted(curated.predicates.items(), key=lambda item: (-item[1], item[0]))
    rows = [[code(name), number(n), share(n, total)] for name, n in ranked[:MOST_PREDICATES]]
    if rest := sum(n for _, n in ranked[MOST_PREDICATES:]):
        rows.append([f"{len(ranked) - MOST_PREDICATES} others", number(rest), share(rest, total)])
    return table(["predicate", "relations", "share"], rows, (1, 2))


def _of_scores(recipe: Recipe, models: Mapping[str, ModelInfo]) -> Iterator[str]:
    if has_proxy(recipe):
        note = text(models["scorer"].note) if "scorer" in models else ""
        yield (
            f"**The CLIS-I scores here are a proxy**{f' ({note})' if note else ''}. They are not "
            "the paper's CLIS-I and cannot be compared with scores of another scorer."
        )
    yield (
        "CLIS-L compares layouts with priors of real images and shares their biases: layouts that "
        "are right and unusual score low. It is null where a scene has one object, or no relation "
        "that the priors know."
    )


def _of_backends(recipe: Recipe) -> Iterator[str]:
    for kind in ("llm", "renderer", "segmenter", "scorer"):
        if known := KNOWN.get((kind, recipe.backend(kind).name)):
            yield known
    if recipe.describe.relations_from == "priors":
        yield (
            "Relations come from the priors: they are those that captions and boxes of real "
            "images show most, few of them actions."
        )


def _of_models(models: Mapping[str, ModelInfo]) -> Iterator[str]:
    llm, scorer = models.get("llm"), models.get("scorer")
    if llm and scorer and llm.id in scorer.id:
        yield (
            f"The same model ({code(llm.id)}) wrote the scenes and judged the images: it is likely "
            "to find its own words fitting."
        )


def _of_counts(found: Statistics) -> Iterator[str]:
    curated, raw = found.curated, found.raw
    dropped = raw.object_rejects.total()
    if dropped:
        yield (
            "Not labelled in `curated`, though perhaps in the picture: "
            f"{counted(dropped, 'object')} of the kept images that did not pass "
            f"({share(dropped, dropped + curated.total)}); `raw` tells why."
        )
    if curated.unscored:
        yield (
            f"{counted(curated.unscored, 'labelled object')} "
            f"({share(curated.unscored, curated.total)}) could not be scored (`clis_i` null) and "
            "passed the threshold without a score."
        )
    if unscored := int(np.isnan(raw.scores["clis_l"][1]).sum()):
        yield (
            f"{share(unscored, raw.kept)} of the kept images have no CLIS-L, so CLIS-I alone "
            "decided."
        )
    yield from _of_frequencies(curated)
    yield from _of_places(curated)
    yield (
        f"{counted(len(curated.captions), 'different caption')} for "
        f"{counted(curated.rows, 'image')}; {share(curated.plain, curated.total)} of the objects "
        "have no attribute."
    )
    sources = found.scene_graphs.sources
    by_llm = sources["llm"]
    if by_llm:
        yield (
            f"{share(by_llm, sources.total())} of the layouts that went on to the renderer were "
            "proposed by the language model, the others come from the priors."
        )
    else:
        yield "All layouts that went on to the renderer come from the priors."


def _of_frequencies(curated: Curated) -> Iterator[str]:
    known, present = len(categories()), len(curated.objects)
    head = share(sum(n for _, n in curated.objects.most_common(HEAD)), curated.total)
    once = sum(n == 1 for n in curated.objects.values())
    yield (
        f"{number(known - present)} of the {number(known)} LVIS categories never occur. The "
        f"{min(HEAD, present)} most frequent ones make {head} of the objects; "
        f"those that occur once: {number(once)}."
    )


def _of_places(curated: Curated) -> Iterator[str]:
    total, alone = curated.total, curated.per_image[1]
    sizes = (f"{share(curated.sizes[name], total)} {name}" for name in ("small", "medium", "large"))
    yield (
        f"Objects by COCO's sizes: {', '.join(sizes)}. {share(curated.at_edge, total)} touch the "
        f"edge of the image. {share(alone, curated.rows)} of the images have a single labelled "
        f"object, {total / curated.rows:.1f} on average."
    )
