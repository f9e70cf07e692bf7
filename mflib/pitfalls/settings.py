"""How large the experiments of the pitfalls laboratory are."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Settings:
    """Sizes of the experiments: larger ones are surer, and slower in proportion.

    Parameters
    ----------
    repetitions : cross-validations of each kind, with other folds, other null labels or other gains each time
    simulations : simulated cohorts from which the error rate of a test and the coverage of an interval are counted
    permutations : of the labels, for the null distribution of the whole forest
    trees : trees of every forest
    volumes : volumes per patient that are read where voxels are needed

    Raises
    ------
    ValueError
        A size below 1, or fewer than two repetitions, which have no spread.
    """

    repetitions: int = 10
    simulations: int = 500
    permutations: int = 20
    trees: int = 50
    volumes: int = 2

    def __post_init__(self) -> None:
        """Refuse sizes that show nothing."""
        least = {field.name: 2 if field.name == "repetitions" else 1 for field in fields(self)}
        wrong = [
            f"{name} {getattr(self, name)!r}, expected at least {n}"
            for name, n in least.items()
            if getattr(self, name) < n
        ]
        if wrong:
            raise ValueError("pitfalls settings: " + "; ".join(wrong))
