"""Every figure is drawn whole, without a warning, with its axes named, and leaves no trace in pyplot."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from mflib.base.errors import InputError
from mflib.base.language import say
from mflib.base.words import KEY, LEVELS, WHOLE_FAMILY
from mflib.data.quality import Quality, Thumbnail
from mflib.data.volume import Annotation, Volume
from mflib.models.texture import glcm, intensity
from mflib.show import figures, shown, style
from mflib.show.figures.saliency import Case
from mflib.show.figures.texture import Example
from mflib.stats import performance

RNG = np.random.default_rng(4)
SEGMENTS = pd.DataFrame([(f"sub-{n:03}", v, s) for n in range(12) for v in LEVELS for s in "LR"], columns=KEY)
SEGMENTS["grade"] = RNG.choice(4, len(SEGMENTS), p=[0.5, 0.25, 0.15, 0.1])
PATIENTS = pd.DataFrame({"bmi": RNG.normal(23, 3, 12), "vas": [*RNG.uniform(1, 8, 11), np.nan]})
VOXELS = np.clip(RNG.rayleigh(40, (30, 28, 12)), 0, 255).astype(np.uint8)
ANNOTATION = Annotation((4, 6, 5), (4, 20, 5), (8, 4, 2), (18, 16, 8))
TEXTURE = SEGMENTS[KEY].assign(glcm_a=RNG.normal(size=96), nakagami_m=RNG.uniform(0.3, 1, 96), mean=SEGMENTS["grade"])
MODELS = ["random_forest", "dcnn", "clinical", "anybodys"]
FLOW = pd.DataFrame(
    {
        "stage": ["screened", "excluded", "excluded", "analysed"],
        "participants": [14, 1, 1, 12],
        "segments": pd.array([None, None, None, 96], dtype="Int64"),
        "reason": [
            "",
            "BMI 28 or more",
            "ultrasound unclear or not complete in at least one of the eight segments",
            "",
        ],
    }
)
HISTORY = pd.DataFrame([(f, e) for f in (1, 2) for e in range(1, 9)], columns=["fold", "epoch"]).assign(
    train_loss=0.6, validation_loss=0.7, validation_auc=RNG.uniform(0.4, 0.8, 16), kept=[n % 8 == 5 for n in range(16)]
)


def predictions():
    tables = [
        SEGMENTS[KEY].assign(
            model=model,
            split="patient",
            repeat=0,
            fold=np.arange(96) // 8 % 5 + 1,
            y_true=(SEGMENTS["grade"] > 0).astype(int),
            score=SEGMENTS["grade"] + RNG.normal(scale=2, size=96),
            threshold=1.0,
        )
        for model in MODELS
    ]
    return pd.concat(tables, ignore_index=True)


def probabilities():
    """The scores of all models but one as if they were probabilities."""
    squeezed = 1 / (1 + np.exp(1 - SCORES["score"]))
    return SCORES.assign(score=squeezed.where(SCORES["model"] != "clinical", SCORES["score"]))


SCORES = predictions()
PEOPLE = pd.DataFrame({"participant_id": SEGMENTS["participant_id"].unique(), "sex": ["F", "M", "F", None] * 3}).assign(
    bmi=PATIENTS["bmi"]
)
COMPARED = pd.DataFrame(
    [
        ("as in the study", 1.0, 29.6, 0.71, 0.63, 0.78, 0.75),
        ("strided instead of dilated", 1.0, 29.6, 0.70, 0.62, 0.77, 0.74),
        ("split by segment", 1.0, 46.0, 0.74, 0.66, 0.80, 0.76),
        ("25 % of the patients", 0.25, 7.4, 0.60, 0.52, 0.68, 0.70),
    ],
    columns=["variant", "share", "patients", "mean", "low", "high", "pooled"],
)
PITFALL = pd.DataFrame(
    [("simulated", c, w, w == "right", RNG.uniform(), "") for c in "ab" for w in ("wrong", "right") for _ in range(5)],
    columns=["data", "case", "way", "right", "value", "note"],
)
CEILINGS = (("simulated", 0.5), ("simulated", 1.0), ("cohort", 0.6), ("cohort", np.nan))
MATRICES = pd.DataFrame(
    [("A", "1", 18, 19, 11, 16, 5), ("A", "2", 22, 12, 9, 21, 0), ("B", "1", 21, 11, 7, 34, 4)],
    columns=["model", "fold", "tp", "fp", "fn", "tn", "fits"],
).assign(n=[64, 64, 73], positives=[29, 31, 28])
FAR = pd.DataFrame({"verdict": ["inside", "at the edge", "outside"] * 8, "distance": np.geomspace(2, 900, 24)})
LOOKED = Thumbnail(VOXELS[:, :, 6].T, (0.3, 0.1, 0.6, 0.5), (0.1, 0.2), (0.1, 0.6))
NUMBERS = np.random.default_rng(5).normal(size=(96, 5)) * (12, 8, 2, 12, 8) + (230, 25, 0, 75, 70)
MEASURED = SEGMENTS.assign(path=[f"{n}.nii.gz" for n in range(96)], status="annotated", site=["north", "south"] * 48)
MEASURED = MEASURED.assign(day=np.arange(96) // 8 * 1.5, flags="")
MEASURED[["bone", "shadow", "gain_db", "roi_mean_raw", "roi_mean"]] = NUMBERS
MEASURED.loc[5:14, "flags"] = (
    "saturated bone (grey 254 > 250); unusual spacing (0.43 x 0.43 x 0.5 mm, mostly 0.4 x 0.4 x 0.5)"
)
QUALITY = Quality(MEASURED, dict.fromkeys(MEASURED["path"][6:], LOOKED), [])
MUSCLE = np.zeros(VOXELS.shape, bool)
MUSCLE[10:20, 5:25] = True
# The second is smaller, its muscle is not known, and nothing in it stands out.
PAIR = [
    Example("grade 0", Volume(VOXELS, (0.4, 0.4, 0.5)), ANNOTATION, MUSCLE),
    Example("grade 3", Volume(np.full_like(VOXELS, 90), (0.3, 0.4, 0.5)), ANNOTATION),
]
PATCH = VOXELS[:6, :5, 0] // 32
COUNTED = glcm.matrix(VOXELS[:6, :5, :1], (1, 0, 0), 8, symmetric=False)
DRAWN = {
    "bland_altman": lambda: figures.bland_altman(
        pd.DataFrame({"mean_first": RNG.normal(75, 9, 20), "mean_second": RNG.normal(76, 9, 20)}), (-3.1, 0.4, 3.9)
    ),
    "bland_altman of none": lambda: figures.bland_altman(pd.DataFrame({"mean_first": [], "mean_second": []}), None),
    "flow_of_patients": lambda: figures.flow_of_patients(FLOW),
    "flow_of_patients and segments": lambda: figures.flow_of_patients(
        pd.concat([FLOW[:3], FLOW[3:].assign(stage="eligible"), FLOW[1:2].assign(participants=0, segments=4), FLOW[3:]])
    ),
    "quality_overview": lambda: figures.quality_overview(QUALITY.table),
    "quality_overview of nothing": lambda: figures.quality_overview(QUALITY.table[:0]),
    "intensity_drift": lambda: figures.intensity_drift(QUALITY.table),
    "intensity_drift without days or sites": lambda: figures.intensity_drift(
        QUALITY.table.assign(day=np.nan, site=pd.Series(dtype="str"))
    ),
    "volume_thumbnails": lambda: figures.volume_thumbnails(QUALITY.worst(5), QUALITY.thumbnails),
    "volume_thumbnails of none": lambda: figures.volume_thumbnails(QUALITY.table[:0], {}),
    "reader_table": lambda: figures.reader_table(pd.DataFrame(np.diag([40, 20, 10, 0]))),
    "outlined": lambda: figures.outlined(PAIR),
    "three_planes": lambda: figures.three_planes(PAIR),
    "cut_open": lambda: figures.cut_open(PAIR),
    "glcm": lambda: figures.glcm(
        RNG.poisson(0.7, (16, 16)), SEGMENTS.assign(value=RNG.normal(60, 20, 96)), 72.5, "GLCM contrast"
    ),
    "glcm that is not in the bank": lambda: figures.glcm(
        np.eye(16, dtype=int), pd.DataFrame({"grade": [], "value": []}), 0.0, "GLCM contrast"
    ),
    "co_occurrence": lambda: figures.co_occurrence(PATCH, (1, 0), COUNTED),
    "under_gain": lambda: figures.under_gain(
        pd.DataFrame(
            [
                (g, kind, f, RNG.normal())
                for g in (-3, 0, 3)
                for kind in ("as recorded", "gain-normalised")
                for f in "abc"
            ],
            columns=["gain_db", "voxels", "feature", "value"],
        )
    ),
    "repeatability": lambda: figures.repeatability(
        pd.DataFrame(
            [
                (p, f, RNG.uniform())
                for p in ("gain", "all")
                for f in ("glcm_8_1_0.0.1_ASM", "glcm_8_2_0.0.1_ASM", "nakagami_m")
            ],
            columns=["perturbation", "feature", "icc"],
        )
    ),
    "nakagami_fit": lambda: figures.nakagami_fit(VOXELS, intensity.fit(VOXELS, 55.0), 55.0),
    "nakagami_fit of grey": lambda: figures.nakagami_fit(VOXELS, intensity.fit(VOXELS, 55.0, input="grey"), None),
    "feature_by_grade": lambda: figures.feature_by_grade(
        TEXTURE, SEGMENTS, ["glcm_a", "nakagami_m", "mean", "mean"][:3]
    ),
    "network_inputs": lambda: figures.network_inputs(
        [(f"grade {g}", VOXELS, VOXELS // 2, RNG.normal(size=(12, 12, 6)).astype(np.float32)) for g in range(4)]
    ),
    "saliency_gallery": lambda: figures.saliency_gallery(
        [Case("sub-001 L45 L: infiltrated, right", VOXELS, VOXELS.astype(np.float32), (0.4, 0.4, 0.5))]
    ),
    "saliency_checks": lambda: figures.saliency_checks(
        pd.DataFrame(
            [(r, n, RNG.uniform(-0.2, 1)) for r in ("fc", "layer4") for n in range(3)],
            columns=["randomised", "volume", "similarity"],
        ),
        {"other folds' networks": 0.6, "network of shuffled labels": 0.57},
    ),
    "saliency_depth": lambda: figures.saliency_depth(np.full(6, 1 / 6), 36.0, {"healthy": np.full(28, 1 / 28)}),
    "importance": lambda: figures.importance(
        pd.DataFrame(
            {
                "family": ["Nakagami", "Nakagami", "First-order"] * 5,
                "feature": ["nakagami_m", WHOLE_FAMILY, WHOLE_FAMILY] * 5,
                "importance": RNG.normal(0.02, 0.02, 15),
            }
        )
    ),
    "roc_curves": lambda: figures.roc_curves(SCORES, MODELS),
    "right_and_wrong": lambda: figures.right_and_wrong(PITFALL),
    "right_and_wrong of nothing": lambda: figures.right_and_wrong(PITFALL.assign(value=np.nan), "gap", None),
    "null_distribution": lambda: figures.null_distribution(PITFALL),
    "predictive_values_over_prevalence": lambda: figures.predictive_values_over_prevalence(
        pd.DataFrame({"prevalence": [0.1, 0.4], "ppv": [0.3, 0.7], "npv": [0.9, 0.7]}), {"a clinic": 0.1}
    ),
    "ceiling_over_kappa": lambda: figures.ceiling_over_kappa(
        pd.DataFrame(
            [(d, k, r, k, 0.02, k / 2) for d, k in CEILINGS for r in ("one reader", "majority of three")],
            columns=["data", "kappa", "reference", "auc", "auc_sd", "auc_of_good"],
        )
    ),
    "auc_forest": lambda: figures.auc_forest(performance.summary(SCORES)),
    "confusion_matrices": lambda: figures.confusion_matrices(MATRICES),
    "fold_composition": lambda: figures.fold_composition(MATRICES, 160, 208),
    "p_by_correlation": lambda: figures.p_by_correlation(
        pd.DataFrame({"areas": "0.68 and 0.76", "correlation": np.arange(9) / 10, "p": 0.03 * 0.5 ** np.arange(9)}),
        {"P 0.032 (abstract)": 0.032, "P <0.001 (results)": 0.001},
    ),
    "distances": lambda: figures.distances(RNG.lognormal(1.2, 0.2, 96), FAR),
    "distances of nobody": lambda: figures.distances(RNG.uniform(2, 5, 96), FAR.iloc[:0]),
    "out_of_range": lambda: figures.out_of_range(pd.DataFrame({"feature": [f"f{n % 23}" for n in range(60)]}), 96),
    "out_of_range of none": lambda: figures.out_of_range(pd.DataFrame({"feature": []}), 96),
    "transported_roc": lambda: figures.transported_roc(SCORES, SCORES.query("model == ['dcnn', 'random_forest']")),
    "transported_roc of one class": lambda: figures.transported_roc(SCORES, SCORES.head(96).assign(y_true=0)),
    "recalibrated_curves": lambda: figures.recalibrated_curves(
        dict.fromkeys(("as it came", *performance.UPDATES), performance.calibration_curve(probabilities(), 5))
    ),
    "subgroup_forest": lambda: figures.subgroup_forest(performance.subgroups(SCORES, PEOPLE)),
    "subgroup_forest of small parts": lambda: figures.subgroup_forest(performance.subgroups(SCORES, fewest=99)),
}


def test_every_public_figure_is_drawn_here():
    assert {name.split()[0] for name in DRAWN} == set(figures.__all__)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", DRAWN)
def test_figure(name, language, monkeypatch):
    monkeypatch.setenv("MFLIB_LANGUAGE", language)
    before = dict(mpl.rcParams)
    figure = DRAWN[name]()
    assert isinstance(figure, Figure)
    shown.png(figure, 100)  # warnings are errors: missing glyphs and crowded layouts come up here
    assert figure.get_size_inches()[0] == 6.4
    assert plt.get_fignums() == [] and dict(mpl.rcParams) == before
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    x_named = figure.get_supxlabel() or all(axes.get_xlabel() for axes in panels)
    # What a small panel shows may stand above it.
    first = [axes for axes in panels if axes.get_subplotspec().is_first_col()]
    y_named = all(axes.get_ylabel() or axes.get_title(loc="left") for axes in first)
    assert x_named and y_named


def test_planes_have_the_aspect_of_the_muscle():
    figure = DRAWN["three_planes"]()
    transverse, sagittal, coronal = figure.axes[:3]
    assert transverse.get_images()[0].get_extent() == pytest.approx([0, 30 * 0.4, 28 * 0.4, 0])
    assert sagittal.get_images()[0].get_extent() == pytest.approx([0, 12 * 0.5, 28 * 0.4, 0])
    assert coronal.get_images()[0].get_extent() == pytest.approx([0, 30 * 0.4, 12 * 0.5, 0])
    assert np.array_equal(transverse.get_images()[0].get_array(), VOXELS[:, :, 6].T)
    assert np.array_equal(sagittal.get_images()[0].get_array(), VOXELS[17])
    assert np.array_equal(coronal.get_images()[0].get_array(), VOXELS[:, 12].T)


def test_examples_are_drawn_on_one_scale_with_the_muscle_outlined():
    first, second = figures.outlined(PAIR).axes
    assert first.get_xlim() == second.get_xlim() == (0, 30 * 0.4) and first.get_ylim() == second.get_ylim()
    (edge,) = [line for line in first.collections if isinstance(line, QuadContourSet)]
    (x, y) = edge.get_paths()[0].vertices.T
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((10 * 0.4, 20 * 0.4, 5 * 0.4, 25 * 0.4))
    assert not [line for line in second.collections if isinstance(line, QuadContourSet)]


def test_a_block_is_cut_open_at_its_corner():
    voxels = RNG.integers(0, 256, (8, 7, 6), np.uint8)
    corner = np.array([2, 4, 3])
    squares, greys = figures.texture._faces(voxels, corner)
    assert len(squares) == 8 * 7 + 8 * 6 + 7 * 6  # what is cut out shows as much as it took away
    normals = np.cross(squares[:, 1] - squares[:, 0], squares[:, 3] - squares[:, 0])
    axis = np.abs(normals).argmax(axis=1)
    behind = np.clip(squares.min(axis=1), 0, None)  # the voxel whose face it is lies away from the reader
    behind[np.arange(len(axis)), axis] -= np.isin(axis, (0, 2))
    assert np.array_equal(voxels[tuple(behind.T)], greys)
    removed = (behind[:, 0] >= 2) & (behind[:, 1] < 4) & (behind[:, 2] >= 3)
    assert not removed.any()


def test_in_the_cut_stand_the_lines_that_are_there():
    voxels = np.full((24, 20, 16), 60, np.uint8)
    voxels[14:17, 8, :], voxels[14:17, 3, 9] = 200, 200  # a sheet along the spine, and a speck
    whole = Annotation((0, 0, 0), (0, 0, 0), (0, 0, 0), voxels.shape)
    _, surface = figures.cut_open([Example("lines", Volume(voxels, (0.4, 0.4, 0.4)), whole)]).axes[0].collections
    (x, _, z), step = np.moveaxis(surface._faces, -1, 0), 0.4
    assert x.min() > 13 * step and x.max() < 18 * step and z.min() > 7 * step and z.max() < 10 * step


def test_the_marked_pairs_are_as_many_as_the_marked_cell_says():
    left, right = DRAWN["co_occurrence"]().axes[:2]
    (frame,) = right.patches
    column, row = (round(edge) for edge in frame.get_xy())
    arrows = [text for text in left.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == COUNTED[row, column] == np.where(np.eye(8), 0, COUNTED).max()


def test_the_fitted_density_is_one():
    speckle = 10 * np.log10(RNG.gamma(0.8, 0.01 / 0.8, 20_000))  # intensities around -20 dB
    voxels = np.clip(np.rint(255 * (1 + speckle / 55)), 0, 255).astype(np.uint8)
    axes = figures.nakagami_fit(voxels, intensity.fit(voxels, 55.0), 55.0).axes[0]
    width = np.array([bar.get_width() for bar in axes.patches])
    height = np.array([bar.get_height() for bar in axes.patches])
    assert height @ width == pytest.approx(1)
    assert np.trapezoid(axes.lines[0].get_ydata(), axes.lines[0].get_xdata()) == pytest.approx(1, abs=0.01)
    assert np.abs(height - axes.lines[0].get_ydata()) @ width < 0.1  # bars and curve are one distribution


def test_roc_curves_ask_for_one_run():
    two = pd.concat([SCORES, SCORES.assign(split="segment")])
    with pytest.raises(InputError, match="one split and repeat"):
        figures.roc_curves(two, MODELS)


DRAW = """
import sys
from pathlib import Path
import pandas as pd
from mflib.show import figures, shown
table = pd.DataFrame({"areas": "0.68 and 0.76", "correlation": [0.1, 0.5, 0.9], "p": [0.02, 0.01, 0.003]})
shown.save(figures.p_by_correlation(table, {"P 0.032": 0.032}), Path(sys.argv[1]), "figure")
"""
THEIRS = """
savefig.facecolor: black
savefig.bbox: tight
svg.hashsalt: theirs
svg.fonttype: none
path.simplify: False
font.size: 30
axes.grid: True
"""


def test_the_same_data_give_the_same_files_whatever_style_the_user_has(tmp_path):
    drawn = []
    for name, text in {"theirs": THEIRS, "none": ""}.items():
        (tmp_path / name).write_text(text)
        environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / name)}
        subprocess.run([sys.executable, "-c", DRAW, tmp_path / f"of-{name}"], env=environment, check=True)
        drawn.append([(tmp_path / f"of-{name}" / f"figure.{kind}").read_bytes() for kind in ("svg", "png")])
    assert drawn[0] == drawn[1]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A machine that has matplotlib's own fonts and those that are given: real Chinese ones, under their names."""
    brought = Path(str(importlib.util.find_spec("zhplot").origin)).with_name("fonts") / "NotoSansSC-Regular.ttf"
    here = font_manager.fontManager.ttflist
    latin = [entry for entry in here if entry.name.startswith(("DejaVu", "Last Resort", "cmr", "STIX"))]

    def machine(*installed: str, new: bool = False, package: bool = False) -> None:
        files = [tmp_path / f"{name}.ttf" for name in installed]
        for path, name in zip(files, installed, strict=True):
            font = TTFont(brought)
            for record in font["name"].names:
                if record.nameID in (1, 16):
                    record.string = name
            font.save(path)
        entries = (
            [] if new else [font_manager.FontEntry(fname=str(f), name=n) for f, n in zip(files, installed, strict=True)]
        )
        monkeypatch.setattr(font_manager.fontManager, "ttflist", [*latin, *entries])
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in files])
        monkeypatch.setattr(style, "_PACKAGE", "zhplot" if package else "a_package_that_is_not_here")
        forget()

    def forget() -> None:
        for known in (style.chinese, style._is_drawn, style._regret):
            known.cache_clear()

    yield machine
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("installed", "new", "package", "font"),
    [
        (["Source Han Sans SC", "WenQuanYi Zen Hei"], False, True, "Source Han Sans SC"),  # the better one
        (["Noto Serif CJK SC"], False, True, "Noto Serif CJK SC"),
        (["A Font That Nobody Knows"], False, False, "A Font That Nobody Knows"),  # it has the signs
        (["Newly Installed"], True, False, "Newly Installed"),  # since matplotlib has made its list
        ([], False, True, "Noto Sans SC"),  # the extra's
        ([], False, False, ""),
    ],
)
def test_a_font_is_found_by_its_signs(machine, installed, new, package, font):
    machine(*installed, new=new, package=package)
    assert style.chinese() == font


def test_figures_are_written_in_chinese_where_a_font_is_and_else_in_english(machine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MFLIB_LANGUAGE", "zh")
    monkeypatch.delenv("MFLIB_DRAWN", raising=False)
    figure = DRAWN["importance"]
    for name, installed in {"serif": ["Noto Serif CJK SC"], "none": []}.items():
        machine(*installed)
        # A sign without a glyph is a warning, which is an error here.
        drawing, picture = shown.save(figure(), tmp_path / name, "importance")
        again, _ = shown.save(figure(), tmp_path / name, "again")
        text = drawing.read_text(encoding="utf-8")
        assert ("AUC" in text) and ("fall of the AUC" in text) == (not installed)
        assert (say("fall of the AUC when shuffled") in text) == bool(installed)
        assert drawing.parent.name == ("zh" if installed else name) and again.exists() and picture.exists()
        # Once, and nothing in the notebooks of a report.
        assert capsys.readouterr().err.count("mflib[zh]") == (not installed)


def test_a_report_draws_every_figure_in_both_languages(machine, tmp_path, monkeypatch):
    machine("Noto Sans CJK SC")
    monkeypatch.setenv("MFLIB_LANGUAGE", "en")
    shown.save(DRAWN["flow_of_patients"](), tmp_path / "alone", "flow")
    monkeypatch.setenv("MFLIB_DRAWN", "zh")
    drawing, _ = shown.save(DRAWN["flow_of_patients"](), tmp_path / "both", "flow")
    assert drawing.read_bytes() == (tmp_path / "alone" / "flow.svg").read_bytes()
    assert say("12 patients, 96 segments", "zh") in (tmp_path / "both" / "zh" / "flow.svg").read_text(encoding="utf-8")


def test_lines_that_say_nothing_alone_are_said_as_one_and_broken_again():
    words = "echo intensity, another\ngain for the fattier half\n(cohort)"
    lines = style._lines(words, "zh").split("\n")
    whole = [say("echo intensity, another gain for the fattier half", "zh"), say("(cohort)", "zh")]
    assert "".join(lines) == "".join(whole) and max(map(len, lines)) < 14 and style._lines(words, "en") == words
    assert style._lines("Somebody's\nown", "zh").startswith("Somebody's\n")


def test_chinese_names_in_english_figures_are_signs_or_codes_and_never_boxes(machine, tmp_path):
    flow = FLOW.assign(reason=["", "超声图像不清", "", ""])
    for name, installed in {"here": ["SimHei"], "none": []}.items():
        machine(*installed)
        drawing, _ = shown.save(figures.flow_of_patients(flow), tmp_path / name, "flow")
        text = drawing.read_text(encoding="utf-8")
        assert ("超声图像不清" in text) == bool(installed) and ("u8d85" in text) == (not installed)
