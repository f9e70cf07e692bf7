"""How many segments and patients a question needs, and what this cohort can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from mflib import roc
from mflib.clinical.clustering import ClinicalError

WANTED = 0.8  # power that a study is usually planned for
CORRELATIONS = (0.0, 0.5)  # of the scores of two models within a class: none, and that of models that see much alike
_LARGEST_AREA = 0.999  # an area of 1 has no variance
_ALPHA = 0.05  # two-sided level of ``roc.power_one`` and ``roc.power_two``
Pair = tuple[float, float]


@dataclass(frozen=True)
class _Cases:
    patients: int
    positives: int
    negatives: int

    @classmethod
    def of(cls, segments: pd.DataFrame) -> _Cases:
        positives = int((segments["label"] == 1).sum())
        found = cls(segments["participant_id"].nunique(), positives, len(segments) - positives)
        if min(found.positives, found.negatives) == 0:
            said = f"{found.positives} segments with infiltration and {found.negatives} without"
            raise ClinicalError(f"found {said}, expected both: areas compare the two")
        return found

    @property
    def ratio(self) -> float:
        """Negatives per positive."""
        return self.negatives / self.positives

    def grown(self, patients: int) -> tuple[float, float]:
        """Positives and negatives of another number of such patients."""
        return self.positives * patients / self.patients, self.negatives * patients / self.patients

    def needed(self, positives: float) -> dict[str, int]:
        """Segments and patients that bring so many positives, at this cohort's prevalence and segments per patient."""
        segments = positives * (1 + self.ratio)
        per_patient = (self.positives + self.negatives) / self.patients
        return {"segments_needed": int(np.ceil(segments)), "patients_needed": int(np.ceil(segments / per_patient))}


@dataclass(frozen=True)
class _Question:
    """Is this area not 0.5? Or, where there is a first one: do the two differ, with scores correlated by r?"""

    area: float
    first: float | None = None
    r: float = 0.0

    @property
    def null(self) -> float:
        return 0.5 if self.first is None else self.first

    @property
    def correlated(self) -> str:
        return "" if self.first is None else f"{self.r:g}"

    def power(self, positives: float, negatives: float, effect: float) -> float:
        if self.first is None:
            return roc.power_one(self.area, positives, negatives, design_effect=effect)
        return roc.power_two(self.first, self.area, positives, negatives, self.r, design_effect=effect)

    def positives_needed(self, power: float, ratio: float, effect: float) -> float:
        if self.first is None:
            return roc.sample_size_one(self.area, power, ratio, design_effect=effect)
        return roc.sample_size_two(self.first, self.area, power, ratio, self.r, design_effect=effect)


def sample_size(
    segments: pd.DataFrame,
    areas: Sequence[float],
    pairs: Sequence[Pair],
    design_effects: Mapping[str, float],
    power: float = WANTED,
) -> pd.DataFrame:
    """Segments and patients needed to find an area, or a difference of two, and the power that this cohort has.

    Two-sided tests at 0.05; formulas and sources in ``roc.power_one`` and ``roc.power_two``. Prevalence and segments
    per patient are the cohort's own.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label``
    areas : true AUC of one model, tested against 0.5
    pairs : true AUC of two models on the same segments, the one nearer 0.5 first; each with scores that correlate by
        ``CORRELATIONS`` within a class
    design_effects : name and value, as the function of that name gives them: the variance in units of that of
        independent segments
    power : wanted

    Returns
    -------
    DataFrame
        ``question``, ``correlation`` (text; empty for one area), ``segments_are`` (the name of the design effect),
        ``design_effect``, ``segments_needed``, ``patients_needed``, ``power_here``.

    Raises
    ------
    ClinicalError
        Segments of one class.
    roc.RocError
        A value outside its range.
    """
    cases = _Cases.of(segments)
    questions = [_Question(area) for area in areas]
    questions += [_Question(second, first, r) for first, second in pairs for r in CORRELATIONS]
    rows = [
        {
            "question": f"AUC {asked.area:g}, not {asked.null:g}",
            "correlation": asked.correlated,
            "segments_are": name,
            "design_effect": effect,
            **cases.needed(asked.positives_needed(power, cases.ratio, effect)),
            "power_here": asked.power(cases.positives, cases.negatives, effect),
        }
        for asked in questions
        for name, effect in design_effects.items()
    ]
    return pd.DataFrame(rows)


def detectable(
    segments: pd.DataFrame, reference: float, design_effects: Mapping[str, float], power: float = WANTED
) -> pd.DataFrame:
    """What this cohort can show: the smallest area, and the smallest gain over a reference, found with the power.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label``
    reference : AUC, at least 0.5, that a second model has to beat
    design_effects : as ``sample_size``
    power : wanted, between 0.05 and 1

    Returns
    -------
    DataFrame
        ``question``, ``correlation``, ``segments_are``, ``design_effect``, ``smallest_auc``, ``above`` (how far it
        lies above 0.5, or above the reference), ``note`` (why numbers are NaN).

    Raises
    ------
    ClinicalError
        Segments of one class, or a reference or power outside its range.
    roc.RocError
        A design effect outside its range.
    """
    if not 0.5 <= reference < _LARGEST_AREA:
        raise ClinicalError(f"found a reference AUC of {reference}, expected at least 0.5 and below {_LARGEST_AREA}")
    if not _ALPHA < power < 1:
        raise ClinicalError(f"found a power of {power}, expected between {_ALPHA} and 1")
    cases = _Cases.of(segments)
    questions = {"one AUC, not 0.5": [_Question(_LARGEST_AREA)]}
    questions[f"a second AUC, above {reference:g}"] = [_Question(_LARGEST_AREA, reference, r) for r in CORRELATIONS]
    rows = [
        {
            "question": question,
            "correlation": asked.correlated,
            "segments_are": name,
            "design_effect": effect,
            **_smallest(asked, cases, effect, power),
        }
        for question, ways in questions.items()
        for asked in ways
        for name, effect in design_effects.items()
    ]
    return pd.DataFrame(rows)


def power_by_patients(
    segments: pd.DataFrame, pair: Pair, design_effects: Mapping[str, float], correlation: float = CORRELATIONS[-1]
) -> pd.DataFrame:
    """Power to find that two areas differ, by the number of patients, up to four times as many as there are.

    Parameters
    ----------
    segments, design_effects : as ``sample_size``
    pair : true AUC of two models on the same segments, the one nearer 0.5 first
    correlation : of their scores within a class

    Returns
    -------
    DataFrame
        ``segments_are``, ``design_effect``, ``patients``, ``power``, ``here``: True in the row of this cohort.

    Raises
    ------
    ClinicalError
        Segments of one class.
    roc.RocError
        A value outside its range.
    """
    cases = _Cases.of(segments)
    asked = _Question(pair[1], pair[0], correlation)
    fewest = int(np.ceil(cases.patients / min(cases.positives, cases.negatives)))  # one segment of each class
    rows = [
        {
            "segments_are": name,
            "design_effect": effect,
            "patients": patients,
            "power": asked.power(*cases.grown(patients), effect),
            "here": patients == cases.patients,
        }
        for name, effect in design_effects.items()
        for patients in range(max(2, fewest), 4 * cases.patients + 1)
    ]
    return pd.DataFrame(rows)


def _smallest(asked: _Question, cases: _Cases, effect: float, wanted: float) -> dict[str, object]:
    """The smallest area above the null that is found with the wanted power."""

    def lacking(area: float) -> float:
        return replace(asked, area=area).power(cases.positives, cases.negatives, effect) - wanted

    if lacking(_LARGEST_AREA) < 0:
        note = f"even an AUC of {_LARGEST_AREA} has a power of {lacking(_LARGEST_AREA) + wanted:.2f}"
        return {"smallest_auc": np.nan, "above": np.nan, "note": note}
    area = float(brentq(lacking, asked.null + 1e-9, _LARGEST_AREA))
    return {"smallest_auc": area, "above": area - asked.null, "note": ""}
