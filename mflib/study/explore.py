"""Explorers: what a segment's picture and numbers do while somebody turns gain, offset, region, plane or opacity.

In JupyterLab they answer; in a report, and wherever else no kernel waits, their still picture stands. They are made of
controls, one picture and one text: an output widget, as ``interact`` makes one, now and then keeps papermill waiting
for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from html import escape
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mflib.base import spoken, words
from mflib.base.errors import InputError, RunError
from mflib.base.language import say
from mflib.base.words import AXES, KEY, PLANES, READERS, Plane
from mflib.data import preprocess
from mflib.models.dcnn.settings import MODEL
from mflib.models.texture import bank, glcm, robustness
from mflib.models.texture.bank import TextureSettings
from mflib.show import figures, planes, shown
from mflib.show.figures.saliency import VISIBLE_FROM, Case
from mflib.show.shown import Shown
from mflib.study import kept
from mflib.study import profile as profiles
from mflib.study.run import Study

Segment: TypeAlias = Mapping[str, Any] | pd.Series | tuple[str, str, str]
# What is drawn, the table below it, and what that holds.
Look = tuple[Figure, pd.DataFrame, str]
Draw = Callable[..., Look]
DPI = 120
REFUSED = "Not possible: {why}. The picture is the one before."
NO_SEGMENT = "found no segment {found}, expected a row of study.cohort.segments or a key such as {nearest}"
NO_PATIENT = "found no analysed patient {found!r}, expected one such as {nearest}"
NO_NETWORKS = (
    "No networks of these settings are kept here, so nobody knows where they look.\n"
    "Run notebook 4 (04_dcnn) with the same profile, cohort and changes, or {command}."
)
GAIN = "The middle of the region under another gain. Two reference points take it out, as far as nothing is clipped."
GLCM = "A co-occurrence matrix of {segment}, and where one of its properties lies among all segments."
BANKED = "The six properties, in the voxels of the texture bank, and the same of the segments of its grade."
NOT_BANKED = "The six properties. The texture bank of these settings does not have this combination."
RECORDED = "as recorded, {gain} dB"
REGION = "The region of interest of {segment} moved by hand; bone and shadow stay, and so does the normalisation."
HERE = "Features where it was annotated and here. {said}"
CLEAR, HOLDS = "No reference point lies in it.", "It holds the {marks}: what is measured there is not muscle alone."
PAIR = "Two segments on one scale, gain-normalised, cut at the same share of their regions."
BOTH = "Features of both, gain-normalised."
SALIENCY = "Where the network looked that had not seen {segment}; planes through the most salient voxel."
OUT_OF_FOLD = "What the network of fold {fold} said of it."
CALL = "{probability:.2f}, {called}"
CALLED = ("healthy", "fatty")
PATIENT = "The regions of {patient}. Box: region of interest; circle: bone; diamond: its shadow."
SEGMENTS = "MRI grades of readers, adjudicator and in the end; out-of-fold probabilities and calls; what stands out."
VALUES = "What the cohort's tables say."
TABLES = ("random_forest", "dcnn", "baselines")


@dataclass(frozen=True)
class Control:
    """Something to turn: what stands beside it, its first value, and a range of numbers or values by their names."""

    label: str
    value: Any
    values: range | Mapping[str, Any]

    def widget(self) -> Any:
        """A slider or a list of ipywidgets."""
        # A tenth of a second, which a report need not wait.
        import ipywidgets

        look: dict[str, Any] = {"style": {"description_width": "11em"}, "layout": {"width": "27em"}}
        look |= {"description": say(self.label), "value": self.value}
        if not isinstance(self.values, range):
            return ipywidgets.Dropdown(options=[(say(name), value) for name, value in self.values.items()], **look)
        low, high, step = self.values[0], self.values[-1], self.values.step
        # Of what a mouse drags through, only the end is drawn.
        return ipywidgets.IntSlider(min=low, max=high, step=step, continuous_update=False, **look)


@dataclass(frozen=True, eq=False)
class Explorer(Shown):
    """A picture and a table that follow their controls; its HTML is how it stands still.

    Parameters
    ----------
    name, caption : of the figure and of the table
    controls : by the argument of ``draw`` that each of them gives
    draw : a `Look` for the values of the controls; its ``ValueError`` says why there is none
    alive : whether a widget is made at all; a report has no use for one
    """

    name: str = field(repr=False)
    caption: str = field(repr=False)
    controls: Mapping[str, Control] = field(repr=False)
    draw: Draw = field(repr=False)
    alive: bool = field(repr=False)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What JupyterLab shows in place of the HTML."""
        return {shown.WIDGET: self.widget._repr_mimebundle_()[shown.WIDGET]} if self.alive else {}

    @cached_property
    def widget(self) -> Any:
        """A box of the controls, the picture, and the text below it."""
        import ipywidgets

        turned = {name: one.widget() for name, one in self.controls.items()}
        # Not ipywidgets.Image, which has no words for somebody who cannot see it.
        picture, text = ipywidgets.HTML(), ipywidgets.HTML()

        def redraw(_: Any = None) -> None:
            try:
                plot, table, said = self.draw(**{name: one.value for name, one in turned.items()})
            except ValueError as error:
                told = f'<p role="alert"><strong>{escape(REFUSED.format(why=error))}</strong></p>'
            else:
                # Kept open, so that the text below does not jump while a browser unpacks the picture.
                picture.layout.min_height = f"{round(plot.get_figheight() * 96)}px"
                picture.value = spoken.html(shown.picture_html(plot, shown.png(plot, DPI)), say)
                told = f"<p>{escape(self.caption)}</p>{shown.table_html(table, self.name, said)}"
            text.value = f'<div class="jp-RenderedHTMLCommon">{spoken.html(told, say)}</div>'

        for one in turned.values():
            one.observe(redraw, names="value")
        redraw()
        controls = ipywidgets.HBox(list(turned.values()), layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([controls, picture, text])


@dataclass(frozen=True)
class Explore:
    """The explorers of a study. A segment is a row of ``study.cohort.segments``, or its key.

    Parameters
    ----------
    study : whose cohort, settings and results they show
    """

    study: Study

    def gain(self, segment: Segment) -> Explorer:
        """A segment as if it had been recorded with another gain: as recorded, normalised, and the features of both."""
        row, settings, few = self._row(segment), self.study.profile.preprocessing, self._few
        volume, example = self.study.cohort.volume(row), self.study.example(row)

        def features(gain_db: int) -> pd.DataFrame:
            series = robustness.under_gain(volume, example.annotation, settings, few, bank.EXAMPLES, [gain_db])
            return series.pivot(index="feature", columns="voxels", values="value").loc[series["feature"].unique()]

        before = features(0)

        def draw(gain_db: int) -> Look:
            changed, gain = preprocess.change_gain(volume, gain_db, settings), words.minus(f"{gain_db:+d}")
            references = preprocess.measure_references(changed, example.annotation, settings.patch_mm)
            even = replace(changed, voxels=preprocess.normalise_gain(changed.voxels, references, settings))
            looks = {RECORDED.format(gain=gain): changed, "gain-normalised": even}
            both = [replace(example, label=label, volume=one) for label, one in looks.items()]
            times = {"before": before, "now": features(gain_db)}
            columns = {f"{kind}, {when}": values[kind] for kind in before for when, values in times.items()}
            return figures.outlined(both), pd.DataFrame(columns).reset_index(), str(references)

        controls = {"gain_db": Control("change of gain (dB)", 0, range(-12, 13))}
        return self._made("gain", [row], controls, draw, GAIN)

    def glcm(self, segment: Segment) -> Explorer:
        """One co-occurrence matrix of a segment, its six properties, and where they lie among the segments."""
        row, study = self._row(segment), self.study
        settings, region = study.profile.texture.for_cohort(study.cohort), study.region(row)
        grid, grades = settings.resampled(region.voxels, region.spacing_mm), study.cohort.segments["grade"]

        def draw(levels: int, step: int, direction: glcm.Offset, property: str) -> Look:
            i, j, k = direction
            counts = glcm.matrix(grid, (step * i, step * j, step * k), levels, symmetric=settings.symmetric)
            own = glcm.properties(counts)
            stem = f"glcm_{levels}_{step}_{i}.{j}.{k}_"
            known = study.texture.reindex(columns=[stem + name for name in own.index]).set_axis(own.index, axis=1)
            alike = known[grades == row["grade"]]
            below = (100 * (alike < own).mean()).where(alike.notna().any())
            columns = {"this segment": own, "median of its grade": alike.median(), "below_it_of_its_grade_pct": below}
            table = pd.DataFrame(columns).rename_axis("property").reset_index()
            by_grade = pd.DataFrame({"grade": grades, "value": known[property]}).dropna()
            plot = figures.glcm(counts, by_grade, own[property], words.label(f"glcm_{property}"))
            return plot, table, NOT_BANKED if by_grade.empty else BANKED

        directions = {words.direction("{}.{}.{}".format(*way)): way for way in glcm.DIRECTIONS}
        controls = {
            "levels": Control("grey levels", 64, {str(count): count for count in glcm.LEVELS}),
            "step": Control("step (voxels)", 1, range(1, 1 + glcm.STEPS[-1])),
            "direction": Control("direction", (1, 0, 0), directions),
            "property": Control("property beside it", "contrast", {name: name for name in glcm.PROPERTIES}),
        }
        return self._made("glcm", [row], controls, draw, GLCM.format(segment=words.segment(row)))

    def region(self, segment: Segment) -> Explorer:
        """The region of interest of a segment moved by hand, and its features there."""
        row = self._row(segment)
        example, own = self.study.example(row), self.study.region(row)
        marks, volume = example.annotation, example.volume
        before = self._features(own.voxels, own)

        def draw(size: int, **first: int) -> Look:
            extents = [max(2, round(n * size / 100)) for n in marks.roi_size]
            start = [first[axis] + (n - new) // 2 for axis, n, new in zip(AXES, marks.roi_size, extents, strict=True)]
            here = replace(
                marks, roi_start=(start[0], start[1], start[2]), roi_size=(extents[0], extents[1], extents[2])
            )
            here.check_inside(volume.voxels.shape)
            inside = {name: np.subtract(here.boxes[name][0], start) for name in ("bone", "shadow")}
            held = [name for name, at in inside.items() if ((at >= 0) & (at < extents)).all()]
            now = self._features(np.ascontiguousarray(volume.voxels[here.roi]), own)
            table = pd.DataFrame({"as annotated": before, "here": now}).rename_axis("feature").reset_index()
            said = HOLDS.format(marks=" and the ".join(held)) if held else CLEAR
            return figures.three_planes([replace(example, annotation=here)]), table, HERE.format(said=said)

        reach = np.subtract(volume.voxels.shape, marks.roi_size).tolist()
        places = zip(AXES, marks.roi_start, reach, strict=True)
        controls = {axis: Control(f"{axis} (voxels)", at, range(most + 1)) for axis, at, most in places}
        controls["size"] = Control("size (%)", 100, range(25, 151, 5))
        return self._made("region", [row], controls, draw, REGION.format(segment=words.segment(row)))

    def pair(self, first: Segment | None = None, second: Segment | None = None) -> Explorer:
        """Two segments side by side, of one patient unless both are given: the lowest grade and the highest.

        Without either, of the patient whose grades lie farthest apart.
        """
        segments = self.study.cohort.segments
        gaps = segments.groupby("participant_id")["grade"].agg(np.ptp)
        given = [self._row(one) for one in (first, second) if one is not None]
        patient = given[0]["participant_id"] if given else gaps.idxmax()
        grades = segments[segments["participant_id"] == patient]["grade"]
        ends = [segments.loc[place].to_dict() for place in (grades.idxmin(), grades.idxmax())]
        rows = [end if one is None else self._row(one) for one, end in zip((first, second), ends, strict=True)]
        both, regions = [self.study.example(row) for row in rows], [self.study.region(row) for row in rows]
        features = {words.segment(r): self._features(own.voxels, own) for r, own in zip(rows, regions, strict=True)}
        table = pd.DataFrame(features).rename_axis("feature").reset_index()

        def draw(plane: Plane, at: int) -> Look:
            return figures.outlined(both, plane, at / 100), table, BOTH

        controls = {
            "plane": Control("plane", PLANES[0], {plane[0]: plane for plane in PLANES}),
            "at": Control("through the region (%)", 50, range(0, 101, 5)),
        }
        return self._made("pair", rows, controls, draw, PAIR)

    def saliency(self, segment: Segment) -> Explorer:
        """Where the network looked that had not seen a segment, under a veil that can be lifted.

        Raises
        ------
        RunError
            No networks of these settings are kept; nothing is trained here.
        """
        row = self._row(segment)
        region, (map, call) = self.study.region(row), self._looked(row)
        called = CALLED[int(call["score"] >= call["threshold"])]
        case = Case(f"called {called}, grade {row['grade']}", region.voxels, map, region.spacing_mm)
        table = pd.DataFrame([{"called": called, **call[["score", "threshold", "probability"]], "grade": row["grade"]}])

        def draw(opacity: int, visible_from: int) -> Look:
            plot = figures.saliency_gallery([case], visible_from / 100, opacity / 100)
            return plot, table, OUT_OF_FOLD.format(fold=call["fold"])

        controls = {
            "opacity": Control("opacity (%)", round(100 * planes.OPACITY), range(0, 101, 5)),
            "visible_from": Control("hidden below (%)", round(100 * VISIBLE_FROM), range(0, 96, 5)),
        }
        return self._made("saliency", [row], controls, draw, SALIENCY.format(segment=words.segment(row)))

    def patient(self, participant_id: str) -> Shown:
        """Everything known of one patient: pictures, grades, calls of the models, doubts, clinical values.

        Raises
        ------
        InputError
            No analysed patient has this id.
        """
        study, name = self.study, f"explore-patient-{participant_id}"
        patients = study.cohort.patients.set_index("participant_id", drop=False)
        if participant_id not in patients.index:
            nearest = ", ".join(get_close_matches(str(participant_id), patients.index, n=3, cutoff=0))
            raise InputError(NO_PATIENT.format(found=participant_id, nearest=nearest))
        seen, calls = study.quality.table, self._calls
        seen = seen[seen["participant_id"] == participant_id]
        said = seen[[*KEY, "flags"]].merge(study.cohort.grades, on=KEY, how="left").merge(calls, on=KEY, how="left")
        columns = {reader: f"reader {n}" for n, reader in enumerate(READERS, 1)}
        columns |= {"grade_adjudicator": "adjudicator", "grade_final": "grade"}
        table = said[["level", "lat", *columns, *calls.columns.drop(KEY), "flags"]].rename(columns=columns)
        values = (
            patients.loc[[participant_id]].astype(object).where(lambda one: one.notna(), None).to_dict("records")[0]
        )
        told = [(words.heading(str(name)), *words.cells(str(name), [value])) for name, value in values.items()]
        clinical = pd.DataFrame(told, columns=["of the patient", "value"])
        plot = figures.volume_thumbnails(seen.assign(flags=""), study.quality.thumbnails)
        picture = shown.figure(plot, study.folder / "figures", name, caption=PATIENT.format(patient=participant_id))
        tables = shown.table_html(table, name, SEGMENTS), shown.table_html(clinical, f"{name}-values", VALUES)
        return Shown("".join([picture.html, *tables]))

    @property
    def _few(self) -> TextureSettings:
        """The settings of the bank with their first step only: a change waits for these."""
        settings: TextureSettings = self.study.profile.texture.for_cohort(self.study.cohort)
        return replace(settings, steps=settings.steps[:1])

    def _features(self, voxels: NDArray[np.uint8], own: preprocess.Region) -> pd.Series:
        """A few features of voxels that were recorded and normalised as a region."""
        found = bank.measure(voxels, own.spacing_mm, own.dynamic_range_db, self._few)
        return found[[name for name in bank.EXAMPLES if name in found]]

    def _row(self, segment: Segment) -> dict[str, Any]:
        """The row of the cohort's segments that is meant."""
        segments = self.study.cohort.segments
        known = dict(zip(segments[KEY].itertuples(index=False, name=None), segments.to_dict("records"), strict=True))
        asked = [segment.get(name) for name in KEY] if isinstance(segment, Mapping | pd.Series) else segment
        key = tuple(asked) if isinstance(asked, list | tuple) else (asked,)
        if key not in known:
            (nearest,) = get_close_matches(str(key), map(str, known), n=1, cutoff=0)
            raise InputError(NO_SEGMENT.format(found=key, nearest=nearest))
        return {str(name): value for name, value in known[key].items()}

    @property
    def _calls(self) -> pd.DataFrame:
        """KEY, and a column for each model with what it says of every segment, out of fold."""
        calls = self.study.cohort.segments[KEY]
        tables = pd.concat([self.study.fitting(f"predictions_{name}") for name in TABLES], ignore_index=True)
        for model, rows in tables[tables["repeat"] == 0].groupby("model", sort=False):
            share = rows["probability"].fillna(rows["score"])
            fat = (rows["score"] >= rows["threshold"]).astype(int)
            said = [CALL.format(probability=p, called=CALLED[n]) for p, n in zip(share, fat, strict=True)]
            calls = calls.merge(rows[KEY].assign(**{str(model): said}), on=KEY, how="left")
        return calls

    def _looked(self, row: Mapping[str, Any]) -> tuple[NDArray[np.float32], pd.Series]:
        """The map of a segment by the network that had not seen it, and what that network has said."""
        place = self.study.place_of("predictions_dcnn")
        if place is None or not (place / kept.MANIFESTS[MODEL]).exists():
            raise RunError(NO_NETWORKS.format(command=self.study.command))
        # They bring torch, which takes seconds.
        from mflib.models.dcnn import compute, inputs, saliency
        from mflib.study import learnt

        calls, stored = self.study.fitting("predictions_dcnn"), learnt.read(place, MODEL)
        call, same = (t.set_index(KEY).loc[tuple(row[n] for n in KEY)] for t in (calls, stored.table))
        if not np.isclose(call["score"], same["score"]):
            raise RunError(NO_NETWORKS.format(command=self.study.command))
        fold, settings = next(f for f in stored.folds if f.fold == call["fold"]), learnt.network_settings(stored)
        model = learnt.read_network(fold.file, learnt.read_stored(place, fold.file, fold.sha256), settings)
        cohort = self.study.cohort
        voxels = inputs.made(cohort, row, self.study.profile.preprocessing, settings)
        with compute.reproducible(), compute.rounding(settings):
            coarse = saliency.grad_cam(model, voxels, int(call["score"] >= call["threshold"]))
        return saliency.on_region(coarse, settings, cohort.annotation(row).roi_size, cohort.spacing(row)), call

    def _made(
        self, kind: str, rows: list[dict[str, Any]], controls: Mapping[str, Control], draw: Draw, caption: str
    ) -> Explorer:
        """An explorer of segments, and its picture among the figures of the run."""
        name = "-".join(["explore", kind, *(row[part] for row in rows for part in KEY)])
        plot, table, told = draw(**{argument: one.value for argument, one in controls.items()})
        picture = shown.figure(plot, self.study.folder / "figures", name, caption=caption)
        still = picture.html + shown.table_html(table, name, told)
        alive = not profiles.written_by_report(self.study.folder)
        return Explorer(still, name, caption, controls, draw, alive)
