"""The first page of a report: what was asked and found, how sure that is, what was checked, limits, what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from mflib.base.errors import InputError, RunError
from mflib.base.words import MODELS, label, minus
from mflib.stats import clinical, performance, published
from mflib.study.pipeline import Record, chosen
from mflib.study.run import Study

FOREST, NETWORK = "random_forest", "dcnn"
ASKED = (
    "Can 3D ultrasound tell a fatty from a healthy multifidus in a patient whom the model has never seen, with the MRI "
    "grade as the gold standard? Does a 3D network do it better than a random forest on texture?"
)
FOUND = {
    True: "The network's AUC is **{by:.2f} {way}** the forest's (95 % interval {low:+.2f} to {high:+.2f}, {p}).",
    False: "**No difference is shown**: the network's AUC is {by:.2f} {way} the forest's (95 % interval {low:+.2f} to "
    "{high:+.2f}, {p}).",
}
# By how many of the two have an interval above 0.5.
TOLD = {
    2: "**Both models tell fatty from healthy** better than chance.",
    1: "**The {model} tells fatty from healthy** better than chance; of the other one that is not shown.",
    0: "**It is not shown** that either model tells fatty from healthy better than chance.",
}
NOT_YET = (
    "Both models have to be computed first: notebooks 3 and 4 have not run to their end on these data and settings."
)
NOT_COMPARED = "The two models cannot be compared: {note}."
UNITS = (
    "{segments} segments of {patients} patients. The patient is the unit of every interval and test, and of the folds."
)
CAN_SHOW = (
    "A second AUC that is {above:.2f} above the forest's would be found by so many patients in four of five studies."
)
AGAIN = "{model}, trained {trained} times: {lowest:.2f} to {highest:.2f}."
ONCE = "Trained once in this profile, so what chance does there was not measured: {models}."
APART = "No patient is in the training and in the test part of a fold."
NOT_APART = "Patients are in the training and in the test part of the same fold: these numbers are optimistic."
FROZEN = "Every threshold was fixed on a fold's validation part before its test part was scored."
STARTED = "The network started from {weights}."
LEARNT = {True: "The networks of all {folds} folds have learnt.", False: "Networks that have not learnt: fold {names}."}
FLAGGED = "{flagged} of {volumes} volumes are flagged for how they were recorded."
RAN = {True: "Every notebook ran to its end.", False: "Notebooks that did not: {names}."}
SYNTHETIC = "Volumes and patients are simulated: nothing here is evidence about people."
NOT_THE_PAPERS = (
    "The network is smaller than the paper's, and starts otherwise: a comparison of kinds, not of the paper's models."
)
ONE_COHORT = "One cohort: what the models are worth in another clinic was not tested."
OWN = "Your own cohort: data/README.md, then `mflib check` and `mflib report --cohort FOLDER`."
OTHER = "Another clinic's cohort, which the models only predict: `mflib report --external FOLDER`."
PAPERS = "The paper's network: `mflib report --profile paper`, on a GPU."


@dataclass(frozen=True)
class Area:
    """A model's AUC, mean of folds: its interval, and what the paper reports."""

    model: str
    auc: str
    interval: str
    paper: str


@dataclass(frozen=True)
class Answer:
    """What stands on the first page; ``checks`` have True where all is well."""

    found: str
    areas: list[Area]
    sure: list[str]
    checks: list[tuple[bool, str]]
    limits: list[str]
    ahead: list[str]


def answer(study: Study, records: Mapping[str, Record], *, synthetic: bool) -> Answer:
    """The answer of a run, as far as its notebooks have come."""
    segments, profile = study.cohort.segments, study.profile
    sure = [UNITS.format(segments=len(segments), patients=segments["participant_id"].nunique())]
    try:
        predictions = study.predictions(FOREST, NETWORK)
    except RunError:
        found, areas = NOT_YET, []
    else:
        compared = performance.comparison(predictions, NETWORK, FOREST)
        means = performance.fold_mean_auc(predictions).set_index("model")
        found, areas = f"{_told(means)} {_found(compared.iloc[0])}", _areas(means)
        sure += [*_can_show(segments, means.loc[FOREST, "mean"]), *_again(study.chance())]
    papers = profile.network.depth == 50 and profile.network.pretrained == "required"
    limits = [SYNTHETIC] * synthetic + [NOT_THE_PAPERS] * (not papers) + [ONE_COHORT] * (not profile.external)
    ahead = [OWN] * synthetic + [OTHER] * (not profile.external) + [PAPERS] * (not papers)
    checks = [(good, minus(text)) for good, text in _checks(study, records)]
    return Answer(minus(found), areas, [minus(text) for text in sure], checks, limits, ahead)


def _told(means: pd.DataFrame) -> str:
    able = [model for model in (FOREST, NETWORK) if means.loc[model, "low"] > 0.5]
    name = label(able[0]) if able else ""
    return TOLD[len(able)].format(model=name[:1].lower() + name[1:])


def _found(test: pd.Series) -> str:
    if pd.isna(test["difference"]):
        return NOT_COMPARED.format(note=test["note"])
    by, surely = test["difference"], test["low"] > 0 or test["high"] < 0
    ends = {"low": test["low"], "high": test["high"], "p": performance.p_value(test["p"])}
    return FOUND[surely].format(by=abs(by), way="above" if by > 0 else "below", **ends)


def _areas(means: pd.DataFrame) -> list[Area]:
    """Forest, network, and the brightness of the muscle alone; of ``fold_mean_auc``, by model."""
    papers = {
        FOREST: published.claim("results 3", "RF mean AUC"),
        NETWORK: published.claim("results 3", "DCNN mean AUC"),
    }
    shown = [model for model in MODELS if model in means.index and model != "clinical"]
    areas = []
    for model, row in means.loc[shown].to_dict("index").items():
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        areas.append(Area(label(str(model)), f"{row['mean']:.2f}", interval, papers.get(str(model), "")))
    return areas


def _can_show(segments: pd.DataFrame, reference: float) -> list[str]:
    try:
        shown = clinical.detectable(segments, max(0.5, reference), clinical.design_effects(segments))
    except InputError:
        return []
    row = shown.query("segments_are == 'as alike as the labels' and correlation == '0.5'").iloc[0]
    return [] if row["note"] else [CAN_SHOW.format(above=row["above"])]


def _again(chance: pd.DataFrame) -> Iterator[str]:
    """How far training again moved the AUCs; of ``study.chance``."""
    for row in chance[chance["trained"] > 1].to_dict("records"):
        yield AGAIN.format(**{**row, "model": label(row["model"])})
    once = [label(model) for model in chance.loc[chance["trained"] == 1, "model"]]
    if once:
        yield ONCE.format(models=" and ".join(once))


def _checks(study: Study, records: Mapping[str, Record]) -> Iterator[tuple[bool, str]]:
    people = study.cohort.segments["participant_id"].to_numpy()
    apart = not any(set(people[fold.train]) & set(people[fold.test]) for fold in study.folds)
    yield apart, APART if apart else NOT_APART
    yield True, FROZEN
    tables, made = study.folder / "tables", study.artifacts / "dcnn_made.csv"
    if made.exists():
        yield True, STARTED.format(weights="; ".join(pd.read_csv(made)["weights"].unique()))
    if (kept := tables / "dcnn_kept_epochs.csv").exists() and "learnt" in (table := pd.read_csv(kept)):
        bad = table.loc[~table["learnt"], "fold"]
        yield bad.empty, LEARNT[bad.empty].format(folds=len(table), names=", ".join(map(str, bad)))
    if (measured := tables / "quality.csv").exists():
        flags = pd.read_csv(measured)["flags"].notna()
        yield not flags.any(), FLAGGED.format(flagged=flags.sum(), volumes=len(flags))
    # On a page of a run that goes on, those that are still to come have not ended either.
    ended = {step for step, record in records.items() if record.status == "done"}
    failed = [step.replace("_", " ") for step in chosen(bool(study.profile.external)) if step not in ended]
    yield not failed, RAN[not failed].format(names=", ".join(failed))
