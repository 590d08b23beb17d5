"""What travels and how it travels: event types, topics and the log, dead letters, dataset replay."""
