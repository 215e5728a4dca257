"""The hash of the weights that a training begins with."""

import hashlib

import pytest

from murmur.errors import MurmurError
from murmur.models import _pretrained


def test_the_hash_of_the_weights_is_written_and_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _pretrained.FOLDER.mkdir(parents=True)
    path = _pretrained.FOLDER / "a.pth"
    path.write_bytes(b"weights")
    _pretrained.write_hashes("data//weights/a.pth")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert _pretrained.HASHES.read_text() == f'{{\n  "data/weights/a.pth": "{digest}"\n}}\n'
    _pretrained.check_hashes()
    for change in (lambda: path.write_bytes(b"other"), path.unlink):
        change()
        with pytest.raises(MurmurError, match=r"^data/weights/a\.pth: changed since .* `dvc repro` again$"):
            _pretrained.check_hashes()
    _pretrained.write_hashes(None)
    assert _pretrained.HASHES.read_text() == "{}\n"
    _pretrained.check_hashes()


def test_weights_of_which_a_change_would_not_be_noticed_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _pretrained.FOLDER.mkdir(parents=True)
    (_pretrained.FOLDER / "link").symlink_to(tmp_path)
    _pretrained.check_folder("embed.weights", "./data/weights/m2d/a.pth")
    for path in (
        "a.pth",
        "data/weights/../a.pth",
        f"{tmp_path}/data/weights/a.pth",
        "data/weights/link/a.pth",
    ):
        with pytest.raises(
            MurmurError, match=r"^embed\.weights: .*a\.pth is not in data/weights, .*/a\.pth$"
        ):
            _pretrained.check_folder("embed.weights", path)
