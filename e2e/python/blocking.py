"""Blocking (XEP-0191): pushes, and silence in both directions."""

from client import NS, Client, bare, befriend, equal, error_of, is_message, run

ALICE, BOB = bare("alice"), bare("bob")


def change(c, verb, *jids):
    items = "".join(f"<item jid='{j}'/>" for j in jids)
    return c.iq("set", f"<{verb} xmlns='urn:xmpp:blocking'>{items}</{verb}>")


async def blocked(c):
    answer = await c.iq("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    return sorted(i.get("jid") for i in answer.findall("blocking:blocklist/blocking:item", NS))


async def pushed(c, verb, *jids):
    def matches(x):
        e = x.find(f"blocking:{verb}", NS)
        return x.get("type") == "set" and e is not None and [i.get("jid") for i in e] == list(jids)
    await c.expect(f"{verb} push", matches)


async def both_directions():
    """blocking hides, silences and is told to one's other resources; unblocking undoes it"""
    a = await Client("alice", resource="a").login()
    other = await Client("alice", resource="other").login()
    b = await Client("bob", resource="b").login()
    await befriend(a, b)
    await b.presence(frm=other.boundjid.full)
    equal(await blocked(a), [], "block list at first")
    equal(await blocked(other), [], "block list at first")

    equal((await change(a, "block", BOB)).get("type"), "result", "block")
    await pushed(a, "block", BOB)
    await pushed(other, "block", BOB)
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await b.presence(frm=other.boundjid.full, typ="unavailable")
    equal(await blocked(other), [BOB], "block list")

    b.say(ALICE, "do you hear me")
    equal(error_of(await b.message(typ="error")), "service-unavailable", "message to who blocks")
    answer = await b.iq("get", "<ping xmlns='urn:xmpp:ping'/>", a.boundjid.full)
    equal(error_of(answer), "service-unavailable", "iq to who blocks")
    a.say(BOB, "I do not hear you")
    refused = await a.message(typ="error")
    equal(error_of(refused), "not-acceptable", "message to the blocked")
    assert refused.find("c:error/{urn:xmpp:blocking:errors}blocked", NS) is not None, "not told why"
    a.send_presence(pstatus="hidden")
    await a.presence(frm=a.boundjid.full)
    await a.ping()
    await b.ping()
    assert not a.has(is_message) and not b.has(is_message), "a message got through"
    assert not b.has(lambda x: x.findtext("c:status", None, NS) == "hidden"), "presence got through"

    equal((await change(other, "unblock", BOB)).get("type"), "result", "unblock")
    await pushed(a, "unblock", BOB)
    seen = await b.presence(frm=a.boundjid.full)
    equal(seen.findtext("c:status", None, NS), "hidden", "presence after unblocking")
    b.say(a.boundjid.full, "and now?")
    await a.message("and now?")
    for c in a, other, b:
        await c.logout()


async def lasts():
    """a block outlives the session and holds for messages that would wait"""
    a = await Client("alice", resource="a").login()
    await change(a, "block", BOB, "spam.test")
    await a.logout()
    b = await Client("bob", resource="b").login()
    b.say(ALICE, "while you are away")
    equal(error_of(await b.message(typ="error")), "service-unavailable", "message to who blocks and is away")
    a = await Client("alice", resource="a").login()
    equal(await blocked(a), sorted([BOB, "spam.test"]), "block list after a new login")
    await a.ping()
    assert not a.has(is_message), "a blocked message waited"
    await change(a, "unblock")
    await pushed(a, "unblock")
    equal(await blocked(a), [], "after unblocking all")
    equal(error_of(await change(a, "block")), "bad-request", "blocking nobody")
    await a.logout()
    await b.logout()


run(both_directions, lasts)
