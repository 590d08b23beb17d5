"""The roles that read the log, one file a role, and the runner for all of them."""
