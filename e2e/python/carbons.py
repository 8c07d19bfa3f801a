"""Two resources of one person see the same conversation (XEP-0280)."""

from client import NS, Client, bare, equal, is_message, run

ALICE, BOB = bare("alice"), bare("bob")


def carbon(direction, body):
    def matches(x):
        inner = x.find(f"carbons:{direction}/forward:forwarded/c:message", NS)
        return inner is not None and inner.findtext("c:body", None, NS) == body
    return matches


async def enable(c):
    answer = await c.iq("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    equal(answer.get("type"), "result", "enabling carbons")


async def sent_and_received():
    """what one sends and gets the other sees, each once"""
    phone = await Client("alice", resource="phone").login(ppriority=1)
    desk = await Client("alice", resource="desk").login(ppriority=5)
    b = await Client("bob", resource="b").login()
    await enable(phone)
    await enable(desk)

    b.say(ALICE, "question")
    await desk.message("question", b.boundjid.full)
    copy = await phone.expect("a received carbon", carbon("received", "question"))
    equal(copy.get("from"), ALICE, "who wraps a carbon")
    equal(copy.find(".//forward:forwarded/c:message", NS).get("from"), b.boundjid.full, "original sender")

    desk.say(b.boundjid.full, "answer")
    await b.message("answer", desk.boundjid.full)
    copy = await phone.expect("a sent carbon", carbon("sent", "answer"))
    equal(copy.get("from"), ALICE, "who wraps a carbon")

    b.say(phone.boundjid.full, "for the phone")
    await phone.message("for the phone")
    await desk.expect("a received carbon", carbon("received", "for the phone"))

    await phone.ping()
    await desk.ping()
    for c in phone, desk, b:
        assert not c.has(is_message), "a message or copy too many"
    for c in phone, desk, b:
        await c.logout()


async def not_copied():
    """private and headline messages are not copied, nor anything to a resource that did not ask"""
    phone = await Client("alice", resource="phone").login()
    desk = await Client("alice", resource="desk").login()
    b = await Client("bob", resource="b").login()
    await enable(phone)
    b.send_raw(f"<message to='{desk.boundjid.full}' type='chat'><body>secret</body>"
               "<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/></message>")
    await desk.message("secret")
    b.say(desk.boundjid.full, "news", typ="headline")
    await desk.message("news")
    b.say(phone.boundjid.full, "marker")
    await phone.message("marker")
    await desk.ping()
    assert not phone.has(is_message), "copied what should not be"
    assert not desk.has(is_message), "a copy for a resource that did not ask"
    answer = await phone.iq("set", "<disable xmlns='urn:xmpp:carbons:2'/>")
    equal(answer.get("type"), "result", "disabling carbons")
    b.say(desk.boundjid.full, "after")
    await desk.message("after")
    b.say(phone.boundjid.full, "marker")
    await phone.message("marker")
    assert not phone.has(is_message), "a copy after disabling"
    for c in phone, desk, b:
        await c.logout()


run(sent_and_received, not_copied)
