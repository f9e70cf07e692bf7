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
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mflib.base import files
from mflib.base.errors import RunError
from mflib.base.files import sha256
from mflib.base.made_by import digest
from mflib.base.progress import Progress
from mflib.models import folds as division
from mflib.models.dcnn import compute, network
from mflib.models.dcnn.compute import scoring_batches
from mflib.models.dcnn.fold import keep
from mflib.models.dcnn.inputs import FoldResult, Source, StoredVolumes, prepare
from mflib.models.dcnn.settings import NetworkSettings, find_weights
from mflib.models.dcnn.training import NetworkResult, frozen, made, predictions
from mflib.models.folds import Fold, Indices

# From a head that is hardly held back to one that follows the difference of the class means. Below that, heads rank
# alike, and only the scale of their scores shrinks, until folds cannot be pooled.
PENALTIES = tuple(10.0**exponent for exponent in range(-5, 2))
INNER_FOLDS = 5
Features = NDArray[np.float32]


def out_of_fold(
    source: Source, folds: Sequence[Fold], settings: NetworkSettings, *, place: str | None = ""
) -> NetworkResult:
    """Compute every volume's features once, fit the head of every fold, and score every fold's test part.

    Parameters
    ----------
    source, folds : as for ``training.out_of_fold``; the features are kept in ``features/``, one file per volume
    settings : with ``frozen``; of the optimisation nothing is used
    place : folder of the folds inside the source's; how they are split by default, None to keep no weights

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
    backbone, made_from = _backbone(settings)
    inputs = prepare(source, settings)
    values = features(backbone, made_from, inputs, settings, source.folder / "features")
    labels, patients = source.labels, source.patients
    folders = [source.folder / (place or f.split) / f"frozen-{f.repeat}-{f.number}" for f in folds]
    results, histories = [], []
    for fold, own in zip(folds, folders, strict=True):
        inner = division.inner(labels[fold.train], patients[fold.train], INNER_FOLDS, settings.seed)
        search = GridSearchCV(_head(), {"logisticregression__C": PENALTIES}, scoring="roc_auc", cv=inner)
        search.fit(values[fold.train], labels[fold.train])
        head = search.best_estimator_
        validation, test = (head.predict_proba(values[part])[:, 1].tolist() for part in (fold.validation, fold.test))
        results.append(FoldResult(validation, test, [], compute.described(settings, torch.get_num_threads())))
        choice = pd.DataFrame({"C": PENALTIES, "inner_auc": search.cv_results_["mean_test_score"]})
        choice["kept"] = choice.index == search.best_index_
        histories.append(choice.assign(split=fold.split, repeat=fold.repeat, fold=fold.number))
        if place is not None:
            keep(results[-1], _joined(backbone, head), own, key=made_from)
    table, history = predictions(source, folds, results), pd.concat(histories, ignore_index=True)
    record, scales = made(folds, results, settings), frozen(source, folds, results)
    return NetworkResult(table, history, folders, inputs, record, scales)


def features(
    backbone: nn.Module, made_from: str, inputs: StoredVolumes, settings: NetworkSettings, folder: Path
) -> Features:
    """Pooled features (n, channels) of every volume; those that are in ``folder`` already are read.

    Parameters
    ----------
    backbone : network without its fully connected layer, in evaluation
    made_from : digest of what decides the features of a volume, besides the volume
    inputs : the volumes
    settings : architecture, batch and precision
    folder : keeps one ``.npy`` per volume
    """
    paths = [folder / f"{path.stem}-{made_from[:16]}.npy" for path in inputs.paths]
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
    """The network with released weights and no head, and what decides its features of a volume."""
    path = find_weights(settings)
    if path is None:
        raise RunError("frozen features need released weights (pretrained: required)")
    model = network.started(settings)
    model.fc = nn.Identity()
    made_from = [sha256(path), settings.depth, settings.width, settings.dilated, settings.precision]
    made_from += [compute.device().type, digest(__name__)]
    return model.eval(), hashlib.sha256(repr(made_from).encode()).hexdigest()


def _check_precision(model: nn.Module, inputs: StoredVolumes, first: Indices, settings: NetworkSettings) -> None:
    """Hold the features of one volume in ``settings.precision`` against those in float32."""
    if settings.precision == "float32":
        return
    (volume,) = scoring_batches(inputs, first, settings)
    rounded, exact = compute.forward(model, volume, settings), compute.forward(model, volume, settings, exact=True)
    compute.check_direction(exact[0], rounded[0], settings, "features")


def _head() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))


def _joined(backbone: nn.Module, head: Pipeline) -> dict[str, Tensor]:
    """Weights of the whole network: standardisation and logistic regression are one linear layer."""
    scaler, logistic = head[0], head[1]
    slope = logistic.coef_[0] / scaler.scale_
    intercept = logistic.intercept_ - slope @ scaler.mean_
    connected = {"fc.weight": slope[None], "fc.bias": intercept}
    return backbone.state_dict() | {name: torch.from_numpy(of.astype(np.float32)) for name, of in connected.items()}
