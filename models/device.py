"""Where training and the large frozen towers compute: this process's GPU where there is one, the processor otherwise.

Models are served, kept and judged on the processor. `CUDA_VISIBLE_DEVICES=` hides the GPUs.
"""

import ctypes
import os

import torch

CPU = torch.device("cpu")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
"""Kernels that oneDNN keeps, one a shape that it met; of its thousand, sixty steps of training already took 150 MB."""


def own_device() -> torch.device:
    """This process's device; those that torchrun starts on one machine take its GPUs in turn."""
    if not torch.cuda.is_available():
        return CPU
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def give_back_freed() -> None:
    """Give freed memory back to the system: glibc keeps what lies between pieces in use, which grows over epochs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
