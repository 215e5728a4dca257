"""The reader of Yaseen's data set, in folders and in ZIP files with the names that exist."""

import os
import shutil
import zipfile
from collections import Counter

import pytest

from murmur import sections
from murmur.datasets import yaseen
from murmur.errors import MurmurError
from murmur.evaluation.protocol import describe_protocol
from tests import made


def read(root):
    return yaseen.read(root, yaseen.Options(), "disease")


@pytest.fixture
def import_yaseen(tmp_path, monkeypatch):
    """Generate `$MURMUR_DATA/yaseen`; return a function that imports it."""
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    made.yaseen(tmp_path / "yaseen", n=2, seconds=0.05)
    keys = {"task": "disease", "remote": "private"}
    return lambda **changes: made.download("yaseen", tmp_path / "out", **keys | changes)


def pack(folder, *, inside=True):
    """Replace a folder by a ZIP file; `inside`: whether the archive contains the folder itself."""
    base = {"root_dir": folder.parent, "base_dir": folder.name} if inside else {"root_dir": folder}
    shutil.make_archive(str(folder), "zip", **base)
    shutil.rmtree(folder)


@pytest.mark.parametrize("folder", ["{}", "{}_New_3주기"])
def test_the_file_name_gives_recording_and_class(tmp_path, folder):
    found = read(made.yaseen(tmp_path, folder=folder, seconds=0.05))
    table = found.recordings
    assert Counter(table["label"]) == dict.fromkeys(("N", "AS", "MR", "MS", "MVP"), 4)
    assert all((tmp_path / path).is_file() for path in table["path"]) and not found.left_out
    assert table["recording_id"][0] == "New_N_001" and table["recording_id"].is_unique
    assert table["person_id"].isna().all()
    assert "near-duplicate" in yaseen.PERSONS


def test_the_data_set_is_imported(import_yaseen):
    recordings, card, left_out = import_yaseen()
    assert len(recordings) == 10 and left_out.empty and set(recordings["source"]) == {"yaseen"}
    assert (card.classes, card.positive) == (("N", "AS", "MR", "MS", "MVP"), ("AS", "MR", "MS", "MVP"))
    assert (recordings["person_id"] == recordings["recording_id"]).all() and card.unknown_persons == 10


@pytest.mark.parametrize("inside", [True, False])
def test_archives_are_unpacked_and_the_original_folder_is_unchanged(import_yaseen, tmp_path, inside):
    hashes = import_yaseen()[0].set_index("recording_id")["audio_sha256"]
    root = tmp_path / "yaseen"
    (root / "MS").rename(root / "MS_New_3주기")
    made.audio(root / "MVP/._New_MVP_001.wav")
    for name in ("AS", "MVP", "MS_New_3주기"):
        pack(root / name, inside=inside)
    before = sorted(root.rglob("*"))
    recordings, _, left_out = import_yaseen()
    assert dict(recordings.set_index("recording_id")["audio_sha256"]) == dict(hashes)
    assert all((tmp_path / "out" / path).is_file() for path in recordings["path"])
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 10 and sorted(root.rglob("*")) == before
    assert left_out[["item", "reason"]].values.tolist() == [
        ["MVP/._New_MVP_001.wav", "its name is not New_MVP_ and a number"]
    ]


def test_a_folder_is_preferred_to_its_archive(import_yaseen, tmp_path):
    (tmp_path / "yaseen/AS.zip").write_text("no archive")
    assert len(import_yaseen()[0]) == 10


def test_a_bad_archive_is_named(import_yaseen, tmp_path):
    root = tmp_path / "yaseen"
    shutil.rmtree(root / "AS")
    (root / "AS.zip").write_bytes(b"PK no archive")
    with pytest.raises(
        MurmurError, match=rf"^{root}/AS\.zip: cannot be unpacked \(.*\); delete it, fetch it"
    ):
        import_yaseen()
    for name in ("../New_AS_001.wav", "/tmp/New_AS_001.wav"):
        with zipfile.ZipFile(root / "AS.zip", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(MurmurError, match=rf"AS\.zip: {name} leads out of the folder"):
            import_yaseen()
    assert not (tmp_path / "out").exists()


def test_missing_classes_and_repeated_files_are_named(import_yaseen, tmp_path):
    root = tmp_path / "yaseen"
    made.audio(root / "N/New_AS_009.wav")
    assert read(root).left_out == [("N/New_AS_009.wav", "its name is not New_N_ and a number")]
    made.audio(root / "N/again/New_N_001.wav")
    with pytest.raises(MurmurError, match=r"New_N_001\.wav: another file has the same name; remove one"):
        read(root)
    shutil.rmtree(root / "N/again")
    shutil.rmtree(root / "MVP")
    (root / "MVP").mkdir()
    words = r"yaseen/MVP: holds no files like New_MVP_001\.wav; get it"
    with pytest.raises(MurmurError, match=words):
        import_yaseen()
    (root / "MVP").rmdir()
    with pytest.raises(
        MurmurError, match=r"yaseen/MVP: no such folder; get it from .*unpack a \.rar yourself"
    ):
        import_yaseen()
    (root / "MVP_New_3주기.rar").touch()
    with pytest.raises(
        MurmurError, match=r"MVP_New_3주기\.rar: is not unpacked automatically; unpack it to a folder MVP"
    ):
        import_yaseen()
    recordings, card, _ = import_yaseen(class_map={"MVP": None})
    assert len(recordings) == 8 and card.classes == ("N", "AS", "MR", "MS")


def test_it_needs_a_private_remote_and_is_not_fetched(import_yaseen, tmp_path):
    with pytest.raises(
        MurmurError, match=r"download\.remote: yaseen's licence \(none stated\) does not permit"
    ):
        import_yaseen(remote=None)
    assert len(import_yaseen(remote="private")[0]) == 10
    shutil.rmtree(tmp_path / "yaseen")
    with pytest.raises(MurmurError, match=rf"^{tmp_path}/yaseen: no such folder, .*github\.com/yaseen21khan"):
        import_yaseen()


def test_a_split_of_it_is_always_marked_as_leaky(import_yaseen):
    card = import_yaseen()[1]
    assert not card.names_all_persons and not card.shareable
    split, segment = sections.load("split", "segment", path=made.ROOT / "params.yaml").__dict__.values()
    found = describe_protocol(split, segment, card, folds=5)
    assert found["leaky"] and found["flaws"] == "data set"


def test_a_class_that_is_left_out_need_not_be_unpacked(import_yaseen, tmp_path):
    root = tmp_path / "yaseen"
    shutil.rmtree(root / "AS")
    pack(root / "MS")
    (root / "AS.rar").touch()
    assert len(import_yaseen(class_map={"AS": None})[0]) == 8
    with pytest.raises(MurmurError, match=rf"^{root}/AS\.rar: is not unpacked automatically"):
        import_yaseen()


def test_folders_whose_names_are_not_utf8_are_read(import_yaseen, tmp_path):
    root = os.fsencode(tmp_path / "yaseen")
    os.rename(root + b"/N", root + b"/N_New_3\xc1\xd6\xb1\xe2")
    recordings, *_ = import_yaseen()
    assert len(recordings) == 10 and set(recordings["path"].str[:4]) >= {"N/Ne"}
    os.mkdir(root + b"/AS/\xc1")
    os.rename(root + b"/AS/New_AS_001.wav", root + b"/AS/\xc1/New_AS_001.wav")
    with pytest.raises(MurmurError, match=r"AS/\\udcc1/New_AS_001\.wav: not a name in UTF-8, .*rename the"):
        import_yaseen()
