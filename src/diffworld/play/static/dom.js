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

// A colour of the style sheet, as it is in the dark or in the light.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

let toastTimer = 0;
export function toast(text, kind = "") {
  const box = $("#toast");
  box.textContent = text;
  box.className = `toast shown ${kind}`;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), 4000);
}

// What a click or a change does; where it fails, the page says why.
export const trying = (work) => async (event) => {
  try {
    await work(event);
  } catch (error) {
    toast(error.message, "bad");
  }
};

export function icon(button, name, label) {
  $("use", button).setAttribute("href", `#i-${name}`);
  button.setAttribute("aria-label", label);
}

// Ask in a dialog: the text typed in, or, where no `answer` is proposed, "yes"; null if the player would rather not.
export function ask({ title, text, answer = null, yes, danger = false }) {
  const dialog = $("#question");
  const input = $("#question-answer");
  $("#question-title").textContent = title;
  $("#question-text").textContent = text;
  input.hidden = answer === null;
  input.value = answer ?? "yes";
  $("#question-yes").textContent = yes;
  $("#question-yes").classList.toggle("danger", danger);
  return new Promise((resolve) => {
    const agree = () => dialog.close(input.value.trim());
    $("#question-yes").onclick = agree;
    $("#question-no").onclick = () => dialog.close("");
    input.onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would press the button that gets the focus back
      agree();
    };
    dialog.onclose = () => resolve(dialog.returnValue || null);
    dialog.returnValue = ""; // what Escape leaves
    dialog.showModal();
    (answer === null ? $("#question-no") : input).focus();
    input.select();
  });
}

export const readable = (name) => name.replace(/_/g, " ");
export const percent = (p) => `${p > 0 && p < 0.01 ? "<1" : Math.round(100 * p)}%`;

// Which colour a sign of reward has.
export const signOf = (reward) => (reward > 0 ? "positive" : reward < 0 ? "negative" : "");
