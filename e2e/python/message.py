"""Messages: delivery by RFC 6121 section 8.5, offline storage (XEP-0160)."""

from client import DOMAIN, NS, Client, bare, equal, error_of, is_message, run

ALICE, BOB = bare("alice"), bare("bob")
AWAY = 40  # messages that wait


async def to_and_fro():
    """words arrive as they were sent, in order, stamped with the sender"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    for i in range(50):
        a.say(BOB if i % 2 else b.boundjid.full, f"number {i}")
    for i in range(50):
        got = await b.expect("any message", is_message)
        equal(got.findtext("c:body", None, NS), f"number {i}", "order")
        equal(got.get("from"), a.boundjid.full, "sender")
    b.say(a.boundjid.full, "<b>&amp; \u00fc\U0001f642</b>")
    await a.message("<b>&amp; \u00fc\U0001f642</b>", b.boundjid.full)
    await a.logout()
    await b.logout()


async def priorities():
    """to the bare address: the resource of highest priority, not the others"""
    a = await Client("alice", resource="a").login()
    low = await Client("bob", resource="low").login(ppriority=1)
    high = await Client("bob", resource="high").login(ppriority=9)
    a.say(BOB, "for the most likely")
    await high.message("for the most likely")
    a.say(low.boundjid.full, "for one")
    await low.message("for one")
    assert not low.has(lambda x: is_message(x, "for the most likely")), "the lower priority got it too"
    high.send_presence(ppriority=0)
    await low.presence(frm=high.boundjid.full)
    await high.ping()
    a.say(BOB, "now the other")
    await low.message("now the other")
    headline = "to all of them"
    a.say(BOB, headline, typ="headline")
    for c in low, high:
        await c.message(headline, typ="headline")
    for c in a, low, high:
        await c.logout()


async def nowhere():
    """to nobody, to a resource that is gone, of a type that needs a room"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    for to, typ in ((bare("nobody"), "chat"), (f"{BOB}/gone", "groupchat"), (BOB, "groupchat")):
        a.say(to, "lost", typ=typ)
        equal(error_of(await a.message(frm=to, typ="error")), "service-unavailable", f"{typ} to {to}")
    a.say(f"{BOB}/gone", "for one who left")  # treated as to the bare address (section 8.5.3.2.1)
    await b.message("for one who left")
    a.say(f"{BOB}/gone", "news", typ="headline")  # silently ignored
    a.say(BOB, "marker")
    await b.message("marker")
    assert not b.has(lambda x: is_message(x, "news")), "a headline for a resource that is gone"
    await a.logout()
    await b.logout()


async def away():
    """what came while one was away is there at login: all, in order, once, with its time"""
    a = await Client("alice", resource="a").login()
    for i in range(AWAY):
        a.say(BOB, f"number {i}", typ="chat" if i % 2 else "normal")
    a.say(BOB, "not kept", typ="headline")
    await a.ping()
    b = await Client("bob", resource="b").login()
    for i in range(AWAY):
        got = await b.expect("any message", is_message)
        equal(got.findtext("c:body", None, NS), f"number {i}", "order")
        equal(got.get("from"), a.boundjid.full, "sender")
        delay = got.find("delay:delay", NS)
        assert delay is not None and delay.get("stamp", "").endswith("Z"), "no delay (XEP-0203)"
        equal(delay.get("from"), DOMAIN, "who delayed")
    await b.ping()
    assert not b.has(is_message), "more than was kept"
    await b.logout()
    b = await Client("bob", resource="b").login()
    await b.ping()
    assert not b.has(is_message), "delivered twice"
    await a.logout()
    await b.logout()


async def not_for_the_shy():
    """a resource that is not available, or of negative priority, does not use up what waits"""
    a = await Client("alice", resource="a").login()
    a.say(BOB, "wait for it")
    await a.ping()
    silent = await Client("bob", resource="silent").login(presence=False)
    await silent.ping()
    shy = await Client("bob", resource="shy").login(ppriority=-5)
    await shy.ping()
    assert not shy.has(is_message) and not silent.has(is_message), "handed over too early"
    b = await Client("bob", resource="b").login()
    await b.message("wait for it")
    for c in a, silent, shy, b:
        await c.logout()


async def spoofed():
    """nobody sends as somebody else"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    a.send_raw(f"<message from='carol@{DOMAIN}/c' to='{BOB}'><body>from carol?</body></message>")
    await a.gone()
    equal(a.stream_error, "invalid-from", "stream error")
    await b.ping()
    assert not b.has(is_message), "a spoofed message arrived"
    await b.logout()


run(to_and_fro, priorities, nowhere, away, not_for_the_shy, spoofed)
