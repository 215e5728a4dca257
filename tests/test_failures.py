"""Every invalid input that the pipeline detects, in the stages as DVC runs them.

An error names the file, row or key and what to do, and no stage leaves an incomplete file. Items that are
left out are listed in a table.
"""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from murmur.errors import MurmurError, run_stage
from murmur.files import write_text
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
from murmur.tables.recordings import RECORDINGS
from murmur.tables.segments import SEGMENTS
from tests import made

ROWS = [{"path": f"{k}.wav", "label": ("ill", "well")[k % 2]} for k in range(8)]
OUTS = ["data/left_out/download.parquet", "data/raw", "data/recordings.parquet"]
SMALL = {
    "dataset": "folder",
    "positive": ["ill"],
    "download.folder.path": "own",
    "segment.length": 0.25,
    "segment.min_length": 0.0,
    "split.folds": 2,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to run stages in, with eight recordings of dataset folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path / "shared"))
    made.folder(tmp_path / "own", ROWS)
    write_text("data/pretrained.json", "{}\n")  # as the stage check, for a training without weights
    return tmp_path


def run(*stages, **changes):
    """Run stages in the working directory, with the parameters SMALL and these changes."""
    with open("params.yaml", "w", encoding="utf-8") as file:
        yaml.safe_dump(made.changed(SMALL | changes), file)
    for stage in stages:
        importlib.import_module(f"stages.{stage}").main()


def list_files(root):
    """The files of a project, without the parameters and the progress of a training."""
    files = (p.relative_to(root) for p in root.rglob("*") if p.is_file() and p.name != "params.yaml")
    return {p.as_posix() for p in files if p.parts[0] != "live"}


def check_fails(project, stage, message, **changes):
    """Check that a stage fails with this message and writes nothing."""
    before = list_files(project)
    with pytest.raises(MurmurError, match=message):
        run(stage, **changes)
    assert list_files(project) == before and not list(project.rglob("*.part"))
    assert stage != "download" or not (project / "data/raw").exists()


def write_table(project, text):
    (project / "own/recordings.csv").write_text(text, encoding="utf-8")


def raise_size_in_header(path):
    data = bytearray(path.read_bytes())
    data[40:44] = (2**20).to_bytes(4, "little")
    path.write_bytes(data)


BROKEN = {
    "cut": (
        made.cut,
        "cut short: its header states 4000 bytes of samples, the file has 1978; fetch the file again",
    ),
    "promises more": (
        raise_size_in_header,
        "cut short: its header states 1048576 bytes .* fetch the file again",
    ),
    "empty": (lambda p: p.write_bytes(b""), "not readable as audio .*; replace the file"),
    "header only": (
        lambda p: p.write_bytes(p.read_bytes()[:40] + bytes(4)),
        "holds no samples; replace the file",
    ),
    "not audio": (lambda p: p.write_text("<html>404</html>"), "not readable as audio .*; replace the file"),
    "FLAC cut": (
        lambda p: made.cut(made.audio(p, format="FLAC")),
        "(?:not readable|cut short).*; (?:fetch|replace) the file",
    ),
    "NaN": (
        lambda p: made.audio(p, np.array([0.1, np.nan, 0.2]), subtype="FLOAT"),
        "sample 1 is not a finite number; rep",
    ),
    "silence": (lambda p: made.audio(p, np.zeros(900)), "silent: all 900 samples are 0; replace the file"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_recording_is_refused_or_left_out(project, what):
    damage, message = BROKEN[what]
    damage(project / "own/2.wav")
    check_fails(
        project,
        "download",
        rf"1 recording cannot be used; fix the files.*leave_out[^\n]*\n *own/2\.wav: {message}",
    )
    run("download", **{"download.on_bad": "leave_out"})
    left_out = parquet.read(OUTS[0], LEFT_OUT)
    assert list(left_out["item"]) == ["2"] and left_out["reason"].str.contains(message).all()
    assert len(parquet.read(OUTS[2], RECORDINGS)) == 7 and not (project / "data/raw/2.wav").exists()


def test_all_broken_recordings_are_named_at_once(project):
    for k in (1, 3, 6):
        made.cut(project / f"own/{k}.wav")
    check_fails(project, "download", r"(?s)3 recordings cannot be used.*own/1\.wav.*own/3\.wav.*own/6\.wav")


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        (np.stack([made.noise()] * 2, 1), {}, (4000, 2000)),
        (np.round(made.noise() * 100) / 128, {"subtype": "PCM_U8"}, (4000, 2000)),
        (made.noise(), {"subtype": "PCM_24"}, (4000, 2000)),
        (made.noise(), {"rate": 11025}, (11025, 2000)),
        (made.noise(50), {}, (4000, 50)),
    ],
    ids=["stereo", "8 bit", "24 bit", "another rate", "shorter than a segment"],
)
def test_unusual_recordings_are_accepted(project, samples, options, expected):
    made.audio(project / "own/2.wav", samples, **options)
    run("download", "clean", "segment", **{"segment.min_length": 0.1})
    recordings = parquet.read(OUTS[2], RECORDINGS).set_index("recording_id")
    assert tuple(recordings.loc["2", ["sample_rate", "n_samples"]]) == expected
    left_out = parquet.read("data/left_out/segment.parquet", LEFT_OUT)
    is_short = len(samples) < 1000
    assert ("2" in set(left_out["item"])) == is_short
    assert (
        not is_short
        or "whole recording of 0.01 s is too short" in left_out.set_index("item").loc["2", "reason"]
    )
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    assert (set(recordings.index) == set(segments["recording_id"])) != is_short


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"download.folder.path": "ow"}, "download.folder.path: no folder ow; name the folder"),
        ({"download.folder.csv": "table.csv"}, r"own/table\.csv: cannot be read .*; save it as CSV"),
        (
            {"download.folder.csw": "a"},
            "download.folder: unknown key csw; did you mean csv",
        ),
        ({"download.limt": 3}, "params.yaml: unknown key download.limt; known are limit"),
        ({"dataset": "folders"}, "dataset: no data set 'folders'; there are .*folder, pascal, synthetic"),
        ({"dataset": "circor.x"}, "dataset: not a name: .* .it is 'circor.x'"),
        ({"class_map": {"il": None}}, "class_map: no class il; the classes are ill, well"),
        (
            {"class_map": {"well": None}},
            r"class_map leaves 1 class \(ill\), and a task needs two: .* or change",
        ),
        (
            {"positive": ["sick"]},
            r"positive: \['sick'\] is not a choice; name some, not all, of the classes ill, well",
        ),
        (
            {"mel.n_mel": 3},
            "params.yaml: unknown key mel.n_mel; did you mean mel.n_mels. Remove it .*git checkout",
        ),
        ({"mel.f_max": 1001}, "mel.f_max 1001 Hz is above Nyquist, 1000 Hz; lower it or raise clean.sample"),
    ],
)
def test_an_invalid_key_is_refused(project, changes, message):
    check_fails(project, "download", message, **changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: (p / "own/3.wav").unlink(),
            r"own/3\.wav: the table names this file, but .*add the file or",
        ),
        (
            lambda p: write_table(p, "path,label\n0.wav,ill\n0.wav,well\n"),
            r"csv: row 3: recording 0 is in two",
        ),
        (
            lambda p: write_table(p, "path,label\n0.wav,ill\n1.wav,\n"),
            r"own/recordings\.csv: row 3: label is em",
        ),
        (
            lambda p: write_table(p, "path,label\n0.wav,ill\n/1.wav,ill\n"),
            r"row 3: /1\.wav is not a path inside",
        ),
    ],
)
def test_an_invalid_folder_is_refused(project, damage, message):
    damage(project)
    check_fails(project, "download", message)


@pytest.mark.parametrize(
    ("patients", "damaged", "changes", "message"),
    [
        ([made.PATIENTS[0]] * 2, None, {}, r"data\.csv: row 3: the patient is in two rows; keep one"),
        ([made.patient("7", murmur="Maybe")], None, {}, "patient 7: Murmur is 'Maybe', expected .*; correct"),
        (made.PATIENTS, "training_data.csv", {}, r"training_data\.csv: its sha256 is not .*; fetch"),
        (made.PATIENTS, "training_data/1003_MV.wav", {}, r"\n  \S*/1003_MV\.wav: its sha256 is .*; fetch"),
        (made.PATIENTS, None, {"task": "murmer"}, "task: circor has no task 'murmer'; it has murmur, outc"),
        (
            made.PATIENTS,
            None,
            {"download.limit": 1},
            "class Unknown, Absent is left; .*4 x beyond download.limit 1",
        ),
    ],
)
def test_an_invalid_circor_is_refused(project, patients, damaged, changes, message):
    root = made.circor(project / "shared/circor", patients)
    if damaged:
        made.cut(root / damaged)
    check_fails(project, "download", message, **{"dataset": "circor", "positive": None} | changes)


def test_recordings_may_be_missing_in_murmur_data(project):
    (made.circor(project / "shared/circor") / "training_data/1002_PV.wav").unlink()
    made.audio(project / "shared/circor/training_data/5_AV.wav")
    run("download", dataset="circor", positive=None)
    reasons = parquet.read(OUTS[0], LEFT_OUT).set_index("item")["reason"]
    assert dict(reasons) == {
        "1002_PV": "the file is missing",
        "training_data/5_AV.wav": "no table names this file",
    }
    assert len(parquet.read(OUTS[2], RECORDINGS)) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"split.folds": 5},
            "split: 4 recordings of class ill, 4 .*; 5 folds need 5 of each class: lower split.folds",
        ),
        ({"split.method": "role"}, "split.method role: recording 0 has no role; give all train or test"),
        ({"split.run": [0]}, "params.yaml: unknown key split.run; did you mean split.runs"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(project, changes, message):
    run("download", "duplicates", "clean", "segment")
    check_fails(project, "split", message, **changes)
    run("split")
    assert len(list_files(project / "data/folds")) == 10


def published(rows):
    """A published split of the recordings 0 to 7: rows of recording_id, run, role."""
    return "".join(f"{line}\n" for line in ("recording_id,run,role", *rows))


ROLES = [f"{k},0,{'test' if k < 4 else 'train'}" for k in range(8)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [*ROLES, "9,0,train"],
            r"s\.csv: row 10: the data set has no such recording_id \(such rows: 1\); take",
        ),
        ([*ROLES[:-1], "7,0,"], r"s\.csv: row 9: role is not train, validation or test; fill it in"),
        (ROLES[4:], r"s\.csv: run 0, fold 0 has no test part; add its rows"),
        ([row.replace(",0,", ",3,") for row in ROLES], r"s\.csv: has no run 0; it has 3: name those"),
    ],
)
def test_an_invalid_published_split_is_refused(project, rows, message):
    run("download", "duplicates", "clean", "segment")
    (project / "s.csv").write_text(published(rows))
    check_fails(
        project, "split", message, **{"split.method": "file", "split.file": "s.csv", "split.runs": [0]}
    )


def test_a_published_split_with_a_person_in_two_parts_is_refused_but_its_audit_is_written(project):
    write_table(
        project, "path,label,person_id\n" + "".join(f"{k}.wav,{'iw'[k % 2]},p{k % 6}\n" for k in range(8))
    )
    changes = {"split.method": "file", "split.file": "s.csv", "split.runs": [0], "positive": ["i"]}
    run("download", "duplicates", "clean", "segment", **changes)
    (project / "s.csv").write_text(published(ROLES))
    with pytest.raises(
        MurmurError,
        match=r"1 of 1 folds leak; .* part share 2 persons, such as 0 of patient 0 \(test\) and 6 of",
    ):
        run("split", **changes)
    assert not (project / "data/folds").exists()
    assert pd.read_csv(project / "metrics/audit.csv")["shared_persons"].tolist() == [2]
    run("split", **changes | {"split.on_leak": "warn"})
    assert (project / "data/folds/run_0.parquet").exists()


def test_the_same_audio_in_two_files_is_found_before_the_training(project):
    samples = made.noise(8000, 5)
    for name, gain in (("0", 0.9), ("2", 0.3)):
        made.audio(project / f"own/{name}.wav", samples * gain, subtype="FLOAT")
    (project / "s.csv").write_text(
        published(["0,0,test", "1,0,test", *(f"{k},0,train" for k in range(2, 8))])
    )
    changes = {"split.method": "file", "split.file": "s.csv", "split.runs": [0]}
    run("download", "duplicates", "clean", "segment", **changes)
    with pytest.raises(MurmurError, match=r"another part share 1 near-duplicate, such as 0 of pat"):
        run("split", **changes)
    run("split", **{"split.runs": list(range(5))})  # in the same part
    assert not pd.read_csv(project / "metrics/audit.csv").filter(like="shared_").to_numpy().any()


def test_recordings_that_are_all_too_short_for_a_segment_are_refused(project):
    run("download", "clean")
    check_fails(project, "segment", "segment", **{"segment.length": 30.0, "segment.short": "drop"})


def test_a_recording_that_is_damaged_between_two_stages_is_refused(project):
    run("download")
    made.cut(project / "data/raw/6.wav")
    check_fails(project, "clean", r"data/raw/6\.wav: cut short")


@pytest.mark.parametrize("stage", ["clean", "duplicates"])
def test_a_recording_that_is_replaced_between_two_stages_is_refused(project, stage):
    run("download")
    shutil.copy(project / "data/raw/1.wav", project / "data/raw/6.wav")
    check_fails(
        project, stage, r"data/raw/6\.wav: not the recording that the table describes: .*dvc repro -f down"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment.first_of": ["il"]}, "segment.first_of: no recording is labelled il; there are ill, well"),
        ({"segment.first_off": []}, "params.yaml: unknown key segment.first_off; did you mean segment.first"),
    ],
)
def test_invalid_options_of_segments_are_refused(project, changes, message):
    run("download", "clean")
    check_fails(project, "segment", message, **changes)


SITES = {"name": "site_transformer", "sites": ["AV", "MV"]}


def test_an_invalid_option_of_the_training_is_refused_before_the_first_epoch(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "0"])
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    run("download", "duplicates", "clean", "segment", "mel", "split")
    (project / "other.pth").write_bytes(b"not a file of weights")
    deep = {"name": "conv_blocks", "widths": [4] * 4}  # halves the spectrogram four times
    small = {"name": "backbone", "arch": "test_resnet"}
    for changes, message in [
        ({"train.model": {"name": "cmn"}}, "train.model.name: no model 'cmn'; there are attention, .*vgg16"),
        (
            {"train.model": {"name": "cnn", "widht": 3}},
            "train.model.widht: cnn has no such option; its options are",
        ),
        ({"train.model": SITES}, "train.model.sites: no recording was made at AV, MV; .* has the sites"),
        (
            {"train.model": {"name": "backbone", "arch": "resnet81"}},
            "timm has no network 'resnet81'; similar names",
        ),
        (
            {"train.model": deep},
            "conv_blocks: cannot take a spectrogram of 32 x .*; if the network needs a larger input, change",
        ),
        (
            {"train.model": small | {"weights": "no.pth"}},
            "train.model.weights: no file no.pth; name a weights",
        ),
        ({"train.model": small | {"weights": "other.pth"}}, "other.pth: cannot be read as weights .*fetch"),
        ({"train.class_weights": {"sick": 2}}, "train.class_weights: no class sick; there are ill, well"),
        (
            {"train.standardise": "imagenet"},
            "train.standardise imagenet: needs mel.image .channels: 1, not 3",
        ),
        ({"train.freeze": 6}, "train.freeze 6: the network has 6 layers; leave some to train"),
        ({"train.features": "embedding"}, "train.features embedding: embed.models names none"),
        (
            {
                "train.features": "embedding",
                "embed.models": ["m2d"],
                "mel.scale": "ln_plus",
                "mel.edges": "reflect",
            },
            r"data/embedding: cannot be read .*dvc repro",
        ),
    ]:
        check_fails(project, "train", message, **{"train.device": "cpu"} | changes)


def test_a_stage_without_its_input_is_refused(project):
    check_fails(
        project, "clean", r"data/recordings\.parquet: cannot be read .*; run its stage again: dvc repro"
    )


def test_a_stage_reports_an_error_without_traceback_and_with_status_1(project):
    made.cut(project / "own/5.wav")
    run()
    command = [sys.executable, made.ROOT / "stages/download.py"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        done.stderr.startswith("error: 1 recording cannot be used; ")
        and "own/5.wav: cut short" in done.stderr
    )
    assert not (project / "data/raw").exists() and not list_files(project) & {*OUTS}


def read_missing_file():
    Path("nowhere/x").read_bytes()


def fill_disk():
    raise OSError(errno.ENOSPC, "full", "data/mel.npy")


def fill_memory():
    np.empty((10**9, 10**9))


def fill_gpu():
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (read_missing_file, "nowhere/x: No such file or directory"),
        (fill_disk, "data/mel.npy: No space left on device; free some space there, then run it again"),
        (fill_memory, r"the memory is not enough \(Unable to allocate .*\); set MURMUR_WORKERS to fewer"),
        (fill_gpu, r"the memory is not enough \(CUDA out of memory.*\); set MURMUR_WORKERS"),
    ],
)
def test_an_error_of_the_computer_is_reported_in_one_line(main, message):
    with pytest.raises(SystemExit, match=f"^error: {message}") as caught:
        run_stage(main)
    assert "\n" not in str(caught.value)


def test_an_error_in_the_code_keeps_its_traceback():
    for error in (RuntimeError("size mismatch"), KeyError("label")):
        with pytest.raises(type(error)):
            run_stage(lambda error=error: (_ for _ in ()).throw(error))


PRINT = "from murmur.errors import run_stage; run_stage(lambda: print('ÄÖ\\udc80 ' + '─' * 9))"


@pytest.mark.parametrize("error", [MurmurError, OSError])
def test_a_message_contains_no_control_sequence_of_a_terminal(error):
    def main():
        raise error("key \x1b]0;x\x07 and\n  \u202e \x9b2J")

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code.startswith("error: key \\x1b]0;x\\x07 and")
    assert all(c.isprintable() or c == "\n" for c in caught.value.code)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_character_that_the_output_cannot_encode_is_escaped(encoding):
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src"), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, env=environment)
    assert done.returncode == 0 and done.stderr == b"" and rb"\udc80" in done.stdout


@pytest.mark.parametrize(
    ("redirected", "status"), [("| true; exit ${PIPESTATUS[0]}", 1), (">/dev/full", 1), (">&-", 0)]
)
def test_an_output_that_cannot_be_written_gives_no_traceback(redirected, status):
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    long = PRINT.replace("* 9", "* 99999")
    command = ["bash", "-c", f'"{sys.executable}" -c "$0" {redirected}', long]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == status and "Traceback" not in done.stderr and "Exception" not in done.stderr
