"""Heart cycles and murmurs of predictions: equal to the network's output, and placed in the right time."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import murmur
from murmur.features import store
from murmur.inference.heart_sounds import HeartSounds, find_heart_sounds, locate_murmur
from murmur.inference.output import format_predictions, make_table
from murmur.inference.page.app import _list_track
from murmur.inference.recording import SegmentOutput
from murmur.reporting import heart_cycle_plot, prediction_plot
from murmur.tables.predictions import FIGURES
from tests.trained_model import CLASSES, FRAMES, draw_samples, make_trained_model

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained_model(tmp_path_factory.mktemp("trained"), FRAMES, ensemble=2)


def make_output(info, seconds):
    """Segments of a recording with a beat each second: S1, systole with a late murmur, S2, diastole."""
    step = 2 * info.params.mel.hop_length / info.params.clean.sample_rate
    length = info.params.segment.length
    starts = np.arange(0, seconds - length + 1e-9, length / 2)
    times = starts[:, None] + np.arange(-(-info.shape[2] // 2)) * step
    phase = times % 1
    state = np.searchsorted([0.12, 0.35, 0.45], phase, side="right")
    murmur = np.where((phase > 0.28) & (phase < 0.34), 0.9, 0.05)
    output = SegmentOutput(starts, np.zeros((len(starts), 3)), states=np.eye(4)[state] * 0.96 + 0.01)
    return output._replace(murmur=murmur, annotated=np.ones_like(murmur))


def test_a_murmur_is_found_in_its_cycles(trained):
    sounds = find_heart_sounds(make_output(trained.info, 12), trained.info, 12.0)
    starts = sounds.cycles.loc[sounds.cycles["event"] == "S1", "start"].to_numpy()
    np.testing.assert_allclose(starts[1:-1], np.arange(1, len(starts) - 1), atol=0.05)
    assert sounds.cycles["end"].max() == 12.0
    part, probability = locate_murmur(sounds)
    assert part == "late systole" and 0.5 < probability < 0.95
    assert sounds.murmur_track[:, 1].max() == pytest.approx(0.9)


def test_no_part_is_named_without_heart_cycles():
    columns = ("start", "end", "event", "murmur", "early", "middle", "late")
    none = pd.DataFrame({name: [] for name in columns})
    assert locate_murmur(HeartSounds(none, np.zeros((5, 2)))) is None


def test_the_figures_are_those_of_the_networks_for_the_features_of_the_pipeline(trained):
    model = murmur.load_model(trained.folder)
    features = torch.from_numpy(np.array(store.read_array(trained.prepared.features)))
    with torch.no_grad():
        figures = [
            c.network.label_frames(c.standardise(features)).figures() for c in model.network.classifiers
        ]
    expected = pd.DataFrame(torch.stack(figures).mean(dim=0).numpy(), columns=FIGURES)
    expected = expected.groupby(trained.prepared.segments["recording_id"]).mean()
    for name, path in trained.prepared.recordings.set_index("recording_id")["path"].items():
        (recording,) = model.predict(trained.raw / path, check=False).recordings
        assert recording.figures == pytest.approx(expected.loc[name].to_dict(), abs=1e-5)


def test_a_network_that_learned_no_frames_gives_no_heart_cycles(tmp_path):
    made_model = make_trained_model(tmp_path, {"train.model": FRAMES["train.model"]})
    prediction = murmur.load_model(made_model.folder).predict(draw_samples(12), 4000, check=False)
    (recording,) = prediction.recordings
    assert recording.figures is None and recording.heart_sounds is None and recording.probabilities


def test_predictions_describe_the_heart_cycles(trained, monkeypatch):
    model, samples = murmur.load_model(trained.folder), draw_samples(12)
    output = make_output(model.info, 12)._replace(figures=np.full((5, 4), 0.5))
    monkeypatch.setattr(type(model.network), "predict_segments", lambda *_: output)
    prediction = model.predict(samples, 4000, check=False)
    (recording,) = prediction.recordings
    assert recording.heart_rate == pytest.approx(60, abs=1)
    assert "heart rate 60/min, murmur most probable in late systole" in repr(recording)
    content = recording.to_dict(CLASSES)
    assert content["murmur_phase"]["part"] == "late systole" and content["cycles"][1]["event"] == "systole"
    assert "60/min      late systole 0." in format_predictions([prediction], {}, model.info)
    table = make_table([prediction], CLASSES)
    assert table["level"].value_counts()["interval"] == len(recording.cycles)
    assert table.set_index("level").loc["recording", "event"] == "late systole"
    figure = prediction_plot.plot_recording_prediction(recording, samples, 4000, model.info)
    assert [ax.get_ylabel() for ax in figure.axes[2:]] == ["P(murmur)", "P(Present)"]
    assert len(figure.axes[2].collections) == 5  # the curve and four states


def test_a_long_recording_is_drawn_without_heart_sounds():
    assert [h.get_label() for h in heart_cycle_plot.make_cycle_legend(91)] == ["probability of a murmur"]


def test_the_page_gets_the_highest_probabilities_of_a_long_recording():
    track = np.stack([np.arange(7000) * 0.04, np.zeros(7000)], axis=1)
    track[4321, 1] = 0.9
    points = _list_track(SimpleNamespace(murmur_track=track))
    assert len(points) == 2334 and points[1440] == [172.8, 0.9] and points[1439][1] == 0


def test_a_recording_without_a_segment_has_no_heart_cycles(trained):
    (recording,) = murmur.load_model(trained.folder).predict(draw_samples(0.2), 4000).recordings
    assert recording.cycles is None and recording.figures is None and recording.reasons
