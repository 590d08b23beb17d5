"""Joins and windows as pure cores over plain data: the embedded runner and the Faust app run the same ones."""
