"""What the text headers of NRRD and MetaImage files say of the meaning of their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mflib.importing.errors import Refusal

MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def is_sweep(found: Mapping[str, str]) -> bool:
    """Whether frames of a tracked probe lie in the file, each with its own pose, and no volume."""
    return any(re.match(r"seq_frame\d+_|customframetransform", name) for name in found)


def invalid_frames(found: Mapping[str, str]) -> list[str]:
    """A notice where the recorder has marked frames of a sweep as invalid."""
    marked = {
        match[0] for name, value in found.items() if value == "INVALID" and (match := re.match(r"seq_frame\d+", name))
    }
    return [f"marked INVALID, and perhaps out of place: {len(marked)} of its frames"] if marked else []


def refuse_meaning(found: Mapping[str, str], sweep: bool) -> None:
    """Refuse what a header says its numbers are, where that is no grey volume in mm with depth along j."""
    if any(re.match(r"segment\d+_|segmentation_", name) for name in found):
        raise Refusal("a segmentation, expected a picture")
    mode = found.get("ultrasoundimagetype", "BRIGHTNESS").upper()
    if mode not in ("BRIGHTNESS", "") and not mode.startswith("RGB"):
        raise Refusal("radio-frequency data, expected grey levels: export the B-mode picture")
    if orientation(found)[1:2] not in ("", "F", "N"):
        raise Refusal("columns that do not run along the beam, expected UltrasoundImageOrientation MF, UF, MN or UN")
    if not units(found) <= MILLIMETRES:
        raise Refusal("lengths in another unit than mm, expected mm")
    # ITK takes a list for the parts of a pixel, and time for elevation.
    axes = zip(found.get("kinds", "").casefold().split(), found.get("sizes", "").split(), strict=False)
    if not sweep and (listed := [size for kind, size in axes if kind in ("list", "time") and size != "1"]):
        raise Refusal(f"{listed[0]:.9} entries of a list or film, expected one volume: export a single one")


def orientation(found: Mapping[str, str]) -> str:
    """Where the axes of an ultrasound picture run, in PLUS's letters; empty where the header does not know."""
    letters = found.get("ultrasoundimageorientation", "").upper()
    return "" if letters.startswith("XX") else letters


def is_upside_down(found: Mapping[str, str]) -> bool:
    """Whether the header says that the rows run towards the probe (N for near) and not away from it (F for far)."""
    return orientation(found)[1:2] == "N"


def units(found: Mapping[str, str]) -> set[str]:
    """Units of length that a text header names, in small letters."""
    quoted = re.findall(r'"([^"]*)"', found.get("space units", "") + found.get("units", ""))
    return {unit.strip().casefold() for unit in [*quoted, found.get("distanceunits", "")]} - {"", "?"}
