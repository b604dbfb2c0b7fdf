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
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1b2230; --soft: #566074; --edge: #dde2ea;
  --accent: #2563c9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f141c; --card: #171e29; --ink: #e7ecf4; --soft: #9fabbf; --edge: #2b3546;
    --accent: #6ea8ff;
  }
}
body {
  background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
}
h1, #name { overflow-wrap: anywhere; }
h1 { font-size: clamp(1.4rem, 5vw, 2rem); line-height: 1.2; margin-bottom: .5rem; }
h2 { font-size: 1.2rem; margin-top: 2rem; }
a { color: var(--accent); }
.soft, th { color: var(--soft); font-weight: 400; }
.card {
  background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: .5rem 1rem;
}
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--edge); padding: .3rem 1rem .3rem 0; text-align: left; }
th { border-top: 0; }
td:first-child { color: var(--soft); }
td:nth-child(2) { font-weight: 600; overflow-wrap: anywhere; }
td:last-child, th:last-child { padding-right: 0; }
textarea, pre, #path { font: .875rem/1.5 ui-monospace, monospace; }
textarea, pre {
  background: var(--card); border: 1px solid var(--edge); border-radius: 10px;
  box-sizing: border-box; color: inherit; margin: 0; padding: .75rem 1rem; width: 100%;
}
button {
  background: var(--accent); border: 0; border-radius: 6px; color: var(--card); cursor: pointer;
  font: inherit; font-weight: 600; padding: .35rem 1.25rem;
}
button:disabled { cursor: default; opacity: .6; }
pre { border-left: 4px solid var(--accent); overflow-wrap: anywhere; white-space: pre-wrap; }
pre.refused { border-left-color: #c2410c; }
pre:empty { display: none; }
#path { color: var(--soft); margin-left: .5rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) { td, th { font-size: .875rem; padding-right: .5rem; } }
</style>
</head>
<body>
<h1 id="name"></h1>
<p class="soft">Send every input, by name, in any order; -1 in a shape is the number of rows.
<a id="document">OpenAPI document</a></p>
<div class="card"><table>
<thead><tr><th></th><th>Name</th><th>Datatype</th><th>Shape</th></tr></thead>
<tbody id="tensors"></tbody>
</table></div>
<h2>Try it out</h2>
<p class="soft">These rows were packaged with the model: change a value and send them.</p>
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
  at("request").rows = Math.min(body.example.inputs.length + 7, 30);
}

function tell(text, fine) {
  at("answer").className = fine ? "" : "refused";
  at("answer").textContent = text;
}

at("send").addEventListener("click", async () => {
  const body = at("request").value;
  const start = performance.now();
  at("send").disabled = true;
  try {
    const answer = await fetch(base + "/infer", {method: "POST", headers: JSON_HEADERS, body});
    const text = await answer.text();
    const milliseconds = (performance.now() - start).toFixed(1);
    at("path").textContent = `POST ${base}/infer, answered in ${milliseconds} ms`;
    tell(answer.status + " " + text, answer.ok);
  } catch (error) {
    tell("no answer: " + error.message + "; is the server still there?", false);
  } finally {
    at("send").disabled = false;
  }
});

show().catch(error => tell("the model cannot be shown: " + error.message, false));
</script>
</body>
</html>
"""
