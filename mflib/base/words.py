"""Keys, labels and the words that tables, figures and pages share: a machine's name in, what a reader reads out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

KEY = ["participant_id", "level", "lat"]
LEVEL_NAMES = {"L23": "L2/3", "L34": "L3/4", "L45": "L4/5", "L5S1": "L5/S1"}
LEVELS = tuple(LEVEL_NAMES)  # as the alphabet has them, so keys are sorted along the spine
SIDE_NAMES = {"L": "left", "R": "right"}
SIDES = tuple(SIDE_NAMES)
MODELS = {
    "random_forest": "Random forest",
    "dcnn": "3D network",
    "echo_intensity": "Echo intensity alone",
    "clinical": "Age, sex and BMI",
}
LABELS = MODELS | LEVEL_NAMES | {
    "first_order_mean": "mean grey level",
    "first_order_sd": "SD of grey levels",
    "first_order_skewness": "skewness of grey levels",
    "first_order_kurtosis": "kurtosis of grey levels",
    "first_order_entropy": "entropy of grey levels",
    "grey_levels": "grey levels",
    "nakagami_m": "Nakagami m",
    "nakagami_omega": "Nakagami \u03a9",
    "auc": "AUC",
    "ppv": "PPV",
    "npv": "NPV",
}  # fmt: skip
# A feature of the texture table; in the forest's final space levels, step and direction are those of each fold.
GLCM = re.compile(r"glcm_(?:(\d+)_(\d+)_(-?\d)\.(-?\d)\.(-?\d)_)?(\w+)")
P_COLUMN = re.compile(r"(?:\w+_)?p|P\b.*")
# Of column names: whole ones, and the parts of all others.
COLUMNS = {"participant_id": "patient", "n_patients": "patients", "n_folds": "folds", "n_missing": "missing",
           "y_true": "infiltrated on MRI", "type_one": "type I error", "type_one_se": "its SE", "coverage_se": "its SE",
           "lat": "side", "wrong": "its value", "right": "its value"}  # fmt: skip
PARTS = {"auc": "AUC", "ppv": "PPV", "npv": "NPV", "icc": "ICC", "p": "P", "se": "SE", "sd": "SD", "bmi": "BMI",
         "vas": "VAS", "roi": "ROI", "mri": "MRI", "brier": "Brier",
         "pct": "(%)", "mm": "(mm)", "db": "(dB)"}  # fmt: skip
# The three axes of a voxel array; each plane's name, the axes that run right and down in it, and the one that it cuts.
AXES = ("lateral", "depth", "elevation")
Plane = tuple[str, int, int, int]
PLANES: tuple[Plane, ...] = (("transverse", 0, 1, 2), ("sagittal", 2, 1, 0), ("coronal", 0, 2, 1))
NOT_RECORDED = "not recorded"
READERS = ["grade_reader1", "grade_reader2"]  # columns of the two readers' grades
GRADE_NAMES = ("none", "mild", "moderate", "severe")
# Of a table of features: all features of one family together.
WHOLE_FAMILY = "all of it"
MINUS = "\u2212"


def label(name: str) -> str:
    """What a reader reads for a model, metric, level or feature; any other name as it is."""
    if name in LABELS:
        return LABELS[name]
    if not (found := GLCM.fullmatch(name)):
        return name
    levels, step, *offset, kind = found.groups()
    if levels is None:
        return f"GLCM {kind}"
    return f"GLCM {kind}, {levels} levels, step {step}, {direction('.'.join(offset))}"


def direction(offset: str) -> str:
    """The axes along which an offset as "1.-1.0" goes."""
    along = [(int(by), axis) for by, axis in zip(offset.split("."), AXES, strict=True) if int(by)]
    first, *others = along
    return first[1] + "".join(f" {'+' if by * first[0] > 0 else MINUS} {axis}" for by, axis in others)


def place(segment: Mapping[Any, Any]) -> str:
    """Level and side of what has KEY, as "L2/3 left"; what is none of ours as it is."""
    level, side = str(segment["level"]), str(segment["lat"])
    return f"{LEVEL_NAMES.get(level, level)} {SIDE_NAMES.get(side, side)}"


def segment(row: Mapping[Any, Any]) -> str:
    """Patient, level and side of what has KEY."""
    return f"{row['participant_id']} {place(row)}"


def heading(column: str) -> str:
    """What stands over a column."""
    if column in COLUMNS or label(column) != column:
        return COLUMNS.get(column, label(column))
    return " ".join(PARTS.get(part, part) for part in re.split("[_ ]", column))


def cells(column: str, values: Iterable[object]) -> list[str]:
    """The cells of a column by one rule: counts whole, percentages to 1 decimal, P by the usual rule, all else to 2.

    A missing value is None.
    """
    values = list(values)
    numbers = [float(value) for value in values if isinstance(value, Real)]
    # Counts are no integers any more where some are missing; shares that happen to be 0 and 1 are no counts.
    whole = all(number.is_integer() for number in numbers) and any(abs(number) > 1 for number in numbers)
    return [_cell(column, value, whole) for value in values]


def _cell(column: str, value: object, whole: bool) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return minus(SIDE_NAMES.get(str(value), str(value)) if column == "lat" else label(str(value)))
    number = float(value)
    if P_COLUMN.fullmatch(column):
        return p_value(number)
    if whole or isinstance(value, Integral):
        return minus(f"{number:.0f}")
    decimals = 1 if column.endswith("_pct") or abs(number) >= 100 else 2
    return minus(f"{number:.{decimals}f}" if abs(number) >= 0.01 or number == 0 else f"{number:.1g}")


def p_value(p: float) -> str:
    """A P value as it is printed."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float, decimals: int = 0) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{decimals}f} %"


def minus(text: str) -> str:
    """A text whose negative numbers have true minus signs."""
    return re.sub(r"(?<![\w.\u2013-])-(?=\d)", MINUS, text)
