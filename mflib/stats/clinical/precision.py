"""How alike the segments of one patient are, and how many patients a question needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from mflib.base.errors import InputError
from mflib.base.words import label
from mflib.stats import performance, reliability, roc
from mflib.stats.performance.predictions import check_one_run, undefined
from mflib.stats.roc import Question

_NUMBERS = ("icc", "low", "high", "design_effect", "effective_segments")
QUANTITIES = {"label": "infiltrated (yes/no)", "grade": "grade (0-3)"}


def clustering(segments: pd.DataFrame, predictions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Intraclass correlation of labels, grades and scores inside a patient, and what follows for a mean.

    The design effect 1 + (size - 1) icc, with the mean size of Kish, sum m_i^2 / sum m_i, is that of a mean or a
    share, such as the prevalence. It is not that of an AUC, which compares segments with each other: there it is the
    ratio of the clustered to the naive variance, see ``auc_design_effects``. Labels that all patients have in the same
    proportion can make that ratio less than 1, and labels that belong to whole patients make it larger than 4.

    Parameters
    ----------
    segments : one row per segment with ``participant_id``, ``label`` (0, 1) and ``grade`` (0-3)
    predictions : a predictions table with one split and repeat of each model, or None. Scores are taken as they are:
        where each fold has a model of its own, a difference in level between folds counts as between patients.

    Returns
    -------
    DataFrame
        ``quantity``, ``segments``, ``patients``, ``icc``, ``low``, ``high`` (95 %, ``reliability.one_way_icc``),
        ``segments_per_patient`` (Kish), ``design_effect`` (a negative icc counts as 0), ``effective_segments``,
        ``note`` (why numbers are NaN).

    Raises
    ------
    InputError
        A model with several splits or repeats.
    """
    groups = segments["participant_id"]
    rows = [_row(name, segments[column], groups) for column, name in QUANTITIES.items()]
    if predictions is not None:
        runs = _one_run_each(predictions)
        rows += [_row(f"score: {name}", run["score"], run["participant_id"]) for name, run in runs.items()]
    return pd.DataFrame(rows).astype(dict.fromkeys(_NUMBERS, float))


def design_effects(segments: pd.DataFrame) -> dict[str, float]:
    """What an AUC's design effect may be in this cohort, to plan with before there are scores.

    In large samples with areas near 0.5 it is 1 + (m - 1) r_labels r_scores (Moulton 1986,
    doi:10.1016/0304-4076(86)90021-7), with the intraclass correlation of the labels and that of the scores inside a
    class, for m segments a patient. Larger areas differ somewhat: simulated with an area of 0.78 and m = 8, 1.26 for
    (0, .5) in place of 1.0, 2.51 for (.41, .5) in place of 2.43, and 4.23 for (1, .5) in place of 4.5.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label`` (0, 1)

    Returns
    -------
    dict
        1 for independent segments; that of the labels, about the most that these labels allow (r_scores = 1); and that
        of labels that whole patients share, with scores half alike (r_labels = 1, r_scores = 0.5).

    Raises
    ------
    InputError
        The labels have no intraclass correlation.
    """
    labels = reliability.one_way_icc(segments["label"], segments["participant_id"])
    if labels.design_effect is None:
        raise InputError(f"labels without an intraclass correlation: {labels.problem}")
    whole = 1 + (labels.size - 1) * 0.5
    return {"independent": 1.0, "as alike as the labels": labels.design_effect, "alike in whole patients": whole}


def auc_design_effects(predictions: pd.DataFrame) -> pd.DataFrame:
    """The variance of each model's pooled AUC that knows the patients, in units of the one that takes segments alone.

    Obuchowski 1997 over DeLong 1988. ``design_effects`` says what to expect of it.

    Parameters
    ----------
    predictions : a predictions table with one split and repeat of each model

    Returns
    -------
    DataFrame
        ``model``, ``segments``, ``patients``, ``design_effect``, ``effective_segments``, ``note`` (why numbers are
        NaN).

    Raises
    ------
    InputError
        A model with several splits or repeats.
    """
    return pd.DataFrame([_auc_row(name, run) for name, run in _one_run_each(predictions).items()])


def _row(quantity: str, values: pd.Series, groups: pd.Series) -> dict[str, object]:
    found = reliability.one_way_icc(values, groups)
    row: dict[str, object] = {"quantity": quantity, "segments": found.n, "patients": found.groups}
    row |= {"icc": found.icc, "low": found.low, "high": found.high, "segments_per_patient": found.size}
    row |= {"design_effect": found.design_effect, "effective_segments": found.effective_n}
    return {**row, "note": found.problem}


def _auc_row(model: str, run: pd.DataFrame) -> dict[str, object]:
    row: dict[str, object] = {"model": model, "segments": len(run), "patients": run["participant_id"].nunique()}
    try:
        auc, clustered = roc.auc_covariance(run["y_true"], run["score"], run["participant_id"])
        naive = roc.auc_covariance(run["y_true"], run["score"])[1]
        if naive[0, 0] == 0:
            raise InputError(f"found an area of {auc[0]:g} with variance 0, expected one that varies")
    except InputError as error:
        return row | undefined(str(error), ("design_effect", "effective_segments"))
    effect = float(clustered[0, 0] / naive[0, 0])
    effective = len(run) / effect if effect else np.nan
    note = "" if effect else "the areas of the patients do not vary"
    return {**row, "design_effect": effect, "effective_segments": effective, "note": note}


def _one_run_each(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model by its readable name."""
    runs = {model: predictions[predictions["model"] == model] for model in performance.models(predictions)}
    for model, rows in runs.items():
        check_one_run(rows, f"the model {model!r}")
    return {label(model): rows for model, rows in runs.items()}


WANTED = 0.8  # power that a study is usually planned for
CORRELATIONS = (0.0, 0.5)  # of the scores of two models within a class: none, and that of models that see much alike
_LARGEST_AREA = 0.999  # an area of 1 has no variance
Pair = tuple[float, float]


def _counts(segments: pd.DataFrame) -> tuple[int, int, int]:
    """Patients, and their segments with infiltration and without."""
    positives = int((segments["label"] == 1).sum())
    negatives = len(segments) - positives
    if min(positives, negatives) == 0:
        said = f"{positives} segments with infiltration and {negatives} without"
        raise InputError(f"found {said}, expected both: areas compare the two")
    return segments["participant_id"].nunique(), positives, negatives


def _row_of(asked: Question, question: str, name: str) -> dict[str, object]:
    """What every table says of a question."""
    correlated = "" if asked.reference is None else f"{asked.correlation:g}"
    return {"question": question, "correlation": correlated, "segments_are": name, "design_effect": asked.design_effect}


def sample_size(
    segments: pd.DataFrame, areas: Sequence[float], pairs: Sequence[Pair], design_effects: Mapping[str, float]
) -> pd.DataFrame:
    """Segments and patients needed to find an area, or a difference of two, and the power that this cohort has.

    Two-sided tests at 0.05; formulas and sources in ``roc.Question``. Prevalence and segments
    per patient are the cohort's own.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label``
    areas : true AUC of one model, tested against 0.5
    pairs : true AUC of two models on the same segments, the one nearer 0.5 first; each with scores that correlate by
        ``CORRELATIONS`` within a class
    design_effects : name and value, as the function of that name gives them: the variance in units of that of
        independent segments

    Returns
    -------
    DataFrame
        ``question``, ``correlation`` (text; empty for one area), ``segments_are`` (the name of the design effect),
        ``design_effect``, ``segments_needed``, ``patients_needed``, ``power_here``.
    """
    patients, positives, negatives = _counts(segments)
    ratio = negatives / positives
    questions = [Question(area) for area in areas]
    questions += [Question(second, first, r) for first, second in pairs for r in CORRELATIONS]
    rows = []
    for question, (name, effect) in product(questions, design_effects.items()):
        asked = replace(question, design_effect=effect)
        needed = asked.positives_needed(WANTED, ratio) * (1 + ratio)
        row = _row_of(asked, f"AUC {asked.area:g}, not {asked.null:g}", name)
        row |= {"segments_needed": int(np.ceil(needed))}
        row |= {"patients_needed": int(np.ceil(needed / (len(segments) / patients)))}
        rows.append({**row, "power_here": asked.power(positives, negatives)})
    return pd.DataFrame(rows)


def detectable(segments: pd.DataFrame, reference: float, design_effects: Mapping[str, float]) -> pd.DataFrame:
    """What this cohort can show: the smallest area, and the smallest gain over a reference, found with a power of 0.8.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label``
    reference : AUC, at least 0.5, that a second model has to beat
    design_effects : as ``sample_size``

    Returns
    -------
    DataFrame
        ``question``, ``correlation``, ``segments_are``, ``design_effect``, ``smallest_auc``, ``above`` (how far it
        lies above 0.5, or above the reference), ``note`` (why numbers are NaN).

    Raises
    ------
    InputError
        Segments of one class, or a reference or design effect outside its range.
    """
    if not 0.5 <= reference < _LARGEST_AREA:
        raise InputError(f"found a reference AUC of {reference}, expected at least 0.5 and below {_LARGEST_AREA}")
    _, *cases = _counts(segments)
    questions = {Question(_LARGEST_AREA): "one AUC, not 0.5"}
    questions |= {Question(_LARGEST_AREA, reference, r): f"a second AUC, above {reference:g}" for r in CORRELATIONS}
    rows = []
    for (asked, question), (name, effect) in product(questions.items(), design_effects.items()):
        asked = replace(asked, design_effect=effect)
        rows.append({**_row_of(asked, question, name), **_smallest(asked, cases)})
    return pd.DataFrame(rows)


def power_by_patients(segments: pd.DataFrame, pair: Pair, design_effects: Mapping[str, float]) -> pd.DataFrame:
    """Power to find that two areas differ, by the number of patients, up to four times as many as there are.

    Parameters
    ----------
    segments, design_effects : as ``sample_size``
    pair : true AUC of two models on the same segments, the one nearer 0.5 first; their scores
        correlate within a class by the last of ``CORRELATIONS``

    Returns
    -------
    DataFrame
        ``segments_are``, ``design_effect``, ``patients``, ``power``, ``here``: True in the row of this cohort.
    """
    present, positives, negatives = _counts(segments)
    fewest = int(np.ceil(present / min(positives, negatives)))  # one segment of each class
    rows = []
    for (name, effect), patients in product(design_effects.items(), range(max(2, fewest), 4 * present + 1)):
        asked = Question(pair[1], pair[0], CORRELATIONS[-1], effect)
        power = asked.power(positives * patients / present, negatives * patients / present)
        row = {"segments_are": name, "design_effect": effect, "patients": patients, "power": power}
        rows.append({**row, "here": patients == present})
    return pd.DataFrame(rows)


def _smallest(asked: Question, cases: Sequence[int]) -> dict[str, object]:
    """The smallest area above the null that is found with the power that is wanted."""

    def lacking(area: float) -> float:
        return replace(asked, area=area).power(cases[0], cases[1]) - WANTED

    if lacking(_LARGEST_AREA) < 0:
        note = f"even an AUC of {_LARGEST_AREA} has a power of {lacking(_LARGEST_AREA) + WANTED:.2f}"
        return undefined(note, ("smallest_auc", "above"))
    area = float(brentq(lacking, asked.null + 1e-9, _LARGEST_AREA))
    return {"smallest_auc": area, "above": area - asked.null, "note": ""}
