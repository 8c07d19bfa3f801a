"""What the scripts of this folder share: a slixmpp client that remembers what
it received, so that a script can say what it expects, and a way to ask the Go
test for something that happens to the server.

A script is a conversation. Its barriers are stanzas (a ping, a marker message
from the same sender), never the clock; the clock only ends what hangs.
"""

import asyncio
import inspect
import logging
import os
import ssl
import sys
import traceback
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError

DOMAIN = os.environ["CHATD_DOMAIN"]
PASSWORD = "correct horse"
PATIENCE = 20  # seconds that one expected thing may take

NS = {
    "c": "jabber:client",
    "blocking": "urn:xmpp:blocking",
    "carbons": "urn:xmpp:carbons:2",
    "delay": "urn:xmpp:delay",
    "disco": "http://jabber.org/protocol/disco#info",
    "items": "http://jabber.org/protocol/disco#items",
    "forward": "urn:xmpp:forward:0",
    "last": "jabber:iq:last",
    "private": "jabber:iq:private",
    "register": "jabber:iq:register",
    "roster": "jabber:iq:roster",
    "stanzas": "urn:ietf:params:xml:ns:xmpp-stanzas",
    "streams": "urn:ietf:params:xml:ns:xmpp-streams",
    "time": "urn:xmpp:time",
    "vcard": "vcard-temp",
    "update": "vcard-temp:x:update",
    "version": "jabber:iq:version",
}


class Server:
    """Where chatd listens. The address changes when it is started anew."""

    def __init__(self):
        self.learn([os.environ["CHATD_STARTTLS"], os.environ["CHATD_DIRECT"]])

    def learn(self, addresses):
        self.starttls, self.direct = (split(a) for a in addresses)

    async def ask(self, *words):
        """Has the Go test do something to the server and waits for it."""
        print("ask", *words, flush=True)
        loop = asyncio.get_running_loop()
        answer = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        assert answer[:1] == ["done"], f"{' '.join(words)}: {' '.join(answer)}"
        if len(answer) == 3:
            self.learn(answer[1:])


def split(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


server = Server()


class Client(slixmpp.ClientXMPP):
    """One resource. Nothing is sent at login that the script did not ask for."""

    def __init__(self, user, password=PASSWORD, resource="", mech="SCRAM-SHA-256",
                 binding=False, direct=False, tls=None, host=None):
        jid = f"{user}@{DOMAIN}" + (f"/{resource}" if resource else "")
        super().__init__(jid, password, sasl_mech=mech)
        self.use_aiodns = False
        self.direct, self.host = direct, host
        self.ssl_context = ssl.create_default_context(cafile=os.environ["CHATD_CA"])
        self.ssl_context.set_alpn_protocols(["xmpp-client"])
        if tls:
            self.ssl_context.minimum_version = self.ssl_context.maximum_version = tls
        if not binding:
            self.hide_channel_binding()
        self.roster.auto_authorize, self.roster.auto_subscribe = None, False
        self.inbox, self.news = [], asyncio.Event()
        self.failures, self.stream_error = [], None
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self.add_filter("in", self.remember)
        self.add_event_handler("session_start", lambda _: self.started.set())
        self.add_event_handler("failed_auth", lambda f: self.failures.append(f["condition"]))
        self.add_event_handler("stream_error", self.remember_stream_error)
        self.add_event_handler("disconnected", lambda _: self.ended.set())

    def hide_channel_binding(self):
        """slixmpp 1.8 knows only tls-unique, which TLS 1.3 does not have, and
        yet claims channel binding; a server that has it must then refuse
        (RFC 5802 section 6). Such a client says that it has none."""
        auth = self["feature_mechanisms"]
        ask = auth.sasl_callback

        def without(required, optional):
            return {**ask(required, optional), "channel_binding": b""}
        auth.sasl_callback = without

    async def get_dns_records(self, domain, port=None):
        host, port = server.direct if self.direct else server.starttls
        return [(DOMAIN, self.host or host, port)]

    def remember(self, stanza):
        self.inbox.append(stanza.xml)
        self.news.set()
        return stanza

    def remember_stream_error(self, error):
        self.stream_error = error["condition"]
        self.news.set()

    # Connecting.

    async def attempt(self, **options):
        """Connects and waits until a session began or the connection ended."""
        self.started.clear()
        self.ended.clear()
        self.connect((DOMAIN, 5222), use_ssl=self.direct, **options)
        waits = [asyncio.ensure_future(e.wait()) for e in (self.started, self.ended)]
        done, rest = await asyncio.wait(waits, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for w in rest:
            w.cancel()
        assert done, f"{self.requested_jid}: neither logged in nor refused"
        return self.started.is_set()

    async def login(self, presence=True, **kwargs):
        """Logs in, fetches the roster and becomes available."""
        assert await self.attempt(), f"{self.requested_jid}: login failed: {self.failures} {self.stream_error}"
        if presence:
            await self.get_roster()
            self.send_presence(**kwargs)
            await self.presence(frm=self.boundjid.full)
        return self

    async def gone(self):
        """Waits until the connection has ended."""
        await asyncio.wait_for(self.ended.wait(), PATIENCE)

    async def logout(self):
        if not self.ended.is_set():
            self.disconnect()
            await self.gone()

    async def drop(self):
        """Cuts the connection without a word."""
        self.transport.abort()
        await self.gone()

    # Expecting. Each returns the XML element.

    async def expect(self, what, matches):
        """Waits for a stanza and takes it, with all that came before it from
        the same place left as it is."""
        try:
            return await asyncio.wait_for(self._take(matches), PATIENCE)
        except asyncio.TimeoutError:
            have = "\n  ".join(ET.tostring(x, "unicode")[:1000] for x in self.inbox) or "nothing"
            raise AssertionError(f"{self.boundjid.full} did not get {what[:200]}; it has\n  {have}") from None

    async def _take(self, matches):
        while True:
            for i, x in enumerate(self.inbox):
                if matches(x):
                    return self.inbox.pop(i)
            assert not self.ended.is_set(), f"{self.boundjid.full}: the connection ended"
            self.news.clear()
            await self.news.wait()

    def message(self, body=None, frm=None, typ=None):
        return self.expect(f"message {body!r} from {frm}", lambda x: is_message(x, body, frm, typ))

    def presence(self, frm=None, typ=None):
        return self.expect(f"presence {typ or 'available'} from {frm}", lambda x: is_presence(x, frm, typ))

    def push(self, jid, **attrs):
        """Expects a roster push about jid."""
        def matches(x):
            item = x.find("roster:query/roster:item", NS)
            return (x.get("type") == "set" and item is not None and item.get("jid") == jid
                    and all(item.get(k) == v for k, v in attrs.items()))
        return self.expect(f"roster push {jid} {attrs}", matches)

    def has(self, matches):
        """Whether something came that nobody expected."""
        return any(matches(x) for x in self.inbox)

    # Asking.

    async def iq(self, typ, payload, to=None):
        """Sends a request and returns the answer, also if it is an error."""
        request = self.make_iq(ito=to)
        request["type"] = typ
        request.append(ET.fromstring(payload))
        try:
            return (await request.send(timeout=PATIENCE)).xml
        except IqError as e:
            return e.iq.xml

    async def ping(self, to=DOMAIN):
        """The barrier: all that this client sent before has been dealt with."""
        answer = await self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to)
        assert answer.get("type") == "result", ET.tostring(answer)

    async def friends(self):
        """The friends list as {jid: item}."""
        answer = await self.iq("get", "<query xmlns='jabber:iq:roster'/>")
        return {i.get("jid"): i for i in answer.findall("roster:query/roster:item", NS)}

    def say(self, to, body, typ="chat"):
        self.send_message(mto=to, mbody=body, mtype=typ)


def bare(user):
    return f"{user}@{DOMAIN}"


def is_message(x, body=None, frm=None, typ=None):
    return (x.tag == "{jabber:client}message" and (body is None or x.findtext("c:body", None, NS) == body)
            and (frm is None or x.get("from") == frm) and (typ is None or x.get("type") == typ))


def is_presence(x, frm=None, typ=None):
    return (x.tag == "{jabber:client}presence" and x.get("type") == typ
            and (frm is None or x.get("from") == frm))


def error_of(x):
    """The stanza error's condition, None if there is no error."""
    for e in x.findall("c:error/*", NS):
        if e.tag.startswith("{" + NS["stanzas"] + "}") and not e.tag.endswith("}text"):
            return e.tag.partition("}")[2]
    return None


def equal(got, want, what):
    assert got == want, f"{what}: got {got!r}, want {want!r}"


async def befriend(a, b):
    """Makes two clients that are online friends, the way people do it."""
    await request(a, b)
    await request(b, a)


async def request(asker, asked):
    asker.send_presence(pto=asked.boundjid.bare, ptype="subscribe")
    await asked.presence(frm=asker.boundjid.bare, typ="subscribe")
    asked.send_presence(pto=asker.boundjid.bare, ptype="subscribed")
    await asker.presence(frm=asked.boundjid.bare, typ="subscribed")
    await asker.presence(frm=asked.boundjid.full)


def run(*parts):
    """Runs the parts of a script one after the other. The exit code tells."""
    logging.basicConfig(level=os.environ.get("CHATD_CLIENT_LOG", "CRITICAL"), stream=sys.stderr)

    async def all_parts():
        for part in parts:
            print("part", inspect.cleandoc(part.__doc__ or part.__name__).partition("\n")[0], flush=True)
            await part()
    try:
        asyncio.run(all_parts())
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # a client that was not logged out is cut off, not waited for
