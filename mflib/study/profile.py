"""A profile: every choice of a run, and where its results go: a report's run, a playground, or a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from mflib.base.errors import InputError
from mflib.base.files import ROOT, short
from mflib.base.language import DRAWN, LANGUAGES, language
from mflib.base.settings import STRICT, Distinct, Seed, Whole, build, flat, from_yaml, merged
from mflib.data.preprocess import GainSettings
from mflib.models.dcnn.settings import Comparison, NetworkSettings, releases
from mflib.models.folds import Split
from mflib.models.forest import ForestSettings
from mflib.models.pitfalls.experiment import PitfallsSettings
from mflib.models.texture.bank import TextureSettings
from mflib.models.texture.robustness import RobustnessSettings

PROFILES = ROOT / "notebooks" / "profiles"
REPORTS = ROOT / "reports"
# In a folder that holds it, only the command that made it writes; its kernels know by the environment that they may.
MARK = ".mflib-report"
WRITER = "MFLIB_REPORT"
# The cohort that `make lab` was given: that of every notebook that is opened there and names none.
LAB_COHORT = "MFLIB_COHORT"
# What lies in the artifacts under names that follow from all that made it, so that other settings leave it alone.
CACHES = ("cache", "dcnn")
# Settings that no number of a study's own follows from.
ELSEWHERE = ("external", "scheduler", "language")
# The groups of settings that the predictions of each model, and what each notebook shows, follow from, besides seed,
# split and folds.
GROUPS = {
    "random_forest": ("preprocessing", "texture", "robustness", "forest"),
    "dcnn": ("preprocessing", "network"),
    "dcnn_comparisons": ("preprocessing", "network", "comparisons"),
    "baselines": ("preprocessing",),
    "01_cohort": ("preprocessing",),
    "02_texture": ("preprocessing", "texture", "robustness", "forest"),
    "03_random_forest": ("preprocessing", "texture", "robustness", "forest"),
    "04_dcnn": ("preprocessing", "network", "comparisons"),
    "05_comparison": ("preprocessing", "texture", "robustness", "forest", "network", "comparisons"),
    "06_external": ("preprocessing", "texture", "robustness", "forest", "network"),
    "07_pitfalls": ("preprocessing", "texture", "pitfalls"),
    "08_published_figures": (),
}


@dataclass(frozen=True, config=STRICT)
class Profile:
    """Every choice of a run; the defaults are those of the profile ``quick``.

    Parameters
    ----------
    cohort : folder of the cohort; a relative path starts at the repository
    external : folder of a second cohort that the models only predict and never learn from; empty where there is none
    scheduler : address of a Dask scheduler whose workers do the heavy work; empty for this machine's processes
    seed : of folds, forest and network
    language : of the report, "en", "zh" or "both"; empty for that of the environment
    split : "patient", or "segment" for the paper's split, which lets segments of one patient leak into the test part
    n_folds : number of cross-validation folds
    preprocessing, texture, robustness, forest, network, pitfalls : the settings of each room
    comparisons : which of ``dcnn.settings.Comparison`` are made
    """

    cohort: str = "data/phantom-quick"
    external: str = ""
    scheduler: str = ""
    language: Literal["", "en", "zh", "both"] = ""
    seed: Seed = 20
    split: Split = "patient"
    n_folds: Annotated[Whole, Field(ge=2, le=1000)] = 5
    preprocessing: GainSettings = GainSettings()
    texture: TextureSettings = TextureSettings()
    robustness: RobustnessSettings = RobustnessSettings()
    forest: ForestSettings = ForestSettings()
    network: NetworkSettings = NetworkSettings()
    comparisons: Distinct[Comparison] = ()
    pitfalls: PitfallsSettings = PitfallsSettings()

    @property
    def cohort_folder(self) -> Path:
        """Where the cohort lies."""
        return (ROOT / self.cohort).resolve()

    @property
    def external_folder(self) -> Path | None:
        """Where the second cohort lies, None where there is none."""
        return (ROOT / self.external).resolve() if self.external else None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the report; of two the reader's own comes first."""
        own = language()
        return (own, *LANGUAGES.keys() - {own}) if self.language == "both" else (self.language or own,)


def choose(name: str, cohort: str = "", changes: Mapping[str, Any] | None = None) -> Profile:
    """A profile by its name or file, with a cohort and changes in place of its own; everything in it is checked.

    Parameters
    ----------
    name : of a profile in ``notebooks/profiles``, or the path of a YAML file
    cohort : a cohort folder; empty for the profile's
    changes : nested settings that are to be otherwise, such as ``{"split": "segment", "forest": {"trees": 100}}``

    Raises
    ------
    InputError
        No such profile, or settings that are unknown or cannot be; in two lines.
    """
    if not isinstance(changes, Mapping | None):
        raise InputError(f"changes: found a {type(changes).__name__}, expected settings by name")
    try:
        values = merged(merged({}, read(str(name))), changes or {})
    except RecursionError as error:
        raise InputError("changes: found groups in groups without end, expected settings by name") from error
    values |= {"cohort": cohort} if cohort else {}
    for group in ("forest", "network"):
        if isinstance(values.get(group), Mapping) and "seed" in values[group]:
            said = f"{group}.seed: found one of its own, expected the one seed of the study"
            raise InputError(f"The settings of {_of(name)} cannot be used:\n{said}")
    return settled(values, name)


def settled(values: Mapping[str, Any], name: str) -> Profile:
    """A profile from all of its values, the seeds of its groups left out: they get the study's.

    Raises
    ------
    InputError
        Settings that are unknown or cannot be; in two lines.
    """
    chosen = build(Profile, values, _of(name))
    forest, network = replace(chosen.forest, seed=chosen.seed), replace(chosen.network, seed=chosen.seed)
    if network.weights and network.weights not in releases():
        network = replace(network, weights=str(ROOT / network.weights))
    return replace(chosen, forest=forest, network=network)


def chosen_by_hand(name: str, cohort: str = "", changes: Mapping[str, Any] | None = None) -> Profile:
    """`choose` for a notebook: where it names no cohort, the one that JupyterLab was started for; not in a report."""
    given = "" if WRITER in os.environ else os.environ.get(LAB_COHORT, "")
    return choose(name, cohort or given, changes)


def read(name: str) -> dict[str, Any]:
    """The values of a profile by name, or of any YAML file.

    Raises
    ------
    InputError
        No such profile or file, or not a YAML mapping.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises where a name is too long
        known = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml")))
        raise InputError(f"no profile {name!r}; expected one of {known}, or the path of a YAML file")
    content = from_yaml(path.read_bytes(), path.name)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path.name}: found {found}, expected a mapping of settings")
    return content


def _of(name: str) -> str:
    return f"the profile {Path(name).stem}"


def report_folder(name: str, profile: Profile) -> Path:
    """The run of the report on a profile's cohort; the profile is not repeated where the cohort's name ends in it."""
    cohort = profile.cohort_folder.name
    return REPORTS / short(cohort if cohort.endswith(f"-{name}") else f"{cohort}-{name}")


def playground(report: Path) -> Path:
    """Where notebooks that are opened by hand write."""
    return report.with_name(f"{report.name}-playground")


def variant(folder: Path, changes: Mapping[str, Any], *, beside: bool = False) -> Path:
    """A folder for results with changes, in the one for those without or beside it: another one for any other changes.

    Who computes, who reads, and on what a finished model is tried, changes nothing about a study's own numbers.
    """
    named = {name: value for name, value in flat(changes).items() if name not in ELSEWHERE}
    if not named:
        return folder
    words = "_".join(f"{name}-{value}" for name, value in sorted(named.items()))
    digest = sha256(repr(sorted(named.items())).encode()).hexdigest()[:6]
    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', words)[:60].strip('_')}_{digest}"
    return folder.with_name(f"{folder.name}-{name}") if beside else folder / name


def claim(folder: Path, languages: Collection[str] = ()) -> None:
    """Mark a folder as a report's run, and let the kernels of this process write into it, and draw in languages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    os.environ[DRAWN] = " ".join(languages)
    os.environ[WRITER] = str(folder.resolve())


def written_by_report(folder: Path) -> bool:
    """Whether this process is a report's, or a kernel of it, and this folder is its run.

    Raises
    ------
    InputError
        It is the run of a report, and this process is none: what the folder is, and what to give instead.
    """
    here = os.environ.get(WRITER) == str(folder.resolve())
    if not here and (folder / MARK).exists():
        raise InputError(
            f"The folder {folder.name} is the run of a report, and only mflib report writes into it.\n"
            "Leave run empty for the playground beside it, or name another folder."
        )
    return here


def notebook() -> str:
    """The notebook whose kernel this process is, as a Jupyter server or the pipeline says; empty where nobody does."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).stem


def made_from(profile: Profile, of: str = "") -> dict[str, Any]:
    """The settings that a model's predictions or a notebook follow from (see ``GROUPS``), or all of them.

    Where anything lies is not among them.
    """
    values = asdict(profile)
    wanted = {"seed", "split", "n_folds", *GROUPS.get(of, values)} - {"cohort", *ELSEWHERE}
    return {name: value for name, value in values.items() if name in wanted}


def borrow(source: Path, target: Path) -> None:
    """Give a folder of artifacts what another has in its caches; a file is never changed in place, so one will do."""
    for path in (path for cache in CACHES for path in (source / cache).rglob("*") if path.is_file()):
        there = target / path.relative_to(source)
        if there.exists() or path.name.startswith("partial-"):
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except OSError:  # a file system without links, or another one
            shutil.copy2(path, there)
