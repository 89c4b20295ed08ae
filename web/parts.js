// What the views are made of: times, marks, links, tables, and the states of having nothing to show.

import { el } from './dom.js';
import { query } from './api.js';
import { ago, clock, now, utc } from './format.js';

/** A sign and a word each, as colour alone tells not everyone. */
const MARKS = {
  up: ['●', 'good'], down: ['▼', 'bad'], unknown: ['○', 'dim'], dropped: ['–', 'dim'],
  alive: ['●', 'good'], suspect: ['◐', 'warn'], dead: ['▼', 'bad'], left: ['○', 'dim'],
  sending: ['●', 'good'], idle: ['●', 'good'], waiting: ['◐', 'warn'], held: ['▼', 'bad'],
  same: ['=', 'dim'], alike: ['≈', 'dim'], differs: ['≠', 'warn'], refused: ['▼', 'bad'], ok: ['●', 'good'],
};

export function mark(kind, text = kind) {
  const [sign, tone] = MARKS[kind] ?? ['•', 'dim'];
  return el('span', { class: `tone ${tone}` }, el('span', { 'aria-hidden': 'true' }, sign), ` ${text}`);
}

export const time = (at) => (at ? el('time', { datetime: at, title: utc(at) }, clock(at)) : '–');

/** Kept right by `tick`. */
export const age = (at) =>
  (at ? el('time', { datetime: at, 'data-age': true, title: `${clock(at)}, ${utc(at)}` }, ago(at)) : 'never');

/** Of what comes again and again: the next one. */
export const next = (at, everySeconds) =>
  el('time', { datetime: at, 'data-age': true, 'data-every': everySeconds, title: `${clock(at)}, ${utc(at)}` }, ago(at));

export function tick() {
  for (const element of document.querySelectorAll('time[data-age]')) {
    const every = Number(element.dataset.every) * 1000;
    const passed = now() - Date.parse(element.dateTime);
    if (every > 0 && passed > 0) {
      element.dateTime = new Date(Date.parse(element.dateTime) + every * Math.ceil(passed / every)).toISOString();
    }
    const text = ago(element.dateTime);
    if (element.textContent !== text) element.firstChild.data = text;
  }
}

export const node = (one) => (one ? one.name || one.id?.slice(0, 8) : el('span', { class: 'dim' }, 'nobody'));

export const targetHref = (target) => `#/targets/${encodeURIComponent(target.id)}${query({ job: target.job })}`;

export const targetLink = (target) => el('a', { href: targetHref(target), class: 'url' }, target.url || target.id);

export const around = (at, text = 'around this') =>
  el('a', { href: `#/history${query({ at })}`, class: 'quiet' }, text);

/** A bar and what it says, on one line. */
export const meter = (drawn, ...text) => el('div', { class: 'meter' }, drawn, el('span', { class: 'n' }, text));

/** `[term, value]` pairs; what is absent is left out. */
export const facts = (...pairs) => el('dl', { class: 'facts' }, pairs.filter(Boolean)
  .map(([term, value]) => el('div', null, el('dt', null, term), el('dd', null, value))));

export const section = (title, ...content) => el('section', { 'data-key': title }, el('h2', null, title), content);

export const empty = (...text) => el('p', { class: 'empty' }, text);

export const problem = (error) =>
  el('div', { class: 'problem', role: 'alert' }, el('strong', null, 'No answer to show: '), error.message);

export const loading = () => el('p', { class: 'empty loading', role: 'status' }, 'Asking the flock …');

/** Who did not answer, so that nobody takes a part for the whole. */
export function unanswered(asked = []) {
  const silent = asked.filter((one) => !one.answered);
  if (silent.length === 0) return null;
  return el('div', { class: 'notice', role: 'status' }, mark('suspect', 'Not all members answered: '),
    silent.map((one, n) => [n > 0 && '; ', el('strong', null, one.name), one.error ? ` (${one.error})` : '']),
    '. What is shown of them is what this member knows.');
}

/**
 * `columns`: `{ head, cell(row), kind, sort, name }`. A table on paper is a list of cards on a
 * phone; the roles stay those of a table, whatever the style sheet makes of it.
 */
export function table(caption, columns, rows, { key, sorting, kind = '' } = {}) {
  return el('div', { class: 'wide', 'data-key': caption }, el('table', { role: 'table', class: `cards ${kind}` },
    el('caption', { class: 'unseen' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, columns.map((column) => head(column, sorting)))),
    el('tbody', { role: 'rowgroup' }, rows.map((row) => el('tr', { role: 'row', 'data-key': key?.(row) },
      columns.map((column) => el('td', { role: 'cell', class: column.kind, 'data-head': column.name ?? column.head },
        column.cell(row))))))));
}

function head({ head: text, kind, sort }, sorting) {
  const isBy = sort !== undefined && sorting?.by === sort;
  return el('th', { role: 'columnheader', scope: 'col', class: kind, 'aria-sort': isBy && sorting.direction },
    sort === undefined ? text
      : el('button', { type: 'button', class: 'sort', onclick: () => sorting.choose(sort) }, text,
        el('span', { 'aria-hidden': 'true' }, isBy ? (sorting.direction === 'descending' ? ' ↓' : ' ↑') : '')));
}

/** Events of other members have no number here. */
export const eventKey = (one) => `${one.id ?? ''} ${one.at} ${one.kind} ${one.summary} ${one.target?.id ?? ''}`;

/** One line of what happened. */
const event = (one) => el('li', { 'data-key': eventKey(one), class: `event is-${one.kind}` },
  time(one.at),
  el('span', { class: 'kind' }, one.kind),
  el('span', { class: 'what' }, summary(one),
    one.error && !one.summary.includes(one.error) && el('span', { class: 'error' }, one.error)),
  around(one.at));

/** The target that it is about is a link, where it is named or else after it. */
function summary({ summary: text, target }) {
  if (!target) return text;
  const at = target.url ? text.indexOf(target.url) : -1;
  return at < 0 ? [text, ' ', targetLink(target)]
    : [text.slice(0, at), targetLink(target), text.slice(at + target.url.length)];
}

export const events = (list) => el('ol', { class: 'events' }, list.map(event));
