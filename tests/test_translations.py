"""The catalogues: nothing open, nothing stale, nothing fuzzy, and what rules can tell of a translation is right."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from babel.messages.catalog import Catalog

from mflib.base.language import LANGUAGES, PLACEHOLDER, say
from mflib.study import start
from mflib.study.pipeline import NOTEBOOKS
from tests import translations
from tests.translations import DOMAINS, catalogue, faults_in, faults_of, open_in, said_in

OTHERS = [to for to in LANGUAGES if to != "en"]


@pytest.mark.parametrize("to", OTHERS)
def test_everything_is_said_in_every_language(to: str) -> None:
    assert open_in(to) == []


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("to", OTHERS)
def test_translations_keep_places_numbers_code_marks_and_terms(to: str, domain: str) -> None:
    assert faults_in(to, [domain]) == []


@pytest.mark.parametrize("to", OTHERS)
def test_a_sentence_is_found_again_by_its_own_template(to: str) -> None:
    """What stands in the places here is nobody's word, so any other template that took it would be seen."""
    taken = []
    for (context, source), message in said_in(to).items():
        places = PLACEHOLDER.findall(source)
        if context or not places or sum(map(str.isalpha, PLACEHOLDER.sub("", source))) < 9 or "\n" in source:
            continue
        own, wanted = (PLACEHOLDER.sub(r"Q\1Q7", text) for text in (source, message.string))
        found = say(own, to)
        if re.sub(r"\s", "", found) != re.sub(r"\s", "", wanted):
            taken.append(f"{source}: {found}")
    assert taken == []


def test_a_label_without_a_translation_and_a_changed_sentence_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = translations.texts()
    label = translations.Text("a new axis of a figure", "show", "show/figures/new.py")
    changed = [translations.Text(t.words + " Truly.", t.domain, t.place) if t is known[-1] else t for t in known]
    monkeypatch.setattr(translations, "texts", lambda: [*changed, label])
    (missing, new, stale) = open_in("zh")
    assert "Truly." in missing and label.words in new and stale == f"stale: {known[-1].words}"


def test_new_sentences_labels_and_figures_of_the_code_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "show").mkdir()
    (tmp_path / "show" / "new.py").write_text(
        '"""A module."""\nimport re\n'
        'TOLD = "{n} of {all:.2f} are new."\nSHAPE = re.compile("a new [b]")\n'
        "def drawn(axes, name):\n"
        '    """Nobody reads this."""\n'
        '    axes.set(xlabel="depth", title=f"{name} at {axes.n} mm", loc="upper right corner")\n'
        "@style.styled\ndef figure():\n"
        '    """What a blind reader hears.\n\n    Not this."""\n'
    )
    monkeypatch.setattr(translations, "PACKAGE", tmp_path)
    found = {text.words for text in translations.of_code()}
    assert found == {"{n} of {all} are new.", "depth", "{1} at {2} mm", "What a blind reader hears."}


@pytest.mark.parametrize(
    ("source", "said", "fault"),
    [
        ("{n} of {m} volumes", "{n} 个容积", "places"),
        ("a fifth of them", "其中的 1/5", "numbers"),
        ("run `mflib check`", "运行 `mflib check x`", "code"),
        ("two points: both", "两个点: 都是", "half-width"),
        ("AUC of it", "其AUC", "spaces"),
        ("the spinous process", "脊柱突起", "spinous process"),
        ("## A heading", "标题", "headings"),
    ],
)
def test_rules_see_what_is_wrong(source: str, said: str, fault: str) -> None:
    assert any(fault in found for found in faults_of(source, said))


def test_bringing_up_to_date_keeps_translations_and_marks_what_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(translations, "LOCALE", tmp_path)
    first = [translations.Text(words, "show", "a.py") for words in ("one sentence of many", "another sentence here")]
    monkeypatch.setattr(translations, "texts", lambda: first)
    translations.bring_up_to_date("zh")
    kept: Catalog = catalogue("zh", "show")
    for message in kept:
        if message.id:
            message.string = "一句话"
    translations.write(kept, tmp_path / "zh" / "show.po")
    second = [first[0], translations.Text("another sentence there", "show", "a.py")]
    monkeypatch.setattr(translations, "texts", lambda: second)
    assert translations.bring_up_to_date("zh")["show"] == 1
    after = {message.id: message for message in catalogue("zh", "show") if message.id}
    assert after["one sentence of many"].string == "一句话" and not after["one sentence of many"].fuzzy
    assert after["another sentence there"].fuzzy and "another sentence here" not in after


def test_copies_of_the_notebooks_have_the_same_cells_and_are_not_written_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    originals = tmp_path / "notebooks"
    originals.mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        (originals / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(start, "NOTEBOOKS", originals)
    folder = start.copies("zh")
    assert folder != originals and start.copies("en") == originals
    headings = {}
    for path in sorted(originals.glob("*.ipynb")):
        own, other = (nbformat.read(at, as_version=4).cells for at in (path, folder / path.name))
        assert [(cell.id, cell.cell_type, cell.metadata) for cell in own] == [
            (cell.id, cell.cell_type, cell.metadata) for cell in other
        ]
        for here, there in zip(own, other, strict=True):
            assert (here.source == there.source) == (here.cell_type == "code"), here.id
        text = "\n".join(cell.source for cell in other if cell.cell_type == "markdown")
        headings[path.name] = {line.strip("# ").replace(" ", "-") for line in text.splitlines() if line[:1] == "#"}
    # A link goes to a heading of the copy.
    plans = nbformat.read(folder / "start.ipynb", as_version=4)
    links = re.findall(r"\]\((\w+\.ipynb)#(.+?)\)(?=[\s,;.，；。、|])", "\n".join(cell.source for cell in plans.cells))
    assert len(links) > 15 and all(heading in headings[name] for name, heading in links)
    # Somebody works in one; the other is renewed when its text has changed.
    for name in ("01_cohort.ipynb", "02_texture.ipynb"):
        worked = nbformat.read(folder / name, as_version=4)
        worked.cells[3].source += "\n# mine" if name.startswith("01") else ""
        nbformat.write(worked, folder / name)
        first = nbformat.read(originals / name, as_version=4)
        first.cells[2].source += "\n# new"
        nbformat.write(first, originals / name)
    start.copies("zh")
    assert nbformat.read(folder / "01_cohort.ipynb", as_version=4).cells[3].source.endswith("# mine")
    assert nbformat.read(folder / "02_texture.ipynb", as_version=4).cells[2].source.endswith("# new")
