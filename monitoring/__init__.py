"""Monitoring: what the roles count and time, and how they log. Knows no log, no model, no HTTP."""
