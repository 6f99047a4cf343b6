"""Devices and number formats by name."""

import pytest
import torch

from diffworld.runtime.device import autocast, resolve_device, resolve_precision
from diffworld.runtime.errors import UserError


def test_auto_is_a_device_that_is_there() -> None:
    device = resolve_device("auto")
    assert torch.ones(2, device=device).sum() == 2
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "tpu", "gpu", "CUDA"])
def test_unknown_device(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown device '{name}': choose auto, cpu, cuda or mps"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_device(name: str) -> None:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name.split(":")[0]]
    if present:
        pytest.skip(f"{name} is here")
    with pytest.raises(UserError, match=f"'{name}' is not available on this machine"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cpu:x", "cpu:", "cuda:99"])
def test_unfit_device_number(name: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_device(name)
    assert "\n" not in str(error.value)


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    x = torch.randn(4, 4)
    with autocast(cpu, torch.float32):
        assert (x @ x).dtype == torch.float32
    with autocast(cpu, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
