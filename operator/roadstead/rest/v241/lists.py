"""What lists have in common: which part, of what, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import Query

from roadstead.rest.cache import Order
from roadstead.rest.records import Record
from roadstead.rest.v241.models import Id, Sort

R = TypeVar("R", bound=Record)
ORDERS: Final = {"name": Order.TITLE, "createdAt": Order.CREATED, "updatedAt": Order.UPDATED}


@dataclass(frozen=True, slots=True)
class Listing:
    """The query parameters of every list."""

    offset: Annotated[int, Query(ge=0, le=2**63 - 1, description="How many to leave out at the beginning.")] = 0
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 100
    ids: Annotated[list[Id] | None, Query(description="Only these; repeat the parameter for several.")] = None
    search: Annotated[str | None, Query(description="Only those whose name holds this, in any case, or whose id begins with it.")] = None
    sort: Annotated[Sort, Query(description="In which order; - for descending.")] = Sort.CREATED_DOWN

    def chosen(self, records: Iterable[R]) -> list[R]:
        """Those that are asked for."""
        found = list(records)
        if self.ids is not None:
            wanted = {id.lower() for id in self.ids}
            found = [record for record in found if record.id in wanted]
        if self.search:
            text = self.search.casefold()
            found = [record for record in found if text in record.title.casefold() or record.id.startswith(text)]
        return found

    @property
    def order(self) -> Order:
        """In which order the records are wanted, ascending."""
        return ORDERS.get(self.sort.removeprefix("-"), Order.CREATED)

    def part(self, records: Sequence[R], status: Callable[[R], str]) -> Sequence[R]:
        """The page of records that stand in ``order``; equal ones by id, so that pages don't overlap. A status is of the moment."""
        if self.sort in (Sort.STATUS, Sort.STATUS_DOWN):
            records = sorted(records, key=lambda record: (status(record), record.id))
        first, end = self.offset, self.offset + self.limit
        if not self.sort.startswith("-"):
            return records[first:end]
        count = len(records)
        return records[max(0, count - end) : max(0, count - first)][::-1]
