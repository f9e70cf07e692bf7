"""The quality of every volume of a cohort folder, annotated or not, sound or not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import joblib
import pandas as pd

from mflib import volume as volumes
from mflib.cohort import Folder, exclusions, files, segment_exclusions
from mflib.cohort.tables import ANNOTATIONS, PARTICIPANTS
from mflib.preprocess import PreprocessError, Settings
from mflib.progress import Progress
from mflib.quality import acquisition, flagging, measurement, thumbnail
from mflib.quality.thumbnail import Thumbnail
from mflib.volume import KEY, LEVELS, Annotation, VolumeError

ANNOTATED, BARE, WRONG, EXCLUDED, UNREADABLE = (
    "annotated", "not annotated", "wrongly annotated", "excluded", "unreadable",
)  # fmt: skip
_NUMBERS = [
    "bone", "shadow", "gain_db", "shadow_mm", "roi_mean_raw", "roi_mean", "roi_black_pct", "roi_saturated_pct",
    "roi_grey_levels", "grey_levels", "black_pct", "saturated_pct", "dynamic_range_db", "gain_percent", "depth_mm",
    "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "field_i_mm", "field_j_mm", "field_k_mm",
]  # fmt: skip
COLUMNS = [*KEY, "path", "status", "reason", *_NUMBERS, "day", "site", "flags"]


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
    """

    table: pd.DataFrame
    thumbnails: dict[str, Thumbnail]
    notes: list[str]

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows with a flag."""
        return self.table[self.table["flags"] != ""]

    def worst(self, n: int) -> pd.DataFrame:
        """The ``n`` rows with the most flags."""
        return self.flagged.sort_values("flags", key=lambda flags: -flags.str.count("; "), kind="stable").head(n)


def measure(folder: Folder, settings: Settings | None = None, *, progress: bool = True) -> Quality:
    """Measure the quality of every volume of a cohort folder, one volume per thread in memory.

    Parameters
    ----------
    folder : of ``cohort.read_folder``; its faults keep no readable volume from being measured
    settings : of the gain normalisation
    progress : whether to print how far it is
    """
    settings = settings or Settings()
    rows, pictures = [], {}
    counter = Progress("volumes measured", len(folder.volumes))
    for row, picture in _measured(folder, settings):
        rows.append(row)
        if picture is not None:
            pictures[row["path"]] = picture
        if progress:
            counter.advance()
    days, notes = acquisition.days(folder.root)
    places = acquisition.sites(folder.tables[PARTICIPANTS]) if folder.tables else {}
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_NUMBERS, "float64"))
    table = table.assign(
        day=table["path"].map(days).astype("float64"), site=table["participant_id"].map(places).astype("str")
    )
    return Quality(flagging.compared(table), pictures, notes)


def _measured(folder: Folder, settings: Settings) -> Iterator[tuple[dict[str, Any], Thumbnail | None]]:
    frames = folder.tables
    annotations = files.complete_annotations(frames[ANNOTATIONS]) if frames else {}
    out = segment_exclusions(frames[ANNOTATIONS]) if frames else {}
    people = exclusions(frames) if frames else {}

    def one(key: files.Key) -> tuple[dict[str, Any], Thumbnail | None]:
        _, annotation = annotations.get(key, (None, None))
        reason = people.get(key[0]) or out.get(key, "")
        identity = dict(zip(KEY, key, strict=True)) | {"path": folder.volumes[key], "reason": reason}
        row, picture = _one(folder, folder.volumes[key], annotation, settings)
        status = EXCLUDED if reason and row["status"] != UNREADABLE else row["status"]
        return row | identity | {"status": status}, picture

    keys = sorted(folder.volumes, key=lambda key: (key[0], LEVELS.index(key[1]), key[2]))
    # Threads are enough: reading, decompressing and counting happen outside the interpreter.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        yield from pool.map(one, keys)


def _one(
    folder: Folder, path: str, annotation: Annotation | None, settings: Settings
) -> tuple[dict[str, Any], Thumbnail | None]:
    try:
        volume = volumes.read(folder.root / path)
    except VolumeError as error:
        return {"status": UNREADABLE, "flags": (str(error),)}, None
    row: dict[str, Any] = {"status": BARE, **measurement.of_volume(volume)}
    if annotation is None:
        return row, thumbnail.of(volume, None)
    try:
        more = measurement.of_annotated(volume, annotation, settings)
    except PreprocessError as error:
        flags = (str(error), *row["flags"])
        return row | {"status": WRONG, "flags": flags}, thumbnail.of(volume, None)
    flags = (*more["flags"], *row["flags"])
    return row | more | {"status": ANNOTATED, "flags": flags}, thumbnail.of(volume, annotation)
