"""In-band registration (XEP-0077) with slixmpp."""

from client import Client


class Newcomer(Client):
    """Registers in-band when the server offers it, then logs in."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.answer = None
        self._always_send_everything = True  # slixmpp 1.8 holds back an iq before login, even this one
        self.register_plugin("xep_0077")
        self.add_event_handler("register", self.sign_up)

    async def sign_up(self, form):
        assert form["register"]["fields"] >= {"username", "password"}, form
        self.answer = await set_account(self, self.requested_jid.user, self.password)


def set_account(client, user, password):
    return client.iq("set", f"<query xmlns='jabber:iq:register'><username>{user}</username>"
                            f"<password>{password}</password></query>")
