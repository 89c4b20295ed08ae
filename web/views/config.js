// Config: what each member runs, secrets removed, and where two of them differ.

import { ask } from '../api.js';
import { el, patch } from '../dom.js';
import { age, empty, mark, section, table, unanswered } from '../parts.js';
import { hunks } from './difference.js';

export const title = 'Config';

const DIGEST_DIGITS = 8;

export const open = (ui) => async (signal) => {
  const [{ members, asked }, { node }] = await Promise.all([ask('fleet/config', {}, signal), ask('fleet', {}, signal)]);
  const own = members.find((one) => one.id === node.id) ?? members.find((one) => !one.differs && one.yaml !== null);
  const others = members.filter((one) => own && comparedWith(own, one) === 'differs');
  const alike = members.filter((one) => own && comparedWith(own, one) === 'alike');
  patch(ui.root, el('h1', { tabindex: -1 }, title), unanswered(asked),
    table('Configurations by member', [
      { head: 'Member', kind: 'name', cell: (one) => [el('strong', null, one.name), one === own && el('span', { class: 'tag' }, 'this one')] },
      { head: 'Compared with this one', cell: (one) => (one === own ? '–' : comparison(own, one)) },
      { head: 'Loaded', cell: (one) => age(one.loaded_at) },
      { head: 'Digest', kind: 'mono', cell: (one) => one.digest?.slice(0, DIGEST_DIGITS) ?? '–' },
      { head: 'File', cell: (one) => (one.refused ? [mark('refused', 'refused; what ran before runs on'), el('span', { class: 'error' }, one.refused)] : mark('ok', 'in force')) },
    ], members, { key: (one) => one.id ?? one.name }),
    own && others.map((one) => difference(own, one)),
    own && alike.length > 0 && section('What is each member’s own', alike.map((one) => el('details', { 'data-key': one.id },
      el('summary', null, `${own.name} and ${one.name}`), changes(own, one)))),
    own ? section(`As ${own.name} runs it`, el('pre', { class: 'yaml', tabindex: 0, role: 'region', 'aria-label': `configuration of ${own.name}` }, own.yaml))
      : empty('No configuration was told.'));
};

/** The digest is of what all members must agree on; names, addresses and paths may differ by host. */
function comparedWith(own, one) {
  if (one.yaml === null) return 'unknown';
  if (!one.differs) return 'same';
  return one.digest === own?.digest ? 'alike' : 'differs';
}

const WORDS = { alike: 'differs only in what is its own' };

function comparison(own, one) {
  const kind = comparedWith(own, one);
  return mark(kind, WORDS[kind]);
}

const difference = (own, other) => section(`How ${other.name} differs`, changes(own, other));

function changes(own, other) {
  const found = hunks(own.yaml.split('\n'), other.yaml.split('\n'));
  const shown = found.map(({ from, lines }) => el('div', { class: 'hunk' },
    el('p', { class: 'legend' }, `line ${from} of ${own.name}`),
    el('ul', { class: 'diff' }, lines.map(({ kind, text }) => el('li', { class: kind },
      el('span', { class: 'sign', 'aria-hidden': 'true' }, { gone: '−', new: '+', '': ' ' }[kind]),
      kind && el('span', { class: 'unseen' }, kind === 'gone' ? `only ${own.name}: ` : `only ${other.name}: `), text || ' ')))));
  return [el('p', { class: 'legend' }, `− only ${own.name}, + only ${other.name}`),
    found.length === 0 ? empty('Only in what is not shown: secrets, or files that it names.') : shown];
}
