"""A data set replayed as a stream: readers of four formats, and the player that publishes them in the order of time."""
