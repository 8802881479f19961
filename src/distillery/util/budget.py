"""The budget of a search: evaluations, which decide the same everywhere, and seconds as the last resort.

Seconds are those of the processor: on a busy machine a search is not cut earlier.

A stage opens a budget around its searches (``within``). What is expensive calls ``spend``, and loops look at
``is_spent``: a search whose budget is spent ends with the best that it has found. Outside of any budget nothing ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator

from distillery.progress import progress


class OutOfBudget(Exception):
    """The budget of a search is spent; what is raised by ``spend`` is caught where the best so far is known."""


class Budget:
    """Evaluations and seconds that a search may take.

    Attributes:
        spent: Evaluations so far.
        cut: Why the search ended early; empty where it did not.
    """

    def __init__(self, label: str, evaluations: int, seconds: float, setting: str) -> None:
        """Start the clock.

        Args:
            label: What is searched, for the log.
            evaluations: Evaluations of a formula on all its data.
            seconds: Processor time of this process.
            setting: Section of the configuration that has both limits.
        """
        self.spent = 0
        self.cut = self._first = ""
        self._kind = "limit"
        self._evaluations = self._most = evaluations
        self._seconds, self._setting = seconds, setting
        self._deadline = time.process_time() + seconds
        self._show = progress(label, evaluations, "evaluations at most")

    @property
    def is_spent(self) -> bool:
        """Whether a limit is reached; looking at it takes note of the reason."""
        if not self.cut and self.spent >= self._evaluations:
            self._end(f"{self._most:,} evaluations", "evaluations")
        if not self.cut and time.process_time() >= self._deadline:
            self._end(f"{self._seconds:g} s", "seconds")
        return bool(self.cut)

    def _end(self, limit: str, setting: str) -> None:
        self.cut = f"the search was cut at its {self._kind} of {limit} ({self._setting}.{setting})"

    @contextlib.contextmanager
    def part(self, share: float) -> Iterator[None]:
        """Leave a block only a share of what is left, so that what follows it has the rest.

        Args:
            share: The share, from 0 to 1.
        """
        evaluations, deadline, before = self._evaluations, self._deadline, self.cut
        now = time.process_time()
        self._evaluations = self.spent + round(share * (evaluations - self.spent))
        self._deadline = now + share * (deadline - now)
        self._kind = "share"
        try:
            yield
        finally:
            self._kind = "limit"
            self._first = self._first or self.cut
            self._evaluations, self._deadline, self.cut = evaluations, deadline, before

    @property
    def note(self) -> str:
        """Why the search, or a part of it, ended early; empty where none did."""
        return self._first or self.cut

    def spend(self, count: int) -> None:
        """Count evaluations that are about to be made.

        Raises:
            OutOfBudget: A limit is reached.
        """
        if self.is_spent:
            raise OutOfBudget(self.cut)
        self.spent += count
        self._show(min(self.spent, self._most - 1), "")


_current: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("budget", default=None)


@contextlib.contextmanager
def within(label: str, evaluations: int, seconds: float, setting: str) -> Iterator[Budget]:
    """Give the searches of a block a budget; see ``Budget`` for the arguments.

    Yields:
        The budget.
    """
    found = Budget(label, evaluations, seconds, setting)
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def spend(count: int = 1) -> None:
    """Count evaluations against the budget of the running search, if it has one.

    Args:
        count: Evaluations of a formula on all its data.

    Raises:
        OutOfBudget: The budget is spent.
    """
    found = _current.get()
    if found is not None:
        found.spend(count)


def is_spent() -> bool:
    """Return whether the running search has a budget and has spent it."""
    found = _current.get()
    return found is not None and found.is_spent


def reason() -> str:
    """Return why the running search may not go on; empty where it may."""
    found = _current.get()
    return found.cut if found is not None and found.is_spent else ""
