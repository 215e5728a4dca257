"""murmur literature: the lists of authors are read as they are, or the error names the row."""

import contextlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from murmur.commands import literature as commands
from murmur.errors import MurmurError
from murmur.experiments import literature, split_lists
from murmur.experiments import project as dvc_project
from murmur.experiments.split_lists import assign_recordings, read_list, read_parts
from murmur.files import write_text
from murmur.params.yaml_files import read_yaml
from murmur.splits.published import read_published_split
from tests import made
from tests.cohort import NO_PAIRS, make_pair, make_recordings

CLASSES = ("Present", "Unknown", "Absent")
FOLDERS = {"train": "train_data", "validation": "vali_data", "test": "test_data"}


def write_list(path, parts, *, pattern="hmd/data/stratified_data1/{}/{}", newline="\n", bom=""):
    """A list as M2D's authors publish it: of each recording three files, of each patient a text."""
    names = {
        role: [f"{name}{end}" for name in ids for end in (".wav", ".hea", ".tsv")]
        + [f"{patient}.txt" for patient in dict.fromkeys(name.split("_")[0] for name in ids)]
        for role, ids in parts.items()
    }
    lines = [pattern.format(FOLDERS[role], name) for role, files in names.items() for name in files]
    text = bom + newline.join(["dest_file", *lines, ""])
    path.write_bytes(text.encode())
    return path


PARTS = {"train": ["1_AV", "1_MV", "50115_TV_1"], "validation": ["2_PV"], "test": ["3_AV"]}


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"bom": "\ufeff", "newline": "\r\n"},
        {"pattern": r"C:\Users\me\train\stratified_data1\{}\{}"},  # the nearest folder counts
    ],
)
def test_a_list_of_paths_gives_the_part_of_each_recording(tmp_path, form):
    table = read_list(write_list(tmp_path / "list.csv", PARTS, **form))
    assert table.groupby("role")["id"].agg(list).to_dict() == PARTS
    assert table["row"].tolist() == [2, 5, 8, 13, 17]  # of the file


@pytest.mark.parametrize("ids", ["p1\np2\n", "\ufeffpatient_id,age\r\np1,7\r\np2,\r\n", "p1.txt\nx/p2.wav\n"])
def test_a_folder_has_a_file_of_ids_for_each_part(tmp_path, ids):
    (tmp_path / "train.txt").write_text(ids)
    (tmp_path / "test.csv").write_text("q\n")
    table = read_list(tmp_path)
    assert table.groupby("role")["id"].agg(list).to_dict() == {"train": ["p1", "p2"], "test": ["q"]}
    same = read_parts({"train": tmp_path / "train.txt", "test": tmp_path / "test.csv"})
    pd.testing.assert_frame_equal(same, table)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "list.csv",
            "dest_file\nx/train_data/1_AV.wav\nx/other/2_AV.wav\n",
            "row 3: dest_file has no fo",
        ),
        (
            "list.csv",
            "file\nx\n",
            "no column dest_file; a list is a CSV file with the column dest_f",
        ),
        ("train.txt", "1\n", r"no test.txt; a list is"),
        ("list.csv", "dest_file\n", r"list\.csv: has no rows; a list is"),
        ("absent", None, r"absent: cannot be read \(No such file"),
    ],
)
def test_a_list_with_an_error_is_refused(tmp_path, name, text, message):
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(MurmurError, match=message):
        read_list(tmp_path if name == "train.txt" else tmp_path / name)


def test_a_file_of_ids_with_only_a_first_line_is_named(tmp_path):
    (tmp_path / "train.txt").write_text("1\n")
    (tmp_path / "test.txt").write_text("patient_id\n")
    with pytest.raises(MurmurError, match=r"test\.txt: has no ids below its first line; a list is"):
        read_list(tmp_path)


def make_list(rows):
    """A list from pairs of id and role; rows are numbered from 2."""
    table = pd.DataFrame(rows, columns=["id", "role"])
    return table.assign(file="l.csv", row=range(2, len(rows) + 2))


def assign(rows, recordings, left_out=(), *, allow_missing=False):
    return assign_recordings(make_list(rows), recordings, left_out, allow_missing=allow_missing)


def test_ids_are_those_of_recordings_or_of_patients(capsys):
    recordings = make_recordings(6, linked=0)
    first = recordings.loc[recordings["patient_id"] == "0", "recording_id"].tolist()
    roles = assign([("0", "train"), ("0", "train"), ("1_AV", "test")], recordings)
    assert roles.to_dict("records") == [
        {"recording_id": "1_AV", "role": "test"},
        *({"recording_id": name, "role": "train"} for name in first),
    ]
    rows = [("0", "train"), ("1", "test"), ("99", "test"), ("98", "train")]
    with pytest.raises(MurmurError, match=r"^l\.csv: row 5: the data set has no recording or patient 98 \("):
        assign(rows, recordings, ["99"])
    for options in ({"allow_missing": True}, {"left_out": ["98", "99"]}):
        assert set(assign(rows, recordings, **options)["role"]) == {"train", "test"}
        assert (
            "l.csv: 2 of 4 recordings or patients are not in the data, such as 99 (row 4)"
            in capsys.readouterr().out
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("0", "train"), ("0_AV", "test")],
            "row 2: 0 is in the train part, but row 3 of",
        ),
        ([("0_AV", "train"), ("1", "validation")], "l.csv: no recording of the data set is in its test part"),
        ([("1", "test")], "l.csv: no recording of the data set is in its train part"),
    ],
)
def test_parts_must_be_disjoint_and_complete(rows, message):
    with pytest.raises(MurmurError, match=message):
        assign(rows, make_recordings(6, linked=0))


def test_the_runs_of_a_list_have_its_parts_and_keep_their_numbers_with_more_seeds_or_lists(tmp_path):
    recordings = make_recordings(20, linked=0)
    lists = [
        assign([(f"{k}", "test" if (k < 10) == test_first else "train") for k in range(20)], recordings)
        for test_first in (True, False)
    ]
    path = tmp_path / "s.csv"
    path.write_text(split_lists.format_split(lists, 2))
    assert [*split_lists.number_runs(2, 2)] == [0, 1, 1000, 1001]
    split = read_published_split(path, recordings, [0, 1, 1000, 1001])
    for run, (k, _) in split_lists.number_runs(2, 2).items():
        found = split[split["run"] == run].set_index("recording_id")["role"]
        assert found.to_dict() == lists[k].set_index("recording_id")["role"].to_dict()


def test_shared_persons_are_counted_and_leave_the_training_but_not_the_test_part():
    recordings = make_recordings(12, linked=3)  # patients 9, 10, 11 are the persons of 0, 1, 2
    pair = make_pair("5_AV", "6_AV")
    persons = literature._group_persons(recordings, pair)
    parts = {"test": ["0", "1", "3", "5"], "validation": ["9", "2"]}
    roles = assign(
        [(f"{k}", next((r for r, ids in parts.items() if f"{k}" in ids), "train")) for k in range(12)],
        recordings,
    )
    _, n_shared, n_test = literature.find_shared(roles, persons)
    assert (n_shared, n_test) == (3, 4)  # 0 is 9, 1 is 10, 5 is a copy of 6
    kept = literature.remove_shared(roles, persons)
    patients = kept.merge(recordings, on="recording_id").groupby("role_x")["patient_id"].agg(set).to_dict()
    assert patients == {"test": {*"0135"}, "validation": {"2"}, "train": {"4", "7", "8", "11"}}
    assert literature.find_shared(kept, persons)[1] == 0
    assert literature.find_shared(roles, literature._group_persons(recordings, NO_PAIRS))[1] == 2


def test_predictions_of_several_trainings_are_averaged_where_all_predict():
    key = {"fold": 0, "role": "test", "level": "segment"}
    first = pd.DataFrame(
        [key | {"run": 0, "unit_id": u, "p_a": p, "murmur": None} for u, p in (("x", 0.2), ("y", 1))]
    )
    second = pd.DataFrame([key | {"run": 1, "unit_id": "x", "p_a": 0.6, "murmur": None}])
    (row,) = literature._average([first, second]).to_dict("records")
    assert (row["unit_id"], row["p_a"]) == ("x", pytest.approx(0.4))


def make_scores(protocol, leaky, shift=0.0):
    """Two lists with two trainings each."""
    rows = [("a", 1, 0, 10, 0.7), ("a", 1, 1, 10, 0.8), ("b", 0, 0, 9, 0.5), ("b", 0, 1, 9, 0.6)]
    runs = pd.DataFrame(rows, columns=["list", "n_shared", "seed", "n_units", "uar"])
    runs["uar"] += shift
    means = runs[::2].assign(seed="all", uar=[0.9, 0.7])
    details = {
        "headline": {"uar": {"mean": 0.65, "low": 0.6, "high": 0.7}, "roc_auc": None},
        "protocol": {"leaky": leaky, "shared_persons": 1 if leaky else 0},
    }
    return literature.Scores(protocol, runs, means, details)


def test_the_table_has_each_list_all_runs_the_means_of_networks_and_publications():
    scores = [make_scores("as published", True), make_scores("not", False, shift=0.1)]
    header, *rows = literature.tabulate_scores(scores, is_circor=True)
    assert header == ("system", "test", "shared", "uar")
    assert rows[:4] == [
        ("this model, as published (LEAKY)", "a, 2 runs", "1 of 10", "0.750 ± 0.071"),
        ("this model, as published (LEAKY)", "b, 2 runs", "0 of 9", "0.550 ± 0.071"),
        ("this model, as published (LEAKY)", "all 4 runs", "", "0.650 ± 0.129"),
        ("this model, as published (LEAKY)", "2 lists, mean of the networks", "", "0.800 ± 0.141"),
    ]
    assert rows[6] == ("this model, not", "all 4 runs", "", "0.750 ± 0.129")
    assert rows[8][0] == "M2D, fine-tuned, 86 M parameters" and rows[8][-1] == "0.713"
    assert len(literature.tabulate_scores(scores, is_circor=False)) == 9
    first, leak, *_ = literature.list_notes(scores, is_circor=True)
    assert first.endswith("mean of all runs [95 % interval over persons]: uar 0.650 [0.600, 0.700]")
    assert leak.startswith(
        "as published: LEAKY, the figures may be too optimistic: the worst fold shares 1 person"
    )
    table = literature.list_runs(scores)
    assert table["seed"].tolist() == [0, 1, 0, 1, "all", "all"] * 2
    assert table["protocol"].tolist() == ["as published"] * 6 + ["not"] * 6


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project and a data set of 18 patients, of whom 8 is 1 again."""
    folder = tmp_path / "project"
    for part in ("src", "stages", "recipes", "data/folder", "data/splits"):
        shutil.copytree(made.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(made.ROOT / name, folder)
    linked = {8: {"Additional ID": "1"}}
    patients = [made.patient(f"{k}", "AV+PV", CLASSES[k % 3], **linked.get(k, {})) for k in range(1, 19)]
    made.circor(tmp_path / "data sets/circor", patients)
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path / "data sets"))
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    monkeypatch.setattr(dvc_project, "find_cache", lambda: Path(".dvc/cache"))
    monkeypatch.setattr(dvc_project, "run_dvc", run_in_process)
    monkeypatch.chdir(folder)
    return folder


def run_in_process(folder, *arguments):
    """Run the stages that `dvc repro` would start, each in a process, in this process."""
    stages = {
        ("repro", "duplicates"): ("download", "duplicates"),
        ("repro", "evaluate"): ("clean", "segment", "mel", "label", "split", "train", "cycles", "evaluate"),
    }.get(arguments, ())
    (folder / ".dvc").mkdir(exist_ok=True)
    write_text(folder / "data/pretrained.json", "{}\n")  # as the stage check, for a training without weights
    runs = read_yaml(folder / "params.yaml")["split"]["runs"]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for stage in stages:
            for run in runs if stage == "train" else (None,):
                patch.setattr(sys, "argv", [f"{stage}.py", str(run)])
                importlib.import_module(f"stages.{stage}").main()


CHANGES = {
    "dataset": "circor",
    "segment.length": 0.2,
    "train.epochs": 1,
    "train.model": {"name": "cnn", "width": 4},
    "evaluate.draws": 10,
}


@pytest.mark.usefixtures("threads_as_before")
def test_two_trainings_of_a_list_are_scored_with_and_without_the_shared_person(project, capfd):
    parts = {"train": range(7, 19), "validation": range(4, 7), "test": range(1, 4)}
    write_list(
        Path("mine.csv"), {r: [f"{k}_{s}" for k in ids for s in ("AV", "PV")] for r, ids in parts.items()}
    )
    settings = [f"{key}={json.dumps(value)}" for key, value in CHANGES.items()]
    commands.score_literature([Path("mine.csv")], settings, seeds=2)
    first = capfd.readouterr()
    assert (
        "1 of 3 test patients also are in another part, under another id or in a copy (2 rec"
        in first.err + first.out
    )
    rows = [line for line in first.out.splitlines() if line.startswith("this model")]
    assert [("LEAKY" in row, "1 of 3" in row, "0 of 3" in row) for row in rows] == [
        *((True, True, False), (True, False, False), (True, False, False)),
        *((False, False, True), (False, False, False), (False, False, False)),
    ]
    assert "M2D, fine-tuned" in first.out and "0.832 ± 0.016" in first.out
    assert not Path("metrics").exists()  # the workspace is unchanged
