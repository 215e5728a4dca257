"""Selection of the device (CPU or GPU) and of the number of CPU threads, and the memory of arrays."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from murmur.errors import MurmurError


def choose_device(wanted: str, key: str) -> torch.device:
    """Return the device that a parameter names.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda", "mps"}
        The device. ``auto`` is CUDA if available, else Apple's GPU (mps) if available, else the CPU.
    key : str
        The parameter, for the error message: ``train.device``.

    Returns
    -------
    torch.device

    Raises
    ------
    MurmurError
        If this machine does not have the device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available[wanted]:
        raise MurmurError(f"{key}: this machine has no {wanted}; set it to auto or cpu")
    return torch.device(wanted)


def place_array(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a GPU if it is small enough; otherwise use it where it is, without a copy.

    Batches are then read from a memory map, so that the array may be larger than the memory.

    Parameters
    ----------
    array : np.ndarray
        Features or labels of all segments; nothing may write to it.
    device : torch.device
        The device of the network.

    Returns
    -------
    torch.Tensor
        On `device` or on the CPU.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a memory map is not writable
        tensor = torch.from_numpy(array)
    return tensor.to(device) if _fits(array.nbytes, device) else tensor


def _fits(n_bytes: int, device: torch.device) -> bool:
    """Return whether a GPU has memory for an array; half of its free memory is left for the training."""
    if device.type == "cuda":
        return n_bytes <= torch.cuda.mem_get_info(device)[0] // 2
    return device.type == "mps" and n_bytes <= torch.mps.recommended_max_memory() // 2


def choose_precision(wanted: str, device: torch.device) -> str:
    """Return the precision that ``train.precision`` names.

    Parameters
    ----------
    wanted : {"auto", "float32", "bfloat16"}
        The precision. ``auto`` is bfloat16 on a CUDA device or x86 processor that has it in hardware
        (AVX512_BF16), else float32: to emulate it is 3 to 20 times slower. On ARM its speed is not measured.
    device : torch.device
        The device of the training.

    Returns
    -------
    {"float32", "bfloat16"}

    Raises
    ------
    MurmurError
        If the precision is bfloat16, where ``auto`` is float32.
    """
    if wanted == "float32":
        return wanted
    if device.type == "cuda":
        is_supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_supported = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    if wanted == "bfloat16" and not is_supported:
        raise MurmurError(
            f"train.precision: this {device.type} has no bfloat16 in hardware (AVX512_BF16 or CUDA); "
            "set it to auto or float32"
        )
    return "bfloat16" if is_supported else "float32"


@contextmanager
def single_thread() -> Iterator[None]:
    """Use one CPU thread for each tensor operation; restore the former number at the end.

    The sum of floating-point numbers depends on the order of addition, and this order depends on the number
    of threads: with one thread the results are the same on every machine of the same processor type. The
    number also applies to the threads of the program that are started within the context.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
