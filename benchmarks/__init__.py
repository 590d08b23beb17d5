"""The measured comparisons, one command each."""
