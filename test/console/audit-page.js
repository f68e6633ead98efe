// Runs inside the page: what a screen reader or a tired eye would stumble over. Returns a list of sentences.
(() => {
  const found = [];
  const visible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: false });
  const describe = (element) =>
    `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> "${(element.textContent ?? "").trim().slice(0, 30)}"`;
  const name = (element) =>
    element.getAttribute("aria-label") ??
    (element.labels?.length > 0 ? element.labels[0].textContent : null) ??
    element.textContent?.trim() ??
    "";

  for (const element of document.querySelectorAll("button, a, input, canvas, [role=application]")) {
    if (visible(element) && name(element) === "") found.push(`no name: ${describe(element)}`);
  }
  for (const element of document.querySelectorAll("button, input, nav a, .row-actions a")) {
    const box = element.getBoundingClientRect();
    if (visible(element) && (box.width < 24 || box.height < 24) && !element.className.includes("skip")) {
      found.push(`smaller than 24 px: ${describe(element)} ${Math.round(box.width)}x${Math.round(box.height)}`);
    }
  }
  for (const element of document.querySelectorAll("table")) {
    if (element.caption === null) found.push(`no caption: ${describe(element)}`);
    if (element.querySelector("thead th") === null) found.push(`no column heads: ${describe(element)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) found.push(`id twice: ${id}`);
  if (document.documentElement.lang === "") found.push("no language");
  if (document.querySelectorAll("h1").length !== 1) found.push(`${document.querySelectorAll("h1").length} h1 headings`);
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");

  // Contrast of text with what is behind it, after WCAG 2. The browser's own canvas reads any colour notation.
  const paint = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = paint.getImageData(0, 0, 1, 1).data;
    return { parts: [red, green, blue], alpha: alpha / 255 };
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at !== null; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
    return layers
      .reverse()
      .reduce(
        (under, layer) => under.map((value, index) => value * (1 - layer.alpha) + layer.parts[index] * layer.alpha),
        [255, 255, 255],
      );
  };
  const luminance = (parts) => {
    const [red, green, blue] = parts.map((value) =>
      value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    if (element === null || node.textContent.trim() === "" || !visible(element)) continue;
    if (element.closest("noscript, :disabled, .visually-hidden, .skip") !== null) continue;
    const ink = luminance(read(getComputedStyle(element).color).parts);
    const ground = luminance(behind(element));
    const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${describe(element)}`);
  }
  return found;
})();
