// The question of every rollout: does each target have exactly one owner? Asked when someone
// wants to know, as it asks all members.

import { ask, Problem } from '../api.js';
import { el, patch } from '../dom.js';
import { count, plural } from '../format.js';
import { age, mark, node, problem, section, targetLink } from '../parts.js';

const CHECK = 'Check now';

/** Gives what draws the section; its answer stays until asked again. */
export function verification(ui) {
  const place = el('div', { 'aria-live': 'polite', 'data-kept': true });
  const button = el('button', { type: 'button', onclick: check }, CHECK);
  patch(place, button, hint());

  async function check() {
    // Not `disabled`, which would throw the focus away.
    if (button.textContent !== CHECK) return;
    button.textContent = 'Checking …';
    try {
      patch(place, button, verdict(await ask('fleet/verify', {}, ui.closed)));
    } catch (error) {
      if (ui.closed.aborted) return;
      if (!(error instanceof Problem)) throw error;
      patch(place, button, problem(error));
    } finally {
      button.textContent = CHECK;
    }
  }

  let drawn = null;
  return () => (drawn ??= keep(section('Exactly one owner each?', place)));
}

/** The same element each time, so that it is never patched away. */
function keep(element) {
  element.dataset.kept = '';
  return element;
}

const hint = () => el('span', { class: 'dim' }, ' asks every member what it scrapes, about one instant.');

function verdict(answer) {
  const lines = [
    ...answer.unanswered.map((one) => [mark('down', node(one)), ' did not answer']),
    ...answer.unowned.map((one) => [mark('down', 'nobody scrapes '), targetLink(one)]),
    more(answer.unowned_total - answer.unowned.length, 'that nobody scrapes'),
    ...answer.doubled.map((one) => [mark('down', 'scraped twice: '), targetLink(one.target), ` by ${one.by.map((by) => by.name).join(' and ')}`]),
    more(answer.doubled_total - answer.doubled.length, 'that are scraped twice'),
    ...answer.disagreements.map((one) => [mark('differs', `${one.node.name}, ${one.kind}: `), one.detail]),
  ].filter(Boolean);
  return el('div', { class: 'verdict' },
    el('p', null, answer.ok ? mark('ok', `Yes: ${plural(answer.targets, 'target')}, one owner each`) : mark('refused', `No, of ${plural(answer.targets, 'target')}`),
      el('span', { class: 'dim' }, ' asked ', age(answer.at))),
    lines.length > 0 && el('ul', null, lines.map((line) => el('li', null, line))));
}

const more = (left, what) => left > 0 && `and ${count(left)} more ${what}`;
