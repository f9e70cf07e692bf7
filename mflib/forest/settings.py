"""What may be chosen about the forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ClassWeight = Literal["none", "balanced"]


@dataclass(frozen=True)
class Settings:
    """The forest, how its combination and its leaves are chosen, and what is told about it.

    Parameters
    ----------
    trees : number of trees
    leaf_sizes : least numbers of segments in a leaf, of which the inner folds choose one
    class_weight : "balanced" gives both classes of a training part the same weight, "none" every segment
    inner_folds : folds inside each training part, grouped by patient; fewer where fewer patients have a class
    inner_trees : trees of the forests that only choose
    minimum_icc : features whose ICC(2,1) under perturbation is lower in the training patients are not offered: a
        combination has only its other properties; 0 offers all, see `reliability`
    permutations : how often each feature is shuffled for its importance
    repeats : how often the whole cross-validation is repeated with other folds
    seed : of trees, inner folds and shuffles; each fold derives its own from it

    Raises
    ------
    ValueError
        A value that means nothing.
    """

    trees: int = 500
    leaf_sizes: tuple[int, ...] = (1, 5, 15)
    class_weight: ClassWeight = "none"
    inner_folds: int = 5
    inner_trees: int = 50
    minimum_icc: float = 0.0
    permutations: int = 10
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would fail later, or do nothing."""
        least = {"trees": 1, "inner_folds": 2, "inner_trees": 1, "permutations": 1, "repeats": 1}
        wrong = [
            f"{name} {getattr(self, name)!r}, expected at least {n}"
            for name, n in least.items()
            if getattr(self, name) < n
        ]
        if not self.leaf_sizes or min(self.leaf_sizes) < 1:
            wrong.append(f"leaf_sizes {self.leaf_sizes}, expected whole numbers of at least 1")
        if self.class_weight not in get_args(ClassWeight):
            wrong.append(f"class_weight {self.class_weight!r}, expected one of {', '.join(get_args(ClassWeight))}")
        if not 0 <= self.minimum_icc < 1:
            wrong.append(f"minimum_icc {self.minimum_icc}, expected 0 up to less than 1")
        if wrong:
            raise ValueError("forest settings: " + "; ".join(wrong))
