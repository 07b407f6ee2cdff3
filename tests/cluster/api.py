"""A client of the cluster's API server, just large enough for setting the cluster up and asking for its state."""
from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request

import layout
from layout import ClusterError


def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=str(layout.pki_dir() / "ca.crt"))
    context.load_cert_chain(str(layout.pki_dir() / "admin.crt"), str(layout.pki_dir() / "admin.key"))
    # The caller's proxy settings are for the outside world.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def call(method: str, path: str, body: dict | None = None, kind: str = "application/json", seconds: float = 10) -> dict:
    """One request; a refusal is an error that holds the server's words."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(layout.API_URL + path, data=data, method=method, headers={"Content-Type": kind})
    try:
        with _opener().open(request, timeout=seconds) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise ClusterError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"{method} {path}: {error}; is the API server up? See `status`") from None
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text.decode(errors="replace")}


def healthy() -> bool:
    try:
        return call("GET", "/readyz", seconds=2).get("text") == "ok"
    except ClusterError:
        return False


def apply(path: str, body: dict) -> dict:
    """Server-side apply: makes the object or brings it back to this form."""
    return call("PATCH", f"{path}/{body['metadata']['name']}?fieldManager=regroup-cluster&force=true", body,
                "application/apply-patch+yaml")


def items(path: str) -> list[dict]:
    return call("GET", path)["items"]


def plain_ok(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether a component's own health address answers 200."""
    handlers = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=1) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


def unverified() -> ssl.SSLContext:
    """For health addresses on the loopback, whose certificates are made up at each start."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
