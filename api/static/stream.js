// What the service tells by itself: GET /events, read as it comes, opened again when it ends.

import { Refused, connect } from "./client.js";

const SILENCE_MS = 15_000; // a comment comes every five seconds, so this is somebody who is gone
const AGAIN_MS = 2000;

export class Stream {
  /** `onEvent(event)` for each; `onState(error)` when it broke, and with null when it tells again. */
  constructor({ onEvent, onState }) {
    Object.assign(this, { onEvent, onState });
    this.wanted = null;
    this.key = "null";
    this.stop = new AbortController();
    this.timer = 0;
  }

  /** Be told of this (parameters of /events; null: of nothing), until something else is wanted; `once`: as it is now. */
  want(wanted, once = false) {
    const key = JSON.stringify([wanted, once]);
    if (key === this.key) return;
    this.key = key;
    this.wanted = wanted;
    this.once = once;
    this.again();
  }

  /** Open it anew. */
  again() {
    clearTimeout(this.timer);
    this.stop.abort();
    this.stop = new AbortController();
    if (this.wanted) this.#listen(this.wanted, this.stop, this.once);
    else this.onState(null);
  }

  async #listen(wanted, stop, once) {
    let error = null;
    try {
      await this.#read(wanted, stop, once);
    } catch (caught) {
      error = caught;
    }
    if (stop !== this.stop || (!error && once)) return;
    // What ends without an error is a service that stops: the next attempt says whether another one is there.
    if (error) this.onState(error);
    if (error?.status === 401 || error?.status === 403) return;
    this.timer = setTimeout(() => this.again(), AGAIN_MS);
  }

  async #read(wanted, stop, once) {
    const left = new Set(wanted.symbol);
    const response = await connect("events", wanted, "text/event-stream", stop.signal);
    this.onState(null);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let silent;
    const watch = () => { clearTimeout(silent); silent = setTimeout(() => reader.cancel(), SILENCE_MS); };
    let text = "";
    try {
      for (;;) {
        watch();
        const { done, value } = await reader.read();
        if (stop.signal.aborted || done) return;
        const parts = (text + value).split("\n\n");
        text = parts.pop();
        for (const part of parts) {
          const data = /^data: (.*)$/m.exec(part);
          if (!data) continue;
          const event = JSON.parse(data[1]);
          left.delete(event.symbol);
          this.onEvent(event);
        }
        if (once && !left.size) { stop.abort(); return; }
      }
    } catch (error) {
      if (error instanceof TypeError || error.name === "AbortError") throw new Refused(0, {}, "The service does not answer");
      throw error;
    } finally {
      clearTimeout(silent);
    }
  }
}
