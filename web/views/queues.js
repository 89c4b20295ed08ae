// Queues: what waits to be sent, on each member and for each destination, and why.

import { ask } from '../api.js';
import { el, patch } from '../dom.js';
import { bytes, count, duration, isKnown } from '../format.js';
import { age, empty, mark, meter, table, unanswered } from '../parts.js';
import { bar } from '../pictures.js';

export const title = 'Queues';

/** How much they say that someone should look. */
const URGENCY = { idle: 0, in_flight: 0, backing_off: 1, held: 2 };

export const open = (ui) => async (signal) => {
  const { members, asked } = await ask('fleet/queues', {}, signal);
  const rows = members.flatMap((member) =>
    (member.destinations ?? []).map((queue) => ({ member, queue, key: `${member.id ?? member.name} ${queue.name}` })));
  const most = Math.max(...rows.map(({ queue }) => queue.bytes), 1);
  const waiting = rows.reduce((sum, { queue }) => sum + queue.samples, 0);
  patch(ui.root, el('h1', { tabindex: -1 }, title), unanswered(asked),
    rows.length === 0 ? empty('No destination is configured: nothing is sent anywhere.')
      : [el('p', { class: 'intro' }, el('b', null, count(waiting)), ' samples wait to be sent.'),
        table('Queues by member and destination', columns(most), rows, { key: (one) => one.key })]);
};

const columns = (most) => [
  { head: 'Destination', kind: 'name', cell: ({ queue }) => el('strong', null, queue.name) },
  { head: 'Member', cell: ({ member }) => member.name },
  { head: 'State', cell: ({ queue }) => state(queue) },
  { head: 'Waiting', kind: 'share', cell: ({ queue }) =>
    meter(bar(queue.bytes, most), `${count(queue.samples)} · ${bytes(queue.bytes)}`) },
  { head: 'Oldest', kind: 'n', cell: ({ queue }) => (isKnown(queue.oldest_age_seconds) ? duration(queue.oldest_age_seconds) : '–') },
  { head: 'In flight', kind: 'n', cell: ({ queue }) => count(queue.in_flight) },
  { head: 'Sent', kind: 'n', cell: ({ queue }) => count(queue.sent_samples) },
  { head: 'Dropped', cell: ({ queue }) => dropped(queue.dropped_samples) },
  { head: 'On disk', kind: 'n', cell: ({ queue: { disk } }) => bytes(disk.bytes) },
];

function state({ lanes, disk, last_answer: answer }) {
  const worst = lanes.reduce((one, other) => (URGENCY[other.state] > URGENCY[one?.state ?? 'idle'] ? other : one), null);
  const [kind, text] = worst === null ? ['sending', 'sending'] : worst.state === 'held' ? ['held', 'held'] : ['waiting', 'waiting to try again'];
  const isStuck = worst !== null;
  const stuck = lanes.filter((lane) => URGENCY[lane.state] > 0).length;
  return [mark(kind, text), isStuck && el('span', { class: 'dim' }, ` ${count(stuck)} of ${count(lanes.length)} lanes`),
    disk.fault && el('span', { class: 'error' }, `disk: ${disk.fault}`),
    worst?.reason && el('span', { class: 'error' }, worst.reason),
    isStuck && answer && el('span', { class: 'error' }, answer.text, answer.time && [' ', age(answer.time)])];
}

function dropped(counts) {
  const lost = Object.entries(counts).filter(([, samples]) => samples > 0);
  if (lost.length === 0) return el('span', { class: 'dim' }, 'none');
  return mark('refused', lost.map(([reason, samples]) => `${count(samples)} ${reason}`).join(', '));
}
