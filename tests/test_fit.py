"""Fitting one fold, on spectrograms that a small network can tell apart."""

import numpy as np
import pytest
import torch

from murmur.errors import MurmurError
from murmur.sections.train import Augment, Train
from murmur.training import fit as training_fit
from murmur.training.fit import Fold, fit_network
from tests.made import train_options

NOTHING = dict.fromkeys(Augment.model_fields, 0)
MASKS = {"chance": 1, "time_masks": 1, "time_mask": 0.1, "frequency_masks": 1, "frequency_mask": 0.1}
OPTIONS = train_options(epochs=6, batch_size=16, lr=0.01, augment=NOTHING | MASKS | {"mixup": 0.2})
CLASSES = ("quiet", "bright")


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
    return x, labels, Fold(np.arange(70), np.arange(70, 95), np.arange(70, 120))


def fit(data, seed=0, weights=(1.0, 1.0), classes=CLASSES, bags=None, **changes):
    x, labels, fold = data
    options = Train.model_validate(OPTIONS.model_dump() | changes)
    return fit_network(x, labels, fold, options, classes=classes, weights=weights, seed=seed, bags=bags)


def initial(model, seed=0, **shape):
    """The network as it is before a fit of this seed."""
    torch.manual_seed(seed)
    return training_fit.build(model, **{"classes": 2, "channels": 1, "mels": 16, "frames": 24} | shape)


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
        {"schedule": "plateau", "schedule_epochs": 2, "balance": "none", "label_smoothing": 0.1},
        {"schedule": "step", "schedule_epochs": 3, "class_weights": {"bright": 2.0}},
        {"loss": "focal", "select_on": "accuracy", "standardise": "none"},
        {"augment": NOTHING | {"chance": 0.5, "roll": 0.2, "amplitude": 0.2, "flip": 0.5}},
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
    inputs = training_fit.Inputs(torch.tensor(x), None)
    model = training_fit.Classifier(initial(OPTIONS.model), inputs, fold.train, OPTIONS)
    model.load_state_dict(found.weights)
    said = training_fit.predict_logits(model, inputs, fold.predict).softmax(dim=1).numpy()
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


def test_class_weights_shift_the_answers_by_name(data):
    x, labels, fold = data
    x = np.zeros_like(x)
    changes = {"balance": "loss", "class_weights": {"quiet": 4}, "epochs": 30, "lr": 0.02}
    shares = fit((x, labels, fold), **changes).probabilities.mean(axis=0)
    np.testing.assert_allclose(shares, [0.8, 0.2], atol=0.05)


def test_sampler_draws_classes_equally(data):
    labels = (np.arange(2000) % 10 == 0).astype(int)
    chance = 1 / np.bincount(labels)[labels]
    drawn = training_fit._draw_order(
        np.arange(2000), chance, OPTIONS.model_copy(update={"balance": "sampler"})
    )
    assert labels[drawn].mean() == pytest.approx(0.5, abs=0.05)


def test_bad_requests_are_told(data):
    with pytest.raises(MurmurError, match=r"train.device: this machine has no"):
        fit(data, device="mps" if not torch.backends.mps.is_available() else "cuda")
    with pytest.raises(MurmurError, match=r"train.lr"):
        hot = OPTIONS.model_copy(update={"lr": 1e30, "clip": None, "epochs": 20})  # no file may ask for it
        fit_network(*data, hot, classes=CLASSES, weights=(1.0, 1.0), seed=0)
    with pytest.raises(MurmurError, match="train: class silent has no unit in the training part"):
        fit(data, weights=(1.0, 1.0, 1.0), classes=(*CLASSES, "silent"))
    with pytest.raises(MurmurError, match=r"train\.class_weights: no class bold; there are quiet, bright"):
        fit(data, class_weights={"bold": 2})
    with pytest.raises(MurmurError, match=r"train\.standardise imagenet: needs mel\.image"):
        fit(data, standardise="imagenet")
    with pytest.raises(MurmurError, match=r"train\.freeze 99: the network has 11 layers"):
        fit(data, freeze=99)
    blocks = {"name": "conv_blocks", "widths": [4] * 5}
    with pytest.raises(MurmurError, match=r"conv_blocks: cannot take a spectrogram of 16 x 24"):
        fit(data, model=blocks)


def test_bfloat16_trains_where_the_processor_has_it_and_is_refused_elsewhere(data, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    with pytest.raises(MurmurError, match=r"train.precision: this cpu has no bfloat16"):
        fit(data, precision="bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert fit(data, precision="bfloat16").probabilities.dtype == np.float32


BLOCKS = {"name": "conv_blocks", "widths": [4, 6, 8], "dropout": [0.2]}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_the_first_layers_keep_their_bytes_and_only_they(data, layers):
    found = fit(data, model=BLOCKS, freeze=layers, epochs=2, weight_decay=0.1, optimizer="adam").weights
    network = initial(OPTIONS.model.model_validate(BLOCKS))
    convolutions = [k for k, layer in enumerate(network) if isinstance(layer, torch.nn.Conv2d)]
    end = [*convolutions, len(network) - 1][layers] if layers else 0
    before = network.state_dict()
    assert any("running_var" in key for key in before)
    for key, value in before.items():
        same = torch.equal(found[f"network.{key}"], value)
        assert same == (int(key.split(".")[0]) < end), key


def rates(data, **changes):
    return fit(data, epochs=7, lr=0.01, **changes).history["learning_rate"].to_numpy() / 0.01


def test_the_learning_rates_of_each_schedule(data):
    epoch = np.arange(7)
    plain = {"none": np.ones(7), "cosine": (1 + np.cos(np.pi * epoch / 7)) / 2}
    for schedule, expected in plain.items():
        np.testing.assert_allclose(rates(data, schedule=schedule), expected, atol=1e-6)
    shorter = rates(data, schedule="cosine", schedule_epochs=3)  # to its bottom, and up again
    np.testing.assert_allclose(shorter, (1 + np.cos(np.pi * epoch / 3)) / 2, atol=1e-6)
    stepped = rates(data, schedule="step", schedule_epochs=2, schedule_factor=0.1)
    np.testing.assert_allclose(stepped, 0.1 ** (epoch // 2))
    onecycle = rates(data, schedule="onecycle")
    assert onecycle[0] == pytest.approx(1 / 25) and onecycle.argmax() in (2, 3) and onecycle[6] < 0.2


@pytest.fixture
def said(monkeypatch):
    """Let validations find what is put here: (loss, uar, accuracy, answers) of each epoch."""
    script = []

    def validate(loop, fold):
        loss, uar, accuracy, answers = script.pop(0)
        return {"validation_loss": loss, "validation_uar": uar, "validation_accuracy": accuracy}, answers

    monkeypatch.setattr(training_fit, "_validate", validate)
    return script


def epochs(losses, answers=2, accuracies=None):
    accuracies = accuracies or [0.5] * len(losses)
    return [(loss, 0.5, accuracy, answers) for loss, accuracy in zip(losses, accuracies, strict=True)]


def test_plateau_waits_for_its_patience(data, said):
    said += epochs([3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5])
    changes = {"schedule": "plateau", "schedule_epochs": 2, "schedule_factor": 0.3, "lr": 1.0}
    found = fit(data, epochs=10, clip=0.001, **changes).history["learning_rate"]
    np.testing.assert_allclose(found, [1] * 5 + [0.3] * 4 + [0.09])


@pytest.mark.parametrize(
    ("select_on", "column", "best"),
    [("loss", 0, np.argmin), ("uar", 1, np.argmax), ("accuracy", 2, np.argmax)],
)
def test_the_first_best_epoch_is_kept_by_what_it_is_selected_on(data, said, select_on, column, best):
    table = [
        (2.0, 0.5, 0.6, 2),
        (1.0, 0.4, 0.5, 2),
        (1.5, 0.9, 0.7, 2),
        (1.0, 0.9, 0.8, 2),
        (3.0, 0.1, 0.8, 2),
    ]
    said += table
    found = fit(data, epochs=5, select_on=select_on)
    expected = int(best([row[column] for row in table]))
    assert found.history["best"].tolist() == [int(k == expected) for k in range(5)]
    said += table
    assert fit(data, epochs=5, select_on="loss", patience=2).history["epoch"].tolist() == [0, 1, 2, 3]
    said[:] = table[: expected + 1]
    shorter = fit(data, epochs=expected + 1, select_on=select_on, schedule="none")
    said += table
    whole = fit(data, epochs=5, select_on=select_on, schedule="none")
    assert all(torch.equal(shorter.weights[key], value) for key, value in whole.weights.items())


def test_patience_counts_from_the_best_epoch(data, said):
    said += epochs([3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 1.95, 1.0])
    history = fit(data, epochs=8, patience=3).history
    assert len(history) == 7 and history["best"].argmax() == 3


def test_it_stops_once_it_is_accurate_enough(data, said):
    said += epochs([1.0] * 4, accuracies=[0.3, 0.74, 0.75, 0.9])
    assert len(fit(data, epochs=4, stop_accuracy=0.75).history) == 3
    said[:] = epochs([1.0] * 4, accuracies=[0.3, 0.74, 0.75, 0.9])
    assert len(fit(data, epochs=4).history) == 4


def test_it_stops_when_one_class_only_is_answered(data, said):
    for stops, length in ((True, 2), (False, 4)):
        said[:] = [*epochs([1.0]), *epochs([1.0], answers=1), *epochs([1.0, 1.0])]
        assert len(fit(data, epochs=4, stop_one_class=stops).history) == length


def test_the_rules_go_by_what_the_validation_part_really_says(data):
    x, labels, fold = data
    history = fit(data, epochs=20, stop_accuracy=0.9).history
    assert len(history) < 20
    assert (history["validation_accuracy"] >= 0.9).tolist() == [False] * (len(history) - 1) + [True]
    nothing = np.zeros_like(x), labels, fold  # where all segments are the same, all have one answer
    assert len(fit(nothing, stop_one_class=True).history) == 1
    history = fit(nothing, epochs=1, balance="none").history
    assert history["validation_uar"].item() == 0.5
    assert history["validation_accuracy"].item() == pytest.approx((labels[70:95] == 0).mean())


def test_focal_loss_and_weights_are_those_of_the_history(data):
    labels = data[1]
    changes = {"loss": "focal", "focal_gamma": 2.0, "balance": "none", "class_weights": {"bright": 3.0}}
    found = fit(data, epochs=3, **changes)
    p = found.probabilities[:25][np.arange(25), labels[70:95]]
    weight = np.where(labels[70:95] == 1, 3.0, 1.0)
    loss = (weight * (1 - p) ** 2 * -np.log(p)).sum() / weight.sum()
    assert loss == pytest.approx(found.history["validation_loss"].min(), rel=1e-3)


TRANSFORMER = {
    **{"name": "site_transformer", "sites": ["AV", "PV"], "width": 16, "layers": 1, "attention_heads": 2},
    **{"feedforward": 16, "dropout": 0.1},
}


@pytest.fixture
def patients():
    """80 patients of two sites with up to two segments each; some heard at one site only, one nowhere."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    bags = np.arange(320).reshape(80, 2, 2)
    bags[rng.random(80) < 0.4, 0, 1] = -1
    bags[rng.random(80) < 0.3, 1] = -1
    bags[79] = -1
    x = rng.normal(size=(320, 1, 16, 8)).astype("float16")
    x[np.repeat(labels == 1, 4), :, 4:7] += 1
    return (x, labels, Fold(np.arange(50), np.arange(50, 65), np.arange(50, 80))), bags


@pytest.mark.parametrize(
    "changes",
    [{}, {"trunk": "cnn"}, {"missing": "zero"}, {"heads": 1}, {"late_fusion": True}, {"drop_sites": 0.3}],
    ids=str,
)
def test_patients_are_decided_from_all_their_segments(patients, changes):
    data, bags = patients
    options = {
        "model": TRANSFORMER | changes,
        "augment": NOTHING | MASKS,
        "loss": "focal",
        "distillation": 0.3,
    }
    found = fit(data, bags=bags, epochs=12, **options)
    assert found.probabilities.shape == (30, 2) and np.isfinite(found.probabilities).all()
    assert (found.probabilities.argmax(axis=1) == data[1][50:])[:-1].mean() > 0.8


def test_segments_in_no_bag_and_other_patients_do_not_matter(patients):
    data, bags = patients
    plain = {"bags": bags, "model": TRANSFORMER, "augment": NOTHING, "epochs": 2}
    expected = fit(data, **plain).probabilities
    x, labels, fold = data
    free = np.setdiff1d(np.arange(320), bags[bags >= 0])
    other = x.copy()
    other[free] = 9
    assert (fit((other, labels, fold), **plain).probabilities == expected).all()
    other[bags[65:][bags[65:] >= 0]] *= 3  # of the test part
    assert (fit((other, labels, fold), **plain).probabilities[:15] == expected[:15]).all()


def test_patients_are_not_blended(patients):
    data, bags = patients
    with pytest.raises(MurmurError, match=r"train\.augment\.mixup: patients have not the same sites"):
        fit(data, bags=bags, model=TRANSFORMER)
