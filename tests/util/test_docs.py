"""Links, modules and commands that README and docs name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distillery.workflow.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"```.*?```", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", CODE.sub("", page.read_text())):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_exists(page: Path) -> None:
    for name in re.findall(r"`(distillery(?:\.[a-z_]\w*)+)`", page.read_text()):
        path = ROOT / "src" / name.replace(".", "/")
        if name == "distillery.json":  # a file of the Julia depot
            continue
        # The last part may be a function of the module.
        assert any(p.exists() for p in (path, path.with_suffix(".py"), path.parent.with_suffix(".py"))), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL))
    for name in re.findall(r"^(?:mpiexec -n \d+ )?distillery ([a-z][a-z-]*)", blocks, re.MULTILINE):
        assert name in cli.commands, name
    for program in re.findall(r"^python (\S+\.py)", blocks, re.MULTILINE):
        assert (ROOT / program).exists(), program
