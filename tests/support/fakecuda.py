"""A stand-in for CUDA graphs on the CPU: it records operations with their memory and replays them.

As on a GPU, a recording holds tensors by their place: numbers that Python knew while it was recorded are frozen, and
values that Python would have to wait for cannot be had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distillery.networks import step


class Graph:
    """Stand-in for ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        # Recorded and replayed below autograd.
        with torch._C._AutoDispatchBelowAutograd():
            for operation, arguments, options, results in self.calls:
                again = operation(*arguments, **options)
                if operation._schema.is_mutable:
                    continue
                for result, value in zip(_tensors(results), _tensors(again), strict=True):
                    result.copy_(value)


class _Recording(TorchDispatchMode):
    """Record every operation except views; refuse those that wait for the device."""

    def __init__(self, graph: Graph | None):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        if operation in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError("called a synchronizing CUDA operation")
        results = operation(*arguments, **(options or {}))
        schema = operation._schema
        view = not schema.is_mutable and any(result.alias_info is not None for result in schema.returns)
        if self.graph is not None and not view:
            self.graph.calls.append((operation, arguments, options or {}, results))
        return results


def _tensors(results: Any) -> list[torch.Tensor]:
    return [results] if isinstance(results, torch.Tensor) else list(results)


class FakeCuda:
    """Make steps on the CPU use the code path of a GPU.

    Attributes:
        graphs: All recordings, in the order they were begun.
        current: The name of the current stream.
        before_recording: Called when a recording begins; raises what a device would.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.graphs: list[Graph] = []
        self.current = "default"
        self.before_recording: Callable[[], None] = lambda: None
        self._modes: contextlib.ExitStack = contextlib.ExitStack()
        self._waiting = "default"
        monkeypatch.setattr(step, "_records", lambda _device: True)
        for name in ("CUDAGraph", "Stream", "current_stream", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: self._waiting)
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", self._set_sync_debug_mode)

    def _CUDAGraph(self) -> Graph:
        self.graphs.append(Graph())
        return self.graphs[-1]

    def _Stream(self) -> _Stream:
        return _Stream("side")

    def _current_stream(self) -> _Stream:
        return _Stream(self.current)

    @contextlib.contextmanager
    def _stream(self, stream: _Stream) -> Iterator[None]:
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def _graph(self, graph: Graph, stream: _Stream) -> Iterator[None]:
        # Like CUDA's, a failed capture leaves its stream the current one.
        self.current = stream.name
        self.before_recording()
        with _Recording(graph):
            yield

    def _set_sync_debug_mode(self, mode: str) -> None:
        self._waiting = mode
        self._modes.close()
        if mode == "error":
            self._modes.enter_context(_Recording(None))


class _Stream:
    def __init__(self, name: str):
        self.name = name

    def wait_stream(self, other: _Stream) -> None:
        assert other.name != self.name
