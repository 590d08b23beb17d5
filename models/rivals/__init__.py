"""Plain rivals that learn from every event: what our model has to beat, judged on the same events."""
