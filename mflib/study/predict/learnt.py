"""What a run has learnt, as stored: forests as numbers to follow, networks, probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from scipy.special import expit
from scipy.stats import norm
from torch import Tensor, nn

from mflib.base.errors import FileError
from mflib.data.preprocess import Region
from mflib.models.dcnn import compute, fold, network, saliency
from mflib.models.dcnn.settings import NetworkSettings
from mflib.stats.performance import probability
from mflib.study.kept import ARRAYS

Values = NDArray[np.float64]
# Bytes; what six arrays say of themselves takes a tenth of it.
LARGEST_HEADER = 4096


@dataclass(frozen=True, eq=False)
class Trees:
    """A forest of two classes; see `study.models.arrays` for what the arrays hold.

    Parameters
    ----------
    feature, threshold, left, right, positive : (nodes,)
    starts : (trees + 1,)
    """

    feature: NDArray[np.int32]
    threshold: Values
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    positive: Values
    starts: NDArray[np.int32]

    def scores(self, values: Values) -> Values:
        """Mean over the trees of the share of label 1 in the leaf, to the last digit as scikit-learn's forest.

        Parameters
        ----------
        values : (n, features) finite

        Returns
        -------
        (n,)
        """
        narrow = values.astype(np.float32)  # as scikit-learn does before it compares
        first = self.starts[:-1, None]
        node = np.repeat(first, len(values), axis=1)
        row = np.arange(len(values))[None]
        while (inner := self.left[node] >= 0).any():
            goes_left = narrow[row, np.where(inner, self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, first + np.where(goes_left, self.left[node], self.right[node]), node)
        # One tree after the other: another order of the sum has other last digits.
        return np.asarray(self.positive[node].cumsum(axis=0)[-1] / len(first))


def read_trees(name: str, content: bytes, features: int) -> Trees:
    """The forest in the bytes of a safetensors file.

    Parameters
    ----------
    name : of the file, for messages
    content : of the file; see `manifest.read_stored`
    features : how many numbers the forest is asked with

    Raises
    ------
    FileError
        The file holds anything but the six arrays of a forest, or a tree that leads nowhere.
    """
    _check_header(name, content)
    try:
        # It refuses arrays that overlap, leave holes, or do not end where the file does.
        trees = Trees(**load(content))
    except SafetensorError as error:
        raise FileError(f"{name}: cannot be read as arrays ({error})") from error
    wrong = _fault(trees, features)
    if wrong:
        raise FileError(f"{name}: found {wrong}; not a forest that mflib has kept")
    return trees


def _check_header(name: str, content: bytes) -> None:
    """Refuse a file that announces anything but a forest's arrays, before any of them is made."""
    size = int.from_bytes(content[:8], "little")
    if size > LARGEST_HEADER:
        raise FileError(f"{name}: found a header of {size:,} bytes, expected at most {LARGEST_HEADER:,}")
    try:
        # Pairs, since a dictionary would hide a name that stands twice.
        header = json.loads(content[8 : 8 + size].decode(), object_pairs_hook=list)
        entries = [(key, dict(entry)) for key, entry in header]
        found = sorted((key, entry["dtype"], len(entry["shape"])) for key, entry in entries)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileError(f"{name}: not a safetensors file of arrays ({type(error).__name__}: {error})") from error
    if found != sorted((key, kind, 1) for key, kind in ARRAYS.items()):
        raise FileError(f"{name}: found {found!r:.400}, expected {ARRAYS}, each once and of one axis")


def _fault(trees: Trees, features: int) -> str:
    """What would lead out of the arrays, round in a circle, or to a score that is none; empty where nothing does."""
    # Wide enough for differences that cannot turn round.
    nodes, starts = len(trees.feature), trees.starts.astype(np.int64)
    if any(len(part) != nodes for part in (trees.threshold, trees.left, trees.right, trees.positive)):
        return "arrays of different lengths"
    if len(starts) < 2 or starts[0] != 0 or starts[-1] != nodes or (np.diff(starts) < 1).any():
        return "trees that do not follow each other"
    size = np.repeat(np.diff(starts), np.diff(starts))
    own = np.arange(nodes) - np.repeat(starts[:-1], np.diff(starts))
    leaf = (trees.left == -1) & (trees.right == -1)
    for child in (trees.left, trees.right):
        # A child stands behind its parent, so every way ends.
        if not (leaf | ((child > own) & (child < size))).all():
            return "a node whose child is outside its tree, or before it"
    if not (leaf | ((trees.feature >= 0) & (trees.feature < features))).all():
        return f"a node that asks for a feature outside 0 to {features - 1}"
    if not (np.isfinite(trees.threshold).all() and (trees.positive >= 0).all() and (trees.positive <= 1).all()):
        return "thresholds or shares that are no numbers from 0 to 1"
    return ""


# Larger inputs and wider networks than any study's are a mistake, or meant to fill the memory.
LARGEST_INPUT, WIDEST = 512, 1024
# Parts of an archive; a ResNet-50 has a tenth of it.
ENTRIES = 4096
Input = NDArray[np.float32]


def check_network(settings: NetworkSettings) -> None:
    """Refuse a network that would fill the memory before its weights are even looked at.

    Raises
    ------
    FileError
        With what was found.
    """
    width = 1 if settings.width is None else settings.width
    whole = all(type(number) is int for number in (*settings.size, width))
    if not whole or max(settings.size) > LARGEST_INPUT or not 1 <= width <= WIDEST:
        found = f"an input of {settings.size} voxels and width {settings.width}"
        raise FileError(f"found {found}, expected at most {LARGEST_INPUT} along each axis and width {WIDEST}")


def read_network(name: str, content: bytes, settings: NetworkSettings) -> nn.Module:
    """The network in the bytes of a file of tensors, in evaluation, on the device.

    Raises
    ------
    FileError
        The file holds anything but finite tensors, or those of another network.
    """
    _check_parts(name, content)
    try:
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"{name}: cannot be read as plain tensors ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) and type(v) is Tensor for key, v in state.items()):
        raise FileError(f"{name}: found a {type(state).__name__}, expected tensors by name")
    model: nn.Module = network.build(settings.depth, settings.width, settings.dilated)
    _check_kinds(name, state, model.state_dict())
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise FileError(f"{name}: not the weights of this network ({error})") from error
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
        raise FileError(f"{name}: found weights that are not finite")
    return compute.placed(model.eval(), settings)


def _check_parts(name: str, content: bytes) -> None:
    """Refuse compressed parts: a few kilobytes of them can fill the memory."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            parts = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise FileError(f"{name}: not an archive of tensors ({error})") from error
    packed = [part.filename for part in parts if part.compress_type != ZIP_STORED or part.flag_bits & 1]
    declared = sum(part.file_size for part in parts)
    if packed or declared > len(content) or len(parts) > ENTRIES:
        found = f"{len(parts)} parts of {declared:,} bytes in {len(content):,}, {len(packed)} of them compressed"
        raise FileError(f"{name}: found {found}, expected at most {ENTRIES} parts that are stored as they are")


def _check_kinds(name: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no plain numbers in memory: of no device, sparse, nested, quantised, or wider ones.

    Raises
    ------
    FileError
        With the first of them.
    """
    for key, value in state.items():
        plain = not value.is_nested and value.layout is torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or value.dtype is not own.get(key, value).dtype:
            raise FileError(f"{name}: found another kind of tensor for {key[:80]!r}, expected the run's own")


def network_scores(models: list[nn.Module], voxels: Input, settings: NetworkSettings) -> list[float]:
    """Score of each network, in [0, 1]."""
    position = np.zeros(1, dtype=np.intp)
    with compute.reproducible():
        return [float(fold.logits(model, voxels[None], position, settings).sigmoid()[0]) for model in models]


def network_saliency(
    models: list[nn.Module], voxels: Input, towards: int, region: Region, settings: NetworkSettings
) -> Input:
    """Mean of the networks' Grad-CAMs towards a call, on the voxels of the region."""
    with compute.reproducible(), compute.rounding(settings):
        maps = [saliency.grad_cam(model, voxels, towards) for model in models]
    return saliency.to_shape(np.mean(maps, axis=0), settings.size, region.voxels.shape)


LEVEL = 0.95
SINGLE = (
    "The probability is fitted on the margins of single models; those of their mean spread less, so it is rather too "
    "near to the share of infiltrated segments in training."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """P = expit(a + b margin), with the covariance of a and b.

    Parameters
    ----------
    coefficients, covariance : (2,) and (2, 2); empty where there is no fit
    note : why there is none, or what to know of it
    """

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    note: str

    def __call__(self, margin: float) -> tuple[float, float, float] | None:
        """Probability of infiltration with the 95 % interval of the fit, None where there is none.

        The interval says how sure the fit is, not how sure this patient's label is.
        """
        if not self.coefficients.size:
            return None
        point = np.array([1.0, margin])
        centre = float(point @ self.coefficients)
        reach = float(norm.ppf(0.5 + LEVEL / 2) * np.sqrt(point @ self.covariance @ point))
        probability, low, high = (float(expit(value)) for value in (centre, centre - reach, centre + reach))
        return probability, low, high


def fit_calibration(predictions: pd.DataFrame) -> Calibration:
    """Calibrate by the run's out-of-fold predictions, each at the margin to the threshold of its own fold.

    Every margin is of one fold's model, and the mean over the folds' models that a new patient is scored by spreads
    less. So probabilities of an ensemble are rather too near to the run's share of infiltrated segments than too far
    from it. Patients are clusters (sandwich covariance), as in ``performance.calibration``.

    Parameters
    ----------
    predictions : one model's predictions table
    """
    labels = predictions["y_true"].to_numpy()
    margins = (predictions["score"] - predictions["threshold"]).to_numpy()
    patients = predictions["participant_id"]
    reason = _unfit(labels, margins, patients)
    if reason:
        return _none(reason)
    fitted = probability.fit_clustered(probability.logistic_regression(margins, labels, slope=True), patients)
    coefficients, covariance = np.asarray(fitted.params), np.asarray(fitted.cov_params())
    if not (np.isfinite(coefficients).all() and np.isfinite(covariance).all()):
        return _none("No probability: the fit of the run's own margins has no finite solution.")
    if coefficients[1] <= 0:
        return _none("No probability: in the run's own patients a higher score does not mean infiltration more often.")
    return Calibration(coefficients, covariance, SINGLE)


def _unfit(labels: NDArray[np.int64], margins: NDArray[np.float64], patients: pd.Series) -> str:
    """Why a logistic regression has no finite maximum, or no variance; empty where it has both."""
    if len(np.unique(labels)) < 2:
        return f"No probability: the run has segments of label {labels[0]} only."
    if patients.nunique() < 2:
        return "No probability: the run has one patient only."
    if probability.separated(margins, labels):
        return "No probability: one margin parts the classes of the run, so no finite slope fits."
    return ""


def _none(note: str) -> Calibration:
    return Calibration(np.empty(0), np.empty((0, 0)), note)
