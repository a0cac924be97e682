// Writes the types of the API's answers, as docs/openapi.json declares them, for `tsc`: a field that the page reads and the API
// does not have is an error of tests/page/check.sh.

import { readFileSync } from "node:fs";

const BASE = "/api/v1/";
const { paths, components } = JSON.parse(readFileSync(new URL("../../docs/openapi.json", import.meta.url), "utf8"));

/** TypeScript for a schema. */
function type(schema) {
    if (schema.$ref) return schema.$ref.split("/").at(-1);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    return [schema.type ?? "unknown"].flat().map((kind) => single(kind, schema)).join(" | ");
}

function single(kind, { items, properties, required = [] }) {
    if (kind === "integer") return "number";
    if (kind === "array") return `(${type(items)})[]`;
    if (kind !== "object") return kind;
    if (!properties) return "Record<string, any>";
    const fields = Object.entries(properties).map(([name, value]) => `${name}${required.includes(name) ? "" : "?"}: ${type(value)}`);
    return `{ ${fields.join("; ")} }`;
}

/** The JSON answers of one operation that are no error. */
function answers({ responses }) {
    const good = Object.entries(responses).filter(([status]) => status.startsWith("2"));
    return good.map(([, { content }]) => content?.["application/json"]?.schema).filter(Boolean).map(type);
}

/** By method and path: exact paths, and those with a part that varies, as patterns. */
const [exact, patterns] = [[], []];
for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
        const said = answers(operation).join(" | ");
        const name = `${method.toUpperCase()} ${path.slice(BASE.length)}`;
        if (!said) continue;
        if (name.includes("{")) patterns.push(`    [path: \`${name.replace(/\{\w+\}/g, "${string}")}\`]: ${said};`);
        else exact.push(`    ${JSON.stringify(name)}: ${said};`);
    }
}
const schemas = Object.entries(components.schemas).map(([name, schema]) => `  type ${name} = ${type(schema)};`);

console.log(`declare namespace Api {
${schemas.join("\n")}
  interface Exact {
${exact.join("\n")}
  }
  interface Patterns {
${patterns.join("\n")}
  }
  /** Answer to a method and a path below ${BASE}; nothing is known of one that is not documented. */
  type Answer<M extends string, P extends string> =
    \`\${M} \${P}\` extends keyof Exact ? Exact[\`\${M} \${P}\`] : \`\${M} \${P}\` extends keyof Patterns ? Patterns[\`\${M} \${P}\`] : unknown;
}`);
