"""Snakemake ends when SIGTERM arrives while it holds its own lock."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from distillery.workflow.termination import end_on_sigterm


def test_sigterm_while_the_scheduler_holds_its_lock_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "exit_gracefully", JobScheduler.exit_gracefully)
    end_on_sigterm()
    scheduler = SimpleNamespace(_lock=threading.Lock(), _user_kill=None, _open_jobs=threading.Semaphore(0))
    before = signal.signal(signal.SIGTERM, lambda *given: JobScheduler.exit_gracefully(scheduler, *given))
    try:
        # With a handler that takes the lock, this test would not return.
        with scheduler._lock:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert scheduler._user_kill == "graceful"
    assert scheduler._open_jobs.acquire(blocking=False), "the scheduler is woken"
