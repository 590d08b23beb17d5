"""A small catalogue and a small encoder for the tests of the model rooms."""

import torch

from models.content.table import ContentTable
from models.encoder.config import EncoderConfig
from models.encoder.m2se import M2SE

N_ITEMS = 12


def small_content(n_items: int = N_ITEMS, *, seed: int = 0) -> ContentTable:
    """Items with 1 to 3 text parts and 2 image parts; item-1 has no image, item-2 no text."""
    generator = torch.Generator().manual_seed(seed)
    n_parts = torch.arange(n_items) % 3 + 1
    text_mask = torch.arange(3) < n_parts[:, None]
    image_mask = torch.ones(n_items, 2, dtype=torch.bool)
    if n_items > 2:
        image_mask[1] = False
        text_mask[2] = False
    text = torch.randn(n_items, 3, 6, generator=generator) * text_mask[..., None]
    image = torch.randn(n_items, 2, 5, generator=generator) * image_mask[..., None]
    return ContentTable(tuple(f"item-{n}" for n in range(n_items)), text, text_mask, image, image_mask)


def small_config() -> EncoderConfig:
    return EncoderConfig(text_dim=6, image_dim=5, dim=8, n_layers=2, n_heads=2, inner_dim=16, window=6, n_experts=3)


def small_model(*, n_ids: int = 0, seed: int = 0) -> M2SE:
    torch.manual_seed(seed)
    model = M2SE(small_config(), n_ids=n_ids)
    with torch.no_grad():
        model.ids.normal_(std=0.5)
    return model.eval()


def are_equal(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    """The same weights, bit for bit."""
    return ones.keys() == others.keys() and all(torch.equal(one, others[name]) for name, one in ones.items())
