"""The fast memory on the log: one role learns it from every event, other processes follow the rows it publishes."""
