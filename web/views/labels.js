// Two label sets as a difference: signs first, colours second.

import { el } from '../dom.js';

export function labelChanges(before, after, { isWhole = false } = {}) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const lines = names.flatMap((name) => {
    const [was, is] = [before[name], after[name]];
    if (was === is) return isWhole ? [line('', ' ', name, is)] : [];
    return [was !== undefined && line('gone', '−', name, was), is !== undefined && line('new', '+', name, is)].filter(Boolean);
  });
  if (lines.length === 0) return el('p', { class: 'dim' }, 'changes nothing');
  return el('ul', { class: 'diff' }, lines);
}

const SAID = { '−': 'removed ', '+': 'added ' };

const line = (kind, sign, name, value) => el('li', { class: kind },
  el('span', { 'aria-hidden': 'true', class: 'sign' }, sign), SAID[sign] && el('span', { class: 'unseen' }, SAID[sign]), `${name}="${value}"`);
