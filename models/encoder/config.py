"""Hyper-parameters. Each dataclass checks itself and is saved with the weights it made."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of M2SE that do not depend on the content towers. Defaults are MP4SR's (arXiv 2303.11879, section 5.1).

    Args:
        dim: Model width D.
        n_layers: Transformer blocks.
        n_heads: Attention heads.
        inner_dim: Width inside a block's feed-forward.
        window: Positions L the encoder sees at most.
        n_experts: Experts E of each modality's adaptor.
        dropout: Share dropped inside experts and blocks.
        temperature: Divides the cosine scores.
    """

    dim: int = 64
    n_layers: int = 2
    n_heads: int = 2
    inner_dim: int = 256
    window: int = 50
    n_experts: int = 8
    dropout: float = 0.2
    temperature: float = 0.07

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work, naming the value."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < 1:
                raise ValueError(f"{field.name}={value} must be at least 1")
        if self.dim % self.n_heads:
            raise ValueError(f"dim={self.dim} must be divisible by n_heads={self.n_heads}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.temperature <= 0.0:
            raise ValueError(f"temperature={self.temperature} must be positive")


MIN_TIME_BUCKETS = 3  # nothing before, the same second, later
TIME_BUCKETS = 32  # usual: the last from 2**29 seconds on, 17 years


@dataclass(frozen=True, kw_only=True)
class TimedShape(Shape):
    """Sizes of M2SE where it may read times, too.

    Args:
        n_time_buckets: Buckets of the time since the event before (`time_gaps.py`); None to read no times.
        time_dropout: Share of the sequences whose times training hides.
    """

    n_time_buckets: int | None = None
    time_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse too few buckets."""
        super().__post_init__()
        if self.n_time_buckets is not None and self.n_time_buckets < MIN_TIME_BUCKETS:
            raise ValueError(f"n_time_buckets={self.n_time_buckets} must be None or at least {MIN_TIME_BUCKETS}")
        check_shares(self, "time_dropout")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(TimedShape):
    """Everything that decides M2SE's weights' shapes; saved with them.

    Args:
        text_dim: Width of one text part as the text tower gives it.
        image_dim: Width of one image part as the image tower gives it.
    """

    text_dim: int
    image_dim: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote; unknown names are an error, not ignored."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown encoder settings {sorted(unknown)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """How any neural model is trained, step by step.

    Args:
        batch_size: Windows per step.
        weight_decay: Decoupled weight decay of AdamW.
        clip_norm: Largest gradient norm.
        warmup_share: Share of a phase's steps over which the learning rate rises; then it falls linearly to 0.
        seed: Of everything drawn.
    """

    batch_size: int = 128
    weight_decay: float = 1e-2
    clip_norm: float = 5.0
    warmup_share: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming value and range."""
        check_shares(self, "warmup_share")
        check_positive(self, "clip_norm")
        check_not_negative(self, "weight_decay")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StepConfig):
    """How M2SE is trained: one pretraining phase, then one fine-tuning phase.

    Deviations from MP4SR's recipe (section 5.1: Adam, rates of 1e-3 or 1e-4, batches of 1,024, stopped by Recall@20
    with a patience of 20): AdamW with a decay of 1e-2, 4e-3 in fine-tuning, batches of 128 windows, rates that rise and
    fall linearly, two epochs of pretraining, fine-tuning stopped by NDCG@10 with a patience of 5 (`StoppingConfig`).

    Args:
        pretrain_epochs: Passes with the two contrastive objectives.
        finetune_epochs: Passes with the next-item softmax over the catalogue.
        pretrain_lr: Peak learning rate of pretraining.
        finetune_lr: Peak learning rate of fine-tuning.
        max_mixup: Complementary mixup swaps a share p ~ U(0, max_mixup) of the positions.
        max_item_drop: Random item drop removes a share ~ U(0, max_item_drop); the first item stays.
        msnip_weight: Of the next-item terms of pretraining; 1 in the paper, 0 to do without them.
        msnip_logq: Whether a batch's items count as negatives by how likely a batch holds them; not so in the paper.
        cmcl_weight: lambda of the cross-modality term.
        id_dropout: Share of items a step sees without their ID, so that content alone also works.
        distillation_weight: Pull towards the previous model's predictions (0 where there is none).
        n_sampled: Items drawn a step as fine-tuning's negatives, for catalogues too large for the softmax over all
            (see `sampling.py`); 0 takes all up to `sampling.MAX_ITEMS`, and from there on `sampling.N_DRAWS`.
    """

    pretrain_epochs: int = 2
    finetune_epochs: int = 8
    pretrain_lr: float = 1e-3
    finetune_lr: float = 4e-3
    max_mixup: float = 0.5
    max_item_drop: float = 0.2
    msnip_weight: float = 1.0
    msnip_logq: bool = False
    cmcl_weight: float = 0.01
    id_dropout: float = 0.1
    distillation_weight: float = 0.0
    n_sampled: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming value and range."""
        super().__post_init__()
        check_shares(self, "max_mixup", "max_item_drop", "id_dropout")
        check_positive(self, "pretrain_lr", "finetune_lr")
        check_not_negative(self, "msnip_weight", "cmcl_weight", "distillation_weight")
        if self.n_sampled < 0:
            raise ValueError(f"n_sampled={self.n_sampled} must be 0 or more")
        if min(self.pretrain_epochs, self.finetune_epochs) < 0:
            raise ValueError(
                f"epochs must not be negative: pretrain={self.pretrain_epochs}, finetune={self.finetune_epochs}"
            )


@dataclass(frozen=True, kw_only=True)
class StoppingConfig:
    """How the fine-tuning of a first model is stopped by events held out of it (`models/held_out.py`).

    Args:
        max_epochs: Of fine-tuning at most; the learning rate falls to 0 over so many.
        patience: Epochs without a better validation score after which it stops.
        max_share: Share of the users who give up their last event, at most.
        max_held_out: Events held out at most; bounds what a score costs.
        min_held_out: With fewer, nothing is held out and the number of epochs is the fixed one.
    """

    max_epochs: int = 20
    patience: int = 5
    max_share: float = 0.1
    max_held_out: int = 2_000
    min_held_out: int = 50

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming value and range."""
        check_shares(self, "max_share")
        for name in ("max_epochs", "patience", "max_held_out", "min_held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def check_shares(config: object, *names: str) -> None:
    """Refuse named settings outside [0, 1)."""
    for name in names:
        if not 0.0 <= getattr(config, name) < 1.0:
            raise ValueError(f"{name}={getattr(config, name)} must lie in [0, 1)")


def check_positive(config: object, *names: str) -> None:
    """Refuse named settings that are not above 0."""
    for name in names:
        if not getattr(config, name) > 0.0:
            raise ValueError(f"{name}={getattr(config, name)} must be above 0")


def check_not_negative(config: object, *names: str) -> None:
    """Refuse named settings below 0."""
    for name in names:
        if not getattr(config, name) >= 0.0:
            raise ValueError(f"{name}={getattr(config, name)} must not be negative")
