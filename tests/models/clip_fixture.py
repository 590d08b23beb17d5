"""A CLIP of random weights, as small as one can be."""

import json
import string
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging as transformers_logging

SIZE = 32  # pixels on a side
MEAN, DEVIATION = 0.4, 0.3


def write_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    transformers_logging.disable_progress_bar()
    torch.manual_seed(seed)
    letters = string.ascii_lowercase
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    half = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    config = CLIPConfig(
        text_config={**half, **ends, "vocab_size": len(tokens), "max_position_embeddings": 12},
        vision_config={**half, "image_size": SIZE, "patch_size": 8},
        projection_dim=8,
    )
    model = CLIPModel(config)
    with torch.no_grad():  # small random weights see all pictures alike
        for parameter in model.parameters():
            parameter.mul_(5.0) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 12}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [MEAN] * 3,
        "image_std": [DEVIATION] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
