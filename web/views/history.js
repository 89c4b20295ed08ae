// History: what happened of late; or around one instant: what a deploy or a crash did.

import { ask, attempt } from '../api.js';
import { el, patch } from '../dom.js';
import { count, localInput, plural } from '../format.js';
import { age, empty, eventKey, events, loading, targetLink, time } from '../parts.js';
import { instant } from './instant.js';

export const title = 'History';

const PAGE_EVENTS = 100;
/** A page may stay open for weeks. */
const OLDER_MAX = 5000;
/** Each way from the instant that is looked at, in seconds. */
const SPANS = [['60', '± 1 min'], ['300', '± 5 min'], ['900', '± 15 min'], ['3600', '± 1 h'], ['21600', '± 6 h']];
const SPAN = '300';
const KINDS = ['member', 'moves', 'target', 'health', 'config', 'placement', 'notice', 'drop'];

export function open(ui) {
  const form = filters(ui);
  const place = el('div', { 'data-kept': true }, loading());
  patch(ui.root, el('h1', { tabindex: -1 }, title), form.element, place);
  const show = ui.params.at ? instant(ui, place, Number(ui.params.span) || Number(SPAN)) : lately(ui, place);
  return async (signal) => {
    form.update(await attempt(ask('fleet', {}, signal)));
    return show(signal);
  };
}

/** The newest first, and as many pages of older ones as are asked for. */
function lately({ params: { kind, node, target, to }, closed }, place) {
  const list = { items: [], next: null, older: [] };
  const question = { kind, node, target, to, limit: PAGE_EVENTS };

  async function more() {
    if (!list.next || list.isAdding) return;
    list.isAdding = true;
    const answer = await attempt(ask('history', { ...question, cursor: list.next }, closed)).finally(() => {
      list.isAdding = false;
    });
    if (answer.problem) return;
    list.older.push(...answer.items);
    list.next = answer.next;
    draw();
  }

  function draw() {
    const seen = new Set();
    const all = [...list.items, ...list.older].filter((one) => {
      const isNew = !seen.has(eventKey(one));
      return isNew && seen.add(eventKey(one));
    });
    patch(place, about(list.store, target), all.length === 0 ? empty('Nothing of this kind is recorded.') : events(all),
      all.length > 0 && el('p', { class: 'more' }, list.total === null ? plural(all.length, 'event') : `${count(all.length)} of ${plural(list.total, 'event')}`,
        list.next && [' ', el('button', { type: 'button', onclick: more }, 'Show older')]));
  }

  return async (signal) => {
    const answer = await ask('history', question, signal);
    const { total, store } = answer;
    if (list.older.length === 0) list.next = answer.next;
    // What slides off the first page while older ones are read stays in sight.
    else list.older = [...list.items, ...list.older].slice(0, OLDER_MAX);
    Object.assign(list, { items: answer.items, total, store });
    draw();
  };
}

function about(store, target) {
  return el('div', { 'data-key': 'about' },
    store.fault && el('div', { class: 'alarm' }, el('strong', null, 'History is not written: '), store.fault),
    target && el('p', null, 'Only of ', targetLink({ id: target })),
    store.oldest && el('p', { class: 'legend' }, 'Recorded since ', time(store.oldest), ' (', age(store.oldest), ')'));
}

function filters(ui) {
  const { params } = ui;
  const at = el('input', { type: 'datetime-local', id: 'at', step: 1 });
  if (params.at && !Number.isNaN(Date.parse(params.at))) at.value = localInput(params.at);
  const span = chosen('span', SPANS, params.span ?? SPAN);
  const kind = chosen('kind', [['', 'all'], ...KINDS.map((one) => [one, one])], params.kind);
  const node = chosen('node', [['', 'all']], params.node);

  function go(change) {
    const { target } = params;
    const said = { at: params.at, span: span.value, kind: kind.value, node: node.value, target, ...change };
    if (!said.at) delete said.span;
    const text = new URLSearchParams(Object.entries(said).filter(([, value]) => value)).toString();
    location.hash = `#/history${text && `?${text}`}`;
  }

  for (const select of [span, kind, node]) select.onchange = () => go();
  at.onchange = () => go({ at: at.value && new Date(at.value).toISOString() });
  const labelled = (text, input) => el('label', { for: input.id }, el('span', null, text), input);
  return {
    element: el('form', { class: 'filters', 'data-kept': true, onsubmit: (event) => event.preventDefault() },
      labelled('Around (local time)', at), params.at && labelled('Within', span),
      labelled('Kind', kind), labelled('Member', node),
      params.at && el('a', { href: '#/history', class: 'button' }, 'Latest')),
    update({ members = [] }) {
      const names = [...new Set([...members.map((one) => one.name), ...(params.node ? [params.node] : [])])].sort();
      if (node.options.length === names.length + 1) return;
      node.replaceChildren(...[['', 'all'], ...names.map((name) => [name, name])].map(([value, text]) => el('option', { value }, text)));
      node.value = params.node ?? '';
    },
  };
}

function chosen(id, choices, value = '') {
  const all = choices.some(([known]) => known === value) ? choices : [...choices, [value, value]];
  const select = el('select', { id }, all.map(([one, text]) => el('option', { value: one }, text)));
  select.value = value;
  return select;
}
