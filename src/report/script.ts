/**
 * The page's script: searches the ranked samples. It reads a list's data when the list is first
 * searched or continued, shows twenty prompts at a time, and makes no network request. The data's
 * HTML was escaped when the page was made; the page's Content-Security-Policy allows only this
 * script.
 */
export const SCRIPT = `
const prepare = (root) => root.querySelectorAll(".samples").forEach((box) => {
  const [find, list, more, data] = ["div.find", "div.list", "button", "script"].map((selector) =>
    box.querySelector(selector),
  );
  const [input, select, output] = find.children;
  const entities = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "#39" };
  const escape = (text) => text.replace(/[&<>"']/g, (c) => "&" + entities[c] + ";");
  let entries;
  let found = [];
  let shown = 0;
  const show = () => {
    const next = found.slice(shown, shown + 20).map(({ html }) => html);
    list.insertAdjacentHTML("beforeend", next.join(""));
    shown = Math.min(shown + 20, found.length);
    more.hidden = shown === found.length;
  };
  const search = () => {
    entries ??= JSON.parse(data.textContent).map((entry) => ({
      ...entry,
      text: entry.html.replace(/<[^>]*>/g, " ").toLowerCase(),
    }));
    const words = escape(input.value.toLowerCase()).split(/\\s+/).filter(Boolean);
    found = entries.filter(
      ({ text, is }) =>
        (select.value === "" || is.includes(select.value)) &&
        words.every((word) => text.includes(word)),
    );
    shown = 0;
    list.textContent = "";
    output.textContent = found.length + (found.length === 1 ? " prompt" : " prompts");
    show();
  };
  input.addEventListener("input", search);
  select.addEventListener("change", search);
  more.addEventListener("click", () => (entries ? show() : search()));
  more.hidden = output.textContent === "";
  find.hidden = false;
});
prepare(document);
`;

/**
 * Follows a run: the server sends the parts of the page that changed, as HTML that it escaped. What
 * was opened stays open.
 */
export const FOLLOW = `
const source = new EventSource("events?since=" + document.documentElement.dataset.version);
const summaryOf = (item) => item.querySelector("summary").textContent;
source.addEventListener("parts", ({ data }) => {
  for (const [id, html] of JSON.parse(data)) {
    const part = document.getElementById(id);
    const open = new Set([...part.querySelectorAll("details[open]")].map(summaryOf));
    part.innerHTML = html;
    for (const item of part.querySelectorAll("details")) item.open = open.has(summaryOf(item));
    prepare(part);
  }
});
source.addEventListener("end", () => source.close());
`;
