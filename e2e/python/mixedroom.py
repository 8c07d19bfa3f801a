"""One of three clients in a room, the others being profanity and Converse.js: invites the latter, and sees and is told all."""

import asyncio

from client import DOMAIN, Client, bare, equal, run

ROOM = f"feast@conference.{DOMAIN}"
MUC = "{http://jabber.org/protocol/muc#user}"


def codes(presence):
    return {s.get("code") for s in presence.iter(f"{MUC}status")}


async def third_of_three():
    """invites by the room, and leaves when the others have gone"""
    c = Client("carol", resource="r")
    c.register_plugin("xep_0045")
    await c.login()
    room = c.plugin["xep_0045"]
    joined = room.join_muc(ROOM, "Carol")
    if asyncio.iscoroutine(joined):
        await joined
    own = await c.presence(frm=f"{ROOM}/Carol")
    assert "110" in codes(own), f"status codes {codes(own)}"
    await c.message("Welcome, Carol", frm=f"{ROOM}/Alice", typ="groupchat")
    room.invite(ROOM, bare("bob"), reason="there is cake")

    await c.message("Bob is here & <hungry>", frm=f"{ROOM}/Bob", typ="groupchat")
    c.send_message(mto=ROOM, mbody="There is cake & tea", mtype="groupchat")
    subject = await c.expect("the subject", lambda x: x.findtext("{jabber:client}subject") == "Cake at five")
    equal((subject.get("from"), subject.get("type")), (f"{ROOM}/Alice", "groupchat"), "who set the subject, and how")
    renamed = await c.presence(frm=f"{ROOM}/Bob", typ="unavailable")
    assert "303" in codes(renamed), f"status codes {codes(renamed)}"
    await c.presence(frm=f"{ROOM}/Robert")
    equal(set(room.get_roster(ROOM)), {"Alice", "Robert", "Carol"}, "who the plugin believes to be there")
    gone = await c.presence(frm=f"{ROOM}/Robert", typ="unavailable")
    assert "307" in codes(gone), f"status codes {codes(gone)}"
    c.send_message(mto=ROOM, mbody="More cake for us", mtype="groupchat")
    await c.message("Bye, Carol", frm=f"{ROOM}/Alice", typ="groupchat")
    room.leave_muc(ROOM, "Carol")
    await c.presence(frm=f"{ROOM}/Carol", typ="unavailable")
    await c.logout()


run(third_of_three)
