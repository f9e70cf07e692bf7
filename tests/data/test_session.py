"""The way through a cohort: what is undone, what is on disk, and what others wrote there."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mflib.base.errors import BusyError, InputError
from mflib.data import cohort as cohorts
from mflib.data.annotation.marks import REASONS, SECOND, from_cells, read_rows
from mflib.data.annotation.session import open_session
from mflib.data.cohort_tables import ANNOTATIONS

ROI = ((10, 8, 2), (18, 18, 14))


def mark(session, shift=0):
    session.set_point("bone", (4 + shift, 6, 9))
    session.set_point("shadow", (4, 20, 9))
    session.set_roi(ROI)


def on_disk(path):
    """What somebody else reads from the table, without who and when."""
    return {key: unsigned(from_cells(cells)) for key, cells in read_rows(path).rows.items()}


def unsigned(marks):
    return marks and replace(marks, annotator="", annotated_at="")


class Model:
    """The same session, told in the simplest way: a list of states per volume, and no cleverness."""

    def __init__(self, session):
        self.states = {key: [unsigned(session._histories[key].now)] for key in session.keys}
        self.at = dict.fromkeys(session.keys, 0)

    def append(self, key, state):
        self.states[key] = [*self.states[key][: self.at[key] + 1], unsigned(state)]
        self.at[key] += 1

    def table(self):
        rows = {}
        for key, states in self.states.items():
            for state in states[: self.at[key] + 1]:
                if state.confirmed:
                    rows[key] = state
        return rows


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_actions_leaves_the_marks_and_the_table_of_a_plain_list(make_cohort, seed):
    root = make_cohort(patients=1, segments=4)
    session = open_session(root, "AB")
    model, draw = Model(session), random.Random(seed)
    session.go(0)

    def point():
        session.set_point(draw.choice(["bone", "shadow"]), tuple(draw.randrange(18) for _ in range(3)))

    def roi():
        session.set_roi(((draw.randrange(10), 2, 3), (5, 6, 7)))

    edits = [point, roi, lambda: session.exclude(draw.choice(REASONS)), session.include]
    for _ in range(80):
        key, action = session.key, draw.choice([*edits, "confirm", "undo", "redo", "go"])
        if action == "go":
            session.go(draw.randrange(4))
        elif action == "undo":
            session.undo()
            model.at[key] = max(model.at[key] - 1, 0)
        elif action == "redo":
            session.redo()
            model.at[key] = min(model.at[key] + 1, len(model.states[key]) - 1)
        elif action == "confirm":
            before = session.marks
            session.confirm()
            if not before.confirmed:
                model.append(key, replace(before, confirmed=True, suggested=frozenset()))
        else:
            action()
            model.append(key, session.marks)
        shown = unsigned(session._histories[key].now)
        assert shown == model.states[key][model.at[key]]
        assert on_disk(session.path) == model.table()
    again = open_session(root, "CD")
    assert {key: unsigned(again._histories[key].saved()) for key in again.keys} == model.table()


def test_from_volumes_alone_to_a_cohort_that_loads(make_cohort):
    root = make_cohort(patients=2, segments=4)
    (root / ANNOTATIONS).unlink()
    session = open_session(root, "ab")
    for n in range(8):
        assert session.progress().startswith(f"{n} of 8 confirmed")
        if n == 3:
            session.exclude("  my own\treason\n")
        else:
            mark(session)
            session.confirm()
        assert session.go_to_open() == (n < 7)
    cohort = cohorts.load(root)
    assert len(cohort.segments) == 7
    assert "my own reason" in set(cohort.flow["reason"])
    rows = pd.read_csv(root / ANNOTATIONS, sep="\t")
    assert set(rows["annotator"]) == {"AB"} and pd.to_datetime(rows["annotated_at"], utc=True).notna().all()


def test_others_rows_and_columns_stay_as_they_are(make_cohort):
    root = make_cohort(patients=2, segments=2)
    path = root / ANNOTATIONS
    table = pd.read_csv(path, sep="\t", dtype=str).assign(comment='\u00e9, "as is" ; 1.50')
    table.iloc[::-1].to_csv(path, sep="\t", index=False)
    before = read_rows(path)
    one, other = open_session(root, "AA"), open_session(root, "BB")
    one.go(0), other.go(3)
    for session in (one, other):
        mark(session, shift=1)
        session.confirm()
    after = read_rows(path)
    assert list(after.rows) == list(before.rows)
    for key, cells in before.rows.items():
        if key in (one.key, other.key):
            assert after.rows[key]["comment"] == cells["comment"] and after.rows[key]["bone_i"] == "5"
        else:
            assert {column: after.rows[key][column] for column in cells} == cells
    assert {after.rows[s.key]["annotator"] for s in (one, other)} == {"AA", "BB"}
    one.undo(), other.undo()
    assert on_disk(path) == {key: unsigned(from_cells(cells)) for key, cells in before.rows.items()}


def test_a_row_that_somebody_changed_meanwhile_is_overwritten_only_knowingly(make_cohort):
    root = make_cohort(patients=1, segments=2)
    mine, theirs = open_session(root, "AA"), open_session(root, "BB")
    mine.go(0), theirs.go(0)
    mark(theirs, shift=1)
    theirs.confirm()
    mark(mine, shift=2)
    with pytest.raises(BusyError, match=r"changed by BB on disk meanwhile"):
        mine.confirm()
    assert not mine.marks.confirmed and on_disk(mine.path)[mine.key].bone == (5, 6, 9)
    mine.confirm()
    assert on_disk(mine.path)[mine.key].bone == (6, 6, 9)


def test_undo_brings_back_a_row_that_somebody_had_only_begun(make_cohort):
    root = make_cohort(patients=1, segments=2)
    table = pd.read_csv(root / ANNOTATIONS, sep="\t", dtype=str).assign(comment="look again")
    table.loc[0, "shadow_i"] = "n/a"
    table.to_csv(root / ANNOTATIONS, sep="\t", index=False)
    before = read_rows(root / ANNOTATIONS).rows
    session = open_session(root, "AB")
    assert session.state_of(session.key) == "open" and session.progress() == "1 of 2 confirmed"
    mark(session)
    session.confirm()
    session.undo()
    now = read_rows(root / ANNOTATIONS).rows[session.key]
    assert {column: now[column] for column in before[session.key]} == before[session.key]


def test_four_annotators_at_once_lose_no_row(make_cohort):
    root = make_cohort(patients=4)
    (root / ANNOTATIONS).unlink()
    sessions = [open_session(root, name) for name in ("AA", "BB", "CC", "DD")]

    def annotate_every_fourth(first):
        for position in range(first, 32, 4):
            sessions[first].go(position)
            mark(sessions[first])
            sessions[first].confirm()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(annotate_every_fourth, range(4)))
    annotators = [cells["annotator"] for cells in read_rows(root / ANNOTATIONS).rows.values()]
    assert sorted(annotators) == sorted(["AA", "BB", "CC", "DD"] * 8)


def test_what_others_confirm_is_seen_at_the_next_save(make_cohort):
    root = make_cohort(patients=1, segments=3)
    (root / ANNOTATIONS).unlink()
    mine, theirs = open_session(root, "AA"), open_session(root, "BB")
    theirs.go(2)
    mark(theirs)
    theirs.confirm()
    mark(mine)
    mine.confirm()
    assert mine.progress() == "2 of 3 confirmed"


def test_suggestions_never_reach_the_table(make_cohort):
    root = make_cohort(patients=1, segments=2)
    (root / ANNOTATIONS).unlink()
    session = open_session(root, "AA")
    mark(session)
    computed = replace(session.marks, suggested=frozenset({"bone", "shadow", "roi"}))
    session.go(1)
    session.offer(computed)
    assert session.marks.suggested and not session.path.exists()
    session.set_point("bone", (7, 7, 7))
    assert session.marks.suggested == {"shadow", "roi"} and not session.path.exists()
    session.go(0)
    session.confirm()
    assert len(on_disk(session.path)) == 1
    session.go(1)
    session.confirm()
    assert session.marks.suggested == frozenset() and len(on_disk(session.path)) == 2


def test_a_kill_while_saving_leaves_the_old_table(make_cohort):
    root = make_cohort(patients=1, segments=2)
    before = (root / ANNOTATIONS).read_bytes()
    script = (
        "import os, signal, sys; from pathlib import Path; from mflib.data.annotation.session import open_session\n"
        "session = open_session(Path(sys.argv[1]), 'AA'); session.go(0); session.set_point('bone', (1, 2, 3))\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "session.confirm()"
    )
    killed = subprocess.run([sys.executable, "-c", script, root], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (root / ANNOTATIONS).read_bytes() == before
    session = open_session(root, "AA")  # neither the lock nor what lies beside the table is in the way
    session.go(0)
    mark(session, shift=3)
    session.confirm()
    assert on_disk(session.path)[session.key].bone == (7, 6, 9)


def test_a_full_disk_is_said_and_loses_nothing(make_cohort, small_disk):
    source = make_cohort(patients=1, segments=2)
    root = small_disk / "cohort"
    subprocess.run(["cp", "-r", source, root], check=True)
    session = open_session(root, "AA")
    session.go(0)
    before = (root / ANNOTATIONS).read_bytes()
    mark(session)
    rest = os.statvfs(small_disk)
    with (small_disk / "filler").open("wb") as filler:
        filler.write(bytes(rest.f_bavail * rest.f_frsize))
    with pytest.raises(OSError, match="No space left"):
        session.confirm()
    assert (root / ANNOTATIONS).read_bytes() == before and not session.marks.confirmed
    (small_disk / "filler").unlink()
    session.confirm()
    assert session.marks.confirmed and (root / ANNOTATIONS).read_bytes() != before


def test_the_second_pass_knows_nothing_of_the_first(make_cohort):
    root = make_cohort(patients=2)
    path = root / ANNOTATIONS
    table = pd.read_csv(path, sep="\t", dtype=str)
    table = table.assign(annotator="ZEBRA", quality="ok", quality_reason="n/a", note="GIRAFFE", bone_i="27")
    table.loc[2, ["quality", "quality_reason"]] = ["exclude", "OKAPI"]
    table.to_csv(path, sep="\t", index=False)
    first_table = path.read_bytes()
    second = open_session(root, "BB", second=True, seed=3)
    state = pickle.dumps(second)
    assert not [name for name in (b"ZEBRA", b"GIRAFFE", b"OKAPI") if name in state]
    assert all(second.state_of(key) == "open" and second._histories[key].now.bone is None for key in second.keys)
    first = open_session(root, "AA")
    assert sorted(second.keys) == sorted(first.keys) and second.keys != first.keys
    assert open_session(root, "BB", second=True, seed=3).keys == second.keys
    mark(second)
    second.confirm()
    assert path.read_bytes() == first_table
    assert list(on_disk(root / SECOND)) == [second.key]
    assert open_session(root, "BB", second=True, seed=3).progress() == "1 of 16 confirmed"


@pytest.mark.parametrize("name", ["", "A", "Anna Schmidt", "A1", "ABCDEFGHI", "A\tB"])
def test_initials_are_asked_for(make_cohort, name):
    with pytest.raises(InputError, match="expected initials of 2 to 8 letters"):
        open_session(make_cohort(patients=1, segments=1), name)


def test_what_cannot_be_annotated_is_refused_with_what_is_wrong(tmp_path, make_cohort):
    with pytest.raises(InputError, match="no such folder"):
        open_session(tmp_path / "nowhere", "AB")
    with pytest.raises(InputError, match=r"no volume to annotate: .*expected a cohort folder"):
        open_session(tmp_path, "AB")
    (tmp_path / "sub-1" / "us").mkdir(parents=True)
    (tmp_path / "sub-1" / "us" / "left.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"^no volume to annotate: .*left\.nii\.gz: .*names like [^;\n]*$"):
        open_session(tmp_path, "AB")
    root = make_cohort(patients=1, segments=1)
    (root / ANNOTATIONS).unlink()
    (root / ANNOTATIONS).parent.rmdir()
    (root / ANNOTATIONS).parent.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be saved"):
        open_session(root, "AB")


def test_nobody_is_blind_to_their_own_marks(make_cohort):
    root = make_cohort(patients=1, segments=3)
    table = pd.read_csv(root / ANNOTATIONS, sep="\t")
    table.assign(annotator=["AA", "BB", "AA"]).to_csv(root / ANNOTATIONS, sep="\t", index=False)
    with pytest.raises(InputError, match="found AA, who has marked 2 volumes of the first pass; expected somebody"):
        open_session(root, "aa", second=True)
    with pytest.raises(InputError, match="found BB, who has marked 1 "):
        open_session(root, "BB", second=True)
    assert not (root / SECOND).exists()
    assert open_session(root, "CC", second=True).annotator == "CC"
    assert open_session(root, "AA").annotator == "AA"


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-8-sig", "\t"), ("cp1252", ";"), ("utf-16", "\t"), ("utf-8", ",")]
)
def test_a_table_from_a_spreadsheet_stays_as_the_spreadsheet_writes_it(make_cohort, encoding, separator):
    root = make_cohort(patients=1, segments=3)
    path = root / ANNOTATIONS
    table = pd.read_csv(path, sep="\t", dtype=str).assign(comment=f'"L\u00e4sion"{separator} links')
    table.to_csv(path, sep=separator, index=False, encoding=encoding, lineterminator="\r\n")
    before = path.read_bytes()
    session = open_session(root, "AA")
    session.go(1)
    mark(session, shift=1)
    session.confirm()
    now = pd.read_csv(path, sep=separator, dtype=str, encoding=encoding, keep_default_na=False)
    assert now.loc[1, "bone_i"] == "5" and now.loc[1, "annotator"] == "AA"
    assert now.loc[[0, 2], list(table)].equals(table.loc[[0, 2]]) and (now["comment"] == table["comment"]).all()
    assert path.read_bytes()[:3] == before[:3] and "\r\n".encode(encoding)[-2:] == path.read_bytes()[-2:]
    if encoding == "cp1252":
        after = path.read_bytes()
        with pytest.raises(InputError, match="saved as UTF-8"):
            session.exclude("\u8170")
        assert path.read_bytes() == after


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace("participant_id", "whoever"),
            "row 1; expected participant_id once",
        ),
        (lambda text: text + text.splitlines()[1] + "\n", "row 4: found sub-001 L23 L again"),
        (lambda text: text + "sub-001\tL34\n", "found 2 cells in row 4"),
        (lambda text: text.replace("\t4\t", "\t4.5\t", 1), r"sub-001 L23 L: found bone_i '4\.5'"),
    ],
)
def test_a_table_that_is_none_is_refused_and_left_alone(make_cohort, change, said):
    root = make_cohort(patients=1, segments=2)
    path: Path = root / ANNOTATIONS
    path.write_text(change(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(InputError, match=said):
        open_session(root, "AB")
    assert path.read_bytes() == before
