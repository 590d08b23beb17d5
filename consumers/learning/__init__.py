"""Learning: the training buffer, what a cycle takes from it, the cycle itself, and the trainer's process."""
