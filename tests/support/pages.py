"""Pages of fabricated results."""

from __future__ import annotations

import datetime
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from distillery.workflow.config import parse_config
from distillery.workflow.stages.collect import collect
from distillery.workflow.sweep import Sweep
from support.fabricate import end, fabricate, messages

TODAY = datetime.date(2020, 6, 19)


HOSTILE = "</code></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' `a` **b** [c](javascript:alert(1))"


class Parsed(HTMLParser):
    """The parsed content of a page: elements, attributes, ids, links, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open[-1:] == ["script"] else self.words).append(data)

    def having(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    @property
    def text(self) -> str:
        return "".join(self.words)


def made(folder: Path, **changes: Any) -> Sweep:
    """Return a collected sweep of successful cells with messages and one that diverged, with markup in its reason."""
    content = {"experiments": [{"system": "spring"}], "models": ["bottleneck", "standard", "flathgn", "control", "l1"]}
    sweep = Sweep(parse_config({**content, **changes}), folder)
    for cell in sweep.cells[:-1]:
        fabricate(sweep, cell)
        messages(sweep, cell)
    end(sweep, sweep.cells[-1], "train", "diverged", HOSTILE)
    collect(sweep)
    return sweep
