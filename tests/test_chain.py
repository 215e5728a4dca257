"""The chain writes the same bytes as the stages, and reads what they write."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from murmur import sections
from murmur.errors import MurmurError
from murmur.features import chain, store
from murmur.recordings import audio
from murmur.tables import parquet
from murmur.tables.recordings import RECORDINGS
from stages import clean, embed, mel, segment
from tests import made

STAGES = {"clean": clean, "segment": segment, "mel": mel, "embed": embed}
MIRROR = {"segment.short": "wrap", "segment.mirror": True, "segment.min_length": 0.1}
IMAGES = {"mel.image": {"size": 16, "colours": "magma"}, "mel.format": "parquet", "segment.short": "wrap"}


def write_recordings(data, seconds=(7.0, 3.2, 0.4)):
    """Recordings r0, r1, … of these lengths in data/raw, and their table."""
    names = [f"r{k}" for k in range(len(seconds))]
    paths = [made.audio(data / f"raw/{name}.wav", seconds=n) for name, n in zip(names, seconds, strict=True)]
    facts = pd.DataFrame(audio.inspect_file(path) for path in paths)
    ids = dict.fromkeys(("recording_id", "patient_id", "person_id"), names)
    texts = {
        "site": "AV",
        "label": "ill",
        "patient_label": "ill",
        "source": "",
        "path": [p.name for p in paths],
    }
    empty = dict.fromkeys(field.name for field in RECORDINGS if field.nullable)
    table = facts.assign(**ids, **texts, **empty)[RECORDINGS.names]
    parquet.write(table, data / "recordings.parquet", RECORDINGS)


def write_params(folder, changes):
    """Write params.yaml; return the sections that the chain uses."""
    (folder / "params.yaml").write_text(yaml.safe_dump(made.changed(changes)))
    return sections.load("clean", "segment", "mel", "embed", "train")


def read_files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("changes", [{}, MIRROR, IMAGES], ids=["default", "mirror", "images"])
def test_the_chain_writes_the_bytes_of_the_stages(tmp_path, monkeypatch, changes):
    write_recordings(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "chain")
    monkeypatch.chdir(tmp_path)
    p = write_params(tmp_path, changes)
    for name in ("clean", "segment", "mel"):
        STAGES[name].main()
    prepared = chain.compute_features(tmp_path / "chain", p)
    written = read_files(tmp_path / "chain")
    assert written == read_files(tmp_path / "data") and len(written) > 8
    assert prepared.features == tmp_path / "chain/mel"
    assert len(store.read_array(prepared.features)) == len(prepared.segments) > 2
    assert_equal(prepared, chain.read_prepared(tmp_path / "data", "mel"))


def assert_equal(prepared, expected):
    pd.testing.assert_frame_equal(prepared.recordings, expected.recordings)
    pd.testing.assert_frame_equal(prepared.segments, expected.segments)
    np.testing.assert_array_equal(store.read_array(prepared.features), store.read_array(expected.features))


def test_the_chain_writes_the_embeddings_of_the_stages(tmp_path, monkeypatch):
    write_recordings(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "chain")
    monkeypatch.chdir(tmp_path)
    weights = made.m2d_checkpoint(tmp_path / "weights")
    scale = {"mel.n_mels": 80, "mel.n_fft": 1024, "mel.scale": "ln_plus", "mel.edges": "reflect"}
    encoder = {"embed.models": ["m2d"], "embed.weights": str(weights), "embed.device": "cpu"}
    p = write_params(tmp_path, scale | encoder | {"train.features": "embedding"})
    for stage in STAGES.values():
        stage.main()
    prepared = chain.compute_features(tmp_path / "chain", p)
    assert prepared.features == tmp_path / "chain/embedding"
    assert read_files(tmp_path / "chain") == read_files(tmp_path / "data")
    assert_equal(prepared, chain.read_prepared(tmp_path / "data", "embedding"))


def change_segment(p, **changes):
    return SimpleNamespace(**vars(p) | {"segment": p.segment.model_copy(update=changes)})


def test_recordings_that_are_all_too_short_have_no_segments_and_no_array(tmp_path):
    write_recordings(tmp_path, seconds=(0.4, 0.3))
    p = change_segment(sections.load("clean", "segment", "mel", "train"), length=2, short="drop")
    prepared = chain.compute_features(tmp_path, p)
    assert prepared.recordings["recording_id"].tolist() == ["r0", "r1"]
    assert prepared.segments.empty and not prepared.features.exists()


def test_any_other_error_of_the_segmentation_is_not_hidden(tmp_path):
    write_recordings(tmp_path)
    p = sections.load("clean", "segment", "mel", "train")
    with pytest.raises(MurmurError, match=r"segment\.first_of: no recording is labelled well"):
        chain.compute_features(tmp_path, change_segment(p, first=1, first_of=["well"]))
    (tmp_path / "raw/r1.wav").unlink()
    with pytest.raises(MurmurError, match=r"r1\.wav"):
        chain.compute_features(tmp_path, p)
