// Takes the page's parts from the server anew, and leaves what did not change, focus and scrolling included.
const every = Number(document.body.dataset.renewed) * 1000;
const parts = (from) => [...from.querySelectorAll("body > header, main > *")];
const label = (region) => region.getAttribute("aria-label");

function put(now, fresh) {
  if (now.outerHTML === fresh.outerHTML) return;
  const focused = now.contains(document.activeElement) ? label(document.activeElement) : null;
  const scrolled = new Map([...now.querySelectorAll(".wide")].map((region) => [label(region), region.scrollLeft]));
  now.replaceWith(fresh);
  for (const region of fresh.querySelectorAll(".wide")) {
    region.scrollLeft = scrolled.get(label(region)) ?? 0;
    if (label(region) === focused) region.focus({ preventScroll: true });
  }
}

async function renew() {
  const reached = document.getElementById("reached");
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [now, next] = [parts(document), parts(fresh)];
    if (now.length === next.length) now.forEach((part, at) => put(part, next[at]));
    else put(document.querySelector("main"), fresh.querySelector("main"));
    document.title = fresh.title;
    reached.textContent = "";
  } catch {
    reached.textContent = "spillway status --web does not answer any more: this is what it said last.";
  }
  setTimeout(renew, every);
}

setTimeout(renew, every);
