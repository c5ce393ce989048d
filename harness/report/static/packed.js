/* The parts in which report/packed.py put the data into the page. */
import { byId } from './elements.js';

/* A part's value. Its element is gone afterwards: a part is read once. */
export const unpack = (part) => {
  const holder = byId(`packed-${part}`);
  const packed = atob(holder.textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  holder.remove();
  const inflate = new DecompressionStream('deflate');
  const into = inflate.writable.getWriter();
  into.write(bytes);
  into.close();
  return new Response(inflate.readable).json();
};
