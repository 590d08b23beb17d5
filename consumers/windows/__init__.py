"""Joins and windows in the runner: exposures to outcomes, counts by arm, and what workers count elsewhere."""
