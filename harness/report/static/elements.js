/* Elements of the page: found, made, linked. Texts are only ever set as textContent: none is markup. */

export const byId = (id) => document.getElementById(id);

export const element = (tag, words, name) => {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (name) made.className = name;
  return made;
};

export const svgElement = (tag, attributes, words) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  if (words !== undefined) made.textContent = words;
  return made;
};

/* A link to an op's line in the history; links.js follows it. */
export const opLink = (index, words = `op ${index}`) => {
  const link = element('a', words, 'op');
  link.href = '#history';
  link.dataset.op = index;
  return link;
};
