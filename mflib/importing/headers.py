"""What the text headers of NRRD and MetaImage files say of the meaning of their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mflib.importing.errors import Refusal

MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def is_sweep(found: Mapping[str, str]) -> bool:
    """Whether frames of a tracked probe lie in the file, each with its own pose, and no volume."""
    return any(re.match(r"seq_frame\d+_|customframetransform", name) for name in found)


def refuse_meaning(found: Mapping[str, str]) -> None:
    """Refuse what a header says its numbers are, where that is no grey volume in mm with depth along j."""
    mode = found.get("ultrasoundimagetype", "BRIGHTNESS").upper()
    if mode not in ("BRIGHTNESS", "") and not mode.startswith("RGB"):
        raise Refusal("radio-frequency data, expected grey levels: export the B-mode picture")
    if found.get("ultrasoundimageorientation", "MF").upper()[1:2] not in ("F", "N"):
        raise Refusal("columns that do not run along the beam, expected UltrasoundImageOrientation MF, UF, MN or UN")
    if not units(found) <= MILLIMETRES:
        raise Refusal("lengths in another unit than mm, expected mm")


def is_upside_down(found: Mapping[str, str]) -> bool:
    """Whether the header says that the rows run towards the probe (N for near) and not away from it (F for far)."""
    return found.get("ultrasoundimageorientation", "").upper()[1:2] == "N"


def units(found: Mapping[str, str]) -> set[str]:
    """Units of length that a text header names, in small letters."""
    quoted = re.findall(r'"([^"]*)"', found.get("space units", "") + found.get("units", ""))
    return {unit.strip().casefold() for unit in [*quoted, found.get("distanceunits", "")]} - {"", "?"}
