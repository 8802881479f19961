"""Captured steps: a replayed step has the same bits as the plain loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from distillery.networks.batches import WINDOW, Batches, graphs_of
from distillery.networks.loop import BETA2, Optimiser, draw_noise, step_of
from distillery.networks.network import Network
from distillery.networks.step import Step
from distillery.randomness import stream
from distillery.workflow import networks
from distillery.workflow.stages.train import train
from distillery.workflow.sweep import Sweep
from support import orbits
from support.fakecuda import FakeCuda

CPU = torch.device("cpu")
# More than one window of batches.
STEPS = WINDOW + 10
CHAIN = {"potential": "(r - 1)**2", "time_step": 0.01, "graph": "chain"}


@pytest.fixture
def tiny(make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    orbits.use(monkeypatch)

    def make(model: str, system: str = "spring", **training: object) -> Sweep:
        return make_sweep(
            systems={"rope": CHAIN},
            experiments=[{"system": system, "simulations": 64, "snapshots": 10, "bodies": 3}],
            models=[model],
            seeds=[0, 1],
            training={"hidden": 4, "batch": 4, "steps": STEPS, "layers": 2, **training},
            execution={"device": "cpu", "checkpoint_every": 60},
        )

    return make


def trained(sweep: Sweep) -> list[dict[str, torch.Tensor]]:
    for cell in sweep.cells:
        cell.outcome(sweep.results, "train").unlink(missing_ok=True)
    train(sweep, sweep.cells)
    return [
        {**load_file(cell.weights(sweep.results)), "history": cell.history(sweep.results).read_text()}
        for cell in sweep.cells
    ]


def assert_same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
            assert same, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "system", "training"),
    [
        ("l1", "spring", {"loss": "relative", "fade_in": 0.5}),
        ("pruning", "spring", {}),
        ("kl", "spring", {}),
        ("flathgn", "rope", {"fade_in": 0.5}),
        pytest.param("bottleneck", "spring", {"precision": "bfloat16"}, marks=pytest.mark.slow),
        pytest.param("bottleneck", "rope", {}, marks=pytest.mark.slow),
        pytest.param("newton", "spring", {}, marks=pytest.mark.slow),
        pytest.param("flathgn", "spring", {}, marks=pytest.mark.slow),
    ],
)
def test_replayed_training_equals_the_plain_one(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, model: str, system: str, training: dict[str, object]
) -> None:
    sweep = tiny(model, system, **training)
    plain = trained(sweep)
    fake = FakeCuda(monkeypatch)
    played = trained(sweep)
    (graph,) = fake.graphs
    assert graph.replays == STEPS
    assert fake.current == "default"
    assert_same(plain, played)


@pytest.mark.slow
def test_operations_that_cannot_be_captured_are_launched_and_logged_in_one_line(
    tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tiny("l1")
    plain = trained(sweep)
    capsys.readouterr()
    fake = FakeCuda(monkeypatch)

    def refuse() -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nsecond line")

    fake.before_recording = refuse
    launched = trained(sweep)
    logged = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(logged) == 1
    assert logged[0].endswith("RuntimeError: operation not permitted when stream is capturing")
    assert fake.current == "default"
    assert fake.graphs[0].replays == 0
    assert_same(plain, launched)


def test_step_that_waits_for_the_device_is_detected_before_capture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeCuda(monkeypatch)
    fake.before_recording = lambda: pytest.fail("the recording was begun")

    def work(
        nodes: torch.Tensor, true: torch.Tensor, _noise: None, _fade: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return true.sum((1, 2, 3)) * nodes.max().item(), nodes.sum((1, 2, 3))

    step = Step(work, nodes=(1, 2, 3, 6), true=(1, 2, 3, 2), noise=None, device=CPU)
    step.open(torch.ones(5, 1, 2, 3, 6), torch.full((5, 1, 2, 3, 2), 2.0))
    step.run(3)
    assert step.losses.tolist() == [[24.0], [36.0]]
    assert "synchronizing" in capsys.readouterr().err
    # Waiting is allowed again afterwards.
    assert torch.cuda.get_sync_debug_mode() == "default"
    assert torch.ones(()).item() == 1


def test_exhausted_device_memory_is_an_error(tiny: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = tiny("l1")
    fake = FakeCuda(monkeypatch)

    def refuse() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    fake.before_recording = refuse
    with pytest.raises(torch.OutOfMemoryError):
        train(sweep, sweep.cells)
    assert fake.current == "default"
    assert not sweep.cells[0].outcome(sweep.results, "train").exists()


def parts_of(sweep: Sweep) -> tuple[Network, Optimiser, Batches]:
    network = networks.build(sweep, sweep.cells[0], 2)
    for index in range(2):
        network.initialise(index, stream(index, "test weights"))
    graphs = graphs_of(orbits.read_trajectories(sweep, sweep.experiments[0], "train"))
    return network, Optimiser(network, 0.0), Batches([graphs, graphs], [0, 1], 4, [3.0, 3.0], CPU)


@pytest.mark.parametrize("model", ["l1", "kl", "flathgn"])
def test_steps_read_their_batch_and_move_no_memory(tiny: Callable[..., Sweep], model: str) -> None:
    network, optimiser, batches = parts_of(tiny(model))
    step = step_of(network, optimiser, batches, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert (step.noise is not None) == (model == "kl")

    def places() -> list[int]:
        tensors = [step.losses, *network.parameters(), *(p.grad for p in network.parameters() if p.grad is not None)]
        return [tensor.data_ptr() for tensor in tensors]

    step.open(*batches.window(0))
    step.run(0)
    before, first = places(), step.losses.clone()
    assert optimiser.weights.grad is not None
    gradient = optimiser.weights.grad.clone()
    assert gradient.abs().sum() > 0
    step.run(99)
    assert not torch.equal(step.losses, first)
    step.open(*batches.window(1))
    step.run(5)
    step.open(*batches.window(0))
    step.run(0)
    assert torch.equal(step.losses, first)
    assert torch.equal(optimiser.weights.grad, gradient)
    assert places() == before
    row = optimiser.weights.grad
    ends = (row.data_ptr(), row.data_ptr() + 4 * row.numel())
    assert all(ends[0] <= p.grad.data_ptr() < ends[1] for p in network.parameters() if p.grad is not None)


def test_noise_is_a_function_of_seed_and_step(tiny: Callable[..., Sweep]) -> None:
    noise = torch.zeros(2, 24, 100)
    draw_noise(noise, [0, 1], 7)
    first = noise.clone()
    assert 0.9 < first.std() < 1.1
    draw_noise(noise, [1, 0], 8)
    assert not torch.equal(noise, first)
    draw_noise(noise, [1, 0], 7)
    assert torch.equal(noise, first.flip(0))


def test_optimiser_equals_pytorchs_adam(tiny: Callable[..., Sweep]) -> None:
    network, _, _ = parts_of(tiny("l1"))
    optimiser = Optimiser(network, 1e-2)
    theirs = torch.nn.Parameter(optimiser.weights.detach().clone())
    adam = torch.optim.Adam([theirs], weight_decay=1e-2)
    assert optimiser.weights.grad is not None
    for step in range(5):
        optimiser.weights.grad.normal_(generator=torch.Generator().manual_seed(step))
        theirs.grad = optimiser.weights.grad.clone()
        rate, beta1 = 1e-2 / (1 + step), 0.9 - 0.01 * step
        adam.param_groups[0].update(lr=rate, betas=(beta1, BETA2))
        optimiser.step(rate, beta1)
        adam.step()
    torch.testing.assert_close(optimiser.weights.detach(), theirs.detach(), rtol=1e-5, atol=1e-7)
