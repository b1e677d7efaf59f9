"""Scoring a pool from a late object store, compared with fetching it and with scoring it.

An S3 endpoint on loopback (moto's server) is put behind a proxy, a process of its own, that answers
each request late. Fetching alone is one read of the whole array by Zarr, with as many requests at
once as it makes by itself. The ratio is to the greater of fetching alone and scoring alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import zarr

import daskal
from benchmarks import data, timing

NUM_CHUNKS, NUM_CLASSES = 100, 100
CHUNK_ROWS, SMALL_CHUNK_ROWS = 5_000, 50
LATENCY = 0.05
BUCKET = "benchmark"
START_SECONDS = 30.0
HOP_HEADERS = {"connection", "content-encoding", "content-length", "transfer-encoding", "expect"}


async def serve_late(upstream: str, port: int, latency: float) -> None:
    """Pass requests on to another endpoint, each after some seconds; objects are kept."""
    import aiohttp
    from aiohttp import web

    kept: dict[tuple[str, str], dict[str, Any]] = {}

    def without_hops(headers: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in headers.items() if name.lower() not in HOP_HEADERS}

    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(latency)
        key = (request.raw_path, request.headers.get("Range", ""))
        if request.method == "GET" and key in kept:
            return web.Response(**kept[key])
        async with session.request(
            request.method,
            upstream + request.raw_path,
            data=await request.read(),
            headers=without_hops(request.headers),
        ) as answer:
            headers = without_hops(answer.headers)
            if request.method == "HEAD":
                headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            found = {"status": answer.status, "body": await answer.read(), "headers": headers}
        if request.method == "GET" and answer.status < 300:
            kept[key] = found
        return web.Response(**found)

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


@contextlib.contextmanager
def process(*command: str, port: int) -> Iterator[str]:
    """Run a server in a process of its own; yield its URL."""
    server = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def late_endpoint() -> Iterator[str]:
    """Yield the URL of an S3 endpoint that answers late."""
    first, second = free_port(), free_port()
    with (
        process("moto.server", "-H", "127.0.0.1", "-p", str(first), port=first) as upstream,
        process("benchmarks.overlap", "--late", upstream, str(second), port=second) as url,
    ):
        yield url


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--late", nargs=2, metavar=("URL", "PORT"), help="only be the proxy")
    options = parser.parse_args(argv)
    if options.late:
        asyncio.run(serve_late(options.late[0], int(options.late[1]), LATENCY))
    chunk_rows = SMALL_CHUNK_ROWS if options.small else CHUNK_ROWS
    num_rows = NUM_CHUNKS * chunk_rows
    labels, probs = data.make_labeled(0, 5_000, 50, NUM_CLASSES)
    estimate = daskal.estimate(labels, probs)
    pool = data.make_probs(np.random.default_rng(1), num_rows, NUM_CLASSES).astype(np.float32)
    with late_endpoint() as url:
        storage_options = {"key": "a", "secret": "b", "endpoint_url": url}
        import s3fs

        s3fs.S3FileSystem(**storage_options).mkdir(BUCKET)
        path = f"s3://{BUCKET}/pool.zarr"
        stored = zarr.create_array(
            path, shape=pool.shape, dtype=pool.dtype, chunks=(chunk_rows, NUM_CLASSES),
            storage_options=storage_options,
        )  # fmt: skip
        stored[:] = pool
        in_memory = daskal.score_unlabeled(pool, estimate)
        lazy = daskal.score_unlabeled(path, estimate, storage_options=storage_options)
        opened = zarr.open_array(path, mode="r", storage_options=storage_options)
        times = timing.interleave(
            {
                "daskal": lazy.compute,
                "fetching": lambda: opened[:],
                "scoring": in_memory.compute,
            },
            1 if options.small else options.repeats,
        )
        np.testing.assert_array_equal(lazy.compute(), in_memory.compute())
    alone = max(("fetching", "scoring"), key=times.median)
    row = [
        f"pool of {NUM_CHUNKS} chunks, {LATENCY * 1e3:.0f} ms a request, U = {num_rows:,}, K = 100",
        *(timing.show_seconds(times.median(name)) for name in times.runs),
        f"{times.ratio('daskal', alone).wall:.3g}",
        "at most 1.2",
    ]
    header = ("work", *times.runs, "ratio to the greater", "target")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, [row])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
