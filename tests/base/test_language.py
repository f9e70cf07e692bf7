"""A text is said in another language as a whole, by its template, sentence by sentence, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from mflib.base import language, made_by
from mflib.base.language import LANGUAGE, say, spaced

SAID = {
    "random forest": "随机森林",
    "network": "网络",
    "the file": "文件",
    "{n} of {all} volumes are flagged": "{all} 个容积中有 {n} 个被标记",
    "{1}: found {2}; expected {3}": "{1}：发现 {2}；应为{3}",
    "column {1}": "{1!r} 列",
    "{1}, {2}": "{1}，{2}",
    "{1} of {2}": "{2} 的{1}",
    "One. Two things.": "一。两件事。",
    "It was left. {so}": "已略去。{so}",
    "So nothing follows.": "所以得不出结论。",
    "The {model} is better.": "{model}更好。",
    "left open": "",
}


@pytest.fixture(autouse=True)
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xx").mkdir()
    known = Catalog(locale="zh", fuzzy=False)
    for source, translation in SAID.items():
        known.add(source, translation)
    known.add("a doubtful one", "可疑", flags=["fuzzy"])
    known.add("# Title", "# 标题", context="01#title")
    with (tmp_path / "xx" / "some.po").open("wb") as file:
        write_po(file, known, omit_header=True)
    monkeypatch.setattr(language, "LOCALE", tmp_path)
    language._catalogue.cache_clear()
    language._said.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("random forest", "随机森林"),
        ("Random forest", "随机森林"),  # at the beginning of a line
        ("3 of 46 volumes are flagged", "46 个容积中有 3 个被标记"),  # another order
        ("3 of 46 volumes are flagged.", "46 个容积中有 3 个被标记。"),
        ("a.tsv: found the file; expected network", "a.tsv：发现文件；应为网络"),  # what stands in places, too
        ("  indented: found 3; expected 4\nnetwork", "  indented：发现 3；应为 4\n网络"),  # line by line
        ("column network", "network 列"),  # a name stays
        ("random forest, network", "随机森林，网络"),
        ("One. Two things. The random forest is better.", "一。两件事。随机森林更好。"),
        ("It was left. So nothing follows.", "已略去。所以得不出结论。"),
        ("It was left.", "已略去。"),  # nothing was put in, and no blank is left
        ("It was left. So nothing follows. The network is better.", "已略去。所以得不出结论。网络更好。"),
        ("mean of the heart", "mean of the heart"),  # nobody's words stay, whatever joins them
        ("Smith, John", "Smith, John"),
        ("left open", "left open"),
        ("a doubtful one", "a doubtful one"),
        ("0.5", "0.5"),
        ("", ""),
    ],
)
def test_a_text_is_found(text: str, said: str) -> None:
    assert say(text, "xx") == said
    assert say(text, "en") == text
    # What is said already is not said again.
    assert say(said, "xx") == said


def test_cells_are_found_by_notebook_id_and_text() -> None:
    assert language.cell("01", "title", "# Title", "xx") == "# 标题"
    assert language.cell("01", "title", "# Title of somebody's own", "xx") is None
    assert language.cell("02", "title", "# Title", "xx") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("AUC为0.7，高", "AUC 为 0.7，高"),
        ("容积 数据", "容积数据"),
        ("按 患者 划分 ， 共 8 折 。", "按患者划分，共 8 折。"),
        ("plain text, as it is", "plain text, as it is"),
        ("发现 'VAS评分' 和 '44岁'，应为数字", "发现 'VAS评分' 和 '44岁'，应为数字"),  # somebody wrote it so
    ],
)
def test_blanks_stand_between_chinese_and_latin_only(text: str, wanted: str) -> None:
    assert spaced(text) == wanted and spaced(wanted) == wanted


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", LANGUAGE: "en"}, "en"),
        ({LANGUAGE: "zh"}, "zh"),
    ],
)
def test_the_environment_states_the_language(environment: dict[str, str], found: str) -> None:
    code = "from mflib.base.language import language; print(language())"
    bare = {
        name: value for name, value in os.environ.items() if name not in (LANGUAGE, "LANG", "LC_ALL", "LC_MESSAGES")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare | environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == found


def test_no_number_follows_from_a_translation() -> None:
    sources, packages = made_by.closure("mflib.study.report", "mflib.study.lab")
    assert made_by.TRANSLATION and made_by.TRANSLATION.isdisjoint(sources) and "babel" not in packages
    assert all(path.exists() for path in made_by.TRANSLATION)
