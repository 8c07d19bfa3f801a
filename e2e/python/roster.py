"""The friends list: add, rename, groups, remove, pushes, versions."""

from client import NS, Client, bare, equal, error_of, run

CAROL = bare("carol")


def roster_set(c, jid, name="", groups=(), extra=""):
    inner = "".join(f"<group>{g}</group>" for g in groups)
    return c.iq("set", f"<query xmlns='jabber:iq:roster'><item jid='{jid}' name='{name}' {extra}>{inner}</item></query>")


def groups_of(item):
    return sorted(g.text for g in item.findall("roster:group", NS))


async def add_rename_group_remove():
    """every change reaches every interested resource and stays"""
    home = await Client("alice", resource="home").login()
    work = await Client("alice", resource="work").login()
    equal(await home.friends(), {}, "a new roster")

    answer = await roster_set(home, CAROL, "Carol")
    equal(answer.get("type"), "result", "roster set")
    for c in home, work:
        await c.push(CAROL, name="Carol", subscription="none")

    await roster_set(work, CAROL, "Caroline &amp; Co", ["Friends", "Choir &lt;3"])
    for c in home, work:
        push = await c.push(CAROL, name="Caroline & Co")
        equal(groups_of(push.find(".//roster:item", NS)), ["Choir <3", "Friends"], "pushed groups")

    await work.logout()
    again = await Client("alice", resource="work").login()
    item = (await again.friends())[CAROL]
    equal((item.get("name"), groups_of(item)), ("Caroline & Co", ["Choir <3", "Friends"]), "roster after a new login")

    await roster_set(again, CAROL, "", [])
    item = (await again.friends())[CAROL]
    equal((item.get("name") or "", groups_of(item)), ("", []), "name and groups taken away")

    await roster_set(again, CAROL, extra="subscription='remove'")
    for c in home, again:
        await c.push(CAROL, subscription="remove")
    equal(await home.friends(), {}, "roster after remove")
    equal(error_of(await roster_set(home, CAROL, extra="subscription='remove'")), "item-not-found", "second remove")
    await home.logout()
    await again.logout()


async def uninterested():
    """a resource that never asked for the roster gets no pushes"""
    interested = await Client("alice", resource="interested").login()
    deaf = await Client("alice", resource="deaf").login(presence=False)
    await roster_set(interested, CAROL, "Carol")
    await interested.push(CAROL)
    await interested.ping()
    await deaf.ping()
    assert not deaf.has(lambda x: x.find("roster:query", NS) is not None), "a push without interest"
    await roster_set(interested, CAROL, extra="subscription='remove'")
    await interested.logout()
    await deaf.logout()


async def bad_sets():
    """what may not be set is refused and changes nothing"""
    c = await Client("alice").login()
    two = "<query xmlns='jabber:iq:roster'><item jid='a@b.test'/><item jid='c@d.test'/></query>"
    equal(error_of(await c.iq("set", two)), "bad-request", "two items at once")
    twice = await roster_set(c, CAROL, "Carol", ["Friends", "Friends"])
    equal(error_of(twice), "bad-request", "the same group twice")
    empty = await roster_set(c, CAROL, "Carol", [""])
    equal(error_of(empty), "not-acceptable", "an empty group")
    long = await roster_set(c, CAROL, "x" * 2000)
    equal(error_of(long), "not-acceptable", "a very long name")
    other = await c.iq("get", "<query xmlns='jabber:iq:roster'/>", bare("bob"))
    assert error_of(other) in ("forbidden", "service-unavailable"), "read another's roster"
    other = await c.iq("set", f"<query xmlns='jabber:iq:roster'><item jid='{CAROL}'/></query>", bare("bob"))
    assert error_of(other) in ("forbidden", "service-unavailable"), "wrote another's roster"
    equal(await c.friends(), {}, "roster after refused changes")
    await c.logout()


async def versions():
    """a known version gets an empty answer, an old one what changed (XEP-0237)"""
    c = await Client("alice").login()
    await roster_set(c, CAROL, "Carol")
    await c.push(CAROL)
    assert "rosterver" in c.features, "roster versioning is not offered"
    answer = await c.iq("get", "<query xmlns='jabber:iq:roster' ver=''/>")
    version = answer.find("roster:query", NS).get("ver")
    assert version, "no version"
    known = await c.iq("get", f"<query xmlns='jabber:iq:roster' ver='{version}'/>")
    equal((known.get("type"), len(known)), ("result", 0), "roster of a known version")
    await roster_set(c, CAROL, "Caroline")
    push = await c.push(CAROL, name="Caroline")
    assert push.find("roster:query", NS).get("ver") not in (None, version), "the version did not grow"
    await c.logout()


run(add_rename_group_remove, uninterested, bad_sets, versions)
