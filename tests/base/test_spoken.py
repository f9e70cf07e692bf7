"""Where the words stand in Markdown, HTML, scripts, templates and charts; everything else stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from mflib.base import spoken
from mflib.base.spoken import Say, chart, html, lines, markdown, script, template

KNOWN = {
    "A heading": "标题",
    "one long sentence": "一个长句",
    "first & last": "首尾",
    "a cell": "单元格",
    "Copy": "复制",
    "grey {1} of {2}": "共 {2} 灰度 {1}",
    "{1} patients in {2}": "{2} 有 {1} 名患者",
    "forest": "森林",
    "who": "谁",
    "{1} at {2} %: all": "{2} % 时{1}：全部",
    "yes": "是",
}


def say(text: str) -> str:
    return text.replace(text.strip(), KNOWN.get(text.strip(), text.strip()))


def same(text: str) -> str:
    return text


TEXTS: list[tuple[Any, str, str]] = [
    (markdown, "## A heading\n\none long\nsentence\n\n- a cell\n", "## 标题\n\n一个长句\n\n- 单元格\n"),
    (markdown, "| who | x |\n|:--|--:|\n| a cell | 1 |", "| 谁 | x |\n|:--|--:|\n| 单元格 | 1 |"),
    (html, '<p title="who">first &amp; last <b>who</b></p>', '<p title="谁">首尾<b>谁</b></p>'),
    (html, "<pre>who</pre><code>who</code><style>who</style>", "<pre>who</pre><code>who</code><style>who</style>"),
    (html, '<script>say("Copy"); "Copy"</script>', '<script>say("复制"); "Copy"</script>'),
    (html, '<img alt="who" src="english" data-zh="chinese">', '<img alt="谁" src="chinese">'),
    (script, "say(`grey ${a[1]} of ${b({ c: 1 })}`)", "say(`共 ${b({ c: 1 })} 灰度 ${a[1]}`)"),
    (
        template,
        '<p{% if x < 2 %} class="a"{% endif %}>{{ n | length }} patients in {{ "a" if b else "c" }}</p>',
        '<p{% if x < 2 %} class="a"{% endif %}>{{ "a" if b else "c" }} 有 {{ n | length }} 名患者</p>',
    ),
]


@pytest.mark.parametrize(("walk", "source", "said"), TEXTS)
def test_words_are_translated_and_nothing_else(walk: Any, source: str, said: str) -> None:
    assert walk(source, say) == said


@pytest.mark.parametrize(("walk", "source", "said"), [text for text in TEXTS if "data-zh" not in text[1]])
def test_without_another_language_everything_stays(walk: Any, source: str, said: str) -> None:
    assert " ".join(walk(source, same).split()) == " ".join(source.split())


def test_a_chart_says_its_words_wherever_they_are_compared() -> None:
    specified = {
        "name": "who",
        "title": {"text": "A heading"},
        "datasets": {"who": [{"who": "forest", "by": 1, "plane": "data:who"}]},
        "params": [
            {"name": "who", "value": "forest", "bind": {"input": "select", "options": ["forest"], "name": "who"}}
        ],
        "mark": {"type": "text"},
        "transform": [
            {"filter": "datum.who == 'forest' || who == 'forest'"},
            {"filter": {"field": "who", "oneOf": ["forest"]}},
            {"calculate": "datum.who + ' at ' + (1 + cut) + ' %: all'", "as": "who"},
            {"calculate": "a ? 'yes' : 'no'", "as": "who"},
        ],
        "encoding": {"x": {"field": "who", "title": "who", "scale": {"domain": ["forest"]}, "sort": ["forest"]}},
    }
    said = chart(specified, say)
    assert chart(specified, same) == specified
    assert said["name"] == "who" and said["title"] == {"text": "标题"}
    assert said["datasets"] == {"who": [{"who": "森林", "by": 1, "plane": "data:who"}]}
    assert said["params"] == [
        {"name": "who", "value": "森林", "bind": {"input": "select", "options": ["森林"], "name": "谁"}}
    ]
    assert [step.get("filter") or step["calculate"] for step in said["transform"]] == [
        "datum.who == '森林' || who == '森林'",
        {"field": "who", "oneOf": ["森林"]},
        "(1 + cut) + ' % 时' + datum.who + '：全部'",
        "a ? '是' : 'no'",
    ]
    encoded = said["encoding"]["x"]
    assert encoded == {"field": "who", "title": "谁", "scale": {"domain": ["森林"]}, "sort": ["森林"]}


def test_a_caption_in_chinese_is_broken_where_its_letters_are_twice_as_wide() -> None:
    caption = "各折 AUC 的均值及其 95 % 置信区间，菱形为合并 AUC；虚线为本研究的网络。" * 3
    broken = lines(caption)
    assert "".join(broken) == caption and max(map(len, broken)) <= 60
    assert not [line for line in broken if line[0] in "，。；：、）"]
    assert lines("a plain caption " * 20) == lines("a plain caption " * 20) and max(map(len, lines("word " * 60))) <= 96


def test_every_form_of_what_a_cell_shows_is_translated() -> None:
    drawn = {"title": {"text": ["A heading"]}, "datasets": {}, "description": "who"}
    said = spoken.bundle(
        {"text/html": "<p>who</p>", "text/markdown": "who", spoken.LIVE: drawn, "text/plain": "who"}, say
    )
    assert said == {
        "text/html": "<p>谁</p>",
        "text/markdown": "谁",
        spoken.LIVE: {"title": {"text": ["标题"]}, "datasets": {}, "description": "谁"},
        "text/plain": "who",
    }
    walk: Say = say
    assert walk("who") == "谁"
