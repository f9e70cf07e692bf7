"""The network once more, each time with one thing done otherwise: what does that one thing contribute?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mflib.base.errors import InputError
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds as division
from mflib.models.dcnn import training, transfer, weights, workers
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.dcnn.fold import fold_name
from mflib.models.dcnn.inputs import Labels, prepare
from mflib.models.dcnn.workers import Task
from mflib.models.folds import Fold, Split
from mflib.stats import performance

SHARES = (0.25, 0.5)
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
    table : variant, split, share and patients (mean number) of the training parts, pooled AUC with low and high
        (clustered), mean and sd over folds, difference to the study's network with difference_low, difference_high and
        p (clustered; missing where the split is another one)
    left_out : why comparisons that were asked for are missing
    """

    predictions: pd.DataFrame
    table: pd.DataFrame
    left_out: list[str]

    def readable(self) -> pd.DataFrame:
        """The table with each value and its interval in one cell."""
        rows = []
        for row in self.table.itertuples():
            apart = f"{row.difference:+.2f} [{row.difference_low:+.2f}, {row.difference_high:+.2f}]"
            cells = {
                "network": row.variant,
                "patients": f"{row.patients:.0f}",
                "pooled AUC [95 %]": f"{row.pooled:.2f} [{row.low:.2f}, {row.high:.2f}]",
                "over folds": f"{row.mean:.2f} ± {row.sd:.2f}",
                "difference [95 %]": "n/a" if pd.isna(row.difference) else apart,
            }
            rows.append(cells)
        return pd.DataFrame(rows)


def run(
    cohort: Cohort,
    divide: Divide,
    preprocessing: preprocess.GainSettings,
    settings: NetworkSettings,
    split: Split,
    asked: Sequence[str],
    own: pd.DataFrame,
    folder: Path,
    *,
    scheduler: str = "",
) -> ComparisonsResult:
    """Train every variant on the folds of the study and set it beside the study's own network.

    Parameters
    ----------
    cohort, preprocessing, settings, split, scheduler : as of the study's network
    divide : the study's folds by split
    asked : which comparisons, of `COMPARISONS`
    own : predictions of the study's network
    folder : the one that the study's network has; variants are kept in ``folder / "comparisons"``

    Raises
    ------
    RunError
        As ``training.out_of_fold``; what is finished stays.
    """
    planned, left_out = plan(settings, split, asked)
    labels = cohort.segments["label"].to_numpy(dtype=np.int64)
    patients = cohort.segments["participant_id"].to_numpy()
    cases = []
    for variant in planned:
        try:
            cases.append((variant, _folds(variant, divide(variant.split), labels, patients)))
        except InputError as error:
            left_out.append(f"{variant.label}: {error}")
    if settings.frozen:
        tables = [_frozen(cohort, preprocessing, *case, folder) for case in cases]
    else:
        tables = _trained(cohort, preprocessing, cases, folder, scheduler)
    study = Variant(training.MODEL, "as in the study", settings, split)
    cases.insert(0, (study, list(divide(split))))
    predictions = pd.concat([own, *tables], ignore_index=True)
    return ComparisonsResult(predictions, _table(predictions, cases, patients), left_out)


def _folds(variant: Variant, whole: Sequence[Fold], labels: Labels, patients: np.ndarray) -> list[Fold]:
    """The folds of a variant; raises ``InputError`` where its training parts are too small to learn from."""
    settings = variant.settings
    made = [division.with_fewer(fold, labels, patients, variant.share, settings.seed) for fold in whole]
    for fold in made:
        if settings.frozen:
            division.inner(labels[fold.train], patients[fold.train], transfer.INNER_FOLDS, settings.seed)
        elif len(fold.train) < settings.batch:
            found = f"found {len(fold.train)} segments in the training part of {fold_name(fold)}"
            raise InputError(f"{found}, expected at least a batch of {settings.batch}")
    return made


def plan(settings: NetworkSettings, split: Split, asked: Sequence[str]) -> tuple[list[Variant], list[str]]:
    """The variants of the comparisons that are asked for (of `COMPARISONS`), and why some are left out."""
    variants, left_out = [], []
    for name in asked:
        found = list(COMPARISONS[name](settings, split))
        variants += [variant for variant in found if isinstance(variant, Variant)]
        left_out += [reason for reason in found if isinstance(reason, str)]
    return variants, left_out


def _seed(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    yield Variant("seed", "another seed", replace(settings, seed=settings.seed + 1), split)


def _dilation(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    label = "strided instead of dilated" if settings.dilated else "dilated instead of strided"
    yield Variant("dilation", label, replace(settings, dilated=not settings.dilated), split)


def _split(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    other: Split = "segment" if split == "patient" else "patient"
    yield Variant("split", f"split by {other}", settings, other)


def _gain(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    recorded = settings.gain == "normalised"
    changed = replace(settings, gain="recorded" if recorded else "normalised")
    yield Variant("gain", "gain as recorded" if recorded else "gain normalised", changed, split)


def _brightness(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    scored = settings.scale == "zscore"
    changed = replace(settings, scale="fixed" if scored else "zscore")
    yield Variant("brightness", "no z-score" if scored else "z-score of each volume", changed, split)


def _pretraining(settings: NetworkSettings, split: Split) -> Iterator[Variant | str]:
    label = "pretrained instead of from scratch"
    if settings.frozen:
        yield "from scratch: a frozen backbone of random weights says little"
    elif settings.pretrained != "none" and weights.find(settings) is not None:
        yield Variant("scratch", "from scratch", replace(settings, pretrained="none", weights=""), split)
    elif settings.depth == "small" or settings.width not in (None, 64):
        yield f"{label}: no weights were ever released for this depth and width"
    else:
        warm = replace(settings, pretrained="if-present")
        found = weights.find(warm) is not None
        yield Variant("pretrained", label, warm, split) if found else f"{label}: no released weights on this machine"


def _patients(settings: NetworkSettings, split: Split) -> Iterator[Variant]:
    for share in SHARES:
        yield Variant(f"patients-{share:g}", f"{100 * share:.0f} % of the patients", settings, split, share)


COMPARISONS: dict[str, Callable[[NetworkSettings, Split], Iterator[Variant | str]]] = {
    "seed": _seed,
    "pretraining": _pretraining,
    "dilation": _dilation,
    "split": _split,
    "gain": _gain,
    "brightness": _brightness,
    "patients": _patients,
}


def _frozen(
    cohort: Cohort, preprocessing: preprocess.GainSettings, variant: Variant, folds: Sequence[Fold], folder: Path
) -> pd.DataFrame:
    # Features are kept by what they were made from, so variants that share them compute them once.
    found = transfer.out_of_fold(cohort, folds, preprocessing, variant.settings, folder, variant.split, place=None)
    return found.predictions.assign(model=variant.name)


def _trained(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    cases: Sequence[tuple[Variant, Sequence[Fold]]],
    folder: Path,
    scheduler: str,
) -> list[pd.DataFrame]:
    """All folds of all variants at once, so that no processor waits between variants."""
    source = workers.Source(cohort, preprocessing, folder / "inputs")
    labels = cohort.segments["label"].to_numpy(dtype=np.int64)
    tasks: list[Task] = []
    for variant, folds in cases:
        inputs = prepare(cohort, preprocessing, variant.settings, source.folder, variant.settings.workers)
        tasks += training.tasks(inputs, labels, folds, variant.settings, folder / "comparisons" / variant.name)
    results = iter(training.train(tasks, source, scheduler=scheduler))
    return [
        training.predictions(
            cohort.segments, labels, folds, [next(results) for _ in folds], variant.split, variant.name
        )
        for variant, folds in cases
    ]


def _table(
    predictions: pd.DataFrame, cases: Sequence[tuple[Variant, Sequence[Fold]]], patients: np.ndarray
) -> pd.DataFrame:
    areas = performance.summary(predictions).query("metric == 'auc'").set_index("model")
    rows = []
    for variant, folds in cases:
        count = np.mean([np.unique(patients[fold.train]).size for fold in folds])
        auc = areas.loc[variant.name, ["pooled", "low", "high", "mean", "sd"]].to_dict()
        rows.append(
            {"variant": variant.label, "split": variant.split, "share": variant.share, "patients": float(count), **auc}
        )
        if variant.name != training.MODEL and variant.split == cases[0][0].split:
            pair = performance.comparison(predictions, variant.name, training.MODEL)
            test = pair[pair["method"] == "clustered"].iloc[0]
            rows[-1] |= {"difference": test["difference"], "difference_low": test["low"]}
            rows[-1] |= {"difference_high": test["high"], "p": test["p"]}
    empty = ["difference", "difference_low", "difference_high", "p"]
    return pd.DataFrame(rows).reindex(columns=[*rows[0], *empty])
