// The API, drawn from the server's own OpenAPI document.

import { ROOT, element, getJson } from "./dom.js";

const SAMPLE = "http://localhost:8000";
const LONGEST = 1500;

async function begin() {
  const api = await getJson("/openapi.json");
  const sections = api.tags.map((tag) => section(api, tag)).filter((each) => each);
  document.getElementById("main").replaceChildren(
    element("section", { class: "head" }, element("h1", {}, `${api.info.title} ${api.info.version}`),
      element("p", { class: "quiet" }, `${api.info.summary}. ${api.info.description}`),
      element("p", { class: "quiet" }, "Errors are ", element("code", {}, '{"error": "..."}'), " with a status that fits.")),
    ...sections);
  const links = api.tags.map((tag) => element("li", {}, element("a", { href: `#${tag.name}` }, tag.name)));
  document.getElementById("contents").replaceChildren(element("section", {}, element("h2", {}, "Operations"), element("ul", {}, ...links)));
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) {
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
  }
}

function section(api, tag) {
  const found = [];
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (operation.tags.includes(tag.name)) found.push(operationNode(api, path, method.toUpperCase(), operation, found.length === 0 && tag.name === "predict"));
    }
  }
  return found.length ? element("section", { class: "tag", id: tag.name }, element("h2", {}, tag.name), element("p", { class: "quiet" }, tag.description), ...found) : null;
}

function operationNode(api, path, method, operation, open) {
  const inside = element("div", { class: "inside" });
  if (operation.description) inside.append(element("p", {}, operation.description));
  if (operation.security) inside.append(element("p", {}, "Credentials: ", operation.security.map((each) => Object.keys(each)[0] ?? "none").join(", or "), "."));
  for (const sample of operation["x-codeSamples"] ?? []) {
    inside.append(element("h3", {}, "Example"), element("pre", {}, cut(sample.source.replaceAll(SAMPLE, ROOT))));
  }
  if (operation.parameters?.length) inside.append(element("h3", {}, "Parameters"), parameters(api, operation.parameters));
  const body = operation.requestBody?.content ?? {};
  for (const [kind, content] of Object.entries(body)) inside.append(element("h3", {}, `Body: ${kind}`), schemaNode(api, content.schema));
  inside.append(element("h3", {}, "Answers"));
  for (const [status, response] of Object.entries(operation.responses)) {
    if (response.$ref) continue;
    inside.append(element("p", {}, element("span", { class: "status" }, status), ` ${response.description}`));
    for (const [kind, content] of Object.entries(response.content ?? {})) inside.append(element("p", { class: "quiet" }, kind), schemaNode(api, content.schema));
  }
  const errors = Object.entries(operation.responses).filter(([, each]) => each.$ref).map(([status]) => (status === "default" ? "others" : status));
  inside.append(element("p", {}, element("span", { class: "status" }, errors.join(", ")), " why there is no answer"));
  return element("details", { class: "operation", id: operation.operationId, open },
    element("summary", {}, element("span", { class: `method ${method}` }, method), element("span", { class: "path" }, path), element("span", { class: "summary" }, operation.summary)),
    inside);
}

function parameters(api, listed) {
  const rows = listed.map((each) => element("tr", {}, element("th", { scope: "row", class: "mono" }, each.name), element("td", {}, each.in),
    element("td", { class: "mono" }, cut(typeText(api, each.schema, 0), 200)), element("td", {}, each.description ?? "")));
  return element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)));
}

const schemaNode = (api, schema) => element("pre", {}, cut(typeText(api, schema, 0)));
const cut = (text, longest = LONGEST) => (text.length > longest ? `${text.slice(0, longest)}…` : text);

// A schema as people write types.
function typeText(api, schema, depth) {
  if (schema.$ref) return depth > 4 ? schema.$ref.split("/").pop() : typeText(api, api.components.schemas[schema.$ref.split("/").pop()], depth);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map((each) => typeText(api, each, depth)).join(`\n${"  ".repeat(depth)}or `);
  if (schema.allOf) return schema.allOf.map((each) => typeText(api, each, depth)).join(" and ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.title && !schema.properties) return schema.title + (schema.description ? `   (${schema.description})` : "");
  if (schema.properties) return objectText(api, schema, depth);
  if (schema.type === "array") return `[${schema.items ? typeText(api, schema.items, depth) : "..."}]${schema.description ? `   (${schema.description})` : ""}`;
  const kinds = [].concat(schema.type ?? "anything").join(" or ");
  return kinds + (schema.format === "binary" ? ` (a file${schema.contentMediaType ? `, ${schema.contentMediaType}` : ""})` : "") + (schema.description ? `   (${schema.description})` : "");
}

function objectText(api, schema, depth) {
  const indent = "  ".repeat(depth + 1);
  const lines = Object.entries(schema.properties).map(([name, each]) =>
    `${indent}${name}${schema.required?.includes(name) ? "" : "?"}: ${typeText(api, each, depth + 1)}`);
  return `{\n${lines.join("\n")}\n${"  ".repeat(depth)}}`;
}

begin().catch((error) => document.getElementById("main").replaceChildren(element("p", { class: "failed" }, String(error))));
