"""Becoming friends and ceasing to be: RFC 6121 section 3."""

from client import Client, bare, befriend, equal, is_presence, run

ALICE, BOB, CAROL = bare("alice"), bare("bob"), bare("carol")


async def states(c, jid):
    item = (await c.friends()).get(jid)
    return None if item is None else (item.get("subscription"), item.get("ask"))


async def both_ways():
    """ask, accept, ask back, accept; pushes tell each step"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    a.send_presence(pto=BOB, ptype="subscribe")
    await a.push(BOB, subscription="none", ask="subscribe")
    await b.presence(frm=ALICE, typ="subscribe")
    b.send_presence(pto=ALICE, ptype="subscribed")
    await b.push(ALICE, subscription="from")
    await a.presence(frm=BOB, typ="subscribed")
    await a.push(BOB, subscription="to")
    await a.presence(frm=b.boundjid.full)
    b.send_presence(pto=ALICE, ptype="subscribe")
    await a.presence(frm=BOB, typ="subscribe")
    a.send_presence(pto=BOB, ptype="subscribed")
    await b.presence(frm=a.boundjid.full)
    equal(await states(a, BOB), ("both", None), "alice's view")
    equal(await states(b, ALICE), ("both", None), "bob's view")
    await a.logout()
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await b.logout()


async def end():
    """unsubscribe takes one direction away, removing the item both"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    a.send_presence(pto=BOB, ptype="unsubscribe")
    await b.presence(frm=ALICE, typ="unsubscribe")
    await a.push(BOB, subscription="from")
    await b.push(ALICE, subscription="to")
    await a.presence(frm=b.boundjid.full, typ="unavailable")
    await b.iq("set", f"<query xmlns='jabber:iq:roster'><item jid='{ALICE}' subscription='remove'/></query>")
    await b.push(ALICE, subscription="remove")
    await a.presence(frm=BOB, typ="unsubscribe")
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    equal(await states(b, ALICE), None, "bob's view")
    equal(await states(a, BOB), ("none", None), "alice's view")
    await a.logout()
    await b.logout()


async def refuse():
    """a refused request tells the asker"""
    a = await Client("alice", resource="a").login()
    c = await Client("carol", resource="c").login()
    a.send_presence(pto=CAROL, ptype="subscribe")
    await c.presence(frm=ALICE, typ="subscribe")
    c.send_presence(pto=ALICE, ptype="unsubscribed")
    await a.presence(frm=CAROL, typ="unsubscribed")
    equal(await states(a, CAROL), ("none", None), "alice's view")
    equal(await states(c, ALICE), None, "carol's view")
    await a.logout()
    await c.logout()


async def waits_for_the_absent():
    """a request waits for an offline friend, with its words, through restart and until answered"""
    a = await Client("alice", resource="a").login()
    a.send_presence(pto=CAROL, ptype="subscribe", pstatus="it is me")
    await a.push(CAROL, ask="subscribe")
    await a.ping()
    c = await Client("carol", resource="c").login()
    request = await c.presence(frm=ALICE, typ="subscribe")
    equal(request.findtext("{jabber:client}status"), "it is me", "words of the request")
    equal(await states(c, ALICE), None, "a request is no roster item")
    await c.logout()
    c = await Client("carol", resource="c").login()
    await c.presence(frm=ALICE, typ="subscribe")  # still not answered
    c.send_presence(pto=ALICE, ptype="subscribed")
    await a.presence(frm=c.boundjid.full)
    await c.logout()
    await a.presence(frm=c.boundjid.full, typ="unavailable")
    c = await Client("carol", resource="c").login()
    await a.presence(frm=c.boundjid.full)
    await c.ping()
    assert not c.has(lambda x: is_presence(x, typ="subscribe")), "an answered request came again"
    await a.logout()
    await c.logout()


async def while_away():
    """what a friend answered while one was away is known at the next login"""
    a = await Client("alice", resource="a").login()
    a.send_presence(pto=BOB, ptype="subscribe")
    await a.push(BOB, ask="subscribe")
    await a.logout()
    b = await Client("bob", resource="b").login()
    await b.presence(frm=ALICE, typ="subscribe")
    b.send_presence(pto=ALICE, ptype="subscribed")
    await b.push(ALICE, subscription="from")
    a = await Client("alice", resource="a").login()
    equal(await states(a, BOB), ("to", None), "alice's view after being away")
    await a.presence(frm=b.boundjid.full)
    await a.logout()
    await b.logout()


async def approved_beforehand():
    """a pre-approved contact is accepted without a question (RFC 6121 section 3.4)"""
    d = await Client("dave", resource="d").login()
    assert "preapproval" in d.features, "pre-approval is not offered"
    d.send_presence(pto=ALICE, ptype="subscribed")
    await d.push(ALICE, approved="true")
    a = await Client("alice", resource="a").login()
    a.send_presence(pto=bare("dave"), ptype="subscribe")
    await a.presence(frm=d.boundjid.full)
    await d.push(ALICE, subscription="from")
    assert not d.has(lambda x: is_presence(x, typ="subscribe")), "asked in spite of pre-approval"
    await a.logout()
    await d.logout()


async def friends_again():
    """two who parted can become friends again"""
    b = await Client("bob", resource="b").login()
    c = await Client("carol", resource="c").login()
    await befriend(b, c)
    equal(await states(b, CAROL), ("both", None), "bob's view")
    await b.logout()
    await c.presence(frm=b.boundjid.full, typ="unavailable")
    await c.logout()


run(both_ways, end, refuse, waits_for_the_absent, while_away, approved_beforehand, friends_again)
