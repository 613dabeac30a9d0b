"""Drives an agent with serfio. Arguments: host, port, token. Prints one JSON line for each step."""

import asyncio
import json
import sys

import serfio


def tell(step, value):
    def plain(item):
        if isinstance(item, bytes):
            return item.hex()
        if isinstance(item, dict):
            return {key: plain(item[key]) for key in sorted(item)}
        if isinstance(item, list):
            return [plain(one) for one in item]
        return item

    print(json.dumps([step, plain(value)]), flush=True)


async def answer(client, record):
    # serfio gives the header's and the body's values; the body of a query names its number.
    await client.respond(record["ID"], b"an answer")


async def main(host, port, token):
    async with await serfio.connect(host, int(port), token) as client:
        tell("members", await client.members())
        tell("filtered", await client.members_filtered(name="a", status="alive"))
        tell("nobody", await client.members_filtered(name="nobody"))
        tell("tags", await client.tags(tags={"role": "db"}))
        tell("filtered by tag", await client.members_filtered(tags={"role": "d.*"}))
        try:
            await client.event("x" * 600)
        except serfio.serf.SerfError as error:
            tell("too large", str(error))
    watcher = await serfio.connect(host, int(port), token)
    stream = watcher.stream("user,query")
    begun = asyncio.ensure_future(anext(stream))
    async with await serfio.connect(host, int(port), token) as client:
        # The stream is open once the call returns; events before that are lost.
        while not begun.done():
            await client.event("begin")
            await asyncio.sleep(0.1)
        await client.event("deploy", b"payload")
        while (record := await anext(stream))["Name"] != "deploy":
            pass
        del record["LTime"]
        tell("event", record)

        async def respond():
            async with await serfio.connect(host, int(port), token):
                asked = await anext(stream)
                tell("asked", {key: asked[key] for key in ("Event", "Name", "Payload")})
                await answer(watcher, asked)

        responding = asyncio.ensure_future(respond())
        async for record in client.query("question", b"why", timeout=3_000_000_000):
            tell("answer", record)
        await responding
    try:
        async with await serfio.connect(host, int(port), "wrong") as client:
            await client.members()
    except Exception as error:  # serfio has several
        tell("wrong token", type(error).__name__)


asyncio.run(main(*sys.argv[1:]))
