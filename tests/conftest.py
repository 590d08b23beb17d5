"""What holds for every test: one thread for torch, so that small tests do not fight over the cores."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    import torch  # noqa: PLC0415 - costs seconds, and not while tests are collected

    torch.set_num_threads(1)
