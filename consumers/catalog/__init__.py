"""The catalogue: items as they are now, placed in the model that answers, and the models as they are swapped in."""
