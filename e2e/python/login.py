"""SASL mechanism by mechanism, wrong passwords, retries, resources."""

import ssl

from client import DOMAIN, Client, equal, run

MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
PLUS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]


async def each_mechanism():
    """each mechanism without channel binding, right and wrong"""
    for mech in MECHANISMS:
        c = await Client("alice", mech=mech).login()
        await c.ping()
        await c.logout()
        c = Client("alice", password="wrong", mech=mech)
        assert not await c.attempt(), f"{mech}: a wrong password logged in"
        equal(c.failures, ["not-authorized"], mech)


async def channel_binding():
    """-PLUS binds to TLS 1.2 by tls-unique, the one type that slixmpp knows"""
    for mech in PLUS:
        c = await Client("alice", mech=mech, binding=True, tls=ssl.TLSVersion.TLSv1_2).login()
        await c.ping()
        await c.logout()
        c = Client("alice", password="wrong", mech=mech, binding=True, tls=ssl.TLSVersion.TLSv1_2)
        assert not await c.attempt(), f"{mech}: a wrong password logged in"
        equal(c.failures, ["not-authorized"], mech)


async def downgrade():
    """a client that could bind but was shown no -PLUS has been deceived: refused"""
    c = Client("alice", mech="SCRAM-SHA-256", binding=True, tls=ssl.TLSVersion.TLSv1_2)
    assert not await c.attempt(), "the downgrade went unnoticed"


async def all_by_itself():
    """slixmpp as it comes gets in: over TLS 1.2 bound, over TLS 1.3 by its last resort"""
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        c = await Client("alice", mech=None, binding=True, tls=version).login()
        await c.ping()
        await c.logout()


async def unknown_user():
    """an unknown user looks like a wrong password"""
    for mech in MECHANISMS:
        c = Client("nobody", mech=mech)
        assert not await c.attempt(), f"{mech}: nobody logged in"
        equal(c.failures, ["not-authorized"], mech)


class Stubborn(Client):
    """Tries the same mechanism again for as long as the server lets it, the
    right password at the given attempt."""

    right_at = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        auth = self["feature_mechanisms"]
        send = auth._send_auth

        def again():
            auth.attempted_mechs.clear()
            if len(self.failures) + 1 == self.right_at:
                self.password = "correct horse"
            return send()
        auth._send_auth = again


async def retries():
    """three retries on one stream, and then it is closed"""
    c = Stubborn("alice", password="wrong", mech="PLAIN")
    c.right_at = 3
    assert await c.attempt(), f"the second retry was not allowed: {c.failures}"
    equal(c.failures, ["not-authorized"] * 2, "failures before the right password")
    await c.logout()
    c = Stubborn("alice", password="wrong", mech="PLAIN")
    assert not await c.attempt(), "logged in with a wrong password"
    equal(c.failures, ["not-authorized"] * 4, "failures until the stream closed")


async def resources():
    """a resource that was asked for is given, another is made by the server"""
    named = await Client("alice", resource="home").login()
    equal(named.boundjid.full, f"alice@{DOMAIN}/home", "asked-for resource")
    made = await Client("alice").login()
    assert made.boundjid.resource not in ("", "home"), made.boundjid.full
    third = await Client("alice").login()
    assert third.boundjid.resource not in ("", made.boundjid.resource), third.boundjid.full
    for c in named, made, third:
        await c.ping(c.boundjid.bare)
        await c.logout()


async def prepared_names():
    """the same user by other spellings of the name"""
    c = await Client("ALICE", resource="caps").login()
    equal(c.boundjid.bare, f"alice@{DOMAIN}", "bound address")
    await c.logout()


run(each_mechanism, channel_binding, downgrade, all_by_itself, unknown_user, retries, resources, prepared_names)
