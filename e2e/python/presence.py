"""Who is there: RFC 6121 section 4."""

from client import Client, bare, befriend, equal, is_message, is_presence, run

ALICE, BOB = bare("alice"), bare("bob")


async def online(*users):
    return [await Client(u, resource=u[0]).login() for u in users]


async def what_friends_see():
    """show, status and priority reach friends, also those who come later"""
    a, b = await online("alice", "bob")
    await befriend(a, b)
    a.send_presence(pshow="away", pstatus="gone for tea", ppriority=5)
    seen = await b.presence(frm=a.boundjid.full)
    equal([seen.findtext("{jabber:client}" + n) for n in ("show", "status", "priority")],
          ["away", "gone for tea", "5"], "presence")
    late = await Client("bob", resource="late").login()
    seen = await late.presence(frm=a.boundjid.full)
    equal(seen.findtext("{jabber:client}status"), "gone for tea", "presence of one who was there before")
    await late.presence(frm=b.boundjid.full)  # one's own other resource
    await late.logout()
    await b.presence(frm=late.boundjid.full, typ="unavailable")
    await a.presence(frm=late.boundjid.full, typ="unavailable")
    a.send_presence(ptype="unavailable", pstatus="good night")
    seen = await b.presence(frm=a.boundjid.full, typ="unavailable")
    equal(seen.findtext("{jabber:client}status"), "good night", "unavailable presence")
    await a.logout()
    await b.logout()


async def cut_off():
    """a connection that breaks is an unavailable friend"""
    a, b = await online("alice", "bob")
    await a.drop()
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await b.logout()


async def strangers_see_nothing():
    """no presence without a subscription, and a probe does not tell either"""
    a, c = await online("alice", "carol")
    a.send_presence(pstatus="for friends")
    await a.presence(frm=a.boundjid.full)
    c.send_raw(f"<presence to='{ALICE}' type='probe'/>")
    await c.ping()
    a.say(c.boundjid.full, "marker")
    await c.message("marker")
    assert not c.has(lambda x: x.tag.endswith("presence") and x.get("from", "").startswith(ALICE + "/")), \
        "a stranger saw presence"
    await a.logout()
    await c.logout()


async def directed():
    """directed presence goes to a stranger and is taken back on any kind of end"""
    for end in "logout", "drop":
        a, c = await online("alice", "carol")
        a.send_presence(pto=c.boundjid.full, pstatus="only for you")
        seen = await c.presence(frm=a.boundjid.full)
        equal(seen.findtext("{jabber:client}status"), "only for you", "directed presence")
        await getattr(a, end)()
        await c.presence(frm=a.boundjid.full, typ="unavailable")
        await c.logout()


async def negative_priority():
    """a resource of negative priority gets what is sent to it and nothing else"""
    b = await Client("bob", resource="b").login()
    shy = await Client("alice", resource="shy").login(ppriority=-1)
    b.say(ALICE, "for whoever is there")
    await b.ping()
    b.say(shy.boundjid.full, "for you alone")
    await shy.message("for you alone")
    assert not shy.has(lambda x: is_message(x, "for whoever is there")), "negative priority got a message to the bare address"
    shy.send_presence(ppriority=0)
    await shy.message("for whoever is there")  # it waited
    await shy.logout()
    await b.logout()


async def bad_presence():
    """a priority out of range and an unknown type are refused"""
    a = await Client("alice", resource="a").login()
    a.send_raw("<presence id='p1'><priority>200</priority></presence>")
    await a.expect("bad-request", lambda x: x.get("id") == "p1" and x.get("type") == "error")
    a.send_raw("<presence id='p2' type='nonsense'/>")
    await a.expect("bad-request", lambda x: x.get("id") == "p2" and x.get("type") == "error")
    await a.logout()


run(what_friends_see, cut_off, strangers_see_nothing, directed, negative_priority, bad_presence)
