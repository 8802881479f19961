"""The passes of a step on memory that never moves, so that a GPU records them once and then plays them back.

A step of a small network is dozens of kernels of a few microseconds each: a GPU would mostly wait until they are
launched, one by one. A CUDA graph is launched as a whole, but with the addresses it was recorded with. So what differs
from step to step is copied into the same buffers, and what a step finds is left in the same places. The processor does
the same without a recording.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from distillery.errors import explain

# What a step does: from nodes, true accelerations, noise and the factor of all costs to each cell's error and penalty.
Work = Callable[[Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]
# Before a recording, libraries must have set themselves up and memory must have been laid out.
_REHEARSALS = 2


class Step:
    """The passes of one step, again and again.

    Attributes:
        noise: Unit normal draws for variational messages, to be filled before each step; None where there are none.
        losses: Prediction error and penalty of each cell at the newest step.
    """

    noise: Float[Tensor, "stack edge message"] | None
    losses: Float[Tensor, "2 stack"]

    def __init__(
        self,
        work: Work,
        *,
        nodes: tuple[int, ...],
        true: tuple[int, ...],
        noise: tuple[int, ...] | None,
        device: torch.device,
    ):
        """Lay out the buffers.

        Args:
            work: What a step does; it may leave more behind in memory of its own that does not move (gradients).
            nodes: Shape of the nodes, ``[stack, graph, body, feature]``.
            true: Shape of their accelerations, ``[stack, graph, body, dim]``.
            noise: Shape of the noise, ``[stack, edge, message]``, if the work wants any.
            device: Where the work is done.
        """
        self._work = work
        inputs = [torch.Size(nodes), torch.Size(true)]
        # One row, so that a step is brought in by one copy.
        self._row = torch.zeros(sum(size.numel() for size in inputs), device=device)
        parts = torch.split(self._row, [size.numel() for size in inputs])
        self._nodes, self._true = (part.view(size) for part, size in zip(parts, inputs, strict=True))
        self.noise = None if noise is None else torch.zeros(noise, device=device)
        self.losses = torch.zeros(2, nodes[0], device=device)
        # A number that Python holds would stay in a recording what it was; this one is read at every step.
        self._fade, self._faded = torch.ones((), device=device), 1.0
        self._window = self._row[None]
        self._unrecorded = _records(device)
        self._play: Callable[[], None] | None = None

    def open(
        self,
        nodes: Float[Tensor, "step stack graph body feature"],
        true: Float[Tensor, "step stack graph body dim"],
    ) -> None:
        """Take the batches of a window; its steps are run by their place in it."""
        self._window = torch.cat([nodes.flatten(1), true.flatten(1)], dim=1)

    def run(self, place: int, fade: float = 1.0) -> None:
        """Do the work on a batch of the window, and put what it finds in ``losses``; nothing waits for the device.

        Args:
            place: Place of the step in the window.
            fade: Factor of all costs.
        """
        self._row.copy_(self._window[place])
        if fade != self._faded:
            self._fade.fill_(fade)
            self._faded = fade
        if self._unrecorded:
            self._play, self._unrecorded = recorded(self._passes), False
        if self._play is None:
            self._passes()
        else:
            self._play()

    def _passes(self) -> None:
        torch.stack(self._work(self._nodes, self._true, self.noise, self._fade), out=self.losses)


def recorded(passes: Callable[[], None]) -> Callable[[], None] | None:
    """Record what a function launches on the current CUDA device.

    The function is called a few times before; its results must not depend on how often it was.

    Args:
        passes: Reads and writes memory that stays where it is, and never waits for the device.

    Returns:
        What plays the recording, which has not been played yet; nothing where the function cannot be recorded, which
        is said in the log.

    Raises:
        OutOfMemoryError: The device has no memory left.
    """
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    refusal = None
    side.wait_stream(here)
    # A recording that breaks off leaves its stream the current one; this block puts the former one back.
    with torch.cuda.stream(side):
        passes()
        try:
            with _waiting_forbidden():
                for _ in range(_REHEARSALS):
                    passes()
            # In the same stream, because libraries keep their scratch memory by stream.
            with torch.cuda.graph(graph, stream=side):
                passes()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            refusal = explain(error)
    here.wait_stream(side)
    if refusal is not None:
        sys.stderr.write(f"distillery: steps are launched kernel by kernel, not as one CUDA graph: {refusal}\n")
        sys.stderr.flush()
    return graph.replay if refusal is None else None


@contextlib.contextmanager
def _waiting_forbidden() -> Iterator[None]:
    """Let calls that wait for the device raise: a recording would break off there, and leave its memory unusable."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # PyTorch warns that some waiting may not be found out; then the recording itself is refused.
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _records(device: torch.device) -> bool:
    return device.type == "cuda"
