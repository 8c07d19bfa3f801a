"""SIGTERM: everybody is told, everything that was accepted is still there."""

from client import Client, bare, befriend, equal, run, server


async def told_and_kept():
    """system-shutdown for everyone; messages, friends and requests survive"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b", direct=True).login()
    await befriend(a, b)
    a.say(bare("carol"), "see you after the restart")
    a.send_presence(pto=bare("carol"), ptype="subscribe")
    await a.ping()
    await server.ask("stop")
    for c in a, b:
        await c.gone()
        equal(c.stream_error, "system-shutdown", "stream error")
    await server.ask("start")
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    await a.presence(frm=b.boundjid.full)
    item = (await a.friends())[bare("bob")]
    equal(item.get("subscription"), "both", "friends after the restart")
    c = await Client("carol", resource="c").login()
    await c.message("see you after the restart", a.boundjid.full)
    await c.presence(frm=bare("alice"), typ="subscribe")
    for c in a, b, c:
        await c.logout()


run(told_and_kept)
