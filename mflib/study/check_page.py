"""What ``mflib check`` found in a cohort folder, sound or not, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mflib.base import files
from mflib.base.files import ASSETS
from mflib.base.words import KEY
from mflib.data import quality
from mflib.data.check import Inspection
from mflib.data.quality import Quality, Thumbnail
from mflib.show import figures, shown

JPEG_QUALITY = 38
SHOWN = {
    "volume": "volume", "status": "status", "bone": "bone", "shadow": "shadow", "gain_db": "gain (dB)",
    "roi_mean_raw": "ROI mean, recorded", "roi_mean": "ROI mean, normalised", "roi_black_pct": "ROI black (%)",
    "roi_saturated_pct": "ROI saturated (%)", "grey_levels": "grey levels", "shadow_mm": "shadow depth (mm)",
    "spacing": "spacing (mm)", "field": "field of view (mm)", "dynamic_range_db": "dynamic range (dB)",
    "gain_percent": "gain stated (%)", "depth_mm": "depth stated (mm)", "day": "day", "site": "site", "flags": "flags",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One volume in the grid of thumbnails."""

    name: str
    status: str
    reason: str
    flags: list[str]
    source: str
    alt: str
    thumbnail: Thumbnail | None


def write(inspection: Inspection, path: Path) -> None:
    """Write the page of an inspected cohort folder, whole or not at all."""
    measured = inspection.quality
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    page = environment.get_template("quality.html.j2").render(
        name=inspection.folder.name,
        synthetic=inspection.folder.description.get("Synthetic") is True,
        faults=inspection.faults,
        notices=inspection.notices + measured.notes,
        summary=readable(inspection.summary()),
        volumes=len(measured.table),
        flagged=len(measured.flagged),
        figures=[
            Markup(shown.figure_html(plot, shown.png(plot, dpi=140), name, caption))
            for name, plot, caption in _figures(inspection, measured)
        ],
        drift=Markup(shown.table_html(quality.drift(measured.table), "drift", DRIFT)),
        table=Markup(
            shown.table_html(table(measured), "quality", "Quality of each volume.") if len(measured.table) else ""
        ),
        csv=base64.b64encode(measured.table.to_csv(index=False).encode()).decode(),
        patients=patients(measured),
        style=Markup((ASSETS / "page.css").read_text() + (ASSETS / "quality.css").read_text()),
        script=Markup((ASSETS / "quality.js").read_text()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)


DRIFT = (
    "Brightness by order of acquisition and by site. The patient is the unit: means over a patient's segments, P by "
    "permutation of patients or Kruskal-Wallis. What only the recorded means show is the machine's gain; what the "
    "normalised ones still show may be the machine or the patients."
)
OVERVIEW = (
    "Left: grey levels of both reference points; shaded is what a normalisation cannot be trusted with. Right: the "
    "ROI's mean by gain. As recorded it follows the gain; normalised it should not."
)


def readable(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary of an inspection as pairs of name and text."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name}: {count}" for name, count in value.items()) or "none"
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    return [(name.replace("_", " "), text(value)) for name, value in summary.items() if name != "name"]


def table(measured: Quality) -> pd.DataFrame:
    """The table of quality as it is shown: one column for the key, one for all three axes."""
    frame = measured.table
    names = [" ".join(key) for key in frame[KEY].itertuples(index=False, name=None)]
    lengths = {
        name: [_lengths(row) for row in frame[[f"{name}_{axis}_mm" for axis in "ijk"]].to_numpy()]
        for name in ("spacing", "field")
    }
    return frame.round(2).assign(volume=names, **lengths)[list(SHOWN)].rename(columns=SHOWN)


def _lengths(row: Any) -> str:
    return "n/a" if pd.isna(row).any() else " x ".join(f"{length:.3g}" for length in row)


def _figures(inspection: Inspection, measured: Quality) -> Iterator[tuple[str, Figure, str]]:
    if inspection.cohort is not None:
        caption = "From the screened to the analysed, with the reasons of those who left."
        yield "flow", figures.flow_of_patients(inspection.cohort.flow), caption
    if measured.table["bone"].notna().any():
        yield "overview", figures.quality_overview(measured.table), OVERVIEW
    if (measured.table["status"] == "annotated").any():
        caption = "Mean grey level of each patient's regions by day, where the cohort says it, and by site."
        yield "drift", figures.intensity_drift(measured.table), caption


def patients(measured: Quality) -> list[tuple[str, list[Picture]]]:
    """The pictures of each participant."""
    groups = measured.table.groupby("participant_id", sort=False)
    return [(str(name), [_picture(row, measured) for row in rows.to_dict("records")]) for name, rows in groups]


def _picture(row: dict[Any, Any], measured: Quality) -> Picture:
    thumbnail = measured.thumbnails.get(row["path"])
    size = f"{row['field_i_mm']:.0f} x {row['field_j_mm']:.0f} mm"
    marked = ", with ROI, bone and shadow" if thumbnail and thumbnail.roi else ""
    return Picture(
        name=f"{row['level']} {row['lat']}",
        status=row["status"],
        reason=row["reason"],
        flags=[flag for flag in row["flags"].split("; ") if flag],
        source="" if thumbnail is None else _jpeg(thumbnail),
        alt=f"{row['participant_id']} {row['level']} {row['lat']}, transverse, {size}{marked}",
        thumbnail=thumbnail,
    )


def _jpeg(thumbnail: Thumbnail) -> str:
    content = io.BytesIO()
    Image.fromarray(thumbnail.pixels).save(content, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
