"""A study as a notebook opens it: it shows what it makes, says what will take long, and tries settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

from mflib.base.errors import InputError
from mflib.base.language import tell
from mflib.base.settings import flat, merged
from mflib.base.words import label
from mflib.models import forest
from mflib.models.dcnn.settings import MODEL
from mflib.show import charts, shown
from mflib.show.shown import Alive, Shown
from mflib.stats import performance
from mflib.study import profile as profiles
from mflib.study import run
from mflib.study.explore import Explore

# Seconds from which on a cell says beforehand that it takes long; a tag says it where no report has measured.
LONG_S, LONG = 20.0, "long"
TOOK = "This cell took {seconds:.0f} s when the report was made. What that has computed is read again."
TAKES = "This cell computes for a while. Minutes of the whole notebook: {minutes}."
NO_LIST = "vary: found {name} {value!r}, expected a list of what to try, such as {{'forest': {{'trees': [50, 500]}}}}"
NOTHING = "vary: found {settings!r} of the model {model!r}, expected settings by name, and {models} or no model"
TRYING = "{n} settings of the {model}, {there} of them computed before. {each}"
EACH = "Each took {seconds:.0f} s with the report's settings."
UNKNOWN = "How long one takes is not known before a report was made here."
# While a chart's slider has the focus, the arrow keys are its own, and no cell of JupyterLab's is moved or opened.
KEYS = (
    '<script>addEventListener("focusin", ({ target }) => target.closest(".vega-bindings") && '
    'target.setAttribute("data-lm-suppress-shortcuts", "true"))</script>'
)
OWN = "as it is"
VARIED = "What another setting changes. Differences are to the first row, on the same segments; P is unadjusted."
CAPTION = "Mean of the folds' AUCs with its 95 % interval, patients as units; the pooled AUC as a diamond."
# The cell that computes each model.
CELLS = {forest.NAME: ("03_random_forest", "forest"), MODEL: ("04_dcnn", "training")}


@dataclass(frozen=True, eq=False)
class Study(run.Study):
    """A run that a notebook has opened with its four parameters; see ``run.Study`` for what it computes and keeps."""

    def __post_init__(self) -> None:
        """From now on, say what takes long; a report has nobody who waits for it."""
        shown.speak()
        shell = get_ipython()
        if shell is None or profiles.written_by_report(self.folder):
            return
        before = shell.events.callbacks["pre_run_cell"]
        for old in [one for one in before if isinstance(one, _Forecast)]:
            shell.events.unregister("pre_run_cell", old)
        shell.events.register("pre_run_cell", _Forecast(self._expected(profiles.notebook())))

    def _expected(self, step: str) -> dict[str, str]:
        """What to say before which cell of a notebook."""
        if took := self._took(step):
            return {cell: TOOK.format(seconds=seconds) for cell, seconds in took.items() if seconds >= LONG_S}
        path = profiles.PROFILES.parent / f"{step}.ipynb"
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
        minutes = re.search(r"\*\*Minutes\.\*\* (.+?)\.?\n", "".join(cells[0]["source"]) if cells else "")
        said = TAKES.format(minutes=minutes[1] if minutes else "not measured")
        return {cell["id"]: said for cell in cells if LONG in cell["metadata"].get("tags", [])}

    def _took(self, step: str) -> dict[str, float]:
        """Seconds of each cell of a notebook when the report was made; empty where it was not."""
        path = profiles.report_folder(self.name, self.profile) / "notebooks" / f"{step}.ipynb"
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
        return {cell["id"]: cell["metadata"].get("papermill", {}).get("duration") or 0.0 for cell in cells}

    def _repr_html_(self) -> str:
        """The settings that this notebook uses, what is otherwise in them, and where its results go."""
        used = profiles.made_from(self.profile, profiles.notebook())
        return shown.settings_html(str(self), flat(used), flat(self.changes)) + KEYS

    def figure(self, plot: Figure, name: str, *, caption: str) -> Shown:
        """Keep a figure as SVG and PNG in ``figures/`` and show it; see ``shown.figure``."""
        return shown.figure(plot, self.folder / "figures", name, caption=caption)

    def chart(self, drawn: Mapping[str, Any], *, caption: str) -> Alive:
        """Keep the picture of a chart in ``figures/`` and show the chart; see ``shown.chart``."""
        return shown.chart(drawn, self.folder / "figures", caption=caption)

    def table(self, frame: pd.DataFrame, name: str, *, caption: str, needs: str = "") -> Shown:
        """Keep a table as CSV in ``tables/`` and show it, see ``shown.table``; what is simulated is called so."""
        if self.cohort.synthetic:
            frame = frame.replace("ours", "simulated").rename(
                columns=lambda name: re.sub(r"\bours\b", "simulated", name)
            )
        return shown.table(frame, self.folder / "tables", name, caption=caption, needs=needs)

    @property
    def explore(self) -> Explore:
        """What answers while one turns it: gain, GLCM, region, pair, saliency, patient; see ``study.explore``."""
        return Explore(self)

    def vary(self, settings: Mapping[str, Any], model: str = "") -> Varied:
        """Other settings beside this study's own: the AUC of each, and how far it lies from the own one.

        Every combination is computed on what is cached already, in a folder of its own in the playground, and kept: a
        second call only reads.

        Parameters
        ----------
        settings : nested as ``changes``, a list of what to try for each, such as ``{"forest": {"trees": [50, 500]}}``
        model : "random_forest" or "dcnn"; the network where one of its own settings is tried, else the forest

        Raises
        ------
        InputError
            A setting without a list, or one that cannot be; before anything is computed.
        """
        named = flat(settings) if isinstance(settings, Mapping) else {}
        if not named or model not in ("", *CELLS):
            raise InputError(NOTHING.format(settings=settings, model=model, models=" or ".join(CELLS)))
        for name, values in named.items():
            if not isinstance(values, list | tuple) or not values:
                raise InputError(NO_LIST.format(name=name, value=values))
        tried = [dict(zip(named, values, strict=True)) for values in product(*named.values())]
        model = model or (MODEL if any(name.startswith("network") for name in named) else forest.NAME)
        studies = {OWN: self} | {_name(changes): self._otherwise(changes) for changes in tried}
        there = sum(not study.fitting(f"predictions_{model}").empty for study in studies.values())
        seconds = self._took(CELLS[model][0]).get(CELLS[model][1], 0.0)
        each = EACH.format(seconds=seconds) if seconds else UNKNOWN
        tell(TRYING.format(n=len(studies), model=label(model), there=there, each=each))
        tables = []
        for name, study in studies.items():
            # What one has computed on its way, the next one finds.
            profiles.borrow(self.artifacts, study.artifacts)
            tables.append(study.predicted(model).assign(model=name))
            profiles.borrow(study.artifacts, self.artifacts)
        together = pd.concat(tables, ignore_index=True)
        return Varied(self, performance.variants(together[together["repeat"] == 0], OWN), together)

    def _otherwise(self, changes: Mapping[str, Any]) -> Study:
        """The study with changes, in a folder of its own; never in the report's run."""
        values = asdict(self.profile)
        for group in ("forest", "network"):
            del values[group]["seed"]
        # One cross-validation each: the others say how far chance goes, not what a setting does.
        chosen = profiles.settled(merged(values, {"forest.repeats": 1, **changes}), self.name)
        changes = {**flat(self.changes), **changes}
        base = self.folder.parent if self.changes else self.folder
        if profiles.written_by_report(base):
            base = profiles.playground(base)
        return replace(self, profile=chosen, changes=changes, folder=profiles.variant(base, changes))


def _name(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items())


@dataclass(frozen=True)
class _Forecast:
    """Called before a cell runs."""

    said: Mapping[str, str]

    def __call__(self, info: Any) -> None:
        """Say how long it takes, where that is long."""
        if said := self.said.get(getattr(info, "cell_id", "") or ""):
            tell(said)


@dataclass(frozen=True, eq=False)
class Varied:
    """What other settings gave; a notebook shows it as a chart and a table.

    Parameters
    ----------
    study : whose settings were tried
    table : of ``performance.variants``
    predictions : the predictions table, each setting as a model
    """

    study: Study
    table: pd.DataFrame
    predictions: pd.DataFrame

    def _ipython_display_(self) -> None:
        chart = charts.comparisons(self.table, "variants")
        readable = performance.variants_for_reader(self.table, "setting")
        display(self.study.chart(chart, caption=CAPTION), self.study.table(readable, "variants", caption=VARIED))
