"""A proxy before an object store, on loopback, that does now and then what object stores do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
HOP_HEADERS = {"connection", "content-encoding", "content-length", "transfer-encoding", "expect"}


@dataclass
class FlakyProxy:
    """Answers 503 to every ``refuse_every``-th request and drops every ``drop_every``-th."""

    upstream: str
    refuse_every: int = 5
    drop_every: int = 17
    forbid: bool = False
    requests: int = 0
    refused: int = 0
    dropped: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, or do not."""
        self.requests += 1
        body = await request.read()
        if self.forbid:
            return web.Response(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
        if self.drop_every and self.requests % self.drop_every == 0:
            self.dropped += 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.refuse_every and self.requests % self.refuse_every == 0:
            self.refused += 1
            return web.Response(status=503, body=SLOW_DOWN, content_type="application/xml")
        # The signature is over the path as it was sent.
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_HEADERS}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.upstream + request.raw_path, data=body, headers=headers
            ) as answer,
        ):
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@contextlib.contextmanager
def flaky_proxy(upstream: str, **options: int) -> Iterator[FlakyProxy]:
    """Yield the proxy, run in a thread, for one test."""
    proxy = FlakyProxy(upstream, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
