"""The sections of the comparison's report, in its order, from `ANALYSES`.

Titles, tables and figures are those of a comparison of three boxes, made here.
"""

from __future__ import annotations

import inspect
import re
import warnings

from cxrloc.localization.comparison_report.build import ANALYSES, Analysis
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import ComparisonInputs, Evaluated
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.predictions.results_file import parse_predictions
from cxrloc.localization.report.sections import Section
from generate.markdown import from_docstring, module_docstring

_BOXES = ([100, 100, 200, 200], [120, 110, 200, 200], [90, 120, 220, 180])
_IMAGE = {"width": 1024, "height": 1024}


def sections_page() -> str:
    """What each section answers, what it holds, and when it is left out."""
    evaluated = _evaluated()
    return "\n\n".join(
        (
            "# Sections of the report",
            "`cxrloc compare` writes `report.html`; these are its sections in order. A section is "
            "one function, `analysis(evaluated) -> Section | None`; one that returns `None` is "
            "left out, as the ladder is without heat maps. Every table lies beside the page as "
            "`.csv`, `.md` and `.tex`, every figure as `.png` and `.svg`.",
            *(_entry(analysis, analysis(evaluated)) for analysis in ANALYSES),
        )
    )


def _evaluated() -> Evaluated:
    """Two localizers on three boxes of three patients; a fourth patient has none."""
    numbers, images = range(1, len(_BOXES) + 1), range(1, len(_BOXES) + 2)
    coco = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "patient_id": f"P{n}"} | _IMAGE for n in images
        ],
        "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": box}
            for n, box in zip(numbers, _BOXES, strict=True)
        ],
    }
    results = [
        {"image_id": n, "category_id": 1, "bbox": _BOXES[0], "score": n / 10} for n in numbers
    ]
    truth = ground_truth_from_coco(coco)
    detections = place(truth, parse_predictions(results, coco).boxes)
    warnings.filterwarnings("ignore", ".*so the controls give none")  # few boxes are enough here
    return Evaluated(ComparisonInputs(truth, {"a": detections, "b": detections}, resamples=50))


def _entry(analysis: Analysis, section: Section | None) -> str:
    module = analysis.__module__.removeprefix("cxrloc.")
    name = analysis.__name__
    text = (inspect.getdoc(analysis) or "").split("\n\nRaises:")[0]
    parts = [f"## {section.title if section else name.replace('_', ' ').capitalize()}"]
    parts.append(from_docstring(text))
    if module.rpartition(".")[2] in (name, "section"):
        details = module_docstring(module).split("\n\n")[1:]
        parts.append(from_docstring("\n\n".join(details)))
    if section:
        parts.append(_contents(section))
    parts.append(f"Code: `{name}` in `{module.replace('.', '/')}.py`.")
    return "\n\n".join(filter(None, parts))


def _contents(section: Section) -> str:
    tables = ", ".join(f"`{table.name}`" for table in section.tables)
    figures = ", ".join(f"`{re.sub('_iou.*', '…', each.name)}`" for each in section.figures)
    said = [f"Tables: {tables}." if tables else "", f"Figures: {figures}." if figures else ""]
    return " ".join(filter(None, said))
