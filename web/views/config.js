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
  const others = members.filter((one) => one.differs && one.yaml !== null);
  patch(ui.root, el('h1', { tabindex: -1 }, title), unanswered(asked),
    table('Configurations by member', [
      { head: 'Member', kind: 'name', cell: (one) => [el('strong', null, one.name), one === own && el('span', { class: 'tag' }, 'this one')] },
      { head: 'Compared with this one', cell: (one) => (one === own ? '–' : one.yaml === null ? mark('unknown') : mark(one.differs ? 'differs' : 'same')) },
      { head: 'Loaded', cell: (one) => age(one.loaded_at) },
      { head: 'Digest', kind: 'mono', cell: (one) => one.digest?.slice(0, DIGEST_DIGITS) ?? '–' },
      { head: 'File', cell: (one) => (one.refused ? [mark('refused', 'refused; what ran before runs on'), el('span', { class: 'error' }, one.refused)] : mark('ok', 'in force')) },
    ], members, { key: (one) => one.id ?? one.name }),
    own && others.map((one) => difference(own, one)),
    own ? section(`As ${own.name} runs it`, el('pre', { class: 'yaml', tabindex: 0, role: 'region', 'aria-label': `configuration of ${own.name}` }, own.yaml))
      : empty('No configuration was told.'));
};

function difference(own, other) {
  const found = hunks(own.yaml.split('\n'), other.yaml.split('\n'));
  const shown = found.map(({ from, lines }) => el('div', { class: 'hunk' },
    el('p', { class: 'legend' }, `line ${from} of ${own.name}`),
    el('ul', { class: 'diff' }, lines.map(({ kind, text }) => el('li', { class: kind },
      el('span', { class: 'sign', 'aria-hidden': 'true' }, { gone: '−', new: '+', '': ' ' }[kind]),
      kind && el('span', { class: 'unseen' }, kind === 'gone' ? `only ${own.name}: ` : `only ${other.name}: `), text || ' ')))));
  return section(`How ${other.name} differs`, el('p', { class: 'legend' }, `− only ${own.name}, + only ${other.name}`),
    found.length === 0 ? empty('Only in what is not shown: secrets, or files that it names.') : shown);
}
