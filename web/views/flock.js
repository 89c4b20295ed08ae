// Flock: who is here, what each one has of the whole, what is being handed over, what needs a look.

import { ask, attempt } from '../api.js';
import { el, patch } from '../dom.js';
import { count, duration, isKnown, percent, plural, rate, span, times } from '../format.js';
import { empty, events, facts, mark, meter, problem, section, table, time, unanswered } from '../parts.js';
import { bar } from '../pictures.js';
import { verification } from './verify.js';

export const title = 'Flock';

const RECENT_MAX = 12;
/** What a member itself warns of. */
const CLOCK_MS_MAX = 500;
/** Of the longest bar, so that a notch at its end is seen. */
const ROOM = 1.06;
const GONE = ['dead', 'left'];

export function open(ui) {
  const verify = verification(ui);
  return async (signal) => {
    const [fleet, targets, recent, runtime] = await Promise.all([
      ask('fleet', {}, signal),
      attempt(ask('fleet/targets', { limit: 1 }, signal)),
      attempt(ask('history', { limit: RECENT_MAX }, signal)),
      attempt(ask('status/runtimeinfo', {}, signal)),
    ]);
    patch(ui.root, el('h1', { tabindex: -1 }, title), intro(fleet.node),
      refusedConfig(runtime), warnings(fleet.warnings), unanswered(targets.asked),
      figures(fleet, targets), members(fleet), verify(), handOver(fleet.hand_over), division(fleet.division),
      section('Lately', recent.problem ? problem(recent.problem)
        : recent.items.length === 0 ? empty('Nothing has happened since history began.') : events(recent.items)));
  };
}

const intro = (node) => el('p', { class: 'intro' },
  node.cluster === null ? ['No cluster is configured: ', el('strong', null, node.name), ' works alone.']
    : ['As ', el('strong', null, node.name), ` (${node.standing}) knows the cluster `, el('strong', null, node.cluster), '.'],
  node.drain && node.drain !== 'working' && [' ', mark('suspect', node.drain)]);

function refusedConfig({ data }) {
  if (!data || data.reloadConfigSuccess !== false) return null;
  return el('section', { class: 'alarm', 'data-key': 'refused' },
    el('h2', null, 'The configuration file was refused; what ran before runs on'),
    el('pre', { tabindex: 0 }, data.reloadConfigError ?? 'See the log.'));
}

function warnings(list) {
  if (list.length === 0) return null;
  return el('section', { class: 'alarm', 'data-key': 'warnings' }, el('h2', null, 'Needs a look'),
    el('ul', null, list.map((one) => el('li', { 'data-key': one.kind + one.message },
      one.message, el('span', { class: 'dim' }, ` (${one.kind}, since `, time(one.since), ')')))));
}

function figures({ members: all, division: { imbalance } }, { counts, total }) {
  const here = all.filter((one) => !GONE.includes(one.state));
  const well = here.filter((one) => one.state === 'alive');
  const rates = here.map((one) => one.samples_per_second).filter(isKnown);
  const hottest = imbalance.samples ?? imbalance.slots;
  return el('dl', { class: 'figures' }, [
    ['members', count(here.length), well.length < here.length && mark('suspect', plural(here.length - well.length, 'suspect'))],
    ['targets', count(total), counts && [mark('up', `${count(counts.up)} up`), ' ',
      counts.down > 0 && mark('down', `${count(counts.down)} down`), counts.down > 0 && ' ',
      counts.unknown > 0 && mark('unknown', `${count(counts.unknown)} unknown`)]],
    ['samples a second', rates.length > 0 ? rate(rates.reduce((sum, one) => sum + one, 0)) : '–',
      rates.length < here.length && el('span', { class: 'dim' }, `of ${rates.length} of ${here.length} members`)],
    ['hottest member', times(hottest), el('span', { class: 'dim' },
      `its fair share of ${isKnown(imbalance.samples) ? 'samples' : 'slots'}`)],
  ].map(([term, figure, note]) => el('div', null, el('dt', null, term), el('dd', null, el('b', null, figure), note))));
}

function members({ members: all, node, division: { slots } }) {
  const here = all.filter((one) => !GONE.includes(one.state));
  const gone = all.filter((one) => GONE.includes(one.state));
  const own = all.find((one) => one.id === node.id);
  const busy = here.reduce((sum, one) => sum + (one.samples_per_second ?? 0), 0);
  const most = {
    slots: ROOM * Math.max(...here.map((one) => one.slots), 1),
    samples: ROOM * Math.max(...here.map((one) => one.samples_per_second ?? 0), 1),
  };
  const weights = here.filter((one) => one.slots > 0).reduce((sum, one) => sum + one.weight, 0);
  const fair = (one, whole) => (one.slots > 0 && weights > 0 ? (whole * one.weight) / weights : 0);
  const columns = [
    { head: 'Member', kind: 'name', cell: (one) => [el('strong', null, one.name), one.id === node.id && el('span', { class: 'tag' }, 'this one'),
      one.zone && el('span', { class: 'dim' }, ` ${one.zone}`)] },
    { head: 'State', cell: (one) => mark(one.state) },
    { head: `Share of ${count(slots)} slots`, name: 'Slots', kind: 'share', cell: (one) =>
      meter(bar(one.slots, most.slots, fair(one, slots)), `${count(one.slots)} · ${percent(one.share)}`) },
    { head: 'Share of samples a second', name: 'Samples/s', kind: 'share', cell: (one) =>
      meter(bar(one.samples_per_second ?? 0, most.samples, fair(one, busy), 'second'),
        isKnown(one.samples_per_second) ? `${rate(one.samples_per_second)} · ${percent(busy > 0 ? one.samples_per_second / busy : 0)}` : 'unknown') },
    { head: 'Clock', kind: 'n', cell: (one) => skew(one, node) },
    { head: 'Config', cell: (one) => drift(one, own, 'config_digest') },
    { head: 'Discovery', cell: (one) => drift(one, own, 'targets_digest') },
    { head: 'Address', kind: 'dim', cell: (one) => address(one, node) },
  ];
  return section('Members',
    table('Members and their shares', columns, here, { key: (one) => one.id ?? one.name, kind: 'members' }),
    el('p', { class: 'legend' }, 'The notch is where the fair share of a member ends, by its weight.'),
    gone.length > 0 && el('p', { class: 'legend' }, `Gone within the last day: `,
      gone.map((one, n) => [n > 0 && ', ', mark(one.state, `${one.name} (${one.state})`)])));
}

function skew(one, node) {
  if (one.id === node.id) return '–';
  if (!isKnown(one.clock_ahead_ms)) return 'unknown';
  const text = `${one.clock_ahead_ms > 0 ? '+' : ''}${count(one.clock_ahead_ms)} ms`;
  return Math.abs(one.clock_ahead_ms) > CLOCK_MS_MAX ? mark('suspect', text) : text;
}

function drift(one, own, digest) {
  if (!own || one.id === own.id) return el('span', { class: 'dim' }, '–');
  if (!one[digest] || !own[digest]) return el('span', { class: 'dim' }, 'unknown');
  if (one[digest] === own[digest]) return mark('same', 'same');
  return digest === 'config_digest' ? el('a', { href: '#/config' }, mark('differs', 'differs')) : mark('differs', 'differs');
}

/** A link to the same page of another member, for when this one dies. */
function address(one, node) {
  const page = `${location.protocol}//${one.api_address}/`;
  if (one.id === node.id || !URL.canParse(page)) return one.api_address;
  return el('a', { href: page, rel: 'noreferrer' }, one.api_address);
}

function handOver(view) {
  const refused = view.refused.length + view.refused_unnamed;
  if (view.taking + view.giving + refused === 0) return null;
  return section('Hand-over',
    view.taking + view.giving > 0 && el('p', { class: 'under-way' }, mark('waiting', 'under way: '),
      `${plural(view.taking, 'line')} to take, ${plural(view.giving, 'line')} to give; the longest has waited ${span(view.longest_wait_seconds ?? 0)}`),
    refused > 0 && el('p', null, mark('refused', `${plural(refused, 'line')} refused by others stay here`)),
    view.refused.length > 0 && table('Refused lines', [
      { head: 'Slot', kind: 'n', cell: (one) => one.slot },
      { head: 'Destination', cell: (one) => one.destination },
      { head: 'By', cell: (one) => one.by },
      { head: 'Records', kind: 'n', cell: (one) => count(one.records) },
      { head: 'Why', cell: (one) => one.reason },
    ], view.refused));
}

function division(view) {
  const moves = Object.entries(view.moves).filter(([, slots]) => slots > 0);
  const { quorum, overrides, gap_seconds: gaps } = view;
  return section('Division', facts(
    ['Slots moved since this member started', moves.length === 0 ? 'none' : moves.map(([reason, slots]) => `${count(slots)} by ${reason}`).join(', ')],
    isKnown(gaps.last) && ['Between the old owner’s last scrape and the first here', `${duration(gaps.last)} last, ${duration(gaps.longest)} longest`],
    view.late_fences > 0 && ['Hand-overs that took too long', mark('waiting', count(view.late_fences))],
    view.on_hold && ['This member', mark('held', 'on hold')],
    quorum && ['Majority', quorum.holds ? mark('ok', `${quorum.here} of ${quorum.base.length} are here`) : mark('refused', `lost: ${quorum.here} of ${quorum.base.length} are here`)],
    overrides && ['Evened out', `${plural(overrides.slots, 'slot')} placed by ${overrides.publisher} (version ${overrides.version})`]));
}
