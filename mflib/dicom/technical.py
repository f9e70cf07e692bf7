"""The technical facts of a file that may enter a cohort.

An allow-list of elements, and of values too: people can type into nearly every text of a scanner, so a text passes only
as one of the words listed here, and a number only within its range. Everything else stays behind.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom.dataset import Dataset

from mflib.dicom.elements import items, readable, word

MAKERS = {
    "PHILIPS": "Philips", "GE": "GE", "G.E.": "GE", "GEMS": "GE", "KRETZTECHNIK": "GE", "SIEMENS": "Siemens",
    "ACUSON": "Siemens", "CANON": "Canon", "TOSHIBA": "Toshiba", "SAMSUNG": "Samsung", "MEDISON": "Samsung Medison",
    "MINDRAY": "Mindray", "ESAOTE": "Esaote", "HITACHI": "Hitachi", "ALOKA": "Hitachi Aloka", "FUJIFILM": "Fujifilm",
    "SONOSITE": "SonoSite", "SUPERSONIC": "SuperSonic Imagine", "HOLOGIC": "Hologic", "BK": "BK Medical",
    "TELEMED": "Telemed", "CLARIUS": "Clarius", "BUTTERFLY": "Butterfly", "VERASONICS": "Verasonics",
    "ULTRASONIX": "Ultrasonix", "EIGEN": "Eigen", "ZONARE": "Zonare", "TERASON": "Terason", "CHISON": "Chison",
    "SONOSCAPE": "SonoScape", "VISUALSONICS": "VisualSonics", "VINNO": "Vinno",
}  # fmt: skip

MODELS = (
    "EPIQ Elite", "EPIQ", "Affiniti", "iU22", "iE33", "CX50", "HD15", "HD11", "Lumify", "Sparq", "LOGIQ", "Voluson",
    "Vivid", "Venue", "ACUSON", "Sequoia", "S3000", "S2000", "Aplio", "Xario", "RS85", "RS80", "HS70", "WS80", "Resona",
    "DC-80", "DC-70", "DC-8", "MyLab", "ARIETTA", "Aixplorer", "Ascendus", "Artemis", "Edge", "Turbo", "Vevo",
)  # fmt: skip
"""Families of machines; the rest of a model's name stays behind."""

PROBE = re.compile(r"(L|C|V|X|S|XL|VL|BP|ML|MC|EC)\d{1,2}-\d{1,2}(?![\w.-])")
"""A matrix, linear or curved probe with the ends of its band in MHz, as in XL14-3."""


def fields(ds: Dataset, source_format: str) -> dict[str, Any]:
    """Allow-listed fields under the names of the cohort's sidecar; those that the file does not give are left out.

    Parameters
    ----------
    ds : header
    source_format : kind of object and transfer syntax
    """
    found = {
        "Manufacturer": _maker(word(ds, "Manufacturer")),
        "ManufacturersModelName": _model(word(ds, "ManufacturerModelName")),
        "ProbeModel": _probe(word(ds, "TransducerData")),
        "ProbeCentralFrequency": _frequency_mhz(ds),
        "DepthMM": _within(readable(ds, "DepthOfScanField"), 5, 400),
        "SourceFormat": source_format,
    }
    return {name: value for name, value in found.items() if value is not None}


def _maker(text: str) -> str | None:
    return next((MAKERS[first] for first in re.split(r"[\s,]+", text) if first in MAKERS), None)


def _model(text: str) -> str | None:
    return next((name for name in MODELS if re.search(rf"(?<![\w-]){re.escape(name.upper())}(?![\w-])", text)), None)


def _probe(text: str) -> str | None:
    first = text.split("\\")[0]
    found = PROBE.match(first)
    low_high = sorted(map(int, re.findall(r"\d+", found[0]))) if found else [0, 0]
    return found[0] if found and 1 <= low_high[0] < low_high[1] <= 24 else None


def _frequency_mhz(ds: Dataset) -> float | None:
    """Of the whole file, else of its first region that says it; the element is in kHz."""
    for holder in (ds, *items(ds, "SequenceOfUltrasoundRegions")):
        if khz := _within(readable(holder, "TransducerFrequency"), 500, 60_000):
            return khz / 1000
    return None


def _within(value: float | None, low: float, high: float) -> float | None:
    return value if value is not None and low <= value <= high else None
