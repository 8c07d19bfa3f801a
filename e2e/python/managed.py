"""A client with stream management (XEP-0198) and client state indication
(XEP-0352), whose connection goes through the relay that can break it."""

import asyncio
import os

from client import PATIENCE, Client, split


class Managed(Client):
    def __init__(self, user, resource):
        super().__init__(user, resource=resource)
        self.register_plugin("xep_0198")
        self.register_plugin("xep_0352")
        self.relay = split(os.environ["CHATD_RELAY"].removeprefix("xmpp://"))
        self.enabled, self.resumed, self.refused = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.add_event_handler("sm_enabled", lambda _: self.enabled.set())
        self.add_event_handler("session_resumed", lambda _: self.resumed.set())
        self.add_event_handler("sm_failed", lambda _: self.refused.set())

    @property
    def sm(self):
        return self["xep_0198"]

    async def get_dns_records(self, domain, port=None):
        return [(domain, *self.relay)]

    async def login(self, presence=True, **kwargs):
        await super().login(presence, **kwargs)
        await asyncio.wait_for(self.enabled.wait(), PATIENCE)
        return self

    async def resume(self):
        """Connects again and goes on with the session."""
        self.resumed.clear()
        self.ended.clear()
        self.connect((self.boundjid.domain, 5222))
        await asyncio.wait_for(self.resumed.wait(), PATIENCE)

    async def logout(self):
        """Acknowledges before it closes, else what was received comes again
        (XEP-0198 section 4); slixmpp leaves that to its user."""
        self.sm.send_ack()
        await super().logout()

    async def vanish(self):
        """The connection ends on this side; a relay that holds it tells nobody."""
        if not self.ended.is_set():
            self.transport.abort()
        await self.gone()

    async def acked(self):
        """A barrier that is no stanza and wakes nobody: waits for an acknowledgement."""
        self.sm.request_ack()
        await self.expect("an acknowledgement", lambda x: x.tag == "{urn:xmpp:sm:3}a")
