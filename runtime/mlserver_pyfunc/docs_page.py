"""The page that shows a model's inputs and sends it a request; it needs nothing but the server.

MLServer's own page loads Swagger UI from the Internet, which a cluster may not reach. This one is
the same for every model: what it shows, it asks for. Text from the server never becomes markup.
"""

from __future__ import annotations

#: For ``/v2/models/{model_name}/docs``.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Model</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8884; padding: .2rem 1rem .2rem 0; text-align: left; }
td:nth-child(2) { overflow-wrap: anywhere; }
textarea { box-sizing: border-box; font: .875rem/1.5 monospace; padding: .5rem; width: 100%; }
button { font: inherit; padding: .25rem 1rem; }
pre { background: #8882; overflow-wrap: anywhere; padding: 1rem; white-space: pre-wrap; }
pre:empty { display: none; }
#path { font-family: monospace; margin-left: .5rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1 id="name"></h1>
<p>Every input, by name, in any order. <a id="document">OpenAPI document</a></p>
<table>
<thead><tr><th></th><th>Name</th><th>Datatype</th><th>Shape</th></tr></thead>
<tbody id="tensors"></tbody>
</table>
<h2>Try it out</h2>
<textarea id="request" rows="16" spellcheck="false" aria-label="Request"></textarea>
<p><button id="send">Send</button> <span id="path"></span></p>
<pre id="answer" aria-live="polite"></pre>
<script>
const at = id => document.getElementById(id);
const base = location.pathname.replace(/\\/docs\\/?$/, "");
const JSON_HEADERS = {"Content-Type": "application/json"};

function addRow(side, tensor) {
  const row = at("tensors").insertRow();
  for (const text of [side, tensor.name, tensor.datatype, JSON.stringify(tensor.shape)])
    row.insertCell().textContent = text;
}

function layOut(request) {
  const inputs = request.inputs.map(tensor => "    " + JSON.stringify(tensor)).join(",\\n");
  return `{\\n  "inputs": [\\n${inputs}\\n  ]\\n}`;
}

async function show() {
  const metadata = await (await fetch(base)).json();
  document.title = at("name").textContent = metadata.name;
  for (const tensor of metadata.inputs) addRow("input", tensor);
  for (const tensor of metadata.outputs) addRow("output", tensor);
  at("document").href = base + "/docs/dataplane.json";
  at("path").textContent = "POST " + base + "/infer";
  const api = await (await fetch(base + "/docs/dataplane.json")).json();
  const path = Object.keys(api.paths).find(each => each.endsWith("/infer"));
  const body = api.paths[path].post.requestBody.content["application/json"];
  at("request").value = layOut(body.example);
}

at("send").addEventListener("click", async () => {
  const body = at("request").value;
  const answer = await fetch(base + "/infer", {method: "POST", headers: JSON_HEADERS, body});
  at("answer").textContent = answer.status + " " + await answer.text();
});

show();
</script>
</body>
</html>
"""
