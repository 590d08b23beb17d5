"""Torch only: content towers, the M2SE sequence encoder, its objectives, training, evaluation, registry, ranker."""
