"""Reading YAML files of users: nothing is executed, no key wins silently, and errors say where they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distillery.errors import DistilleryError

ENDLESS = "is nested without end; an anchor (&) must not hold an alias (*) of itself"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which does not let the last of several equal keys win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            if name is not None and key.tag != "tag:yaml.org,2002:merge":
                seen.add(name)
        return node


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML mapping; raises DistilleryError with line and column if it is none."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise DistilleryError(f"{path}: cannot be read ({error.strerror}); give the path of a configuration") from None
    except RecursionError:
        raise DistilleryError(f"{path}: {ENDLESS}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise DistilleryError(f"{path}{place}: not valid YAML ({problem}); mend the syntax there") from None
    if not isinstance(content, Mapping):
        raise DistilleryError(f"{path}: is not a mapping of keys; it needs at least experiments and models")
    return content
