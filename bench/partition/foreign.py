"""A client by others, slixmpp: prints each message that it gets, one a line, and when it has logged in, until its input ends."""

import asyncio
import ssl
import sys

import slixmpp


class Foreign(slixmpp.ClientXMPP):
    def __init__(self, jid, password, nodes):
        super().__init__(jid, password)
        self.nodes, self.turn, self.stopping = nodes, 0, False
        self.ssl_context = ssl.create_default_context()
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.register_plugin("xep_0198")
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("message", self.on_message)
        self.add_event_handler("disconnected", self.again)
        self.add_event_handler("connection_failed", self.again)

    def on_start(self, _):
        print("login", flush=True)
        self.send_presence()

    def on_message(self, msg):
        print(str(msg).replace("\n", " "), flush=True)

    async def get_dns_records(self, domain, port=None):
        host, port = self.nodes[self.turn % len(self.nodes)].rsplit(":", 1)
        return [(domain, host, int(port))]

    async def again(self, _):
        if self.stopping:
            asyncio.get_event_loop().stop()
            return
        self.turn += 1
        await asyncio.sleep(0.1)
        self.open()

    def open(self):
        self.connect((self.boundjid.domain, 5223), use_ssl=True, force_starttls=False, disable_starttls=True)

    def stop(self):
        sys.stdin.read()
        self.loop.call_soon_threadsafe(self.finish)

    def finish(self):
        self.stopping = True
        self["xep_0198"].send_ack()
        self.disconnect(wait=1)


client = Foreign(sys.argv[1], sys.argv[2], sys.argv[3:])
client.open()
client.loop.run_in_executor(None, client.stop)
client.loop.run_forever()
