"""Explorers: their numbers are the library's, they follow what is turned, and nothing waits for a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import numpy as np
import papermill
import pytest
from nbconvert import HTMLExporter

from mflib.base.errors import InputError, RunError
from mflib.base.words import PLANES
from mflib.data import preprocess
from mflib.models.texture import glcm
from mflib.show import shown
from mflib.study.explore import Explorer
from mflib.study.lab import Study
from mflib.study.page import section
from mflib.study.pipeline import Record
from mflib.study.profile import WRITER
from mflib.study.survey import look

KEY = ("sub-003", "L45", "L")


def controls(explorer: Explorer) -> dict[str, Any]:
    """The widgets by the argument that they give."""
    return dict(zip(explorer.controls, explorer.widget.children[0].children, strict=True))


def shown_now(explorer: Explorer) -> tuple[str, str]:
    """The picture and the text."""
    _, picture, text = explorer.widget.children
    return picture.value, text.value


def first(explorer: Explorer, **turned: Any) -> Any:
    """The table for the first values of the controls, or for others."""
    return explorer.draw(**{name: one.value for name, one in explorer.controls.items()} | turned)[1]


def of_bank(study: Study, key: tuple[str, str, str] = KEY) -> Any:
    return study.texture.set_index(["participant_id", "level", "lat"]).loc[key]


@pytest.mark.parametrize("levels", [16, 64])
@pytest.mark.parametrize("direction", [(1, 0, 0), (1, -1, 0), (0, 0, 1)])
def test_a_matrix_has_the_properties_of_the_bank(study: Study, levels: int, direction: glcm.Offset) -> None:
    table = first(study.explore.glcm(KEY), levels=levels, step=3, direction=direction).set_index("property")
    stem = f"glcm_{levels}_3_{'.'.join(map(str, direction))}_"
    known = of_bank(study)[[stem + name for name in glcm.PROPERTIES]].to_numpy(float)
    assert np.array_equal(table["this segment"].to_numpy(), known)
    grade = of_bank_grade(study)
    alike = study.texture[study.cohort.segments["grade"] == grade][f"{stem}contrast"]
    assert table.loc["contrast", "median of its grade"] == alike.median()
    assert table.loc["contrast", "below_it_of_its_grade_pct"] == 100 * (alike < known[0]).mean()


def of_bank_grade(study: Study) -> int:
    return int(study.cohort.segments.set_index(["participant_id", "level", "lat"]).loc[KEY, "grade"])


def test_a_combination_that_is_not_in_the_bank_is_still_shown_and_says_so(study: Study) -> None:
    explorer = study.explore.glcm(KEY)
    _, table, told = explorer.draw(levels=32, step=2, direction=(1, 0, 0), property="contrast")
    assert table["this segment"].notna().all() and table["median of its grade"].isna().all()
    assert table["below_it_of_its_grade_pct"].isna().all() and "does not have this combination" in told


def test_without_a_change_features_are_those_of_the_bank(study: Study) -> None:
    known = of_bank(study)
    here = first(study.explore.region(KEY)).set_index("feature")
    assert len(here) >= 5 and (here["here"] == known[here.index].astype(float)).all()
    gain = first(study.explore.gain(KEY)).set_index("feature")
    assert (gain["gain-normalised, now"] == known[gain.index].astype(float)).all()
    assert (gain["as recorded, before"] == gain["as recorded, now"]).all()


def test_gain_moves_what_is_recorded_and_hardly_what_is_normalised(study: Study) -> None:
    table = first(study.explore.gain(KEY), gain_db=-3).set_index("feature").loc["first_order_mean"]
    segment = study.cohort.segments.iloc[0]
    moved = -3 * 255 / preprocess.recorded_range(study.cohort.volume(segment), study.profile.preprocessing)
    assert table["as recorded, now"] - table["as recorded, before"] == pytest.approx(moved, abs=0.6)
    assert abs(table["gain-normalised, now"] - table["gain-normalised, before"]) < 2


def test_a_turned_control_changes_picture_and_numbers_and_an_error_is_said(study: Study) -> None:
    explorer = study.explore.region(study.cohort.segments.iloc[20])
    before = shown_now(explorer)
    turned = controls(explorer)
    turned["depth"].value -= 1
    after = shown_now(explorer)
    assert before[0] != after[0] and before[1] != after[1] and "data:image/png" in after[0]
    # Half as large again, the region leaves the small volume.
    turned["size"].value = 150
    assert "ROI spans" in shown_now(explorer)[1] and shown_now(explorer)[0] == after[0]
    turned["size"].value = 100
    assert shown_now(explorer) == after


def test_a_reference_point_in_the_region_is_said(study: Study) -> None:
    explorer = study.explore.region(KEY)
    at = {name: one.value for name, one in explorer.controls.items()}
    assert "No reference point" in explorer.draw(**at)[2]
    # The shadow lies at (4, 20, 9), the bone at (4, 6, 9).
    assert "holds the shadow:" in explorer.draw(**(at | {"lateral": 0}))[2]
    assert "holds the bone and the shadow:" in explorer.draw(**(at | {"lateral": 0, "depth": 5}))[2]


def test_a_pair_is_of_one_patient_whose_grades_lie_farthest_apart(study: Study) -> None:
    segments = study.cohort.segments
    explorer = study.explore.pair()
    _, low, high = explorer.draw(plane=PLANES[0], at=50)[1].columns
    gaps = segments.groupby("participant_id")["grade"].agg(lambda grades: grades.max() - grades.min())
    assert low[:7] == high[:7] == gaps.idxmax()
    table = explorer.draw(plane=PLANES[1], at=100)[1].set_index("feature")
    assert len(table) >= 5 and table.notna().all(axis=None)
    given = study.explore.pair(KEY, segments.iloc[0])
    assert list(given.draw(plane=PLANES[2], at=0)[1].columns[1:]) == ["sub-003 L4/5 left", "sub-001 L2/3 left"]


def test_saliency_is_that_of_the_survey(study: Study) -> None:
    survey = look(study, study.network())
    place = study.cohort.segments.index[
        (study.cohort.segments[["participant_id", "level", "lat"]] == list(KEY)).all(axis=1)
    ]
    row = study.cohort.segments.loc[place[0]].to_dict()
    map, call = study.explore._looked(row)
    np.testing.assert_allclose(map, survey._on_region(int(place[0])), rtol=1e-4, atol=1e-6)
    said = survey.calls.iloc[place[0]]
    assert call["fold"] == said["fold"] and call["score"] == pytest.approx(said["score"])
    explorer = study.explore.saliency(KEY)
    lifted, veiled = (shown.png(explorer.draw(opacity=opacity, visible_from=0)[0], 50) for opacity in (0, 80))
    assert lifted != veiled


def test_without_networks_nothing_is_trained(study: Study, tmp_path: Path) -> None:
    other = Study(study.profile, "small", tmp_path, {"seed": 3})
    with pytest.raises(RunError, match="Run notebook 4") as refused:
        other.explore.saliency(KEY)
    assert len(str(refused.value).splitlines()) == 2
    assert not list(tmp_path.rglob("*.pt"))


def test_what_is_known_of_a_patient(study: Study) -> None:
    page = study.explore.patient("sub-003").html
    assert page.count("<table") == 2 and 'id="figure-explore-patient-sub-003"' in page
    assert "Random forest" in page and "3D network" in page and "reader 2" in page and "BMI" in page
    said = study.predictions("dcnn")
    row = said[(said["model"] == "dcnn") & (said[["participant_id", "level", "lat"]] == list(KEY)).all(axis=1)].iloc[0]
    called = "fatty" if row["score"] >= row["threshold"] else "healthy"
    assert f"<td>{row['probability']:.2f}, {called}</td>" in page


def test_what_is_not_there_is_named_with_what_is_near(study: Study) -> None:
    with pytest.raises(InputError, match=r"'sub-33'.*sub-003"):
        study.explore.patient("sub-33")
    for wrong in (("sub-003", "L45", "X"), "sub-003", {"level": "L45"}, 7):
        with pytest.raises(InputError, match=r"such as \('sub-00"):
            study.explore.gain(wrong)  # type: ignore[arg-type]


def test_widgets_are_labelled_and_none_is_an_output(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    explorers = [getattr(study.explore, kind)(KEY) for kind in ("gain", "glcm", "region", "saliency")]
    for explorer in [*explorers, study.explore.pair()]:
        waiting = [explorer.widget]
        while waiting:
            one = waiting.pop()
            assert not isinstance(one, ipywidgets.Output)
            waiting += getattr(one, "children", ())
        assert all(one.description for one in controls(explorer).values())
        assert explorer._repr_mimebundle_().keys() == {shown.WIDGET}
        (name,) = re.findall(r'<figure id="figure-(explore-[\w-]+)">', explorer.html)
        assert (study.folder / "figures" / f"{name}.svg").exists()
    # The kernel of a report makes no widget.
    monkeypatch.setenv(WRITER, str(study.folder))
    assert study.explore.glcm(KEY)._repr_mimebundle_() == {}


CELL = """
study = Study.open("quick", cohort, run, changes)
study.explore.glcm(("sub-003", "L45", "L"))
"""


def test_a_notebook_runs_headless_and_leaves_a_still_picture(study: Study, tmp_path: Path) -> None:
    new = nbformat.v4
    values = {"cohort": str(study.profile.cohort_folder), "run": str(study.folder), "changes": dict(study.changes)}
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    cell = new.new_code_cell("\n".join(["from mflib import Study", *lines, CELL]))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new.new_notebook(cells=[cell]), tmp_path / "in.ipynb")
    path = tmp_path / "notebooks" / "02.ipynb"
    papermill.execute_notebook(tmp_path / "in.ipynb", path, kernel_name="python3", execution_timeout=300)
    done = nbformat.read(path, as_version=4)
    (output,) = [one for one in done.cells[0].outputs if "text/html" in one.get("data", {})]
    assert shown.WIDGET in output.data and 'id="figure-explore-glcm-sub-003-L45-L"' in output.data["text/html"]
    page = section(tmp_path, "02", Record("", "done")).html
    assert "figure-explore-glcm-sub-003-L45-L" in page and "widget" not in page
    # Whoever has no state of the widgets, as GitHub has none, sees the picture too.
    done.metadata.pop("widgets")
    plain, _ = HTMLExporter(template_name="basic").from_notebook_node(done)
    assert 'id="figure-explore-glcm-sub-003-L45-L"' in plain
