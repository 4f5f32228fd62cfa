// Where the chart has been: the way back through zooms and moves, one step for each movement of the hand.

const PAUSE_MS = 700; // what follows sooner is the same movement
const MOST = 100;

export class Trail {
  constructor() {
    this.places = [];
    this.at = -Infinity;
  }

  /** Note that `place` is being left: by the hand, which moves in many small steps, or at once. */
  leave(place, { byHand = false } = {}) {
    const now = performance.now();
    if (!byHand || now - this.at > PAUSE_MS) this.places = [...this.places.slice(1 - MOST), place];
    this.at = byHand ? now : -Infinity;
  }

  /** Return the place before this one, if there is one. */
  back() {
    this.at = -Infinity;
    return this.places.pop();
  }

  clear() {
    this.places = [];
    this.at = -Infinity;
  }
}
