"""Fitting one fold, on spectrograms that a small network can tell apart."""

import numpy as np
import pytest
import torch

from murmur import train
from murmur.errors import MurmurError
from tests.made import train_options

MASKS = {"time_masks": 1, "time_mask": 0.1, "frequency_masks": 1, "frequency_mask": 0.1, "mixup": 0.2}
OPTIONS = train_options(epochs=6, batch_size=16, lr=0.01, augment=MASKS)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data():
    """120 spectrograms of two classes, one with a bright band, and a fold of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3 % 2  # twice as many of class 0
    x = rng.normal(size=(120, 1, 16, 24)).astype("float16")
    x[labels == 1, :, 4:7] += 2
    return x, labels, train.Fold(np.arange(70), np.arange(70, 95), np.arange(70, 120))


def fit(data, seed=0, weights=(1.0, 1.0), **changes):
    x, labels, fold = data
    return train.fit(x, labels, fold, OPTIONS.model_copy(update=changes), weights=weights, seed=seed)


def test_it_learns_and_speaks_of_every_row_asked_for(data):
    found = fit(data)
    assert found.probabilities.shape == (50, 2) and found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert (found.probabilities.argmax(axis=1) == data[1][70:]).mean() > 0.9
    assert list(found.history["epoch"]) == list(range(6)) and found.history["best"].sum() == 1


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data):
    one, again, other = fit(data), fit(data), fit(data, seed=1)
    assert one.probabilities.tobytes() == again.probabilities.tobytes()
    assert one.probabilities.tobytes() != other.probabilities.tobytes()


def test_the_labels_of_the_test_rows_do_not_matter(data):
    x, labels, fold = data
    wrong = labels.copy()
    wrong[95:] = 1 - wrong[95:]
    assert fit((x, wrong, fold)).probabilities.tobytes() == fit(data).probabilities.tobytes()


def test_the_test_rows_do_not_touch_the_standardisation(data):
    x, labels, fold = data
    louder = x.copy()
    louder[95:] *= 5
    assert fit((louder, labels, fold)).probabilities[:25].tobytes() == fit(data).probabilities[:25].tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "schedule": "none", "clip": None},
        {"schedule": "cosine", "balance": "sampler"},
        {"schedule": "plateau", "balance": "none", "label_smoothing": 0.1},
        {"balance": "metric", "select_on": "uar"},
    ],
    ids=str,
)
def test_every_choice_trains(data, changes):
    assert fit(data, **changes).history["train_loss"].iloc[-1] < 0.7


def test_patience_ends_a_training_that_no_longer_improves(data):
    history = fit(data, patience=2, epochs=60, lr=0.05).history
    assert len(history) < 60 and len(history) - 1 - history["best"].argmax() == 2


def test_the_weights_of_the_best_epoch_answer(data):
    x, labels, fold = data
    found = fit(data, epochs=8, lr=0.05)
    model = train.Classifier(
        train.build(OPTIONS.model, classes=2, channels=1, mels=16, frames=24), torch.tensor(x), fold.train
    )
    model.load_state_dict(found.weights)
    said = train.predict(model, torch.tensor(x), fold.predict).softmax(dim=1).numpy()
    np.testing.assert_allclose(said, found.probabilities, atol=1e-6)
    weight = torch.tensor([70 / 2 / (labels[:70] == c).sum() for c in (0, 1)], dtype=torch.float32)
    loss = torch.nn.functional.nll_loss(torch.tensor(said[:25]).log(), torch.tensor(labels[70:95]), weight)
    assert float(loss) == pytest.approx(found.history["validation_loss"].min(), abs=1e-4)


def test_metric_weights_shift_the_answers(data):
    x, labels, fold = data
    x = np.zeros_like(x)  # nothing to learn but the weights
    shares = fit(
        (x, labels, fold), weights=(1.0, 3.0), balance="metric", epochs=30, lr=0.02
    ).probabilities.mean(axis=0)
    np.testing.assert_allclose(shares, [0.25, 0.75], atol=0.05)


def test_sampler_draws_classes_equally(data):
    labels = (np.arange(2000) % 10 == 0).astype(int)
    chance = 1 / np.bincount(labels)[labels]
    drawn = train._order(np.arange(2000), chance, OPTIONS.model_copy(update={"balance": "sampler"}))
    assert labels[drawn].mean() == pytest.approx(0.5, abs=0.05)


def test_bad_requests_are_told(data):
    with pytest.raises(MurmurError, match=r"train.device: this machine has no"):
        fit(data, device="mps" if not torch.backends.mps.is_available() else "cuda")
    with pytest.raises(MurmurError, match=r"train.lr"):
        fit(data, lr=1e30, clip=None, epochs=20)
    with pytest.raises(MurmurError, match="no segment in the training part"):
        fit(data, weights=(1.0, 1.0, 1.0))


def test_bfloat16_trains_where_the_processor_has_it_and_is_refused_elsewhere(data, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(MurmurError, match=r"train.precision: this cpu has no bfloat16"):
        fit(data, precision="bfloat16")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert fit(data, precision="bfloat16").probabilities.dtype == np.float32
