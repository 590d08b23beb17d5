"""The `freshet` command: reads settings, builds every part in one place, and runs the service or the demo."""
