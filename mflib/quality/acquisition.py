"""When and where volumes were recorded, as far as the cohort folder says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def days(root: Path) -> tuple[dict[str, float], list[str]]:
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
    for path in sorted(root.glob("sub-*/sub-*_scans.tsv")):
        name = path.relative_to(root).as_posix()
        try:
            scans = pd.read_csv(path, sep="\t", dtype="str", keep_default_na=False, encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            notes.append(f"{name}: cannot be read ({error})")
            continue
        if not {"filename", "acq_time"} <= set(scans.columns):
            notes.append(f"{name}: no columns filename and acq_time")
            continue
        stated = scans[~scans["acq_time"].str.lower().isin(["", "n/a"])]
        moments = pd.to_datetime(stated["acq_time"], format="ISO8601", errors="coerce", utc=True)
        for file, said, moment in zip(stated["filename"], stated["acq_time"], moments, strict=True):
            if pd.isna(moment):
                notes.append(f"{name}: {said!r} is no time such as 2026-03-01T09:30:00")
            else:
                found[f"{path.parent.name}/{file}"] = moment
    first = min(found.values(), default=None)
    return {path: (moment - first) / pd.Timedelta(days=1) for path, moment in found.items()}, notes


def sites(participants: pd.DataFrame) -> dict[str, str]:
    """Site of each participant who has one."""
    if "site" not in participants:
        return {}
    stated = participants.dropna(subset=["participant_id", "site"])
    return dict(zip(stated["participant_id"], stated["site"], strict=True))
