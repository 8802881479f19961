"""A Snakemake profile as a text with comments: read it, set a key in it, write it for a user.

``profiles/slurm`` of the checkout owns the defaults and their comments; a site's profile is that text with a few
values changed.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distillery.errors import DistilleryError
from distillery.util.yaml_file import read_yaml

# Sections whose texts Snakemake reads as Python expressions, and falls back to text when they are none.
_EXPRESSIONS = ("default-resources", "set-resources")
# Names in such an expression (snakemake.resources), besides Python's own names.
_KNOWN = {"wildcards", "input", "attempt", "threads", "shutil", "system_tmpdir", "async_run"}
_INDENT = 2


def shipped() -> Path:
    """Return the Slurm profile of the checkout.

    Raises:
        DistilleryError: The package is not installed from a checkout, and this is none.
    """
    places = [root / "profiles" / "slurm" / "config.yaml" for root in (Path.cwd(), Path(__file__).parents[4])]
    for place in places:
        if place.is_file():
            return place
    raise DistilleryError(f"{places[0]}: no such file; run this in the checkout of Distillery")


def user_profile(name: str) -> Path:
    """Return the path of the user's profile of a name."""
    from platformdirs import user_config_dir

    # Snakemake calls platformdirs with these arguments.
    return Path(user_config_dir("snakemake", "snakemake")) / name / "config.yaml"


def find_profile(name: str) -> Path:
    """Return the file of a profile as Snakemake would find it.

    Args:
        name: A name, a folder or a file.

    Raises:
        DistilleryError: There is none.
    """
    given = Path(name)
    places = [given, given / "config.yaml", user_profile(name)]
    for place in places:
        if place.is_file():
            return place
    folder = places[2].parents[1]
    raise DistilleryError(f"{name}: no such profile; give the folder of a config.yaml, or a name in {folder}")


def read_profile(path: Path) -> Mapping[str, Any]:
    """Read a profile (YAML); raises DistilleryError with line and column if it cannot be read."""
    return read_yaml(path, profile=True)


def section(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return a section of a profile, empty if there is none or it is no mapping."""
    found: Any = content
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def with_value(text: str, keys: Sequence[str], value: Any) -> str:
    """Return the text of a profile with one key set; comments and all other lines stay.

    Args:
        text: The profile.
        keys: The way to the key, outermost first; what is missing on the way is added.
        value: A scalar or a list. None takes the key out, and its section with it if nothing is left in that.
    """
    if value is None:
        return _without(text, keys)
    rendered = _rendered(value, expression=keys[0] in _EXPRESSIONS)
    node, depth = _deepest(text, keys)
    lines = text.splitlines(keepends=True)
    if depth == len(keys):
        start, end = node.start_mark, _end(node)
        head, tail = lines[start.line][: start.column], lines[end.line][end.column :]
        if isinstance(node, yaml.ScalarNode) and node.value == "":
            head = head.rstrip() + " "
        lines[start.line : end.line + 1] = [head + rendered + tail]
        return "".join(lines)
    # A new key goes where the profile shows it as a comment, else to the end of its section.
    indent = " " * (_INDENT * depth)
    sample = re.compile(rf"{indent}#\s*{re.escape(keys[depth])}:")
    first, last = _extent(node, depth, lines)
    at = next((number for number in range(first, last) if sample.match(lines[number])), None)
    added = [f"{' ' * (_INDENT * level)}{keys[level]}:\n" for level in range(depth, len(keys) - 1)]
    added.append(f"{' ' * (_INDENT * (len(keys) - 1))}{keys[-1]}: {rendered}\n")
    if at is not None and len(added) == 1:
        lines[at : at + 1] = added
    else:
        if last and not lines[last - 1].endswith("\n"):
            lines[last - 1] += "\n"
        lines[last:last] = added
    return "".join(lines)


def _without(text: str, keys: Sequence[str]) -> str:
    node, depth = _deepest(text, keys)
    if depth < len(keys):
        return text
    content: Any = yaml.safe_load(text)
    parent = section(content, *keys[:-1])
    if len(keys) > 1 and len(parent) == 1:
        return _without(text, keys[:-1])
    lines = text.splitlines(keepends=True)
    place, _ = _deepest(text, keys[:-1])
    assert isinstance(place, yaml.MappingNode)
    (key,) = (key for key, value in place.value if key.value == keys[-1])
    del lines[key.start_mark.line : _end(node).line + 1]
    return "".join(lines)


def _deepest(text: str, keys: Sequence[str]) -> tuple[yaml.Node, int]:
    """Return the node as far down ``keys`` as there is one, and how many keys that is."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode), "a profile is a mapping"
    for depth, wanted in enumerate(keys):
        inside = {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        if wanted not in inside:
            return node, depth
        node = inside[wanted]
    return node, len(keys)


def _end(node: yaml.Node) -> Any:
    """Return where the last scalar of a node ends: a block's own end mark stands behind the comments that follow."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node.end_mark


def _extent(node: yaml.Node, depth: int, lines: list[str]) -> tuple[int, int]:
    """Return the lines of a section: its first, and the one behind its last key and the comments that belong to it."""
    first, last = node.start_mark.line, _end(node).line + 1
    # Comments before the first key and behind the last one, indented like keys of the section, are part of it.
    while first > 0 and _is_comment(lines[first - 1], depth):
        first -= 1
    while last < len(lines) and _is_comment(lines[last], depth):
        last += 1
    return first, last


def _is_comment(line: str, depth: int) -> bool:
    indent = len(line) - len(line.lstrip(" "))
    return line.lstrip().startswith("#") and indent == _INDENT * depth and depth > 0


def _rendered(value: Any, expression: bool) -> str:
    if isinstance(value, str) and expression and _evaluates(value):
        # Snakemake would take a partition named `max` for Python's function.
        value = repr(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _evaluates(text: str) -> bool:
    """Tell whether Snakemake might take a text for a Python expression."""
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", text):
        return True
    names = re.split(r"\W+", text)
    return any(hasattr(builtins, name) or name in _KNOWN for name in names)
