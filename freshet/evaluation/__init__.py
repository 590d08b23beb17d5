"""`freshet evaluate`: models compared on a data set, offline, by one protocol."""
