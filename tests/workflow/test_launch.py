"""Starting Snakemake on odd machines: users without a name, homes that nobody may write to, missing plugins."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from distillery.util import process
from distillery.workflow import launch


@pytest.fixture(autouse=True)
def _environment_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_number: int) -> None:
        raise KeyError("uid not found")

    for name in ("USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert process.user_name() == str(os.getuid())
    launch.check(words=[])
    assert os.environ["LOGNAME"] == str(os.getuid())


@pytest.mark.parametrize("home", ["/dev/null/home", "/proc/none"])
def test_a_home_that_cannot_be_written_to_is_replaced_as_the_place_of_caches(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    launch.check(words=[])
    folder = Path(os.environ["XDG_CACHE_HOME"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()


def test_a_home_that_can_be_written_to_stays_the_place_of_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    launch.check(words=[])
    assert "XDG_CACHE_HOME" not in os.environ


def test_a_missing_executor_is_named_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        launch.check(executor="absent", words=[])
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "executor: absent is not installed in this environment; run make cluster first\n"
    )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-n --configfile a.yaml b.json --cores 2", ["a.yaml", "b.json"]),
        ("--configfiles=a.yaml all", ["a.yaml"]),
        ("--config results=x all", []),
        ("--configfile a.yaml -- all", ["a.yaml"]),
    ],
)
def test_configurations_of_a_command_line(words: str, found: list[str]) -> None:
    assert launch.configurations(words.split()) == [Path(name) for name in found]
