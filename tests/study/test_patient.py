"""The page of a patient: built from assessments made by hand, read as text and in a real browser without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from mflib.data import preprocess
from mflib.data.volume import Annotation, Volume
from mflib.study import patient, predict, volumes
from mflib.study.applicability import Applicability
from mflib.study.learnt import Trained
from mflib.study.predict import Assessment, ModelResult, Models

ANNOTATION = Annotation((5, 6, 9), (5, 22, 9), (14, 10, 4), (20, 16, 10))
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def models(**changes: Any) -> Models:
    quality = [("random_forest", 0.72, 0.66, 0.78, 0.61, 0.74), ("dcnn", 0.66, np.nan, np.nan, 0.5, 0.7)]
    columns = ["model", "auc", "low", "high", "sensitivity", "specificity"]
    values: dict[str, Any] = {
        "cohort": Trained("Synthetic lumbar multifidus ultrasound", synthetic=True),
        "profile": {"Split": "by patient", "Folds": "5", "Training segments": "96"},
        "commit": "0" * 40,
        "performance": pd.DataFrame(quality, columns=columns).assign(segments=96, patients=12),
        "versions": {"mflib": "1.0", "torch": "2.13.0"},
        "files": {"random_forest_fold-1.safetensors": "a" * 64},
        "run": Path("run"),
    }
    # What scores a volume, which a page has no need of.
    scoring = ("forests", "networks", "preprocessing", "texture", "network", "calibrations", "seen")
    values |= dict.fromkeys(scoring)
    return Models(**values | changes)


def assessment(
    name: str, verdict: str = "inside", called: int = 1, size: tuple[int, int, int] = (60, 48, 24)
) -> Assessment:
    voxels = np.random.default_rng(2).integers(1, 200, size).astype(np.uint8)
    voxels[3:9, 4:8], voxels[3:9, 8:] = 215, 18
    sidecar = {"DynamicRangeDB": 55, "PatientName": "Rossi^Maria", "ProbeModel": "XL14-3", "SpinalLevel": "L45"}
    volume = Volume(voxels, (0.4, 0.4, 0.5), sidecar)
    features = pd.DataFrame(
        [
            ("glcm_64_5_1.-1.0_contrast", 9.0, 1.0, 3.0, 3.0, verdict != "inside"),
            ("nakagami_m", 0.5, 0.3, 0.9, 0.0, False),
        ],
        columns=["feature", "value", "low", "high", "beyond", "outside"],
    )
    reasons = ("The texture lies 9.1 from the training segments.",) if verdict != "inside" else ()
    saliency = np.linspace(0, 1, 20 * 16 * 10, dtype=np.float32).reshape(ANNOTATION.roi_size)
    return Assessment(
        name,
        volume,
        ANNOTATION,
        preprocess.region(volume, ANNOTATION, preprocess.GainSettings()),
        {
            "random_forest": ModelResult("random_forest", 0.613, 0.452, 4, 5, called, 0.71, 0.58, 0.81, "A note."),
            "dcnn": ModelResult("dcnn", 0.3, 0.5, 5, 5, 0, None, None, None, "No probability: a reason."),
        },
        Applicability(cast(Any, verdict), 9.1, 99.0, reasons, features),
        saliency,
        ("The dynamic range is assumed.",),
    )


def names(participant: str) -> list[str]:
    return [f"{participant}_level-{level}_lat-{lat}_bmode" for level in ("L45", "L34") for lat in "RL"]


def test_a_patient_has_a_page_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    found = [assessment(name) for name in [*names("sub-002")[:1], *names("sub-001")]]
    paths = patient.write(models(), found, tmp_path / "one")
    assert [path.name for path in paths] == ["sub-001.html", "sub-002.html"]
    again = patient.write(models(), found[::-1], tmp_path / "two")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    soup = BeautifulSoup(paths[0].read_text(), "html.parser")
    assert [h.get_text() for h in soup.select("section.volume h2")] == [
        "L34 left",
        "L34 right",
        "L45 left",
        "L45 right",
    ]
    assert "sub-002" not in soup.get_text()
    for link in soup.select(".grid a"):
        assert soup.find(id=link["href"][1:]) is not None
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))


def test_a_page_says_what_the_models_say(tmp_path: Path) -> None:
    (path,) = patient.write(models(), [assessment("sub-001_level-L45_lat-L_bmode")], tmp_path)
    soup = BeautifulSoup(path.read_text(), "html.parser")
    assert not soup.select(".grid")  # one volume needs no summary
    rows = [[cell.get_text() for cell in row.select("th, td")] for row in soup.select("section.volume table tr")[1:3]]
    assert rows == [
        ["Random forest", "infiltration", "0.71 [0.58, 0.81]", "0.613", "0.452", "4 of 5", "0.72 [0.66, 0.78]"],
        ["3D network", "no infiltration", "n/a", "0.300", "0.500", "5 of 5", "0.66"],
    ]
    text = soup.get_text()
    assert "they disagree" in text and "No probability: a reason." in text
    assert predict.RESEARCH in text and predict.INTERVAL in text and "SYNTHETIC" in text and "XL14-3" in text
    assert "The dynamic range is assumed." in text
    # Of a sidecar nothing but technical fields.
    assert "Rossi" not in path.read_text() and "PatientName" not in path.read_text()
    (real,) = patient.write(
        models(cohort=Trained("Clinic", synthetic=False)), [assessment("sub-001_level-L45_lat-L_bmode")], tmp_path
    )
    assert "SYNTHETIC" not in real.read_text()


def test_outside_is_said_first_and_strikes_the_results(tmp_path: Path) -> None:
    found = [assessment(names("sub-001")[0], "outside"), assessment(names("sub-001")[1], "at the edge")]
    (path,) = patient.write(models(), found, tmp_path)
    soup = BeautifulSoup(path.read_text(), "html.parser")
    edge, outside = soup.select("section.volume")
    text = outside.get_text()
    assert text.index("Outside what the models have seen") < text.index("not to be read") < text.index("0.613")
    assert all(cell.find("s") for cell in outside.select("table.withheld td")[:5])
    assert "GLCM contrast, 64 levels, step 5, lateral \u2212 depth" in text and "above, by 300 % of the range" in text
    assert "Saliency:" not in text and "Saliency:" in edge.get_text()
    assert not edge.select("s") and "At the edge of what the models have seen" in edge.get_text()
    cell = next(cell for cell in soup.select(".grid td") if "Outside" in cell.get_text())
    assert "No result to read." in cell.get_text() and "infiltration" not in cell.get_text()


def test_hostile_names_stay_text_and_stay_in_the_folder(tmp_path: Path) -> None:
    hostile = ["../../up", HOSTILE, ".hidden", "a b", "a_b", "A_B", "\u75c5\u4eba"]
    found = [assessment(name) for name in hostile]
    plain = patient.write(models(), [assessment("plain")], tmp_path / "plain")[0].read_text().count("<script")
    paths = patient.write(
        models(cohort=Trained(HOSTILE, synthetic=True), profile={HOSTILE: HOSTILE}), found, tmp_path / "pages"
    )
    assert sorted(tmp_path.rglob("*.html")) == sorted([*paths, tmp_path / "plain" / "plain.html"])
    assert len({path.name.casefold() for path in paths}) == len(hostile)
    assert all(re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]*\.html", path.name) for path in paths)
    for path in paths:
        assert path.read_text().count("<script") == plain and "<img src=x" not in path.read_text()


def test_the_viewer_gets_the_part_around_the_annotation() -> None:
    large = assessment("x", size=(140, 90, 60))
    part, moved = volumes.cropped(large.volume, large.annotation)
    assert part.voxels.size < 0.2 * large.volume.voxels.size
    assert np.array_equal(part.voxels[moved.roi], large.volume.voxels[large.annotation.roi])
    for own, of_part in ((large.annotation.bone, moved.bone), (large.annotation.shadow, moved.shadow)):
        assert part.voxels[of_part] == large.volume.voxels[own]
        assert np.subtract(own, of_part).tolist() == np.subtract(large.annotation.roi_start, moved.roi_start).tolist()
    small = Volume(large.volume.voxels[:36, :28, :16], large.volume.spacing_mm)
    assert volumes.cropped(small, ANNOTATION) == (small, ANNOTATION)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_opens_offline(chromium: Any, tmp_path: Path, width: int, scheme: str) -> None:
    verdicts = ["inside", "outside", "at the edge", "inside"]
    found = [assessment(name, verdict) for name, verdict in zip(names("sub-001"), verdicts, strict=True)]
    (path,) = patient.write(models(), found, tmp_path)
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    tab, seen = context.new_page(), []
    tab.on("request", lambda request: seen.append(request.url))
    tab.on("console", lambda message: seen.append(message.text))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.goto(path.as_uri())
    tab.wait_for_selector(".mflib-view-running")
    tab.wait_for_function("document.querySelectorAll('.mflib-view-running').length === 4")
    assert [line for line in seen if not line.startswith("data:") and line != path.as_uri()] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # The banner is there before and after scrolling, and on paper.
    tab.evaluate("window.scrollTo(0, 2000)")
    assert 0 <= tab.locator(".banner").bounding_box()["y"] < 5
    tab.emulate_media(media="print")
    assert tab.locator(".banner").is_visible() and tab.locator(".mflib-view-still").first.is_visible()
    context.close()
