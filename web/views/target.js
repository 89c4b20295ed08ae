// One target: how it is, who owned it when and why, and how it came to be what it is.

import { ask, attempt } from '../api.js';
import { el, patch } from '../dom.js';
import { clock, count, duration, isKnown, labels, now, percent, plural, span } from '../format.js';
import { age, around, empty, events, facts, mark, next, node, problem, section, table, time, unanswered } from '../parts.js';
import { lane, spark } from '../pictures.js';
import { labelChanges } from './labels.js';

export const title = 'Target';

const CHANGES_MAX = 100;
const WRITTEN_MS_MAX = 15_000;

export function open(ui) {
  const { id } = ui.view;
  const path = `targets/${encodeURIComponent(id)}`;
  const { job } = ui.params;
  return async (signal) => {
    const explained = await attempt(ask(`${path}/explain`, { job }, signal));
    // What is dropped has no owner, and nobody keeps its past.
    const isKept = explained.problem || explained.outcome === 'kept';
    const past = isKept && await attempt(ask(`${path}/history`, { job, limit: CHANGES_MAX }, signal));
    const { status } = explained;
    const name = explained.url ?? past.target?.url ?? id;
    document.title = `${name} – Starling`;
    patch(ui.root, el('p', { class: 'crumb' }, el('a', { href: '#/targets' }, 'Targets'), ' / ', explained.job ?? job ?? ''),
      el('h1', { tabindex: -1, class: 'url' }, name), unanswered(past.asked),
      explained.problem ? problem(explained.problem) : [state(explained, status)],
      past && (past.problem ? section('Who owned it', problem(past.problem)) : ownership(past)),
      !explained.problem && [placement(explained), steps(explained)],
      past && !past.problem && section('What happened to it', past.changes.length === 0 ? empty('Nothing is recorded.') : events(past.changes)));
  };
}

function state({ outcome, reason, labels: own, schedule, divided, placement: place }, status) {
  return el('section', { 'data-key': 'state' },
    status?.last_error && el('div', { class: 'alarm' }, el('strong', null, 'Last error: '), status.last_error),
    outcome !== 'kept' && el('div', { class: 'notice' }, mark('dropped', outcome), `: ${reason}`),
    facts(
      status && ['Health', mark(status.health)],
      ['Owner', !divided ? 'each member scrapes it itself' : [node(place?.owner), place?.would && ' (would be)']],
      status && ['Last scrape', age(status.last_scrape)],
      status && ['Took', [spark(status.durations_seconds), ' ', duration(status.last_duration_seconds)]],
      status && isKnown(status.samples) && ['Samples a scrape', count(status.samples)],
      schedule && ['Next scrape', next(schedule.next_tick, schedule.interval_seconds)],
      schedule && ['Interval', `${span(schedule.interval_seconds)}, timeout ${span(schedule.timeout_seconds)}`],
      status?.others?.length > 0 && divided && ['Also scraped by', mark('suspect', status.others.map((one) => one.name).join(', '))]),
    own && outcome === 'kept' && el('p', { class: 'labels mono' }, labels(own)));
}

/** A lane for each owner, so that a move is a step from one line to the next. */
function ownership({ spans, unwatched: all }) {
  if (spans.length === 0) return section('Who owned it', empty('Nothing is recorded.'));
  const unwatched = all.filter((one) => !isYetToBeWritten(one));
  const from = Math.min(...spans.map((one) => Date.parse(one.from)));
  const until = now();
  const owners = [...new Set(spans.map((one) => one.owner?.name ?? 'nobody'))];
  const total = Math.max(1, until - from);
  const lasted = (one) => (one.until ? Date.parse(one.until) : until) - Date.parse(one.from);
  return section('Who owned it',
    el('div', { class: 'timeline' },
      owners.map((owner) => {
        const own = spans.filter((one) => (one.owner?.name ?? 'nobody') === owner);
        const part = own.reduce((sum, one) => sum + lasted(one), 0) / total;
        return el('div', { 'data-key': owner, class: 'owner' },
          el('span', { class: 'who' }, owner), lane(own, unwatched, from, until), el('span', { class: 'n dim' }, percent(part)));
      }),
      el('div', { class: 'axis', 'aria-hidden': 'true' }, el('span', null, clock(from)), el('span', null, 'now'))),
    unwatched.length > 0 && el('p', { class: 'legend' }, 'Dashed: this member did not look; what is told of it came from others, or is not known.'),
    table('Owners in turn', [
      { head: 'From', cell: (one) => time(one.from) },
      { head: 'Until', cell: (one) => (one.until ? time(one.until) : 'now') },
      { head: 'For', kind: 'n', cell: (one) => span(lasted(one) / 1000) },
      { head: 'Owner', kind: 'name', cell: (one) => node(one.owner) },
      { head: 'Why it came', cell: (one) => one.reason },
      { head: el('span', { class: 'unseen' }, 'Look'), name: 'Look', cell: (one) => around(one.from) },
    ], [...spans].reverse(), { key: (one) => one.from }));
}

/** That someone looks is written every few seconds; the last of them are always missing. */
const isYetToBeWritten = ({ from, until }) => {
  const [begin, end] = [Date.parse(from), until ? Date.parse(until) : now()];
  return now() - end < WRITTEN_MS_MAX && end - begin < WRITTEN_MS_MAX;
};

function placement({ placement: place, divided }) {
  if (!divided || !place) return null;
  return section(place.would ? 'Where it would go' : 'Why this owner',
    el('p', { class: 'legend' }, `Slot ${place.slot}. The first of the ranking that takes part owns the slot`,
      place.overridden ? '; here another was put in charge, to even out the load.' : '.'),
    el('ol', { class: 'ranking' }, place.ranking.map((one) => {
      const isOwner = one.id === place.owner?.id;
      return el('li', { class: isOwner ? 'chosen' : '', 'data-key': one.id }, el('strong', null, one.name), ' ',
        one.state === 'alive' ? null : mark(one.state), ` weight ${one.weight}`, isOwner && el('span', { class: 'tag' }, place.would ? 'would own it' : 'owner'));
    })));
}

function steps({ discovered_labels: discovered, steps: list, outcome, reason, labels: end }) {
  const kept = outcome === 'kept' ? `Kept, with ${plural(Object.keys(end ?? {}).length, 'label')}.` : `${outcome === 'dropped' ? 'Dropped' : 'Invalid'}: ${reason}`;
  return section('How it came to be',
    el('details', { class: 'discovered', 'data-key': 'discovered' }, el('summary', null, `Discovered with ${plural(Object.keys(discovered).length, 'label')}`),
      labelChanges(discovered, discovered, { isWhole: true })),
    list.length === 0 ? empty('No relabelling is configured for this job.')
      : el('ol', { class: 'steps' }, list.map((step) => el('li', { 'data-key': step.number, class: step.kept ? '' : 'drops' },
        el('p', { class: 'rule' }, el('b', null, step.rule.action ?? 'replace'), ' ', rule(step.rule)),
        step.kept ? labelChanges(step.before, step.after) : el('p', null, mark('dropped', 'dropped here'))))),
    el('p', null, outcome === 'kept' ? mark('ok', kept) : mark('dropped', kept)));
}

/** As it reads in the file, but for the action. */
function rule(said) {
  const { action, ...others } = said;
  return el('code', null, Object.entries(others).filter(([, value]) => isKnown(value))
    .map(([name, value]) => `${name}: ${Array.isArray(value) ? `[${value.join(', ')}]` : `'${value}'`}`).join('  '));
}
