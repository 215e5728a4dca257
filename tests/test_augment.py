"""SpecAugment's masks: as many and as wide as asked, other ones for each example, seeded by torch."""

import torch

from murmur.augment import augment, mixup
from murmur.params import Augment


def options(times=0, time=0.0, bands=0, band=0.0):
    return Augment(time_masks=times, time_mask=time, frequency_masks=bands, frequency_mask=band, mixup=0)


def test_time_masks_cover_whole_frames_up_to_their_share():
    torch.manual_seed(0)
    masked = augment(torch.ones(200, 1, 8, 50), options(times=1, time=0.2)) == 0
    frames = masked[:, 0].all(dim=1)
    assert torch.equal(masked[:, 0].any(dim=1), frames)
    assert 0 < frames.sum(dim=1).max() <= 10
    assert len({tuple(row.tolist()) for row in frames}) > 50


def test_frequency_masks_cover_whole_bands():
    torch.manual_seed(0)
    masked = augment(torch.ones(100, 1, 20, 8), options(bands=2, band=0.25)) == 0
    bands = masked[:, 0].all(dim=2)
    assert torch.equal(masked[:, 0].any(dim=2), bands) and 0 < bands.sum(dim=1).max() <= 10


def test_none_changes_nothing_and_a_seed_repeats():
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(augment(x, options()), x)
    torch.manual_seed(3)
    one = augment(x, options(2, 0.5, 2, 0.5))
    torch.manual_seed(3)
    assert torch.equal(augment(x, options(2, 0.5, 2, 0.5)), one)


def test_mixup_draws_a_share_and_a_partner_for_each_example():
    torch.manual_seed(0)
    drawn = [mixup(16, 0.4) for _ in range(200)]
    assert all(sorted(blend.partner.tolist()) == list(range(16)) for blend in drawn)
    shares = torch.tensor([blend.share for blend in drawn])
    assert 0.4 < shares.mean() < 0.6 and shares.min() < 0.1 and shares.max() > 0.9
    assert mixup(16, 0).share == 1.0
