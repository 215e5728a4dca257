"""Tables and files are complete and match their schema, or do not exist."""

import os
import tempfile
from dataclasses import fields

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from murmur import files
from murmur.errors import MurmurError, explain_os_error
from murmur.tables import parquet
from murmur.tables.csv_reader import read_csv
from murmur.tables.csv_writer import write_csv
from murmur.tables.folds import FOLDS
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.predictions import FIGURES, TrainingInfo, make_predictions_schema, read_training_info
from murmur.tables.recordings import DatasetCard, check_recordings, read_dataset_card
from murmur.tables.signals import SIGNALS

FRAME = pd.DataFrame({"recording_id": ["a", "b"], "offset": [0, 5], "n_samples": [5, 7]})
CARD = DatasetCard("circor", "murmur", ("Present", "Absent"), ("Present",), (5.0, 1.0), "persons", "ODC-By")
NOTE = TrainingInfo("cpu", "float32", {"torch": "2"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "signals.parquet"


def list_files(path):
    return [p.name for p in path.parent.iterdir()] if path.parent.exists() else []


def test_a_table_is_read_as_it_was_written(path):
    parquet.write(FRAME[["n_samples", "offset", "recording_id"]], path, SIGNALS)
    pd.testing.assert_frame_equal(parquet.read(path, SIGNALS), FRAME, check_dtype=False)
    assert list_files(path) == ["signals.parquet"]
    empty = pd.DataFrame(columns=LEFT_OUT.names, dtype=str)
    parquet.write(empty, path, LEFT_OUT)
    assert len(parquet.read(path, LEFT_OUT)) == 0


def test_null_values_and_predictions_are_read_as_they_were_written(path):
    folds = pd.DataFrame(
        {"run": [0, 0], "fold": [0, 1], "recording_id": ["a", "b"], "role": ["train", "test"]}
    )
    parquet.write(folds.assign(segment_id=[None, "b@0"], inner=[None, 1]), path, FOLDS)
    assert list(parquet.read(path, FOLDS)["segment_id"].fillna("-")) == ["-", "b@0"]
    schema = make_predictions_schema(["x", "y"])
    scores = folds[["run", "fold", "role"]].assign(level="patient", unit_id=["a", "b"])
    scores = scores.assign(p_x=np.float32([0.25, 0.1]), p_y=np.float32([0.75, 0.9]))
    scores = scores.assign(**dict.fromkeys(FIGURES, np.float32([0.5, np.nan])))
    parquet.write(scores, path, schema, NOTE)
    pd.testing.assert_frame_equal(parquet.read(path, schema), scores, check_dtype=False)
    assert parquet.read(path, schema)["p_y"].dtype == np.float32
    with pytest.raises(MurmurError, match=r"p_x \(float\), p_z \(float\)|p_y \(float\), p_z \(float\)"):
        parquet.read(path, make_predictions_schema(["x", "z"]))


@pytest.mark.parametrize(
    ("frame", "message"),
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
def test_a_table_that_does_not_match_its_schema_is_not_written(path, frame, message):
    with pytest.raises(MurmurError, match=rf"^{path}: .*{message}"):
        parquet.write(frame, path, SIGNALS)
    assert list_files(path) == []


def test_a_table_that_does_not_match_its_schema_is_not_read(path):
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
        columns.to_parquet(path, index=False)  # in the last one all columns are nullable
        with pytest.raises(MurmurError, match=rf"^{path}: not the columns expected: \w+ \(.*; run its stage"):
            parquet.read(path, SIGNALS)
    parquet.write(FRAME, path, SIGNALS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MurmurError, match=rf"^{path}: cannot be read"):
        parquet.read(path, SIGNALS)


def test_card_and_note_are_in_the_metadata_of_a_table(path):
    parquet.write(FRAME, path, SIGNALS, CARD)
    assert read_dataset_card(path) == CARD
    assert all(
        type(getattr(read_dataset_card(path), f.name)) is type(getattr(CARD, f.name)) for f in fields(CARD)
    )
    parquet.write(FRAME, path, SIGNALS, NOTE)
    assert read_training_info(path) == NOTE
    parquet.write(FRAME, path, SIGNALS)
    for read_one in (read_dataset_card, read_training_info):
        with pytest.raises(MurmurError, match=rf"^{path}: no note in its metadata; run the stage"):
            read_one(path)


def test_the_same_table_gives_the_same_bytes(path):
    parquet.write(FRAME, path, SIGNALS, CARD)
    first = path.read_bytes()
    parquet.write(FRAME.copy(), path, SIGNALS, CARD)
    assert path.read_bytes() == first


def test_an_interrupted_write_keeps_the_earlier_file(path, monkeypatch):
    parquet.write(FRAME, path, SIGNALS)
    before = path.read_bytes()

    def write_some(table, part):
        part.write_bytes(before[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(parquet.pq, "write_table", write_some)
    with pytest.raises(KeyboardInterrupt):
        parquet.write(FRAME[:1], path, SIGNALS)
    assert path.read_bytes() == before and list_files(path) == ["signals.parquet"]


def test_numbers_in_a_csv_have_six_digits_and_undefined_ones_are_empty(tmp_path):
    path = tmp_path / "plots/a.csv"
    write_csv(pd.DataFrame({"x": [1 / 3, np.nan], "y": ["ä", "b"]}), path)
    assert path.read_bytes() == "x,y\n0.333333,ä\n,b\n".encode()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_a_file_or_folder_is_written_completely_or_not_at_all(tmp_path, folder, old):
    out = tmp_path / "deep" / "out"

    def fill(part, text):
        if folder:
            part.mkdir()
        (part / f"{text}.txt" if folder else part).write_text(text)

    def read():
        return sorted(p.name if folder else p.read_text() for p in (out.iterdir() if folder else [out]))

    if old:
        with files.atomic_write(out) as part:
            fill(part, "old")
    process = f"{files._name_machine()}.4194305"  # of a killed process: above the largest process number
    stale = out.with_name(f"out.{process}.part")
    stale.parent.mkdir(exist_ok=True)
    fill(stale, "stale")
    with pytest.raises(ZeroDivisionError), files.atomic_write(out) as part:
        fill(part, "half")
        1 / 0  # noqa: B018
    assert list_files(out) == (["out"] if old else [])
    assert not old or read() == (["old.txt"] if folder else ["old"])
    with files.atomic_write(out) as part:
        fill(part, "new")
    assert list_files(out) == ["out"] and read() == (["new.txt"] if folder else ["new"])


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


def test_names_in_a_csv_stay_text_and_results_are_numbers(tmp_path):
    frame = pd.DataFrame({"item": NAMES, "actual": NAMES[::-1], "run": range(len(NAMES)), "uar": 0.5})
    frame.loc[3, "uar"] = np.nan
    write_csv(frame, tmp_path / "x.csv")
    table = read_csv(tmp_path / "x.csv")
    assert table["item"].tolist() == NAMES and table["actual"].tolist() == NAMES[::-1]
    assert table["run"].dtype == "int64" and table["uar"].dtype == float and table["uar"].isna().sum() == 1


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
def test_a_cell_that_is_not_a_number_is_named_with_its_row_and_column(tmp_path, text, message):
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(MurmurError, match=message):
        read_csv(tmp_path / "x.csv", ["uar"])


def test_two_processes_can_write_the_same_file_even_on_two_machines(tmp_path):
    out, pid = tmp_path / "out", os.getpid()
    others = [
        tmp_path / f"out.{files._name_machine()}.{os.getppid()}.part",
        tmp_path / f"out.1234abcd.{pid}.part",
    ]
    for other in others:
        other.write_text("another process's")
    with files.atomic_write(out) as part:
        assert part not in others
        part.write_text("ours")
    assert out.read_text() == "ours" and all(other.read_text() == "another process's" for other in others)
    os.utime(others[1], (0, 0))
    assert files.remove_unfinished(tmp_path) == others[1:]


def test_the_temporary_folder_of_a_killed_process_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, running = (
        tmp_path / f"murmur-x.{files._name_machine()}.{n}.part" for n in (2**22 + 1, os.getpid())
    )
    for folder in (killed, running):
        (folder / "project").mkdir(parents=True)
    with files.temporary_folder() as folder:
        assert set(tmp_path.iterdir()) == {running, folder}
    assert list(tmp_path.iterdir()) == [running]


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_path_without_a_name_is_refused(name):
    with pytest.raises(MurmurError, match="is not the name of a file"):
        files.write_text(name, "text")


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError) as caught:
        files.write_text(tmp_path / "out", "text")
    assert (
        explain_os_error(caught.value) == f"{tmp_path}/out: Is a directory; a file is expected, not a folder"
    )
    assert list_files(tmp_path / "out") == ["out"]


@pytest.mark.parametrize("where", ["/dev/null", "/dev/stdout", "/proc/self/fd/1", "pipe"])
def test_a_device_or_pipe_is_never_replaced(tmp_path, where):
    os.mkfifo(tmp_path / "pipe")
    before = os.lstat(tmp_path / where)
    with pytest.raises(
        MurmurError, match=f"{where}: is a device or a pipe, not an ordinary file; name a file"
    ):
        files.write_text(tmp_path / where, "text")
    assert os.lstat(tmp_path / where).st_mode == before.st_mode


def test_the_error_of_a_full_disk_names_the_file_and_no_part_of_it_is_left(tmp_path):
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
def test_the_error_for_a_name_that_is_too_long_shortens_it(tmp_path, name):
    with pytest.raises(OSError) as caught:
        files.write_text(tmp_path / name, "text")
    assert len(explain_os_error(caught.value)) < 400
    assert explain_os_error(caught.value).endswith(": File name too long; choose a shorter name")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME[:0], "it has no row"),
        (FRAME.assign(recording_id="a"), "row 1 has the recording_id of another row"),
        (FRAME.assign(offset=[0, -5]), "column offset is below 0 in row 1"),
    ],
)
def test_rows_that_no_stage_can_have_written_are_refused(path, frame, message):
    parquet.write(frame, path, SIGNALS)
    with pytest.raises(MurmurError, match=f"signals.parquet: {message}; run its stage again: dvc repro"):
        parquet.read(path, SIGNALS)


@pytest.mark.parametrize("note", ["{", "[1]", '{"dataset": "x", "new": 1}', '{"dataset": "x"}'])
def test_metadata_of_another_version_are_refused(path, note):
    parquet.write(FRAME, path, SIGNALS)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"murmur": note}), path)
    for read_one in (read_dataset_card, read_training_info):
        with pytest.raises(
            MurmurError, match=r"signals.parquet: the note in its metadata is of another version"
        ):
            read_one(path)


def test_an_empty_csv_is_refused_if_it_must_have_rows(tmp_path):
    (tmp_path / "t.csv").write_text("run,uar\n")
    with pytest.raises(MurmurError, match=r"t\.csv: it has no row; make it again: dvc repro"):
        read_csv(tmp_path / "t.csv", ["uar"], may_be_empty=False)


def test_recordings_that_another_table_does_not_have_are_refused(path):
    with pytest.raises(MurmurError, match=r"one: recording b is not in other; they are of two runs"):
        check_recordings(FRAME, FRAME[:1], "one", "other")
    check_recordings(FRAME[:1], FRAME, "one", "other")
