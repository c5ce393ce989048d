/* Keys that do something, by their names. The report's pages and those of `onethrone serve` share this. */

const FIELD = 'input:not([type="checkbox"]), select, textarea, [contenteditable]';
const isField = (node) => node instanceof Element && node.closest(FIELD) !== null;

/* Calls `actions[key]` when that key goes down in `target`; not in a field where somebody types, not with Ctrl, Alt
   or Meta, and not if an element inside has dealt with the key.  An action that returns false leaves the key to the
   browser. */
export const onKeys = (target, actions) => {
  target.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isField(event.target)) return;
    if (!Object.hasOwn(actions, event.key)) return;
    if (actions[event.key](event) !== false) event.preventDefault();
  });
};
