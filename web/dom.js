// Elements are built, never parsed: whatever a label says can only become text. And they are
// patched, not replaced, so that focus, selection and scrolling survive an update.

const SVG = 'http://www.w3.org/2000/svg';
const HANDLERS = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown', 'ontoggle'];

export const el = (name, props, ...children) => fill(document.createElement(name), props, children);

export const svg = (name, props, ...children) =>
  fill(document.createElementNS(SVG, name), props, children);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (HANDLERS.includes(name)) element[name] = value;
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...nodes(children));
  return element;
}

/** Nothing for what is absent, text for what is no element. */
const nodes = (children) => children.flat(Infinity)
  .filter((child) => child !== null && child !== undefined && child !== false)
  .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));

/** Makes the children of `parent` look like `children`, keeping those that are there already. */
export function patch(parent, ...children) {
  const focused = document.activeElement;
  patchChildren(parent, nodes(children));
  // A row that moved has lost its focus on the way.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

function patchChildren(parent, fresh) {
  const keyed = new Map([...parent.children].filter((child) => child.dataset.key !== undefined)
    .map((child) => [child.dataset.key, child]));
  let at = parent.firstChild;
  for (const node of fresh) {
    const key = node.dataset?.key;
    const found = key === undefined ? at : keyed.get(key);
    if (!found || !isAlike(found, node)) {
      parent.insertBefore(node, at);
      continue;
    }
    keyed.delete(key);
    if (found === at) at = at.nextSibling;
    else parent.insertBefore(found, at);
    patchNode(found, node);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

const isAlike = (old, fresh) =>
  old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.dataset?.key === fresh.dataset?.key;

function patchNode(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What a person types or chooses is theirs.
  if (old.dataset.kept !== undefined) return;
  for (const { name } of [...old.attributes]) {
    const isTheirs = name === 'open' && old.nodeName === 'DETAILS';
    if (!isTheirs && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  patchChildren(old, [...fresh.childNodes]);
}
