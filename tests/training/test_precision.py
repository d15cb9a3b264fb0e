"""Training where bfloat16 is emulated: float32 instead, and optimizers that learn the same."""

import pytest
import torch

from training.precision import autocast, take_step


def _after_step(monkeypatch: pytest.MonkeyPatch, can: dict[str, bool]) -> torch.Tensor:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: can)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(24, 40, generator=generator))
    matrix.grad = torch.randn(24, 40, generator=generator)
    take_step(torch.optim.Muon([matrix], lr=0.5, weight_decay=0.0), torch.device("cpu"))
    return matrix.detach()


def test_muon_takes_the_same_step_in_float32_but_for_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reduced = _after_step(monkeypatch, {"avx512_bf16": True})
    full = _after_step(monkeypatch, {})
    assert not torch.equal(reduced, full)  # it was another precision
    assert torch.allclose(reduced, full, atol=0.02)


@pytest.mark.parametrize(
    ("can", "dtype"), [({}, torch.float32), ({"amx_bf16": True}, torch.bfloat16)]
)
def test_products_are_in_bfloat16_where_that_is_no_emulation(
    monkeypatch: pytest.MonkeyPatch, can: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: can)
    with autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
