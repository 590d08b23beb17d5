"""M2SE: the encoder, its objectives, its training, and the step from one model to the next."""
