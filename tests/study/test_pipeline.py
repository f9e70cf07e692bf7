"""How long a run will still take, by what its notebooks took before and at the pace so far."""

from __future__ import annotations

import pytest

from mflib.study import pipeline

STEPS = {"a": (), "b": ("a",), "c": (), "d": ("b", "c")}
TOOK = {"a": 100.0, "b": 200.0, "c": 50.0, "d": 10.0}


@pytest.mark.parametrize("pace", [0.5, 1.0, 3.0])
def test_a_run_ends_with_its_longest_chain_and_keeps_its_pace(pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: now)
    clock = pipeline._Clock(STEPS, TOOK)
    # Nothing has ended: a, b and d wait for each other.
    assert clock.left() == pytest.approx(310)
    clock.started.update(a=now, c=now)
    now += 100 * pace
    clock.ended["a"] = now
    clock.started["b"] = now
    # c should have ended too, at this pace: it is late, and no time is taken off for that.
    assert clock.left() == pytest.approx(210 * pace)
    now += 20 * pace
    clock.ended["c"] = clock.started["c"] + 50 * pace
    assert clock.left() == pytest.approx(190 * pace)


def test_what_was_up_to_date_says_nothing_of_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: 5.0)
    clock = pipeline._Clock(STEPS, TOOK, {"a": 4.9, "c": 4.9}, {"a": 5.0, "c": 5.0})
    assert clock.left() == pytest.approx(210)
