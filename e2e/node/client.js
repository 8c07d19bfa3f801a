// What the scripts of this folder share: an @xmpp/client that remembers what it
// received, so that a script can say what it expects. Barriers are stanzas,
// never the clock; the clock only ends what hangs.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";

import { client, xml } from "@xmpp/client";
import WebSocket from "ws";

globalThis.crypto ??= webcrypto; // Debian 12 has Node 18
globalThis.WebSocket = WebSocket; // likewise; and one that can be cut off

export const domain = process.env.CHATD_DOMAIN;
const webSocket = "/xmpp-websocket";
export const services = {
  starttls: `xmpp://${process.env.CHATD_STARTTLS}`,
  direct: `xmpps://${process.env.CHATD_DIRECT}`,
  websocket: `wss://${process.env.CHATD_WEB}${webSocket}`,
};
// Over a network that can break: xmpp or ws.
export const relay = process.env.CHATD_RELAY?.replace(/^ws:.*/, `$&${webSocket}`);
const patience = 20_000; // milliseconds that one expected thing may take

export class Client {
  #inbox = [];
  #news = new EventEmitter();

  // With an agent, a UUID, it logs in by SASL2 with all that this has; else it overlooks SASL2.
  constructor(user, { service = services.starttls, password = "correct horse", resource, mechanism, agent } = {}) {
    this.bare = `${user}@${domain}`;
    this.attempts = []; // <authenticate/> elements sent
    const userAgent = agent && xml("user-agent", { id: agent }, xml("software", {}, "e2e"));
    const credentials = async (authenticate, mechanisms, fast) => {
      this.mechanisms = mechanisms;
      const token = await fast?.fetch();
      await authenticate({ username: user, password, token }, mechanism ?? mechanisms[0], userAgent);
    };
    this.xmpp = client({ service, domain, resource, credentials, timeout: patience });
    this.xmpp.reconnect.stop();
    this.xmpp.on("error", (error) => (this.error = error));
    this.xmpp.prependListener("element", (element) => this.#count(element));
    if (!agent) this.xmpp.prependListener("element", withoutSASL2);
    this.xmpp.on("send", (element) => element.is("authenticate") && this.attempts.push(element));
    this.xmpp.on("stanza", (stanza) => {
      this.#inbox.push(stanza);
      this.#news.emit("stanza");
    });
  }

  // @xmpp/client 0.14 does not count the answers to its own requests, and so
  // acknowledges less than it got (XEP-0198).
  #count(element) {
    const { iqCaller, streamManagement } = this.xmpp;
    const answer = element.is("iq") && ["result", "error"].includes(element.attrs.type);
    if (answer && iqCaller.handlers.has(element.attrs.id)) streamManagement.inbound++;
  }

  async login(presence = true) {
    const managed = new Promise((resolve) => {
      this.xmpp.on("nonza", (element) => element.is("enabled") && setImmediate(resolve));
    });
    this.full = (await this.xmpp.start()).toString();
    if (!this.xmpp.streamManagement.enabled) await managed; // what comes in between it may not count
    if (presence) {
      await this.ask("get", xml("query", "jabber:iq:roster"));
      await this.send(xml("presence"));
      await this.presence(this.full);
    }
    return this;
  }

  logout() {
    return this.xmpp.stop();
  }

  send(element) {
    return this.xmpp.send(element);
  }

  say(to, body) {
    return this.send(xml("message", { to, type: "chat" }, xml("body", {}, body)));
  }

  // Sends a request; a stanza error is thrown, its name in error.condition.
  ask(type, payload, to) {
    return this.xmpp.iqCaller.request(xml("iq", { type, to }, payload), patience);
  }

  ping(to = domain) {
    return this.ask("get", xml("ping", "urn:xmpp:ping"), to);
  }

  // Takes the first stanza that matches out of what came, or waits for it.
  async expect(what, matches) {
    const deadline = AbortSignal.timeout(patience);
    for (;;) {
      const i = this.#inbox.findIndex(matches);
      if (i >= 0) return this.#inbox.splice(i, 1)[0];
      await once(this.#news, "stanza", { signal: deadline }).catch(() =>
        assert.fail(`${this.full} did not get ${what}; it has\n${this.#inbox.join("\n")}`),
      );
    }
  }

  message(body, from) {
    return this.expect(
      `message ${body} from ${from}`,
      (s) => s.is("message") && s.getChildText("body") === body && (!from || s.attrs.from === from),
    );
  }

  presence(from, type) {
    return this.expect(
      `presence ${type ?? "available"} from ${from}`,
      (s) => s.is("presence") && s.attrs.from === from && s.attrs.type === type,
    );
  }

  has(name) {
    return this.#inbox.some((s) => s.is(name));
  }
}

function withoutSASL2(element) {
  if (element.is("features")) element.children = element.children.filter((c) => !c.is?.("authentication"));
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has the Go test do something to the server and waits for it.
export async function ask(...words) {
  console.log("ask", ...words);
  const { value } = await answers.next();
  assert.match(value, /^done/, words.join(" "));
}

// Runs the parts of a script one after the other. The exit code tells.
export async function run(...parts) {
  for (const part of parts) {
    console.log("part", part.name);
    await part();
  }
  process.exit(0); // a client that was not logged out is cut off, not waited for
}

// @xmpp/iq awaits the answer once it is told that the request has been sent. An error that comes earlier is thrown by the request as well.
process.on("unhandledRejection", (error) => {
  if (error?.name === "StanzaError") return;
  console.error(error);
  process.exit(1);
});

export { assert, xml };
