"""A stored forest: numbers that are looked at before they are followed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from mflib.predict.results import PredictError
from mflib.study.models import ARRAYS

Values = NDArray[np.float64]

# All that a file of plain arrays holds. skops itself trusts every estimator of scikit-learn.
TRUSTED = {"builtins.dict", "builtins.list", "builtins.str", "numpy.ndarray"}
LOADERS = {"DictNode", "ListNode", "TypeNode", "NdArrayNode"}
TYPES = dict(zip(ARRAYS, ("int32", "float64", "int32", "int32", "float64", "int32"), strict=True))


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


def read(name: str, content: bytes, features: int) -> Trees:
    """The forest in the bytes of a skops file.

    Parameters
    ----------
    name : of the file, for messages
    content : of the file; see `archive.read`
    features : how many numbers the forest is asked with

    Raises
    ------
    PredictError
        The file holds anything but the six arrays of a forest, or a tree that leads nowhere.
    """
    import skops.io  # as in `study.models.keep_forest`

    _check_types(name, content)
    try:
        loaded = skops.io.loads(content, trusted=[])
    except Exception as error:  # whatever the bytes of a foreign file lead to
        raise PredictError(f"{name}: cannot be read as arrays ({type(error).__name__}: {error})") from error
    kinds = {key: str(getattr(value, "dtype", type(value))) for key, value in loaded.items()}
    if kinds != TYPES or any(value.ndim != 1 for value in loaded.values()):
        raise PredictError(f"{name}: found {kinds}, expected one-dimensional arrays {TYPES}")
    trees = Trees(**loaded)
    wrong = _fault(trees, features)
    if wrong:
        raise PredictError(f"{name}: found {wrong}; not a forest that mflib has kept")
    return trees


def _check_types(name: str, content: bytes) -> None:
    """Refuse a file that asks for anything but plain arrays, before any of it is made."""
    found: set[str] = set()

    def look(node: dict[str, Any]) -> dict[str, Any]:
        if "__loader__" in node or "__class__" in node:
            found.add(f"{node.get('__module__')}.{node.get('__class__')}")
            if node.get("__loader__") not in LOADERS:
                found.add(f"loader {node.get('__loader__')}")
        return node

    try:
        with ZipFile(BytesIO(content)) as archive:
            schema = json.loads(archive.read("schema.json"), object_hook=look)
    except (KeyError, ValueError, RecursionError, OSError) as error:
        raise PredictError(f"{name}: not a skops file ({error})") from error
    others = sorted(found - TRUSTED)
    if others or not isinstance(schema, dict) or schema.get("__class__") != "dict":
        raise PredictError(f"{name}: asks for {', '.join(others) or 'no arrays'}, expected arrays of numbers only")


def _fault(trees: Trees, features: int) -> str:
    """What would lead out of the arrays, round in a circle, or to a score that is none; empty where nothing does."""
    nodes, starts = len(trees.feature), trees.starts
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
