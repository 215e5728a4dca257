"""Selection of the device, and the number of threads."""

import pytest
import torch

from murmur.devices import choose_device, choose_precision, single_thread
from murmur.errors import MurmurError

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.mark.parametrize("before", [2, 3])
def test_one_thread_is_used_within_the_context_only(before):
    torch.set_num_threads(before)
    with single_thread():
        assert torch.get_num_threads() == 1
        with single_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_number_of_threads_is_restored_after_an_error():
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="failed"), single_thread():
        raise ValueError("failed")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_best_available_device(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto", "train.device").type == expected
    assert choose_device("cpu", "train.device").type == "cpu"


def test_a_missing_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MurmurError, match=r"embed\.device: this machine has no cuda; set it to auto or cpu"):
        choose_device("cuda", "embed.device")


@pytest.mark.parametrize(
    ("device", "capabilities", "cuda", "supported"),
    [
        ("cpu", {"avx512_bf16": True}, False, True),
        ("cpu", {"avx512_bf16": False}, True, False),
        ("cpu", {"bf16": True}, True, False),  # ARM: its speed is not measured
        ("cuda", {}, True, True),
        ("cuda", {"avx512_bf16": True}, False, False),
        ("mps", {"avx512_bf16": True}, True, False),
    ],
)
def test_bfloat16_needs_hardware_support(monkeypatch, device, capabilities, cuda, supported):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    assert choose_precision("float32", torch.device(device)) == "float32"
    assert choose_precision("auto", torch.device(device)) == ("bfloat16" if supported else "float32")
    if supported:
        assert choose_precision("bfloat16", torch.device(device)) == "bfloat16"
        return
    with pytest.raises(MurmurError, match=f"train.precision: this {device} has no bfloat16 in hardware"):
        choose_precision("bfloat16", torch.device(device))
