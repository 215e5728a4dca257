"""Tables and files are whole and as declared, or they are not there."""

import os
from dataclasses import fields

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from murmur import files
from murmur.errors import MurmurError, explain_os_error
from murmur.tables import parquet
from murmur.tables.csv_input import read_csv
from murmur.tables.csv_output import write_csv
from murmur.tables.folds import FOLDS
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.predictions import TrainingNote, predictions_schema, read_note
from murmur.tables.recordings import Card, check_recordings, read_card
from murmur.tables.signals import SIGNALS

FRAME = pd.DataFrame({"recording_id": ["a", "b"], "offset": [0, 5], "n_samples": [5, 7]})
CARD = Card("circor", "murmur", ("Present", "Absent"), ("Present",), (5.0, 1.0), "who", "ODC-By")
NOTE = TrainingNote("cpu", "float32", {"torch": "2"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "signals.parquet"


def there(path):
    return [p.name for p in path.parent.iterdir()] if path.parent.exists() else []


def test_round_trip(path):
    parquet.write(FRAME[["n_samples", "offset", "recording_id"]], path, SIGNALS)
    pd.testing.assert_frame_equal(parquet.read(path, SIGNALS), FRAME, check_dtype=False)
    assert there(path) == ["signals.parquet"]
    nothing = pd.DataFrame(columns=LEFT_OUT.names, dtype=str)
    parquet.write(nothing, path, LEFT_OUT)
    assert len(parquet.read(path, LEFT_OUT)) == 0


def test_nullable_columns_and_predictions_round_trip(path):
    folds = pd.DataFrame(
        {"run": [0, 0], "fold": [0, 1], "recording_id": ["a", "b"], "role": ["train", "test"]}
    )
    parquet.write(folds.assign(segment_id=[None, "b@0"]), path, FOLDS)
    assert list(parquet.read(path, FOLDS)["segment_id"].fillna("-")) == ["-", "b@0"]
    schema = predictions_schema(["x", "y"])
    scores = folds[["run", "fold", "role"]].assign(level="patient", unit_id=["a", "b"])
    scores = scores.assign(p_x=np.float32([0.25, 0.1]), p_y=np.float32([0.75, 0.9]))
    parquet.write(scores, path, schema, NOTE)
    pd.testing.assert_frame_equal(parquet.read(path, schema), scores, check_dtype=False)
    assert parquet.read(path, schema)["p_y"].dtype == np.float32
    with pytest.raises(MurmurError, match=r"p_x \(float\), p_z \(float\)|p_y \(float\), p_z \(float\)"):
        parquet.read(path, predictions_schema(["x", "z"]))


@pytest.mark.parametrize(
    "frame, words",
    [
        (FRAME.drop(columns="offset"), "column offset is missing"),
        (FRAME.assign(extra=1), "unknown column extra; known are recording_id, offset, n_samples"),
        (FRAME.assign(recording_id=["a", None]), "column recording_id is empty in row 1"),
        (FRAME.assign(offset=[np.nan, 5]), "column offset is empty in row 0"),
        (FRAME.assign(offset=["none", "5"]), "offset"),
        (FRAME.assign(offset=[0.5, 5]), "offset"),
        (FRAME.assign(recording_id=[1, 2]), "recording_id"),
    ],
    ids=["missing", "unknown", "null", "nan", "text", "fraction", "number"],
)
def test_what_is_not_as_declared_is_not_written(path, frame, words):
    with pytest.raises(MurmurError, match=rf"^{path}: .*{words}"):
        parquet.write(frame, path, SIGNALS)
    assert there(path) == []


def test_what_is_not_as_declared_is_not_read(path):
    with pytest.raises(MurmurError, match=rf"^{path}: cannot be read .*; run its stage again: dvc repro"):
        parquet.read(path, SIGNALS)
    path.parent.mkdir()
    path.write_bytes(b"not parquet")
    with pytest.raises(MurmurError, match=rf"^{path}: cannot be read"):
        parquet.read(path, SIGNALS)
    for columns in (
        FRAME.assign(more=1),
        FRAME[["recording_id", "offset"]],
        FRAME.astype({"offset": "float"}),
        FRAME,
    ):
        columns.to_parquet(path, index=False)  # the last: nulls are not forbidden
        with pytest.raises(MurmurError, match=rf"^{path}: not the columns expected: \w+ \(.*; run its stage"):
            parquet.read(path, SIGNALS)
    parquet.write(FRAME, path, SIGNALS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MurmurError, match=rf"^{path}: cannot be read"):
        parquet.read(path, SIGNALS)


def test_card_and_note_travel_with_the_table(path):
    parquet.write(FRAME, path, SIGNALS, CARD)
    assert read_card(path) == CARD
    assert all(type(getattr(read_card(path), f.name)) is type(getattr(CARD, f.name)) for f in fields(CARD))
    parquet.write(FRAME, path, SIGNALS, NOTE)
    assert read_note(path) == NOTE
    parquet.write(FRAME, path, SIGNALS)
    for read in (read_card, read_note):
        with pytest.raises(MurmurError, match=rf"^{path}: no note in its metadata; run the stage"):
            read(path)


def test_the_same_table_is_the_same_bytes(path):
    parquet.write(FRAME, path, SIGNALS, CARD)
    once = path.read_bytes()
    parquet.write(FRAME.copy(), path, SIGNALS, CARD)
    assert path.read_bytes() == once


def test_an_interrupted_write_keeps_what_was_there(path, monkeypatch):
    parquet.write(FRAME, path, SIGNALS)
    before = path.read_bytes()

    def half(table, where):
        where.write_bytes(before[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(parquet.pq, "write_table", half)
    with pytest.raises(KeyboardInterrupt):
        parquet.write(FRAME[:1], path, SIGNALS)
    assert path.read_bytes() == before and there(path) == ["signals.parquet"]


def test_csv_for_people(tmp_path):
    path = tmp_path / "plots/a.csv"
    write_csv(pd.DataFrame({"x": [1 / 3, np.nan], "y": ["ä", "b"]}), path)
    assert path.read_bytes() == "x,y\n0.333333,ä\n,b\n".encode()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_beside_is_whole_or_nothing(tmp_path, folder, old):
    out = tmp_path / "deep" / "out"

    def fill(where, words):
        if folder:
            where.mkdir()
        (where / f"{words}.txt" if folder else where).write_text(words)

    def now():
        return sorted(p.name if folder else p.read_text() for p in (out.iterdir() if folder else [out]))

    if old:
        with files.atomic_write(out) as part:
            fill(part, "old")
    stale = out.with_name("out.4194305.part")  # of a process that was killed: no number is as large
    stale.parent.mkdir(exist_ok=True)
    fill(stale, "stale")
    with pytest.raises(ZeroDivisionError), files.atomic_write(out) as part:
        fill(part, "half")
        1 / 0  # noqa: B018
    assert there(out) == (["out"] if old else [])
    assert not old or now() == (["old.txt"] if folder else ["old"])
    with files.atomic_write(out) as part:
        fill(part, "new")
    assert there(out) == ["out"] and now() == (["new.txt"] if folder else ["new"])


NAMES = [
    "0000",
    "1e5",
    "True",
    "1.0",
    "nan",
    "None",
    "-1",
    "2024-01-02",
    "a,b",
    'a"b',
    "a\nb",
    "a|b",
    "<b>",
    "NA",
]


def test_names_in_a_csv_stay_text_and_figures_are_numbers(tmp_path):
    frame = pd.DataFrame({"item": NAMES, "actual": NAMES[::-1], "run": range(len(NAMES)), "uar": 0.5})
    frame.loc[3, "uar"] = np.nan
    write_csv(frame, tmp_path / "x.csv")
    found = read_csv(tmp_path / "x.csv")
    assert found["item"].tolist() == NAMES and found["actual"].tolist() == NAMES[::-1]
    assert found["run"].dtype == "int64" and found["uar"].dtype == float and found["uar"].isna().sum() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,uar\n0,.5\n1,high\n", "x.csv: row 3, column uar: 'high' is not a number; make it again: dvc r"),
        ("run,uar\n0,.5\n,.5\n", "x.csv: row 3, column run: '' is not a whole number"),
        ("run,uar\n0.5,.5\n", "x.csv: row 2, column run: '0.5' is not a whole number"),
        ("uar,n_units\n0,ten\n", "x.csv: row 2, column n_units: 'ten' is not a whole number"),
        ("run,uar\n0,True\n", "x.csv: row 2, column uar: 'True' is not a number"),
        ("run,uar\n0,inf\n", "x.csv: row 2, column uar: 'inf' is not a number"),
        ("run,uar\n0,nan\n", "x.csv: row 2, column uar: 'nan' is not a number"),
        ("run,uar\n0,1e999\n", "x.csv: row 2, column uar: '1e999' is not a number"),
        ("run,uar\n" + "9" * 30 + ",1\n", "x.csv: row 2, column run: '9+' is not a whole number"),
        ("run,uar\n0," + "1" * 100_000 + "x\n", "x.csv: row 2, column uar: '1{100}…' is not a number"),
        ("run,uar\n0,1,2\n", "x.csv: a row has too many fields"),
        ("run,uar\n0,1\n0,1,2\n", "x.csv: cannot be read as CSV"),
        ("run\n0\n", "x.csv: no column uar; make it again"),
        ("", "x.csv: cannot be read as CSV"),
        ("run,uar\n0,\xff\n", "x.csv: cannot be read"),
    ],
)
def test_a_word_among_the_numbers_is_named_with_its_row_and_column(tmp_path, text, message):
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(MurmurError, match=message):
        read_csv(tmp_path / "x.csv", ["uar"])


def test_two_processes_that_write_one_file_do_not_touch_what_the_other_writes(tmp_path):
    out, other = tmp_path / "out", tmp_path / f"out.{os.getppid()}.part"
    other.write_text("another process's")
    with files.atomic_write(out) as part:
        assert part.name != other.name
        part.write_text("ours")
    assert out.read_text() == "ours" and other.read_text() == "another process's"


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_what_is_no_name(name):
    with pytest.raises(MurmurError, match="is not the name of a file"):
        files.write_text(name, "text")


def test_a_folder_where_a_file_is_written(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError) as caught:
        files.write_text(tmp_path / "out", "text")
    assert (
        explain_os_error(caught.value) == f"{tmp_path}/out: Is a directory; a file is expected, not a folder"
    )
    assert there(tmp_path / "out") == ["out"]


@pytest.mark.parametrize("where", ["/dev/null", "/dev/stdout", "/proc/self/fd/1", "pipe"])
def test_a_device_or_pipe_is_never_replaced(tmp_path, where):
    os.mkfifo(tmp_path / "pipe")
    before = os.lstat(tmp_path / where)
    with pytest.raises(
        MurmurError, match=f"{where}: is a device or a pipe, not an ordinary file; name a file"
    ):
        files.write_text(tmp_path / where, "text")
    assert os.lstat(tmp_path / where).st_mode == before.st_mode


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError) as caught, files.atomic_write(tmp_path / "out") as part:
        part.write_text("half")
        with open("/dev/full", "w") as full:
            full.write("more")
    assert (
        explain_os_error(caught.value)
        == f"{tmp_path}/out: No space left on device; free some space there, then run it again"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 25)])
def test_a_name_that_is_too_long_is_told_in_short(tmp_path, name):
    with pytest.raises(OSError) as caught:
        files.write_text(tmp_path / name, "text")
    assert len(explain_os_error(caught.value)) < 400
    assert explain_os_error(caught.value).endswith(": File name too long; choose a shorter name")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frame, words",
    [
        (FRAME[:0], "it has no row"),
        (FRAME.assign(recording_id="a"), "row 1 has the recording_id of another row"),
        (FRAME.assign(offset=[0, -5]), "column offset is below 0 in row 1"),
    ],
)
def test_rows_that_no_stage_writes(path, frame, words):
    parquet.write(frame, path, SIGNALS)
    with pytest.raises(MurmurError, match=f"signals.parquet: {words}; run its stage again: dvc repro"):
        parquet.read(path, SIGNALS)


@pytest.mark.parametrize("note", ["{", "[1]", '{"dataset": "x", "new": 1}', '{"dataset": "x"}'])
def test_a_note_of_another_version(path, note):
    parquet.write(FRAME, path, SIGNALS)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"murmur": note}), path)
    for read in (read_card, read_note):
        with pytest.raises(
            MurmurError, match=r"signals.parquet: the note in its metadata is of another version"
        ):
            read(path)


def test_a_table_of_figures_that_must_have_rows(tmp_path):
    (tmp_path / "t.csv").write_text("run,uar\n")
    with pytest.raises(MurmurError, match=r"t\.csv: it has no row; make it again: dvc repro"):
        read_csv(tmp_path / "t.csv", ["uar"], may_be_empty=False)


def test_tables_of_two_runs(path):
    with pytest.raises(MurmurError, match=r"one: recording b is not in other; they are of two runs"):
        check_recordings(FRAME, FRAME[:1], "one", "other")
    check_recordings(FRAME[:1], FRAME, "one", "other")
