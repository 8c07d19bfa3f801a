"""Client state indication (XEP-0352), also across a resumption."""

from client import NS, Client, bare, befriend, equal, is_presence, run, server
from managed import Managed

BOB = bare("bob")


async def quiet_while_inactive():
    """presence waits, a message does not, and the latest presence comes before it"""
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await befriend(a, b)
    b["xep_0352"].send_inactive()
    await b.ping()
    for show in "away", "xa", "dnd":
        a.send_presence(pshow=show)
    await a.ping()
    await b.acked()
    assert not b.has(lambda x: is_presence(x, a.boundjid.full)), "presence for a client that nobody looks at"
    a.say(BOB, "wake up")
    await b.message("wake up")
    equal([x.findtext("c:show", None, NS) for x in b.inbox if is_presence(x, a.boundjid.full)], ["dnd"], "presence")
    b.inbox.clear()

    a.send_presence(pshow="away")
    await a.ping()
    b["xep_0352"].send_active()
    equal((await b.presence(a.boundjid.full)).findtext("c:show", None, NS), "away", "presence when active again")
    await a.logout()
    await b.presence(a.boundjid.full, "unavailable")
    await b.logout()


async def active_after_resumption():
    """a client that resumes is active: what waited comes (section 5)"""
    a = await Client("alice", resource="a").login()
    b = await Managed("bob", "b").login()
    await b.presence(a.boundjid.full)
    b["xep_0352"].send_inactive()
    await b.acked()
    a.send_presence(pshow="away")
    await a.ping()
    await server.ask("cut")
    await b.vanish()
    a.send_presence(pshow="dnd")
    await a.ping()
    await b.resume()
    equal((await b.presence(a.boundjid.full)).findtext("c:show", None, NS), "dnd", "presence after the resumption")
    a.send_presence(pshow="xa")
    equal((await b.presence(a.boundjid.full)).findtext("c:show", None, NS), "xa", "presence of an active client")
    await a.logout()
    await b.logout()


run(quiet_while_inactive, active_after_resumption)
