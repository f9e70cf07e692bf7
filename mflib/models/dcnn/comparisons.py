"""The network once more, each time with one thing done otherwise: what does that one thing contribute?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mflib.base.errors import InputError
from mflib.models import folds as division
from mflib.models.dcnn import training, transfer
from mflib.models.dcnn.inputs import Source, Task, prepare
from mflib.models.dcnn.settings import MODEL, NetworkSettings, find_weights
from mflib.models.folds import Fold, Split
from mflib.stats import performance

SHARES, SEEDS = (0.25, 0.5), 3
# By what the study does: what is done otherwise, for a reader and as settings.
OTHERWISE: dict[bool | str, tuple[str, dict[str, Any]]] = {
    True: ("strided instead of dilated", {"dilated": False}),
    False: ("dilated instead of strided", {"dilated": True}),
    "normalised": ("gain as recorded", {"gain": "recorded"}),
    "recorded": ("gain normalised", {"gain": "normalised"}),
    "zscore": ("no z-score", {"scale": "fixed"}),
    "fixed": ("z-score of each volume", {"scale": "zscore"}),
}
Divide = Callable[[Split], Sequence[Fold]]


@dataclass(frozen=True)
class Variant:
    """One way of doing it.

    Parameters
    ----------
    name : of its folder, and of the model in its predictions
    label : what is done otherwise, for a reader
    settings, split : of its training
    share : of the training patients
    """

    name: str
    label: str
    settings: NetworkSettings
    split: Split
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class ComparisonsResult:
    """What the variants gave.

    Parameters
    ----------
    predictions : the predictions table of the study's network and of every variant
    table : variant, split, share and patients (mean number) of the training parts, mean of the folds' AUCs with low and
        high (patients as clusters), pooled AUC, difference of the means to the study's network with difference_low,
        difference_high and p (not adjusted; missing where the split is another one)
    left_out : why comparisons that were asked for are missing
    """

    predictions: pd.DataFrame
    table: pd.DataFrame
    left_out: list[str]

    def readable(self) -> pd.DataFrame:
        """The table with each value and its interval in one cell."""
        patients = self.table["patients"].map("{:.0f}".format)
        return performance.variants_for_reader(self.table.assign(patients=patients), "network", "patients")


def run(
    source: Source,
    divide: Divide,
    settings: NetworkSettings,
    split: Split,
    asked: Sequence[str],
    own: pd.DataFrame,
    *,
    scheduler: str = "",
) -> ComparisonsResult:
    """Train every variant on the folds of the study and set it beside the study's own network.

    Parameters
    ----------
    source, settings, split, scheduler : as of the study's network; variants are kept in ``comparisons/``
    divide : the study's folds by split
    asked : which comparisons, of `settings.Comparison`
    own : predictions of the study's network

    Raises
    ------
    RunError
        As ``training.out_of_fold``; what is finished stays.
    """
    planned, left_out = plan(settings, split, asked)
    cases = []
    for variant in planned:
        try:
            cases.append((variant, _folds(variant, divide(variant.split), source)))
        except InputError as error:
            left_out.append(f"{variant.label}: {error}")
    tables = _frozen(source, cases) if settings.frozen else _trained(source, cases, scheduler)
    cases.insert(0, (Variant(MODEL, "as in the study", settings, split), list(divide(split))))
    predictions = pd.concat([own, *tables], ignore_index=True)
    return ComparisonsResult(predictions, _table(predictions, cases, source.patients), left_out)


def _folds(variant: Variant, whole: Sequence[Fold], source: Source) -> list[Fold]:
    """The folds of a variant; raises ``InputError`` where its training parts are too small to learn from."""
    settings, labels, patients = variant.settings, source.labels, source.patients
    made = [division.with_fewer(fold, labels, patients, variant.share, settings.seed) for fold in whole]
    for fold in made:
        if settings.frozen:
            division.inner(labels[fold.train], patients[fold.train], transfer.INNER_FOLDS, settings.seed)
        elif len(fold.train) < settings.batch:
            found = f"found {len(fold.train)} segments in the training part of {fold}"
            raise InputError(f"{found}, expected at least a batch of {settings.batch}")
    return made


def plan(settings: NetworkSettings, split: Split, asked: Sequence[str]) -> tuple[list[Variant], list[str]]:
    """The variants of the comparisons that are asked for, and why some are left out."""
    variants, left_out, known = [], [], _variants(settings, split)
    for name in asked:
        for found in [_pretraining(settings, split)] if name == "pretraining" else known[name]:
            if isinstance(found, Variant):
                variants.append(found)
            else:
                left_out.append(found)
    return variants, left_out


def _variants(settings: NetworkSettings, split: Split) -> dict[str, list[Variant]]:
    """Every comparison that needs no weights, by its name."""
    other: Split = "segment" if split == "patient" else "patient"
    variants = {}
    for name, own in (("dilation", settings.dilated), ("gain", settings.gain), ("brightness", settings.scale)):
        label, changes = OTHERWISE[own]
        variants[name] = [Variant(name, label, replace(settings, **changes), split)]
    fewer = [Variant(f"patients-{s:g}", f"{100 * s:.0f} % of the patients", settings, split, s) for s in SHARES]
    variants["seed"] = [
        Variant(f"seed-{n}", f"seed {settings.seed + n}", replace(settings, seed=settings.seed + n), split)
        for n in range(1, SEEDS + 1)
    ]
    return variants | {"split": [Variant("split", f"split by {other}", settings, other)], "patients": fewer}


def _pretraining(settings: NetworkSettings, split: Split) -> Variant | str:
    """The network from other first weights, or why there is none."""
    label = "pretrained instead of from scratch"
    if settings.frozen:
        return "from scratch: a frozen backbone of random weights says little"
    if settings.pretrained != "none" and find_weights(settings) is not None:
        return Variant("scratch", "from scratch", replace(settings, pretrained="none", weights=""), split)
    if settings.depth == "small" or settings.width not in (None, 64):
        return f"{label}: no weights were ever released for this depth and width"
    warm = replace(settings, pretrained="if-present")
    if find_weights(warm) is None:
        return f"{label}: no released weights on this machine"
    return Variant("pretrained", label, warm, split)


def _frozen(source: Source, cases: Sequence[tuple[Variant, Sequence[Fold]]]) -> list[pd.DataFrame]:
    """The predictions of each variant; features that variants share are computed once, and kept by what made them."""
    found = [transfer.out_of_fold(source, folds, variant.settings, place=None) for variant, folds in cases]
    return [result.predictions.assign(model=variant.name) for result, (variant, _) in zip(found, cases, strict=True)]


def _trained(source: Source, cases: Sequence[tuple[Variant, Sequence[Fold]]], scheduler: str) -> list[pd.DataFrame]:
    """The predictions of each variant; all folds of all at once, so that no processor waits between variants."""
    tasks: list[Task] = []
    for variant, folds in cases:
        inputs, folder = prepare(source, variant.settings), source.folder / "comparisons" / variant.name
        tasks += training.tasks(source, inputs, folds, variant.settings, folder)
    results = iter(training.train(tasks, source, scheduler=scheduler))
    return [
        training.predictions(source, folds, [next(results) for _ in folds], variant.name) for variant, folds in cases
    ]


def _table(
    predictions: pd.DataFrame, cases: Sequence[tuple[Variant, Sequence[Fold]]], patients: np.ndarray
) -> pd.DataFrame:
    table = performance.variants(predictions, MODEL, {variant.name: variant.label for variant, _ in cases})
    counts = [np.mean([np.unique(patients[fold.train]).size for fold in folds]) for _, folds in cases]
    for place, column in enumerate(("split", "share"), start=1):
        table.insert(place, column, [getattr(variant, column) for variant, _ in cases])
    table.insert(3, "patients", counts)
    return table
