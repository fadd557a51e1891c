// The live part of the status page. The agent sends a section of the page, as HTML that it has made and
// escaped itself, whenever something in it has changed; here it is merged into the document, so that what
// is selected, focused or folded out stays so. Without this script the page is as of its loading.

const beatEvery = 5000; // ms, as the agent has it
const lostAfter = 3 * beatEvery;
const retryAfter = 2000;

const page = document.documentElement;
const say = document.getElementById("say");
const link = document.getElementById("link");
const clock = document.getElementById("clock");

let ahead = Date.parse(clock.dateTime) - Date.now(); // how far the agent's clock is ahead of ours
let lastWord = Date.now(); // when we last heard from it
let lostSince = null;
let source = null;
let retry = null;

const now = () => Date.now() + ahead;

// As words.Ago.
function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const two = (big, unit, small, smallUnit) => {
    const rest = Math.floor((s % big) / small);
    return Math.floor(s / big) + unit + (rest > 0 ? " " + rest + smallUnit : "");
  };
  if (s < 100) return s + "s";
  if (s < 3600) return two(60, "m", 1, "s");
  if (s < 86400) return two(3600, "h", 60, "m");
  return two(86400, "d", 3600, "h");
}

// The time of day at the agent, whose zone the whole page speaks in.
function timeOfDay(ms) {
  return new Date(ms + Number(clock.dataset.offset) * 1000).toISOString().slice(11, 19);
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function tick() {
  if (source && Date.now() - lastWord > lostAfter) lose();
  if (lostSince !== null) return; // what is shown is as of then
  setText(clock, timeOfDay(now()));
  for (const t of document.querySelectorAll("time.for")) setText(t, ago(now() - Date.parse(t.dateTime)));
}

// merge makes an element look like another one, and leaves alone what is the same.
function merge(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.localName === "time" && old.className === "for" && old.textContent !== "") return; // tick counts on
  const from = [...old.childNodes];
  const to = [...fresh.childNodes];
  to.forEach((node, i) => {
    const was = from[i];
    if (!was) old.append(node);
    else if (was.nodeType !== node.nodeType || was.nodeName !== node.nodeName) was.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) merge(was, node);
    else if (was.data !== node.data) was.data = node.data;
  });
  from.slice(to.length).forEach((node) => node.remove());
}

function show({ name, html }) {
  const old = document.getElementById(name);
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(name);
  if (!old || !fresh) return;
  const title = document.title;
  const newest = name === "events" && old.querySelector("li time")?.dateTime;
  merge(old, fresh);
  if (newest) {
    for (const li of old.querySelectorAll("li")) {
      li.classList.toggle("fresh", li.querySelector("time").dateTime > newest);
    }
  }
  if (name === "verdict") {
    document.title = old.dataset.title;
    document.getElementById("icon").href = "/static/" + old.dataset.tone + ".svg";
    if (document.title !== title) setText(say, old.querySelector("h1").textContent); // a screen reader says it, once
  }
  tick();
}

function alive() {
  lastWord = Date.now();
  if (lostSince !== null) setText(say, "Connected again.");
  lostSince = null;
  page.classList.add("live");
  page.classList.remove("lost");
  setText(link, "live");
}

function lose() {
  if (lostSince === null) {
    lostSince = lastWord;
    setText(say, "No answer from the agent since " + timeOfDay(lostSince + ahead) + ": what you see is as of then. Trying again.");
  }
  page.classList.add("lost");
  page.classList.remove("live");
  setText(link, "as of");
  source?.close();
  source = null;
  clearTimeout(retry);
  retry = setTimeout(connect, retryAfter);
}

function connect() {
  lastWord = lostSince === null ? Date.now() : lastWord;
  const mine = (source = new EventSource("/live"));
  const opened = Date.now();
  const on = (event, handle) =>
    mine.addEventListener(event, (e) => {
      if (mine !== source) return;
      const data = JSON.parse(e.data);
      if (data.now) ahead = data.now - Date.now();
      handle(data);
    });
  on("hello", ({ build }) => {
    if (build !== page.dataset.build) location.reload(); // another version of the agent: another page
    alive();
  });
  on("section", (data) => {
    alive();
    show(data);
  });
  on("beat", alive);
  on("silent", lose); // the server is there, the agent behind it is not
  mine.addEventListener("error", () => {
    if (mine === source) lose();
  });
  setTimeout(() => {
    if (mine === source && lastWord < opened) lose(); // neither an answer nor an error
  }, lostAfter);
}

connect();
setInterval(tick, 1000);
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (e) => {
  if (e.persisted) connect();
});
