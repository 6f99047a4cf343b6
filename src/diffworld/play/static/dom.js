// A few helpers around the document.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

export function make(tag, properties = {}, ...children) {
  const { dataset = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

export function draw(canvas, image, sx = 0, width = image.width) {
  if (canvas.width !== width || canvas.height !== image.height) {
    canvas.width = width;
    canvas.height = image.height;
  }
  canvas.getContext("2d").drawImage(image, sx, 0, width, image.height, 0, 0, width, image.height);
}

let toastTimer = 0;
export function toast(text, kind = "") {
  const box = $("#toast");
  box.textContent = text;
  box.className = `toast shown ${kind}`;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), 4000);
}

export function icon(button, name, label) {
  $("use", button).setAttribute("href", `#i-${name}`);
  button.setAttribute("aria-label", label);
}

export const readable = (name) => name.replace(/_/g, " ");
export const percent = (p) => `${p > 0 && p < 0.01 ? "<1" : Math.round(100 * p)}%`;

// Which colour a sign of reward has.
export const signOf = (reward) => (reward > 0 ? "positive" : reward < 0 ? "negative" : "");
