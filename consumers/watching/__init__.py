"""Watching: every event predicted before it is applied."""
