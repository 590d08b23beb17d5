"""A data set replayed as a stream, in event time: readers of four formats, and the player that publishes them."""
