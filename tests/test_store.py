"""Arrays are read back as they were written; a file that cannot be read or written is named."""

import re

import numpy as np
import pandas as pd
import pytest

from murmur.errors import MurmurError
from murmur.features import mel, store
from murmur.tables import parquet
from murmur.tables.left_out import LEFT_OUT
from tests import made
from tests.spectrograms import change, make_recordings, write


def test_an_array_that_is_larger_than_the_free_space_is_refused_before_any_work(tmp_path, monkeypatch):
    free = store.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(mel.workers, "stream_threads", lambda *_: pytest.fail("worked"))
    with pytest.raises(
        MurmurError,
        match=r"mel\.npy: 5 arrays of 1 x 20 x 21 take 0\.0 MB and 0\.0 MB are free; .*mel\.n_mels",
    ):
        write(*make_recordings([3000]), tmp_path / "mel.npy")


def test_signals_that_are_larger_than_the_free_space_are_refused(tmp_path, monkeypatch):
    free = store.shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: free)
    message = (
        f"{tmp_path}/signals.npy: signals of 300000000 samples take 1200.0 MB and 1000.0 MB are free; "
        "free some space, or lower clean.sample_rate"
    )
    with (
        pytest.raises(MurmurError, match=f"^{re.escape(message)}$"),
        store.open_writer(tmp_path / "signals.npy", (300_000_000,), np.dtype("float32")),
    ):
        pytest.fail("opened")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, kind):
    path = tmp_path / f"mel.{kind}"

    def refuse():
        with pytest.raises(MurmurError, match=rf"mel\.{kind}: cannot be read .*dvc repro mel"):
            store.read_array(path)

    refuse()
    path.write_bytes(b"neither format")
    refuse()
    write(*make_recordings([40_000]), path, change(format=kind))
    made.cut(path)
    refuse()
    parquet.write(pd.DataFrame({"stage": [], "item": [], "reason": []}, dtype=str), path, LEFT_OUT)
    refuse()
