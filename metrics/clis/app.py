"""The Space of CLIS: draw, type or paste a layout, upload an image, see scores and references."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from PIL import Image

import acp
from acp.backends.registry import backend_class
from acp.clis.predicates import PREDICATES
from acp.clis.rows import columns_of
from acp.core.errors import AcpError
from acp.core.vocabulary import categories
from acp.dataset.pictures import PAPER, SIDE, draw_layout, reference_boxes

VERBS = ("riding", "holding", "eating", "wearing", "looking at", "sitting on", "standing on")
VARIANTS = ["paper", "reference", "acp"]
OBJECTS = ["category", "x", "y", "w", "h"]
RELATIONS = ["subject", "predicate", "object"]
DETAIL = [*RELATIONS, "score", "size", "distance", "direction", "level", "references", "reason"]
EXAMPLE = {
    "width": 1,
    "height": 1,
    "caption": "A man rides a skateboard next to a dog.",
    "objects": {
        "category": ["person", "skateboard", "dog"],
        "bbox": [[0.22, 0.12, 0.26, 0.62], [0.24, 0.72, 0.24, 0.1], [0.6, 0.45, 0.3, 0.36]],
    },
    "relations": {"subject": [0, 2], "predicate": ["riding", "next to"], "object": [1, 0]},
}
HELP = f"""\
# CLIS
How well is a layout arranged, and how well does an image show it? Boxes are shares of the image,
`x, y` the upper left corner. Relations name objects by their number, from 0. Predicates such as
{", ".join(PREDICATES)} or any verb. [Paper](https://arxiv.org/abs/2406.20085)
"""

Table = Sequence[Sequence[Any]]


def embedded_runs() -> bool:
    """Whether the embedded captioner and judge are installed here."""
    kinds = [backend_class(kind, "embedded") for kind in ("captioner", "judge")]
    return not any(kind().missing() for kind in kinds)


def to_row(objects: Table, relations: Table, image: Any, caption: str) -> dict[str, Any]:
    """A row of the metric from the two tables; lines without a name are left out."""
    things = [line for line in objects if str(line[0] or "").strip()]
    said = [line for line in relations if str(line[1] or "").strip()]
    return {
        "width": 1,
        "height": 1,
        "caption": caption,
        "objects": {
            "category": [str(line[0]).strip() for line in things],
            "bbox": [[_number(value) for value in line[1:5]] for line in things],
        },
        "relations": {
            "subject": [_index(line[0]) for line in said],
            "predicate": [str(line[1]).strip() for line in said],
            "object": [_index(line[2]) for line in said],
        },
        "image": image,
    }


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _index(value: Any) -> Any:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def score_row(row: Mapping[str, Any], variant: str, with_image: bool) -> dict[str, Any]:
    """The result of `acp.score` for one row, explained."""
    components = ["layout", "image"] if with_image else ["layout"]
    backend = "embedded" if with_image else None
    return acp.score(
        [row],
        variant=variant,
        components=components,
        captioner=backend,
        judge=backend,
        explain=True,
    )


def score(
    objects: Table, relations: Table, image: Any, caption: str, variant: str, with_image: bool
) -> tuple[str, list[list[Any]], list[tuple[Image.Image, str]], dict[str, Any]]:
    """What the button shows: a summary, a table, pictures of the nearest references, all of it."""
    row = to_row(objects, relations, image, caption)
    try:
        result = score_row(row, variant, with_image and image is not None)
    except AcpError as error:
        raise _told(error) from None
    details = result["explanation"][0]
    return _summary(result), _lines(details), _pictures(row, details), _plain(result)


def score_json(row: str, variant: str = "paper") -> dict[str, Any]:
    """CLIS-L of a row of the metric, written as JSON."""
    try:
        return _plain(score_row(_parsed(row), variant, with_image=False))
    except (AcpError, ValueError) as error:
        raise _told(error) from None


def _parsed(text: str) -> Any:
    """A pasted row, without its image: a path would be one of this machine."""
    try:
        row = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return {**row, "image": None} if isinstance(row, dict) else row


def _told(error: Exception) -> gr.Error:
    """As text: the page takes messages for HTML, and names of the row may be in them."""
    text = html.escape(str(error).removeprefix("rows[0]."), quote=False)
    return gr.Error(text, print_exception=False)


def _verbatim(text: str) -> str:
    """Text that Markdown shows as it stands: no link, image or tag comes of it."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _plain(result: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


def _summary(result: Mapping[str, Any]) -> str:
    names = {"clis_l": "CLIS-L", "clis_i": "CLIS-I", "clis": "CLIS"}
    lines = []
    for name, title in names.items():
        value, reason = result[name][0], result.get(f"{name}_reason", [None])[0]
        if value is not None:
            lines.append(f"**{title} {value:.1f}**" + (f" ({_verbatim(reason)})" if reason else ""))
        elif reason and "not asked" not in reason:
            lines.append(f"**{title}: none** ({_verbatim(reason)})")
    return "  \n".join(lines) or "Nothing to score."


def _lines(details: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    numbers = ("total", "size", "distance", "direction")
    return [
        [
            *(each[name] for name in RELATIONS),
            *(None if each[name] is None else round(each[name], 1) for name in numbers),
            each["level"],
            each["references"],
            each["reason"] or "",
        ]
        for each in details
    ]


def _pictures(
    row: Mapping[str, Any], details: Sequence[Mapping[str, Any]]
) -> list[tuple[Image.Image, str]]:
    """Each relation as it is here, and as it is in the nearest reference."""
    shown = []
    for each in details:
        near = each["nearest"]
        if near is None:
            continue
        pair = [row["objects"]["bbox"][each[f"{end}_index"]] for end in ("subject", "object")]
        here = draw_layout([each["subject"], each["object"]], pair, side=260)
        there = draw_layout([near["subject"], near["object"]], reference_boxes(near), side=260)
        both = Image.new("RGB", (here.width + there.width + 8, here.height), PAPER)
        both.paste(here, (0, 0))
        both.paste(there, (here.width + 8, 0))
        words = " ".join(str(near[name]) for name in RELATIONS)
        source = f", image {near['image_id']}" if near["image_id"] else ""
        shown.append((both, f"here | reference: {words} ({each['level']}{source})"))
    return shown


def redraw(objects: Table, image: Image.Image | None, mark: Any = None) -> Image.Image:
    """The layout as it stands in the table."""
    things = [line for line in objects if str(line[0] or "").strip()]
    names, boxes = [str(line[0]) for line in things], [line[1:5] for line in things]
    return draw_layout(names, boxes, image, mark=mark)


def click(
    objects: Table, image: Any, category: str, corner: Any, event: gr.SelectData
) -> tuple[list[list[Any]], Any, Image.Image]:
    """The first click marks a corner, the second one makes the box."""
    lines = [list(line) for line in objects if str(line[0] or "").strip()]
    height = SIDE if image is None else SIDE * image.height / image.width
    here = (event.index[0] / SIDE, event.index[1] / height)
    if corner is None:
        return lines, here, redraw(lines, image, here)
    (x, y), (right, bottom) = (
        tuple(f(a, b) for a, b in zip(corner, here, strict=True)) for f in (min, max)
    )
    box = [round(value, 3) for value in (x, y, right - x, bottom - y)]
    lines.append([category, *box])
    return lines, None, redraw(lines, image)


def add_relation(relations: Table, subject: Any, predicate: str, other: Any) -> list[list[Any]]:
    """The table of relations with one more."""
    lines = [list(line) for line in relations if str(line[1] or "").strip()]
    return [*lines, [_index(subject), predicate, _index(other)]]


def read_json(text: str) -> tuple[list[list[Any]], list[list[Any]], str]:
    """The tables of a pasted row; pixels become shares of the image."""
    try:
        columns = columns_of([_parsed(text)])
    except (AcpError, ValueError) as error:
        raise _told(error) from None
    names, predicates = columns.category, columns.predicate
    boxes = columns.boxes_xywhn().round(4).tolist()
    objects = [[names.names[c], *box] for c, box in zip(names.codes, boxes, strict=True)]
    relations = [
        [int(subject), predicates.names[code], int(other)]
        for subject, code, other in zip(
            columns.subject, predicates.codes, columns.object, strict=True
        )
    ]
    return objects, relations, columns.captions[0]


def page() -> gr.Blocks:
    """The Space."""
    objects, relations, caption = read_json(json.dumps(EXAMPLE))
    with gr.Blocks(title="CLIS", analytics_enabled=False) as blocks:
        gr.Markdown(HELP)
        corner = gr.State(None)
        with gr.Row():
            with gr.Column():
                table = gr.Dataframe(
                    objects, headers=OBJECTS, type="array", label="Objects", interactive=True
                )
                links = gr.Dataframe(
                    relations, headers=RELATIONS, type="array", label="Relations", interactive=True
                )
                with gr.Row():
                    subject = gr.Number(0, label="Subject", precision=0, min_width=60)
                    predicate = gr.Dropdown(
                        [*PREDICATES, *VERBS],
                        value="next to",
                        allow_custom_value=True,
                        label="Predicate",
                        min_width=140,
                    )
                    other = gr.Number(1, label="Object", precision=0, min_width=60)
                with gr.Row():
                    add = gr.Button("Add relation", size="sm")
                    clear = gr.Button("Clear all", size="sm")
                with gr.Accordion("Paste a layout as JSON", open=False):
                    pasted = gr.Code(json.dumps(EXAMPLE, indent=1), language="json", label="Row")
                    use = gr.Button("Use this layout")
                image = gr.Image(label="Image (optional)", type="pil", height=200)
                said = gr.Textbox(caption, label="Caption (for CLIS-I)")
                variant = gr.Radio(VARIANTS, value="paper", label="Variant of CLIS-L")
                with_image = gr.Checkbox(
                    label="Score the image too (embedded captioner and judge)",
                    value=False,
                    visible=embedded_runs(),
                )
            with gr.Column():
                category = gr.Dropdown(
                    sorted(categories()),
                    value="dog",
                    allow_custom_value=True,
                    label="Draw: choose a category, then click two corners",
                )
                picture = gr.Image(
                    redraw(objects, None), label="Layout", interactive=False, type="pil"
                )
                button = gr.Button("Score", variant="primary")
                summary = gr.Markdown()
        detail = gr.Dataframe(headers=DETAIL, label="Relations", wrap=True)
        gallery = gr.Gallery(
            label="Nearest references",
            columns=2,
            height="auto",
            object_fit="contain",
            elem_id="nearest",
        )
        with gr.Accordion("All of it", open=False):
            everything = gr.JSON()
        shown = [summary, detail, gallery, everything]
        asked = [table, links, image, said, variant, with_image]
        button.click(score, asked, shown, api_name="score")
        for changed in (table, image):
            changed.change(redraw, [table, image], picture, api_visibility="private")
        picture.select(
            click,
            [table, image, category, corner],
            [table, corner, picture],
            api_visibility="private",
        )
        add.click(add_relation, [links, subject, predicate, other], links, api_visibility="private")
        clear.click(lambda: ([], [], None), None, [table, links, corner], api_visibility="private")
        use.click(read_json, pasted, [table, links, said], api_visibility="private")
        gr.api(score_json, api_name="score_json")
    return blocks


# The pictures are pairs, twice as wide as high; a gallery makes squares of them.
STYLE = "#nearest .thumbnail-lg { aspect-ratio: 16 / 9; } #nearest img { object-position: top; }"

if __name__ == "__main__":
    fonts = ["system-ui", "sans-serif"]  # no font of a server
    page().launch(theme=gr.themes.Default(font=fonts, font_mono=["monospace"]), css=STYLE)
