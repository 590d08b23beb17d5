"""Joins and windows on Kafka: the cores of `stream.windows` in a Faust app, their state in one table."""
