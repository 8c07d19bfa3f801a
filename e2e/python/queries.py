"""What clients ask: disco, caps, ping, version, time, last activity, and what nobody knows."""

import re

from client import DOMAIN, NS, Client, bare, befriend, equal, error_of, run

ALICE, BOB = bare("alice"), bare("bob")


async def features(c, to):
    answer = await c.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to)
    query = answer.find("disco:query", NS)
    assert query is not None, f"disco#info of {to}: {error_of(answer)}"
    identities = {(i.get("category"), i.get("type")) for i in query.findall("disco:identity", NS)}
    return identities, {f.get("var") for f in query.findall("disco:feature", NS)}


async def disco():
    """the server says what it is and does; so does an account"""
    a = await Client("alice").login()
    identities, have = await features(a, DOMAIN)
    assert ("server", "im") in identities, identities
    want = {NS["disco"], NS["items"], NS["blocking"], NS["carbons"], NS["last"], NS["private"], NS["time"],
            NS["vcard"], NS["version"], "urn:xmpp:ping", "msgoffline"}
    assert want <= have, f"missing features {want - have}"
    identities, _ = await features(a, a.boundjid.bare)
    assert ("account", "registered") in identities, identities
    items = await a.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", DOMAIN)
    assert items.find("items:query", NS) is not None, "disco#items"
    node = await a.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='no-such-node'/>", DOMAIN)
    equal(error_of(node), "item-not-found", "disco#info of an unknown node")
    await a.logout()


async def small_questions():
    """ping, version, time, uptime"""
    a = await Client("alice").login()
    for to in DOMAIN, None, a.boundjid.bare:
        await a.ping(to)
    version = (await a.iq("get", "<query xmlns='jabber:iq:version'/>", DOMAIN)).find("version:query", NS)
    equal(version.findtext("version:name", None, NS).lower(), "chatd", "name")
    assert version.findtext("version:version", None, NS), "no version"
    time = (await a.iq("get", "<time xmlns='urn:xmpp:time'/>", DOMAIN)).find("time:time", NS)
    assert re.fullmatch(r"[+-]\d\d:\d\d|Z", time.findtext("time:tzo", "", NS)), "tzo"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time.findtext("time:utc", "", NS)), "utc"
    last = (await a.iq("get", "<query xmlns='jabber:iq:last'/>", DOMAIN)).find("last:query", NS)
    assert int(last.get("seconds")) >= 0, "uptime"
    await a.logout()


async def last_activity():
    """friends learn when one was last there, strangers do not"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    await befriend(a, b)
    a.send_presence(ptype="unavailable", pstatus="gone fishing")
    await b.presence(frm=a.boundjid.full, typ="unavailable")
    await a.logout()
    answer = await b.iq("get", "<query xmlns='jabber:iq:last'/>", ALICE)
    query = answer.find("last:query", NS)
    assert query is not None, f"last activity of a friend: {error_of(answer)}"
    assert 0 <= int(query.get("seconds")) < 60, query.get("seconds")
    equal(query.text, "gone fishing", "last words")
    c = await Client("carol").login()
    equal(error_of(await c.iq("get", "<query xmlns='jabber:iq:last'/>", ALICE)), "forbidden", "asked by a stranger")
    await b.logout()
    await c.logout()


async def unknown():
    """what nobody serves is service-unavailable, and answers reach who asked"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    for payload in ("<query xmlns='no:such:thing'/>", "<services xmlns='urn:xmpp:extdisco:2'/>",
                    "<query xmlns='jabber:iq:auth'/>"):
        for typ in "get", "set":
            for to in DOMAIN, BOB, None:
                equal(error_of(await a.iq(typ, payload, to)), "service-unavailable", f"{typ} {payload} to {to}")
    equal(error_of(await a.iq("get", "<q xmlns='x'/>", f"{BOB}/gone")), "service-unavailable", "iq to nobody")
    equal(error_of(await a.iq("get", "<q xmlns='x'/>", "elsewhere.test")), "remote-server-not-found", "iq to elsewhere")
    b.register_plugin("xep_0199")
    await a.ping(b.boundjid.full)  # client to client
    a.send_raw("<iq type='get' id='two'><a xmlns='x'/><b xmlns='x'/></iq>")
    answer = await a.expect("bad-request", lambda x: x.get("id") == "two")
    equal(error_of(answer), "bad-request", "two children")
    await a.logout()
    await b.logout()


async def capabilities():
    """caps travel with presence; the server tells its own in the stream features"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    a.send_raw("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='abc='/></presence>")
    await b.expect("caps", lambda x: x.get("from") == a.boundjid.full
                   and x.find("{http://jabber.org/protocol/caps}c") is not None)
    await a.logout()
    await b.logout()


run(disco, small_questions, last_activity, unknown, capabilities)
