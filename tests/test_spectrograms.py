"""Spectrograms of errors: one for each error, with its whole name, and the same bytes each time."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from murmur.reporting import spectrograms

AXES = {"seconds": 2.0, "frequencies": np.linspace(25, 800, 8)}


def make_flat(n):
    """Spectrograms with one value, drawn in the darkest colour only."""
    return np.zeros((n, 1, 8, 10), np.float16)


def count_panels(path):
    """The number of areas in the darkest colour in the upper and in the lower half of an image."""
    drawn = np.asarray(Image.open(path).convert("RGB")).astype(int)
    darkest = np.array(spectrograms.COLOURS(0.0, bytes=True)[:3], int)
    patches, _ = ndimage.label(abs(drawn - darkest).sum(axis=2) < 12)
    places = [place for place in ndimage.find_objects(patches) if place[0].stop - place[0].start > 20]
    above = sum(place[0].start < len(drawn) / 2 for place in places)
    return above, len(places) - above


@pytest.fixture
def figure(monkeypatch):
    """The figures that are drawn."""
    figures = []
    monkeypatch.setattr(spectrograms, "save_png", lambda drawn, path: figures.append(drawn) or path.touch())
    return figures


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0)), (5, (5, 0)), (7, (5, 2)), (10, (5, 5)), (12, (5, 5))]
)
def test_the_first_ten_errors_are_drawn(tmp_path, n, expected):
    spectrograms.draw_errors(make_flat(n), [f"r{k}" for k in range(n)], tmp_path / "e.png", **AXES)
    assert count_panels(tmp_path / "e.png") == expected


def test_without_errors_a_text_is_drawn(tmp_path, figure):
    spectrograms.draw_errors(make_flat(0), [], tmp_path / "e.png", **AXES)
    assert [text.get_text() for text in figure[0].texts] == [
        "no positive patient is missed in most runs, and none is a false alarm"
    ]


def test_a_long_name_is_wrapped_and_never_a_formula(tmp_path, figure):
    name = "hospital_$2$/visit_2019/patient_000123/aortic_supine_0001_take_2"
    spectrograms.draw_errors(
        make_flat(1), [f"{name}\nAbsent, predicted Present .93"], tmp_path / "e.png", **AXES
    )
    title = figure[0].axes[0].title
    *lines, last = title.get_text().splitlines()
    assert ("".join(lines), last) == (name, "Absent, predicted Present .93")
    assert max(map(len, lines)) <= 32 and not title.get_parse_math()


def test_the_time_axis_has_labels_below_the_lowest_spectrogram_of_each_column(tmp_path, figure):
    spectrograms.draw_errors(make_flat(7), ["r"] * 7, tmp_path / "e.png", **AXES)
    axes = figure[0].axes
    labelled = [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes[:7]]
    assert labelled == [False, False, True, True, True, True, True]
    assert [ax.axison for ax in axes] == [True] * 7 + [False] * 3


def test_errors_are_drawn_in_the_given_order_with_the_same_bytes_each_time(tmp_path):
    mel = np.random.default_rng(0).normal(size=(3, 1, 8, 10))
    order = {"one": [0, 1, 2], "same": [0, 1, 2], "turned": [2, 1, 0]}
    for name, rows in order.items():
        spectrograms.draw_errors(mel[rows], ["r"] * 3, tmp_path / name, **AXES)
    one, same, turned = ((tmp_path / name).read_bytes() for name in order)
    assert one == same != turned


@pytest.mark.parametrize(
    ("edges", "expected"),
    [((25, 800), [200, 400, 600]), ((0, 2000), [500, 1000, 1500]), ((20, 400), [100, 200, 300])],
)
def test_the_frequency_axis_has_round_ticks_at_their_place(tmp_path, figure, edges, expected):
    frequencies = np.linspace(*edges, 34)[1:-1]
    axes = {"seconds": 2.0, "frequencies": frequencies}
    spectrograms.draw_errors(np.zeros((1, 1, 32, 10), np.float16), ["r"], tmp_path / "e.png", **axes)
    axis = figure[0].axes[0].yaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == [f"{tick}" for tick in expected]
    step = frequencies[1] - frequencies[0]
    np.testing.assert_allclose(axis.get_ticklocs(), (np.array(expected) - frequencies[0]) / step)
