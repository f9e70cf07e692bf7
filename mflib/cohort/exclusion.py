"""Who leaves a cohort, and why: patients by the paper's criteria or at screening, segments by their quality."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from mflib.cohort.files import Key
from mflib.cohort.tables import ANNOTATIONS, CLINICAL, PARTICIPANTS, Fault
from mflib.volume import KEY

MINIMUM_AGE, MAXIMUM_AGE, MAXIMUM_BMI = 18, 80, 28
NOTHING_LEFT = "left without any segment (patients)"


def exclusions(frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Reason of exclusion by participant: age and BMI as the paper's criteria, then the screening's own words.

    A missing age or BMI excludes nobody.
    """
    reasons: dict[str, str] = {}
    clinical = frames[CLINICAL].dropna(subset="participant_id")
    if "screening" in clinical:
        said = clinical.set_index("participant_id")["screening"].dropna()
        reasons |= {str(participant): reason for participant, reason in said.items() if reason.lower() != "eligible"}
    people = frames[PARTICIPANTS].dropna(subset="participant_id").set_index("participant_id")
    criteria = {
        f"BMI >= {MAXIMUM_BMI} kg/m2": people["bmi"] >= MAXIMUM_BMI,
        f"older than {MAXIMUM_AGE} years": people["age"] > MAXIMUM_AGE,
        f"younger than {MINIMUM_AGE} years": people["age"] < MINIMUM_AGE,
    }
    for reason, applies in criteria.items():
        reasons |= dict.fromkeys(map(str, people.index[applies]), reason)
    return reasons


def segment_exclusions(annotations: pd.DataFrame) -> dict[Key, str]:
    """Reason of exclusion by segment: whoever annotates may find a volume that cannot be used."""
    if "quality" not in annotations:
        return {}
    out = annotations[annotations["quality"] == "exclude"].dropna(subset=KEY)
    reasons = out["quality_reason"].fillna("no reason given")
    keys = out[KEY].itertuples(index=False, name=None)
    return dict(zip(keys, reasons, strict=True))


def reason_faults(annotations: pd.DataFrame) -> list[Fault]:
    """Segments that are excluded without a reason."""
    if "quality" not in annotations:
        return []
    bare = annotations.index[(annotations["quality"] == "exclude") & annotations["quality_reason"].isna()]
    return [Fault(ANNOTATIONS, int(row), "quality_reason", "n/a", "why the segment is excluded") for row in bare]


def nobody_faults(
    screened: pd.Series, eligible: Collection[str], unusable: Collection[Key], found: Collection[Key]
) -> list[Fault]:
    """A cohort whose exclusions leave nobody, or no segment.

    Parameters
    ----------
    screened, eligible : participants, and those of them who are not excluded
    unusable, found : excluded segments, and segments with a volume
    """
    if not eligible:
        nobody = f"{len(screened)} participants, all of them excluded"
        return [Fault(PARTICIPANTS, None, None, nobody, "at least one who is not")]
    out = [key for key in unusable if key[0] in eligible]
    if out and not any(key[0] in eligible and key not in unusable for key in found):
        nothing = f"{len(out)} segments, all of them excluded"
        return [Fault(ANNOTATIONS, None, "quality", nothing, "at least one that is not")]
    return []


def flow(
    screened: Collection[str], excluded: Mapping[str, str], unusable: Mapping[Key, str], segments: pd.DataFrame
) -> pd.DataFrame:
    """From the screened to the analysed.

    Parameters
    ----------
    screened : participants
    excluded : reason by participant
    unusable : reason by segment
    segments : the analysed ones

    Returns
    -------
    DataFrame
        ``stage``, ``participants``, ``segments`` (nullable), ``reason``. Where segments of eligible patients are
        excluded, a stage "eligible" stands between the exclusion of patients and that of segments: the segments of
        each reason, and last the patients who have none left.
    """
    rows: list[tuple[str, int, int | None, str]] = [("screened", len(screened), None, "")]
    rows += [("excluded", count, None, reason) for reason, count in _counts(excluded.values())]
    out = {key: reason for key, reason in unusable.items() if key[0] in set(screened) - set(excluded)}
    analysed = set(segments["participant_id"])
    if out:
        gone = {key[0] for key in out} - analysed
        rows += [("eligible", len(analysed) + len(gone), len(segments) + len(out), "")]
        rows += [("excluded", 0, count, reason) for reason, count in _counts(out.values())]
        rows += [("excluded", len(gone), 0, NOTHING_LEFT)] * bool(gone)
    rows += [("analysed", len(analysed), len(segments), "")]
    table = pd.DataFrame(rows, columns=["stage", "participants", "segments", "reason"])
    return table.astype({"segments": "Int64"})


def _counts(reasons: Collection[str]) -> list[tuple[str, int]]:
    counts = pd.Series(list(reasons), dtype="str").value_counts(sort=False).sort_index()
    return [(str(reason), int(count)) for reason, count in counts.items()]
