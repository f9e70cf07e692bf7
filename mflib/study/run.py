"""A run of the study: its profile, its folder, and what it keeps there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base import files, words
from mflib.base.errors import InputError, RunError
from mflib.base.files import ROOT
from mflib.base.language import tell
from mflib.base.settings import flat
from mflib.base.words import KEY, label
from mflib.data import cohort as cohorts
from mflib.data import phantom, preprocess, quality
from mflib.data.cohort import Cohort
from mflib.data.preprocess import GainSettings, Region
from mflib.data.quality import Quality
from mflib.models import folds as splits
from mflib.models import forest
from mflib.models.dcnn.inputs import Source
from mflib.models.folds import Fold, Split
from mflib.models.texture import bank, robustness
from mflib.models.texture.bank import TextureSettings
from mflib.show.figures.texture import Example
from mflib.stats import performance
from mflib.stats.performance.predictions import COLUMNS, PROBABILITY
from mflib.study import kept
from mflib.study import profile as profiles
from mflib.study.compare import read_one
from mflib.study.profile import Profile, chosen_by_hand

if TYPE_CHECKING:
    from mflib.models.dcnn.comparisons import ComparisonsResult
    from mflib.models.dcnn.training import NetworkResult, Watch


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, or as Parquet where the name ends so, whole or not at all."""
    with files.replacing(path) as partial:
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            table.to_csv(partial, index=False)


COMPARISONS = "dcnn_comparisons"
LEFT_OUT = "{table} is left out: {why}"


@dataclass(frozen=True, eq=False)
class Study:
    """A run: the cohort seen through a profile, and the folder that its results go to.

    Parameters
    ----------
    profile : every choice of the run
    name : what the profile is called
    folder : where results go
    changes : what is otherwise than in the profile
    """

    profile: Profile
    name: str
    folder: Path
    changes: Mapping[str, Any]

    @classmethod
    def open(
        cls, profile: str = "quick", cohort: str = "", run: str = "", changes: Mapping[str, Any] | None = None
    ) -> Study:
        """The study that a notebook's four parameters describe; everything about the settings is checked here.

        Parameters
        ----------
        profile : a name in ``notebooks/profiles``, or the path of a YAML file
        cohort : a cohort folder, relative to the repository; empty for that of ``make lab COHORT=``, else the profile's
        run : folder for the results, relative to the repository; empty for a playground beside the report's run, which
            begins with what the run has computed already. Settings that are otherwise get a folder of their own in it
        changes : nested settings that are to be otherwise, such as ``{"split": "segment", "forest": {"trees": 100}}``

        Raises
        ------
        InputError
            Settings that are unknown or cannot be; or a folder that is a report's run, into which only ``mflib report``
            writes. The message has two lines.
        """
        chosen, changes = chosen_by_hand(profile, cohort, changes), dict(changes or {})
        name = Path(profile).stem
        report = profiles.report_folder(name, chosen)
        folder = ROOT / run if run else profiles.playground(report)
        if not profiles.written_by_report(folder):
            folder = profiles.variant(folder, changes)
        return cls(chosen, name, folder.resolve(), changes)

    def __str__(self) -> str:
        """What it is in one line: profile, cohort, what is otherwise, and where its results go."""
        profile, where = self.profile, self.folder
        where = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where
        who = f"Profile {self.name} on {profile.cohort_folder.name}: folds by {profile.split}, seed {profile.seed}"
        otherwise = ", ".join(f"{name} {value}" for name, value in flat(self.changes).items())
        return f"{who}. Otherwise than in the profile: {otherwise or 'nothing'}. Results go to {where}."

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort; raises ``CohortError`` with every fault of its tables and headers."""
        return cohorts.load(self.profile.cohort_folder)

    @cached_property
    def external(self) -> Cohort:
        """The second cohort, which the models only predict; raises ``CohortError`` with every fault of it.

        Raises
        ------
        RunError
            The run has none.
        """
        if self.profile.external_folder is None:
            raise RunError(
                "found no external cohort, expected one: give mflib report --external, or the setting external"
            )
        return cohorts.load(self.profile.external_folder)

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds of the run, the same for every model; raises ``InputError`` where the cohort is too small."""
        return self._divided(0)

    @cached_property
    def repeated_folds(self) -> list[Fold]:
        """The folds of the run, and those of the forest's further repeats."""
        further = range(1, self.profile.forest.repeats)
        return [*self.folds, *(fold for repeat in further for fold in self._divided(repeat))]

    def check_folds(self) -> None:
        """Refuse a cohort that is too small for the folds, or for the forest's inner folds, before any work.

        Raises
        ------
        InputError
            With what was found and what is needed.
        """
        labels, patients = self._labels_and_patients
        for fold in self.repeated_folds:
            rows, profile, settings = fold.train, self.profile, self.profile.forest
            try:
                splits.inner(labels[rows], patients[rows], settings.inner_folds, settings.seed)
            except InputError as error:
                advised = splits.advice(labels, patients, profile.n_folds, profile.split, profile.seed, fold.repeat)
                raise InputError(f"{error} {advised}") from error

    def folds_by(self, split: Split) -> list[Fold]:
        """The folds of the run, or those that it would have with the other split."""
        return self.folds if split == self.profile.split else self._divided(0, split)

    def _divided(self, repeat: int, split: Split | None = None) -> list[Fold]:
        profile, split = self.profile, split or self.profile.split
        labels, patients = self._labels_and_patients
        return splits.make(labels, patients, n_folds=profile.n_folds, split=split, seed=profile.seed, repeat=repeat)

    @property
    def _labels_and_patients(self) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        return self.labels.to_numpy(), self.cohort.segments["participant_id"].to_numpy()

    def region(self, segment: Mapping[str, Any]) -> Region:
        """The gain-normalised region of interest of one row of the cohort's segments."""
        cohort = self.cohort
        return preprocess.region(cohort.volume(segment), cohort.annotation(segment), self.profile.preprocessing)

    def typical(self) -> list[dict[str, Any]]:
        """For each grade, lowest first, the row of the segments whose features lie nearest to the medians of the grade.

        Features are compared by their ranks, so that none counts more for its scale.
        """
        grades = self.cohort.segments["grade"]
        ranks = self.texture[[name for name in bank.EXAMPLES if name in self.texture]].rank()
        away = (ranks - ranks.groupby(grades).transform("median")).abs().sum(axis=1)
        return self.cohort.segments.loc[away.groupby(grades).idxmin()].to_dict("records")

    def example(self, segment: Mapping[str, Any]) -> Example:
        """One row of the segments, to be drawn: its whole volume, gain-normalised, and what is marked in it."""
        volume, marks = self.cohort.volume(segment), self.cohort.annotation(segment)
        references = preprocess.region(volume, marks, self.profile.preprocessing).references
        voxels = preprocess.normalise_gain(volume.voxels, references, self.profile.preprocessing)
        muscle = (phantom.tissues(self.cohort.root, segment) or {}).get("multifidus")
        label = f"grade {segment['grade']}, {words.place(segment)}"
        return Example(label, replace(volume, voxels=voxels), marks, muscle)

    def pictures(self, rows: pd.DataFrame) -> list[NDArray[np.uint8]]:
        """The middle transverse plane (lateral, depth) of each row's gain-normalised region; rows name KEY."""
        segments = rows[KEY].merge(self.cohort.segments, on=KEY, validate="many_to_one").to_dict("records")
        regions = [self.region({str(name): value for name, value in segment.items()}) for segment in segments]
        return [region.voxels[:, :, region.voxels.shape[2] // 2] for region in regions]

    @cached_property
    def quality(self) -> Quality:
        """How every volume of the cohort folder was recorded, those that are not analysed too."""
        return quality.measure(cohorts.read_folder(self.profile.cohort_folder), self.profile.preprocessing)

    @cached_property
    def texture(self) -> pd.DataFrame:
        """The texture table of the cohort; computed where it is not in the cache yet."""
        return bank.extract(*self._measured, self.artifacts / "cache", **self._computed_by)

    @cached_property
    def perturbed(self) -> robustness.Perturbed:
        """The texture of one segment per patient with gain, region and points moved; kept as the texture is."""
        moved, cache = self.profile.robustness, self.artifacts / "cache"
        return robustness.measure(*self._measured, moved, cache, **self._computed_by)

    @cached_property
    def by_voxel_size(self) -> pd.DataFrame:
        """How closely features follow the voxel size, as recorded and at one size; kept as the texture is."""
        return robustness.by_voxel_size(*self._measured, self.texture, self.artifacts / "cache", **self._computed_by)

    @property
    def _measured(self) -> tuple[Cohort, GainSettings, TextureSettings]:
        """Whose texture, and how."""
        return self.cohort, self.profile.preprocessing, self.profile.texture

    @cached_property
    def forest(self) -> forest.ForestResult:
        """The forest of every fold of every repeat."""
        return forest.out_of_fold(
            self.texture,
            self.labels.to_numpy(),
            self.repeated_folds,
            self.profile.forest,
            perturbed=self.perturbed.table if self.profile.forest.minimum_icc else None,
            **self._computed_by,
        )

    def network(self, watch: Watch = lambda history: None) -> NetworkResult:
        """The network of every fold: trained, or frozen with a fitted head, as the profile says.

        Parameters
        ----------
        watch : called with the history so far whenever an epoch has ended
        """
        return self._network(self.cohort, self.folds, watch=watch)

    def network_on_shuffled_labels(self, fold: Fold) -> NetworkResult:
        """The network of one fold, trained on labels that were shuffled inside its training and its validation part."""
        segments, rng = self.cohort.segments, np.random.default_rng(self.profile.seed)
        labels = segments["label"].to_numpy().copy()
        for part in (fold.train, fold.validation):
            labels[part] = rng.permutation(labels[part])
        cohort = replace(self.cohort, segments=segments.assign(label=labels))
        return self._network(cohort, [fold], place="shuffled-labels")

    def _network(self, cohort: Cohort, folds: Sequence[Fold], place: str = "", **options: Any) -> NetworkResult:
        # Importing torch takes seconds, which a notebook without a network need not wait; so below.
        from mflib.models.dcnn import training, transfer

        source, settings = self._source(cohort), self.profile.network
        if settings.frozen:
            return transfer.out_of_fold(source, folds, settings, place=place)
        scheduler = self.profile.scheduler
        return training.out_of_fold(source, folds, settings, place=place, scheduler=scheduler, **options)

    def _source(self, cohort: Cohort) -> Source:
        return Source(cohort, self.profile.preprocessing, self.artifacts / "dcnn")

    def keep_forest(self) -> None:
        """Keep the forests of the first repeat for new volumes; see ``kept.keep_forest``."""
        kept.keep_forest(self.forest, self.texture, self.cohort, self.profile, self.artifacts)

    def keep_network(self, result: NetworkResult) -> None:
        """Keep the networks of all folds for new volumes; see ``kept.keep_network``."""
        kept.keep_network(result, self.cohort, self.profile, self.artifacts)

    def network_comparisons(self, own: pd.DataFrame) -> ComparisonsResult:
        """The network with one thing done otherwise at a time, beside the study's own predictions."""
        from mflib.models.dcnn import comparisons

        profile, source = self.profile, self._source(self.cohort)
        asked, scheduler = profile.comparisons, profile.scheduler
        return comparisons.run(source, self.folds_by, profile.network, profile.split, asked, own, scheduler=scheduler)

    @property
    def _computed_by(self) -> dict[str, Any]:
        """Who does the heavy work: all cores of this machine, or the workers of a cluster."""
        return {"workers": joblib.cpu_count(), "scheduler": self.profile.scheduler}

    @cached_property
    def artifacts(self) -> Path:
        """Folder of splits, texture table, predictions, models and checkpoints.

        A playground begins with what the report's run has computed: the same files, which nobody changes in place.
        """
        folder = self.folder / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        for place in self._places[1:]:
            profiles.borrow(place / "artifacts", folder)
        return folder

    @property
    def _places(self) -> list[Path]:
        """Where results that fit these settings may lie: here, in the playground, and in the report's run."""
        report = profiles.report_folder(self.name, self.profile)
        beside = [self.folder.parent] if self.changes else []
        return list(dict.fromkeys([self.folder, *beside, profiles.playground(report), report]))

    def predicted(self, model: str) -> pd.DataFrame:
        """The predictions of one of the study's models: kept ones that fit these settings, else computed and kept."""
        table = self.fitting(f"predictions_{model}")
        if table.empty:
            table = self.forest.predictions if model == forest.NAME else self.network().predictions
            self.keep_predictions(table, model)
        return table

    @property
    def labels(self) -> pd.Series:
        """1 where the MRI shows any infiltration, in the order of the segments."""
        return self.cohort.segments["label"]

    def keep(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table as artifact: ``name`` ends in .csv or .parquet."""
        write_table(table, self.artifacts / name)

    @property
    def segments_with_patients(self) -> pd.DataFrame:
        """The segments with the values of their patient, in the order of the segments."""
        return self.cohort.segments.merge(self.cohort.patients, on="participant_id", validate="many_to_one")

    def fold_sizes(self) -> pd.DataFrame:
        """Segments, those with infiltration, and patients in each part of each fold."""
        parts = splits.table(self.folds, self.cohort.segments[KEY]).merge(self.cohort.segments, on=KEY)
        sizes = parts.groupby(["fold", "part"], sort=False).agg(
            segments=("label", "size"), infiltration=("label", "sum"), patients=("participant_id", "nunique")
        )
        return sizes.reset_index()

    def keep_splits(self) -> None:
        """Keep which segment is in which part of which fold and repeat, as ``splits.csv``."""
        self.keep(splits.table(self.repeated_folds, self.cohort.segments[KEY]), "splits.csv")

    def keep_predictions(self, table: pd.DataFrame, model: str) -> None:
        """Keep the predictions of one of the study's models, and beside them the settings that they follow from."""
        self._keep_with_settings(table, f"predictions_{model}", model)

    def keep_comparisons(self, compared: ComparisonsResult) -> None:
        """Keep what the network with one thing otherwise predicts, and the table of its AUCs."""
        self._keep_with_settings(compared.predictions, COMPARISONS, COMPARISONS)
        self.keep(compared.table, "dcnn_variants.csv")

    def _keep_with_settings(self, table: pd.DataFrame, name: str, made: str) -> None:
        self.keep(table, f"{name}.csv")
        files.write_text(self.artifacts / f"{name}.json", json.dumps(self._made_from(made), indent=2) + "\n")

    def chance(self) -> pd.DataFrame:
        """How far training again moves the AUCs; see ``performance.chance``.

        The forest under other folds, and the network under other seeds where notebook 4 has compared them with these
        settings.
        """
        of_forest, of_network = (self.fitting(name) for name in ("predictions_random_forest", COMPARISONS))
        again = of_network[of_network["model"].str.match(r"dcnn$|seed-\d+$")]
        seeds = again["model"].str.extract(r"(\d+)", expand=False).fillna("0").astype(int)
        both = pd.concat([of_forest, again.assign(model="dcnn", repeat=seeds)], ignore_index=True)
        return performance.chance(performance.validate(both))

    def fitting(self, name: str) -> pd.DataFrame:
        """The table of this name that was made with these settings, without rows where there is none."""
        place = self.place_of(name)
        return pd.DataFrame(columns=[*COLUMNS, PROBABILITY]) if place is None else pd.read_csv(place / f"{name}.csv")

    def place_of(self, name: str) -> Path | None:
        """The artifacts with the table of this name that was made with these settings; None where there are none."""
        paths = [place / "artifacts" / f"{name}.csv" for place in self._places]
        return next((path.parent for path in paths if path.exists() and not self._differs(path)), None)

    def _made_from(self, model: str) -> dict[str, Any]:
        """What the predictions of a model follow from: settings, and the cohort itself."""
        return profiles.made_from(self.profile, model) | {"cohort_sha256": self.cohort.digest()}

    def predictions(self, *needed: str) -> pd.DataFrame:
        """The first repeat of every predictions table that fits these settings: ours, and anybody's.

        Models are compared on the folds that they share, and those are the first repeat's. Tables of the study's models
        are taken from this folder, its playground or the report's run, whichever was made with the same settings;
        anybody's ``predictions_*.csv`` lie in this folder or in the report's run.

        Parameters
        ----------
        needed : models whose tables must be there

        Raises
        ------
        RunError
            A needed model that was never computed with these settings, or a table without the repeat 0.
        """
        found: dict[str, Path] = {}
        unfit: dict[str, str] = {}
        for place in self._places:
            for path in sorted((place / "artifacts").glob("predictions_*.csv")):
                if differs := self._differs(path):
                    unfit.setdefault(path.stem, f"{place.name} has them {differs}")
                else:
                    found.setdefault(path.stem, path)
        missing = [model for model in needed if f"predictions_{model}" not in found]
        if missing:
            said = "; ".join(unfit.get(f"predictions_{model}", "nobody has computed them") for model in missing)
            models = " and ".join(label(model) for model in missing)
            raise RunError(
                f"No predictions of {models} fit the settings of this notebook: {said}.\n"
                f"Run the notebook that makes them with the same profile, cohort and changes, or {self.command}."
            )
        for stem in sorted(unfit.keys() - found.keys()):
            tell(LEFT_OUT.format(table=stem, why=unfit[stem]))
        # What the study made says beside it how; anybody's may have been written in any way.
        ours = {path: path.with_suffix(".json").exists() for path in found.values()}
        tables = {
            path.name: pd.read_csv(path) if ours[path] else read_one(path)[0] for _, path in sorted(found.items())
        }
        first = {name: table[table["repeat"] == 0] if "repeat" in table else table for name, table in tables.items()}
        empty = [name for name, table in first.items() if table.empty]
        if empty:
            raise RunError(f"found no rows of repeat 0 in {', '.join(empty)}, expected the folds of splits.csv")
        return performance.validate(pd.concat(first.values(), ignore_index=True))

    def _differs(self, path: Path) -> str:
        """In what a table's settings differ from this study's; empty where they do not, or where it says nothing."""
        beside = path.with_suffix(".json")
        if not beside.exists():
            return ""
        there = json.loads(beside.read_text(encoding="utf-8"))
        model = path.stem.removeprefix("predictions_")
        here, there = flat(json.loads(json.dumps(self._made_from(model)))), flat(there)
        names = [name for name in here if here[name] != there.get(name)]
        if "cohort_sha256" in names:
            return "of another cohort"
        return " and ".join(f"with {name} {there.get(name)}, not {here[name]}" for name in names[:3])

    @property
    def command(self) -> str:
        """The command that computes everything with these settings."""
        named = {name: value for name, value in flat(self.changes).items() if name != "language"}
        changes = [f"--set {name}={json.dumps(value)}" for name, value in named.items()]
        return " ".join(["mflib report --profile", self.name, *changes])
