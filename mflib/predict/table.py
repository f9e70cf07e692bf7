"""What the models say, as a table for other programs and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mflib import atomic, performance
from mflib.predict.results import Assessment, PredictError, Result
from mflib.predict.words import CALLS, INTERVAL, NOT_READ, RESEARCH, VERDICTS
from mflib.volume import KEY


def table(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """One row per volume and model.

    Returns
    -------
    DataFrame
        ``volume``, KEY (missing where the name does not say), ``verdict``, ``model``, ``score``, ``threshold``,
        ``called`` (1 infiltration), ``votes``, ``folds``, ``probability``, ``low``, ``high``, ``distance``,
        ``percentile``, ``reasons``, ``notices`` (sentences), ``note`` (on the probability).
    """
    return pd.DataFrame(
        [_row(assessment, result) for assessment in assessments for result in assessment.results.values()]
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV or JSON, whole or not at all.

    Raises
    ------
    PredictError
        Another ending of the name.
    """
    if path.suffix not in (".csv", ".json"):
        raise PredictError(f"{path.name}: found the ending {path.suffix or 'none'}, expected .csv or .json")
    text = frame.to_csv(index=False) if path.suffix == ".csv" else frame.to_json(orient="records", indent=2) + "\n"
    atomic.write_text(path, text)


def text(assessments: Sequence[Assessment]) -> str:
    """Everything in lines for a terminal, the verdict on each volume before any score."""
    lines = [RESEARCH]
    for one in assessments:
        verdict = one.applicability.verdict
        lines += ["", printable(one.name), f"  {VERDICTS[verdict]}.{f' {NOT_READ}' if verdict == 'outside' else ''}"]
        lines += [f"    {printable(reason)}" for reason in one.applicability.reasons]
        unread = "(not to be read) " if verdict == "outside" else ""
        lines += [f"  {unread}{_line(result)}" for result in one.results.values()]
        lines += [f"  {printable(notice)}" for notice in one.notices]
    return "\n".join(lines)


def _row(assessment: Assessment, result: Result) -> dict[str, object]:
    applicable = assessment.applicability
    return {
        "volume": assessment.name,
        **dict(zip(KEY, assessment.key or (None, None, None), strict=True)),
        "verdict": applicable.verdict,
        "model": result.model,
        "score": result.score,
        "threshold": result.threshold,
        "called": result.called,
        "votes": result.votes,
        "folds": result.folds,
        "probability": result.probability,
        "low": result.low,
        "high": result.high,
        "distance": applicable.distance,
        "percentile": applicable.percentile,
        "reasons": " ".join(applicable.reasons),
        "notices": " ".join(assessment.notices),
        "note": result.note,
    }


def _line(result: Result) -> str:
    probability = "no probability"
    if result.probability is not None:
        probability = f"probability {result.probability:.2f} ({INTERVAL} {result.low:.2f} to {result.high:.2f})"
    name = performance.LABELS.get(result.model, result.model)
    return (
        f"{name}: {CALLS[result.called]} (score {result.score:.3f}, threshold {result.threshold:.3f}, "
        f"{result.votes} of {result.folds} models agree), {probability}"
    )


def printable(line: str) -> str:
    """A line without what would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
