"""Many objects in little time: kept connections to the API server, a few at once; and its watches as events."""
from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from apiserver import ApiServer

Json = dict[str, Any]
CONNECTIONS = 8
START_ATTEMPTS = 60
IDLE_S = 10


class Bulk:
    def __init__(self, api: ApiServer) -> None:
        self._address = urlsplit(api.url)
        self._token = api.token
        self._context = ssl.create_default_context(cafile=str(api.folder / "pki" / "ca.crt"))
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address.hostname or "", self._address.port, context=self._context,
                                           timeout=60)

    def headers(self, kind: str = "application/json") -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "Content-Type": kind, "Accept": "application/json"}

    def call(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Json:
        """One request on this thread's own connection; a refusal is an error with the server's words."""
        # The server ends a connection that was idle for a while: then another one is made.
        idle = time.monotonic() - getattr(self._local, "used", 0)
        if idle > IDLE_S:
            self._local.connection = self.connection()
        text = json.dumps(body) if body is not None else None
        self._local.connection.request(method, path, text, self.headers(kind))
        answer = self._local.connection.getresponse()
        self._local.used = time.monotonic()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:500].decode(errors='replace')}")
        return json.loads(data)

    def create(self, path: str, objects: Iterable[Json]) -> None:
        for done in [self._pool.submit(self.call, "POST", path, one) for one in objects]:
            done.result()


class Watch:
    """Hands each event of a watch, the present objects first, to `on_event(type, object)` on a thread of its own."""

    def __init__(self, bulk: Bulk, path: str, on_event: Callable[[str, Json], None]) -> None:
        self._bulk = bulk
        self._path = path
        self._on_event = on_event
        self._version = "0"
        self.error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _lines(self) -> Iterator[bytes]:
        """Of one watch, until the server ends it, as it does with a reader that falls behind."""
        connection = self._bulk.connection()
        joint = "&" if "?" in self._path else "?"
        connection.timeout = 7200
        for _ in range(START_ATTEMPTS):
            connection.request("GET", f"{self._path}{joint}watch=1&resourceVersion={self._version}&timeoutSeconds=7200",
                               None, self._bulk.headers())
            answer = connection.getresponse()
            if answer.status != 429:
                break
            answer.read()  # the server's cache of a new resource is not filled yet
            time.sleep(0.5)
        if answer.status != 200:
            raise RuntimeError(f"watch of {self._path}: {answer.status}")
        while line := answer.readline():
            yield line

    def _run(self) -> None:
        try:
            while True:
                for line in self._lines():
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # the version is too old: everything anew
                        self._version = "0"
                        break
                    self._version = event["object"]["metadata"]["resourceVersion"]
                    self._on_event(event["type"], event["object"])
        except Exception as error:  # noqa: BLE001: the main thread asks for it
            self.error = error
