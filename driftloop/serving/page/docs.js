// The service's own description of its interface, openapi.json, as a page. Everything in it is set as text.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function resolve(schema, api) {
  const path = schema?.$ref?.split("/").slice(1);
  return path ? path.reduce((at, step) => at[step], api) : schema;
}

/** A type as people say it: "list: number", "text", the name of a model. */
function typeOf(schema, api) {
  const known = resolve(schema, api) ?? {};
  const options = known.anyOf ?? known.oneOf;
  if (options) return [...new Set(options.map((option) => typeOf(option, api)))].join(" or ");
  if (known.enum) return known.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (known.const !== undefined) return JSON.stringify(known.const);
  if (known.type === "array") return `list: ${typeOf(known.items ?? {}, api)}`;
  if (known.type === "object" && known.additionalProperties) return `object: name → ${typeOf(known.additionalProperties, api)}`;
  if (known.format === "binary") return "file";
  return { string: "text", number: "number", integer: "whole number", boolean: "true or false", null: "nothing" }[known.type] ?? known.title ?? known.type ?? "anything";
}

/** A table of a model's fields; those of a field that is a model itself, or a list of one, stand below it. */
function fields(schema, api, prefix = "", seen = []) {
  const known = resolve(schema, api);
  if (!known?.properties || seen.includes(known)) return [];
  return Object.entries(known.properties).flatMap(([name, field]) => {
    const inner = resolve(field, api);
    const item = inner.type === "array" ? resolve(inner.items, api) : inner;
    const label = prefix + name + (inner.type === "array" ? "[]" : "");
    const row = [label, typeOf(field, api) + (known.required?.includes(name) ? "" : ", optional"), field.description ?? inner.description ?? ""];
    return [row, ...fields(item, api, `${label}.`, [...seen, known])];
  });
}

function table(caption, head, rows) {
  const scroll = element("div", "", "scroll");
  const made = element("table");
  made.append(element("caption", caption));
  const line = made.createTHead().insertRow();
  for (const name of head) line.append(Object.assign(element("th", name), { scope: "col" }));
  const body = made.createTBody();
  for (const [name, ...rest] of rows) {
    const row = body.insertRow();
    const first = element("td"), code = element("code");
    // Long names break at their dots.
    code.append(...name.split(/(?<=\.)/).flatMap((part) => [part, document.createElement("wbr")]));
    first.append(code);
    row.append(first, ...rest.map((text) => element("td", text)));
  }
  Object.assign(scroll, { tabIndex: 0, role: "group", ariaLabel: caption });
  scroll.append(made);
  return scroll;
}

function contents(title, content, api) {
  return Object.entries(content ?? {}).flatMap(([media, { schema }]) => {
    const rows = fields(schema, api);
    const caption = `${title}: ${media}`;
    return rows.length ? [table(caption, ["field", "type", "meaning"], rows)] : [element("p", `${caption}, ${typeOf(schema, api)}`, "small")];
  });
}

function curl(method, path, operation) {
  const media = Object.keys(operation.requestBody?.content ?? {});
  const parts = ["curl"];
  if (media.includes("multipart/form-data")) parts.push("-F image=@photo.png");
  else if (media.includes("application/json")) parts.push("--json '{...}'");
  else if (method !== "get") parts.push(`-X ${method.toUpperCase()}`);
  return [...parts, new URL(path.slice(1), document.baseURI)].join(" ").replaceAll("%7B", "{").replaceAll("%7D", "}");
}

function operationSection(method, path, operation, api) {
  const section = element("section");
  const heading = element("h2");
  heading.append(element("code", `${method.toUpperCase()} ${path}`));
  section.append(heading, element("p", operation.description ?? operation.summary ?? ""), element("pre", curl(method, path, operation)));
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(parameter, api));
  if (parameters.length) {
    const rows = parameters.map(({ name, in: where, schema, required, description }) => [
      name, `${typeOf(schema, api)}, in the ${where}${required ? "" : ", optional"}`, description ?? "",
    ]);
    section.append(table("Parameters", ["name", "type", "meaning"], rows));
  }
  section.append(...contents("Takes", operation.requestBody?.content, api));
  const others = [];
  for (const [status, answer] of Object.entries(operation.responses ?? {})) {
    const response = resolve(answer, api);
    if (status.startsWith("2")) section.append(...contents(`Answers ${status}`, response.content, api));
    else others.push([status, response.description ?? ""]);
  }
  if (others.length) section.append(table("Otherwise {\"detail\": \"one sentence\"}", ["status", "meaning"], others));
  return section;
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const api = await response.json();
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => operations[name])) {
      document.querySelector("#operations").append(operationSection(method, path, operations[method], api));
    }
  }
} catch (error) {
  const trouble = document.querySelector("#trouble");
  trouble.textContent = `The description of the interface cannot be had: ${error.message}.`;
  trouble.hidden = false;
}
