/** Icons: SVG paths in a 24 by 24 view box, drawn with a stroke of 1.75. */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.3 15.3 20 20",
  picture:
    "M5 4.5h14A1.5 1.5 0 0 1 20.5 6v12a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18V6A1.5 1.5 0 0 1 5 4.5Z" +
    "M8.7 10.4a1.4 1.4 0 1 0 0-2.8 1.4 1.4 0 0 0 0 2.8ZM4 17l4.6-4.1 3.2 2.8 3.7-4.2L20 16",
  plus: "M12 5.5v13M5.5 12h13",
  minus: "M5.5 12h13",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  back: "M14.5 5.5 8 12l6.5 6.5",
  next: "M9.5 5.5 16 12l-6.5 6.5",
  down: "M6.5 9.5 12 15l5.5-5.5",
  date: "M4.5 6.5h15v13h-15zM4.5 10.5h15M8.5 4v4M15.5 4v4",
  camera: "M4 8h3.4l1.4-2.5h6.4L16.6 8H20v11H4zM12 16.4a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4Z",
  folder: "M3.5 18.5v-13h6l2 2.5h9v10.5z",
  size: "M4.5 4.5h15v15h-15zM4.5 12.5h7v7",
  photos: "M7.5 7.5h12v12h-12zM4.5 16V4.5H16",
  number: "M9.5 5 7.5 19M16.5 5l-2 14M5 9.5h14.5M4.5 14.5H19",
  update: "M19 12a7 7 0 1 1-2.2-5.1M19.2 4v4.2H15",
  segment:
    "M5 5h3M11 5h2M16 5h3v3M19 11v2M19 16v3h-3M13 19h-2M8 19H5v-3M5 13v-2M5 8V5M12 9v6M9 12h6",
  help: "M9.4 9.2a2.7 2.7 0 1 1 4.3 2.2c-1 .7-1.7 1.3-1.7 2.6M12 17.6v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
  undo: "M8 5.5 4 9.5l4 4M4.5 9.5H14a5 5 0 0 1 0 10H9",
  save: "M12 4.5v10M7.5 10.5 12 15l4.5-4.5M5 19.5h14",
  dots: "M7 7v.1M17 6v.1M12 12v.1M6 17v.1M17.5 16.5v.1",
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {string|undefined} name @returns {name is IconName} */
export const isIconName = (name) => name !== undefined && Object.hasOwn(PATHS, name);

/**
 * Create an icon; screen readers pass over it.
 * @param {IconName} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", name === "dots" ? "icon icon-dots" : "icon");
  svg.setAttribute("aria-hidden", "true");
  return svg;
}
