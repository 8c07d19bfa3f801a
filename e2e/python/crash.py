"""kill -9: what the server had accepted when it was killed is not lost."""

import asyncio

from client import NS, Client, bare, equal, is_message, run, server

BOB = bare("bob")


async def answered_and_killed():
    """killed right after the answer: every message of before is there, in order"""
    a = await Client("alice", resource="a").login()
    for i in range(60):
        a.say(BOB, f"number {i}")
    await a.iq("set", f"<query xmlns='jabber:iq:roster'><item jid='{BOB}' name='Bob'/></query>")
    await a.ping()
    await server.ask("kill")
    await a.gone()
    await server.ask("start")
    equal(await waiting(60), [f"number {i}" for i in range(60)], "messages that waited")
    a = await Client("alice", resource="a").login()
    equal((await a.friends())[BOB].get("name"), "Bob", "friend added before the kill")
    await a.logout()


async def killed_in_full_flight():
    """killed at any moment: what a ping behind it confirmed is there, once and in order"""
    a = await Client("alice", resource="a").login()
    confirmed = 0

    async def talk():
        nonlocal confirmed
        for i in range(10_000):
            a.say(BOB, f"number {i}")
            await a.ping()
            confirmed = i + 1
    talking = asyncio.ensure_future(talk())
    while confirmed < 25:
        await asyncio.wait([talking], timeout=0.01)
        assert not talking.done(), talking.exception()
    await server.ask("kill")
    talking.cancel()
    await a.gone()
    await server.ask("start")
    got = await waiting(confirmed)
    assert len(got) >= confirmed, f"{confirmed} were confirmed, {len(got)} arrived"
    equal(got, [f"number {i}" for i in range(len(got))], "messages that waited")


async def waiting(at_least):
    """What bob finds at login."""
    b = await Client("bob", resource="b").login()
    bodies = []
    for _ in range(at_least):
        bodies.append((await b.expect("a message that waited", is_message)).findtext("c:body", None, NS))
    await b.ping()
    bodies += [x.findtext("c:body", None, NS) for x in b.inbox if is_message(x)]
    await b.logout()
    return bodies


run(answered_and_killed, killed_in_full_flight)
