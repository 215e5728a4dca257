"""Every bad input that the pipeline knows of, through the stages as DVC runs them.

An error names the file, row or key and says what to do, and no stage leaves anything half written; what a
rule leaves out is listed in a table.
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
    """A folder to run stages in: params.yaml and eight recordings of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path / "lent"))
    made.folder(tmp_path / "own", ROWS)
    return tmp_path


def run(*stages, **changes):
    """Run stages in the working directory, with SMALL parameters and these changes."""
    with open("params.yaml", "w", encoding="utf-8") as file:
        yaml.safe_dump(made.changed(SMALL | changes), file)
    for stage in stages:
        importlib.import_module(f"stages.{stage}").main()


def files(root):
    return {
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name != "params.yaml"
    }


def fails(project, stage, words, **changes):
    before = files(project)
    with pytest.raises(MurmurError, match=words):
        run(stage, **changes)
    assert files(project) == before and not list(project.rglob("*.part"))
    assert stage != "download" or not (project / "data/raw").exists()


def write(project, text):
    (project / "own/recordings.csv").write_text(text, encoding="utf-8")


def promise_more(path):
    data = bytearray(path.read_bytes())
    data[40:44] = (2**20).to_bytes(4, "little")
    path.write_bytes(data)


BROKEN = {
    "cut": (
        made.cut,
        "cut short: its header promises 4000 bytes of samples, 1978 are there; fetch the file again",
    ),
    "promises more": (promise_more, "cut short: its header promises 1048576 bytes .* fetch the file again"),
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
def test_a_broken_recording(project, what):
    spoil, words = BROKEN[what]
    spoil(project / "own/2.wav")
    fails(
        project,
        "download",
        rf"1 recordings cannot be used; mend .*leave_out[^\n]*\n *own/2\.wav: {words}",
    )
    run("download", **{"download.on_bad": "leave_out"})
    left_out = parquet.read(OUTS[0], LEFT_OUT)
    assert list(left_out["item"]) == ["2"] and left_out["reason"].str.contains(words).all()
    assert len(parquet.read(OUTS[2], RECORDINGS)) == 7 and not (project / "data/raw/2.wav").exists()


def test_all_broken_recordings_are_named_at_once(project):
    for k in (1, 3, 6):
        made.cut(project / f"own/{k}.wav")
    fails(project, "download", r"(?s)3 recordings cannot be used.*own/1\.wav.*own/3\.wav.*own/6\.wav")


@pytest.mark.parametrize(
    "samples, how, expected",
    [
        (np.stack([made.noise()] * 2, 1), {}, (4000, 2000)),
        (np.round(made.noise() * 100) / 128, {"subtype": "PCM_U8"}, (4000, 2000)),
        (made.noise(), {"subtype": "PCM_24"}, (4000, 2000)),
        (made.noise(), {"rate": 11025}, (11025, 2000)),
        (made.noise(50), {}, (4000, 50)),
    ],
    ids=["stereo", "8 bit", "24 bit", "another rate", "shorter than a segment"],
)
def test_what_is_only_unusual_is_taken(project, samples, how, expected):
    made.audio(project / "own/2.wav", samples, **how)
    run("download", "clean", "segment", **{"segment.min_length": 0.1})
    recordings = parquet.read(OUTS[2], RECORDINGS).set_index("recording_id")
    assert tuple(recordings.loc["2", ["sample_rate", "n_samples"]]) == expected
    left_out = parquet.read("data/left_out/segment.parquet", LEFT_OUT)
    short = len(samples) < 1000
    assert ("2" in set(left_out["item"])) == short
    assert (
        not short or "whole recording of 0.01 s is too short" in left_out.set_index("item").loc["2", "reason"]
    )
    segments = parquet.read("data/segments.parquet", SEGMENTS)
    assert (set(recordings.index) == set(segments["recording_id"])) != short


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"download.folder.path": "ow"}, "download.folder.path: no folder ow; name the folder"),
        ({"download.folder.csv": "table.csv"}, r"own/table\.csv: cannot be read .*; save it as CSV"),
        (
            {"download.folder.csw": "a"},
            "download.folder: unknown key csw; known here: csv, may_be_passed_on, path",
        ),
        ({"download.limt": 3}, "params.yaml: unknown key download.limt; known are limit"),
        ({"dataset": "folders"}, "dataset: no data set 'folders'; there are .*folder, pascal, synthetic"),
        ({"dataset": "circor.x"}, "dataset: not a name: .* .it is 'circor.x'"),
        ({"class_map": {"il": None}}, "class_map: no class il; there are ill, well"),
        ({"class_map": {"well": None}}, r"class_map: 1 class is left \(ill\); a task needs two"),
        (
            {"positive": ["sick"]},
            r"positive: \['sick'\] must name some, not all, of the classes ill, well.*-S 'positive=\[ill\]'",
        ),
        ({"mel.n_mel": 3}, "params.yaml: unknown key mel.n_mel; known here: .*n_mels"),
        ({"mel.f_max": 1001}, "mel.f_max 1001 Hz is above Nyquist, 1000 Hz; lower it or raise clean.sample"),
    ],
)
def test_a_bad_key(project, changes, words):
    fails(project, "download", words, **changes)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda p: (p / "own/3.wav").unlink(), r"own/3\.wav: the table names it, but .*put it there or"),
        (lambda p: write(p, "path,label\n0.wav,ill\n0.wav,well\n"), r"csv: row 3: recording 0 is named tw"),
        (lambda p: write(p, "path,label\n0.wav,ill\n1.wav,\n"), r"own/recordings\.csv: row 3: label is em"),
        (lambda p: write(p, "path,label\n0.wav,ill\n/1.wav,ill\n"), r"row 3: /1\.wav is not a path inside"),
    ],
)
def test_a_bad_folder(project, spoil, words):
    spoil(project)
    fails(project, "download", words)


@pytest.mark.parametrize(
    "patients, spoil, changes, words",
    [
        ([made.PATIENTS[0]] * 2, None, {}, r"data\.csv: row 3: the patient stands in two rows; keep one"),
        ([made.patient("7", murmur="Maybe")], None, {}, "patient 7: Murmur is 'Maybe', expected .*; mend"),
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
def test_a_bad_circor(project, patients, spoil, changes, words):
    root = made.circor(project / "lent/circor", patients)
    if spoil:
        made.cut(root / spoil)
    fails(project, "download", words, **{"dataset": "circor", "positive": None} | changes)


def test_under_murmur_data_parts_may_be_missing(project):
    (made.circor(project / "lent/circor") / "training_data/1002_PV.wav").unlink()
    made.audio(project / "lent/circor/training_data/5_AV.wav")
    run("download", dataset="circor", positive=None)
    reasons = parquet.read(OUTS[0], LEFT_OUT).set_index("item")["reason"]
    assert dict(reasons) == {
        "1002_PV": "the file is not there",
        "training_data/5_AV.wav": "no table names this file",
    }
    assert len(parquet.read(OUTS[2], RECORDINGS)) == 5


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"split.folds": 5}, "split: class ill has 4 groups to deal out and 5 are needed; fewer split.folds"),
        ({"split.method": "role"}, "split.method role: recording 0 has no role; give all train or test"),
        ({"split.run": [0]}, "params.yaml: unknown key split.run; known here: .*runs"),
    ],
)
def test_folds_that_cannot_be_dealt(project, changes, words):
    run("download", "duplicates", "clean", "segment")
    fails(project, "split", words, **changes)
    run("split")
    assert len(files(project / "data/folds")) == 10


def published(rows):
    """A published split of the recordings 0 to 7: rows of recording_id, run, role."""
    return "".join(f"{line}\n" for line in ("recording_id,run,role", *rows))


ROLES = [f"{k},0,{'test' if k < 4 else 'train'}" for k in range(8)]


@pytest.mark.parametrize(
    "rows, words",
    [
        (
            [*ROLES, "9,0,train"],
            r"s\.csv: row 10: the data set has no such recording_id \(1 such rows\); take",
        ),
        ([*ROLES[:-1], "7,0,"], r"s\.csv: row 9: role is not train, validation or test; fill it in"),
        (ROLES[4:], r"s\.csv: run 0, fold 0 has no test part; add its rows"),
        ([row.replace(",0,", ",3,") for row in ROLES], r"s\.csv: has no run 0; it has 3: name those"),
    ],
)
def test_a_published_split_that_is_wrong(project, rows, words):
    run("download", "duplicates", "clean", "segment")
    (project / "s.csv").write_text(published(rows))
    fails(project, "split", words, **{"split.method": "file", "split.file": "s.csv", "split.runs": [0]})


def test_a_published_split_with_a_person_on_both_sides_is_refused_and_its_audit_kept(project):
    write(project, "path,label,person_id\n" + "".join(f"{k}.wav,{'iw'[k % 2]},p{k % 6}\n" for k in range(8)))
    changes = {"split.method": "file", "split.file": "s.csv", "split.runs": [0], "positive": ["i"]}
    run("download", "duplicates", "clean", "segment", **changes)
    (project / "s.csv").write_text(published(ROLES))
    with pytest.raises(
        MurmurError,
        match=r"1 of 1 folds leak; .* both sides 2 persons, such as 0 of patient 0 \(test\) and 6 of",
    ):
        run("split", **changes)
    assert not (project / "data/folds").exists()
    assert pd.read_csv(project / "metrics/audit.csv")["shared_persons"].tolist() == [2]
    run("split", **changes | {"split.on_leak": "warn"})
    assert (project / "data/folds/run_0.parquet").exists()


def test_the_same_audio_under_two_names_is_found_before_the_training(project):
    samples = made.noise(8000, 5)
    for name, gain in (("0", 0.9), ("2", 0.3)):
        made.audio(project / f"own/{name}.wav", samples * gain, subtype="FLOAT")
    (project / "s.csv").write_text(
        published(["0,0,test", "1,0,test", *(f"{k},0,train" for k in range(2, 8))])
    )
    changes = {"split.method": "file", "split.file": "s.csv", "split.runs": [0]}
    run("download", "duplicates", "clean", "segment", **changes)
    with pytest.raises(MurmurError, match=r"both sides 1 recordings with near-identical .* as 0 of pat"):
        run("split", **changes)
    run("split", **{"split.runs": list(range(5))})  # dealt as one
    assert not pd.read_csv(project / "metrics/audit.csv").filter(like="shared_").to_numpy().any()


def test_nothing_is_long_enough_for_a_segment(project):
    run("download", "clean")
    fails(project, "segment", "segment", **{"segment.length": 30.0, "segment.short": "drop"})


def test_a_recording_that_is_spoilt_between_two_stages(project):
    run("download")
    made.cut(project / "data/raw/6.wav")
    fails(project, "clean", r"data/raw/6\.wav: cut short")


@pytest.mark.parametrize("stage", ["clean", "duplicates"])
def test_a_recording_that_is_exchanged_between_two_stages(project, stage):
    run("download")
    shutil.copy(project / "data/raw/1.wav", project / "data/raw/6.wav")
    fails(project, stage, r"data/raw/6\.wav: not the recording that the table describes: .*dvc repro -f down")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"segment.first_of": ["il"]}, "segment.first_of: no recording is labelled il; there are ill, well"),
        ({"segment.first_off": []}, "params.yaml: unknown key segment.first_off; known here: .*first_of"),
    ],
)
def test_segments_that_cannot_be_cut(project, changes, words):
    run("download", "clean")
    fails(project, "segment", words, **changes)


SITES = {"name": "site_transformer", "sites": ["AV", "MV"]}


def test_a_training_that_cannot_be(project, monkeypatch):
    """Each told before the first epoch, with nothing kept."""
    monkeypatch.setattr(sys, "argv", ["train.py", "0"])
    monkeypatch.setenv("MURMUR_WORKERS", "1")
    run("download", "duplicates", "clean", "segment", "mel", "split")
    (project / "other.pth").write_bytes(b"neither this nor that")
    deep = {"name": "conv_blocks", "widths": [4] * 4}  # halves the picture four times
    small = {"name": "backbone", "arch": "test_resnet"}
    for changes, words in [
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
        ({"train.model": deep}, "conv_blocks: cannot take a spectrogram of 32 x 8 .*give it a larger one"),
        (
            {"train.model": small | {"weights": "no.pth"}},
            "train.model.weights: no file no.pth; name a weights",
        ),
        ({"train.model": small | {"weights": "other.pth"}}, "other.pth: cannot be read as weights .*fetch"),
        ({"train.class_weights": {"sick": 2}}, "train.class_weights: no class sick; there are ill, well"),
        ({"train.standardise": "imagenet"}, "train.standardise imagenet: needs mel.image, there are 1 chan"),
        ({"train.freeze": 11}, "train.freeze 11: the network has 11 layers; leave some to train"),
        ({"train.features": "embedding"}, "train.features embedding: embed.models names none"),
        (
            {
                **{"train.features": "embedding", "embed.models": ["m2d"]},
                **{"mel.scale": "ln_plus", "mel.edges": "reflect"},
            },
            r"data/embedding: cannot be read .*dvc repro",
        ),
    ]:
        fails(project, "train", words, **{"train.device": "cpu"} | changes)


def test_a_stage_before_its_turn(project):
    fails(project, "clean", r"data/recordings\.parquet: cannot be read .*; run its stage again: dvc repro")


def test_a_stage_says_it_in_one_line_and_ends_with_1(project):
    made.cut(project / "own/5.wav")
    run()
    command = [sys.executable, made.ROOT / "stages/download.py"]
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        done.stderr.startswith("error: 1 recordings cannot be used; ")
        and "own/5.wav: cut short" in done.stderr
    )
    assert not (project / "data/raw").exists() and not files(project) & {*OUTS}


def no_file():
    Path("nowhere/x").read_bytes()


def disk_full():
    raise OSError(errno.ENOSPC, "full", "data/mel.npy")


def too_large():
    np.empty((10**9, 10**9))


def gpu_full():
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def stopped():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "main, words",
    [
        (no_file, "nowhere/x: No such file or directory"),
        (disk_full, "data/mel.npy: No space left on device; free some space there, then run it again"),
        (too_large, r"the memory is not enough \(Unable to allocate .*\); set MURMUR_WORKERS to fewer"),
        (gpu_full, r"the memory is not enough \(CUDA out of memory.*\); set MURMUR_WORKERS"),
        (stopped, "interrupted"),
    ],
)
def test_what_the_computer_refuses_is_one_line(main, words):
    with pytest.raises(SystemExit, match=f"^error: {words}") as caught:
        run_stage(main)
    assert "\n" not in str(caught.value)


def test_a_fault_of_the_program_keeps_its_traceback():
    for error in (RuntimeError("size mismatch"), KeyError("label")):
        with pytest.raises(type(error)):
            run_stage(lambda error=error: (_ for _ in ()).throw(error))


PRINT = "from murmur.errors import run_stage; run_stage(lambda: print('ÄÖ\\udc80 ' + '─' * 9))"


@pytest.mark.parametrize("error", [MurmurError, OSError])
def test_a_message_does_not_command_the_terminal(error):
    def main():
        raise error("key \x1b]0;x\x07 and\n  \u202e \x9b2J")

    with pytest.raises(SystemExit) as told:
        run_stage(main)
    assert told.value.code.startswith("error: key \\x1b]0;x\\x07 and")
    assert all(c.isprintable() or c == "\n" for c in told.value.code)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_output_cannot_encode_is_an_escape(encoding):
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src"), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, env=environment)
    assert done.returncode == 0 and done.stderr == b"" and rb"\udc80" in done.stdout


@pytest.mark.parametrize(
    "redirected, status", [("| true; exit ${PIPESTATUS[0]}", 1), (">/dev/full", 1), (">&-", 0)]
)
def test_an_output_that_cannot_be_written(redirected, status):
    environment = os.environ | {"PYTHONPATH": str(made.ROOT / "src")}
    more = PRINT.replace("* 9", "* 99999")
    command = ["bash", "-c", f'"{sys.executable}" -c "$0" {redirected}', more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == status and "Traceback" not in done.stderr and "Exception" not in done.stderr
