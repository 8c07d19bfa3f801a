"""vCard and avatar (XEP-0054, XEP-0153), private XML (XEP-0049)."""

import base64
import hashlib

from client import NS, Client, bare, befriend, equal, error_of, run

ALICE = bare("alice")
PICTURE = bytes(range(256)) * 8


async def cards():
    """a vCard is written by its owner and read by everyone"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    none = ("item-not-found", "service-unavailable")
    assert error_of(await b.iq("get", "<vCard xmlns='vcard-temp'/>", ALICE)) in none, "no vCard yet"
    photo = base64.b64encode(PICTURE).decode()
    answer = await a.iq("set", "<vCard xmlns='vcard-temp'><FN>Alice &lt;3</FN>"
                               f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{photo}</BINVAL></PHOTO></vCard>")
    equal(answer.get("type"), "result", "vCard set")
    for c, to in (a, None), (a, ALICE), (b, ALICE):
        card = (await c.iq("get", "<vCard xmlns='vcard-temp'/>", to)).find("vcard:vCard", NS)
        equal(card.findtext("vcard:FN", None, NS), "Alice <3", "name")
        equal(base64.b64decode(card.findtext(".//vcard:BINVAL", None, NS)), PICTURE, "picture")
    answer = await b.iq("set", "<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>", ALICE)
    assert error_of(answer) in ("forbidden", "not-allowed", "service-unavailable"), "wrote another's vCard"
    await a.logout()
    card = (await b.iq("get", "<vCard xmlns='vcard-temp'/>", ALICE)).find("vcard:vCard", NS)
    equal(card.findtext("vcard:FN", None, NS), "Alice <3", "vCard of one who is away")
    assert error_of(await b.iq("get", "<vCard xmlns='vcard-temp'/>", bare("nobody"))) in none, "vCard of nobody"
    await b.logout()


async def avatar_hash():
    """the avatar's hash travels in presence"""
    a = await Client("alice", resource="a").login()
    b = await Client("bob", resource="b").login()
    await befriend(a, b)
    digest = hashlib.sha1(PICTURE).hexdigest()
    a.send_raw("<presence><x xmlns='vcard-temp:x:update'>"
               f"<photo>{digest}</photo></x></presence>")
    await b.expect("the avatar's hash", lambda x: x.get("from") == a.boundjid.full
                   and x.findtext("update:x/update:photo", None, NS) == digest)
    await a.logout()
    await b.logout()


async def private_xml():
    """private XML is kept by element and namespace and read by its owner only"""
    a = await Client("alice", resource="a").login()
    empty = await a.iq("get", "<query xmlns='jabber:iq:private'><prefs xmlns='exodus:prefs'/></query>")
    stored = empty.find("private:query/{exodus:prefs}prefs", NS)
    assert stored is not None and len(stored) == 0, "private XML that was never stored"
    for nick, space in ("Hamlet", "exodus:prefs"), ("Other", "other:prefs"):
        answer = await a.iq("set", f"<query xmlns='jabber:iq:private'><prefs xmlns='{space}'>"
                                   f"<nick>{nick} &amp; Co</nick></prefs></query>")
        equal(answer.get("type"), "result", "private set")
    await a.logout()
    a = await Client("alice", resource="a").login()
    got = await a.iq("get", "<query xmlns='jabber:iq:private'><prefs xmlns='exodus:prefs'/></query>")
    equal(got.findtext(".//{exodus:prefs}nick"), "Hamlet & Co", "private XML")
    b = await Client("bob", resource="b").login()
    answer = await b.iq("get", "<query xmlns='jabber:iq:private'><prefs xmlns='exodus:prefs'/></query>", ALICE)
    assert error_of(answer) in ("forbidden", "service-unavailable"), "read another's private XML"
    await a.logout()
    await b.logout()


run(cards, avatar_hash, private_xml)
