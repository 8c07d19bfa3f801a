// What the scripts with Converse.js share: its page, and what a person does and sees in it.

import { domain, eventually, password } from "./web.js";

export const html = `<!doctype html><meta charset="utf-8"><title>Converse.js</title>
<link rel="stylesheet" href="/converse.min.css"><body class="converse-fullscreen">
<script type="module" src="/converse.min.js"></script>`;

export async function login(page, user, service, settings = {}) {
  await page.setViewport({ width: 900, height: 420 });
  await eventually(page, () => window.converse?.initialize);
  await page.evaluate(
    (jid, password, service, settings) => {
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
        ...settings,
      });
    },
    `${user}@${domain}/browser`,
    password,
    service,
    settings,
  );
  await eventually(page, () => window.api?.connection?.connected());
  await page.evaluate(() => api.waitUntil("rosterContactsFetched"));
}

// Opens the chat with somebody; one that a message has just begun may not open at once.
export const openChat = (page, user) =>
  eventually(
    page,
    async (jid) => {
      await api.chats.open(jid, {}, true);
      return document.querySelector("converse-chat textarea.chat-textarea");
    },
    `${user}@${domain}`,
  );

// Writes until the text stands in the writer's own window: a chat that is being drawn anew may swallow keys.
export async function write(page, text) {
  for (let attempt = 0; attempt < 3; attempt++) {
    await page.bringToFront();
    const input = await page.waitForSelector("textarea.chat-textarea", { visible: true });
    await input.evaluate((e) => (e.value = ""));
    await input.type(text);
    await input.press("Enter");
    if (await shown(page, text, 8000).then(() => true, () => false)) return;
  }
  throw new Error(`${text} was not sent`);
}

export const shown = (page, text, timeout = 30000) =>
  page.waitForFunction((text) => [...document.querySelectorAll(".chat-msg__text")].some((e) => e.textContent.trim() === text), { polling: 50, timeout }, text);

export const texts = (page) => page.evaluate(() => [...document.querySelectorAll(".chat-msg__text")].map((e) => e.textContent.trim()));

// Waits until one is in a room and can write.
export async function entered(page, room) {
  await eventually(page, async (jid) => (await api.rooms.get(jid))?.session.get("connection_status") === converse.ROOMSTATUS.ENTERED, room);
  await page.waitForSelector("converse-muc textarea.chat-textarea", { visible: true });
}

// Gives a command of Converse's, which is not shown as text: all at once, since a chat that is being drawn anew may swallow keys.
export async function order(page, text) {
  await page.bringToFront();
  await page.evaluate((text) => {
    const input = document.querySelector("textarea.chat-textarea");
    input.value = text;
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 13, bubbles: true, cancelable: true }));
  }, text);
}

// Submits the dialog in front.
export const submit = (page) => page.$eval(".modal.show [type=submit]", (button) => button.click());

// Accepts an invitation of which these words are told.
export async function accept(page, ...words) {
  await page.bringToFront();
  await eventually(page, (words) => words.every((w) => document.querySelector(".modal.show")?.textContent.includes(w)), words);
  await submit(page);
}

export const subject = (page, text) => eventually(page, (text) => document.querySelector(".chat-head__desc")?.textContent.trim() === text, text);

// Waits until an element has these words.
export const told = (page, element, ...words) =>
  eventually(page, (element, words) => words.every((w) => document.querySelector(element)?.textContent.includes(w)), element, words);
