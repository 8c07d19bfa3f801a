"""Rooms (XEP-0045) by slixmpp's own plugin: entering, talking, being kicked."""

import asyncio

from client import DOMAIN, NS, PATIENCE, Client, equal, is_message, run

ROOM = f"verona@conference.{DOMAIN}"
MUC = "{http://jabber.org/protocol/muc#user}"


async def enter(client, nick):
    """by the plugin, which waits for the presence of its own that ends the list"""
    room = client.plugin["xep_0045"]
    joined = asyncio.ensure_future(client.expect(
        "own presence", lambda x: x.get("from") == f"{ROOM}/{nick}" and x.find(f"{MUC}x/{MUC}status[@code='110']") is not None))
    result = room.join_muc(ROOM, nick)
    if asyncio.iscoroutine(result):
        await result
    await joined


def codes(presence):
    return {s.get("code") for s in presence.iter(f"{MUC}status")}


async def conversation():
    """two in a room hear each other, and one is kicked"""
    clients = []
    for user in "alice", "bob":
        c = Client(user, resource="r")
        c.register_plugin("xep_0045")
        clients.append(await c.login())
    a, b = clients
    await enter(a, "Alice")
    await a.iq("set", f"<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=ROOM)
    await enter(b, "Bob")
    for c, words in ((a, "hello Bob"), (b, "hello Alice")):
        c.send_message(mto=ROOM, mbody=words, mtype="groupchat")
        for other in clients:
            await other.message(words, typ="groupchat")
    equal(set(b.plugin["xep_0045"].get_roster(ROOM)), {"Alice", "Bob"}, "who the plugin believes to be there")

    kicked = a.plugin["xep_0045"].set_role(ROOM, "Bob", "none")
    if asyncio.iscoroutine(kicked) or asyncio.isfuture(kicked):
        await asyncio.wait_for(kicked, PATIENCE)
    for c in clients:
        gone = await c.presence(frm=f"{ROOM}/Bob", typ="unavailable")
        assert "307" in codes(gone), f"status codes {codes(gone)}"
    b.send_message(mto=ROOM, mbody="am I in?", mtype="groupchat")
    await b.message(frm=ROOM, typ="error")
    await a.ping()
    assert not a.has(lambda x: is_message(x, "am I in?")), "who was kicked speaks on"
    for c in clients:
        await c.logout()


run(conversation)
