"""A user's own features in place of a tower: an item's vector arrives with the item."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.towers.tower import BadVector, DamagedTower, TowerState, fingerprint

_DTYPE = np.dtype("<f2")


class ProvidedTower:
    """Vectors given by the user, one a modality and item, brought to length 1.

    Args:
        dim: width every vector must have.
    """

    kind = "provided"

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise BadVector(f"a vector of {dim} numbers was given; at least 1 is needed")
        self.dim = dim
        self.n_parts = 1
        self.max_parts = 1
        self.revision = fingerprint(self.kind, {"dim": dim}, {})

    @classmethod
    def like(cls, *vectors: bytes) -> "ProvidedTower":
        """The tower of the width that most of these vectors have, at least one; the first of them where it is a tie."""
        widths = Counter(len(vector) // _DTYPE.itemsize for vector in vectors)
        return cls(widths.most_common(1)[0][0])

    @property
    def state(self) -> TowerState:
        """The width."""
        return TowerState(self.kind, self.revision, {"dim": self.dim})

    @classmethod
    def from_state(cls, state: TowerState) -> "ProvidedTower":
        """Read what `state` gave.

        Raises:
            DamagedTower: no width in it.
        """
        dim = state.settings.get("dim")
        if not isinstance(dim, int):
            raise DamagedTower(f"provided tower of width {dim!r}; restore the bundle")
        return cls(dim)

    def read(self, vector: bytes) -> Tensor:
        """One vector, (dim,) float32.

        Raises:
            BadVector: another width, or values that are no numbers.
        """
        if len(vector) != self.dim * _DTYPE.itemsize:
            raise BadVector(
                f"vector of {len(vector)} bytes, wants {self.dim * _DTYPE.itemsize}: {self.dim} little-endian float16"
            )
        values = torch.from_numpy(np.frombuffer(vector, _DTYPE).astype(np.float32))
        bad = torch.nonzero(~torch.isfinite(values))
        if len(bad):
            at = int(bad[0])
            raise BadVector(f"number {at + 1} of a vector of {self.dim} is {values[at]}; send finite float16")
        return values

    def check(self, item_id: str, vector: bytes | None) -> None:
        """Refuse an item's vector that does not fit; None always does.

        Raises:
            BadVector: see `read`; the item is named.
        """
        try:
            if vector is not None:
                self.read(vector)
        except BadVector as exc:
            raise BadVector(f"item {item_id!r}: {exc}") from exc

    def encode(self, vectors: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """Parts (N, 1, dim) and mask (N, 1); None and a vector of zeros are missing.

        Raises:
            BadVector: see `read`.
        """
        parts = torch.zeros(len(vectors), 1, self.dim)
        for row, vector in enumerate(vectors):
            if vector is not None:
                parts[row, 0] = self.read(vector)
        return functional.normalize(parts, dim=-1), parts.abs().sum(-1) > 0
