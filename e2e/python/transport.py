"""STARTTLS and direct TLS, TLS 1.2 and 1.3, ALPN; nothing without TLS."""

import ssl

from client import Client, equal, run


async def login_over_each_transport():
    """every transport and TLS version"""
    for direct in False, True:
        for version, name in (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3"):
            c = await Client("alice", direct=direct, tls=version).login()
            equal(c.socket.version(), name, f"TLS version, direct={direct}")
            if direct:
                equal(c.socket.selected_alpn_protocol(), "xmpp-client", "ALPN (XEP-0368)")
            await c.ping()
            await c.logout()


async def refuse_old_tls():
    """TLS 1.1 gets no session"""
    c = Client("alice", direct=True)
    c.ssl_context.set_ciphers("ALL:@SECLEVEL=0")
    c.ssl_context.minimum_version = ssl.TLSVersion.TLSv1
    c.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_1
    c.add_event_handler("connection_failed", lambda _: c.ended.set())
    assert not await c.attempt(), "logged in over TLS 1.1"
    c.cancel_connection_attempt()


async def refuse_login_without_tls():
    """no mechanism is offered before TLS where TLS is required"""
    c = Client("alice", mech=None)
    offered = []
    c.add_event_handler("no_auth", lambda _: offered.append("none"))
    c.register_feature("starttls", lambda features: offered.append(features["mechanisms"]), order=0)
    c.add_event_handler("stream_negotiated", lambda _: c.abort())
    assert not await c.attempt(force_starttls=False, disable_starttls=True), "logged in without TLS"
    assert all(not o or o == "none" for o in offered), f"offered without TLS: {offered}"


async def large_and_small():
    """a stanza of many TLS records arrives whole"""
    a = await Client("alice", resource="a", direct=True).login()
    b = await Client("bob", resource="b").login()
    body = "<&>'\"\u00e9\U0001f600" * 4000
    a.say("bob@" + a.boundjid.domain, body)
    await b.message(body, a.boundjid.full)
    a.say("bob@" + a.boundjid.domain, "small")
    await b.message("small", a.boundjid.full)
    await a.logout()
    await b.logout()


run(login_over_each_transport, refuse_old_tls, refuse_login_without_tls, large_and_small)
