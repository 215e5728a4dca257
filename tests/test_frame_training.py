"""Training of a network with the labels of frames, on spectrograms in which a band shows each state."""

import logging

import numpy as np
import pytest
import torch

from murmur.errors import MurmurError
from murmur.models.frames import FrameOutput
from murmur.sections.train import Augment, Train
from murmur.tables.annotations import NOT_ANNOTATED, PADDING
from murmur.training import fit as training_fit
from murmur.training import frame_losses
from murmur.training.classifier import Classifier, Inputs, predict_outputs
from murmur.training.fit import Fold, fit_epochs, fit_network
from murmur.training.frame_losses import compute_frame_loss
from murmur.training.network import build
from murmur.training.sampling import draw_order, limit_segments
from tests.made import train_options

NO_AUGMENTATION = dict.fromkeys(Augment.model_fields, 0)
LOSSES = {"state_loss": 1.0, "murmur_loss": 1.0, "annotation_loss": 0.5}
OPTIONS = train_options(
    model={"name": "frames", "width": 16, "block_dropout": 0.0},
    epochs=6,
    batch_size=12,
    lr=0.02,
    augment=NO_AUGMENTATION | {"chance": 1, "flip": 0.5, "roll": 0.2, "gain": 0.1, "band_gain": 0.1},
    **LOSSES,
)
CLASSES = ("quiet", "murmur")
FOLD = Fold(np.arange(48), np.arange(48, 64), np.arange(48, 72), np.arange(64, 72))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    """72 spectrograms [1, 16, 41]: band 4 · state is loud; with a murmur also band 14; their frame labels.

    A quarter of each spectrogram is not annotated, and quiet; the last frames of some are padding.
    """
    rng = np.random.default_rng(0)
    has_murmur = np.arange(72) % 2
    first = rng.integers(0, 4, (72, 1))
    labels = (first + np.arange(41) // 5) % 4
    labels[(has_murmur == 1)[:, None] & (labels == 1)] = 5
    labels[:, 30:] = NOT_ANNOTATED
    labels[::3, 36:] = PADDING
    x = rng.normal(size=(72, 1, 16, 41)).astype("float16")
    for state in range(4):
        x[:, 0, 4 * state] += 4 * ((labels >= 0) & (labels % 4 == state))
    x[:, 0, 14] += 4 * (labels == 5)
    return x, has_murmur, labels.astype(np.int8)


def fit(data, fold=FOLD, recordings=None, frame_labels=True, **changes):
    x, labels, frames = data
    options = Train.model_validate(OPTIONS.model_dump() | changes)
    keys = {"frame_labels": frames if frame_labels is True else frame_labels, "recordings": recordings}
    return fit_network(x, labels, fold, options, classes=CLASSES, weights=(1.0, 1.0), seed=0, **keys)


def load(data, result):
    network = build(OPTIONS.model, classes=2, channels=1, mels=16, frames=41)
    inputs = Inputs(torch.tensor(data[0]), None)
    model = Classifier(network, inputs, FOLD.train, OPTIONS)
    model.load_state_dict(result.weights)
    return model, inputs


def test_the_network_learns_to_label_frames_and_gives_figures_of_them(data):
    result = fit(data, epochs=10)
    losses = result.history["train_loss"]
    assert losses.iloc[-1] < 0.4 * losses.iloc[0]
    tracks = predict_outputs(*load(data, result), FOLD.predict).tracks.numpy()
    states, murmur, annotated = tracks[..., :4], tracks[..., 4], tracks[..., 5]
    truth = data[2][FOLD.predict, ::2]
    assert states.shape == (24, 21, 4) and murmur.shape == annotated.shape == (24, 21)
    np.testing.assert_allclose(states.sum(axis=2), 1, atol=1e-6)
    assert (states.argmax(axis=2) == truth % 4)[truth >= 0].mean() > 0.9
    assert ((murmur > 0.5) == (truth >= 4))[truth >= 0].mean() > 0.9
    assert ((annotated > 0.5) == (truth >= 0))[truth != PADDING].mean() > 0.85
    systole = states[..., 1]
    figures = [systole * murmur, systole, annotated, states.max(axis=2)]
    np.testing.assert_allclose(result.figures, np.stack(figures, 1).mean(axis=2), atol=1e-5)
    assert result.figures.dtype == np.float32 and result.figures.shape == (24, 4)
    np.testing.assert_allclose(result.tracks, tracks[16:], atol=1e-5)
    assert result.tracks.dtype == np.float32 and result.tracks.shape == (8, 21, 6)


def test_without_units_to_track_there_are_no_tracks(data):
    result = fit(data, FOLD._replace(track=np.empty(0, int)), epochs=1)
    assert result.tracks is None and result.figures.shape == (24, 4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_bytes(data, monkeypatch, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    changes = {"epochs": 2, "precision": precision, "augment": NO_AUGMENTATION | {"flip": 0.5, "mixup": 0.3}}
    one, again = fit(data, **changes), fit(data, **changes)
    assert all(torch.equal(one.weights[name], again.weights[name]) for name in one.weights)
    assert one.figures.tobytes() == again.figures.tobytes() and np.isfinite(one.figures).all()


def test_labels_of_frames_outside_the_training_part_have_no_effect(data):
    x, labels, frames = data
    other = frames.copy()
    other[48:] = 3
    expected, found = fit(data, epochs=1), fit((x, labels, other), epochs=1)
    assert found.probabilities.tobytes() == expected.probabilities.tobytes()


def reference_loss(output, labels):
    """The three losses, computed frame by frame."""
    p = output.states.softmax(dim=1)
    cells = list(np.ndindex(*labels.shape))
    annotated = [(k, t) for k, t in cells if labels[k, t] >= 0]
    state = -np.mean([float(p[k, labels[k, t] % 4, t].log()) for k, t in annotated])

    def binary(logits, truth, used):
        q = [float(logits[cell].sigmoid()) for cell in used]
        return -np.mean([np.log(a if truth(labels[c]) else 1 - a) for a, c in zip(q, used, strict=True)])

    recorded = [cell for cell in cells if labels[cell] != PADDING]
    murmur = binary(output.murmur, lambda label: label >= 4, annotated)
    return 0.7 * state + 0.2 * murmur + 0.3 * binary(output.annotated, lambda label: label >= 0, recorded)


def test_the_losses_of_frames_equal_their_formulas():
    torch.manual_seed(0)
    output = FrameOutput(torch.zeros(3, 2), torch.randn(3, 4, 6), torch.randn(3, 6), torch.randn(3, 6))
    labels = torch.tensor([[0, 1, 5, 6, -1, -2], [3, 7, 4, 2, -1, -1], [-1, -1, -1, -2, -2, -2]])
    options = OPTIONS.model_copy(update={"state_loss": 0.7, "murmur_loss": 0.2, "annotation_loss": 0.3})
    found = compute_frame_loss(output, labels.to(torch.int8), options)
    assert float(found) == pytest.approx(reference_loss(output, labels), rel=1e-5)
    nothing = compute_frame_loss(output, torch.full((3, 6), PADDING, dtype=torch.int8), options)
    assert float(nothing) == 0


def test_the_losses_of_frames_are_mixed_as_the_classes(data):
    """With equal shares of two segments and no class loss the best answer is between their labels."""
    changes = {"augment": NO_AUGMENTATION | {"mixup": 100.0}, "epochs": 3}
    mixed, plain = (fit(data, **changes | {"augment": NO_AUGMENTATION | a}) for a in ({"mixup": 100.0}, {}))
    assert mixed.history["train_loss"].iloc[-1] > plain.history["train_loss"].iloc[-1] + 0.5


@pytest.mark.parametrize("annotated", [False, True], ids=["no labels", "no annotated frame"])
def test_without_annotations_only_the_classes_are_learned(data, annotated, caplog):
    frame_losses._log_absence.cache_clear()
    frames = np.full_like(data[2], NOT_ANNOTATED) if annotated else None
    with caplog.at_level(logging.INFO, logger="murmur"):
        result = fit(data, frame_labels=frames, epochs=1)
        fit(data, frame_labels=frames, epochs=1)
    assert [r.message for r in caplog.records] == [
        "train: no heart cycle is annotated; the network learns only the classes"
    ]
    classes_only = fit(data, epochs=1, **dict.fromkeys(LOSSES, 0.0))
    assert result.probabilities.tobytes() == classes_only.probabilities.tobytes()
    assert result.figures is None and result.tracks is None, "those of untrained heads mean nothing"


def test_a_model_that_does_not_label_frames_is_refused_with_these_losses(data):
    cnn = {"name": "cnn", "width": 4}
    without = fit(data, model=cnn, epochs=1, **dict.fromkeys(LOSSES, 0.0))
    assert without.figures is None and without.tracks is None
    with pytest.raises(MurmurError, match=r"^train\.murmur_loss: model cnn does not label frames; set it to"):
        fit(data, model=cnn, epochs=1, state_loss=0.0)


def test_labels_of_other_frames_are_refused(data):
    x, labels, frames = data
    with pytest.raises(MurmurError, match=r"train\.state_loss: the features have 41 frames, the labels 40; "):
        fit((x, labels, frames[:, :40]))


def test_an_epoch_draws_some_segments_of_each_recording():
    recordings, labels = np.repeat([0, 1, 2, 3], [1, 2, 7, 10]), np.repeat([0, 1], [10, 10])
    options = OPTIONS.model_copy(update={"per_recording": 2, "balance": "none"})
    train = np.arange(1, 20)
    torch.manual_seed(0)
    drawn = [draw_order(train, labels, recordings, options).numpy() for _ in range(200)]
    for order in drawn:
        assert np.bincount(recordings[order], minlength=4).tolist() == [0, 2, 2, 2]
        assert len(set(order)) == 6
    assert len(limit_segments(train, recordings, options)) == 6
    counts = np.bincount(np.concatenate(drawn), minlength=20)
    assert (counts[1:3] == 200).all() and counts[3:10].min() > 30 and counts[10:].min() > 20
    assert np.mean([np.argmax(recordings[order] == 1) for order in drawn]) == pytest.approx(5 / 3, abs=0.3)


def test_the_sampler_draws_from_the_segments_of_the_epoch():
    recordings, labels = np.repeat(np.arange(40), 30), np.repeat(np.arange(40) == 0, 30).astype(int)
    options = OPTIONS.model_copy(update={"per_recording": 5, "balance": "sampler"})
    torch.manual_seed(0)
    order = draw_order(np.arange(1200), labels, recordings, options).numpy()
    assert len(order) == 200 and labels[order].mean() == pytest.approx(0.5, abs=0.12)
    assert len(set(order[labels[order] == 1])) == 5


def test_schedule_and_class_weights_are_those_of_the_segments_of_an_epoch(data, monkeypatch):
    recordings, weights = np.where(data[1] == 1, 100, np.arange(72) // 4), []
    loss = training_fit.Loss
    monkeypatch.setattr(training_fit, "Loss", lambda *args: weights.append(args[0]) or loss(*args))
    history = fit(data, recordings=recordings, per_recording=2, epochs=2, schedule="cosine").history
    np.testing.assert_allclose(history["learning_rate"] / 0.02, [1, 0.5], atol=1e-6)  # 26 of 48 segments
    np.testing.assert_allclose(weights[0], [26 / 2 / 24, 26 / 2 / 2])


def test_the_recordings_are_needed_to_draw_from_them(data):
    x, labels, frames = data
    options = Train.model_validate(OPTIONS.model_dump() | {"per_recording": 1, "select_on": "last"})
    keys = {"classes": CLASSES, "weights": (1.0, 1.0), "seed": 0, "frame_labels": frames}
    with pytest.raises(ValueError, match=r"train\.per_recording needs the number of the recording"):
        fit_epochs(x, labels, FOLD.train, options, epochs=range(1), **keys)


def test_the_last_epoch_is_used_when_none_is_selected(data):
    result = fit(data, select_on="last", epochs=3, lr=0.5, clip=None)
    assert result.history["best"].tolist() == [0, 0, 1]
    options = Train.model_validate(OPTIONS.model_dump() | {"epochs": 3, "lr": 0.5, "clip": None})
    keys = {"classes": CLASSES, "weights": (1.0, 1.0), "seed": 0, "frame_labels": data[2]}
    weights = fit_epochs(data[0], data[1], FOLD.train, options, epochs=range(3), **keys)
    assert all(torch.equal(weights[name], result.weights[name]) for name in weights)
