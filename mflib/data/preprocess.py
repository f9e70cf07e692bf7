"""From a raw volume to comparable input: two-point gain normalisation, region of interest, z-score, resize."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from mflib.base.errors import InputError
from mflib.base.settings import STRICT, Number, Whole
from mflib.data.volume import Annotation, Index, Volume

SATURATED_BONE = 250
BLACK_SHADOW = 5
WEAK_CONTRAST = 40
Millimetres = tuple[float, float, float]
# The paper's 180 x 180 x 70 voxels at 0.2 mm, a picture of about 5 cm; it does not say what they are in mm.
ROI_MM: Millimetres = (36.0, 36.0, 14.0)
ROI_MARGIN_MM = 1.0  # from an edge that is seen: it is blurred by about that much
# From the midline to the cleft that parts the multifidus from the longissimus, mean at the fascia
# (doi:10.1097/BRS.0b013e3181f520e8); it runs outwards in the depth. Within speckle no edge shows it surely.
CLEFT_MM = {"L23": 10.4, "L34": 16.2, "L45": 28.4, "L5S1": 37.8}
ROI_LEAST_ACROSS = 24  # voxels: texture looks at pairs of voxels up to 15 steps apart


@settings(frozen=True, config=STRICT)
class GainSettings:
    """Targets of the gain normalisation.

    Parameters
    ----------
    bright : grey level that the spinous process is mapped to
    dark : grey level that its acoustic shadow is mapped to
    patch_mm : half width of the box around each reference point, in mm
    dynamic_range_db : dynamic range of the log compression assumed where a sidecar does not say, in dB
    """

    bright: Annotated[Whole, Field(ge=1, le=255)] = 220
    dark: Annotated[Whole, Field(ge=0, le=254)] = 20
    patch_mm: Annotated[Number, Field(gt=0, le=50)] = 1.0
    dynamic_range_db: Annotated[Number, Field(ge=10, le=200)] = 55.0

    def __post_init__(self) -> None:
        """Refuse a picture with bright and dark exchanged."""
        if self.dark >= self.bright:
            raise ValueError(f"dark: found {self.dark}, expected below bright, which is {self.bright}")


@dataclass(frozen=True)
class References:
    """Grey levels measured at the two reference points."""

    bone: float
    shadow: float

    def __str__(self) -> str:
        """The two grey levels, and what is wrong with them, as a sentence."""
        doubt = f", not to be trusted: {', '.join(self.flags)}" if self.flags else ""
        return f"Bone has grey level {self.bone:.0f}, its shadow {self.shadow:.0f}{doubt}."

    @property
    def flags(self) -> tuple[str, ...]:
        """Why the normalisation of this volume cannot be trusted; empty where it can."""
        flags = []
        if self.bone > SATURATED_BONE:
            flags.append(f"saturated bone (grey {self.bone:.0f} > {SATURATED_BONE})")
        if self.shadow < BLACK_SHADOW:
            flags.append(f"black shadow (grey {self.shadow:.0f} < {BLACK_SHADOW})")
        if self.bone - self.shadow < WEAK_CONTRAST:
            flags.append(f"weak contrast (bone {self.bone:.0f}, shadow {self.shadow:.0f}, less than {WEAK_CONTRAST})")
        return tuple(flags)


@dataclass(frozen=True, eq=False)
class Region:
    """The region of interest of one volume, before and after gain normalisation.

    Parameters
    ----------
    raw, voxels : (ni, nj, nk) uint8, as recorded and gain-normalised
    references : grey levels at the reference points
    dynamic_range_db : effective dynamic range of ``voxels`` in dB. The normalisation stretches grey levels by a slope;
        log decompression of ``voxels`` with the recorded range divided by that slope gives the recorded intensity
        up to a constant factor.
    spacing_mm : edges of a voxel
    """

    raw: NDArray[np.uint8]
    voxels: NDArray[np.uint8]
    references: References
    dynamic_range_db: float
    spacing_mm: Millimetres


def roi_columns(
    shape: Index, spacing_mm: Millimetres, bone: Index, side: str, away: tuple[int, int, int], most_mm: Millimetres
) -> tuple[slice, slice]:
    """Columns, along i and k, of a region of interest that is fitted to the muscle beside a spinous process.

    It ends at the muscle's lateral edge, but is at least ``ROI_LEAST_ACROSS`` voxels wide where the picture and
    ``most_mm`` allow it; its middle lies in the bone's plane as far as the volume reaches.

    Parameters
    ----------
    shape, spacing_mm : of the volume
    bone : voxel on the spinous process
    side : "L" or "R" of the bone, as seen in the volume
    away : voxels from the bone to the muscle's medial edge, to its lateral edge, and to the end of the picture
    most_mm : largest extent
    """
    near, far, end = away
    widest, _, along = (max(2, round(mm / step)) for mm, step in zip(most_mm, spacing_mm, strict=True))
    across = max(2, min(max(far - near, ROI_LEAST_ACROSS), widest, end - near))
    i = bone[0] - near - across + 1 if side == "L" else bone[0] + near
    along = min(along, shape[2])
    i = min(max(i, 0), shape[0] - across)
    k = min(max(bone[2] - along // 2, 0), shape[2] - along)
    return slice(i, i + across), slice(k, k + along)


def measure_references(volume: Volume, annotation: Annotation, patch_mm: float) -> References:
    """Grey levels of bone and shadow, robust to a click that is a voxel off and to speckle.

    Bone is a bright line that fills less than half of its patch: the upper quartile. The shadow is noise: the median.
    """
    bone = np.percentile(volume.patch(annotation.bone, patch_mm), 75)
    return References(float(bone), float(np.median(volume.patch(annotation.shadow, patch_mm))))


def normalise_gain(voxels: NDArray[np.uint8], references: References, settings: GainSettings) -> NDArray[np.uint8]:
    """Map bone to ``settings.bright`` and shadow to ``settings.dark``, linearly in grey level.

    A change of gain shifts all grey levels of a log-compressed image by the same amount, so two points remove it.

    Raises
    ------
    InputError
        The bone is not brighter than the shadow.
    """
    levels = settings.dark + slope(references, settings) * (np.arange(256) - references.shadow)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[voxels]


def slope(references: References, settings: GainSettings) -> float:
    """Grey levels after normalisation per grey level before.

    Raises
    ------
    InputError
        The bone is not brighter than the shadow.
    """
    bone, shadow = references.bone, references.shadow
    if bone <= shadow:
        raise InputError(f"bone of grey {bone:.0f}, shadow of grey {shadow:.0f}; expected a brighter bone")
    return (settings.bright - settings.dark) / (bone - shadow)


def change_gain(volume: Volume, gain_db: float, settings: GainSettings) -> Volume:
    """The volume as it would have been recorded with another gain, in dB.

    Gain multiplies the echo before the log compression, so it adds ``255 gain_db / DR`` to every grey level; what
    leaves the range of 0 to 255 is clipped, as the scanner does.
    """
    shifted = np.rint(np.arange(256) + 255 * gain_db / recorded_range(volume, settings))
    return replace(volume, voxels=np.clip(shifted, 0, 255).astype(np.uint8)[volume.voxels])


def recorded_range(volume: Volume, settings: GainSettings) -> float:
    """Dynamic range of the log compression in dB: the sidecar's, or the one assumed where it does not say."""
    return settings.dynamic_range_db if volume.dynamic_range_db is None else volume.dynamic_range_db


def region(volume: Volume, annotation: Annotation, settings: GainSettings) -> Region:
    """Crop the region of interest and normalise its gain.

    Raises
    ------
    InputError
        A point or the ROI leaves the volume, or the bone is not brighter than the shadow.
    """
    annotation.check_inside(volume.voxels.shape)
    references = measure_references(volume, annotation, settings.patch_mm)
    raw = np.ascontiguousarray(volume.voxels[annotation.roi])
    return Region(
        raw=raw,
        voxels=normalise_gain(raw, references, settings),
        references=references,
        dynamic_range_db=recorded_range(volume, settings) / slope(references, settings),
        spacing_mm=volume.spacing_mm,
    )


def zscore(voxels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Zero mean and unit standard deviation over all voxels of one region.

    Raises
    ------
    InputError
        All voxels are equal.
    """
    sd = voxels.std(dtype=np.float64)
    if sd == 0:
        raise InputError(f"all voxels are {voxels.flat[0]}, expected a region with more than one grey level")
    return ((voxels - voxels.mean(dtype=np.float64)) / sd).astype(np.float32)


def fixed_scale(voxels: NDArray[np.uint8], settings: GainSettings) -> NDArray[np.float32]:
    """The same scale for every region, so that brightness stays: -2 at the dark target of the gain, 2 at the bright."""
    middle, step = (settings.bright + settings.dark) / 2, (settings.bright - settings.dark) / 4
    return ((voxels - middle) / step).astype(np.float32)


def box_shape(region: Index, spacing_mm: Millimetres, extent_mm: Millimetres | None) -> Index:
    """Voxels of the box of ``extent_mm`` that a region is laid into, of its own size; those of the region for None."""
    if extent_mm is None:
        return region
    i, j, k = (max(1, round(mm / step)) for mm, step in zip(extent_mm, spacing_mm, strict=True))
    return i, j, k


def laid_into(values: NDArray[np.float32], shape: Index) -> NDArray[np.float32]:
    """The values in the middle of a box of zeros; what exceeds the box is cut off. A second call undoes the first."""
    box = np.zeros(shape, np.float32)
    common = [min(n, m) for n, m in zip(values.shape, shape, strict=True)]
    into, out_of = (
        tuple(slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(whole, common, strict=True))
        for whole in (shape, values.shape)
    )
    box[into] = values[out_of]
    return box


def network_input(
    scaled: NDArray[np.float32], size: Index, spacing_mm: Millimetres, extent_mm: Millimetres | None
) -> NDArray[np.float32]:
    """A region in the middle of a box that has the same extent in mm for every region, resized to the network's input.

    So a voxel of the input is as large in every segment. Stretched to the input, narrow regions of the upper levels
    would look coarser than wide ones of the lower, and texture would tell the level. Around the region lies 0.

    Parameters
    ----------
    scaled : (ni, nj, nk) float32 region of interest, of `zscore` or `fixed_scale`
    size : extent of the result in voxels, same axes
    spacing_mm : edges of a voxel of the region
    extent_mm : of the box; None for the region's own, which stretches it as the paper does
    """
    # It brings much of SciPy, which those who only read finished inputs need not wait for.
    from skimage.transform import resize

    box = laid_into(scaled, box_shape(scaled.shape, spacing_mm, extent_mm))
    return resize(box, size, order=1, mode="edge", anti_aliasing=True).astype(np.float32)
