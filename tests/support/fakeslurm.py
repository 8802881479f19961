"""Stand-ins for Slurm's commands, for tests of rare events: refusals, no answer, lost jobs.

``install`` writes the commands into a folder, which goes first on the path. A job is not run: its output is made when
it is submitted, and it ends as the plan says, a list of ends by comment with one entry for each attempt. Faults are
files in the folder ``faults`` that hold how often a command fails; each call takes one off.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

NAMES = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "srun")
AWAY = "Unable to contact slurm controller (connect failure)"
LASTS = 0.5


def install(folder: Path, plan: dict[str, list[str]], faults: dict[str, int] | None = None) -> Path:
    """Write the commands; return the folder for the path.

    Args:
        folder: Where jobs are kept.
        plan: How jobs end, by the wildcard in their comment: COMPLETED by default.
        faults: How often commands fail.
    """
    for name in ("bin", "jobs", "faults"):
        (folder / name).mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    for name, times in (faults or {}).items():
        (folder / "faults" / name).write_text(str(times))
    for name in NAMES:
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {folder} {name} "$@"\n')
        path.chmod(0o755)
    return folder / "bin"


def jobs(folder: Path) -> list[dict[str, str]]:
    """Return the jobs in the order of their submission."""
    paths = sorted((folder / "jobs").glob("*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text()) for path in paths]


def _fault(folder: Path, name: str) -> bool:
    path = folder / "faults" / name
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
    return left > 0


def _wait(folder: Path, name: str) -> None:
    delay = folder / "faults" / name
    if delay.exists():
        (folder / "faults" / f"{name}-began").touch()
        time.sleep(float(delay.read_text()))


def _option(words: list[str], name: str) -> str:
    for index, word in enumerate(words):
        if word == name:
            return words[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def _state(job: dict[str, str]) -> str:
    return "RUNNING" if time.time() < float(job["until"]) else job["end"]


def _sbatch(folder: Path, words: list[str]) -> str:
    if "--test-only" in words:
        return ""
    _wait(folder, "slow-sbatch")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _take(folder, words)


def _take(folder: Path, words: list[str]) -> str:
    comment = _option(words, "--comment")
    known = jobs(folder)
    before = sum(job["comment"] == comment for job in known)
    subject = comment.rpartition("_")[2]
    ends = json.loads((folder / "plan.json").read_text()).get(subject, [])
    end = ends[before] if before < len(ends) else "COMPLETED"
    number = str(len(known) + 1)
    if end in {"AWAY", "REFUSED"}:
        # It is counted, so that the next attempt has the next end.
        job = {"id": number, "comment": comment, "name": "", "end": end, "until": "0", "memory": "", "refused": "yes"}
        (folder / "jobs" / f"{number}.json").write_text(json.dumps(job))
        reason = AWAY if end == "AWAY" else "Requested node configuration is not available"
        sys.exit(f"sbatch: error: Batch job submission failed: {reason}")
    log = Path(_option(words, "--output").replace("%j", number))
    log.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0\n" if end == "OOM_IN_LOG" else "")
    if end == "MEMORY_ERROR":
        Path("logs").mkdir(exist_ok=True)
        Path("logs", subject).write_text("numpy: _ArrayMemoryError\nMemoryError: Unable to allocate 1.2 TiB\n")
    lasts = {"ENDLESS": 600.0, "UNSURE": 5.0}.get(end, LASTS)
    job = {
        "id": number,
        "comment": comment,
        "name": _option(words, "--job-name"),
        "end": {"OOM_IN_LOG": "FAILED", "MEMORY_ERROR": "FAILED", "UNSURE": "COMPLETED"}.get(end, end),
        "until": str(time.time() + lasts),
        "memory": _option(words, "--mem"),
    }
    if job["end"] == "COMPLETED":
        Path("out").mkdir(exist_ok=True)
        Path("out", subject).touch()
    (folder / "jobs" / f"{number}.json").write_text(json.dumps(job))
    if end == "UNSURE":
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    return f"{number}\n"


def _squeue(folder: Path, words: list[str]) -> str:
    _wait(folder, "slow-squeue")
    lines = []
    for job in jobs(folder):
        state, name = _state(job), _option(words, "--name")
        listed = "--states=all" in words or state in ("RUNNING", "PENDING")
        if job["end"] == "FORGOTTEN" and state != "RUNNING":
            listed = False
        if listed and "refused" not in job and name in ("", job["name"]):
            fields = {"%i": job["id"], "%A": job["id"], "%T": state, "%k": job["comment"], "%j": job["name"]}
            fields |= {"%Z": str(Path.cwd()), "%N": "node1", "%S": "now"}
            line = _option(words, "--format")
            for field, value in fields.items():
                line = line.replace(field, value)
            lines.append(line)
    return "\n".join([*lines, ""])


def _sacct(folder: Path, words: list[str]) -> str:
    if "--format=JobIdRaw,State" not in words:
        return ""
    states = {job["id"]: _state(job) for job in jobs(folder)}
    return "".join(f"{number}|{state}{' by 0' * (state == 'CANCELLED')}\n" for number, state in states.items())


def _scancel(folder: Path, words: list[str]) -> str:
    name = _option(words, "--name")
    for job in jobs(folder):
        if (name and job["name"] == name) or job["id"] in words:
            changed = {**job, "end": "CANCELLED", "until": "0"}
            (folder / "jobs" / f"{job['id']}.json").write_text(json.dumps(changed))
    return ""


def main(folder: Path, name: str, words: list[str]) -> None:
    with (folder / "calls").open("a") as calls:
        calls.write(f"{name} {' '.join(words)[:200]}\n")
    question = name == "squeue" and "--states=all" in words
    if _fault(folder, name) or (question and _fault(folder, "question")):
        sys.exit(f"{name}: error: {AWAY}")
    accounting = (folder / "accounting").exists()
    if name == "sacct" and not accounting:
        sys.exit("Slurm accounting storage is disabled")
    answers = {
        "sbatch": lambda: _sbatch(folder, words),
        "squeue": lambda: _squeue(folder, words),
        "scancel": lambda: _scancel(folder, words),
        "sacct": lambda: _sacct(folder, words),
        "scontrol": lambda: (
            f"AccountingStorageType   = accounting_storage/{'slurmdbd' if accounting else 'none'}\n"
            "MinJobAge               = 300 sec\n"
        ),
        "sinfo": lambda: "PARTITION\ncpu*\n",
    }
    os.write(1, answers[name]().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
