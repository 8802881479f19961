"""Training on a GPU: recorded steps, equal bits for equal seeds, agreement with the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distillery.networks import checkpoint, step
from distillery.networks.batches import WINDOW, Batches, Graphs
from distillery.workflow.outcome import read_outcome
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits

pytestmark = pytest.mark.gpu
STEPS = 3 * WINDOW
KINDS = [
    ("l1", "spring", {"loss": "relative", "fade_in": 0.5}),
    ("standard", "spring", {}),
    ("bottleneck", "spring", {"precision": "bfloat16"}),
    ("pruning", "spring", {}),
    ("newton", "spring", {}),
    ("kl", "spring", {}),
    ("flathgn", "spring", {"fade_in": 0.5}),
    ("flathgn", "rope", {}),
    ("bottleneck", "rope", {}),
]
CHAIN = {"potential": "(r - 1)**2", "time_step": 0.01, "graph": "chain"}


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(model: str, system: str, training: dict[str, object], device: str = "cuda") -> Sweep:
        return make_sweep(
            systems={"rope": CHAIN},
            experiments=[{"system": system, "simulations": 64, "snapshots": 10, "bodies": 3}],
            models=[model],
            seeds=[0, 1],
            training={"hidden": 16, "batch": 8, "steps": STEPS, "layers": 2, **training},
            execution={"device": device, "checkpoint_every": 60, "stacked": True},
        )

    return make


def trained(sweep: Sweep) -> list[dict[str, torch.Tensor]]:
    for cell in sweep.cells:
        cell.outcome(sweep.results, "train").unlink(missing_ok=True)
    train(sweep, sweep.cells)
    return [load_file(cell.weights(sweep.results)) for cell in sweep.cells]


def losses(sweep: Sweep) -> list[float]:
    outcomes = (read_outcome(c.outcome(sweep.results, "train"), key=sweep.key("train", c)) for c in sweep.cells)
    return [outcome.result["final_loss"] for outcome in outcomes]


def differences(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> list[str]:
    pairs = zip(one, other, strict=True)
    return [name for left, right in pairs for name, value in left.items() if not torch.equal(value, right[name])]


def test_batches_equal_those_of_the_cpu() -> None:
    rows = [np.random.default_rng(size).normal(size=(size, 3, 6)) for size in (640, 41)]
    data = [Graphs(nodes, nodes[..., :2]) for nodes in rows]
    (nodes, true), (others, drawn) = (
        Batches([*data, data[0]], [3, 4, 2**63 - 1], 8, [3.0, 0.0, 3.0], torch.device(device)).window(12_345)
        for device in ("cpu", "cuda")
    )
    assert torch.equal(true, drawn.cpu())
    # Logarithm and cosine may round differently on the GPU.
    torch.testing.assert_close(others.cpu(), nodes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("model", "system", "training"), KINDS)
def test_captured_step_equals_the_launched_one_and_the_cpus(
    tiny: Callable[..., Sweep],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    system: str,
    training: dict[str, object],
) -> None:
    sweep = tiny(model, system, training)
    first = trained(sweep)
    recorded = losses(sweep)
    assert "kernel by kernel" not in capsys.readouterr().err
    assert not differences(first, trained(sweep))
    with monkeypatch.context() as patch:
        patch.setattr(step, "_records", lambda _device: False)
        assert not differences(first, trained(sweep))
    processor = tiny(model, system, training, device="cpu")
    trained(processor)
    # Weights and batches are equal at the start; rounding (for kl: the draws) separates them.
    assert recorded == pytest.approx(losses(processor), rel=0.1)


def test_killed_training_resumes_with_the_same_bits(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tiny("l1", "spring", {"fade_in": 0.5})
    unbroken = trained(sweep)
    write, written = checkpoint.write, []

    def write_then_stop(*arguments: object, **named: object) -> None:
        write(*arguments, **named)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == 4:
            raise KeyboardInterrupt

    for cell in sweep.cells:
        cell.outcome(sweep.results, "train").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "write", write_then_stop)
        train(sweep, sweep.cells)
    assert not differences(unbroken, trained(sweep))
