// The renderer's HTML on its way into the page: the second wall, and the only place that parses it.

// What an answer, a tool or a table may be made of; the renderer makes nothing else.
const DROPPED = "script,style,link,meta,base,iframe,frame,object,embed,form,template,portal,audio," +
  "video,source,track,picture,svg,math,noscript,input,textarea,select,button,dialog";
const LINK = /^(?:https?:\/\/|mailto:)/i;
export const PICTURE = /^data:image\/(?:png|jpeg|gif|webp)[;,]/i;

/**
 * Parse HTML of the renderer where nothing is loaded or run, and drop what could do either.
 * @param {string} html
 */
export function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const node of template.content.querySelectorAll(DROPPED)) node.remove();
  for (const node of template.content.querySelectorAll("*")) {
    for (const { name, value } of [...node.attributes]) {
      const bad =
        name.startsWith("on") ||
        name.startsWith("data-") || // JupyterLab runs commands that attributes name
        ["id", "name", "srcset", "ping", "action", "formaction", "is", "slot"].includes(name) ||
        (name === "href" && !LINK.test(value)) ||
        (name === "src" && !PICTURE.test(value)) ||
        (name === "style" && /url\(|image\(|image-set|expression|position|@import|\\/i.test(value));
      if (bad) node.removeAttribute(name);
    }
    if (node.tagName === "A") {
      node.setAttribute("rel", "noopener noreferrer");
      node.setAttribute("target", "_blank");
    }
  }
  return template.content;
}
