"""A training that was killed goes on from its checkpoint, and ends in the same bytes."""

import os

import numpy as np
import pytest
import torch

from murmur.sections.train import Train
from murmur.training import checkpoint_folders, checkpoints
from murmur.training import fit as training_fit
from murmur.training.fit import Fold, fit_network
from tests.made import train_options

EPOCHS = 5
OPTIONS = train_options(epochs=EPOCHS, batch_size=16, lr=0.01, patience=None)


class Killed(BaseException):
    """Ends a training, in place of SIGKILL."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(monkeypatch):
    """The number of the epoch of each batch that is trained."""
    batches, train_epoch, train_batch = [], training_fit._train_epoch, training_fit._train_batch

    def record_epoch(loop, epoch):
        monkeypatch.setattr(
            training_fit,
            "_train_batch",
            lambda *arguments: (batches.append(epoch), train_batch(*arguments))[1],
        )
        return train_epoch(loop, epoch)

    monkeypatch.setattr(training_fit, "_train_epoch", record_epoch)
    return batches


def fit(path=None, validation=range(40, 50), kill_in=None, restored=0, **changes):
    """Train on noise, and return the bytes of the result; kill the training in the epoch `kill_in`.

    Of the epochs, `restored` are from a checkpoint, which the recorder is given.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1, 16, 24)).astype("float16")
    fold = Fold(np.arange(40), np.array(validation, int), np.arange(40, 60))
    options = Train.model_validate(OPTIONS.model_dump() | changes)
    names = {"classes": ("a", "b"), "weights": (1, 1), "seed": 3, "checkpoint": path}
    recorder = training_fit.Recorder()
    if kill_in is not None:

        def record_position(epochs):
            if epochs > kill_in:
                raise Killed

        recorder.record_position = record_position
    result = fit_network(x, np.arange(60) % 3 % 2, fold, options, recorder=recorder, **names)
    assert recorder._state.restored == restored
    weights = {name: value.numpy().tobytes() for name, value in result.weights.items()}
    return result.probabilities.tobytes(), result.history.to_csv(), weights


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "none", "select_on": "last", "balance": "sampler"},
        {"schedule": "cosine", "weight_decay": 0.1, "optimizer": "adamw"},
        {"schedule": "onecycle", "model": {"name": "cnn", "width": 4, "dropout": 0.5}},
        {"schedule": "step", "schedule_epochs": 1},
        {"schedule": "plateau", "schedule_epochs": 1, "freeze": 1},
        {"schedule": "cosine", "validation": []},
    ],
)
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(tmp_path, trained, changes):
    expected = fit(**changes)
    trained.clear()
    with pytest.raises(Killed):
        fit(tmp_path / "fold_0", kill_in=3.1, **changes)
    trained.clear()
    assert fit(tmp_path / "fold_0", restored=3, **changes) == expected
    assert sorted(set(trained)) == [3, 4]
    trained.clear()
    assert fit(tmp_path / "fold_0", restored=EPOCHS, **changes) == expected, "it only predicts again"
    assert trained == [] and os.listdir(tmp_path) == ["fold_0"]


def test_a_damaged_checkpoint_and_one_of_another_processor_are_not_used(tmp_path, trained, monkeypatch):
    path, expected = tmp_path / "fold_0", fit()
    fit(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for wrong in (content, content[:-1], b""):
        trained.clear()
        path.write_bytes(wrong)
        assert fit(path) == expected and trained[0] == 0
    trained.clear()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
    assert fit(path) == expected and trained[0] == 0


def test_a_checkpoint_of_another_precision_is_not_used(tmp_path, trained, monkeypatch):
    path, expected = tmp_path / "fold_0", fit()
    with monkeypatch.context() as patch:
        patch.setattr(training_fit, "choose_precision", lambda *_: "bfloat16")
        fit(path)
    trained.clear()
    assert fit(path) == expected and trained[0] == 0


def test_a_checkpoint_is_written_only_if_a_kill_could_cost_more_than_the_interval(tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoints, "INTERVAL", 60)
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        checkpoints.Checkpoint, "_write", lambda _, progress, *__: written.append(progress.epochs)
    )
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    checkpoint = checkpoints.Checkpoint(
        tmp_path / "x", model, optimizer, None, torch.device("cpu"), "float32"
    )
    for epoch in range(1, 10):
        now[0] += 25
        checkpoint.save(checkpoints.Progress(epoch))
    assert written == [2, 4, 6, 8], "two epochs are 50 s, three 75 s"


def test_a_full_disk_ends_the_checkpoints_but_not_the_training(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").touch()
    assert fit(tmp_path / "file" / "fold_0") == fit()
    assert caplog.messages == [
        f"{tmp_path}/file/fold_0: Not a directory; if the training is killed, it starts again"
    ]
    checkpoint_folders.remove_folder(tmp_path / "file" / "fold_0")  # raises no error


def test_the_folder_depends_on_all_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folders.find_folder({}) is None
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "features").mkdir()
    (tmp_path / "features/array.npy").write_bytes(b"1")
    inputs = {"seed": 1, "roles": {0: np.array(["a", "b"])}, "options": OPTIONS, "x": tmp_path / "features"}
    folder = checkpoint_folders.find_folder(inputs)
    assert folder == checkpoint_folders.find_folder(inputs)
    others = (
        {"seed": 2},
        {"roles": {1: np.array(["a", "b"])}},
        {"roles": {0: np.array(["a", "c"])}},
        {"options": OPTIONS.model_copy(update={"lr": 1.0})},
    )
    folders = {checkpoint_folders.find_folder(inputs | other) for other in others}
    (tmp_path / "features/array.npy").write_bytes(b"2")
    folders.add(checkpoint_folders.find_folder(inputs))
    monkeypatch.setattr(checkpoint_folders.cluster, "describe_software", lambda: {"murmur": "changed"})
    folders.add(checkpoint_folders.find_folder(inputs))
    assert len(folders - {folder}) == 6


def test_old_folders_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new", "done"):
        (checkpoint_folders.FOLDER / name).mkdir(parents=True)
    os.utime(checkpoint_folders.FOLDER / "old", (0, 0))
    checkpoint_folders.find_folder({})
    checkpoint_folders.remove_folder(checkpoint_folders.FOLDER / "done")
    assert os.listdir(checkpoint_folders.FOLDER) == ["new"]
