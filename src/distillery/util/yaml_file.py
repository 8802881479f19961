"""Read and write YAML (and JSON) files of users: no code runs, no key wins over its equal, errors name their line.

Plain scalars are read as YAML 1.2 reads them, and as most people mean them: ``010`` is ten, ``1e-8`` a number,
``1:30:00`` and ``2026-11-30`` are text. Two readings of YAML 1.1 stay: ``yes``, ``no``, ``on`` and ``off`` are truth
values, and ``10_000`` is a number. Keys are always text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from distillery.errors import DistilleryError

ENDLESS = "is nested without end; an anchor (&) must not hold an alias (*) of itself"
_TAG = "tag:yaml.org,2002:"
_DIGITS = r"(?:[0-9]{1,3}(?:_[0-9]{3})+|[0-9]+)"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", list("tTfFyYnNoO")),
    ("int", rf"[-+]?{_DIGITS}|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "float",
        rf"[-+]?(?:{_DIGITS}\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
# Every float up to here stands for one whole number.
_EXACT = 2.0**53


class _Snakemake(yaml.SafeLoader):
    """YAML's safe loader as Snakemake uses it for profiles, but no key stands twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return node


class _Loader(_Snakemake):
    """The loader of configurations, with other scalars, and text as keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        for place, (key, value) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                # The node itself may be a value elsewhere, by an alias.
                node.value[place] = (yaml.ScalarNode(f"{_TAG}str", key.value, key.start_mark, key.end_mark), value)
        return node


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which quotes what this loader would read as something else, too."""


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    return _decimal(loader.construct_scalar(node))


def _decimal(text: str) -> int | float:
    value = float(re.sub(r"\.(inf|nan)", r"\1", text.replace("_", "").lower()))
    # A million steps may be written as 1e6.
    return int(value) if "e" in text.lower() and value.is_integer() and abs(value) <= _EXACT else value


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})$"), _first)
_Loader.add_constructor(f"{_TAG}int", _whole)
_Loader.add_constructor(f"{_TAG}float", _number)


def read_yaml(path: Path, *, profile: bool = False) -> Mapping[str, Any]:
    """Read a mapping from a YAML or JSON file.

    Args:
        path: The file.
        profile: Whether it is a profile of Snakemake, whose scalars mean what Snakemake reads.

    Raises:
        DistilleryError: It is none, or holds a key twice; the line says where.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DistilleryError(f"{path}: cannot be read ({error.strerror}); give the path of a configuration") from None
    except UnicodeDecodeError as error:
        raise DistilleryError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    content = read_text(text, str(path), profile=profile)
    if not isinstance(content, Mapping):
        raise DistilleryError(f"{path}: is not a mapping of keys; it needs at least experiments and models")
    return content


def read_text(text: str, source: str, *, profile: bool = False) -> Any:
    """Read YAML or JSON from a text.

    Args:
        text: The text.
        source: Its name in errors.
        profile: Whether it is a profile of Snakemake.

    Raises:
        DistilleryError: It is neither, or holds a key twice.
    """
    try:
        if not profile and text.lstrip().startswith("{"):
            try:
                return json.loads(text, object_pairs_hook=_once, parse_float=_decimal)
            except _TwiceError:
                # The reading as YAML gives the line of the key; JSON allows tabs between its tokens, and YAML does not.
                text = text.replace("\t", " ")
            except ValueError:
                pass
        return yaml.load(text, Loader=_Snakemake if profile else _Loader)
    except RecursionError:
        raise DistilleryError(f"{source}: {ENDLESS}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position) + 1
            place, problem = f", line {line}", f"the character {chr(error.character)!r} is not allowed"
        else:
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise DistilleryError(f"{source}{place}: not valid YAML ({problem}); mend the syntax there") from None


def write_yaml(content: Any) -> str:
    """Return YAML that ``read_text`` and every reader of YAML 1.1 read back as the same content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _TwiceError(Exception):
    """A JSON object holds a key twice."""


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError
    return found
