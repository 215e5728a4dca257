"""Embeddings are those of the encoder, for every file format and number of workers."""

import numpy as np
import pytest
import torch
import yaml

from murmur.errors import MurmurError
from murmur.features import embedding, store
from murmur.features.embedding import compute_embeddings
from murmur.models import m2d
from stages import embed as stage
from tests import made

FRAMES, SEGMENTS = 70, 7


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(embedding, "BATCH", 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return made.m2d_checkpoint(tmp_path_factory.mktemp("weights"))


def write_spectrograms(path, *, channels=1, mels=80, dtype="float32"):
    """Write random spectrograms in the format of the file's name; return the path."""
    x = 4 * np.random.default_rng(0).standard_normal((SEGMENTS, channels, mels, FRAMES)) - 7
    with store.open_writer(path, x.shape, np.dtype(dtype)) as write:
        write(x.astype(dtype))
    return path


def run(features, weights, out, *, pool="mean", device="cpu"):
    compute_embeddings(features, weights, out, pool=pool, device=device)
    return store.read_array(out)


@pytest.mark.parametrize(("pool", "time", "dtype"), [("mean", 1, "float32"), ("none", 5, "float16")])
def test_row_k_is_the_embedding_of_segment_k(tmp_path, weights, pool, time, dtype):
    features = write_spectrograms(tmp_path / "mel.npy", dtype=dtype)
    found = run(features, weights, tmp_path / "embedding.npy", pool=pool)
    assert found.shape == (SEGMENTS, 1, 960, time) and found.dtype == np.float32
    encoder = m2d.load_encoder(weights).eval()
    for row, x in zip(found, store.read_array(features), strict=True):
        with torch.no_grad():
            expected = encoder(torch.tensor(x[None]).float())[0].numpy()
        expected = expected.mean(axis=0, keepdims=True) if pool == "mean" else expected
        np.testing.assert_allclose(row[0], expected.T, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def with_one_worker(tmp_path_factory, weights):
    root = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "BATCH", 2)
        patch.setenv("MURMUR_WORKERS", "1")
        run(write_spectrograms(root / "mel.npy"), weights, root / "embedding.npy", pool="none")
        run(root / "mel.npy", weights, root / "embedding.parquet", pool="none")
    return root


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_bytes_do_not_depend_on_the_workers_or_the_input_format(
    tmp_path, weights, with_one_worker, workers, kind
):
    out = tmp_path / f"embedding.{kind}"
    run(write_spectrograms(tmp_path / f"mel.{kind}"), weights, out, pool="none")
    assert out.read_bytes() == (with_one_worker / out.name).read_bytes()
    assert store.read_array(out).tobytes() == store.read_array(with_one_worker / "embedding.npy").tobytes()


def test_each_worker_uses_one_core(tmp_path, weights, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "2")
    before, calls = torch.get_num_threads(), []
    original = m2d.Encoder.encode

    def record(self, x):
        calls.append((len(x), torch.get_num_threads()))
        return original(self, x)

    monkeypatch.setattr(m2d.Encoder, "encode", record)
    run(write_spectrograms(tmp_path / "mel.npy"), weights, tmp_path / "embedding.npy")
    assert torch.get_num_threads() == before
    assert {threads for size, threads in calls[2:]} == {1}  # the first two compute the shape
    assert max(size for size, _ in calls) == 2


def test_an_interrupted_run_leaves_no_file(tmp_path, weights, monkeypatch, workers):
    features, calls, before = write_spectrograms(tmp_path / "mel.npy"), [], torch.get_num_threads()
    original = m2d.Encoder.forward

    def fail(self, x):
        calls.append(x)
        if len(calls) > 3:
            raise RuntimeError("interrupted")
        return original(self, x)

    monkeypatch.setattr(m2d.Encoder, "forward", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        run(features, weights, tmp_path / "embedding.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["mel.npy"]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("shape", "message"),
    [({"mels": 64}, "M2D takes 80 mel bands, these spectrograms have 64"), ({"channels": 3}, "1 channel")],
)
def test_spectrograms_of_another_shape_are_refused_before_any_work(tmp_path, weights, shape, message):
    features = write_spectrograms(tmp_path / "mel.npy", **shape)
    with pytest.raises(MurmurError, match=message):
        run(features, weights, tmp_path / "embedding.npy")
    assert not (tmp_path / "embedding.npy").exists()


def test_a_missing_file_or_device_is_named(tmp_path, weights, monkeypatch):
    with pytest.raises(MurmurError, match=r"mel\.npy: cannot be read .*dvc repro mel"):
        run(tmp_path / "mel.npy", weights, tmp_path / "embedding.npy")
    with pytest.raises(MurmurError, match=r"nowhere\.pth: no such file; download"):
        run(write_spectrograms(tmp_path / "mel.npy"), tmp_path / "nowhere.pth", tmp_path / "embedding.npy")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MurmurError, match=r"embed\.device: this machine has no cuda; set it to auto or cpu"):
        run(tmp_path / "mel.npy", weights, tmp_path / "embedding.npy", device="cuda")


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_the_stage_uses_its_parameters(tmp_path, weights, monkeypatch, kind):
    write_spectrograms(tmp_path / f"data/mel/array.{kind}")
    scale = {"mel.scale": "ln_plus", "mel.edges": "reflect"}
    changes = scale | {"mel.format": kind, "embed": {"models": ["m2d"], "weights": str(weights)}}
    changes["embed"] |= {"pool": "none", "device": "cpu"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(made.changed(changes)))
    monkeypatch.chdir(tmp_path)
    stage.main()
    assert store.read_array("data/embedding").shape == (SEGMENTS, 1, 960, 5)
    assert store.find_array("data/embedding").name == f"array.{kind}"
