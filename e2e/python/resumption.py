"""Stream management (XEP-0198): nothing is lost, doubled or out of order when
connections break, and nobody else notices. What the client itself sent into a
dead connection is for node/resumption.js: slixmpp 1.8 forgets it when it resumes."""

from client import NS, Client, bare, befriend, equal, is_message, is_presence, run, server
from managed import Managed

ALICE, BOB = bare("alice"), bare("bob")
GAP = 30  # messages that are sent while one is away


async def acknowledged():
    """every stanza is acknowledged"""
    a = await Managed("alice", "a").login()
    for i in range(20):
        a.say(BOB, f"number {i}")
    await a.ping()
    a.inbox.clear()  # of earlier acknowledgements
    await a.acked()
    assert not a.sm.unacked_queue, f"not acknowledged: {a.sm.unacked_queue}"
    await a.logout()
    b = await Client("bob", resource="b").login()
    await in_order(b, 20)
    await b.logout()


async def friends():
    """for what follows"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    await befriend(a, b)
    await a.logout()
    await b.logout()


async def cut():
    """the connection is reset, several times"""
    await through_a_gap(breaks="cut", times=3)


async def black_hole():
    """nothing gets through and the server does not know that the client has gone"""
    await through_a_gap(breaks="hold", times=3)


async def through_a_gap(breaks, times):
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await a.presence(frm=b.boundjid.full)
    for _ in range(times):
        a.say(BOB, "before")
        await b.message("before")
        await server.ask(breaks)
        await b.vanish()
        for i in range(GAP):
            a.say(BOB if i % 2 else b.boundjid.full, f"number {i}")
        await a.ping()
        await b.resume()
        await in_order(b, GAP)
        b.say(ALICE, "I was away")
        await a.message("I was away", b.boundjid.full)
    assert not a.has(lambda x: is_presence(x, b.boundjid.full)), "the friend saw the gap"
    assert not a.has(lambda x: is_presence(x, b.boundjid.full, "unavailable")), "the friend saw the gap"
    await a.logout()
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await b.logout()


async def server_restarts():
    """the server stops in order and starts again: the session goes on"""
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await a.presence(frm=b.boundjid.full)
    a.say(BOB, "before")
    await b.message("before")
    await server.ask("stop")
    for c in a, b:
        await c.gone()
        equal(c.stream_error, "system-shutdown", "stream error")
    await server.ask("start")
    a = await Client("alice", resource="a").login()
    await a.presence(frm=b.boundjid.full)
    for i in range(GAP):
        a.say(BOB if i % 2 else b.boundjid.full, f"number {i}")
    await a.ping()
    await b.resume()
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await b.presence(frm=a.boundjid.full)
    await in_order(b, GAP)
    b.say(ALICE, "I was away")
    await a.message("I was away", b.boundjid.full)
    assert not a.has(lambda x: is_presence(x, b.boundjid.full)), "the friend saw the gap"
    await a.logout()
    await b.logout()


async def server_restarts_meanwhile():
    """a gap in which the server, which does not know of it, stops and starts"""
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await a.presence(frm=b.boundjid.full)
    a.say(BOB, "before")
    await b.message("before")
    b.sm.send_ack()
    await b.ping()
    await server.ask("hold")
    await b.vanish()
    for i in range(GAP):
        a.say(BOB, f"number {i}")
    await a.ping()
    await server.ask("stop")
    await a.gone()
    await server.ask("start")
    await b.resume()
    await in_order(b, GAP)
    await b.logout()


async def server_dies():
    """without warning: the session cannot be resumed, and the client begins another one"""
    b = await Managed("bob", "b").login()
    await server.ask("kill")
    await b.gone()
    await server.ask("start")
    assert await b.attempt(), "no login after the restart"
    assert b.refused.is_set() and not b.resumed.is_set(), "resumed what nobody knows"
    b.send_presence()
    await b.presence(frm=b.boundjid.full)
    a = await Client("alice", resource="a").login()
    for i in range(GAP):
        a.say(BOB, f"number {i}")
    await in_order(b, GAP)
    await a.logout()
    await b.logout()


async def client_never_returns():
    """another client of the user takes over what one that died left, once"""
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await a.presence(frm=b.boundjid.full)
    await server.ask("hold")
    await b.vanish()
    for i in range(GAP):
        a.say(BOB, f"number {i}")
    await a.ping()
    again = await Client("bob", resource="b").login()  # of the same resource: the old session ends
    await in_order(again, GAP)
    await again.logout()
    await a.logout()


async def in_order(c, count):
    """number 0 to count-1 arrive, in order, and no other message."""
    bodies = [(await c.expect("a message", is_message)).findtext("c:body", None, NS) for _ in range(count)]
    equal(bodies, [f"number {i}" for i in range(count)], f"what {c.boundjid.full} received")
    await c.ping()
    assert not c.has(is_message), f"{c.boundjid.full} received more: {c.inbox}"


run(acknowledged, friends, cut, black_hole, server_restarts, server_restarts_meanwhile, server_dies, client_never_returns)
