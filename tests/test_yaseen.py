"""Yaseen's layout, in folders and in ZIP files, named in all the ways they are."""

import os
import shutil
import zipfile
from collections import Counter

import pytest

from murmur import params
from murmur.datasets import yaseen
from murmur.errors import MurmurError
from murmur.evaluation.protocol import describe_protocol
from tests import made


def read(root):
    return yaseen.read(root, yaseen.Options(), "disease")


@pytest.fixture
def lent(tmp_path, monkeypatch):
    """A tree as `$MURMUR_DATA/yaseen`, and the download stage's work on it."""
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.yaseen(tmp_path / "yaseen", n=2, seconds=0.05)
    keys = {"task": "disease", "remote": "private"}
    return lambda **more: made.download("yaseen", tmp_path / "out", **keys | more)


def pack(folder, *, inside=True):
    """A folder as a ZIP file beside where it was; `inside`: the folder itself stands in it."""
    base = {"root_dir": folder.parent, "base_dir": folder.name} if inside else {"root_dir": folder}
    shutil.make_archive(str(folder), "zip", **base)
    shutil.rmtree(folder)


@pytest.mark.parametrize("folder", ["{}", "{}_New_3주기"])
def test_the_name_of_a_file_says_all(tmp_path, folder):
    found = read(made.yaseen(tmp_path, folder=folder, seconds=0.05))
    table = found.recordings
    assert Counter(table["label"]) == dict.fromkeys(("N", "AS", "MR", "MS", "MVP"), 4)
    assert all((tmp_path / path).is_file() for path in table["path"]) and not found.left_out
    assert table["recording_id"][0] == "New_N_001" and table["recording_id"].is_unique
    assert table["person_id"].isna().all()
    assert "near-duplicate" in yaseen.PERSONS


def test_folders_are_copied_to_the_stage(lent):
    recordings, card, left_out = lent()
    assert len(recordings) == 10 and left_out.empty and set(recordings["source"]) == {"yaseen"}
    assert (card.classes, card.positive) == (("N", "AS", "MR", "MS", "MVP"), ("AS", "MR", "MS", "MVP"))
    assert (recordings["person_id"] == recordings["recording_id"]).all() and card.unknown_persons == 10


@pytest.mark.parametrize("inside", [True, False])
def test_archives_are_unpacked_into_the_stage(lent, tmp_path, inside):
    whole = lent()[0].set_index("recording_id")["audio_sha256"]
    root = tmp_path / "yaseen"
    (root / "MS").rename(root / "MS_New_3주기")
    made.audio(root / "MVP/._New_MVP_001.wav")
    for name in ("AS", "MVP", "MS_New_3주기"):
        pack(root / name, inside=inside)
    before = sorted(root.rglob("*"))
    recordings, _, left_out = lent()
    assert dict(recordings.set_index("recording_id")["audio_sha256"]) == dict(whole)
    assert all((tmp_path / "out" / path).is_file() for path in recordings["path"])
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 10 and sorted(root.rglob("*")) == before
    assert left_out[["item", "reason"]].values.tolist() == [
        ["MVP/._New_MVP_001.wav", "its name is not New_MVP_ and a number"]
    ]


def test_a_folder_is_taken_before_its_archive(lent, tmp_path):
    (tmp_path / "yaseen/AS.zip").write_text("no archive")
    assert len(lent()[0]) == 10


def test_a_bad_archive_is_named(lent, tmp_path):
    root = tmp_path / "yaseen"
    shutil.rmtree(root / "AS")
    (root / "AS.zip").write_bytes(b"PK no archive")
    with pytest.raises(
        MurmurError, match=rf"^{root}/AS\.zip: cannot be unpacked \(.*\); delete it, fetch it"
    ):
        lent()
    for name in ("../New_AS_001.wav", "/tmp/New_AS_001.wav"):
        with zipfile.ZipFile(root / "AS.zip", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(MurmurError, match=rf"AS\.zip: {name} leads out of the folder"):
            lent()
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_twice_is_named(lent, tmp_path):
    root = tmp_path / "yaseen"
    made.audio(root / "N/New_AS_009.wav")
    assert read(root).left_out == [("N/New_AS_009.wav", "its name is not New_N_ and a number")]
    made.audio(root / "N/again/New_N_001.wav")
    with pytest.raises(MurmurError, match=r"New_N_001\.wav: is there twice; take one away"):
        read(root)
    shutil.rmtree(root / "N/again")
    shutil.rmtree(root / "MVP")
    (root / "MVP").mkdir()
    words = r"yaseen/MVP: holds no New_MVP_001\.wav or the like; get it"
    with pytest.raises(MurmurError, match=words):
        lent()
    (root / "MVP").rmdir()
    with pytest.raises(
        MurmurError, match=r"yaseen/MVP: no such folder; get it from .*unpack a \.rar yourself"
    ):
        lent()
    (root / "MVP_New_3주기.rar").touch()
    with pytest.raises(
        MurmurError, match=r"MVP_New_3주기\.rar: is not unpacked here; unpack it to a folder MVP"
    ):
        lent()
    recordings, card, _ = lent(class_map={"MVP": None})
    assert len(recordings) == 8 and card.classes == ("N", "AS", "MR", "MS")


def test_it_is_not_passed_on_and_not_fetched(lent, tmp_path):
    with pytest.raises(MurmurError, match=r"download\.remote: yaseen's licence \(none stated\) does not let"):
        lent(remote=None)
    assert len(lent(remote="private")[0]) == 10
    shutil.rmtree(tmp_path / "yaseen")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/yaseen: no such folder, .*github\.com/yaseen21khan"):
        lent()


def test_a_split_of_it_is_always_marked_leaky(lent):
    card = lent()[1]
    assert not card.leak_free and not card.shareable
    split, segment = params.load("split", "segment", path=made.ROOT / "params.yaml").__dict__.values()
    found = describe_protocol(split, segment, card, folds=5)
    assert found["leaky"] and found["flaws"] == "data set"


def test_a_class_that_is_left_out_needs_no_archive_beside_others(lent, tmp_path):
    root = tmp_path / "yaseen"
    shutil.rmtree(root / "AS")
    pack(root / "MS")
    (root / "AS.rar").touch()
    assert len(lent(class_map={"AS": None})[0]) == 8
    with pytest.raises(MurmurError, match=rf"^{root}/AS\.rar: is not unpacked here"):
        lent()


def test_folders_whose_names_are_not_utf8_are_read(lent, tmp_path):
    root = os.fsencode(tmp_path / "yaseen")
    os.rename(root + b"/N", root + b"/N_New_3\xc1\xd6\xb1\xe2")
    recordings, *_ = lent()
    assert len(recordings) == 10 and set(recordings["path"].str[:4]) >= {"N/Ne"}
    os.mkdir(root + b"/AS/\xc1")
    os.rename(root + b"/AS/New_AS_001.wav", root + b"/AS/\xc1/New_AS_001.wav")
    with pytest.raises(MurmurError, match=r"AS/\\udcc1/New_AS_001\.wav: not a name in UTF-8, .*rename the"):
        lent()
