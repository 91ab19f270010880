"""Single tensors decided by groups: the coarse problem whose solution is where a search by tensors starts.

Probes tell groups apart, not the tensors inside one. So the knapsack over groups makes the first proposal of a
search by tensors, which then has to win by paired tests what single tensors can add.
"""

import numpy as np
import numpy.typing as npt

from optimizer.search.exact import solve_exactly
from optimizer.search.space import SearchSpace
from optimizer.search.units import group_tensors

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class TiedSpace:
    """`members`: for each group its units' rows; `columns`: [group][shared option] the option's index in each
    member."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        row_of = {tensor: row for row, unit in enumerate(space.units) for tensor in unit.tensors}
        groups = group_tensors(row_of, "groups").values()
        self.members = [sorted({row_of[tensor] for tensor in tensors}) for tensors in groups]
        self.columns = [self._shared(rows) for rows in self.members]

    @classmethod
    def of(cls, space: SearchSpace) -> "TiedSpace | None":
        """None where there is nothing to tie: units are groups, layers, or share no option within a group."""
        tied = cls(space)
        rows = [row for members in tied.members for row in members]
        if len(rows) != len(space.units) or len(tied.members) == len(space.units) or not all(tied.columns):
            return None
        return tied

    def decode(self, damage: Floats, budget_bytes: int) -> Integers | None:
        """The choice of least damage ([units, options]) in which the units of a group have options of one name.

        None where the smallest such options exceed the budget.
        """
        space, width = self._space, max(map(len, self.columns))
        costs, sizes = np.full((len(self.members), width), np.inf), np.zeros((len(self.members), width), dtype=np.int64)
        for group, (rows, columns) in enumerate(zip(self.members, self.columns, strict=True)):
            for option, column in enumerate(columns):
                costs[group, option] = damage[rows, column].sum()
                sizes[group, option] = space.sizes[rows, column].sum()
        if not np.isfinite(costs).any(axis=1).all():
            return None
        try:
            found = solve_exactly(costs, sizes, budget_bytes - space.overhead_bytes).choice
        except ValueError:
            return None
        choice = np.zeros(len(space.units), dtype=np.int64)
        for rows, columns, option in zip(self.members, self.columns, found, strict=True):
            choice[rows] = columns[int(option)]
        return choice

    def _shared(self, rows: list[int]) -> list[list[int]]:
        """Of every option name that all these units may have, its index in each."""
        allowed = [
            {option.name: index for index, option in enumerate(self._space.units[row].options) if option.allowed}
            for row in rows
        ]
        return [[names[name] for names in allowed] for name in allowed[0] if all(name in names for names in allowed)]
