// The websocket to the server: messages as events, questions as promises, and a new try when it breaks off.

const RETRY_MS = [500, 1000, 2000, 4000];

export class Link extends EventTarget {
  constructor() {
    super();
    this.tries = 0;
    this.asked = new Map();
    this.nextId = 1;
    this.showing = Promise.resolve();
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const model = new URLSearchParams(location.search).get("model");
    const query = model ? `?model=${encodeURIComponent(model)}` : "";
    this.socket = new WebSocket(`${scheme}://${location.host}/play${query}`);
    this.socket.binaryType = "arraybuffer";
    this.opened = false;
    this.socket.onopen = () => (this.opened = true);
    this.socket.onmessage = ({ data }) => this.take(data);
    this.socket.onclose = ({ code, reason }) => this.lost(code, reason);
  }

  lost(code, reason) {
    for (const { reject } of this.asked.values()) reject(new Error("the connection was lost"));
    this.asked.clear();
    const wait = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
    // Broken off, or not even answered.
    this.emit("lost", { reason: code === 1006 ? "" : reason, gone: !this.opened });
    setTimeout(() => this.connect(), wait);
  }

  take(data) {
    if (typeof data === "string") return this.hear(JSON.parse(data), {});
    const { header, blobs } = unpack(data);
    // Pictures decode at their own pace; the promise chain keeps them in order.
    this.showing = this.showing.then(async () => {
      const names = Object.keys(blobs);
      const bitmaps = await Promise.all(names.map((name) => createImageBitmap(blobs[name])));
      this.hear(header, Object.fromEntries(names.map((name, i) => [name, bitmaps[i]])));
    }).catch((error) => console.error(error));
  }

  hear(message, images) {
    if (message.type === "reply") return this.answered(message, images);
    if (message.type === "welcome") this.tries = 0;
    this.emit(message.type, message, images);
    if (message.type === "view") this.send({ type: "shown", number: message.number });
  }

  answered(message, images) {
    const asked = this.asked.get(message.id);
    this.asked.delete(message.id);
    if (message.error) asked?.reject(new Error(message.error));
    else asked?.resolve({ ...message, images });
  }

  emit(name, message, images = {}) {
    this.dispatchEvent(Object.assign(new Event(name), { message, images }));
  }

  on(name, listener) {
    this.addEventListener(name, ({ message, images }) => listener(message, images));
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  ask(message) {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.send({ ...message, id });
    });
  }
}

// uint32 length of the header, the header as JSON, then the pictures in the order of header.images.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const blobs = {};
  let at = 4 + length;
  for (const [name, size] of header.images) {
    blobs[name] = new Blob([new Uint8Array(buffer, at, size)], { type: "image/webp" });
    at += size;
  }
  return { header, blobs };
}
