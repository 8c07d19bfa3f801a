#!/usr/bin/python3
"""Makes the folders ejabberd, ejabberd-scram and prosody anew: starts Debian's ejabberd and Prosody one after the other in temporary
directories on loopback, fills them as clients do, and has them export. Run it in this folder; it needs the packages ejabberd and
prosody, and root if that is who runs it for Prosody's user switching. The versions are printed, and belong into README.md."""

import base64
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

DOMAIN = "chat.test"
USERS = {"romeo": "wherefore öld Pässwort", "juliet": "balcony 7", "mercutio": "a plague", "jürgen": "grüße", "tybalt": "king of cats"}
ERLANG_LIBS = "/usr/lib/x86_64-linux-gnu"


class Client:
    """A connection that speaks XML as text, and waits for the answers to its requests."""

    def __init__(self, port, user):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.seen, self.user, self.requests = "", user, 0
        self.open()
        plain = base64.b64encode(f"\0{user}\0{USERS[user]}".encode()).decode()
        self.say(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
        self.wait("<success")
        self.open()
        self.ask("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind>")

    def open(self):
        self.seen = ""
        self.say(f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
        self.wait("</stream:features>")

    def say(self, text):
        self.socket.sendall(text.encode())

    def wait(self, text):
        while not re.search(text, self.seen):
            data = self.socket.recv(65536)
            assert data, f"{self.user}: closed before {text}: {self.seen}"
            self.seen += data.decode(errors="replace")

    def ask(self, query, kind="set", to=None):
        self.requests += 1
        name = f"q{self.requests}"
        self.say(f"<iq type='{kind}' id='{name}'" + (f" to='{to}'" if to else "") + f">{query}</iq>")
        answer = rf"<iq [^>]*id=['\"]{name}['\"]"
        self.wait(answer)
        return self.seen

    def close(self):
        self.say("</stream:stream>")
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        self.socket.close()


def fill(port):
    """Everything that there is to export."""
    login = lambda user: Client(port, user)
    romeo, juliet = login("romeo"), login("juliet")
    romeo.ask("<query xmlns='jabber:iq:roster'/>", "get")
    juliet.ask("<query xmlns='jabber:iq:roster'/>", "get")
    romeo.say("<presence/>")
    juliet.say("<presence/>")
    juliet.ask("<ping xmlns='urn:xmpp:ping'/>", "get", DOMAIN)
    # A friendship, with a name and groups on one side.
    romeo.ask("<query xmlns='jabber:iq:roster'><item jid='juliet@chat.test' name='Júlia &amp; &lt;Co&gt;'><group>Friends</group><group>Vérone</group></item></query>")
    romeo.say("<presence to='juliet@chat.test' type='subscribe'/>")
    juliet.wait("type=['\"]subscribe['\"]")
    juliet.say("<presence to='romeo@chat.test' type='subscribed'/><presence to='romeo@chat.test' type='subscribe'/>")
    romeo.wait("type=['\"]subscribe['\"]")
    romeo.say("<presence to='juliet@chat.test' type='subscribed'/>")
    juliet.wait("type=['\"]subscribed['\"]")
    # Requests that wait: one of Romeo's to Mercutio, who is away, one to Jürgen, and one of Tybalt's to Romeo's contact.
    romeo.ask("<query xmlns='jabber:iq:roster'><item jid='mercutio@chat.test' name='Mercutio'/></query>")
    romeo.say("<presence to='mercutio@chat.test' type='subscribe'><status>Come to the masque?</status></presence>")
    romeo.say("<presence to='jürgen@chat.test' type='subscribe'/>")
    tybalt = login("tybalt")
    tybalt.ask("<query xmlns='jabber:iq:roster'/>", "get")
    tybalt.say("<presence/><presence to='mercutio@chat.test' type='subscribe'/>")
    # One way only.
    tybalt.say("<presence to='juliet@chat.test' type='subscribe'/>")
    juliet.wait("from=['\"]tybalt@chat.test['\"]")
    juliet.say("<presence to='tybalt@chat.test' type='subscribed'/>")
    tybalt.wait("type=['\"]subscribed['\"]")
    # What a profile has.
    romeo.ask("<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><NICKNAME>Rómeó 😀</NICKNAME></vCard>")
    romeo.ask("<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference name='Ball' autojoin='true' jid='ball@rooms.chat.test'><nick>R</nick></conference></storage></query>")
    romeo.ask("<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'><note jid='juliet@chat.test' cdate='2024-02-29T12:00:00Z' mdate='2024-02-29T12:00:00Z'>the sun</note></storage></query>")
    juliet.ask("<block xmlns='urn:xmpp:blocking'><item jid='tybalt@chat.test'/><item jid='spam.test'/></block>")
    juliet.ask("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/nick'><item id='current'><nick xmlns='http://jabber.org/protocol/nick'>Jules</nick></item></publish></pubsub>")
    # Messages for who is away.
    juliet.say("<presence type='unavailable'><status>asleep</status></presence>")
    juliet.close()
    for i, body in enumerate(["But soft!", "What light through yonder window breaks? ☀", "It is the east &amp; <\u200b Juliet is the sun.".replace("<", "&lt;")]):
        romeo.say(f"<message to='juliet@chat.test' type='chat' id='m{i}'><body>{body}</body><x xmlns='urn:example:x' a='1'/></message>")
    romeo.say("<message to='mercutio@chat.test'><subject>Tonight</subject><body>Bring a torch</body></message>")
    romeo.ask("<ping xmlns='urn:xmpp:ping'/>", "get", DOMAIN)
    romeo.close()
    tybalt.close()


def wait_for(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on {port}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ejabberd(folder, password_format, target):
    port = free_port()
    config = os.path.join(folder, "ejabberd.yml")
    with open(config, "w") as f:
        f.write(f"""hosts: ["{DOMAIN}"]
loglevel: warning
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, access: all, shaper: none}}
auth_method: internal
auth_password_format: {password_format}
modules:
  mod_blocking: {{}}
  mod_caps: {{}}
  mod_last: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_private: {{}}
  mod_pubsub: {{plugins: ["flat", "pep"]}}
  mod_roster: {{}}
  mod_vcard: {{search: false}}
""")
    environment = dict(os.environ, EJABBERD_CONFIG_PATH=config, EJABBERD_LOG_PATH=folder + "/ejabberd.log", ERL_LIBS=ERLANG_LIBS, HOME=folder)
    out = os.path.join(folder, "out")
    os.mkdir(out)

    def erl(code):
        return subprocess.Popen(["erl", "-noinput", "+fnu", "-mnesia", "dir", f'"{folder}/data"', "-s", "ejabberd", "-eval", code], env=environment)

    def text(s):
        return "<<" + ",".join(map(str, s.encode())) + ">>"

    users = ", ".join(f"ejabberd_auth:try_register({text(u)}, <<\"{DOMAIN}\">>, {text(p)})" for u, p in USERS.items())
    # What ejabberdctl does for export_piefxis is the same function; it is asked for by the file that appears.
    server = erl(f"""{users},
        Wait = fun(Again) -> case filelib:is_file("{folder}/export") of true -> ok; false -> timer:sleep(100), Again(Again) end end,
        Wait(Wait), ejabberd_piefxis:export_server("{out}"), init:stop().""")
    try:
        wait_for(port)
        fill(port)
        time.sleep(1)
        open(folder + "/export", "w").close()
        server.wait(60)
    finally:
        server.kill()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(out, target)


def prosody(folder, target):
    port, data = free_port(), folder + "/data"
    os.mkdir(data)
    config = os.path.join(folder, "prosody.cfg.lua")
    with open(config, "w") as f:
        f.write(f"""run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{data}"
log = {{ warn = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
storage = "internal"
modules_enabled = {{ "blocklist", "disco", "lastactivity", "pep", "ping", "private", "roster", "saslauth", "vcard_legacy" }}
modules_disabled = {{ "s2s" }}
VirtualHost "{DOMAIN}"
""")
    for user, password in USERS.items():
        subprocess.run(["prosodyctl", "--root", "--config", config, "register", user, DOMAIN, password], check=True)
    server = subprocess.Popen(["prosody", "--root", "-F", "--config", config])
    try:
        wait_for(port)
        fill(port)
        time.sleep(1)
    finally:
        server.terminate()
        server.wait(20)
    migration = os.path.join(folder, "migrator.cfg.lua")
    with open(migration, "w") as f:
        f.write(f"""-- What the driver can write, and no more: it ends at the first store that it cannot.
local vhost = {{ "accounts", "roster", "vcard", "private", "pep-pubsub" }}
input {{ type = "internal"; path = "{data}"; hosts = {{ ["{DOMAIN}"] = vhost }} }}
output {{ type = "xep0227"; hosts = {{ ["{DOMAIN}"] = vhost }} }}
""")
    # The driver xep0227 of Prosody 0.12 writes into Prosody's data directory, whatever path it is given.
    with open("/usr/bin/prosody-migrator") as f:
        program = f.read()
    out = os.path.join(folder, "out")
    os.mkdir(out)
    mine = os.path.join(folder, "prosody-migrator")
    with open(mine, "w") as f:
        f.write(re.sub("CFG_DATADIR='[^']*'", f"CFG_DATADIR='{out}'", program))
    subprocess.run(["lua5.4", mine, "--root", "--keep-going", "--config", migration], check=True)
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    for name in sorted(os.listdir(out)):
        if name.endswith(".xml"):
            shutil.copy(os.path.join(out, name), target)


def main():
    subprocess.run(["dpkg-query", "-W", "ejabberd", "prosody"], check=True)
    for make, arguments in ((ejabberd, ("plain", "ejabberd")), (ejabberd, ("scram", "ejabberd-scram")), (prosody, ("prosody",))):
        with tempfile.TemporaryDirectory() as folder:
            make(folder, *arguments)


if __name__ == "__main__":
    main()
