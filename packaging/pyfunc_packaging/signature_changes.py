"""What a new signature changes for those who call the old model.

A change breaks callers when the new model refuses a request that the old one takes, or when the
answer has another form. Two kinds of values are left out of that, because hardly a request holds
them: infinite numbers, and integers beyond 2**53 in a column that becomes ``double``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyfunc_packaging.schema import Column, Schema, Tensor

#: Texts quoted in one reason at most.
_MAX_TEXTS = 5

#: Old and new type of an input where every value of the old one is taken, and how far.
_WIDER: Mapping[tuple[str, str], str] = {
    ("boolean", "integer"): "booleans are taken as 0 and 1",
    ("boolean", "long"): "booleans are taken as 0 and 1",
    ("boolean", "float"): "booleans are taken as 0 and 1",
    ("boolean", "double"): "booleans are taken as 0 and 1",
    ("integer", "long"): "every integer is taken",
    ("integer", "double"): "every integer is taken",
    ("float", "double"): "every float is taken",
    ("long", "double"): "integers are taken up to 2**53",
}

#: The texts of a column that training knew, by column name.
Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Change:
    """A difference between two signatures.

    Parameters
    ----------
    side : str
        ``"input"`` or ``"output"``.
    name : str
        Of the column or tensor.
    what : str
        ``"added"``, ``"removed"``, ``"type"``, ``"shape"``, ``"missing values"``,
        ``"infinite numbers"``, ``"categories"`` or ``"classes"``.
    before, after : object
        Plain data; None where there was, or is, nothing.
    breaking : bool
        Whether callers of the old model break.
    reason : str
        What it means for them.
    """

    side: str
    name: str
    what: str
    before: Any
    after: Any
    breaking: bool
    reason: str


def compare_signatures(
    old: Schema, new: Schema, *, old_texts: Texts | None = None, new_texts: Texts | None = None
) -> tuple[Change, ...]:
    """Compare what two models take and return.

    Parameters
    ----------
    old, new : Schema
    old_texts, new_texts : mapping of str to sequence of str, optional
        The texts that each knows from training, by column, as far as anybody knows them.

    Returns
    -------
    tuple of Change
        Breaking ones first, each kind in the order of the signature.

    Examples
    --------
    >>> old = Schema((Column("rooms", "long"),))
    >>> new = Schema((Column("rooms", "double"), Column("age", "double", nullable=True)))
    >>> for change in compare_signatures(old, new):
    ...     print(change.name, change.what, change.breaking)
    age added True
    rooms type False
    """
    found = [
        *_inputs(old.inputs, new.inputs, old_texts or {}, new_texts or {}),
        *_outputs(old.outputs, new.outputs),
    ]
    return tuple(sorted(found, key=lambda change: not change.breaking))


def _by_name(fields: Sequence[Column | Tensor]) -> dict[str, Column | Tensor]:
    return {field.name: field for field in fields}


def _kind(field: Column | Tensor) -> str:
    return field.type if isinstance(field, Column) else f"{field.dtype} {list(field.shape)}"


# --- inputs -----------------------------------------------------------------------------------


def _inputs(
    old: Sequence[Column | Tensor],
    new: Sequence[Column | Tensor],
    old_texts: Texts,
    new_texts: Texts,
) -> Iterator[Change]:
    before, after = _by_name(old), _by_name(new)
    for name, field in before.items():
        if name not in after:
            reason = "requests that hold it are refused"
            yield Change("input", name, "removed", _kind(field), None, True, reason)
            continue
        now = after[name]
        if isinstance(field, Column) and isinstance(now, Column):
            yield from _column(field, now)
            yield from _texts(field, now, old_texts.get(name), new_texts.get(name))
        elif _kind(field) != _kind(now):
            reason = "tensors of the old form are refused"
            yield Change("input", name, "shape", _kind(field), _kind(now), True, reason)
    for name, field in after.items():
        if name not in before:
            reason = "requests without it are refused"
            yield Change("input", name, "added", None, _kind(field), True, reason)


def _column(old: Column, new: Column) -> Iterator[Change]:
    if old.type != new.type:
        wider = _WIDER.get((old.type, new.type))
        reason = wider or f"{old.type} values are refused, or some of them"
        yield Change("input", old.name, "type", old.type, new.type, wider is None, reason)
    if old.nullable != new.nullable:
        words = ("refused", "taken") if old.nullable else ("taken", "refused")
        reason = f"missing values are {words[0]} now, which were {words[1]}"
        before, after = ("allowed" if each.nullable else "refused" for each in (old, new))
        yield Change("input", old.name, "missing values", before, after, old.nullable, reason)
    floats = old.type in ("double", "float") and new.type in ("double", "float")
    if floats and old.finite != new.finite:
        reason = f"infinite numbers are {'refused' if new.finite else 'taken'} now"
        before, after = ("refused" if each.finite else "allowed" for each in (old, new))
        yield Change("input", old.name, "infinite numbers", before, after, False, reason)


def _texts(
    old: Column, new: Column, before: Sequence[str] | None, after: Sequence[str] | None
) -> Iterator[Change]:
    """Texts of a column, and whether others than those of training are refused."""
    if {old.type, new.type} != {"string"}:
        return

    def change(breaking: bool, reason: str) -> Change:
        one, other = (None if each is None else list(each) for each in (before, after))
        return Change("input", old.name, "categories", one, other, breaking, reason)

    if new.closed and not old.closed:
        yield change(True, "texts that the new model was not trained on are refused now")
    elif old.closed and not new.closed:
        yield change(False, "texts that the model was not trained on are taken now")
    elif before is not None and after is not None and set(before) != set(after):
        gone = [text for text in before if text not in after]
        added = [text for text in after if text not in before]
        parts = []
        if gone:
            parts.append(f"{'refused' if new.closed else 'unknown to the model'}: {_quote(gone)}")
        if added:
            parts.append(f"new: {_quote(added)}")
        yield change(new.closed and bool(gone), "; ".join(parts))


def _quote(texts: Sequence[Any]) -> str:
    more = f" and {len(texts) - _MAX_TEXTS} more" if len(texts) > _MAX_TEXTS else ""
    return ", ".join(map(repr, texts[:_MAX_TEXTS])) + more


# --- outputs ----------------------------------------------------------------------------------


def _outputs(old: Sequence[Column | Tensor], new: Sequence[Column | Tensor]) -> Iterator[Change]:
    before, after = _by_name(old), _by_name(new)
    for name, field in before.items():
        if name not in after:
            reason = "answers do not hold it any more"
            yield Change("output", name, "removed", _kind(field), None, True, reason)
            continue
        now = after[name]
        if field.datatype != now.datatype:
            reason = f"answers hold {now.datatype} instead of {field.datatype}"
            yield Change("output", name, "type", field.datatype, now.datatype, True, reason)
        if field.shape != now.shape:
            reason = "answers have another shape"
            yield Change("output", name, "shape", list(field.shape), list(now.shape), True, reason)
        yield from _classes(name, getattr(field, "classes", None), getattr(now, "classes", None))
    for name, field in after.items():
        if name not in before:
            reason = "answers hold it, too"
            yield Change("output", name, "added", None, _kind(field), False, reason)


def _classes(
    name: str, old: tuple[Any, ...] | None, new: tuple[Any, ...] | None
) -> Iterator[Change]:
    if old == new:
        return
    before, after = (None if each is None else list(each) for each in (old, new))
    gone = [label for label in old or () if label not in (new or ())]
    added = [label for label in new or () if label not in (old or ())]
    parts = [f"{word}: {_quote(each)}" for word, each in (("gone", gone), ("new", added)) if each]
    reason = "; ".join(parts) or "the same, in another order"
    yield Change("output", name, "classes", before, after, True, reason)
