"""Filters of the rows of a table: the grammar of ``NAME SIGN VALUE``, and which rows satisfy one.

A value is compared whole. What is missing in a row satisfies no comparison but ``name=``.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from distillery.errors import DistilleryError
from distillery.results.columns import CELLS, CONDITIONS, EQUATIONS, VOCABULARIES
from distillery.results.reader import Frame

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
_FLAG_WORDS = {"yes": 1.0, "true": 1.0, "1": 1.0, "no": 0.0, "false": 0.0, "0": 0.0}
FLAGS = frozenset(column.name for column in (*CELLS, *EQUATIONS, *CONDITIONS) if column.kind == "flag")
# So many values of a column are named in an error, and of more the nearest ones.
_NAMED, _NEAREST = 12, 3
# So many characters of a filter are repeated in an error.
_SHOWN = 100
# Among more values than this, looking for the nearest takes longer than an answer may.
_COMPARED = 3000


@dataclasses.dataclass(frozen=True)
class Filter:
    """A comparison that rows must satisfy.

    Attributes:
        text: The filter as it was written.
        name: Name of the column.
        sign: One of ``= != < <= > >= ~``.
        values: The values to compare with; several for ``=`` (any of them) and ``!=`` (none of them), an empty one
            for what is missing.
    """

    text: str
    name: str
    sign: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Read a filter.

        Args:
            text: Such as ``model=l1,bottleneck``.

        Raises:
            DistilleryError: The text is no filter.
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
            # Formulas have commas.
            whole = entries(rest, source) if rest.strip()[:1] in ("'", '"') else [rest.strip()]
            values = tuple(whole if len(whole) == 1 else [rest.strip()])
        else:
            values = tuple(entries(rest, source)) if rest.strip() else ("",)
        if sign not in ("=", "!=") and (values == ("",) or len(values) > 1):
            wanted = "a text" if sign == "~" else "one number"
            lists = "" if sign == "~" else ", or a list with = or !="
            raise DistilleryError(f"{source}: {sign} compares with {wanted}; give {wanted}{lists}")
        return cls(text, name, sign, values)

    def mask(self, frame: Frame) -> np.ndarray:
        """Return which rows satisfy the filter; of several components all must, or for ``~`` any.

        Args:
            frame: The whole table, by whose values the filter's own are checked.

        Raises:
            DistilleryError: The column cannot be compared so, or no row has a value that is compared with.
        """
        values = frame.columns[self.name]
        there = np.ones(values.shape, dtype=bool)
        if values.ndim > 1:
            there = np.arange(values.shape[1]) < frame.lengths[self.name][:, None]
        given = there & (values != "" if values.dtype == object else ~np.isnan(values))
        # An empty value stands for what is missing.
        missing = "" in self.values
        wanted = tuple(value for value in self.values if value)
        holds = given & (self._compared(values, given, wanted) if wanted else self.sign == "!=")
        if missing and self.sign == "=":
            holds |= ~given
        if values.ndim == 1:
            return np.asarray(holds)
        if self.sign == "~":
            return np.asarray(holds.any(axis=1))
        some = there.any(axis=1) | (missing and self.sign == "=")
        return np.asarray((holds | ~there).all(axis=1) & some)

    def _compared(self, values: np.ndarray, given: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
        if values.dtype == object:
            return self._texts(values, given, wanted)
        if self.sign == "~":
            raise self._refused("is a number; compare it with = != < <= > >=")
        if self.name in FLAGS:
            return self._flags(values, wanted)
        numbers = [self._number(text) for text in wanted]
        if values.dtype.kind == "i":
            return self._integers(values, numbers)
        if self.sign in _ORDER:
            return np.asarray(_ORDER[self.sign](values, float(numbers[0])))
        return np.isin(values, [float(number) for number in numbers]) ^ (self.sign == "!=")

    def _texts(self, values: np.ndarray, given: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
        if self.sign in _ORDER:
            raise self._refused("is text; compare it with =, != or ~ (contains)")
        if self.sign == "~":
            found = [wanted[0] in value for value in values.ravel().tolist()]
            return np.array(found, dtype=bool).reshape(values.shape)
        self._require_known(wanted, dict.fromkeys(values[given].tolist()))
        return np.isin(values.astype(str), wanted) ^ (self.sign == "!=")

    def _flags(self, values: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
        if self.sign in _ORDER:
            raise self._refused("is yes or no; compare it with = or !=")
        try:
            flags = [_FLAG_WORDS[text.lower()] for text in wanted]
        except KeyError as error:
            raise self._refused(f"is compared with {shortened(str(error.args[0]))}; give yes or no") from None
        return np.isin(values, flags) ^ (self.sign == "!=")

    def _integers(self, values: np.ndarray, numbers: Sequence[Decimal]) -> np.ndarray:
        # Python compares integers with decimals exactly; as floating-point numbers, integers above 2^53 coincide.
        unique, place = np.unique(values, return_inverse=True)
        known = unique.tolist()
        if self.sign in _ORDER:
            found = [_ORDER[self.sign](value, numbers[0]) for value in known]
        else:
            for number in numbers:
                if known and number not in known:
                    raise self._unknown(str(number), [str(value) for value in known])
            found = [(value in numbers) == (self.sign == "=") for value in known]
        return np.array(found, dtype=bool)[place].reshape(values.shape)

    def _number(self, text: str) -> Decimal:
        if not _NUMBER.fullmatch(text):
            absent = f" ({self.name}= finds what has none)" if text.lower() in ("nan", "none", "null", "") else ""
            raise self._refused(f"is compared with {shortened(text)}; give a number{absent}")
        return Decimal(text)

    def _require_known(self, wanted: Sequence[str], there: dict[str, None]) -> None:
        if not there:
            return
        known = there | dict.fromkeys(VOCABULARIES.get(self.name, ()))
        whole = self.text.partition(self.sign)[2].strip(" =")
        for value in wanted:
            if value not in known:
                if len(wanted) > 1 and whole in known:
                    quoted = f'{self.name}{self.sign}"{whole}"'
                    raise self._refused(f"has no value {shortened(value)}; a value with commas is quoted: '{quoted}'")
                raise self._unknown(value, list(known))

    def _unknown(self, value: str, known: Sequence[str]) -> DistilleryError:
        if len(known) <= _NAMED and sum(map(len, known)) < 300:
            return self._refused(f"has no value {shortened(value)}; it has {', '.join(known)}")
        near = nearest(value, known, _NEAREST) if len(known) <= _COMPARED else []
        told = f"similar are {', '.join(near)}" if near else f"it has {len(known):,} others"
        return self._refused(f"has no value {shortened(value)}; {told}")

    def _refused(self, what: str) -> DistilleryError:
        return DistilleryError(f"where {shortened(self.text)}: {self.name} {what}")


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
    """Return the names that are most like another one: those that are spelt alike, then those that contain it.

    Args:
        name: The name.
        known: The names to choose from.
        count: How many are returned at most.
    """
    by_case: dict[str, list[str]] = {}
    for other in known:
        by_case.setdefault(other.casefold(), []).append(other)
    found = difflib.get_close_matches(name.casefold(), by_case, n=count)
    found += [folded for folded in by_case if name and name.casefold() in folded and folded not in found]
    return [other for match in found for other in by_case[match]][:count]


def shortened(text: str) -> str:
    """Return a text in quotes for an error, cut where it is long.

    Args:
        text: The text.
    """
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
