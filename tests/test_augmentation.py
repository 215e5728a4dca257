"""Random changes of spectrograms: their size, their probability, and their random numbers."""

import pytest
import torch

from murmur.sections.train import Augment
from murmur.training.augmentation import augment_spectrograms, draw_mixup

NO_AUGMENTATION = Augment(
    chance=1.0,
    time_masks=0,
    time_mask=0.0,
    frequency_masks=0,
    frequency_mask=0.0,
    roll=0.0,
    amplitude=0.0,
    flip=0.0,
    gain=0.0,
    band_gain=0.0,
    mixup=0.0,
)
ALL = {
    "time_masks": {"time_masks": 1, "time_mask": 1.0},
    "frequency_masks": {"frequency_masks": 1, "frequency_mask": 1.0},
    "roll": {"roll": 0.5},
    "amplitude": {"amplitude": 0.5},
    "flip": {"flip": 1.0},
    "gain": {"gain": 0.5},
    "band_gain": {"band_gain": 0.5},
}


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def augment(x, options):
    return augment_spectrograms(x, options)[0]


def options(**changes):
    return NO_AUGMENTATION.model_copy(update=changes)


def numbered_frames(n, frames=50):
    """[n, 2, 4, frames]: each value is the number of its frame."""
    return torch.arange(frames).float().expand(n, 2, 4, frames)


def test_time_masks_cover_all_bands_of_frames_up_to_their_share():
    masked = augment(torch.ones(200, 2, 8, 50), options(time_masks=1, time_mask=0.2)) == 0
    frames = masked[:, 0].all(dim=1)
    assert torch.equal(masked, frames[:, None, None].expand_as(masked))
    assert 0 < frames.sum(dim=1).max() <= 10
    assert len({tuple(row.tolist()) for row in frames}) > 50


def test_frequency_masks_cover_all_frames_of_bands():
    masked = augment(torch.ones(100, 1, 20, 8), options(frequency_masks=2, frequency_mask=0.25)) == 0
    bands = masked[:, 0].all(dim=2)
    assert torch.equal(masked[:, 0].any(dim=2), bands) and 0 < bands.sum(dim=1).max() <= 10


def test_a_roll_is_a_circular_shift_in_time():
    rolled = augment(numbered_frames(300), options(roll=0.1))
    shifts = set()
    for example in rolled:
        shift = (50 - int(example[0, 0, 0])) % 50
        shifts.add((shift + 25) % 50 - 25)
        assert torch.equal(example, numbered_frames(1)[0].roll(shift, dims=2))
    assert shifts == set(range(-5, 6))


def test_a_roll_of_less_than_a_frame_changes_nothing():
    assert torch.equal(augment(numbered_frames(50), options(roll=0.019)), numbered_frames(50))


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_flip_reverses_time_with_its_own_probability(chance):
    x = numbered_frames(600)
    result = augment(x, options(flip=chance, chance=0.0, roll=0.5))
    is_reversed = (result == x.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(result[~is_reversed], x[~is_reversed])
    assert float(is_reversed.float().mean()) == pytest.approx(chance, abs=0.06)


def test_labels_of_frames_move_with_their_frames():
    x = numbered_frames(200)
    result, labels = augment_spectrograms(
        x,
        options(flip=0.5, roll=0.2, time_masks=1, time_mask=0.2, gain=0.1),
        torch.arange(50).expand(200, 50),
    )
    unmasked = result[:, 0, 0] != 0
    shift = (result[:, 0, 0] - labels)[unmasked]
    assert labels.unique(dim=0).shape[0] > 30, "reversed or not, and rolled by -10 to 10 frames"
    assert shift.abs().max() < 0.5 and 0.05 < shift.std() < 0.2, "masks leave the labels, and gain is added"


def test_gain_shifts_all_values_and_band_gain_each_band():
    x = torch.randn(2000, 2, 11, 3)
    shift = (augment(x, options(gain=0.3)) - x).flatten(1)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    assert float(shift[:, 0].std()) == pytest.approx(0.3, rel=0.1)
    shift = augment(x, options(band_gain=0.3)) - x
    curve = shift[:, 0, :, 0]
    torch.testing.assert_close(shift, curve[:, None, :, None].expand_as(shift))
    torch.testing.assert_close(curve[:, 1:-1:2], (curve[:, :-2:2] + curve[:, 2::2]) / 2), "between 6 knots"
    assert float(curve[:, ::2].std()) == pytest.approx(0.3, rel=0.1)
    neighbours = torch.corrcoef(curve[:, ::2].T)[0, 1]
    assert abs(float(neighbours)) < 0.1


def test_amplitude_multiplies_each_example_by_a_factor_around_1():
    x = torch.randn(500, 2, 3, 4)
    factors = (augment(x, options(amplitude=0.2)) / x).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert 0.8 <= factors.min() < 0.82 and 1.18 < factors.max() <= 1.2
    assert float(factors.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["time_masks", "frequency_masks", "roll", "amplitude"])
@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_each_change_has_the_given_probability(name, chance):
    x = torch.arange(1.0, 1001).reshape(1, 1, 20, 50).expand(800, 1, 20, 50)
    result = augment(x, options(chance=chance, **ALL[name]))
    changed = (result != x).flatten(1).any(dim=1).float().mean()
    assert float(changed) == pytest.approx(chance, abs=0.07)


def test_the_changes_of_an_example_are_independent():
    x = torch.ones(2000, 1, 20, 50)
    result = augment(x, options(chance=0.5, frequency_masks=1, frequency_mask=1.0, amplitude=0.5))
    masked = (result == 0).flatten(1).any(dim=1)
    is_scaled = ((result != 0) & (result != 1)).flatten(1).any(dim=1)
    assert 0.15 < (masked & is_scaled).float().mean() < 0.32


def test_without_options_the_input_is_returned():
    x = torch.randn(4, 1, 8, 8)
    assert augment(x, options()) is x


@pytest.mark.parametrize("changes", ALL.values(), ids=ALL)
def test_the_same_seed_gives_the_same_result_and_the_input_is_not_changed(changes):
    changes = {"flip": 0.5} if "flip" in changes else changes
    x = torch.randn(16, 1, 12, 20)
    before, result = x.clone(), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        result.append(augment(x, options(**changes)))
    assert torch.equal(x, before) and not torch.equal(result[0], x)
    assert torch.equal(result[0], result[1]) and not torch.equal(result[0], result[2])


def test_mixup_draws_a_share_and_a_partner_for_each_example():
    drawn = [draw_mixup(16, 0.4) for _ in range(200)]
    assert all(sorted(drawn_mixup.partner.tolist()) == list(range(16)) for drawn_mixup in drawn)
    shares = torch.tensor([drawn_mixup.share for drawn_mixup in drawn])
    assert 0.4 < shares.mean() < 0.6 and shares.min() < 0.1 and shares.max() > 0.9
