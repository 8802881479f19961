"""Filters of the rows of a table: the grammar of ``NAME SIGN VALUE`` and its translation to SQL.

A value is compared whole. An absent value satisfies no comparison but ``name=``.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from distillery.errors import DistilleryError
from distillery.results.columns import VOCABULARIES, Column
from distillery.results.parquet import literal

_SIGNS = "= == != < <= > >= ~"
_FILTER = re.compile(r"\s*(\w+)\s*(!=|<=|>=|==|=|<|>|~)(.*)", re.DOTALL)
# A quoted text, in which a quote is written twice, or a text without a comma.
_ENTRY = re.compile(r"""\s*(?:'((?:[^']|'')*)'|"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|\Z)""", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,5})?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FLAG_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
# An error lists up to this many values of a column; if there are more, only the most similar ones.
_LISTED, _NEAREST = 12, 3
# Maximum number of characters of a filter that an error repeats.
_SHOWN = 100
# Similar values are searched among at most this many, because the search is slow.
_COMPARED = 3000


@dataclasses.dataclass(frozen=True)
class Filter:
    """A comparison that rows must satisfy.

    Attributes:
        text: The filter as it was written.
        name: Name of the column.
        sign: One of ``= != < <= > >= ~``.
        values: The values to compare with: several for ``=`` (any of them) and ``!=`` (none of them); an empty one
            stands for an absent value.
    """

    text: str
    name: str
    sign: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Parse a filter.

        Args:
            text: Such as ``model=l1,bottleneck``.

        Raises:
            DistilleryError: The text is not a filter.
        """
        match = _FILTER.fullmatch(text)
        if match is None:
            raise DistilleryError(
                f"where {shortened(text)}: is no filter; write it like system=spring, 'test_mae<0.1' or 'equation~q1', "
                f"with one of the signs {_SIGNS}"
            )
        name, sign, rest = match.groups()
        sign, source = sign.replace("==", "="), f"where {shortened(text)}"
        if sign == "~":
            # A text that is searched for may contain commas, as formulas do.
            whole = entries(rest, source) if rest.strip()[:1] in ("'", '"') else [rest.strip()]
            values = tuple(whole if len(whole) == 1 else [rest.strip()])
        else:
            values = tuple(entries(rest, source)) if rest.strip() else ("",)
        if sign not in ("=", "!=") and (values == ("",) or len(values) > 1):
            wanted = "a text" if sign == "~" else "one number"
            lists = "" if sign == "~" else ", or a list with = or !="
            raise DistilleryError(f"{source}: {sign} compares with {wanted}; give {wanted}{lists}")
        return cls(text, name, sign, values)

    def condition(self, column: Column, values: Callable[[], list[Any]]) -> str:
        """Return the filter as a condition in SQL, which is never NULL.

        Of several components all must satisfy the filter, or any for ``~``.

        Args:
            column: The column of that name.
            values: Returns all values of the column in the unfiltered table; values of the filter that do not occur
                among them are refused.

        Raises:
            DistilleryError: The column cannot be compared so, or no row has a value that is compared with.
        """
        element = "entry" if column.dims else f'"{self.name}"'
        given = f"{element} <> ''" if column.kind == "text" else f"{element} IS NOT NULL"
        wanted = [value for value in self.values if value]
        # An empty value stands for an absent one.
        absent = self.sign == "=" and "" in self.values
        holds = f"{given} AND {self._comparison(column, element, wanted, values)}" if wanted else given
        if not wanted and self.sign == "=":
            holds = "false"
        if absent:
            holds = f"({holds}) OR NOT ({given})"
        if not column.dims:
            return f"({holds})"
        if self.sign == "~":
            return f'len(list_filter("{self.name}", lambda entry: {holds})) > 0'
        all_hold = f'len(list_filter("{self.name}", lambda entry: NOT ({holds}))) = 0'
        return all_hold if absent else f'({all_hold} AND len("{self.name}") > 0)'

    def _comparison(self, column: Column, element: str, wanted: Sequence[str], values: Callable[[], list[Any]]) -> str:
        match column.kind:
            case "text":
                if self.sign in _ORDER:
                    raise self._refused("is text; compare it with =, != or ~ (contains)")
                if self.sign == "~":
                    return f"contains({element}, {literal(wanted[0])})"
                self._require_known(wanted, dict.fromkeys(value for value in values() if value))
                return self._membership(element, wanted)
            case _ if self.sign == "~":
                raise self._refused("is a number; compare it with = != < <= > >=")
            case "flag":
                return self._membership(element, self._flags(wanted))
        numbers = [self._number(text) for text in wanted]
        if column.kind == "integer":
            return self._integers(element, numbers, sorted(set(values())))
        if self.sign in _ORDER:
            return f"{element} {self.sign} {literal(float(numbers[0]))}"
        return self._membership(element, [float(number) for number in numbers])

    def _membership(self, element: str, values: Sequence[str | float | bool]) -> str:
        among = f"{element} IN ({', '.join(literal(value) for value in values)})" if values else "false"
        return f"NOT ({among})" if self.sign == "!=" else among

    def _flags(self, wanted: Sequence[str]) -> list[bool]:
        if self.sign in _ORDER:
            raise self._refused("is yes or no; compare it with = or !=")
        try:
            return [_FLAG_WORDS[text.lower()] for text in wanted]
        except KeyError as error:
            raise self._refused(f"is compared with {shortened(str(error.args[0]))}; give yes or no") from None

    def _integers(self, element: str, numbers: Sequence[Decimal], known: Sequence[int]) -> str:
        # Python compares integers with decimals exactly; as floating-point numbers, integers above 2^53 coincide.
        if self.sign in _ORDER:
            holding = [value for value in known if _ORDER[self.sign](value, numbers[0])]
        else:
            for number in numbers:
                if known and number not in known:
                    raise self._unknown(str(number), [str(value) for value in known])
            holding = [value for value in known if (value in numbers) == (self.sign == "=")]
        return f"{element} IN ({', '.join(map(str, holding))})" if holding else "false"

    def _number(self, text: str) -> Decimal:
        if not _NUMBER.fullmatch(text):
            absent = f" ({self.name}= finds what has none)" if text.lower() in ("nan", "none", "null", "") else ""
            raise self._refused(f"is compared with {shortened(text)}; give a number{absent}")
        return Decimal(text)

    def _require_known(self, wanted: Sequence[str], present: dict[str, None]) -> None:
        if not present:
            return
        known = present | dict.fromkeys(VOCABULARIES.get(self.name, ()))
        whole = self.text.partition(self.sign)[2].strip(" =")
        for value in wanted:
            if value not in known:
                if len(wanted) > 1 and whole in known:
                    quoted = f'{self.name}{self.sign}"{whole}"'
                    raise self._refused(f"has no value {shortened(value)}; a value with commas is quoted: '{quoted}'")
                raise self._unknown(value, list(known))

    def _unknown(self, value: str, known: Sequence[str]) -> DistilleryError:
        if len(known) <= _LISTED and sum(map(len, known)) < 300:
            return self._refused(f"has no value {shortened(value)}; it has {', '.join(known)}")
        near = nearest(value, known, _NEAREST) if len(known) <= _COMPARED else []
        others = f"similar are {', '.join(near)}" if near else f"it has {len(known):,} others"
        return self._refused(f"has no value {shortened(value)}; {others}")

    def _refused(self, problem: str) -> DistilleryError:
        return DistilleryError(f"where {shortened(self.text)}: {self.name} {problem}")


def entries(text: str, source: str) -> list[str]:
    """Return the entries of a list with commas, without the spaces and the quotes around them.

    Args:
        text: Such as ``l1, 'a, b'``.
        source: Names the list in errors.

    Raises:
        DistilleryError: A quote is not closed, or an entry is empty and not quoted.
    """
    found, at = [], 0
    while True:
        match = _ENTRY.match(text, at)
        if match is None:
            raise DistilleryError(f"{source}: its quotes do not match; write a value with commas like 'a, b'")
        one, two, bare = match.groups()
        if bare is not None and bare[:1] in ("'", '"'):
            raise DistilleryError(f"{source}: its quotes do not match; write a value with commas like 'a, b'")
        if bare == "":
            raise DistilleryError(
                f"{source}: an entry of the list is empty; leave out a comma, or write an empty value as ''"
            )
        found.append(bare or (one or "").replace("''", "'") or (two or "").replace('""', '"'))
        at = match.end()
        if not match[0].endswith(","):
            return found


def nearest(name: str, known: Iterable[str], count: int) -> list[str]:
    """Return the names that are most similar to another one: first by spelling, then those that contain it.

    Args:
        name: The name.
        known: The names to choose from.
        count: Maximum number of names.
    """
    by_case: dict[str, list[str]] = {}
    for other in known:
        by_case.setdefault(other.casefold(), []).append(other)
    found = difflib.get_close_matches(name.casefold(), by_case, n=count)
    found += [folded for folded in by_case if name and name.casefold() in folded and folded not in found]
    return [other for match in found for other in by_case[match]][:count]


def shortened(text: str) -> str:
    """Return a text in quotes for an error, cut if it is long.

    Args:
        text: The text.
    """
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
