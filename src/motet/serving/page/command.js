// What was asked in the form, as a command: for curl, and for Python without other packages.

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const quoted = JSON.stringify; // what is a text for JavaScript is one for Python
const KEY = "MOTET_API_KEY"; // the key itself stays out of clipboards

// asked: the address, whether a key is sent, the row without its files, as JSON and as texts by input, and the files.
export function curlCommand({ url, keyed, json, texts, files }) {
  const head = `curl${keyed ? ` -H "X-API-Key: $${KEY}"` : ""} ${shell(url)}`;
  if (!files.length) return `${head} \\\n  --json ${shell(json)}`;
  const fields = texts.map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`);
  return [head, ...files.map(({ name, path }) => `-F ${shell(`${name}=@"${path.replace(/["\\]/g, "\\$&")}"`)}`), ...fields].join(" \\\n  ");
}

export function pythonCommand({ url, keyed, json, files }) {
  const read = files.map(({ name, path, isPicture }) =>
    `row[${quoted(name)}] = ${isPicture ? '"data:image/png;base64," + ' : ""}base64.b64encode(open(${quoted(path)}, "rb").read()).decode()`);
  const headers = `{"content-type": "application/json"${keyed ? `, "x-api-key": os.environ["${KEY}"]` : ""}}`;
  return [
    `import ${[files.length ? "base64" : "", "json", keyed ? "os" : "", "urllib.request"].filter((each) => each).join(", ")}`, "",
    `row = json.loads(${quoted(json)})`, ...read,
    `request = urllib.request.Request(${quoted(url)}, json.dumps(row).encode(), ${headers})`,
    "print(json.load(urllib.request.urlopen(request)))",
  ].join("\n");
}
