"""What a fitted forest uses: the fall of the AUC when features are shuffled, one by one and family by family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from mflib.forest.grid import univariate_auc

FAMILIES = {"glcm": "GLCM", "nakagami": "Nakagami", "first": "First-order"}
WHOLE_FAMILY = "all of it"


def permutation_importance(
    model: RandomForestClassifier,
    features: Sequence[str],
    values: NDArray[np.float64],
    labels: NDArray[np.integer],
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Fall of the AUC when one feature, or all features of one family together, are shuffled (Breiman 2001).

    For single features the same as ``sklearn.inspection.permutation_importance``, which knows no families; all shuffled
    copies go through the forest in one call, because a call costs far more than its rows.

    Parameters
    ----------
    model : fitted to these features
    features : their names in the study: ``glcm_contrast``, ``nakagami_m``, ``first_order_mean``
    values, labels : (n, features) and (n,) of segments that the model has not seen
    repeats, seed : shuffles of each feature and family, and their seed

    Returns
    -------
    DataFrame
        ``family``, ``feature`` (``WHOLE_FAMILY`` where all of a family were shuffled together), ``importance`` and
        ``sd``: mean and SD over the shuffles.
    """
    families = [FAMILIES[name.split("_")[0]] for name in features]
    shuffled = [
        (family, feature, [column]) for column, (family, feature) in enumerate(zip(families, features, strict=True))
    ]
    for family in dict.fromkeys(families):
        shuffled.append((family, WHOLE_FAMILY, [n for n, other in enumerate(families) if other == family]))
    rng = np.random.default_rng(seed)
    copies = np.tile(values, (len(shuffled), repeats, 1, 1))
    for copy, (_, _, together) in zip(copies, shuffled, strict=True):
        for one in copy:
            one[:, together] = rng.permutation(one[:, together])
    scores = model.predict_proba(copies.reshape(-1, len(features)))[:, 1].reshape(-1, labels.size)
    whole = univariate_auc(model.predict_proba(values)[:, 1:], labels)
    falls = (whole - univariate_auc(scores.T, labels)).reshape(-1, repeats)
    table = pd.DataFrame([row[:2] for row in shuffled], columns=["family", "feature"])
    return table.assign(importance=falls.mean(axis=1), sd=falls.std(axis=1))
