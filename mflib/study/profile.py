"""A profile: every choice of a run, as papermill's parameters and as the settings of each module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml

from mflib.base.errors import InputError
from mflib.base.files import ROOT
from mflib.data import preprocess
from mflib.models import forest, pitfalls
from mflib.models.dcnn import comparisons, weights
from mflib.models.dcnn import compute as network
from mflib.models.folds import Split
from mflib.models.texture import bank, robustness

PROFILES = ROOT / "notebooks" / "profiles"
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Profile:
    """Every choice of a run.

    Parameters
    ----------
    cohort_folder, run_folder : where data come from and results go; relative paths start at the repository
    external_folder : a second cohort that the models only predict and never learn from, None where there is none
    seed : seed of folds, forest and network
    split : "patient", or "segment" for the paper's split, which lets segments of one patient leak into the test part
    n_folds : number of cross-validation folds
    scheduler : address of a Dask scheduler whose workers do the heavy work; empty for this machine's processes
    preprocessing, texture, robustness, forest, network : the settings of each module
    network_comparisons : which of ``dcnn.comparisons.COMPARISONS`` are made
    pitfalls : sizes of the experiments of the pitfalls laboratory
    """

    cohort_folder: Path
    run_folder: Path
    external_folder: Path | None
    seed: int
    split: Split
    n_folds: int
    scheduler: str
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings
    robustness: robustness.RobustnessSettings
    forest: forest.ForestSettings
    network: network.NetworkSettings
    network_comparisons: tuple[str, ...]
    pitfalls: pitfalls.PitfallsSettings

    @classmethod
    def from_parameters(
        cls,
        cohort_folder: str,
        run_folder: str,
        external_folder: str,
        seed: int,
        split: str,
        n_folds: int,
        scheduler: str,
        preprocessing: Mapping[str, Any],
        texture_settings: Mapping[str, Any],
        robustness_settings: Mapping[str, Any],
        forest_settings: Mapping[str, Any],
        network_settings: Mapping[str, Any],
        network_comparisons: Sequence[str],
        pitfalls_settings: Mapping[str, Any],
    ) -> Profile:
        """The profile that a notebook's parameters cell describes.

        Raises
        ------
        InputError
            A setting that its module does not know, or an unknown split.
        """
        if split not in get_args(Split):
            raise InputError(f"split is {split!r}, expected one of {', '.join(get_args(Split))}")
        known, asked = comparisons.COMPARISONS, list(network_comparisons)
        if not set(asked) <= set(known) or len(set(asked)) < len(asked):
            raise InputError(f"network_comparisons is {asked}; expected some of {', '.join(known)}, each once")
        for name, values in (("forest_settings", forest_settings), ("network_settings", network_settings)):
            if "seed" in values:
                raise InputError(f"{name} has seed; expected the seed of the whole study, which is {seed}")
        return cls(
            cohort_folder=ROOT / cohort_folder,
            run_folder=ROOT / run_folder,
            external_folder=ROOT / external_folder if external_folder else None,
            seed=seed,
            split=cast(Split, split),
            n_folds=n_folds,
            scheduler=scheduler,
            preprocessing=build(preprocess.GainSettings, "preprocessing", preprocessing),
            texture=build(bank.TextureSettings, "texture_settings", texture_settings),
            robustness=build(robustness.RobustnessSettings, "robustness_settings", robustness_settings),
            forest=replace(build(forest.ForestSettings, "forest_settings", forest_settings), seed=seed),
            network=_network(network_settings, seed),
            network_comparisons=tuple(network_comparisons),
            pitfalls=build(pitfalls.PitfallsSettings, "pitfalls_settings", pitfalls_settings),
        )


def _network(values: Mapping[str, Any], seed: int) -> network.NetworkSettings:
    """The network's settings; a relative path of weights starts at the repository."""
    settings = replace(build(network.NetworkSettings, "network_settings", values), seed=seed)
    is_path = settings.weights and settings.weights not in weights.RELEASES
    return replace(settings, weights=str(ROOT / settings.weights)) if is_path else settings


def build(settings: type[Settings], name: str, values: Mapping[str, Any]) -> Settings:
    """A module's settings from a flat mapping; lists become tuples, what is not named keeps its default.

    Raises
    ------
    InputError
        A key that the settings do not have, or a value that they refuse.
    """
    known = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{name} has {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    try:
        return settings(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error


def of_run(
    name: str, *, cohort: Path | None, run: Path | None, scheduler: str = "", external: Path | None = None
) -> dict[str, Any]:
    """The parameters of a profile, with the folders and the scheduler of one run in place of its own.

    Parameters
    ----------
    name : as for `read`
    cohort : cohort folder; the profile's by default
    run : run folder; by default the profile's, or ``reports/<profile>-<cohort>`` where another cohort is given
    scheduler : address of a Dask scheduler; the profile's by default
    external : folder of a second cohort that is only predicted; the profile's by default

    Raises
    ------
    InputError
        As `read`.
    """
    values = read(name)
    folder = (cohort.resolve() if cohort else ROOT / str(values.get("cohort_folder", ""))).resolve()
    own = f"reports/{Path(name).stem}-{folder.name}" if cohort else str(values.get("run_folder", "reports/run"))
    values |= {"cohort_folder": str(folder), "run_folder": str(run.resolve() if run else ROOT / own)}
    values |= {"external_folder": str(external.resolve()) if external else values.get("external_folder", "")}
    return values | {"scheduler": scheduler or values.get("scheduler", "")}


def read(name: str) -> dict[str, Any]:
    """The parameters of a profile by name, or of any YAML file.

    Raises
    ------
    InputError
        No such profile or file, or not a YAML mapping.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise InputError(f"no profile {name!r}; expected one of {known}, or the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path.name}: not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: found a {type(content).__name__}, expected a mapping of parameters")
    return content
