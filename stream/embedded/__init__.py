"""The embedded log: one SQLite file with the semantics of Kafka."""
