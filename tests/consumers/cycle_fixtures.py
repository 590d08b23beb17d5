"""A tiny shop in a training buffer, and settings that train on it in a second."""

import threading
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from consumers.learning.cycle import Cycle
from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_settings import CycleSettings, Folders
from consumers.learning.plan import Plan
from consumers.learning.training_buffer import TrainingBuffer
from models.encoder.config import TrainingConfig
from models.encoder.succession import Shape
from models.gate import GateConfig
from models.registry.registry import Registry
from models.towers.building import TowerConfig
from stream.images import ImageStore
from tests.models.tower_fixtures import noisy_picture

N_USERS = 20
N_ITEMS = 30  # a user comes round after 600 events
WORDS = ("red shoe", "blue shirt", "green lamp", "old chair")
LOG_ID = "log-1"
NEVER = threading.Event()


class Shop:
    """Users walk through the items in a circle; everything lies on partition 0."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.buffer = TrainingBuffer(root / "segments", LOG_ID)
        self.images = ImageStore(root / "images")
        self.registry = Registry(root / "registry")

    @property
    def n_events(self) -> int:
        """Next offset of `events`."""
        return self.buffer.next_offset("events", 0)

    def add_items(self, start: int, end: int, *, more_text: str = "") -> None:
        """Items `item-<start>` and on; every fourth has a picture."""
        first = self.buffer.next_offset("items", 0)
        rows = []
        for number in range(start, end):
            image = self.images.put(noisy_picture(number)) if number % 4 == 0 else None
            text = f"{WORDS[number % 4]} number {number}"
            place = (0, first + number - start)
            rows.append((f"item-{number}", 1_000, False, text, text + more_text, image, "{}", None, None, *place))
        self.buffer.append("items", rows, {0: first + len(rows)})

    def add_events(self, n: int, *, n_items: int = N_ITEMS, kind: str = "click") -> None:
        """The next events; each of the users goes one item on in turn."""
        first = self.n_events
        rows = []
        for offset in range(first, first + n):
            user, step = offset % N_USERS, offset // N_USERS
            item = f"item-{(user + step) % n_items}"
            rows.append((f"e{offset}", f"user-{user}", item, 60_000 * offset, kind, None, 0, offset))
        self.buffer.append("events", rows, {0: first + n})

    def settings(self) -> CycleSettings:
        folders = Folders(
            buffer=self.root / "segments",
            registry=self.root / "registry",
            features=self.root / "features",
            images=self.root / "images",
            work=self.root / "trainer",
        )
        return CycleSettings(
            folders=folders,
            log_id=LOG_ID,
            sequence_kinds={"click": True},
            first_events=200,
            cycle_events=60,
            cycle_s=600.0,
            min_cycle_events=20,
            holdout_share=0.2,
            gate_wait_s=0.0,
            first=TrainingConfig(pretrain_epochs=1, finetune_epochs=2, batch_size=16),
            cycle=TrainingConfig(
                pretrain_epochs=1, finetune_epochs=1, batch_size=16, finetune_lr=1e-3, distillation_weight=0.5
            ),
            shape=Shape(dim=8, n_layers=1, n_heads=2, inner_dim=16, window=6, n_experts=2),
            towers=TowerConfig(text="tfidf"),
            gate=GateConfig(margin=0.5, min_events=10),
            first_threads=1,
        )

    def lenient(self) -> CycleSettings:
        """A gate that lets nearly everything pass."""
        return replace(self.settings(), gate=GateConfig(margin=0.99, min_events=1))

    def plan(self, number: int = 1, *, parent: str | None = None, to: int | None = None, n_fresh: int = 0) -> Plan:
        return Plan(number=number, parent=parent, offsets={0: self.n_events if to is None else to}, n_fresh=n_fresh)

    def weights(self, version: str) -> dict[str, torch.Tensor]:
        return load_file(self.registry.open(version).weights)


class Reports(list[CycleEvent]):
    """What a cycle said."""

    @property
    def states(self) -> list[str]:
        return [event.state for event in self]

    @property
    def details(self) -> list[str]:
        return [event.detail for event in self]


def run(settings: CycleSettings, plan: Plan, reports: list[CycleEvent] | None = None) -> CycleEvent:
    """A cycle to its end, as the trainer runs it."""
    cycle = Cycle(settings, plan, (Reports() if reports is None else reports).append)
    ended = cycle.run(NEVER)
    cycle.forget()
    return ended


def new_shop(root: Path) -> Shop:
    shop = Shop(root)
    shop.add_items(0, N_ITEMS)
    shop.add_events(300)
    return shop


def next_plan(shop: Shop, parent: str, *, number: int = 2) -> Plan:
    """All events so far; what comes afterwards is to judge by."""
    plan = shop.plan(number, parent=parent, n_fresh=100)
    shop.add_events(60)
    return plan


class Killed(BaseException):
    """What a kill looks like from inside."""


class KilledAfter(Reports):
    """Takes reports until one says so."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self._detail = detail

    def append(self, event: CycleEvent) -> None:
        super().append(event)
        if event.detail.startswith(self._detail):
            raise Killed
