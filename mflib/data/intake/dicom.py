"""Read one volume from a DICOM file, or say why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from mflib.base.errors import FileError
from mflib.base.vocabulary import meaning
from mflib.data.intake import burnt_in, elements, geometry
from mflib.data.intake.elements import PixelLayout, count, groups, guarded, items, readable, word
from mflib.data.intake.geometry import Acquisition, Geometry, TissueRegion
from mflib.data.stored import implausible

# Families of machines; the rest of a model's name stays behind.
MODELS = (
    "EPIQ Elite", "EPIQ", "Affiniti", "iU22", "iE33", "CX50", "HD15", "HD11", "Lumify", "Sparq", "LOGIQ", "Voluson",
    "Vivid", "Venue", "ACUSON", "Sequoia", "S3000", "S2000", "Aplio", "Xario", "RS85", "RS80", "HS70", "WS80", "Resona",
    "DC-80", "DC-70", "DC-8", "MyLab", "ARIETTA", "Aixplorer", "Ascendus", "Artemis", "Edge", "Turbo", "Vevo",
)  # fmt: skip
# A matrix, linear or curved probe with the ends of its band in MHz, as in XL14-3.
PROBE = re.compile(r"(?:L|C|V|X|S|XL|VL|BP|ML|MC|EC)(\d{1,2})-(\d{1,2})(?![\w.-])")


def technical_fields(ds: Dataset, source_format: str) -> dict[str, Any]:
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
    return next(filter(None, (meaning("maker", part) for part in re.split(r"[\s,]+", text))), None)


def _model(text: str) -> str | None:
    return next((name for name in MODELS if re.search(rf"(?<![\w-]){re.escape(name.upper())}(?![\w-])", text)), None)


def _probe(text: str) -> str | None:
    found = PROBE.match(text)
    low, high = sorted(map(int, found.groups())) if found else (0, 0)
    return found[0] if found and 1 <= low < high <= 24 else None


def _frequency_mhz(ds: Dataset) -> float | None:
    """Of the whole file, else of its first region that says it; the element is in kHz."""
    for holder in (ds, *items(ds, "SequenceOfUltrasoundRegions")):
        if khz := _within(readable(holder, "TransducerFrequency"), 500, 60_000):
            return khz / 1000
    return None


def _within(value: float | None, low: float, high: float) -> float | None:
    return value if value is not None and low <= value <= high else None


def clean_picture(
    path: Path, header: Dataset, stored: PixelLayout, place: Geometry, region: TissueRegion | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey levels of all planes, cut to the declared region and masked where text is burnt in.

    Parameters
    ----------
    path : file
    header : what it says before its pixels
    stored : how its pixels are stored
    place : how many planes it holds
    region : where in the pictures the tissue lies, None where the file does not declare it

    Returns
    -------
    tuple
        (planes, rows, columns) uint8 in stored order, and what was taken away, in words.

    Raises
    ------
    FileError
        Pixels cannot be decoded, are coloured, or bear text that cannot be found.
    """
    ds = elements.opened(path, pixels=True)
    box = region.box if region else (slice(None), slice(None))
    with guarded("the pixel data"):
        # The Cartesian export counts volumes in time where the standard counts planes.
        ds.NumberOfFrames = place.frames
        frames = elements.frames(ds, replace(stored, frames=place.frames))
        pictures = [frame[box] for frame in frames]
        planes, colours = zip(*map(elements.grey_of_colour, pictures), strict=True)
        grey = np.stack(planes)
    cut = grey.shape[1:] != (stored.rows, stored.columns)
    try:
        mask, notices = burnt_in.mask_text(grey, declared=cut, said=word(header, "BurnedInAnnotation"))
    except FileError:
        # Colour can be why no text is told from tissue, and is refused wherever no mask lies.
        elements.refuse_colour([colour for colour in colours if colour is not None], grey.size)
        raise
    # A coloured mark that never changes goes with the text; what changes is no mark, and is not hidden by one.
    coloured = [(picture, colour) for picture, colour in zip(pictures, colours, strict=True) if colour is not None]
    kept = [colour & ~(mask & burnt_in.stays(picture, pictures[0])) for picture, colour in coloured]
    elements.refuse_colour(kept, grey.size)
    grey[:, mask] = 0
    if region:
        notices = (f"cut to the declared tissue region: {region} of {stored.rows} x {stored.columns}", *notices)
    return grey, notices


GeometryOf = Callable[[Dataset, int, list[FileError]], Geometry]
KINDS: dict[str, tuple[str, GeometryOf]] = {
    "1.2.840.10008.5.1.4.1.1.6.2": ("Enhanced US Volume", geometry.enhanced),
    "1.2.840.10008.5.1.4.1.1.3.1": ("Ultrasound Multi-frame Image", geometry.multiframe),
    "1.2.840.10008.5.1.4.1.1.3": ("Ultrasound Multi-frame Image (retired)", geometry.multiframe),
    "1.2.840.113543.6.6.1.3.10002": ("Philips Cartesian export", geometry.cartesian),
}
SINGLE = ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.6")
# Groups in which makers keep volumes that only their own software reads.
RAW_BLOCKS = {0x7FE1: "GE", 0x200D: "Philips"}
MISSING = "the file states a voxel size of 1, 1, 1 mm, which is how a missing one reads"
DIRECTIONS = {"L": "left", "R": "right", "A": "front", "P": "back", "H": "head", "F": "feet"}


def read(path: Path) -> Acquisition:
    """Read the one volume of a DICOM file.

    Parameters
    ----------
    path : file; it is only ever opened for reading

    Returns
    -------
    Acquisition
        Voxels as stored, cut to the declared region of tissue and masked where text is burnt in.

    Raises
    ------
    FileError
        Whatever keeps the file from being one 8-bit grey volume, with the reason.
    """
    ds = elements.opened(path)
    name, geometry_of = _kind(path, ds)
    stored = elements.pixel_layout(ds)
    if stored.frames < 2 and geometry_of is not geometry.cartesian:
        _refuse_picture(path, stored)
    doubts: list[FileError] = []
    place = geometry_of(ds, stored.frames, doubts)
    region = geometry.tissue_region(ds, stored.rows, stored.columns, doubts)
    doubts += geometry.unbelievable(implausible([*(place.in_plane_mm or ()), *filter(None, [place.distance_mm])]))
    missing = place.spacing_mm == (1, 1, 1)
    grey, taken_away = clean_picture(path, ds, stored, place, region)
    voxels = (grey if place.order is None else grey[list(place.order)]).T
    if min(voxels.shape) < 2:
        raise FileError(f"found {' x '.join(map(str, voxels.shape))} voxels, expected at least 2 along each axis")
    return Acquisition(
        voxels,
        None if missing else place.spacing_mm,
        None if missing else place.in_plane_mm,
        place.source,
        technical_fields(ds, f"DICOM, {name}, {stored.syntax.name}"),
        (*place.notices, *([MISSING] if missing else []), *taken_away, *_other_notices(ds)),
        doubts,
    )


def _kind(path: Path, ds: Dataset) -> tuple[str, GeometryOf]:
    with guarded("the SOP class"):
        uid = UID(str(ds.get("SOPClassUID", "") or ds.file_meta.get("MediaStorageSOPClassUID", "")))
    if uid in KINDS:
        return KINDS[uid]
    # A UID that nobody registered could hold anything.
    registered = uid.name if uid.name != str(uid) else "an unknown kind of object" if uid else "no SOP class"
    if uid not in SINGLE:
        expected = ", ".join(name for name, _ in KINDS.values())
        raise FileError(f"found {registered}, expected {expected}: export one of these, or NIfTI, NRRD or MHA")
    if (declared := count(ds, "NumberOfFrames") or 1) > 1:
        found = f"{declared} frames in a {registered}, a kind of object that holds one"
        raise FileError(f"found {found}: export it as Ultrasound Multi-frame Image")
    held = groups(elements.opened(path, pixels=True))
    raw = next((maker for group, maker in RAW_BLOCKS.items() if group in held), None)
    hint = f". It may hold a volume that only {raw}'s software reads: export it as Cartesian DICOM there" if raw else ""
    raise FileError(f"found one picture ({registered}), expected a volume{hint}")


def _refuse_picture(path: Path, stored: PixelLayout) -> None:
    """Refuse what declares one picture, and say so where more lie in it."""
    with guarded("the pixel data"):
        held = elements.pictures_held(elements.opened(path, pixels=True).get("PixelData", b""), stored)
    if held > 1:
        found = f"pixels of {held} pictures, but a Number of Frames of 1 or none"
        raise FileError(f"found {found}, expected the same number: export the file again")
    raise FileError(f"found one picture of {stored.columns} x {stored.rows} pixels, expected a volume")


def _other_notices(ds: Dataset) -> Iterator[str]:
    if any(0x6000 <= group <= 0x60FF for group in groups(ds)):
        yield "overlay planes were left out; they are not burnt into the pictures"
    columns = word(ds, "PatientOrientation").split("\\")[0]
    if columns and set(columns) <= DIRECTIONS.keys():
        towards = " and ".join(DIRECTIONS[letter] for letter in columns)
        yield f"columns run towards the patient's {towards}, as the file states; voxels stay as stored"
