"""A frozen backbone and a logistic head: released weights see each volume once, and only the head learns.

Minutes on a CPU at the paper's size, where training the backbone takes days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mflib.base import files
from mflib.base.errors import RunError
from mflib.base.made_by import digest
from mflib.base.progress import Progress
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds as division
from mflib.models.dcnn import compute, network, weights
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.dcnn.fold import keep
from mflib.models.dcnn.inputs import FoldResult, Labels, StoredVolumes, prepare, scoring_batches
from mflib.models.dcnn.training import NetworkResult, made, predictions
from mflib.models.folds import Fold, Indices

# From a head that is hardly held back to one that follows the difference of the class means. Below that, heads rank
# alike, and only the scale of their scores shrinks, until folds cannot be pooled.
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 2))
INNER_FOLDS = 5
Features = NDArray[np.float32]


def out_of_fold(
    cohort: Cohort,
    folds: Sequence[Fold],
    preprocessing: preprocess.GainSettings,
    settings: NetworkSettings,
    folder: Path,
    split: division.Split,
    *,
    place: str | None = "",
) -> NetworkResult:
    """Compute every volume's features once, fit the head of every fold, and score every fold's test part.

    Parameters
    ----------
    cohort, folds, preprocessing, folder, split : as for ``training.out_of_fold``; the features are kept in
        ``folder / "features"``, one file per volume
    settings : with ``frozen``; of the optimisation nothing is used
    place : folder of the folds inside ``folder``; that of the split by default, None to keep no weights

    Returns
    -------
    Result
        Its ``history`` has split, repeat, fold, C (inverse penalty of the head), inner_auc (mean over inner folds of
        the training part), kept. The weights in its folders are the backbone's, with the head as fully connected layer.

    Raises
    ------
    RunError, ValueError
        The released weights cannot be had, or are those of another network.
    RunError
        bfloat16 was asked for and does not give the features of float32 on this machine.
    InputError
        A training part is too small for inner folds.
    """
    backbone, sha256 = _backbone(settings)
    inputs = prepare(cohort, preprocessing, settings, folder / "inputs", settings.workers)
    values = features(backbone, sha256, inputs, settings, folder / "features")
    labels = cohort.segments["label"].to_numpy(dtype=np.int64)
    patients = cohort.segments["participant_id"].to_numpy()
    folders = [folder / (place or split) / f"frozen-{fold.repeat}-{fold.number}" for fold in folds]
    results, histories = [], []
    for fold, own in zip(folds, folders, strict=True):
        choice = _choose(values[fold.train], labels[fold.train], patients[fold.train], settings)
        best = choice.loc[choice["kept"], "C"].item()
        head = _head(best).fit(values[fold.train], labels[fold.train])
        validation, test = (head.predict_proba(values[part])[:, 1].tolist() for part in (fold.validation, fold.test))
        results.append(FoldResult(validation, test, [], compute.described(settings, torch.get_num_threads())))
        histories.append(choice.assign(split=split, repeat=fold.repeat, fold=fold.number))
        if place is not None:
            keep(results[-1], _joined(backbone, head), own, key=sha256)
    table = predictions(cohort.segments, labels, folds, results, split)
    history = pd.concat(histories, ignore_index=True)
    return NetworkResult(table, history, folders, inputs, made(folds, results, settings))


def features(
    backbone: nn.Module, sha256: str, inputs: StoredVolumes, settings: NetworkSettings, folder: Path
) -> Features:
    """Pooled features (n, channels) of every volume; those that are in ``folder`` already are read.

    Parameters
    ----------
    backbone : network without its fully connected layer, in evaluation
    sha256 : of the file that its weights came from
    inputs : the volumes
    settings : architecture, batch and precision
    folder : keeps one ``.npy`` per volume
    """
    digest = _digest(sha256, settings)
    paths = [folder / f"{path.stem}-{digest}.npy" for path in inputs.paths]
    missing = np.flatnonzero([not path.exists() for path in paths])
    if missing.size:
        folder.mkdir(parents=True, exist_ok=True)
        progress = Progress("frozen features", missing.size)
        with compute.reproducible(threads=torch.get_num_threads()), torch.no_grad():
            model = compute.placed(backbone, settings)
            _check_precision(model, inputs, missing[:1], settings)
            starts = range(0, missing.size, settings.batch)
            for start, volumes in zip(starts, scoring_batches(inputs, missing, settings), strict=True):
                pooled = compute.forward(model, volumes, settings).cpu().numpy()
                for position, values in zip(missing[start : start + settings.batch], pooled, strict=True):
                    files.write_array(paths[position], values)
                progress.advance(len(pooled))
    return np.stack([np.load(path) for path in paths])


def _backbone(settings: NetworkSettings) -> tuple[nn.Module, str]:
    """The network with released weights and no head, and the digest of their file."""
    path = weights.find(settings)
    if path is None:
        raise RunError("frozen features need released weights (pretrained: required)")
    model: nn.Module = network.build(settings.depth, settings.width, settings.dilated)
    loaded = network.load_medicalnet(model, path)
    model.fc = nn.Identity()
    return model.eval(), loaded.sha256


def _digest(sha256: str, settings: NetworkSettings) -> str:
    """What the features of a volume follow from, besides the volume."""
    made_from = [sha256, settings.depth, settings.width, settings.dilated, settings.precision]
    made_from += [compute.device().type, digest(__name__)]
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


def _check_precision(model: nn.Module, inputs: StoredVolumes, first: Indices, settings: NetworkSettings) -> None:
    """Hold the features of one volume in ``settings.precision`` against those in float32."""
    if settings.precision == "float32":
        return
    (volume,) = scoring_batches(inputs, first, settings)
    rounded, exact = compute.forward(model, volume, settings), compute.forward(model, volume, settings, exact=True)
    compute.check_direction(exact[0], rounded[0], settings, "features")


def _choose(values: Features, labels: Labels, patients: NDArray[np.object_], settings: NetworkSettings) -> pd.DataFrame:
    """Mean AUC of each penalty on inner folds by patient: C, inner_auc, kept."""
    inner = division.inner(labels, patients, INNER_FOLDS, settings.seed)
    means = [np.mean([_auc(c, values, labels, *parts) for parts in inner]) for c in PENALTIES]
    table = pd.DataFrame({"C": PENALTIES, "inner_auc": means})
    return table.assign(kept=table.index == table["inner_auc"].idxmax())


def _auc(c: float, values: Features, labels: Labels, learn: Indices, held_out: Indices) -> float:
    head = _head(c).fit(values[learn], labels[learn])
    return float(roc_auc_score(labels[held_out], head.decision_function(values[held_out])))


def _head(c: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=10_000))


def _joined(backbone: nn.Module, head: Pipeline) -> dict[str, Tensor]:
    """Weights of the whole network: standardisation and logistic regression are one linear layer."""
    scaler, logistic = head[0], head[1]
    slope = logistic.coef_[0] / scaler.scale_
    intercept = logistic.intercept_ - slope @ scaler.mean_
    fully_connected = {"fc.weight": slope[None], "fc.bias": intercept}
    state = {name: value.cpu() for name, value in backbone.state_dict().items()}
    return state | {name: torch.from_numpy(value.astype(np.float32)) for name, value in fully_connected.items()}
