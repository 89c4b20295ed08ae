// Targets: all of the fleet, searched by the agent and not by the page, so that ten thousand are
// no more to carry than a hundred.

import { ask, Problem } from '../api.js';
import { el, patch } from '../dom.js';
import { count, duration, labels } from '../format.js';
import { age, empty, loading, mark, node, problem, table, targetHref, unanswered } from '../parts.js';
import { spark } from '../pictures.js';

export const title = 'Targets';

const PAGE_ROWS = 100;
/** So many are kept up to date; what was added below them is as it was when it was added. */
const LIVE_ROWS_MAX = 1000;
/** Between the last letter and the question. */
const TYPING_MS = 120;
const SORTS = {
  health: 'ascending', job: 'ascending', url: 'ascending', owner: 'ascending', last_scrape: 'ascending', duration: 'descending',
};

export function open(ui) {
  const list = { answer: null, items: [], next: null, asked: '', asking: null };
  const form = filters(ui, again);
  const rows = el('div', { 'data-kept': true }, loading());
  let typing = null;
  patch(ui.root, el('h1', { tabindex: -1 }, title), form.element, rows);
  const end = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && more(), { rootMargin: '400px' });
  ui.closed.addEventListener('abort', () => end.disconnect());

  function again({ isTyped = false } = {}) {
    clearTimeout(typing);
    if (isTyped) list.isToOpen = false;
    typing = setTimeout(() => show(ui.closed).catch(fail), isTyped ? TYPING_MS : 0);
  }

  /** The question that was asked last is the only one whose answer counts. */
  async function put(question, signal) {
    list.asking?.abort();
    const asking = new AbortController();
    list.asking = asking;
    signal.addEventListener('abort', () => asking.abort());
    rows.setAttribute('aria-busy', 'true');
    try {
      return await ask('fleet/targets', question, asking.signal);
    } finally {
      if (list.asking === asking) rows.removeAttribute('aria-busy');
    }
  }

  async function show(signal) {
    const question = form.question();
    const asked = JSON.stringify(question);
    const isSame = asked === list.asked;
    const limit = isSame ? Math.min(LIVE_ROWS_MAX, Math.max(PAGE_ROWS, list.items.length)) : PAGE_ROWS;
    const answer = await put({ ...question, limit }, signal);
    const below = isSame ? list.items.slice(limit) : [];
    const shown = new Set(answer.items.map(keyOf));
    Object.assign(list, { answer, asked, items: [...answer.items, ...below.filter((one) => !shown.has(keyOf(one)))] });
    if (below.length === 0) list.next = answer.next;
    draw();
    if (list.isToOpen) openFirst();
  }

  async function more() {
    if (!list.next || list.isAdding) return;
    list.isAdding = true;
    const { asked, next } = list;
    try {
      const answer = await ask('fleet/targets', { ...JSON.parse(asked), limit: PAGE_ROWS, cursor: next }, ui.closed);
      // Another question was put meanwhile, or this page was already added.
      if (asked !== list.asked || next !== list.next) return;
      const shown = new Set(list.items.map(keyOf));
      list.items.push(...answer.items.filter((one) => !shown.has(keyOf(one))));
      list.next = answer.next;
      draw();
    } catch (error) {
      fail(error);
    } finally {
      list.isAdding = false;
    }
  }

  function fail(error) {
    if (error.name === 'AbortError') return;
    if (!(error instanceof Problem)) throw error;
    if (list.answer === null) patch(rows, problem(error));
    else form.say(`not answered: ${error.message}`);
  }

  function draw() {
    form.update(list.answer);
    const { items, answer, next } = list;
    const question = JSON.parse(list.asked);
    const isDropped = question.state === 'dropped';
    const isFiltered = Object.keys(question).some((name) => !['state', 'sort'].includes(name));
    patch(rows, unanswered(answer.asked),
      items.length === 0 ? empty(isFiltered ? 'No target matches.' : isDropped ? 'No target is dropped.' : 'No target is discovered.')
        : table(isDropped ? 'Dropped targets' : 'Targets', isDropped ? DROPPED : COLUMNS, items, {
          key: keyOf, kind: 'targets',
          sorting: { by: question.sort, direction: SORTS[question.sort], choose: form.sort },
        }),
      items.length > 0 && el('p', { class: 'more' },
        `${count(items.length)} of ${count(answer.total)} shown`,
        next && [' ', el('button', { type: 'button', onclick: more }, 'Show more')]));
    end.disconnect();
    const last = rows.querySelector('.more');
    if (last && next) end.observe(last);
  }

  /** The first of what was asked for, as soon as that is what is shown. */
  function openFirst() {
    list.isToOpen = list.asked !== JSON.stringify(form.question());
    if (list.isToOpen) again();
    else if (list.items.length > 0) location.hash = targetHref(list.items[0]);
  }

  form.enter = openFirst;
  return show;
}

const keyOf = (one) => `${one.id} ${one.job} ${one.owner?.id ?? one.owner?.name ?? ''}`;

const COLUMNS = [
  { head: 'Health', sort: 'health', cell: (one) => mark(one.health) },
  { head: 'Target', sort: 'url', kind: 'name', cell: (one) => [
    el('a', { href: targetHref(one), class: 'url' }, one.url), el('span', { class: 'dim labels' }, labels(rest(one))),
    one.last_error && el('span', { class: 'error' }, one.last_error)] },
  { head: 'Job', sort: 'job', cell: (one) => one.job },
  { head: 'Owner', sort: 'owner', cell: (one) => [one.owner || one.divided ? node(one.owner) : 'each member',
    one.others.length > 0 && one.divided && mark('suspect', ` also ${one.others.map((other) => other.name).join(', ')}`)] },
  { head: 'Last scrape', sort: 'last_scrape', kind: 'n', cell: (one) => age(one.last_scrape) },
  { head: 'Took', sort: 'duration', kind: 'n took', cell: (one) => [spark(one.durations_seconds), el('span', { class: 'figure' }, duration(one.last_duration_seconds))] },
];

const DROPPED = [
  { head: 'Job', cell: (one) => one.job },
  { head: 'Discovered', kind: 'name', cell: (one) => [
    el('a', { href: targetHref(one), class: 'url' }, one.discovered_labels.__address__ ?? one.id),
    el('span', { class: 'dim labels' }, labels(one.discovered_labels)), one.error && el('span', { class: 'error' }, one.error)] },
];

/** The job is told beside it, the instance by its address. */
function rest({ labels: all, url, job }) {
  const isTold = ([name, value]) => (name === 'job' && value === job) || (name === 'instance' && url.includes(value));
  return Object.fromEntries(Object.entries(all).filter((pair) => !isTold(pair)));
}

/** What is asked for; built once, so that nobody's typing is ever overwritten. */
function filters(ui, changed) {
  const search = el('input', {
    type: 'search', id: 'q', autocomplete: 'off', spellcheck: 'false', placeholder: 'address, job, label, owner, error',
    'aria-keyshortcuts': '/', oninput: () => set('q', search.value.trim(), { isTyped: true }),
    onkeydown: (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      form.enter();
    },
  });
  search.value = ui.params.q ?? '';
  const choice = (name, text, choices) => {
    const select = el('select', { id: name, onchange: () => set(name, select.value) });
    offer(select, choices, ui.params[name]);
    return { select, label: el('label', { for: name }, el('span', null, text), select) };
  };
  const job = choice('job', 'Job', [['', 'all']]);
  const owner = choice('owner', 'Owner', [['', 'all']]);
  const health = choice('health', 'Health', [['', 'any'], ['down', 'down'], ['unknown', 'unknown'], ['up', 'up']]);
  const state = choice('state', 'State', [['', 'active'], ['dropped', 'dropped']]);
  const said = el('p', { class: 'count', role: 'status' }, 'asking …');

  function set(name, value, how) {
    ui.remember({ [name]: value });
    changed(how);
  }

  const form = {
    element: el('form', { class: 'filters', role: 'search', 'data-kept': true, onsubmit: (event) => event.preventDefault() },
      el('label', { for: 'q', class: 'search' }, el('span', null, 'Search'), search),
      job.label, owner.label, health.label, state.label, said),
    question() {
      const { q, job: of, owner: by, health: is, state: as } = ui.params;
      // Those that need a look come first. What was dropped has no health, nor any other order.
      const sort = as === 'dropped' ? '' : ui.params.sort || 'health';
      return Object.fromEntries(Object.entries({ q, job: of, owner: by, health: is, state: as, sort }).filter(([, value]) => value));
    },
    sort: (by) => set('sort', by),
    say: (text) => patch(said, text),
    update({ total, counts, jobs, asked }) {
      offer(job.select, [['', 'all'], ...(jobs ?? []).map((name) => [name, name])], ui.params.job);
      offer(owner.select, [['', 'all'], ...(asked ?? []).map((one) => [one.name, one.name])], ui.params.owner);
      patch(said, el('b', null, count(total)), total === 1 ? ' target ' : ' targets ', counts && [
        mark('up', `${count(counts.up)} up`), ' ', mark('down', `${count(counts.down)} down`), ' ',
        mark('unknown', `${count(counts.unknown)} unknown`)]);
    },
  };
  return form;
}

/** Also what the address names and nobody offers, so that it can be seen and undone. */
function offer(select, choices, chosen = '') {
  const all = choices.some(([value]) => value === chosen) ? choices : [...choices, [chosen, chosen]];
  if (select.dataset.offered === JSON.stringify(all)) return;
  select.dataset.offered = JSON.stringify(all);
  select.replaceChildren(...all.map(([value, text]) => el('option', { value }, text)));
  select.value = chosen;
}
