"""The Faust app of the joins: `faust -A stream.worker worker -l info`.

Settings come from the environment, see `stream.worker_settings`. The app is built when Faust asks for it.
"""

from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a Faust app, and Faust has no types
    """The app, as Faust looks it up.

    Raises:
        AttributeError: for any other name.
        BadWorkerSettings: a variable cannot be used.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stream.worker_settings import WorkerSettings  # noqa: PLC0415 - importing this module does nothing
    from stream.workers.app import make_app  # noqa: PLC0415

    app = make_app(WorkerSettings.from_environment())
    globals()["app"] = app
    return app
