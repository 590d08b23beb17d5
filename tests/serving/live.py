"""The app behind a real uvicorn on a free loopback port."""

import dataclasses
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from serving.app import create_app
from tests.serving.world import DEADLINE_S, World
from tests.waiting import wait_until


@contextmanager
def serve(world: World, keys: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve the world's app, behind keys if there are any; yields its address."""
    # asyncio turns Nagle's delay off only where the protocol is named; without it each answer waits 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    parts = dataclasses.replace(world.parts(), keys=keys or {})
    config = uvicorn.Config(create_app(parts), log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn answers")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()
