"""Users' sequences: arrays by partition, snapshots with their offsets, and the role that applies events to them."""
