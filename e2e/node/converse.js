// Two people with Converse.js in Chromium, one over WebSocket and one over BOSH: they become contacts, see
// each other come, write to each other, and one sees the other go.

import { assert, domain, eventually, password, screenshot, services, withPages } from "./web.js";

const html = `<!doctype html><meta charset="utf-8"><title>Converse.js</title>
<link rel="stylesheet" href="/converse.min.css"><body class="converse-fullscreen">
<script type="module" src="/converse.min.js"></script>`;

async function login(page, user, service) {
  await page.setViewport({ width: 900, height: 420 });
  await eventually(page, () => window.converse?.initialize);
  await page.evaluate(
    (jid, password, service) => {
      converse.plugins.add("probe", {
        initialize() {
          window.api = this._converse.api;
        },
      });
      return converse.initialize({
        ...service,
        jid,
        password,
        authentication: "login",
        auto_login: true,
        auto_subscribe: true,
        discover_connection_methods: false,
        view_mode: "fullscreen",
        theme: "classic",
        i18n: "en",
        assets_path: "/",
        play_sounds: false,
        show_background: false,
        whitelisted_plugins: ["probe"],
        blacklisted_plugins: ["converse-omemo"], // keeps keys on the server
      });
    },
    `${user}@${domain}/browser`,
    password,
    service,
  );
  await eventually(page, () => window.api?.connection?.connected());
  await page.evaluate(() => api.waitUntil("rosterContactsFetched"));
}

// Opens the chat with somebody; one that a message has just begun may not open at once.
const openChat = (page, user) =>
  eventually(
    page,
    async (jid) => {
      await api.chats.open(jid, {}, true);
      return document.querySelector("converse-chat textarea.chat-textarea");
    },
    `${user}@${domain}`,
  );

// Writes until the text stands in the writer's own window: a chat that is being drawn anew may swallow keys.
async function write(page, text) {
  for (let attempt = 0; attempt < 3; attempt++) {
    await page.bringToFront();
    const input = await page.waitForSelector("converse-chat textarea.chat-textarea", { visible: true });
    await input.evaluate((e) => (e.value = ""));
    await input.type(text);
    await input.press("Enter");
    if (await shown(page, text, 8000).then(() => true, () => false)) return;
  }
  throw new Error(`${text} was not sent`);
}

const shown = (page, text, timeout = 30000) =>
  page.waitForFunction((text) => [...document.querySelectorAll(".chat-msg__text")].some((e) => e.textContent.trim() === text), { polling: 50, timeout }, text);

const texts = (page) => page.evaluate(() => [...document.querySelectorAll(".chat-msg__text")].map((e) => e.textContent.trim()));

// Waits until a page shows a contact as one who is there, or is not.
const sees = (page, user, status) =>
  eventually(page, async (jid, status) => (await api.contacts.get(jid))?.getStatus() === status, `${user}@${domain}`, status);

await withPages(html, "converse.js/dist", async (open) => {
  const [alice, bob] = await Promise.all([open("alice"), open("bob")]);
  await Promise.all([
    login(alice, "alice", { websocket_url: services.websocket }),
    login(bob, "bob", { bosh_service_url: services.bosh }),
  ]);
  await alice.evaluate((jid) => api.contacts.add({ jid, name: "Bob" }), `bob@${domain}`);
  await Promise.all([sees(alice, "bob", "online"), sees(bob, "alice", "online")]);

  await openChat(alice, "bob");
  await write(alice, "Ready for the next round?");
  await openChat(bob, "alice");
  await shown(bob, "Ready for the next round?");
  await write(bob, "Give me a minute. \u{1F600}");
  await shown(alice, "Give me a minute. \u{1F600}");
  await write(alice, "We lost the last one at <the bridge> & \"the gate\"");
  await shown(bob, "We lost the last one at <the bridge> & \"the gate\"");
  await write(bob, "I know. I have asked our healer, she is online.");
  await shown(alice, "I know. I have asked our healer, she is online.");
  await Promise.all([screenshot(alice, "converse-websocket"), screenshot(bob, "converse-bosh")]);

  const counted = (name) => [1, 2, 3, 4, 5].map((i) => `${name} ${i}`);
  for (const text of counted("Map")) await write(alice, text);
  for (const text of counted("Seat")) await write(bob, text);
  for (const page of [alice, bob]) {
    await Promise.all([shown(page, "Map 5"), shown(page, "Seat 5")]);
    assert.deepEqual((await texts(page)).filter((t) => t.startsWith("Map")), counted("Map"));
    assert.deepEqual((await texts(page)).filter((t) => t.startsWith("Seat")), counted("Seat"));
  }

  await bob.evaluate(() => api.user.logout());
  await sees(alice, "bob", "offline");
});
