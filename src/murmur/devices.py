"""Where the work is done: a processor or a GPU."""

import torch

from murmur.errors import MurmurError


def choose_device(wanted: str, key: str) -> torch.device:
    """`auto` takes CUDA or Apple's GPU where there is one; any other must be there.

    Raises
    ------
    MurmurError
        Naming the key, if this machine has no such device.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[wanted]:
        raise MurmurError(f"{key}: this machine has no {wanted}; set it to auto or cpu")
    return torch.device(wanted)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse bfloat16 where the processor would only emulate it, 3 to 20 times slower."""
    if precision == "float32":
        return
    fast = (
        torch.cuda.is_bf16_supported(False)
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported()
    )
    if device.type == "mps" or not fast:
        raise MurmurError(
            f"train.precision: this {device.type} has no bfloat16 in hardware; set it to float32"
        )
