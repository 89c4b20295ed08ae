// Around one instant: the moves by reason, from and to; who fell ill; and the fleet as it was then.

import { ask, attempt } from '../api.js';
import { el, patch } from '../dom.js';
import { count, isKnown, percent, plural, span as spanText } from '../format.js';
import { empty, events, mark, meter, node, problem, section, table, targetLink, time } from '../parts.js';
import { bar } from '../pictures.js';

const EVENTS_MAX = 1000;
const OWNERS_PAGE = 50;

export function instant(ui, place, span) {
  const { at, kind, node: of, target } = ui.params;
  const owners = { items: [], next: null };

  async function more() {
    const answer = await attempt(ask('history', { at, node: of, target, limit: OWNERS_PAGE, cursor: owners.next }, ui.closed));
    if (answer.problem) return;
    owners.items.push(...answer.items);
    owners.next = answer.next;
    patch(owners.place, ownersOf(owners, more));
  }

  return async (signal) => {
    const instantMs = Date.parse(at);
    if (Number.isNaN(instantMs)) return patch(place, empty(`\`${at}\` is no time; RFC 3339 is expected.`));
    const [from, to] = [instantMs - span * 1000, instantMs + span * 1000].map((ms) => new Date(ms).toISOString());
    const [window, then] = await Promise.all([
      attempt(ask('history', { from, to, kind, node: of, target, limit: EVENTS_MAX }, signal)),
      attempt(ask('history', { at, node: of, target, limit: OWNERS_PAGE }, signal)),
    ]);
    if (!then.problem) Object.assign(owners, { items: then.items, next: then.next, total: then.total });
    owners.place = el('div', null, ownersOf(owners, more));
    const isWatched = window.problem || !window.store.oldest || Date.parse(window.store.oldest) <= Date.parse(from);
    patch(place,
      el('p', { class: 'intro' }, 'Within ', el('strong', null, spanText(span)), ' of ', el('strong', null, time(at)), '.'),
      !isWatched && el('div', { class: 'notice' }, mark('suspect', 'History here begins later: '), time(window.store.oldest)),
      window.problem ? problem(window.problem) : [moved(window.items), ill(window.items)],
      then.problem ? section('The fleet at this instant', problem(then.problem)) : [fleet(then.members), whose(owners)],
      !window.problem && section('Events', window.items.length === 0 ? empty('Nothing is recorded here.') : events(window.items),
        window.next && el('p', { class: 'legend' }, `The newest ${count(EVENTS_MAX)} are shown; take a shorter span for the others.`)));
  };
}

function moved(items) {
  const groups = new Map();
  for (const one of items) {
    if (one.kind !== 'moves') continue;
    const key = [one.reason, one.from?.id, one.to?.id].join(' ');
    const group = groups.get(key) ?? { ...one, key, slots: 0, targets: 0, first: one.at };
    Object.assign(group, { slots: group.slots + (one.slots ?? 0), targets: group.targets + (one.targets ?? 0), first: one.at });
    groups.set(key, group);
  }
  if (groups.size === 0) return section('What moved', empty('Nothing moved.'));
  const rows = [...groups.values()].sort((a, b) => a.first.localeCompare(b.first) || b.targets - a.targets || b.slots - a.slots);
  const most = Math.max(...rows.map((one) => one.targets), 1);
  const total = rows.reduce((sum, one) => sum + one.targets, 0);
  return section('What moved',
    el('p', null, el('b', null, plural(total, 'target')), ` in ${plural(rows.reduce((sum, one) => sum + one.slots, 0), 'slot')} changed hands.`),
    table('Moves by reason', [
      { head: 'Why', cell: (one) => one.reason },
      { head: 'From', kind: 'name', cell: (one) => node(one.from) },
      { head: 'To', kind: 'name', cell: (one) => node(one.to) },
      { head: 'Targets', kind: 'share', cell: (one) => meter(bar(one.targets, most), count(one.targets)) },
      { head: 'Slots', kind: 'n', cell: (one) => count(one.slots) },
      { head: 'Since', kind: 'n', cell: (one) => time(one.first) },
    ], rows, { key: (one) => one.key }));
}

/** Which targets changed their health; the newest word of each. */
function ill(items) {
  const last = new Map();
  for (const one of items) if (one.kind === 'health' && one.target && !last.has(one.target.id)) last.set(one.target.id, one);
  const down = [...last.values()].filter((one) => one.error);
  if (last.size === 0) return null;
  return section('Health', el('p', null, `${plural(last.size, 'target')} changed; at the end of this span `,
    down.length === 0 ? mark('up', 'none of them was down.') : mark('down', `${count(down.length)} of them ${down.length === 1 ? 'was' : 'were'} down.`)));
}

function fleet(members) {
  if (members.length === 0) return section('The fleet at this instant', empty('No members are recorded.'));
  const most = Math.max(...members.map((one) => one.slots), 1);
  const all = members.reduce((sum, one) => sum + one.slots, 0);
  return section('The fleet at this instant', table('Members then', [
    { head: 'Member', kind: 'name', cell: (one) => node(one) },
    { head: 'State', cell: (one) => mark(one.state) },
    { head: 'Slots', kind: 'share', cell: (one) =>
      meter(bar(one.slots, most), `${count(one.slots)} · ${percent(all > 0 ? one.slots / all : 0)}`) },
  ], members, { key: (one) => one.id }));
}

const whose = (owners) => el('details', { 'data-key': 'whose', class: 'whose' },
  el('summary', null, isKnown(owners.total) ? `Who scraped what then (${plural(owners.total, 'target')})` : 'Who scraped what then'), owners.place);

function ownersOf({ items, next }, more) {
  if (items.length === 0) return empty('No target is recorded.');
  return [table('Owners then', [
    { head: 'Target', kind: 'name', cell: (one) => targetLink(one.target) },
    { head: 'Job', cell: (one) => one.target.job },
    { head: 'Owner', cell: (one) => node(one.owner) },
  ], items, { key: (one) => one.target.id }), next && el('p', { class: 'more' }, el('button', { type: 'button', onclick: more }, 'Show more'))];
}
