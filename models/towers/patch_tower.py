"""The default image tower: a small Transformer over patches, trained from the catalogue itself.

Where no pretrained image weights are at hand, the catalogue's own pictures and texts are the lesson: see
`models.towers.patch_training`. A picture's parts are its four quadrants, so that pooling can tell a face from a title.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.towers.pictures import decode_pictures
from models.towers.tower import DamagedTower, TowerState, fingerprint

N_QUADRANTS = 4
_BATCH = 64


@dataclass(frozen=True)
class PatchConfig:
    """Shape of the network.

    Args:
        size: Pixels on a side of the picture it sees.
        patch: Pixels on a side of a patch.
        dim: Width of a state, and of a part.
        n_layers: Transformer blocks.
        n_heads: Attention heads.
    """

    size: int = 64
    patch: int = 16
    dim: int = 96
    n_layers: int = 3
    n_heads: int = 4

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work, naming the values."""
        if min(asdict(self).values()) < 1:
            raise ValueError(f"{self} must hold positive numbers only")
        if self.size % (2 * self.patch):
            raise ValueError(f"size={self.size} must be divisible by 2 * patch={2 * self.patch}, for quadrants")
        if self.dim % self.n_heads:
            raise ValueError(f"dim={self.dim} must be divisible by n_heads={self.n_heads}")

    @property
    def grid(self) -> int:
        """Patches on a side."""
        return self.size // self.patch


class PatchNet(nn.Module):
    """Pixels to the states of patches."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Conv2d(3, config.dim, kernel_size=config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.randn(config.grid**2, config.dim) * 0.02)
        block = nn.TransformerEncoderLayer(
            config.dim,
            config.n_heads,
            2 * config.dim,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(
            block, config.n_layers, nn.LayerNorm(config.dim), enable_nested_tensor=False
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, size, size) in 0..1 to patch states (N, grid * grid, dim)."""
        patches = self.embed((pixels - 0.5) * 4.0).flatten(2).transpose(1, 2)  # (N, grid * grid, dim)
        states: Tensor = self.blocks(patches + self.positions)
        return states


def quadrant_means(states: Tensor) -> Tensor:
    """Patch states (N, g * g, d) of a square grid to the means of its quadrants (N, 4, d), row by row.

    A middle row or column of an odd grid belongs to both sides.
    """
    grid = int(states.shape[1] ** 0.5)
    square = states.transpose(1, 2).reshape(len(states), -1, grid, grid)  # (N, d, g, g)
    return functional.adaptive_avg_pool2d(square, 2).flatten(2).transpose(1, 2)


class PatchTower:
    """A trained `PatchNet`, frozen.

    Args:
        net: not trained any further.
    """

    kind = "patch"

    def __init__(self, net: PatchNet) -> None:
        self._net = net.eval().requires_grad_(requires_grad=False)
        self.dim = net.config.dim
        self.n_parts = N_QUADRANTS
        self.revision = fingerprint(self.kind, asdict(net.config), net.state_dict())

    @property
    def state(self) -> TowerState:
        """Shape and weights."""
        return TowerState(self.kind, self.revision, asdict(self._net.config), dict(self._net.state_dict()))

    @classmethod
    def from_state(cls, state: TowerState) -> "PatchTower":
        """Read what `state` gave.

        Raises:
            DamagedTower: shape and weights do not belong together.
        """
        try:
            net = PatchNet(PatchConfig(**state.settings))
            net.load_state_dict(state.tensors)
        except (TypeError, ValueError, RuntimeError) as exc:
            raise DamagedTower(f"image tower does not fit its settings {state.settings}: {exc}") from exc
        return cls(net)

    def encode(self, images: Sequence[bytes | None]) -> tuple[Tensor, Tensor]:
        """See `ImageTower.encode`."""
        parts = torch.zeros(len(images), N_QUADRANTS, self.dim)
        mask = torch.zeros(len(images), N_QUADRANTS, dtype=torch.bool)
        for start in range(0, len(images), _BATCH):
            rows, pixels = decode_pictures(images[start : start + _BATCH], self._net.config.size)
            if len(rows):
                parts[rows + start] = self._parts(pixels)
                mask[rows + start] = True
        return parts, mask

    @torch.inference_mode()
    def _parts(self, pixels: Tensor) -> Tensor:
        return functional.normalize(quadrant_means(self._net(pixels.float() / 255.0)), dim=-1)
