"""Training of the patch tower: a picture must find its item's text among the batch's, and the text its picture.

Symmetric InfoNCE as in CLIP (Radford et al., arXiv 2103.00020, section 2.3) against frozen text vectors, the mean
of an item's text parts; both sides through a linear projection that is thrown away afterwards. Deviation: of the
text only its main directions over the catalogue count, as what is beyond them is too particular for so few pictures
and only teaches to memorise. A tenth of the items is held out to report whether anything was learned.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.content.encode import OnProgress
from models.towers.patch_tower import PatchConfig, PatchNet, PatchTower
from models.towers.pictures import decode_pictures
from models.towers.tower import TowerError

MIN_PAIRS = 64
"""Pictured items with text below which nothing can be learned; the network then keeps its random weights."""

_MARGIN = 8  # pixels more than the network sees, so that a crop can move
_SAME_TEXT = 0.999  # cosine from which two items' texts are the same, and no negatives of each other
_MAX_HELD_OUT = 500


@dataclass(frozen=True)
class PatchTraining:
    """How the patch tower is trained.

    Args:
        n_epochs: Passes over the pairs.
        batch_size: Pairs in a step, each other's negatives.
        learning_rate: Peak; rises over a tenth of the steps, then falls to 0.
        weight_decay: Of AdamW.
        text_directions: Principal components of the text that count.
        joint_dim: Width of the space pictures and texts meet in.
        max_pairs: Pairs drawn from a larger catalogue, which bounds time and memory.
        colour: Brightness and contrast are drawn within 1 ± this.
        seed: Of everything drawn.
    """

    n_epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    text_directions: int = 32
    joint_dim: int = 64
    max_pairs: int = 4_000
    colour: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class PatchReport:
    """What training came to.

    Attributes:
        n_trained: pairs learned from; 0 where there were too few.
        n_held_out: pairs kept out.
        recall_at_10: share of held-out pictures whose own text is among their ten nearest held-out texts.
        chance: the same of a random order.
        seconds: wall-clock time of decoding and training.
    """

    n_trained: int
    n_held_out: int
    recall_at_10: float
    chance: float
    seconds: float


def train_patch_tower(
    images: Iterable[bytes | None],
    text: Tensor,
    *,
    config: PatchConfig,
    training: PatchTraining,
    on_progress: OnProgress | None = None,
) -> tuple[PatchTower, PatchReport]:
    """Train an image tower from pictures and texts of the same items.

    Args:
        images: N encoded pictures, each let go once it is decoded; None and undecodable ones are left out.
        text: (N, d) frozen text vectors; a row of zeros, no text, is left out.
        config: shape of the network.
        training: how to train.
        on_progress: told after every step how many pictures of all epochs together are learned from.

    Returns:
        The tower, the same for the same arguments and number of threads, and what training came to.
    """
    started = time.perf_counter()
    draw = torch.Generator().manual_seed(training.seed)
    pixels, text = _pairs(images, text, size=config.size + _MARGIN, draw=draw)
    n_held_out = min(len(pixels) // 10, _MAX_HELD_OUT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        learner = _Learner(config, text[n_held_out:], training=training)
    if len(pixels) < MIN_PAIRS:
        return PatchTower(learner.net), PatchReport(0, 0, 0.0, 0.0, time.perf_counter() - started)
    n_trained = len(pixels) - n_held_out
    for n_done in _train(learner, pixels[n_held_out:], text[n_held_out:], training=training, draw=draw):
        if on_progress is not None:
            on_progress(n_done, training.n_epochs * n_trained)
    recall = _recall_at_10(learner, pixels[:n_held_out], text[:n_held_out])
    seconds = time.perf_counter() - started
    report = PatchReport(n_trained, n_held_out, recall, min(1.0, 10 / n_held_out), seconds)
    return PatchTower(learner.net), report


class _Learner(nn.Module):
    """The network with the two projections into the joint space; `text` (n, d) is what it will learn from."""

    def __init__(self, config: PatchConfig, text: Tensor, *, training: PatchTraining) -> None:
        super().__init__()
        self.net = PatchNet(config)
        self.mean_text = text.mean(0) if len(text) else torch.zeros(text.shape[1])
        self.directions = torch.linalg.svd(text - self.mean_text, full_matrices=False).Vh[: training.text_directions]
        self.of_image = nn.Linear(config.dim, training.joint_dim, bias=False)
        self.of_text = nn.Linear(max(1, len(self.directions)), training.joint_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # 1 / temperature

    def image(self, pixels: Tensor) -> Tensor:
        """(n, 3, size, size) in 0..1 to (n, joint_dim), of length 1."""
        return functional.normalize(self.of_image(self.net(pixels).mean(1)), dim=-1)

    def text(self, vectors: Tensor) -> Tensor:
        """(n, d) to (n, joint_dim), of length 1."""
        return functional.normalize(self.of_text((vectors - self.mean_text) @ self.directions.T), dim=-1)


def contrastive_loss(scores: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE of scores (n, n), where row i belongs to column i.

    Args:
        scores: (n, n) cosines over the temperature.
        same: (n, n) bool, pairs that are no negatives of each other; the diagonal does not matter.
    """
    others = same & ~torch.eye(len(same), dtype=torch.bool)
    scores = scores.masked_fill(others, torch.finfo(scores.dtype).min)
    target = torch.arange(len(scores))
    return (functional.cross_entropy(scores, target) + functional.cross_entropy(scores.T, target)) / 2


def _pairs(images: Iterable[bytes | None], text: Tensor, *, size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, size, size) uint8 and texts (n, d) of items with both, in drawn order."""
    order = torch.randperm(len(text), generator=draw)
    rows, pixels = decode_pictures(images, size)
    place = torch.full((len(text),), -1)
    place[rows] = torch.arange(len(rows))
    both = order[(place[order] >= 0) & text[order].any(1)]
    return pixels[place[both]], text[both]


def _train(
    learner: _Learner, pixels: Tensor, text: Tensor, *, training: PatchTraining, draw: torch.Generator
) -> Iterator[int]:
    """All epochs, one step an iteration; gives the pictures learned from so far, each counted once an epoch."""
    n_done = 0
    n_steps = training.n_epochs * -(-len(pixels) // training.batch_size)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=n_steps, pct_start=_rise(n_steps), cycle_momentum=False
    )
    learner.train()
    for epoch in range(1, training.n_epochs + 1):
        for rows in torch.split(torch.randperm(len(pixels), generator=draw), training.batch_size):
            seen = _augmented(pixels[rows], learner.net.config.size, colour=training.colour, draw=draw)
            loss = _loss(learner, seen, text[rows])
            if not torch.isfinite(loss):
                raise TowerError(
                    f"loss of the image tower is {loss.item()} at epoch {epoch} of {training.n_epochs}, after {n_done} "
                    f"pictures; lower learning_rate={training.learning_rate}"
                )
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            n_done += len(rows)
            yield n_done
    learner.eval()


def _rise(n_steps: int) -> float:
    """Share of the steps over which the rate rises; of few steps more, as OneCycleLR cannot rise within one step."""
    return max(0.1, 1.5 / n_steps) if n_steps > 1 else 0.1


def _loss(learner: _Learner, pixels: Tensor, text: Tensor) -> Tensor:
    centred = functional.normalize(text - learner.mean_text, dim=-1)
    same = centred @ centred.T > _SAME_TEXT
    scale = learner.log_scale.clamp(max=4.6).exp()  # at most 100, as in CLIP
    return contrastive_loss(scale * learner.image(pixels) @ learner.text(text).T, same)


def _augmented(pixels: Tensor, size: int, *, colour: float, draw: torch.Generator) -> Tensor:
    """A random crop, half of them mirrored, with other brightness and contrast: (n, 3, size, size) in 0..1."""
    n = len(pixels)
    corner = torch.randint(0, _MARGIN + 1, (2, n, 1), generator=draw)
    rows, columns = corner + torch.arange(size)  # (n, size) each
    mirrored = torch.rand(n, 1, generator=draw) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    picture = torch.arange(n)[:, None, None]
    cropped = pixels[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float() / 255.0
    brightness, contrast = 1.0 + colour * (2.0 * torch.rand(2, n, 1, 1, 1, generator=draw) - 1.0)
    mean = cropped.mean(dim=(1, 2, 3), keepdim=True)
    coloured: Tensor = (cropped - mean) * contrast + mean * brightness
    return coloured.clamp(0.0, 1.0)


@torch.inference_mode()
def _recall_at_10(learner: _Learner, pixels: Tensor, text: Tensor) -> float:
    size, edge = learner.net.config.size, _MARGIN // 2
    middle = pixels[:, :, edge : edge + size, edge : edge + size].float() / 255.0
    scores = learner.image(middle) @ learner.text(text).T  # (n, n)
    better = (scores > scores.diagonal()[:, None]).sum(1)
    return float((better < 10).float().mean())
