// Pictures drawn from numbers: shares, recent durations, who owned what when. Each says in words
// what it shows, and none needs its colours to be told apart.

import { svg } from './dom.js';
import { clock, duration, now } from './format.js';

const SPARK_HEIGHT = 16;
const SPARK_STEP = 4;
const SPARK_MAX = 16;

const part = (x) => `${(100 * Math.min(1, Math.max(0, x))).toFixed(2)}%`;

/** `value` of `full`, with a notch where its fair part would end. */
export function bar(value, full, fair, kind = '') {
  const scale = full > 0 ? full : 1;
  return svg('svg', { class: `bar ${kind}`, 'aria-hidden': 'true' },
    svg('rect', { class: 'rail', width: '100%', height: '100%', rx: 2 }),
    svg('rect', { class: 'fill', width: part(value / scale), height: '100%', rx: 2 }),
    fair && svg('line', { class: 'notch', x1: part(fair / scale), x2: part(fair / scale), y1: '0', y2: '100%' }));
}

/** The last durations, oldest first; the height is of the longest. */
export function spark(durations) {
  if (durations.length === 0) return null;
  const longest = Math.max(...durations);
  const last = durations.length - 1;
  const words = `recent scrapes: last ${duration(durations[last])}, longest ${duration(longest)}`;
  return svg('svg', {
    class: 'spark', role: 'img', 'aria-label': words,
    width: SPARK_MAX * SPARK_STEP, height: SPARK_HEIGHT,
  }, svg('title', null, words), durations.map((seconds, n) => {
    const height = Math.max(1.5, (SPARK_HEIGHT * seconds) / (longest || 1));
    return svg('rect', {
      class: n === last ? 'last' : '', width: SPARK_STEP - 1, height: height.toFixed(1),
      x: (SPARK_MAX - durations.length + n) * SPARK_STEP, y: (SPARK_HEIGHT - height).toFixed(1),
    });
  }));
}

/** One owner's lane of a timeline: its spans, and what nobody looked at, between two instants. */
export function lane(spans, unwatched, from, until) {
  const at = (time) => (time - from) / Math.max(1, until - from);
  const block = (kind, one, words) => {
    const [start, end] = [Date.parse(one.from), one.until ? Date.parse(one.until) : now()];
    const [x, width] = [Math.max(0, at(start)), Math.min(1, at(end)) - Math.max(0, at(start))];
    return width >= 0 && svg('rect', { class: kind, x: part(x), width: part(Math.max(width, 0.004)), height: '100%' },
      svg('title', null, words));
  };
  const words = (one) => `${clock(one.from)} – ${one.until ? clock(one.until) : 'now'}`;
  return svg('svg', { class: 'lane', 'aria-hidden': 'true' },
    svg('rect', { class: 'rail', width: '100%', height: '100%' }),
    unwatched.map((one) => block('unwatched', one, `${words(one)}: not watched`)),
    spans.map((one) => block(!one.owner ? 'none' : one.until ? 'was' : 'is', one, `${words(one)}: ${one.reason}`)));
}
