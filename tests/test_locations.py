"""The folders of data sets: MURMUR_DATA and the cache."""

from murmur.datasets import _locations
from tests import made


def test_the_folder_under_murmur_data_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MURMUR_DATA", raising=False)
    assert _locations.local_folder("circor") is None and _locations.find_local("circor") is None
    monkeypatch.setenv("MURMUR_DATA", str(tmp_path))
    assert _locations.find_local("circor") is None
    assert "MURMUR_DATA has no folder circor: fetching it instead" in capsys.readouterr().out
    (tmp_path / "circor").mkdir()
    assert _locations.find_local("circor") == _locations.local_folder("circor") == tmp_path / "circor"
    assert capsys.readouterr().out == ""


def test_the_cache_is_outside_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _locations.cache_folder("circor").name == "circor"
    assert not _locations.cache_folder("circor").is_relative_to(made.ROOT)
