"""Training of one fold on spectrograms that a small network can classify."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from murmur.devices import place_array
from murmur.errors import MurmurError
from murmur.features.store import read_array
from murmur.sections.train import Augment, Train
from murmur.training import fit as training_fit
from murmur.training.fit import Fold, fit_network
from murmur.training.sampling import draw_order
from tests.made import ROOT, train_options

NO_AUGMENTATION = dict.fromkeys(Augment.model_fields, 0)
MASKS = {"chance": 1, "time_masks": 1, "time_mask": 0.1, "frequency_masks": 1, "frequency_mask": 0.1}
OPTIONS = train_options(epochs=6, batch_size=16, lr=0.01, augment=NO_AUGMENTATION | MASKS | {"mixup": 0.2})
CLASSES = ("quiet", "bright")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data():
    """120 spectrograms of two classes, one of which has a band of higher energy; their labels; a fold."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3 % 2  # class 0 is twice as frequent
    x = rng.normal(size=(120, 1, 16, 24)).astype("float16")
    x[labels == 1, :, 4:7] += 2
    return x, labels, Fold(np.arange(70), np.arange(70, 95), np.arange(70, 120))


def fit(data, seed=0, weights=(1.0, 1.0), classes=CLASSES, bags=None, **changes):
    x, labels, fold = data
    options = Train.model_validate(OPTIONS.model_dump() | changes)
    return fit_network(x, labels, fold, options, classes=classes, weights=weights, seed=seed, bags=bags)


def build_initial(model, seed=0, **shape):
    """The network before a training with this seed."""
    torch.manual_seed(seed)
    return training_fit.build(model, **{"classes": 2, "channels": 1, "mels": 16, "frames": 24} | shape)


def test_the_network_learns_and_predicts_the_requested_units(data):
    result = fit(data)
    assert result.probabilities.shape == (50, 2) and result.probabilities.dtype == np.float32
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-6)
    assert (result.probabilities.argmax(axis=1) == data[1][70:]).mean() > 0.9
    assert list(result.history["epoch"]) == list(range(6)) and result.history["best"].sum() == 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(data):
    one, again, other = fit(data), fit(data), fit(data, seed=1)
    assert one.probabilities.tobytes() == again.probabilities.tobytes()
    assert one.probabilities.tobytes() != other.probabilities.tobytes()


def test_a_memory_map_is_not_copied_and_gives_the_same_bytes(tmp_path, data):
    x, labels, fold = data
    np.save(tmp_path / "array.npy", x)
    mapped = read_array(tmp_path)
    assert place_array(mapped, torch.device("cpu")).data_ptr() == mapped.ctypes.data
    result, expected = fit((mapped, labels, fold)), fit(data)
    assert result.probabilities.tobytes() == expected.probabilities.tobytes()
    pd.testing.assert_frame_equal(result.history, expected.history, check_exact=True)


def test_the_labels_of_the_test_part_have_no_effect(data):
    x, labels, fold = data
    wrong = labels.copy()
    wrong[95:] = 1 - wrong[95:]
    assert fit((x, wrong, fold)).probabilities.tobytes() == fit(data).probabilities.tobytes()


def test_the_test_part_has_no_effect_on_the_standardisation(data):
    x, labels, fold = data
    changed = x.copy()
    changed[95:] *= 5
    assert fit((changed, labels, fold)).probabilities[:25].tobytes() == fit(data).probabilities[:25].tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "schedule": "none", "clip": None},
        {"schedule": "cosine", "balance": "sampler"},
        {"schedule": "plateau", "schedule_epochs": 2, "balance": "none", "label_smoothing": 0.1},
        {"schedule": "step", "schedule_epochs": 3, "class_weights": {"bright": 2.0}},
        {"loss": "focal", "select_on": "accuracy", "standardise": "none"},
        {"augment": NO_AUGMENTATION | {"chance": 0.5, "roll": 0.2, "amplitude": 0.2, "flip": 0.5}},
        {"balance": "metric", "select_on": "uar"},
    ],
    ids=str,
)
def test_the_network_learns_with_every_option(data, changes):
    assert fit(data, **changes).history["train_loss"].iloc[-1] < 0.7


def test_patience_stops_a_training_that_no_longer_improves(data):
    history = fit(data, patience=2, epochs=60, lr=0.05).history
    assert len(history) < 60 and len(history) - 1 - history["best"].argmax() == 2


def test_the_predictions_are_those_of_the_best_epoch(data):
    x, labels, fold = data
    result = fit(data, epochs=8, lr=0.05)
    inputs = training_fit.Inputs(torch.tensor(x), None)
    model = training_fit.Classifier(build_initial(OPTIONS.model), inputs, fold.train, OPTIONS)
    model.load_state_dict(result.weights)
    scripted = training_fit.predict_logits(model, inputs, fold.predict).softmax(dim=1).numpy()
    np.testing.assert_allclose(scripted, result.probabilities, atol=1e-6)
    weight = torch.tensor([70 / 2 / (labels[:70] == c).sum() for c in (0, 1)], dtype=torch.float32)
    loss = torch.nn.functional.nll_loss(
        torch.tensor(scripted[:25]).log(), torch.tensor(labels[70:95]), weight
    )
    assert float(loss) == pytest.approx(result.history["validation_loss"].min(), abs=1e-4)


def test_weights_of_the_metric_shift_the_predictions(data):
    x, labels, fold = data
    x = np.zeros_like(x)  # only the class weights can be learned
    shares = fit(
        (x, labels, fold), weights=(1.0, 3.0), balance="metric", epochs=30, lr=0.02
    ).probabilities.mean(axis=0)
    np.testing.assert_allclose(shares, [0.25, 0.75], atol=0.05)


def test_class_weights_shift_the_predictions(data):
    x, labels, fold = data
    x = np.zeros_like(x)
    changes = {"balance": "loss", "class_weights": {"quiet": 4}, "epochs": 30, "lr": 0.02}
    shares = fit((x, labels, fold), **changes).probabilities.mean(axis=0)
    np.testing.assert_allclose(shares, [0.8, 0.2], atol=0.05)


def test_the_sampler_draws_all_classes_equally_often(data):
    labels = (np.arange(2000) % 10 == 0).astype(int)
    torch.manual_seed(0)
    drawn = draw_order(np.arange(2000), labels, None, OPTIONS.model_copy(update={"balance": "sampler"}))
    assert labels[drawn].mean() == pytest.approx(0.5, abs=0.05)


def test_invalid_options_are_named(data):
    with pytest.raises(MurmurError, match=r"train.device: this machine has no"):
        fit(data, device="mps" if not torch.backends.mps.is_available() else "cuda")
    with pytest.raises(MurmurError, match=r"train.lr"):
        too_high = OPTIONS.model_copy(
            update={"lr": 1e30, "clip": None, "epochs": 20}
        )  # params.yaml cannot contain this
        fit_network(*data, too_high, classes=CLASSES, weights=(1.0, 1.0), seed=0)
    with pytest.raises(MurmurError, match="train: class silent has no unit in the training part"):
        fit(data, weights=(1.0, 1.0, 1.0), classes=(*CLASSES, "silent"))
    with pytest.raises(MurmurError, match=r"train\.class_weights: no class bold; there are quiet, bright"):
        fit(data, class_weights={"bold": 2})
    with pytest.raises(MurmurError, match=r"train\.standardise imagenet: needs mel\.image"):
        fit(data, standardise="imagenet")
    with pytest.raises(MurmurError, match=r"train\.freeze 99: the network has 6 layers"):
        fit(data, freeze=99)
    blocks = {"name": "conv_blocks", "widths": [4] * 5}
    with pytest.raises(MurmurError, match=r"conv_blocks: cannot take a spectrogram of 16 x 24"):
        fit(data, model=blocks)


def test_bfloat16_is_refused_on_a_processor_that_does_not_support_it(data, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    with pytest.raises(MurmurError, match=r"train.precision: this cpu has no bfloat16"):
        fit(data, precision="bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    result = fit(data, precision="bfloat16")
    assert (result.precision, result.probabilities.dtype) == ("bfloat16", np.float32)


def test_auto_is_the_precision_that_the_processor_has(data, monkeypatch):
    for capabilities, precision in (({}, "float32"), ({"avx512_bf16": True}, "bfloat16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
        automatic, explicit = fit(data, precision="auto"), fit(data, precision=precision)
        assert automatic.precision == precision
        assert np.array_equal(automatic.probabilities, explicit.probabilities)


BLOCKS = {"name": "conv_blocks", "widths": [4, 6, 8], "dropout": [0.2]}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_only_frozen_layers_keep_their_initial_weights(data, layers):
    result = fit(data, model=BLOCKS, freeze=layers, epochs=2, weight_decay=0.1, optimizer="adam").weights
    network = build_initial(OPTIONS.model.model_validate(BLOCKS))
    convolutions = [k for k, layer in enumerate(network) if isinstance(layer, torch.nn.Conv2d)]
    end = [*convolutions, len(network) - 1][layers] if layers else 0
    before = network.state_dict()
    assert any("running_var" in key for key in before)
    for key, value in before.items():
        same = torch.equal(result[f"network.{key}"], value)
        assert same == (int(key.split(".")[0]) < end), key


def rates(data, **changes):
    return fit(data, epochs=7, lr=0.01, **changes).history["learning_rate"].to_numpy() / 0.01


def test_the_learning_rates_of_each_schedule(data):
    epoch = np.arange(7)
    plain = {"none": np.ones(7), "cosine": (1 + np.cos(np.pi * epoch / 7)) / 2}
    for schedule, expected in plain.items():
        np.testing.assert_allclose(rates(data, schedule=schedule), expected, atol=1e-6)
    shorter = rates(data, schedule="cosine", schedule_epochs=3)  # down to the minimum, then up again
    np.testing.assert_allclose(shorter, (1 + np.cos(np.pi * epoch / 3)) / 2, atol=1e-6)
    stepped = rates(data, schedule="step", schedule_epochs=2, schedule_factor=0.1)
    np.testing.assert_allclose(stepped, 0.1 ** (epoch // 2))
    onecycle = rates(data, schedule="onecycle")
    assert onecycle[0] == pytest.approx(1 / 25) and onecycle.argmax() in (2, 3) and onecycle[6] < 0.2


@pytest.fixture
def scripted(monkeypatch):
    """A list of the results of each validation: (loss, uar, accuracy, number of predicted classes)."""
    script = []

    def validate(loop, fold):
        loss, uar, accuracy, n_predicted = script.pop(0)
        return {"validation_loss": loss, "validation_uar": uar, "validation_accuracy": accuracy}, n_predicted

    monkeypatch.setattr(training_fit, "_validate", validate)
    return script


def epochs(losses, n_predicted=2, accuracies=None):
    accuracies = accuracies or [0.5] * len(losses)
    return [(loss, 0.5, accuracy, n_predicted) for loss, accuracy in zip(losses, accuracies, strict=True)]


def test_the_plateau_schedule_lowers_the_rate_after_its_patience(data, scripted):
    scripted += epochs([3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5])
    changes = {"schedule": "plateau", "schedule_epochs": 2, "schedule_factor": 0.3, "lr": 1.0}
    result = fit(data, epochs=10, clip=0.001, **changes).history["learning_rate"]
    np.testing.assert_allclose(result, [1] * 5 + [0.3] * 4 + [0.09])


@pytest.mark.parametrize(
    ("select_on", "column", "best"),
    [("loss", 0, np.argmin), ("uar", 1, np.argmax), ("accuracy", 2, np.argmax)],
)
def test_the_weights_are_those_of_the_first_best_epoch(data, scripted, select_on, column, best):
    table = [
        (2.0, 0.5, 0.6, 2),
        (1.0, 0.4, 0.5, 2),
        (1.5, 0.9, 0.7, 2),
        (1.0, 0.9, 0.8, 2),
        (3.0, 0.1, 0.8, 2),
    ]
    scripted += table
    result = fit(data, epochs=5, select_on=select_on)
    expected = int(best([row[column] for row in table]))
    assert result.history["best"].tolist() == [int(k == expected) for k in range(5)]
    scripted += table
    assert fit(data, epochs=5, select_on="loss", patience=2).history["epoch"].tolist() == [0, 1, 2, 3]
    scripted[:] = table[: expected + 1]
    shorter = fit(data, epochs=expected + 1, select_on=select_on, schedule="none")
    scripted += table
    longer = fit(data, epochs=5, select_on=select_on, schedule="none")
    assert all(torch.equal(shorter.weights[key], value) for key, value in longer.weights.items())


def test_patience_counts_from_the_best_epoch(data, scripted):
    scripted += epochs([3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 1.95, 1.0])
    history = fit(data, epochs=8, patience=3).history
    assert len(history) == 7 and history["best"].argmax() == 3


def test_the_training_stops_at_the_required_accuracy(data, scripted):
    scripted += epochs([1.0] * 4, accuracies=[0.3, 0.74, 0.75, 0.9])
    assert len(fit(data, epochs=4, stop_accuracy=0.75).history) == 3
    scripted[:] = epochs([1.0] * 4, accuracies=[0.3, 0.74, 0.75, 0.9])
    assert len(fit(data, epochs=4).history) == 4


def test_the_training_stops_when_only_one_class_is_predicted(data, scripted):
    for stops, length in ((True, 2), (False, 4)):
        scripted[:] = [*epochs([1.0]), *epochs([1.0], n_predicted=1), *epochs([1.0, 1.0])]
        assert len(fit(data, epochs=4, stop_one_class=stops).history) == length


def test_the_stopping_rules_use_the_scores_of_the_validation_part(data):
    x, labels, fold = data
    history = fit(data, epochs=20, stop_accuracy=0.9).history
    assert len(history) < 20
    assert (history["validation_accuracy"] >= 0.9).tolist() == [False] * (len(history) - 1) + [True]
    constant = np.zeros_like(x), labels, fold  # equal segments have equal predictions
    assert len(fit(constant, stop_one_class=True).history) == 1
    history = fit(constant, epochs=1, balance="none").history
    assert history["validation_uar"].item() == 0.5
    assert history["validation_accuracy"].item() == pytest.approx((labels[70:95] == 0).mean())


def test_the_history_has_the_focal_loss_with_class_weights(data):
    labels = data[1]
    changes = {"loss": "focal", "focal_gamma": 2.0, "balance": "none", "class_weights": {"bright": 3.0}}
    result = fit(data, epochs=3, **changes)
    p = result.probabilities[:25][np.arange(25), labels[70:95]]
    weight = np.where(labels[70:95] == 1, 3.0, 1.0)
    loss = (weight * (1 - p) ** 2 * -np.log(p)).sum() / weight.sum()
    assert loss == pytest.approx(result.history["validation_loss"].min(), rel=1e-3)


TRANSFORMER = {
    "name": "site_transformer",
    "sites": ["AV", "PV"],
    "width": 16,
    "layers": 1,
    "attention_heads": 2,
    "feedforward": 16,
    "dropout": 0.1,
}


@pytest.fixture
def patients():
    """80 patients, two sites, up to two segments a site; some have one site only, one patient has none."""
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
def test_a_network_of_sites_learns_to_predict_patients(patients, changes):
    data, bags = patients
    options = {
        "model": TRANSFORMER | changes,
        "augment": NO_AUGMENTATION | MASKS,
        "loss": "focal",
        "distillation": 0.3,
    }
    result = fit(data, bags=bags, epochs=12, **options)
    assert result.probabilities.shape == (30, 2) and np.isfinite(result.probabilities).all()
    assert (result.probabilities.argmax(axis=1) == data[1][50:])[:-1].mean() > 0.8


def test_unused_segments_and_the_test_part_have_no_effect(patients):
    data, bags = patients
    plain = {"bags": bags, "model": TRANSFORMER, "augment": NO_AUGMENTATION, "epochs": 2}
    expected = fit(data, **plain).probabilities
    x, labels, fold = data
    unused = np.setdiff1d(np.arange(320), bags[bags >= 0])
    other = x.copy()
    other[unused] = 9
    assert (fit((other, labels, fold), **plain).probabilities == expected).all()
    other[bags[65:][bags[65:] >= 0]] *= 3  # segments of the test part
    assert (fit((other, labels, fold), **plain).probabilities[:15] == expected[:15]).all()


def test_mixup_of_patients_is_refused(patients):
    data, bags = patients
    with pytest.raises(MurmurError, match=r"train\.augment\.mixup: patients have not the same sites"):
        fit(data, bags=bags, model=TRANSFORMER)


FIRST_FIT = """
import sys, numpy
from murmur.training.fit import Fold, fit_network
from murmur.training.sampling import draw_order
from tests.made import ROOT, train_options

units = numpy.arange(16)
x = numpy.random.default_rng(0).normal(size=(16, 1, 16, 24)).astype("float16")
fold = Fold(units[:8], units[8:12], units[8:])
options = train_options(epochs=1, optimizer=sys.argv[1], schedule=sys.argv[2])
fit_network(x, units % 2, fold, options, classes=("a", "b"), weights=(1.0, 1.0), seed=0)
print(*sorted({"torch._dynamo", "torch._inductor", "timm", "torchvision"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("optimizer", "schedule"), [("adam", "none"), ("adamw", "onecycle")])
def test_the_default_network_trains_without_importing_timm_or_the_compiler(optimizer, schedule):
    command = [sys.executable, "-c", FIRST_FIT, optimizer, schedule]
    environment = os.environ | {"PYTHONPATH": "src"}
    result = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == ""
