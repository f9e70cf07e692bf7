"""Can the volumes be trusted: gain, saturation, shadow, grey levels, spacing, and whether brightness drifts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from mflib.base import tables, vocabulary
from mflib.base.errors import FileError, InputError
from mflib.base.progress import counted
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import Folder
from mflib.data.cohort_tables import PARTICIPANTS, Key
from mflib.data.preprocess import GainSettings, References
from mflib.data.volume import Annotation, Volume

SCANS = ("filename", "acq_time")  # columns of a scans.tsv, as BIDS has them


def acquisition_days(root: Path) -> tuple[dict[str, float], list[str]]:
    """Days from the first acquisition to each volume's, by its path; a date would say more of a patient than is needed.

    Returns
    -------
    days : dict
        From ``acq_time`` in BIDS ``sub-001/sub-001_scans.tsv``, whose ``filename`` is relative to the participant's
        folder; only of volumes with a time that can be read.
    notes : list of str
        Files and cells that cannot be read.
    """
    found: dict[str, pd.Timestamp] = {}
    notes: list[str] = []
    for path in sorted(root.glob("sub-*/sub-*_scans.*")):
        name = path.relative_to(root).as_posix()
        try:
            scans = tables.read(path, SCANS)
            scans.check_columns(SCANS)
        except FileError as error:
            notes.append(f"{name}: cannot be read ({error})")
            continue
        for number, row in scans.rows.items():
            cells = dict(zip(scans.header, row, strict=False))
            said, filename = cells.get("acq_time", ""), cells.get("filename", "")
            moment = vocabulary.moment(said)
            if not filename:
                notes.append(f"{name}, row {number}: found no filename, expected one")
            elif not pd.isna(moment):
                found[f"{path.parent.name}/{filename}"] = moment
            elif not vocabulary.is_nothing(said):
                notes.append(f"{name}: {said!r} is no time such as 2026-03-01T09:30:00")
    first = min(found.values(), default=None)
    return {path: (moment - first) / pd.Timedelta(days=1) for path, moment in found.items()}, notes


# Depth of 4 to 7 cm moves the spacing by less; a wrong unit or axis by more.
SPACING_FACTOR = 1.5
# Iglewicz B, Hoaglin DC. How to detect and handle outliers. ASQC Quality Press, 1993: 0.6745 (x - median) / MAD.
FAR = 3.5
FEWEST_TO_COMPARE = 8  # volumes that a median and its spread can be trusted with


def unusual_spacing(table: pd.DataFrame) -> list[str]:
    """Words for each volume whose spacing is far above or below the cohort's most frequent one."""
    steps = table[[f"spacing_{axis}_mm" for axis in "ijk"]]
    usual = np.array([_usual(steps[column]) for column in steps])
    far = (np.abs(np.log(steps / usual)) > np.log(SPACING_FACTOR)).any(axis=1)
    *own, mostly = (" x ".join(f"{step:.2g}" for step in row) for row in (*steps.to_numpy(), usual))
    return [f"unusual spacing ({one} mm, mostly {mostly})" if out else "" for one, out in zip(own, far, strict=True)]


def outliers(means: pd.Series) -> list[str]:
    """Words for each volume whose normalised mean is far from the cohort's, by the modified z-score."""
    centre = means.median()
    spread = (means - centre).abs().median() / 0.6745
    if means.count() < FEWEST_TO_COMPARE or not spread > 0:
        return [""] * len(means)
    scores = (means - centre) / spread
    words = "normalised ROI mean {mean:.0f}, cohort {centre:.0f} (robust z {z:+.1f})"
    rows = zip(means, scores, strict=True)
    return [words.format(mean=mean, centre=centre, z=z) if abs(z) > FAR else "" for mean, z in rows]


def _usual(steps: pd.Series) -> float:
    """The most frequent step, or the median where no two volumes share one."""
    counts = steps.round(3).value_counts()
    return float(counts.index[0]) if len(counts) and counts.iloc[0] > 1 else float(steps.median())


SIDE = 100  # pixels of the longer side: 368 of them stay under a megabyte
Place = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """The middle transverse plane of a volume, small.

    Parameters
    ----------
    pixels : (depth, lateral) uint8, with square pixels
    roi : left, top, width and height of the region of interest, as shares of the picture; None where there is none
    bone, shadow : reference points, from the left and from the top, as shares of the picture
    """

    pixels: NDArray[np.uint8]
    roi: tuple[float, float, float, float] | None = None
    bone: Place | None = None
    shadow: Place | None = None


def thumbnail(volume: Volume, annotation: Annotation | None) -> Thumbnail:
    """The plane through the middle of the region of interest, or of the volume where there is none."""
    ni, nj, nk = volume.voxels.shape
    k = nk // 2 if annotation is None else annotation.roi_start[2] + annotation.roi_size[2] // 2
    width, height = ni * volume.spacing_mm[0], nj * volume.spacing_mm[1]
    scale = SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    plane = Image.fromarray(np.ascontiguousarray(volume.voxels[:, :, k].T))
    pixels = np.asarray(plane.resize(size, Image.Resampling.LANCZOS))
    if annotation is None:
        return Thumbnail(pixels)
    (left, top, _), (wide, high, _) = annotation.roi_start, annotation.roi_size
    bone, shadow = (((i + 0.5) / ni, (j + 0.5) / nj) for i, j, _ in (annotation.bone, annotation.shadow))
    return Thumbnail(pixels, (left / ni, top / nj, wide / ni, high / nj), bone, shadow)


# An 8-bit picture of a whole volume uses nearly all 256; half of them are what a squeezed or stretched one has left.
FEW_LEVELS = 128
SATURATED_ROI_PCT = 1.0
BLACK_ROI_PCT = 20.0  # holes that a reconstruction left, or a shadow
GREYS = np.arange(256, dtype=np.uint8)
STATED = {"dynamic_range_db": "DynamicRangeDB", "gain_percent": "GainPercent", "depth_mm": "DepthMM"}


def of_volume(volume: Volume) -> dict[str, Any]:
    """Grey levels, spacing and extent of a whole volume, and what its sidecar states.

    Returns
    -------
    dict
        Shares in percent of the voxels, lengths in mm; what the sidecar does not state, or not as a number, is NaN.
    """
    share = _histogram(volume.voxels)
    levels, black, saturated = int((share > 0).sum()), 100 * float(share[0]), 100 * float(share[255])
    row: dict[str, Any] = {"grey_levels": levels, "black_pct": black, "saturated_pct": saturated}
    row |= {name: volume.stated(field, math.nan) for name, field in STATED.items()}
    for axis, step, n in zip("ijk", volume.spacing_mm, volume.voxels.shape, strict=True):
        row |= {f"spacing_{axis}_mm": step, f"field_{axis}_mm": step * n}
    return row | {"flags": (f"few grey levels ({levels} of 256)",) if levels < FEW_LEVELS else ()}


def of_annotated(volume: Volume, annotation: Annotation, settings: GainSettings) -> dict[str, Any]:
    """Grey levels at the reference points and in the region of interest of one volume.

    Returns
    -------
    dict
        ``gain_db`` is half way between bone and shadow, in dB: a change of gain moves both by as much. ``roi_mean`` is
        NaN where the bone is not brighter than the shadow.

    Raises
    ------
    InputError
        The ROI or a reference point leaves the volume.
    """
    annotation.check_inside(volume.voxels.shape)
    references = preprocess.measure_references(volume, annotation, settings.patch_mm)
    share = _histogram(volume.voxels[annotation.roi])
    black, saturated = 100 * float(share[0]), 100 * float(share[255])
    normalised = math.nan
    if references.bone > references.shadow:  # else the flag of weak contrast says it
        normalised = float(share @ preprocess.normalise_gain(GREYS, references, settings))
    flags = list(references.flags)
    if saturated > SATURATED_ROI_PCT:
        flags.append(f"saturated ROI ({saturated:.0f} % of its voxels are 255)")
    if black > BLACK_ROI_PCT:
        flags.append(f"black ROI ({black:.0f} % of its voxels are 0)")
    return {
        "bone": references.bone,
        "shadow": references.shadow,
        "gain_db": (references.bone + references.shadow) / 2 * preprocess.recorded_range(volume, settings) / 255,
        "shadow_mm": shadow_depth(volume, annotation, references.shadow, settings.patch_mm),
        "roi_mean_raw": float(share @ GREYS),
        "roi_mean": normalised,
        "roi_black_pct": black,
        "roi_saturated_pct": saturated,
        "roi_grey_levels": int((share > 0).sum()),
        "flags": tuple(flags),
    }


def shadow_depth(volume: Volume, annotation: Annotation, shadow: float, patch_mm: float) -> float:
    """How far below the bone the dark column goes, in mm.

    Dark is what lies nearer to the shadow than to the mean of the region of interest. The column through the shadow
    point is as wide as a reference patch; 0 where the point itself is not dark.
    """
    depth = volume.spacing_mm[1]
    dark = _column(volume, annotation, patch_mm) < (shadow + volume.voxels[annotation.roi].mean()) / 2
    bright = np.flatnonzero(~dark[annotation.shadow[1] :])
    end = annotation.shadow[1] + bright[0] if len(bright) else len(dark)
    lit = end == annotation.shadow[1]
    return 0.0 if lit else max(0.0, float(end - annotation.bone[1]) * depth)


def _column(volume: Volume, annotation: Annotation, patch_mm: float) -> NDArray[np.float64]:
    """Median grey level (nj,) of the column through the shadow point, smoothed along depth over a patch."""
    (i, _, k), (step_i, step_j, step_k) = annotation.shadow, volume.spacing_mm
    reach_i, reach_j, reach_k = (max(1, round(patch_mm / step)) for step in (step_i, step_j, step_k))
    beside = volume.voxels[max(0, i - reach_i) : i + reach_i + 1, :, max(0, k - reach_k) : k + reach_k + 1]
    return ndimage.uniform_filter1d(np.median(beside, axis=(0, 2)), 2 * reach_j + 1, mode="nearest")


def _histogram(voxels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share (256,) of the voxels that have each grey level."""
    return np.bincount(voxels.ravel(order="K"), minlength=256) / voxels.size


ANNOTATED, BARE, WRONG, EXCLUDED, UNREADABLE = (
    "annotated", "not annotated", "wrongly annotated", "excluded", "unreadable",
)  # fmt: skip
_NUMBERS = [
    "bone", "shadow", "gain_db", "shadow_mm", "roi_mean_raw", "roi_mean", "roi_black_pct", "roi_saturated_pct",
    "roi_grey_levels", "grey_levels", "black_pct", "saturated_pct", "dynamic_range_db", "gain_percent", "depth_mm",
    "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "field_i_mm", "field_j_mm", "field_k_mm",
]  # fmt: skip
COLUMNS = [*KEY, "path", "status", "reason", *_NUMBERS, "day", "site", "flags"]
Wrong = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Quality:
    """What the voxels of a cohort folder say of how they were recorded.

    Parameters
    ----------
    table : one row for each volume with the ``COLUMNS``. Missing is what a volume without annotation cannot have, and
        what nobody has stated. ``gain_db`` is relative to the cohort's median; ``day`` counts days from the first
        acquisition; ``status`` is annotated, not annotated, excluded (with its ``reason``), wrongly annotated or
        unreadable; ``flags`` are words, empty where nothing stands out
    thumbnails : by path, of the readable volumes
    notes : what could not be read of the acquisition
    looks : what each volume shows by itself
    """

    table: pd.DataFrame
    thumbnails: dict[str, Thumbnail]
    notes: list[str]
    looks: Sequence[Look] = ()

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows with a flag."""
        return self.table[self.table["flags"] != ""]

    def worst(self, n: int) -> pd.DataFrame:
        """The ``n`` rows with the most flags."""
        return self.flagged.sort_values("flags", key=lambda flags: -flags.str.count("; "), kind="stable").head(n)


@dataclass(frozen=True)
class Look:
    """What one volume of a cohort folder shows.

    Parameters
    ----------
    key, path : of the volume
    row : in the table of ``Quality``, the flags not yet joined
    thumbnail : None where the volume cannot be read
    error : why it cannot
    voxels_sha256 : of a volume that can
    doubts : why its gain normalisation cannot be trusted
    wrong : column, found and expected of reference points and ROI that cannot be what they are called
    """

    key: Key
    path: str
    row: dict[str, Any]
    thumbnail: Thumbnail | None = None
    error: str = ""
    voxels_sha256: str = ""
    doubts: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()


def measure(folder: Folder, settings: GainSettings | None = None, *, progress: bool = True) -> Quality:
    """Measure the quality of every volume of a cohort folder, each read once and one per thread in memory.

    Parameters
    ----------
    folder : of ``cohort.read_folder``; its faults keep no readable volume from being measured
    settings : of the gain normalisation
    progress : whether to print how far it is
    """
    keys = sorted(folder.volumes)
    # Threads are enough: reading, decompressing and counting happen outside the interpreter.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        found = pool.map(lambda key: _look(folder, key, settings or GainSettings()), keys)
        looks = list(counted("volumes looked at", len(keys), found) if progress else found)
    days, notes = acquisition_days(folder.root)
    thumbnails = {look.path: look.thumbnail for look in looks if look.thumbnail is not None}
    return Quality(_side_by_side(folder, looks, days), thumbnails, notes, looks)


def _side_by_side(folder: Folder, looks: list[Look], days: dict[str, float]) -> pd.DataFrame:
    """The table of all volumes, with the flags that only this shows."""
    participants = folder.tables[PARTICIPANTS].reindex(columns=["participant_id", "site"]).dropna()
    sites = dict(zip(participants["participant_id"], participants["site"], strict=True))
    table = pd.DataFrame([look.row for look in looks], columns=COLUMNS).astype(dict.fromkeys(_NUMBERS, "float64"))
    columns = (table["flags"], unusual_spacing(table), outliers(table["roi_mean"]))
    flags = ["; ".join([*own, *filter(None, others)]) for own, *others in zip(*columns, strict=True)]
    return table.assign(
        gain_db=table["gain_db"] - table["gain_db"].median(),
        day=table["path"].map(days).astype("float64"),
        site=table["participant_id"].map(sites).astype("str"),
        flags=pd.Series(flags, index=table.index, dtype="str"),
    )


def _look(folder: Folder, key: Key, settings: GainSettings) -> Look:
    path, (_, annotation) = folder.volumes[key], folder.annotations.get(key, (None, None))
    reason = folder.excluded.get(key[0]) or folder.unusable.get(key, "")
    row: dict[str, Any] = {**dict(zip(KEY, key, strict=True)), "path": path, "reason": reason}
    try:
        volume = volumes.read(folder.root / path, folder.headers.get(key))
    except FileError as error:
        return Look(key, path, row | {"status": UNREADABLE, "flags": (str(error),)}, error=str(error))
    row |= {"status": BARE, **of_volume(volume)}
    digest = hashlib.sha256(volume.voxels.tobytes()).hexdigest()
    doubts: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    if annotation is not None:
        try:
            more = of_annotated(volume, annotation, settings)
            references = References(more["bone"], more["shadow"])
            doubts, wrong = references.flags, tuple(_wrong_marks(volume, annotation, references, path))
            row |= more | {"status": ANNOTATED, "flags": (*more["flags"], *row["flags"])}
        except InputError as error:
            row |= {"status": WRONG, "flags": (str(error), *row["flags"])}
    picture = thumbnail(volume, annotation if row["status"] == ANNOTATED else None)
    if reason:
        row["status"] = EXCLUDED
    return Look(key, path, row, picture, "", digest, doubts, wrong)


def _wrong_marks(volume: Volume, annotation: Annotation, references: References, path: str) -> Iterator[Wrong]:
    """Column, found and expected of reference points and ROI that cannot be what they are called."""
    bone, shadow = volume.voxels[annotation.bone], volume.voxels[annotation.shadow]
    weak = references.bone - references.shadow < preprocess.WEAK_CONTRAST
    # One dark speckle at the bone is no fault where all around it is bright; without that contrast the voxel decides.
    if references.bone <= references.shadow or (weak and bone <= shadow):
        found = (
            f"grey {bone} at the bone ({references.bone:.0f} around it) and {shadow} at the shadow "
            f"({references.shadow:.0f} around it) in {path}"
        )
        yield "bone_i/j/k", found, "bone brighter than shadow"
    roi = volume.voxels[annotation.roi]
    if roi.min() == roi.max():
        yield "roi_i/j/k", f"a flat ROI (every voxel {roi.flat[0]}) in {path}", "more than one grey level"


VOXELS = {"roi_mean_raw": "as recorded", "roi_mean": "gain-normalised"}
RESAMPLES = 9999
FEWEST_FOR_A_TREND = 5  # patients for an order, and for all sites together


def drift(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Intensity of the region of interest by order of acquisition and by site.

    Parameters
    ----------
    table : of ``measure``; only annotated volumes count
    seed : of the permutations of patients

    Returns
    -------
    DataFrame
        ``by``, ``voxels``, ``statistic``, ``value``, ``p`` (two-sided), ``patients``, ``note``. By order: Spearman's
        rho of the patients' means, P by permutation of patients. By site: Kruskal-Wallis over the patients' means.
        Where it cannot be computed, the note says why.
    """
    used = table[table["status"] == ANNOTATED]
    means = {voxels: patients(used, column) for column, voxels in VOXELS.items()}
    rows = [["order of acquisition", voxels, "Spearman rho", *_by_order(of, seed)] for voxels, of in means.items()]
    rows += [["site", voxels, "Kruskal-Wallis H", *_by_site(of)] for voxels, of in means.items()]
    return pd.DataFrame(rows, columns=["by", "voxels", "statistic", "value", "p", "patients", "note"])


def patients(used: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean of a column, first day and site of each patient who has a value."""
    by = used.dropna(subset=column).groupby("participant_id")
    return by.agg(mean=(column, "mean"), day=("day", "min"), site=("site", "first"))


def _by_order(means: pd.DataFrame, seed: int) -> tuple[float, float, int, str]:
    """Rank correlation of the patients' means with their day, P by permutation, patients, or why there is none."""
    timed = means.dropna(subset="day")
    n = len(timed)
    if n == 0:
        return math.nan, math.nan, n, "no time of acquisition in any scans.tsv"
    if n < FEWEST_FOR_A_TREND:
        return math.nan, math.nan, n, f"{n} patients with a time, fewer than {FEWEST_FOR_A_TREND}"
    if timed["mean"].nunique() == 1 or timed["day"].nunique() == 1:
        return math.nan, math.nan, n, "all times, or all means, are the same"
    day, mean = (stats.rankdata(timed[name]) for name in ("day", "mean"))
    test = stats.pearsonr(mean, day, method=stats.PermutationMethod(n_resamples=RESAMPLES, rng=seed))
    return float(test.statistic), float(test.pvalue), n, ""


def _by_site(means: pd.DataFrame) -> tuple[float, float, int, str]:
    """Kruskal-Wallis test of the patients' means over sites, patients, or why there is none."""
    placed = means.dropna(subset="site")
    groups, n = [group["mean"] for _, group in placed.groupby("site")], len(placed)
    if n == 0:
        return math.nan, math.nan, n, "no site in participants.tsv"
    if len(groups) == 1:
        return math.nan, math.nan, n, f"one site, {placed['site'].iloc[0]}"
    if n < FEWEST_FOR_A_TREND or placed["mean"].nunique() == 1:
        return math.nan, math.nan, n, f"{n} patients at {len(groups)} sites are too few"
    test = stats.kruskal(*groups)
    return float(test.statistic), float(test.pvalue), n, f"{len(groups)} sites"
